//! Why dispatch refuses an operation. A refused operation changes nothing.

use crate::code::{self, Code, Coded};

/// Why an operation is refused. Each has a code of its own, listed in [`code`](crate::code).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum DispatchError {
    #[error("no such request")]
    RequestUnknown,
    #[error("a request with this id and other content exists")]
    IdConflict,
    #[error("the request has ended")]
    RequestFinal,
    #[error("the request has not ended")]
    RequestNotFinal,
    #[error("the request was not handed over")]
    NotDispatched,
    #[error("the request was sent to another device")]
    OtherDevice,
    #[error("the message speaks of another delivery than the last one")]
    StaleAttempt,
    #[error("the deadline of the request has passed")]
    Late,
    #[error("the payload is over its limit")]
    RequestTooLarge,
    #[error("the request would take too large a result")]
    ResultLimit,
    #[error("the request gives itself no time, or too much")]
    Deadline,
    #[error("too many requests are open or remembered")]
    Full,
    #[error("too many bytes are held or promised")]
    FullBytes,
    #[error("the queue of the device is full")]
    QueueFull,
    #[error("too many devices are known")]
    DevicesFull,
    #[error("no usable device holds the capability and has room")]
    NoDevice,
    #[error("nothing was granted to such a device")]
    DeviceUnknown,
    #[error("the device is not connected")]
    NotConnected,
    #[error("a newer incarnation of the device has connected")]
    StaleIncarnation,
    #[error("the device takes nothing new")]
    Draining,
    #[error("the device is not trusted")]
    Quarantined,
    #[error("the device was revoked")]
    Revoked,
    #[error("the device still has open requests")]
    DeviceBusy,
    #[error("the capability was not granted to the device")]
    NotGranted,
    #[error("the device does not claim the capability")]
    NotClaimed,
    #[error("the device offers too large a window")]
    Window,
    #[error("the device answered without the local approval that the capability needs")]
    MediationMissing,
    #[error("nobody was waiting for this local approval")]
    MediationOutOfOrder,
    #[error("the state has changed since the decision was made")]
    StaleDecision,
    #[error("a snapshot or journal holds something that cannot have happened")]
    Inconsistent,
}

impl Coded for DispatchError {
    fn code(&self) -> Code {
        match self {
            Self::RequestUnknown => code::DISPATCH_REQUEST_UNKNOWN,
            Self::IdConflict => code::DISPATCH_REQUEST_ID_CONFLICT,
            Self::RequestFinal => code::DISPATCH_REQUEST_FINAL,
            Self::RequestNotFinal => code::DISPATCH_REQUEST_NOT_FINAL,
            Self::NotDispatched => code::DISPATCH_REQUEST_NOT_DISPATCHED,
            Self::OtherDevice => code::DISPATCH_REQUEST_OTHER_DEVICE,
            Self::StaleAttempt => code::DISPATCH_REQUEST_STALE_ATTEMPT,
            Self::Late => code::DISPATCH_REQUEST_LATE,
            Self::RequestTooLarge => code::DISPATCH_REQUEST_TOO_LARGE,
            Self::ResultLimit => code::DISPATCH_REQUEST_RESULT_LIMIT,
            Self::Deadline => code::DISPATCH_REQUEST_DEADLINE,
            Self::Full => code::DISPATCH_FULL,
            Self::FullBytes => code::DISPATCH_FULL_BYTES,
            Self::QueueFull => code::DISPATCH_QUEUE_FULL,
            Self::DevicesFull => code::DISPATCH_DEVICES_FULL,
            Self::NoDevice => code::DISPATCH_NO_DEVICE,
            Self::DeviceUnknown => code::DISPATCH_DEVICE_UNKNOWN,
            Self::NotConnected => code::DISPATCH_DEVICE_NOT_CONNECTED,
            Self::StaleIncarnation => code::DISPATCH_DEVICE_STALE_INCARNATION,
            Self::Draining => code::DISPATCH_DEVICE_DRAINING,
            Self::Quarantined => code::DISPATCH_DEVICE_QUARANTINED,
            Self::Revoked => code::DISPATCH_DEVICE_REVOKED,
            Self::DeviceBusy => code::DISPATCH_DEVICE_BUSY,
            Self::NotGranted => code::DISPATCH_CAPABILITY_NOT_GRANTED,
            Self::NotClaimed => code::DISPATCH_CAPABILITY_NOT_CLAIMED,
            Self::Window => code::DISPATCH_WINDOW,
            Self::MediationMissing => code::DISPATCH_MEDIATION_MISSING,
            Self::MediationOutOfOrder => code::DISPATCH_MEDIATION_OUT_OF_ORDER,
            Self::StaleDecision => code::DISPATCH_STALE_DECISION,
            Self::Inconsistent => code::DISPATCH_INCONSISTENT,
        }
    }
}
