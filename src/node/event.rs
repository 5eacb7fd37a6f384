//! What happened to devices, their pairing and their requests: the events of the parts, wrapped, in records.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::{
    dispatch::{DispatchEvent, StoredDispatchEvent},
    id::{ClientId, DeviceId},
    identity::{
        DeviceEvent, StoredDeviceEvent,
        pairing::{PairingEvent, StoredPairingEvent},
    },
    journaled::events,
    lease::Epoch,
    time::Now,
};

events! {
    /// One change of [`NodeRuntimeState`](super::NodeRuntimeState).
    NodeEvent, stored as StoredNodeEvent;

    /// A runtime took over, with an epoch larger than every one before.
    EpochBegan {
        /// The epoch.
        epoch: Epoch,
    }
    /// The device registry changed.
    Device {
        /// How.
        change: DeviceEvent as StoredDeviceEvent,
    }
    /// A pairing session changed.
    Pairing {
        /// How.
        change: PairingEvent as StoredPairingEvent,
    }
    /// Dispatch changed.
    Dispatch {
        /// How.
        change: DispatchEvent as StoredDispatchEvent,
    }
}

/// Who caused a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum NodePrincipal {
    /// The runtime itself: time passed.
    Core,
    /// A peer that is pairing, and has proved nothing before.
    Stranger,
    /// A device, authenticated by its certificate.
    Device(DeviceId),
    /// A client of dispatch.
    Client(ClientId),
    /// An operator.
    Operator(ClientId),
}

/// One journal record: what one operation changed, all of it or nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct NodeRecord {
    /// Its place in the journal, from one.
    pub index: u64,
    /// When.
    pub at: Now,
    /// Who.
    pub principal: NodePrincipal,
    /// What changed.
    pub events: Vec<NodeEvent>,
}
