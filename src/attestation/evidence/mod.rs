//! Evidence: what a worker states about itself, and its two wire forms.
//!
//! The plain JSON document is for development and for policies that say so. The signed form carries the same claims
//! as an in-toto Statement v1 whose subjects are image, build and artifact. Reading gives [`WorkerAttestation`], in
//! which every claim says whether it is absent, malformed or stated; [`WorkerClaims`] makes both forms.

mod build;
mod claims;
mod form;
mod limits;
mod read;
#[cfg(any(test, feature = "testing"))]
pub(crate) mod reference;
pub(crate) mod statement;

pub(crate) use self::form::parse_nonce;
pub use self::{
    build::WorkerClaims,
    claims::{Claim, MalformedEntry, Sha512Claims, WorkerAttestation},
    limits::EvidenceLimits,
    read::EvidenceError,
    statement::{PAYLOAD_TYPE, STATEMENT_TYPE, STATEMENT_TYPE_V01, StatementError},
};

/// The predicate type of the signed form, version 1. Another major version is another type.
pub const EVIDENCE_PREDICATE: &str = "https://leasehold.dev/worker-evidence/v1";

/// The version that a plain document states.
pub const DOCUMENT_VERSION: u32 = 1;

/// The most WIT interfaces of one worker.
pub const MAX_WIT_INTERFACES: usize = 64;

/// The shortest and the longest nonce, in bytes (RFC 9711 section 4.1).
pub const NONCE_BYTES: core::ops::RangeInclusive<usize> = 8..=64;

/// In which wire form evidence arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EvidenceForm {
    /// The plain JSON document.
    Json,
    /// The statement in a signed envelope.
    Dsse,
}

impl EvidenceForm {
    /// The form's name in documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Dsse => "dsse",
        }
    }
}
