//! Why an envelope is refused, and why keys do not make a trust root.

use super::MAX_PAYLOAD_TYPE_BYTES;
use crate::{
    attestation::{excerpt::Excerpt, strict::StrictError},
    code::{self, Code, Coded},
};

/// Why an envelope is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DsseError {
    /// The envelope is not the JSON that it must be.
    #[error("the envelope: {0}")]
    Json(#[from] StrictError),
    /// The payload or a signature is not strict base64.
    #[error("`{0}` is not padded base64 in one alphabet, which is due (RFC 4648, sections 4 and 5)")]
    Base64(&'static str),
    /// There is no signature at all.
    #[error("the envelope has no signature")]
    NoSignatures,
    /// More signatures than the limit.
    #[error("the envelope has {have} signatures; at most {most} are due")]
    TooManySignatures {
        /// How many it has.
        have: usize,
        /// How many there may be.
        most: usize,
    },
    /// The payload type is over its bound.
    #[error("the payload type has {0} bytes; at most {MAX_PAYLOAD_TYPE_BYTES} are due")]
    PayloadTypeTooLong(usize),
    /// A trusted key's algorithm has no back end here, and no other key made up for it.
    #[error("no signature verified, and a trusted key's algorithm has no back end here")]
    UnsupportedAlgorithm,
    /// No signature is one of a trusted key.
    #[error("no signature is one of a trusted key")]
    Untrusted,
    /// The signature checks were spent before every signature was tried, and those that were tried are not enough.
    #[error(
        "the signature checks are spent before every signature was tried; one that carries the key id of a trusted key is tried first"
    )]
    Verifications,
    /// Fewer distinct keys of distinct owners than the threshold.
    #[error("{have} of the {need} signers that are needed")]
    Threshold {
        /// How many distinct owners signed.
        have: usize,
        /// How many are needed.
        need: usize,
    },
    /// The signed payload is of another type.
    #[error("the payload is of type {found}; {due} is due")]
    PayloadType {
        /// What it is.
        found: Excerpt,
        /// What it must be.
        due: Excerpt,
    },
}

impl Coded for DsseError {
    fn code(&self) -> Code {
        match self {
            Self::Json(error) => error.code(),
            Self::Base64(_) => code::DSSE_BASE64,
            Self::NoSignatures => code::DSSE_NO_SIGNATURES,
            Self::TooManySignatures { .. } => code::DSSE_TOO_MANY_SIGNATURES,
            Self::PayloadTypeTooLong(_) | Self::PayloadType { .. } => code::DSSE_PAYLOAD_TYPE,
            Self::UnsupportedAlgorithm => code::SIGNATURE_UNSUPPORTED_ALGORITHM,
            Self::Untrusted => code::DSSE_UNTRUSTED,
            Self::Verifications => code::DSSE_VERIFICATIONS,
            Self::Threshold { .. } => code::DSSE_THRESHOLD,
        }
    }
}

/// Why keys do not make a trust root.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RootError {
    /// There is no key.
    #[error("a trust root has at least one key")]
    Empty,
    /// More keys than the bound.
    #[error("a trust root has too many keys: {0}")]
    TooManyKeys(usize),
    /// The threshold is 0, or more than there are owners.
    #[error("a threshold of {threshold} with keys of {owners} owners")]
    Threshold {
        /// The threshold that was asked for.
        threshold: usize,
        /// How many owners there are.
        owners: usize,
    },
    /// One key is listed for two owners.
    #[error("one key is listed for two owners")]
    Conflict,
}

impl Coded for RootError {
    fn code(&self) -> Code {
        match self {
            Self::Empty => code::DSSE_ROOT_EMPTY,
            Self::TooManyKeys(_) => code::DSSE_ROOT_TOO_MANY_KEYS,
            Self::Threshold { .. } => code::DSSE_ROOT_THRESHOLD,
            Self::Conflict => code::DSSE_ROOT_CONFLICT,
        }
    }
}
