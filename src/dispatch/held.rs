//! A request in its slot, in the line of its device: those that wait, or those that it has in hand.
//!
//! Lines are lists through the slots of requests, so that a device has no memory of its own for them.

use super::record::{CapabilityRequestRecord, RequestState};
use crate::{
    index::Slot,
    slab::{Keyed, KeyedSlab},
};

/// In place of a slot: there is none.
pub(super) const NOBODY: Slot = Slot::MAX;

/// A request, and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) record: CapabilityRequestRecord,
    /// The slot of its device, while it is open.
    pub(super) device: Slot,
    prev: Slot,
    next: Slot,
}

impl PartialEq for Held {
    fn eq(&self, other: &Self) -> bool {
        self.record == other.record
    }
}

impl Eq for Held {}

impl Keyed for Held {
    fn key(&self) -> &[u8] {
        self.record.key()
    }
}

impl Held {
    pub(super) fn new(record: CapabilityRequestRecord, device: Slot) -> Self {
        Self { record, device, prev: NOBODY, next: NOBODY }
    }
}

/// The two lines of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    Waiting,
    InHand,
}

/// The line that a request in this state stands in; none for one that has ended.
pub(super) fn line_of(state: RequestState) -> Option<Which> {
    match state {
        _ if state.is_final() => None,
        RequestState::Queued => Some(Which::Waiting),
        _ => Some(Which::InHand),
    }
}

/// Requests of one device in the order of their numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line {
    first: Slot,
    last: Slot,
    len: u32,
}

impl Default for Line {
    fn default() -> Self {
        Self { first: NOBODY, last: NOBODY, len: 0 }
    }
}

impl Line {
    pub(crate) fn len(&self) -> usize {
        usize::try_from(self.len).unwrap_or(usize::MAX)
    }

    pub(super) fn first(&self) -> Option<Slot> {
        (self.len > 0).then_some(self.first)
    }

    pub(crate) fn iter<'a>(
        &self,
        requests: &'a KeyedSlab<Held>,
    ) -> impl Iterator<Item = &'a CapabilityRequestRecord> + 'a {
        let next = move |held: &&'a Held| requests.get(held.next);
        core::iter::successors(requests.get(self.first), next).map(|held| &held.record)
    }

    /// Puts the request in `slot`, which stands in no line, at the end. Requests are accepted and handed over in the
    /// order of their numbers, so the one before it is not even looked at: it is in no cache.
    pub(super) fn push(&mut self, requests: &mut KeyedSlab<Held>, slot: Slot) {
        let prev = core::mem::replace(&mut self.last, slot);
        match requests.get_mut(prev) {
            Some(held) => held.next = slot,
            None => self.first = slot,
        }
        if let Some(held) = requests.get_mut(slot) {
            (held.prev, held.next) = (prev, NOBODY);
        }
        self.len = self.len.saturating_add(1);
    }

    /// Puts the request in `slot`, which stands in no line, where its number belongs: while a snapshot is loaded.
    pub(super) fn insert(&mut self, requests: &mut KeyedSlab<Held>, slot: Slot) {
        let Some(number) = requests.get(slot).map(|held| held.record.number) else { return };
        let mut prev = self.last;
        while let Some(held) = requests.get(prev).filter(|held| held.record.number > number) {
            prev = held.prev;
        }
        let next = match requests.get_mut(prev) {
            Some(held) => core::mem::replace(&mut held.next, slot),
            None => core::mem::replace(&mut self.first, slot),
        };
        match requests.get_mut(next) {
            Some(held) => held.prev = slot,
            None => self.last = slot,
        }
        if let Some(held) = requests.get_mut(slot) {
            (held.prev, held.next) = (prev, next);
        }
        self.len = self.len.saturating_add(1);
    }

    /// Takes the request in `slot`, which stands in this line, out of it.
    pub(super) fn remove(&mut self, requests: &mut KeyedSlab<Held>, slot: Slot) {
        let Some(held) = requests.get_mut(slot) else { return };
        let (prev, next) = (held.prev, held.next);
        (held.prev, held.next) = (NOBODY, NOBODY);
        match requests.get_mut(prev) {
            Some(held) => held.next = next,
            None => self.first = next,
        }
        match requests.get_mut(next) {
            Some(held) => held.prev = prev,
            None => self.last = prev,
        }
        self.len = self.len.saturating_sub(1);
    }
}
