//! May this worker join, and on what evidence? (RFC 9334: evidence, reference values, appraisal.)
//!
//! * [`strict`]: the reader for JSON that nobody has vouched for
//! * [`signature`]: keys as data, the crypto back end as a trait
//! * [`dsse`]: signed envelopes
//! * [`challenge`]: nonces that cost no memory
//! * [`evidence`]: what a worker states, and its two wire forms

pub mod challenge;
pub mod dsse;
pub mod evidence;
mod placeholder;
pub mod signature;
pub mod strict;
mod version;

pub use self::{
    challenge::NonceError,
    evidence::{EvidenceForm, WorkerAttestation, WorkerClaims},
    version::{Compatibility, MAX_WIT_BYTES, ProtocolRange, Version, VersionError, WitInterface, WitName},
};
pub use placeholder::*;
