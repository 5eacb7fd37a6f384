//! What dispatch knows of one device: the operator's grants, the open stream, its queue and what it has in hand.

use super::{
    event::DeviceStanding,
    held::{Line, Requests, Which},
    ready::NONE,
    record::{CapabilityRequestRecord, Incarnation},
};
use crate::{capability::CapabilitySet, id::DeviceId, index::Slot, slab::Keyed};

/// The open stream of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Session {
    pub(crate) claims: CapabilitySet,
    pub(crate) window: u32,
}

/// A device. Grants are the operator's and outlive every session; claims are the device's and die with one.
///
/// `effective` and what follows from the requests and from where it is listed are kept for speed. Two cache lines.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub(crate) struct Device {
    pub(crate) id: DeviceId,
    /// The newest incarnation that ever connected.
    pub(crate) incarnation: Incarnation,
    /// The number of the request that it was last chosen for, or of its own arrival: never the same twice.
    pub(crate) last_used: u64,
    pub(super) waiting: Line,
    pub(super) in_hand: Line,
    /// Its first listing among those that may be chosen, where it has one.
    pub(super) listed: u32,
    /// Its place among those that something can be handed to, where it has one.
    pub(super) sends: u32,
    pub(crate) session: Option<Session>,
    pub(crate) grants: CapabilitySet,
    pub(crate) effective: CapabilitySet,
    pub(crate) standing: DeviceStanding,
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
    // Nearly always one holds the other: then it is shared, and looked at in one place.
    if grants.is_subset_of(claims) {
        return grants.clone();
    }
    if claims.is_subset_of(grants) {
        return claims.clone();
    }
    CapabilitySet::new(grants.iter().filter(|name| claims.contains(name)).cloned()).unwrap_or_default()
}

impl Device {
    pub(crate) fn new(id: DeviceId, last_used: u64) -> Self {
        Self {
            id,
            incarnation: Incarnation::default(),
            last_used,
            waiting: Line::default(),
            in_hand: Line::default(),
            listed: NONE,
            sends: NONE,
            session: None,
            grants: CapabilitySet::default(),
            effective: CapabilitySet::default(),
            standing: DeviceStanding::default(),
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
        usize::try_from(window).unwrap_or(usize::MAX).saturating_sub(self.in_hand.len())
    }

    /// The first request that waits, where it can be handed over now as far as the hard state knows.
    pub(crate) fn sendable_head(&self) -> Option<Slot> {
        let ready = self.session.is_some() && self.standing.is_clear() && self.credit() > 0;
        self.waiting.first().filter(|_| ready)
    }

    pub(crate) fn may_be_chosen(&self) -> bool {
        self.session.is_some() && self.standing.is_clear()
    }

    /// Whether it has open requests, queued or in hand.
    pub(crate) fn is_busy(&self) -> bool {
        self.waiting.len() > 0 || self.in_hand.len() > 0
    }

    /// The open requests, those in hand first, in the order of their numbers within each.
    pub(crate) fn open<'a>(
        &self,
        requests: &'a Requests,
    ) -> impl Iterator<Item = &'a CapabilityRequestRecord> + 'a {
        self.in_hand.iter(requests).chain(self.waiting.iter(requests))
    }

    pub(super) fn line(&mut self, which: Which) -> &mut Line {
        match which {
            Which::Waiting => &mut self.waiting,
            Which::InHand => &mut self.in_hand,
        }
    }
}
