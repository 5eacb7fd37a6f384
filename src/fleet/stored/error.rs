//! Why stored bytes are refused.

use crate::{
    chain::ChainError,
    code::{self, Code, Coded},
    digest::Sha256Digest,
    fleet::command_rejection::TimeError,
    lease::Epoch,
};

/// Why a fleet cannot continue from what was stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecoverError {
    /// The bytes cannot be decoded.
    #[error("a journal record or snapshot cannot be read")]
    Malformed,
    /// The bytes are of a format version that this build does not read.
    #[error("a journal or snapshot of version {0} is not read by this build")]
    Version(u8),
    /// The content contradicts itself.
    #[error("{0}")]
    Inconsistent(&'static str),
    /// An entry of a log does not follow on what a replica holds.
    #[error(
        "an entry is not record {expected} behind what is held; it was applied before, or belongs elsewhere"
    )]
    NotNext {
        /// The index of the next record.
        expected: u64,
    },
    /// The epoch is not larger than the last one.
    #[error("epoch {given} is not larger than {last}")]
    Epoch {
        /// The last epoch.
        last: Epoch,
        /// The epoch that the caller gave.
        given: Epoch,
    },
    /// A clock cannot be trusted.
    #[error(transparent)]
    Time(#[from] TimeError),
    /// The snapshot's revocations are older than the caller demands.
    #[error("the snapshot's revocations are of generation {found}, at least {floor} is demanded")]
    Revocations {
        /// The generation of the snapshot's revocations.
        found: u64,
        /// The generation that the caller demands.
        floor: u64,
    },
    /// A part of the state is too large for a snapshot.
    #[error("a part of the state is too large for a snapshot")]
    TooLarge,
    /// There is neither a snapshot nor a journal.
    #[error("there is nothing to recover from")]
    Nothing,
    /// The fleet has revoked the certificate that the coordinator would present (invariant 12).
    #[error("the coordinator's own certificate {0} is revoked")]
    CertificateRevoked(Sha256Digest),
}

impl Coded for RecoverError {
    fn code(&self) -> Code {
        match self {
            Self::Malformed => code::JOURNAL_MALFORMED,
            Self::Version(_) => code::JOURNAL_VERSION,
            Self::Inconsistent(_) => code::JOURNAL_INCONSISTENT,
            Self::NotNext { .. } => code::JOURNAL_NOT_NEXT,
            Self::Epoch { .. } => code::EPOCH_NOT_LARGER,
            Self::Time(error) => error.code(),
            Self::Revocations { .. } => code::RESTORE_REVOCATIONS,
            Self::TooLarge => code::SNAPSHOT_TOO_LARGE,
            Self::Nothing => code::JOURNAL_NOTHING,
            Self::CertificateRevoked(_) => code::CERTIFICATE_REVOKED,
        }
    }
}

impl From<ChainError> for RecoverError {
    fn from(error: ChainError) -> Self {
        match error {
            ChainError::Malformed => Self::Malformed,
            ChainError::Version(version) => Self::Version(version),
            ChainError::Broken => Self::Inconsistent("the hash chain is broken"),
        }
    }
}
