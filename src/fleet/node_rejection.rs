//! How what is asked about paired devices is refused.

use super::rejection::{CommandError, TimeError};
use crate::{
    code::{Code, Coded},
    dispatch::DispatchError,
    identity::{AuthError, DeviceError, pairing::PairingError},
};

/// Why an operation on devices, their pairing or their requests is refused. A refused operation changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// Refused before it was looked at.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The device is not authenticated.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// The registry refuses.
    #[error(transparent)]
    Device(#[from] DeviceError),
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
            Self::Command(error) => error.code(),
            Self::Auth(error) => error.code(),
            Self::Device(error) => error.code(),
            Self::Pairing(error) => error.code(),
            Self::Dispatch(error) => error.code(),
        }
    }
}

impl From<TimeError> for NodeError {
    fn from(error: TimeError) -> Self {
        Self::Command(error.into())
    }
}
