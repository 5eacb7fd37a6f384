//! The hard state of dispatch and the questions that can be asked of it.

#[cfg(any(test, feature = "testing"))]
use alloc::{collections::BTreeMap, vec::Vec};
use core::fmt;

use serde::Serialize;

use super::{
    device::Device,
    event::DeviceStanding,
    held::Requests,
    order::{Nodes, Order},
    policy::DispatchPolicy,
    ready::Ready,
    record::{CapabilityRequestRecord, Incarnation},
    senders::Senders,
};
#[cfg(any(test, feature = "testing"))]
use crate::capability::CapabilityName;
use crate::{
    capability::CapabilitySet,
    id::{DeviceId, RequestId},
    index::Slot,
    slab::KeyedSlab,
    time::Mono,
};

/// When the core looks at a request, and its number.
pub(super) type Timer = (Mono, u64);

/// The hard state of dispatch: devices with their grants, and requests. It changes only through events.
///
/// Two states are equal when their policies, devices and requests are; the indexes follow from those.
#[derive(Clone)]
pub struct DispatchState {
    pub(crate) policy: DispatchPolicy,
    /// Events folded so far.
    pub(crate) version: u64,
    /// The latest time that an event carried. Decisions never use an earlier one.
    pub(crate) clock: Mono,
    /// The next number, for a request or for a device that arrives.
    pub(crate) next_number: u64,
    pub(crate) devices: KeyedSlab<Device>,
    pub(crate) requests: Requests,
    /// Bytes held by ended requests and promised to open ones.
    pub(crate) bytes: u64,
    pub(crate) open: u64,
    pub(crate) in_flight: u64,
    /// Devices that may be chosen, by capability, least recently used first.
    pub(super) ready: Ready,
    /// Devices with something to hand over and credit for it, the oldest request first.
    pub(super) senders: Senders,
    /// Deadlines of open requests and ends of retention of ended ones.
    pub(super) timers: Order<Timer>,
    /// The place of each request there, by slot.
    pub(super) timed: Nodes<Timer, ()>,
}

impl PartialEq for DispatchState {
    fn eq(&self, other: &Self) -> bool {
        let own = (&self.policy, self.version, self.clock, self.next_number);
        own == (&other.policy, other.version, other.clock, other.next_number)
            && self.devices == other.devices
            && self.requests.held == other.requests.held
    }
}

impl Eq for DispatchState {}

impl fmt::Debug for DispatchState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DispatchState")
            .field("version", &self.version)
            .field("clock", &self.clock)
            .field("devices", &self.devices)
            .field("requests", &self.requests.held)
            .finish_non_exhaustive()
    }
}

/// What dispatch knows of a device, for people and for tests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DeviceView {
    /// The device.
    pub id: DeviceId,
    /// What the operator granted.
    pub grants: CapabilitySet,
    /// What the device claims now. Empty while it has no stream open.
    pub claims: CapabilitySet,
    /// What it may be asked for: granted and claimed.
    pub effective: CapabilitySet,
    /// Its standing.
    pub standing: DeviceStanding,
    /// Whether its stream is open.
    pub connected: bool,
    /// The newest incarnation that ever connected.
    pub incarnation: Incarnation,
    /// How many requests it takes at once.
    pub window: u32,
    /// How many wait for it.
    pub queued: usize,
    /// How many it has in hand.
    pub in_flight: usize,
}

/// Dispatch in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DispatchCounts {
    /// Devices known.
    pub devices: u64,
    /// Requests remembered, open ones included.
    pub requests: u64,
    /// Requests that have not ended.
    pub open: u64,
    /// Of those, the ones that a device has in hand.
    pub in_flight: u64,
    /// Bytes held by results and promised to open requests.
    pub bytes: u64,
}

impl DispatchState {
    /// An empty state. `index_key` keys the index of ids, which peers choose: take it from a random source.
    pub fn new(policy: DispatchPolicy, index_key: [u8; 16]) -> Self {
        Self {
            policy,
            version: 0,
            clock: Mono::START,
            next_number: 1,
            devices: KeyedSlab::new(index_key),
            requests: Requests::new(index_key),
            bytes: 0,
            open: 0,
            in_flight: 0,
            ready: Ready::default(),
            senders: Senders::default(),
            timers: Order::default(),
            timed: Nodes::default(),
        }
    }

    /// The policy.
    pub fn policy(&self) -> &DispatchPolicy {
        &self.policy
    }

    /// How many events made this state.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The request with this id, for as long as it is remembered. Cost: O(1).
    pub fn record(&self, request: &RequestId) -> Option<&CapabilityRequestRecord> {
        self.requests.get_by(request.as_str().as_bytes()).map(|held| &held.record)
    }

    /// What is known of a device. Cost: O(1), apart from copying.
    pub fn device(&self, device: &DeviceId) -> Option<DeviceView> {
        self.devices.get_by(device.as_str().as_bytes()).map(|known| DeviceView {
            id: known.id.clone(),
            grants: known.grants.clone(),
            claims: known.session.as_ref().map(|session| session.claims.clone()).unwrap_or_default(),
            effective: known.effective.clone(),
            standing: known.standing,
            connected: known.session.is_some(),
            incarnation: known.incarnation,
            window: known.session.as_ref().map_or(0, |session| session.window),
            queued: known.waiting.len(),
            in_flight: known.in_hand.len(),
        })
    }

    /// The devices in the order of their ids. Cost: O(n log n); for people, not for decisions.
    pub fn devices(&self) -> impl Iterator<Item = DeviceView> {
        self.devices.sorted().into_iter().filter_map(|known| self.device(&known.id))
    }

    /// The requests in the order of their ids. Cost: O(n log n); for people, not for decisions.
    pub fn records(&self) -> impl Iterator<Item = &CapabilityRequestRecord> {
        self.requests.sorted().into_iter().map(|held| &held.record)
    }

    /// Dispatch in numbers. Cost: O(1).
    pub fn counts(&self) -> DispatchCounts {
        let count = |len: usize| u64::try_from(len).unwrap_or(u64::MAX);
        DispatchCounts {
            devices: count(self.devices.len()),
            requests: count(self.requests.len()),
            open: self.open,
            in_flight: self.in_flight,
            bytes: self.bytes,
        }
    }

    /// When the next request runs out of time or of retention. Cost: O(1).
    ///
    /// Silence of devices is soft: ask [`DispatchLiveness::next_silence`](super::DispatchLiveness::next_silence) too.
    pub fn next_deadline(&self) -> Option<Mono> {
        self.timers.first(&self.timed).map(|(at, _)| at)
    }

    /// Puts other bounds in force; [`Self::fits`] was asked.
    pub(crate) fn set_policy(&mut self, policy: DispatchPolicy) {
        self.policy = policy;
    }

    /// Whether what is held fits into other bounds. Queues, windows and payloads that are over smaller ones drain.
    pub(crate) fn fits(&self, policy: &DispatchPolicy) -> Result<(), &'static str> {
        let over = |len: usize, most: u32| u64::try_from(len).unwrap_or(u64::MAX) > u64::from(most);
        if over(self.devices.len(), policy.bounds().max_devices) {
            return Err("dispatch.max_devices");
        }
        if over(self.requests.len(), policy.bounds().max_requests) {
            return Err("dispatch.max_requests");
        }
        Ok(())
    }

    /// Whether nothing was ever granted to any device: most fleets.
    pub(crate) fn is_idle(&self) -> bool {
        self.devices.len() == 0
    }

    /// Whether a device has credit and something that waits for it.
    pub(crate) fn waits_to_be_sent(&self) -> bool {
        !self.senders.is_empty()
    }

    /// Every device, and whether it is revoked.
    pub(crate) fn standings(&self) -> impl Iterator<Item = (&DeviceId, bool)> {
        self.devices.enumerate().map(|(_, device)| (&device.id, device.standing.revoked))
    }

    pub(crate) fn device_slot(&self, device: &DeviceId) -> Option<Slot> {
        self.devices.find(device.as_str().as_bytes())
    }

    /// How much is in a tree, which costs what a tree costs.
    #[cfg(test)]
    pub(super) fn strays(&self) -> usize {
        self.ready.strays() + self.senders.strays() + self.timers.strays()
    }

    /// The indexes by what they name, without slots: two states that are equal must agree in this too.
    #[cfg(any(test, feature = "testing"))]
    #[allow(clippy::type_complexity)]
    pub(crate) fn index_view(
        &self,
    ) -> (BTreeMap<CapabilityName, Vec<u64>>, Vec<u64>, Vec<(Mono, u64)>, u64, u64, u64) {
        let holders = |name: &CapabilityName| self.ready.holders(name).map(|(used, _)| used).collect();
        (
            self.ready.names().map(|name| (name.clone(), holders(name))).collect(),
            self.senders.iter().map(|(head, _)| head).collect(),
            self.timers.iter(&self.timed).map(|(timer, _)| timer).collect(),
            self.bytes,
            self.open,
            self.in_flight,
        )
    }
}
