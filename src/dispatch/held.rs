//! A request in its slot, and the two queues of its device: requests that wait, and requests that the device
//! holds.
//!
//! Queues are linked lists through the slots of requests, so that a device needs no memory of its own for
//! them.

use core::ops::{Deref, DerefMut};

use super::record::{CapabilityRequestRecord, RequestState};
use crate::{
    index::Slot,
    slab::{Chunks, Keyed, KeyedSlab},
};

/// The slot number that means that there is none.
pub(super) const NOBODY: Slot = Slot::MAX;

/// A request with what is derived from it.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) record: CapabilityRequestRecord,
    /// The slot of its device, while the request is open.
    pub(super) device: Slot,
    /// The slot of its client's counts.
    pub(super) client: Slot,
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
        Self { record, device, client: NOBODY }
    }
}

/// The neighbours of a request in its queue.
#[derive(Clone, Copy, Debug)]
struct Link {
    prev: Slot,
    next: Slot,
}

const ALONE: Link = Link { prev: NOBODY, next: NOBODY };

/// All requests, and their links. The links are stored apart from the records, eight in a cache line, because
/// joining a queue changes the link of the neighbour.
#[derive(Clone)]
pub(crate) struct Requests {
    pub(crate) held: KeyedSlab<Held>,
    links: Chunks<Link>,
}

impl Requests {
    pub(super) fn new(index_key: [u8; 16]) -> Self {
        Self { held: KeyedSlab::new(index_key), links: Chunks::default() }
    }

    fn link(&self, slot: Slot) -> Option<Link> {
        self.links.get(usize::try_from(slot).ok()?).copied()
    }

    fn link_mut(&mut self, slot: Slot) -> Option<&mut Link> {
        self.links.get_mut(usize::try_from(slot).ok()?)
    }
}

impl Deref for Requests {
    type Target = KeyedSlab<Held>;
    fn deref(&self) -> &KeyedSlab<Held> {
        &self.held
    }
}

impl DerefMut for Requests {
    fn deref_mut(&mut self) -> &mut KeyedSlab<Held> {
        &mut self.held
    }
}

/// The two queues of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    Waiting,
    InHand,
}

/// The queue for a request in this state; `None` if it has ended.
pub(super) fn line_of(state: RequestState) -> Option<Which> {
    match state {
        _ if state.is_final() => None,
        RequestState::Queued => Some(Which::Waiting),
        _ => Some(Which::InHand),
    }
}

/// A queue: requests of one device in the order of their numbers.
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
        queue: &'a Requests,
    ) -> impl Iterator<Item = &'a CapabilityRequestRecord> + 'a {
        let slots = core::iter::successors(self.first(), |slot| queue.link(*slot).map(|link| link.next));
        slots.map_while(|slot| queue.held.get(slot)).map(|held| &held.record)
    }

    /// Appends the request in `slot`, which is in no queue. Requests are accepted and handed over in the
    /// order of their numbers, so the record before it need not be read, which would be a cache miss.
    pub(super) fn push(&mut self, queue: &mut Requests, slot: Slot) {
        let prev = core::mem::replace(&mut self.last, slot);
        match queue.link_mut(prev) {
            Some(link) => link.next = slot,
            None => self.first = slot,
        }
        queue.links.reach(usize::try_from(slot).unwrap_or(0), ALONE);
        if let Some(link) = queue.link_mut(slot) {
            *link = Link { prev, next: NOBODY };
        }
        self.len = self.len.saturating_add(1);
    }

    /// Removes the request in `slot` from this queue.
    pub(super) fn remove(&mut self, queue: &mut Requests, slot: Slot) {
        let Some(link) = queue.link_mut(slot) else { return };
        let Link { prev, next } = core::mem::replace(link, ALONE);
        match queue.link_mut(prev) {
            Some(link) => link.next = next,
            None => self.first = next,
        }
        match queue.link_mut(next) {
            Some(link) => link.prev = prev,
            None => self.last = prev,
        }
        self.len = self.len.saturating_sub(1);
    }
}
