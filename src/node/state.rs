//! `NodeRuntimeState`: registry, pairing sessions and dispatch as one state that is folded from one list of events.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::{
    config::NodeConfig,
    error::NodeRecoverError,
    event::{NodeEvent, NodeRecord},
};
use crate::{
    digest::Sha256Digest,
    dispatch::{DispatchSnapshot, DispatchState},
    fleet::TimeError,
    identity::{
        DeviceRegistry, DeviceRegistrySnapshot, RevocationSubject,
        pairing::{PairingSnapshot, PairingState},
    },
    lease::Epoch,
    time::{Millis, Now},
};

const VERSION: u8 = 1;

/// The hard state of a node runtime. It changes only through events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRuntimeState {
    pub(super) epoch: Epoch,
    pub(super) index: u64,
    pub(super) last: Now,
    pub(super) registry: DeviceRegistry,
    pub(super) pairing: PairingState,
    pub(super) dispatch: DispatchState,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    version: u8,
    chain: Sha256Digest,
    epoch: Epoch,
    index: u64,
    last: Now,
    registry: DeviceRegistrySnapshot,
    pairing: PairingSnapshot,
    dispatch: DispatchSnapshot,
}

impl NodeRuntimeState {
    pub(super) fn new(config: &NodeConfig) -> Self {
        Self {
            epoch: Epoch(0),
            index: 0,
            last: Now::default(),
            registry: DeviceRegistry::new(config.devices, config.index_key),
            pairing: PairingState::new(config.pairing),
            dispatch: DispatchState::new(config.dispatch.clone(), config.index_key),
        }
    }

    /// The epoch of the runtime that is in charge.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The index of the last journal record.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// Who is known, and what is revoked.
    pub fn registry(&self) -> &DeviceRegistry {
        &self.registry
    }

    /// The pairing sessions.
    pub fn pairing(&self) -> &PairingState {
        &self.pairing
    }

    /// The devices' requests, grants and streams.
    pub fn dispatch(&self) -> &DispatchState {
        &self.dispatch
    }

    /// The time that decisions use: the line never goes back, the wall never goes back, and a wall that leapt further
    /// than `step` from the line is taken from the line (invariant 7).
    pub(super) fn discipline(&self, now: Now, step: Millis) -> Result<Now, TimeError> {
        if now.mono < self.last.mono {
            return Err(TimeError::Backwards { last: self.last.mono, now: now.mono });
        }
        let expected = self.last.wall.plus(now.mono.since(self.last.mono));
        let leapt = self.index > 0 && now.wall.0.abs_diff(expected.0) > step.0;
        let wall = if leapt { expected } else { now.wall.max(self.last.wall) };
        Ok(Now { mono: now.mono, wall })
    }

    pub(super) fn evolve(&mut self, event: &NodeEvent) {
        match event {
            NodeEvent::EpochBegan { epoch } => self.epoch = *epoch,
            NodeEvent::Device { change } => self.registry.evolve(change),
            NodeEvent::Pairing { change } => self.pairing.evolve(change),
            NodeEvent::Dispatch { change } => self.dispatch.evolve(change),
        }
    }

    fn admits(&self, event: &NodeEvent) -> bool {
        match event {
            NodeEvent::EpochBegan { epoch } => *epoch > self.epoch,
            NodeEvent::Device { change } => self.registry.admits(change),
            NodeEvent::Pairing { change } => self.pairing.admits(change),
            NodeEvent::Dispatch { change } => self.dispatch.is_possible(change),
        }
    }

    /// Folds a record that was read back, if it can be the next one.
    pub(super) fn fold(&mut self, record: &NodeRecord) -> Result<(), NodeRecoverError> {
        if self.index.checked_add(1) != Some(record.index) {
            return Err(NodeRecoverError::Inconsistent("a journal record is missing or comes twice"));
        }
        if record.at.mono < self.last.mono || record.at.wall < self.last.wall {
            return Err(NodeRecoverError::Inconsistent("the time of a record goes back"));
        }
        for event in &record.events {
            if !self.admits(event) {
                return Err(NodeRecoverError::Inconsistent("an event cannot have happened"));
            }
            self.evolve(event);
        }
        (self.index, self.last) = (record.index, record.at);
        Ok(())
    }

    /// What ties the parts together: dispatch knows registered devices only, and a device is revoked in both or in
    /// neither. Cost: O(n log n); recovery asks once.
    pub(super) fn check(&self) -> Result<(), NodeRecoverError> {
        for device in self.dispatch.devices() {
            if self.registry.get(&device.id).is_none() {
                return Err(NodeRecoverError::Inconsistent("dispatch knows a device that is not registered"));
            }
            let revoked = self.registry.revocation(&RevocationSubject::Device(device.id)).is_some();
            if revoked != device.standing.revoked {
                return Err(NodeRecoverError::Inconsistent(
                    "a revocation is in one part and not in the other",
                ));
            }
        }
        Ok(())
    }

    pub(super) fn to_snapshot(&self, chain: Sha256Digest) -> Option<Vec<u8>> {
        let stored = Stored {
            version: VERSION,
            chain,
            epoch: self.epoch,
            index: self.index,
            last: self.last,
            registry: self.registry.snapshot(),
            pairing: self.pairing.snapshot(),
            dispatch: self.dispatch.snapshot_form(),
        };
        postcard::to_allocvec(&stored).ok()
    }

    pub(super) fn from_snapshot(
        bytes: &[u8],
        config: &NodeConfig,
    ) -> Result<(Self, Sha256Digest), NodeRecoverError> {
        match bytes.first() {
            Some(&VERSION) => {}
            Some(other) => return Err(NodeRecoverError::Version(*other)),
            None => return Err(NodeRecoverError::Malformed),
        }
        let (stored, rest) =
            postcard::take_from_bytes::<Stored>(bytes).map_err(|_| NodeRecoverError::Malformed)?;
        if !rest.is_empty() {
            return Err(NodeRecoverError::Malformed);
        }
        let registry = DeviceRegistry::restore(stored.registry, config.devices, config.index_key)
            .map_err(|_| NodeRecoverError::Inconsistent("the device registry does not load"))?;
        let pairing = PairingState::restore(stored.pairing, config.pairing)
            .map_err(|_| NodeRecoverError::Inconsistent("the pairing sessions do not load"))?;
        let dispatch = DispatchState::from_form(config.dispatch.clone(), config.index_key, stored.dispatch)
            .map_err(|_| NodeRecoverError::Inconsistent("dispatch does not load"))?;
        let state =
            Self { epoch: stored.epoch, index: stored.index, last: stored.last, registry, pairing, dispatch };
        Ok((state, stored.chain))
    }
}
