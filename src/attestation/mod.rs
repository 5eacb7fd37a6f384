//! May this worker join, and on what evidence? (RFC 9334: evidence, reference values, appraisal.)
