//! Records in slots, found by key through the one keyed index. Equality is over the records, not the slots.

use alloc::vec::Vec;
use core::fmt;

use crate::index::{KeyedIndex, Slot};

/// A record that says under which key it is found.
pub(crate) trait Keyed {
    fn key(&self) -> &[u8];
}

/// A slab of records with unique keys. The owner bounds it.
#[derive(Clone)]
pub(crate) struct KeyedSlab<T> {
    slots: Vec<Option<T>>,
    free: Vec<Slot>,
    index: KeyedIndex,
}

fn at<T>(slots: &[Option<T>], slot: Slot) -> Option<&T> {
    slots.get(usize::try_from(slot).ok()?)?.as_ref()
}

impl<T: Keyed> KeyedSlab<T> {
    pub(crate) fn new(key: [u8; 16]) -> Self {
        Self { slots: Vec::new(), free: Vec::new(), index: KeyedIndex::new(key) }
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len().saturating_sub(self.free.len())
    }

    pub(crate) fn find(&self, key: &[u8]) -> Option<Slot> {
        self.index.get(key, |slot| at(&self.slots, slot).map(Keyed::key))
    }

    pub(crate) fn get(&self, slot: Slot) -> Option<&T> {
        at(&self.slots, slot)
    }

    pub(crate) fn get_by(&self, key: &[u8]) -> Option<&T> {
        self.get(self.find(key)?)
    }

    /// The record in `slot`, to be changed in anything but its key.
    pub(crate) fn get_mut(&mut self, slot: Slot) -> Option<&mut T> {
        self.slots.get_mut(usize::try_from(slot).ok()?)?.as_mut()
    }

    /// Puts `record` in a free slot. A record with the same key is replaced in its slot.
    ///
    /// None where slots have run out, which the owner's bound makes impossible.
    pub(crate) fn insert(&mut self, record: T) -> Option<Slot> {
        if let Some(slot) = self.find(record.key()) {
            *self.get_mut(slot)? = record;
            return Some(slot);
        }
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                let slot = Slot::try_from(self.slots.len()).ok()?;
                self.slots.push(None);
                slot
            }
        };
        let place = self.slots.get_mut(usize::try_from(slot).ok()?)?;
        let slots_key = place.insert(record).key().to_vec();
        let slots = &self.slots;
        self.index.insert(&slots_key, slot, |slot| at(slots, slot).map(Keyed::key));
        Some(slot)
    }

    pub(crate) fn remove(&mut self, slot: Slot) -> Option<T> {
        let record = self.slots.get_mut(usize::try_from(slot).ok()?)?.take()?;
        self.index.remove(record.key(), slot);
        self.free.push(slot);
        Some(record)
    }

    /// The records with their slots, in slot order.
    pub(crate) fn enumerate(&self) -> impl Iterator<Item = (Slot, &T)> {
        (0..).zip(&self.slots).filter_map(|(slot, record)| Some((slot, record.as_ref()?)))
    }

    /// The records in slot order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().flatten()
    }

    /// The records in key order.
    pub(crate) fn sorted(&self) -> Vec<&T> {
        let mut records: Vec<&T> = self.iter().collect();
        records.sort_unstable_by(|left, right| left.key().cmp(right.key()));
        records
    }
}

impl<T: Keyed + PartialEq> PartialEq for KeyedSlab<T> {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().all(|record| other.get_by(record.key()) == Some(record))
    }
}

impl<T: Keyed + Eq> Eq for KeyedSlab<T> {}

impl<T: fmt::Debug> fmt::Debug for KeyedSlab<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.slots.iter().flatten()).finish()
    }
}
