//! Why a node runtime refuses, or cannot go on from what was stored.

use crate::{
    chain::ChainError,
    code::{self, Code, Coded},
    dispatch::DispatchError,
    fleet::TimeError,
    identity::{AuthError, DeviceError, pairing::PairingError},
    lease::Epoch,
};

/// Why an operation is refused. A refused operation changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// Only recovery goes on from here.
    #[error("a journal write failed or is in doubt; recover first")]
    Halted,
    /// The monotonic line went back.
    #[error(transparent)]
    Time(#[from] TimeError),
    /// The registry refuses.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The certificate does not authenticate.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// The pairing desk refuses.
    #[error(transparent)]
    Pairing(#[from] PairingError),
    /// Dispatch refuses.
    #[error(transparent)]
    Dispatch(#[from] DispatchError),
}

impl Coded for NodeError {
    fn code(&self) -> Code {
        match self {
            Self::Halted => code::NODE_HALTED,
            Self::Time(error) => error.code(),
            Self::Device(error) => error.code(),
            Self::Auth(error) => error.code(),
            Self::Pairing(error) => error.code(),
            Self::Dispatch(error) => error.code(),
        }
    }
}

/// Why a runtime cannot go on from what was stored. Nothing is repaired, and nothing is guessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NodeRecoverError {
    /// It cannot be read.
    #[error("a journal record or snapshot cannot be read")]
    Malformed,
    /// It is of another format.
    #[error("a journal or snapshot of version {0} is not read by this build")]
    Version(u8),
    /// It can be read and contradicts itself, or the bounds that are in force.
    #[error("{0}")]
    Inconsistent(&'static str),
    /// The epoch is not larger than the one before.
    #[error("epoch {given} is not larger than {last}")]
    Epoch {
        /// The last one.
        last: Epoch,
        /// The one that was given.
        given: Epoch,
    },
    /// The monotonic line that was given is behind the journal's.
    #[error("the monotonic line is behind the last record")]
    Time,
}

impl Coded for NodeRecoverError {
    fn code(&self) -> Code {
        match self {
            Self::Malformed => code::JOURNAL_MALFORMED,
            Self::Version(_) => code::JOURNAL_VERSION,
            Self::Inconsistent(_) => code::JOURNAL_INCONSISTENT,
            Self::Epoch { .. } => code::EPOCH_NOT_LARGER,
            Self::Time => code::TIME_BACKWARDS,
        }
    }
}

impl From<ChainError> for NodeRecoverError {
    fn from(error: ChainError) -> Self {
        match error {
            ChainError::Malformed => Self::Malformed,
            ChainError::Version(version) => Self::Version(version),
            ChainError::Broken => Self::Inconsistent("the hash chain is broken"),
        }
    }
}
