//! May this worker join, and on what evidence? (RFC 9334: evidence, reference values, appraisal.)
//!
//! * [`strict`]: the reader for JSON that nobody has vouched for
//! * [`signature`]: keys as data, the crypto back end as a trait
//! * [`dsse`]: signed envelopes

pub mod dsse;
pub mod signature;
pub mod strict;
