//! The hard state of dispatch, and its queries.

#[cfg(any(test, feature = "testing"))]
use alloc::{collections::BTreeMap, vec::Vec};
use core::fmt;

use serde::Serialize;

use super::{
    client::ClientUse,
    device::Device,
    event::DeviceStanding,
    held::Requests,
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
    order::{Nodes, Order},
    slab::KeyedSlab,
    time::Mono,
};

/// When a request must be looked at, and its number.
pub(super) type Timer = (Mono, u64);

/// The hard state of dispatch: devices with their grants, and requests. It changes only through events.
///
/// Two states are equal if their policies, devices and requests are equal; the indexes are derived from
/// those.
#[derive(Clone)]
pub struct DispatchState {
    pub(crate) policy: DispatchPolicy,
    /// How many events were folded.
    pub(crate) version: u64,
    /// The latest time that an event carried. No decision uses an earlier one.
    pub(crate) clock: Mono,
    /// The next number, for a request or for a new device.
    pub(crate) next_number: u64,
    pub(crate) devices: KeyedSlab<Device>,
    pub(crate) requests: Requests,
    /// What each client holds. Derived from the requests.
    pub(super) clients: KeyedSlab<ClientUse>,
    /// The bytes that ended requests hold and that open requests were promised.
    pub(crate) bytes: u64,
    pub(crate) open: u64,
    pub(crate) in_flight: u64,
    /// The devices that may be chosen, by capability, least recently used first.
    pub(super) ready: Ready,
    /// The devices that have a waiting request and credit for it, oldest request first.
    pub(super) senders: Senders,
    /// The deadlines of open requests and the ends of retention of ended ones.
    pub(super) timers: Order<Timer>,
    /// The place of each request in `timers`, by slot.
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

/// What dispatch knows of a device, for displays and tests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DeviceView {
    /// The device.
    pub id: DeviceId,
    /// The capabilities that the operator granted.
    pub grants: CapabilitySet,
    /// The capabilities that the device claims. Empty while it has no open stream.
    pub claims: CapabilitySet,
    /// What the device may be asked for: capabilities that are both granted and claimed.
    pub effective: CapabilitySet,
    /// Its standing.
    pub standing: DeviceStanding,
    /// Whether its stream is open.
    pub connected: bool,
    /// The newest incarnation that ever connected.
    pub incarnation: Incarnation,
    /// How many requests it accepts at once.
    pub window: u32,
    /// How many requests wait for it.
    pub queued: usize,
    /// How many requests it holds.
    pub in_flight: usize,
}

/// The numbers of dispatch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DispatchCounts {
    /// Known devices.
    pub devices: u64,
    /// Remembered requests, including open ones.
    pub requests: u64,
    /// Requests that have not ended.
    pub open: u64,
    /// Requests that have not ended and that a device holds.
    pub in_flight: u64,
    /// The bytes that results hold and that open requests were promised.
    pub bytes: u64,
}

impl DispatchState {
    /// An empty state. `index_key` keys the hash of ids, which peers choose. Take it from a random source.
    pub fn new(policy: DispatchPolicy, index_key: [u8; 16]) -> Self {
        Self {
            policy,
            version: 0,
            clock: Mono::START,
            next_number: 1,
            devices: KeyedSlab::new(index_key),
            requests: Requests::new(index_key),
            clients: KeyedSlab::new(index_key),
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

    /// How many events were folded.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The request with this id, while it is remembered. Cost: O(1).
    pub fn record(&self, request: &RequestId) -> Option<&CapabilityRequestRecord> {
        self.requests.get_by(request.as_str().as_bytes()).map(|held| &held.record)
    }

    /// What dispatch knows of a device. Cost: O(1), apart from copying.
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

    /// The devices in the order of their ids. Cost: O(n log n); meant for displays, not for decisions.
    pub fn devices(&self) -> impl Iterator<Item = DeviceView> {
        self.devices.sorted().into_iter().filter_map(|known| self.device(&known.id))
    }

    /// The requests in the order of their ids. Cost: O(n log n); meant for displays, not for decisions.
    pub fn records(&self) -> impl Iterator<Item = &CapabilityRequestRecord> {
        self.requests.sorted().into_iter().map(|held| &held.record)
    }

    /// The numbers of dispatch. Cost: O(1).
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

    /// The earliest deadline or end of retention of a request. Cost: O(1).
    ///
    /// The silence of devices is soft state: see also
    /// [`DispatchLiveness::next_silence`](super::DispatchLiveness::next_silence).
    pub fn next_deadline(&self) -> Option<Mono> {
        self.timers.first(&self.timed).map(|(at, _)| at)
    }

    /// Applies another policy, after [`Self::fits`] has accepted it.
    pub(crate) fn set_policy(&mut self, policy: DispatchPolicy) {
        self.policy = policy;
        self.follow_policy();
    }

    /// Checks whether the devices and requests fit into the bounds of another policy. Queues, windows and
    /// payloads above smaller bounds are left to drain.
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

    /// Whether no capability was ever granted to any device, which is so in most fleets.
    pub(crate) fn is_idle(&self) -> bool {
        self.devices.len() == 0
    }

    /// Whether a device has credit and a waiting request.
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

    /// How many entries are in a tree, where an operation costs O(log n).
    #[cfg(test)]
    pub(super) fn strays(&self) -> usize {
        self.ready.strays() + self.senders.strays() + self.timers.strays()
    }

    /// The indexes by what they name, without slots. Two equal states must agree on this as well.
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
