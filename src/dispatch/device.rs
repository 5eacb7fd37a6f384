//! What dispatch knows of one device: the operator's grants, the open stream, its queue and what it has in hand.

use alloc::collections::BTreeMap;

use super::{event::DeviceStanding, record::Incarnation};
use crate::{capability::CapabilitySet, id::DeviceId, index::Slot, slab::Keyed};

/// The open stream of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Session {
    pub(crate) claims: CapabilitySet,
    pub(crate) window: u32,
}

/// A device. Grants are the operator's and outlive every session; claims are the device's and die with one.
///
/// `effective`, `queue` and `in_flight` follow from the rest of the state; they are kept for speed.
#[derive(Clone, Debug)]
pub(crate) struct Device {
    pub(crate) id: DeviceId,
    /// The number of the request that it was last chosen for, or of its own arrival: never the same twice.
    pub(crate) last_used: u64,
    pub(crate) grants: CapabilitySet,
    pub(crate) standing: DeviceStanding,
    /// The newest incarnation that ever connected.
    pub(crate) incarnation: Incarnation,
    pub(crate) session: Option<Session>,
    pub(crate) effective: CapabilitySet,
    pub(crate) queue: BTreeMap<u64, Slot>,
    pub(crate) in_flight: BTreeMap<u64, Slot>,
}

impl PartialEq for Device {
    fn eq(&self, other: &Self) -> bool {
        let own = (&self.id, self.last_used, &self.grants, self.standing, self.incarnation, &self.session);
        own == (&other.id, other.last_used, &other.grants, other.standing, other.incarnation, &other.session)
    }
}

impl Eq for Device {}

impl Keyed for Device {
    fn key(&self) -> &[u8] {
        self.id.as_str().as_bytes()
    }
}

/// What the device may be asked for: granted by the operator and claimed by the device, both.
pub(crate) fn both(grants: &CapabilitySet, claims: &CapabilitySet) -> CapabilitySet {
    CapabilitySet::new(grants.iter().filter(|name| claims.contains(name)).cloned()).unwrap_or_default()
}

impl Device {
    pub(crate) fn new(id: DeviceId, last_used: u64) -> Self {
        Self {
            id,
            last_used,
            grants: CapabilitySet::default(),
            standing: DeviceStanding::default(),
            incarnation: Incarnation::default(),
            session: None,
            effective: CapabilitySet::default(),
            queue: BTreeMap::new(),
            in_flight: BTreeMap::new(),
        }
    }

    pub(crate) fn refresh_effective(&mut self) {
        self.effective = match &self.session {
            Some(session) => both(&self.grants, &session.claims),
            None => CapabilitySet::default(),
        };
    }

    /// How many more requests it takes now: its window is its credit, and what it has in hand has used it up.
    pub(crate) fn credit(&self) -> usize {
        let window = self.session.as_ref().map_or(0, |session| session.window);
        usize::try_from(window).unwrap_or(usize::MAX).saturating_sub(self.in_flight.len())
    }

    /// Whether something can be handed over now, as far as the hard state knows.
    pub(crate) fn sendable_head(&self) -> Option<u64> {
        let ready = self.session.is_some() && self.standing.is_clear() && self.credit() > 0;
        if ready { self.queue.keys().next().copied() } else { None }
    }

    pub(crate) fn may_be_chosen(&self) -> bool {
        self.session.is_some() && self.standing.is_clear()
    }

    /// The open requests, queued and in hand, in the order of their numbers within each.
    pub(crate) fn open(&self) -> impl Iterator<Item = Slot> + '_ {
        self.in_flight.values().chain(self.queue.values()).copied()
    }
}
