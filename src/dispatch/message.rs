//! The messages between dispatch and devices, services and operators. Their types bound them.
//!
//! The three groups are separate types, so that no decoded message of a device can name an operator's order.
//! A message does not name its sender; the endpoint that authenticated the peer does.

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

/// A message of a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum DeviceMessage {
    /// The device opens a stream.
    Connect {
        /// The incarnation of the agent.
        incarnation: Incarnation,
        /// The capabilities that the device claims. It may be asked for those that the operator granted as
        /// well.
        claims: CapabilitySet,
        /// How many requests the device accepts at once: its credit.
        window: u32,
    },
    /// The device accepts more or fewer requests at once. Zero stops the flow; requests that were handed over
    /// stay.
    Window {
        /// The incarnation of the agent.
        incarnation: Incarnation,
        /// How many requests it accepts at once.
        window: u32,
    },
    /// The device is alive.
    Heartbeat {
        /// The incarnation of the agent.
        incarnation: Incarnation,
    },
    /// The progress of the local approval of a request.
    Mediation {
        /// The incarnation of the agent.
        incarnation: Incarnation,
        /// The request.
        request: RequestId,
        /// The number of the delivery.
        attempt: u32,
        /// The step.
        step: MediationStep,
    },
    /// The end of a request on the device.
    Answer {
        /// The incarnation of the agent.
        incarnation: Incarnation,
        /// The request.
        request: RequestId,
        /// The number of the delivery.
        attempt: u32,
        /// How the request ended.
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
    /// The person approved.
    Approved,
    /// The person refused.
    Denied,
}

/// How a request ended on the device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// The request ran, with this result.
    Succeeded(Payload),
    /// The request ran and failed. The bytes say what the device knows about it.
    Failed(Payload),
    /// The request ran, and its result exceeds the limit. The result was not sent.
    TooLarge,
    /// The agent had the request and does not know what became of it.
    Lost,
    /// The agent did not run the request.
    Refused,
}

/// The device that a request is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Target {
    /// This device. If it is not connected, the request waits for it until the deadline.
    Device(DeviceId),
    /// The least recently used device among those that hold the capability, were heard in time and have room.
    Any,
}

/// A capability request of a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnqueueRequest {
    /// The id, chosen by the client. The same id with the same content is the same request.
    pub request: RequestId,
    /// The device that the request is for.
    pub target: Target,
    /// The capability that is asked for.
    pub capability: CapabilityName,
    /// The bytes for the device.
    pub payload: Payload,
    /// The largest result that the client accepts, in bytes.
    pub result_limit: u32,
    /// The time from now to the deadline, in milliseconds. Must not be zero.
    pub ttl_ms: Millis,
}

/// An operation of a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum DispatchRequest {
    /// Send a request to a device.
    Enqueue(EnqueueRequest),
    /// Stop one of the client's own requests.
    Cancel {
        /// The request.
        request: RequestId,
    },
    /// Discard the result of one of the client's own requests, because the client has received it.
    Collect {
        /// The request.
        request: RequestId,
    },
}

/// An order of an operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum DispatchCommand {
    /// Replace the capabilities that the device may be asked for. The first grant makes the device known.
    Grant {
        /// The device.
        device: DeviceId,
        /// All its grants. A former grant that is not in the set is withdrawn.
        capabilities: CapabilitySet,
    },
    /// Give the device nothing new.
    Drain {
        /// The device.
        device: DeviceId,
    },
    /// Give the device new work again.
    Undrain {
        /// The device.
        device: DeviceId,
    },
    /// Stop trusting the device: reject its open requests and send it nothing.
    Quarantine {
        /// The device.
        device: DeviceId,
    },
    /// Trust the device again.
    Release {
        /// The device.
        device: DeviceId,
    },
    /// Revoke the device: reject its open requests, close its stream, and accept no message from it.
    Revoke {
        /// The device.
        device: DeviceId,
    },
    /// Lift the revocation.
    Reinstate {
        /// The device.
        device: DeviceId,
    },
    /// Remove the device and its grants. Refused while it is connected, has open requests, or is quarantined
    /// or revoked.
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
    /// The number of the request. Numbers grow from request to request, and a delivery out of order is not
    /// executed.
    pub number: u64,
    /// The only incarnation that may execute it.
    pub incarnation: Incarnation,
    /// The number of the delivery, from 1.
    pub attempt: u32,
    /// The capability that is asked for.
    pub capability: CapabilityName,
    /// The bytes for the device.
    pub payload: Payload,
    /// The largest result that the client accepts, in bytes.
    pub result_limit: u32,
    /// The time that was left when the request was sent, in milliseconds.
    pub ttl_ms: Millis,
    /// Whether the person at the device must approve before it runs.
    pub mediated: bool,
}

/// What follows from accepted events. Act on an effect only once the events are durable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DispatchEffect {
    /// Hand a request to the device.
    Deliver {
        /// The device.
        device: DeviceId,
        /// The delivery.
        delivery: Delivery,
    },
    /// Tell the device that a request has ended, so that it stops the request if it runs and forgets the
    /// answer.
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
        /// Its final state.
        state: RequestState,
    },
}
