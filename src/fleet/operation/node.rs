//! Operations on paired devices and their requests, by devices, services, operators and the endpoint.

use serde::{Deserialize, Serialize};

use super::Operation;
use crate::{
    dispatch::{DeviceMessage, DispatchCommand, EnqueueRequest, Enqueued, Incarnation},
    fleet::node_rejection::NodeError,
    id::{DeviceId, RequestId},
    identity::{DeviceCertificate, OverlapEnd},
    time::Millis,
};

/// A device's message to dispatch, over its own authenticated connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TellDispatch {
    /// The message.
    pub message: DeviceMessage,
}

/// A connection authenticated with the principal's certificate. If that is the next certificate of a
/// rotation, the overlap ends: the former certificate is retired and its connections are cut.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfirmUse {}

/// A device revokes itself. Only an operator can clear that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevokeSelf {}

/// A device begins the rotation of its own certificate, for which the issuer has signed the next one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RotateSelf {
    /// The next certificate.
    pub next: DeviceCertificate,
    /// How long both certificates are accepted at most.
    pub overlap: Millis,
    /// What happens if the next certificate is not used within `overlap`.
    pub at_deadline: OverlapEnd,
}

impl RotateSelf {
    /// A rotation to `next`.
    pub const fn new(next: DeviceCertificate, overlap: Millis, at_deadline: OverlapEnd) -> Self {
        Self { next, overlap, at_deadline }
    }
}

/// A device whose certificate has expired begins the rotation to its next one, within the policy's grace and under an
/// operator's standing order ([`DeviceCommand::OrderRenewals`](crate::identity::DeviceCommand::OrderRenewals)). The
/// connection proved the key of the expired certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RenewSelf {
    /// The next certificate.
    pub next: DeviceCertificate,
    /// How long the next certificate may go unused.
    pub overlap: Millis,
}

impl RenewSelf {
    /// A renewal to `next`.
    pub const fn new(next: DeviceCertificate, overlap: Millis) -> Self {
        Self { next, overlap }
    }
}

/// The principal's certificate was rotated away, and its holder asked for the next one. The device's identity
/// is in two places, so the device is revoked.
///
/// Only the endpoint submits this operation, when it gets such a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReportClone {}

/// The connection of a device's stream is gone. The device keeps the requests that it was given until their
/// deadline.
///
/// Only the endpoint submits this operation; no peer and no operator can.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct StreamEnded {
    /// The device.
    pub device: DeviceId,
    /// The incarnation of the agent whose stream it was.
    pub incarnation: Incarnation,
}

impl StreamEnded {
    /// The stream of this incarnation of `device` ended.
    pub const fn new(device: DeviceId, incarnation: Incarnation) -> Self {
        Self { device, incarnation }
    }
}

/// Sends a request to a device. A repeat with the same id and the same content is the same request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enqueue {
    /// The request.
    pub ask: EnqueueRequest,
}

/// Stops a request. A service can stop its own requests, an operator any.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CancelRequest {
    /// The request.
    pub request: RequestId,
}

/// The client has received the result of one of its own requests, so its bytes may be discarded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CollectResult {
    /// The request.
    pub request: RequestId,
}

/// An operator's order about a device's grants and standing, or about a request. Revoking, reinstating and
/// removing a device go through the registry, so that a device is revoked in every part or in none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderDispatch {
    /// The order.
    pub order: DispatchCommand,
}

macro_rules! answered {
    ($($operation:ident => $answer:ty;)+) => {$(
        impl Operation for $operation {
            type Answer = $answer;
            type Error = NodeError;
        }
    )+};
}

answered! {
    TellDispatch => ();
    ConfirmUse => ();
    RevokeSelf => ();
    RotateSelf => ();
    RenewSelf => ();
    ReportClone => ();
    StreamEnded => ();
    Enqueue => Enqueued;
    CancelRequest => ();
    CollectResult => ();
    OrderDispatch => ();
}
