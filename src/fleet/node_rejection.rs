//! Refusals of operations on paired devices.

use super::command_rejection::{CommandError, TimeError};
use crate::{
    code::{Code, Coded},
    dispatch::DispatchError,
    identity::{AuthError, DeviceError, pairing::PairingError},
};

/// Why an operation on devices, their pairing or their requests is refused. A refused operation changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// The operation was refused before it was decided.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The device is not authenticated.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// The device registry refuses the operation.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The pairing desk refuses the operation.
    #[error(transparent)]
    Pairing(#[from] PairingError),
    /// The dispatch refuses the operation.
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
