//! May this worker join, and on what evidence? (RFC 9334: evidence, reference values, appraisal.)
//!
//! * [`strict`]: the reader for JSON that nobody has vouched for

pub mod strict;
