//! What a paired device says over its stream besides what a worker says, and what it is told.

use serde::{Deserialize, Serialize};

use super::{AnchorNotice, Document, Refusal, WireBytes};
use crate::{
    dispatch::{Delivery, DeviceMessage},
    id::{FleetId, RequestId},
    lease::Epoch,
    protocol::frame::FrameKind,
    time::Millis,
};

/// A device's message under its number. The answer names the number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeRequest {
    /// The number. It grows on one connection.
    pub sequence: u64,
    /// What is said.
    pub message: NodeMessage,
}

impl Document for NodeRequest {
    const KIND: FrameKind = FrameKind::Node;
}

/// What a paired device may say. Nothing in here can name an act of an operator or a service (attack F24).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum NodeMessage {
    /// Opens the session: the first of these on a connection, and only the first.
    Hello {
        /// The highest epoch that the device has seen. A coordinator below it is refused by the device.
        epoch: Epoch,
    },
    /// A word to dispatch.
    Tell(DeviceMessage),
    /// Asks for another certificate, for a key that the device made.
    Rotate {
        /// The certificate request (PKCS #10, DER).
        request: WireBytes,
    },
    /// The device revokes itself: it is lost, or leaves. The answer is that the connection is closed.
    RevokeSelf {},
}

/// A coordinator's word to a paired device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum NodeWord {
    /// A message was accepted, and what it led to is durable.
    Answer {
        /// Its number.
        sequence: u64,
        /// The answer.
        answer: NodeAnswer,
    },
    /// A message was refused.
    Refused {
        /// Its number.
        sequence: u64,
        /// Why.
        refusal: Refusal,
    },
    /// Execute this, once.
    Deliver(Delivery),
    /// A request has ended: stop it where it runs, forget its answer.
    Settle {
        /// The request.
        request: RequestId,
    },
    /// What takes over from the certificate that this connection was made with. After the welcome only.
    Anchors(AnchorNotice),
    /// The policy has another rhythm from here on. After the welcome only.
    Rhythm {
        /// Say something at least this often.
        heartbeat_every: Millis,
    },
}

impl Document for NodeWord {
    const KIND: FrameKind = FrameKind::Dispatch;
}

/// An accepted message's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum NodeAnswer {
    /// The session is open.
    Welcome {
        /// The fleet.
        fleet: FleetId,
        /// The coordinator's epoch. A device that has seen a higher one leaves.
        epoch: Epoch,
        /// Say something at least this often.
        heartbeat_every: Millis,
    },
    /// It was taken.
    Told {},
    /// The next certificate, which is accepted beside the one in force until it is first used, or its overlap ends.
    Certificate {
        /// The certificate, DER.
        certificate: WireBytes,
    },
}
