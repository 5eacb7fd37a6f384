//! What dispatch knows of one device: its grants, its open stream, its queue, and the requests that it holds.

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

/// A device. Its grants are the operator's and outlive every stream. Its claims are the device's own and end
/// with the stream.
///
/// `effective`, the queues and the places in the indexes are derived; they are kept for speed. The record
/// takes two cache lines.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub(crate) struct Device {
    pub(crate) id: DeviceId,
    /// The newest incarnation that ever connected.
    pub(crate) incarnation: Incarnation,
    /// The number of the request for which the device was last chosen, or the number of its own arrival. It
    /// is never used twice.
    pub(crate) last_used: u64,
    pub(super) waiting: Line,
    pub(super) in_hand: Line,
    /// Its first listing among the devices that may be chosen; `NONE` if it has none.
    pub(super) listed: u32,
    /// Its place among the devices to which something can be handed over; `NONE` if it has none.
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

/// What the device may be asked for: the capabilities that are both granted by the operator and claimed by
/// the device.
pub(crate) fn both(grants: &CapabilitySet, claims: &CapabilitySet) -> CapabilitySet {
    // Usually one set contains the other. It is shared then, which saves an allocation.
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

    /// How many more requests the device accepts now: its window less the requests that it holds.
    pub(crate) fn credit(&self) -> usize {
        let window = self.session.as_ref().map_or(0, |session| session.window);
        usize::try_from(window).unwrap_or(usize::MAX).saturating_sub(self.in_hand.len())
    }

    /// The first waiting request, if the hard state allows handing it over now.
    pub(crate) fn sendable_head(&self) -> Option<Slot> {
        let ready = self.session.is_some() && self.standing.is_clear() && self.credit() > 0;
        self.waiting.first().filter(|_| ready)
    }

    /// Whether a request for any device may go to this one: it is connected, nothing prevents new work, and
    /// fewer than `most` requests wait for it.
    pub(crate) fn may_be_chosen(&self, most: usize) -> bool {
        self.session.is_some() && self.standing.is_clear() && self.waiting.len() < most
    }

    /// Whether the device has open requests, waiting or handed over.
    pub(crate) fn is_busy(&self) -> bool {
        self.waiting.len() > 0 || self.in_hand.len() > 0
    }

    /// The open requests: first those that the device holds, then those that wait, each in the order of their
    /// numbers.
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
