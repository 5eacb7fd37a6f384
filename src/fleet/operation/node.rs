//! What is asked about paired devices and what they are asked for: by devices, services, operators and the endpoint.

use serde::{Deserialize, Serialize};

use super::Operation;
use crate::{
    dispatch::{DeviceMessage, DispatchCommand, EnqueueRequest, Enqueued, Incarnation},
    fleet::node_rejection::NodeError,
    id::{DeviceId, RequestId},
    identity::{DeviceCertificate, OverlapEnd},
    time::Millis,
};

/// A device's word to dispatch, over its own authenticated connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TellDispatch {
    /// What it says.
    pub message: DeviceMessage,
}

/// A connection authenticated with the certificate of the principal. Where it is the next one of a rotation, the
/// overlap ends: the former certificate is retired and its connections are cut.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfirmUse {}

/// A device revokes itself. Only an operator can take that back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevokeSelf {}

/// A device begins the rotation of its own certificate: the issuer has signed the next one for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RotateSelf {
    /// The next certificate.
    pub next: DeviceCertificate,
    /// How long both are accepted at most.
    pub overlap: Millis,
    /// What happens where the next one is not used by then.
    pub at_deadline: OverlapEnd,
}

impl RotateSelf {
    /// A rotation to `next`.
    pub const fn new(next: DeviceCertificate, overlap: Millis, at_deadline: OverlapEnd) -> Self {
        Self { next, overlap, at_deadline }
    }
}

/// The connection of a device's stream is gone. What the device has in hand stays there until the deadline.
///
/// The endpoint's own: no peer and no operator says it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct StreamEnded {
    /// The device.
    pub device: DeviceId,
    /// The life of the agent whose stream it was.
    pub incarnation: Incarnation,
}

impl StreamEnded {
    /// The stream of `incarnation` of `device` ended.
    pub const fn new(device: DeviceId, incarnation: Incarnation) -> Self {
        Self { device, incarnation }
    }
}

/// Sends a request to a device. The same id with the same content is the same request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enqueue {
    /// What is asked.
    pub ask: EnqueueRequest,
}

/// Stops one of the client's own requests; an operator stops any.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CancelRequest {
    /// The request.
    pub request: RequestId,
}

/// The client has the result of one of its own requests; its bytes may go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CollectResult {
    /// The request.
    pub request: RequestId,
}

/// An operator's order about a device's grants and standing, or about a request. Revoking, reinstating and removing
/// go through the registry, so that no device is revoked in one part and not in the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderDispatch {
    /// What is ordered.
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
    StreamEnded => ();
    Enqueue => Enqueued;
    CancelRequest => ();
    CollectResult => ();
    OrderDispatch => ();
}
