//! What devices, services and operators say to dispatch, and what it says back: documents, bounded by their types.
//!
//! The three groups are apart: no decoded message of a device can name an act of an operator. Who speaks is not in
//! the message; the endpoint that authenticated the peer says so.

use serde::{Deserialize, Serialize};

use super::{
    payload::Payload,
    record::{Incarnation, RequestState},
};
use crate::{
    capability::{CapabilityName, CapabilitySet},
    id::{ClientId, DeviceId, RequestId},
    time::Millis,
};

/// What a device says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum DeviceMessage {
    /// A stream is open.
    Connect {
        /// The life of the agent.
        incarnation: Incarnation,
        /// What the device says it can do. It may be asked for what the operator granted of that.
        claims: CapabilitySet,
        /// How many requests it takes at once: its credit.
        window: u32,
    },
    /// The device takes more or fewer requests at once. Zero stops the flow; what was handed over stays.
    Window {
        /// The life of the agent.
        incarnation: Incarnation,
        /// How many.
        window: u32,
    },
    /// The device is there.
    Heartbeat {
        /// The life of the agent.
        incarnation: Incarnation,
    },
    /// How the local approval of a request goes.
    Mediation {
        /// The life of the agent.
        incarnation: Incarnation,
        /// The request.
        request: RequestId,
        /// The delivery that this is about.
        attempt: u32,
        /// What happened.
        step: MediationStep,
    },
    /// The end of a request, as the device sees it.
    Answer {
        /// The life of the agent.
        incarnation: Incarnation,
        /// The request.
        request: RequestId,
        /// The delivery that this is about.
        attempt: u32,
        /// How it ended.
        outcome: Outcome,
    },
}

/// One step of a local approval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum MediationStep {
    /// The person at the device was asked.
    Awaiting,
    /// The person said yes.
    Approved,
    /// The person said no.
    Denied,
}

/// How a request ended on the device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// It ran; this is the result.
    Succeeded(Payload),
    /// It ran and failed; this is what the device says about it.
    Failed(Payload),
    /// It ran, and the result is over the limit; it was not sent.
    TooLarge,
    /// The agent had it and does not know what became of it.
    Lost,
    /// The agent did not run it.
    Refused,
}

/// The device of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Target {
    /// This one. Where it is away, the request waits for it until the deadline.
    Device(DeviceId),
    /// The one that was used least recently, of those that hold the capability, were heard in time and have room.
    Any,
}

/// A capability request, as a client asks for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnqueueRequest {
    /// Its id, chosen by the client. The same id with the same content is the same request.
    pub request: RequestId,
    /// Which device.
    pub target: Target,
    /// What is asked for.
    pub capability: CapabilityName,
    /// The bytes for the device.
    pub payload: Payload,
    /// The largest result that the client takes, in bytes.
    pub result_limit: u32,
    /// The time from now to the result, in milliseconds, over zero.
    pub ttl_ms: Millis,
}

/// What a client asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum DispatchRequest {
    /// Send this to a device.
    Enqueue(EnqueueRequest),
    /// Stop one of the client's own requests.
    Cancel {
        /// The request.
        request: RequestId,
    },
    /// The client has the result of one of its own requests; its bytes may go.
    Collect {
        /// The request.
        request: RequestId,
    },
}

/// What an operator orders.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum DispatchCommand {
    /// These are all the capabilities that the device may be asked for. A device is known from its first grant on.
    Grant {
        /// The device.
        device: DeviceId,
        /// All its grants; what it had and is not here is taken away.
        capabilities: CapabilitySet,
    },
    /// Nothing new for the device.
    Drain {
        /// The device.
        device: DeviceId,
    },
    /// New work for the device again.
    Undrain {
        /// The device.
        device: DeviceId,
    },
    /// The device is not trusted: reject what it has, send it nothing.
    Quarantine {
        /// The device.
        device: DeviceId,
    },
    /// The device is trusted again.
    Release {
        /// The device.
        device: DeviceId,
    },
    /// The device is revoked: reject what it has, close its stream, take no message from it.
    Revoke {
        /// The device.
        device: DeviceId,
    },
    /// The revocation was lifted.
    Reinstate {
        /// The device.
        device: DeviceId,
    },
    /// Forget a device, its grants too. Only without open requests, and not while it is quarantined or revoked.
    Remove {
        /// The device.
        device: DeviceId,
    },
    /// Stop a request of any client.
    Cancel {
        /// The request.
        request: RequestId,
    },
}

/// A request on its way to a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delivery {
    /// The request.
    pub request: RequestId,
    /// Its number: it grows from request to request, and a delivery out of order is not executed.
    pub number: u64,
    /// The incarnation that it is for, and no other.
    pub incarnation: Incarnation,
    /// Which delivery of this request this is, from one.
    pub attempt: u32,
    /// What is asked for.
    pub capability: CapabilityName,
    /// The bytes.
    pub payload: Payload,
    /// The largest result, in bytes.
    pub result_limit: u32,
    /// The time that was left when it was sent, in milliseconds.
    pub ttl_ms: Millis,
    /// Whether the person at the device must approve before it runs.
    pub mediated: bool,
}

/// What follows from accepted events. Act on it only after they last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DispatchEffect {
    /// Hand this to the device.
    Deliver {
        /// The device.
        device: DeviceId,
        /// What.
        delivery: Delivery,
    },
    /// Tell the device that a request has ended: stop it if it runs, forget its answer.
    Settle {
        /// The device.
        device: DeviceId,
        /// The request.
        request: RequestId,
    },
    /// Close the stream of the device.
    Close {
        /// The device.
        device: DeviceId,
    },
    /// Tell the client that its request has ended.
    Finished {
        /// The client.
        client: ClientId,
        /// The request.
        request: RequestId,
        /// How.
        state: RequestState,
    },
}
