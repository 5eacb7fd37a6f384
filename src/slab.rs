//! Records in slots, found by key through a keyed index. Equality compares records, not slots.

use alloc::vec::Vec;
use core::fmt;

use crate::index::{KeptHash, KeyedIndex, Slot};

/// A record that has a key.
pub(crate) trait Keyed {
    fn key(&self) -> &[u8];
}

/// How many records a chunk holds.
const CHUNK: usize = 1024;

/// A vector in chunks. Growing it moves nothing, so no call pays for a million records, and at most one chunk
/// is allocated in advance.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Chunks<T> {
    chunks: Vec<Vec<T>>,
}

impl<T> Default for Chunks<T> {
    fn default() -> Self {
        Self { chunks: Vec::new() }
    }
}

impl<T> Chunks<T> {
    pub(crate) fn len(&self) -> usize {
        let last = self.chunks.last().map_or(0, Vec::len);
        self.chunks.len().saturating_sub(1).saturating_mul(CHUNK).saturating_add(last)
    }

    pub(crate) fn get(&self, at: usize) -> Option<&T> {
        self.chunks.get(at / CHUNK)?.get(at % CHUNK)
    }

    pub(crate) fn get_mut(&mut self, at: usize) -> Option<&mut T> {
        self.chunks.get_mut(at / CHUNK)?.get_mut(at % CHUNK)
    }

    pub(crate) fn push(&mut self, value: T) {
        match self.chunks.last_mut().filter(|chunk| chunk.len() < CHUNK) {
            Some(chunk) => chunk.push(value),
            None => {
                // The first chunk grows gradually, because most vectors stay small.
                let ahead = if self.chunks.is_empty() { 1 } else { CHUNK };
                let mut chunk = Vec::with_capacity(ahead);
                chunk.push(value);
                self.chunks.push(chunk);
            }
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flatten()
    }
}

impl<T: Copy> Chunks<T> {
    /// Fills the vector with `filler` up to and including `at`.
    #[inline]
    pub(crate) fn reach(&mut self, at: usize, filler: T) {
        // Usually the value exists, and one look-up finds that out.
        if self.get(at).is_none() {
            self.extend(at, filler);
        }
    }

    fn extend(&mut self, at: usize, filler: T) {
        while self.len() <= at {
            self.push(filler);
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Chunks<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// A slab of records with unique keys. Its owner bounds the number of records.
#[derive(Clone)]
pub(crate) struct KeyedSlab<T> {
    slots: Chunks<Option<T>>,
    free: Vec<Slot>,
    index: KeyedIndex,
}

fn at<T>(slots: &Chunks<Option<T>>, slot: Slot) -> Option<&T> {
    slots.get(usize::try_from(slot).ok()?)?.as_ref()
}

impl<T: Keyed> KeyedSlab<T> {
    pub(crate) fn new(key: [u8; 16]) -> Self {
        Self { slots: Chunks::default(), free: Vec::new(), index: KeyedIndex::new(key) }
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len().saturating_sub(self.free.len())
    }

    pub(crate) fn find(&self, key: &[u8]) -> Option<Slot> {
        self.index.get(key, |slot| at(&self.slots, slot).map(Keyed::key))
    }

    /// The part of the hash of `key` that every slab with this index key searches by.
    pub(crate) fn kept_hash(&self, key: &[u8]) -> KeptHash {
        self.index.kept_hash(key)
    }

    /// See [`KeyedIndex::fetch`].
    pub(crate) fn fetch(&self, hash: KeptHash) {
        self.index.fetch(hash);
    }

    /// The same as [`Self::find`], by the stored hash of `key`.
    pub(crate) fn find_kept(&self, hash: KeptHash, key: &[u8]) -> Option<Slot> {
        self.index.get_kept(hash, |slot| at(&self.slots, slot).is_some_and(|record| record.key() == key))
    }

    /// The same as [`Self::get_by`], by a stored hash. `key` is only called if the hashes are equal, which
    /// can save a cache miss.
    pub(crate) fn get_kept<'a>(&self, hash: KeptHash, key: impl Fn() -> &'a [u8]) -> Option<&T> {
        let is_it = |slot| at(&self.slots, slot).is_some_and(|record| record.key() == key());
        self.get(self.index.get_kept(hash, is_it)?)
    }

    pub(crate) fn get(&self, slot: Slot) -> Option<&T> {
        at(&self.slots, slot)
    }

    pub(crate) fn get_by(&self, key: &[u8]) -> Option<&T> {
        self.get(self.find(key)?)
    }

    /// The record in `slot`, for changing anything but its key.
    pub(crate) fn get_mut(&mut self, slot: Slot) -> Option<&mut T> {
        self.slots.get_mut(usize::try_from(slot).ok()?)?.as_mut()
    }

    /// Puts `record` into a free slot. A record with the same key is replaced in its slot.
    ///
    /// `None` if the slot numbers are used up, which the owner's bound prevents.
    pub(crate) fn insert(&mut self, record: T) -> Option<Slot> {
        if let Some(slot) = self.find(record.key()) {
            *self.get_mut(slot)? = record;
            return Some(slot);
        }
        self.insert_new(record)
    }

    /// The same as [`Self::insert`], if the caller has checked that no record has this key.
    fn insert_new(&mut self, record: T) -> Option<Slot> {
        let hash = self.index.hash(record.key());
        self.insert_hashed(hash, record)
    }

    /// The slot of the record with this key, or the hash for [`Self::insert_hashed`].
    pub(crate) fn find_or_hash(&self, key: &[u8]) -> Result<Slot, u64> {
        let hash = self.index.hash(key);
        let is_it = |slot| at(&self.slots, slot).is_some_and(|record| record.key() == key);
        self.index.get_hashed(hash, is_it).ok_or(hash)
    }

    /// Puts a record that [`Self::find_or_hash`] did not find into a free slot. `None` as for
    /// [`Self::insert`].
    pub(crate) fn insert_hashed(&mut self, hash: u64, record: T) -> Option<Slot> {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                let slot = Slot::try_from(self.slots.len()).ok()?;
                self.slots.push(None);
                slot
            }
        };
        *self.slots.get_mut(usize::try_from(slot).ok()?)? = Some(record);
        self.index.insert_hashed(hash, slot);
        Some(slot)
    }

    pub(crate) fn remove(&mut self, slot: Slot) -> Option<T> {
        let record = self.slots.get_mut(usize::try_from(slot).ok()?)?.take()?;
        self.index.remove(record.key(), slot);
        self.free.push(slot);
        Some(record)
    }

    /// The records with their slots, in the order of slots.
    pub(crate) fn enumerate(&self) -> impl Iterator<Item = (Slot, &T)> {
        (0..).zip(self.slots.iter()).filter_map(|(slot, record)| Some((slot, record.as_ref()?)))
    }

    /// The records in the order of slots.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().flatten()
    }

    /// The records in the order of keys.
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
