//! What happened in dispatch. Events are for reading; only this crate makes them, and only recovery reads them back.

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

/// Whether a device may be given work. The three are apart from each other: none releases another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct DeviceStanding {
    /// Takes nothing new; finishes what it has.
    pub draining: bool,
    /// Not trusted: what it had was rejected.
    pub quarantined: bool,
    /// Revoked: what it had was rejected, and it cannot connect.
    pub revoked: bool,
}

impl DeviceStanding {
    /// Whether nothing stands against new work.
    pub const fn is_clear(self) -> bool {
        !(self.draining || self.quarantined || self.revoked)
    }
}

/// Why the stream of a device counts as closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DisconnectReason {
    /// The connection ended.
    Closed,
    /// Nothing was heard for longer than the policy's staleness.
    Silent,
    /// The device was revoked, or the certificate or the key that it had.
    Revoked,
    /// Another device was paired under the same name, or the device was removed.
    Replaced,
}

events! {
    /// One change of the hard state of dispatch.
    ///
    /// An event can neither be built nor read back outside this crate (ATTACKS F24):
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

    /// The operator's grants of a device are now these. The first such event makes the device known.
    DeviceGranted {
        /// The device.
        device: DeviceId,
        /// All its grants.
        capabilities: CapabilitySet,
    }
    /// The standing of a device is now this.
    DeviceStands {
        /// The device.
        device: DeviceId,
        /// Its standing.
        standing: DeviceStanding,
    }
    /// A device without open requests is no longer known.
    DeviceRemoved {
        /// The device.
        device: DeviceId,
    }
    /// Another device has the name from here on: its incarnations begin anew.
    DeviceReset {
        /// The device.
        device: DeviceId,
    }
    /// A device has a stream open.
    DeviceConnected {
        /// The device.
        device: DeviceId,
        /// The life of its agent.
        incarnation: Incarnation,
        /// What it says it can do.
        claims: CapabilitySet,
        /// How many requests it takes at once.
        window: u32,
    }
    /// A device takes this many requests at once from now on.
    DeviceWindow {
        /// The device.
        device: DeviceId,
        /// How many; zero stops the flow.
        window: u32,
    }
    /// The stream of a device is closed.
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
        /// Who asked.
        client: ClientId,
        /// Its place in the order of all requests.
        number: u64,
        /// The device that it is bound to.
        device: DeviceId,
        /// What is asked for.
        capability: CapabilityName,
        /// The bytes for the device.
        payload: Payload,
        /// The largest result, in bytes.
        result_limit: u32,
        /// Whether a person at the device must approve.
        mediated: bool,
        /// The fingerprint of what was asked, by which a repeat is known.
        content: Sha256Digest,
        /// When.
        at: Mono,
        /// The first instant at which a result is too late.
        deadline: Mono,
    }
    /// A request was handed to its device, for the first time or again.
    RequestDispatched {
        /// The request.
        request: RequestId,
        /// The life of the agent that gets it.
        incarnation: Incarnation,
        /// Which delivery this is, from one.
        attempt: u32,
        /// When.
        at: Mono,
    }
    /// The device waits for the person in front of it.
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
        /// When.
        at: Mono,
        /// When it may be forgotten.
        forget_at: Mono,
    }
    /// The client has the result; its bytes are dropped.
    ResultCollected {
        /// The request.
        request: RequestId,
    }
    /// The retention of a request is over.
    RequestForgotten {
        /// The request.
        request: RequestId,
    }
}
