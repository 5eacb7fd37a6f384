//! What happened in dispatch. Other crates can read events; only this crate creates them and reads them back.

use serde::{Deserialize, Serialize};

use super::{
    payload::Payload,
    record::{Incarnation, RequestState},
};
use crate::{
    capability::{CapabilityName, CapabilitySet},
    digest::Sha256Digest,
    id::{ClientId, DeviceId, RequestId},
    journaled::events,
    time::Mono,
};

/// Whether a device may be given work. The three conditions are independent: ending one does not end another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct DeviceStanding {
    /// The device gets nothing new and finishes what it has.
    pub draining: bool,
    /// The device is not trusted. Its open requests were rejected.
    pub quarantined: bool,
    /// The device is revoked. Its open requests were rejected, and it cannot connect.
    pub revoked: bool,
}

impl DeviceStanding {
    /// Whether none of the three prevents new work.
    pub const fn is_clear(self) -> bool {
        !(self.draining || self.quarantined || self.revoked)
    }
}

/// Why the stream of a device was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DisconnectReason {
    /// The connection ended.
    Closed,
    /// Nothing was heard for longer than the policy's `staleness_ms`.
    Silent,
    /// The device was revoked, or its certificate or its key.
    Revoked,
    /// Another device was paired under the same name, or the device was removed.
    Replaced,
}

events! {
    /// One change of the hard state of dispatch.
    ///
    /// No other crate can create an event or decode one (attack F24):
    ///
    /// ```compile_fail,E0639
    /// use leasehold::{dispatch::DispatchEvent, id::RequestId};
    /// let forged = DispatchEvent::RequestForgotten { request: RequestId::new("r").unwrap() };
    /// ```
    ///
    /// ```compile_fail,E0277
    /// let forged: leasehold::dispatch::DispatchEvent = serde_json::from_str("{}").unwrap();
    /// ```
    DispatchEvent, stored as StoredDispatchEvent;

    /// The grants of a device changed. The first such event makes the device known.
    DeviceGranted {
        /// The device.
        device: DeviceId,
        /// All its grants, replacing the former ones.
        capabilities: CapabilitySet,
    }
    /// The standing of a device changed.
    DeviceStands {
        /// The device.
        device: DeviceId,
        /// Its standing now.
        standing: DeviceStanding,
    }
    /// A device without open requests was removed.
    DeviceRemoved {
        /// The device.
        device: DeviceId,
    }
    /// Another device took over the name. Its incarnations are counted anew.
    DeviceReset {
        /// The device.
        device: DeviceId,
    }
    /// A device opened a stream.
    DeviceConnected {
        /// The device.
        device: DeviceId,
        /// The incarnation of its agent.
        incarnation: Incarnation,
        /// The capabilities that it claims.
        claims: CapabilitySet,
        /// How many requests it accepts at once.
        window: u32,
    }
    /// A device changed how many requests it accepts at once.
    DeviceWindow {
        /// The device.
        device: DeviceId,
        /// How many; zero stops the flow.
        window: u32,
    }
    /// The stream of a device was closed.
    DeviceDisconnected {
        /// The device.
        device: DeviceId,
        /// Why.
        reason: DisconnectReason,
    }
    /// A request was accepted and waits for its device.
    RequestEnqueued {
        /// The request.
        request: RequestId,
        /// The client that asked.
        client: ClientId,
        /// Its number in the order of all requests.
        number: u64,
        /// The device to which it is bound.
        device: DeviceId,
        /// The capability that is asked for.
        capability: CapabilityName,
        /// The bytes for the device.
        payload: Payload,
        /// The largest result that the client accepts, in bytes.
        result_limit: u32,
        /// Whether a person at the device must approve.
        mediated: bool,
        /// The fingerprint of what was asked. It identifies repeats.
        content: Sha256Digest,
        /// When the request was accepted.
        at: Mono,
        /// The first instant at which a result is too late.
        deadline: Mono,
    }
    /// A request was handed to its device, for the first time or again.
    RequestDispatched {
        /// The request.
        request: RequestId,
        /// The incarnation of the agent that receives it.
        incarnation: Incarnation,
        /// The number of the delivery, from 1.
        attempt: u32,
        /// When the request was handed over.
        at: Mono,
    }
    /// The device waits for the approval of the person at it.
    MediationAwaited {
        /// The request.
        request: RequestId,
    }
    /// The person at the device approved.
    MediationApproved {
        /// The request.
        request: RequestId,
    }
    /// A request ended.
    RequestEnded {
        /// The request.
        request: RequestId,
        /// Its final state.
        state: RequestState,
        /// Its result, or what the device says about its failure.
        result: Payload,
        /// When the request ended.
        at: Mono,
        /// When the request may be forgotten.
        forget_at: Mono,
    }
    /// The client has collected the result, and its bytes were discarded.
    ResultCollected {
        /// The request.
        request: RequestId,
    }
    /// The retention of a request ended, and it was forgotten.
    RequestForgotten {
        /// The request.
        request: RequestId,
    }
}
