//! Why dispatch refuses an operation. A refused operation changes nothing.

use crate::code::{self, Code, Coded};

/// Why an operation is refused. Each variant has its own code, listed in [`code`](crate::code). A refused
/// operation changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DispatchError {
    /// No request with this id is remembered, or it belongs to another client.
    #[error("no such request")]
    RequestUnknown,
    /// The id belongs to a request with other content.
    #[error("a request with this id and other content exists")]
    IdConflict,
    /// The request has ended, and its final state stays.
    #[error("the request has ended")]
    RequestFinal,
    /// The request has not ended, so there is no result to collect.
    #[error("the request has not ended")]
    RequestNotFinal,
    /// The request was not handed over, so no device can answer it.
    #[error("the request was not handed over")]
    NotDispatched,
    /// The request is bound to another device.
    #[error("the request was sent to another device")]
    OtherDevice,
    /// The message is about an earlier delivery of the request.
    #[error("the message speaks of another delivery than the last one")]
    StaleAttempt,
    /// The deadline of the request has passed.
    #[error("the deadline of the request has passed")]
    Late,
    /// The payload is larger than `max_request_bytes`.
    #[error("the payload is over its limit")]
    RequestTooLarge,
    /// The request accepts a larger result than `max_result_bytes`.
    #[error("the request would take too large a result")]
    ResultLimit,
    /// The time to live is zero or longer than `longest_ttl_ms`.
    #[error("the request gives itself no time, or too much")]
    Deadline,
    /// `max_requests` requests are open or remembered.
    #[error("too many requests are open or remembered")]
    Full,
    /// The payloads and results that are held or promised would exceed `max_total_bytes`.
    #[error("too many bytes are held or promised")]
    FullBytes,
    /// The client holds its share already.
    #[error("the client holds its share: {} bounds it", .0.member())]
    ClientShare(Share),
    /// `max_queue` requests wait for the device.
    #[error("the queue of the device is full")]
    QueueFull,
    /// `max_devices` devices are known.
    #[error("too many devices are known")]
    DevicesFull,
    /// No device that may be chosen holds the capability and has room.
    #[error("no usable device holds the capability and has room")]
    NoDevice,
    /// The device is unknown here: nothing was granted to it.
    #[error("nothing was granted to such a device")]
    DeviceUnknown,
    /// The device has no open stream, or not of this incarnation.
    #[error("the device is not connected")]
    NotConnected,
    /// A newer incarnation of the device has connected.
    #[error("a newer incarnation of the device has connected")]
    StaleIncarnation,
    /// The device is draining and accepts nothing new.
    #[error("the device takes nothing new")]
    Draining,
    /// The device is quarantined.
    #[error("the device is not trusted")]
    Quarantined,
    /// The device is revoked.
    #[error("the device was revoked")]
    Revoked,
    /// The device is connected or has open requests, so it cannot be removed.
    #[error("the device still has open requests")]
    DeviceBusy,
    /// The operator did not grant the capability to the device.
    #[error("the capability was not granted to the device")]
    NotGranted,
    /// The connected device does not claim the capability.
    #[error("the device does not claim the capability")]
    NotClaimed,
    /// The device offers a larger window than `max_window`.
    #[error("the device offers too large a window")]
    Window,
    /// The device answered before it reported the local approval that the capability needs.
    #[error("the device answered without the local approval that the capability needs")]
    MediationMissing,
    /// The device reported a decision for which it did not report to be waiting.
    #[error("nobody was waiting for this local approval")]
    MediationOutOfOrder,
    /// The state has changed since the decision was made. Decide again.
    #[error("the state has changed since the decision was made")]
    StaleDecision,
    /// A snapshot or a journal contains something that cannot have happened.
    #[error("a snapshot or journal holds something that cannot have happened")]
    Inconsistent,
}

/// Which part of its share a client has used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Share {
    /// Requests that are open or remembered.
    Requests,
    /// Bytes that are held or promised.
    Bytes,
    /// Requests that wait for one device.
    Queue,
}

impl Share {
    /// The member of the policy that sets the bound.
    pub const fn member(self) -> &'static str {
        match self {
            Self::Requests => "max_client_requests",
            Self::Bytes => "max_client_bytes",
            Self::Queue => "max_client_queue",
        }
    }
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
            Self::ClientShare(_) => code::DISPATCH_CLIENT_SHARE,
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
