//! The one hash index of this crate: from an external id to the slot of its record.
//!
//! It stores slots only, compares against the record itself, and cannot be iterated, so its order can never
//! reach a decision. The hash is keyed because ids are chosen by peers.

use core::{fmt, hash::Hasher};

use hashbrown::HashTable;
use siphasher::sip::SipHasher13;

/// A slot: the place of a record in its slab.
pub(crate) type Slot = u32;

/// Maps ids to slots. Two indexes are never compared: the records are the truth, this only finds them.
#[derive(Clone)]
pub(crate) struct KeyedIndex {
    key: [u8; 16],
    table: HashTable<Slot>,
}

impl KeyedIndex {
    pub(crate) fn new(key: [u8; 16]) -> Self {
        Self { key, table: HashTable::new() }
    }

    /// An index with room for `capacity` ids, so that filling it never hashes an id again.
    pub(crate) fn with_capacity(key: [u8; 16], capacity: usize) -> Self {
        Self { key, table: HashTable::with_capacity(capacity) }
    }

    /// The keyed hash of `id`.
    pub(crate) fn hash(&self, id: &[u8]) -> u64 {
        self.hash_parts([id])
    }

    /// The keyed hash of several texts in a row; the caller compares what it finds.
    pub(crate) fn hash_parts<'a>(&self, parts: impl IntoIterator<Item = &'a [u8]>) -> u64 {
        let mut hasher = SipHasher13::new_with_key(&self.key);
        parts.into_iter().for_each(|part| hasher.write(part));
        hasher.finish()
    }

    /// The slot under `hash` of the record that `is_it` knows.
    pub(crate) fn get_hashed(&self, hash: u64, is_it: impl Fn(Slot) -> bool) -> Option<Slot> {
        self.table.find(hash, |slot| is_it(*slot)).copied()
    }

    /// Adds `slot` under `hash`; `rehash` gives the hash of the record in a slot.
    pub(crate) fn insert_rehashed(&mut self, hash: u64, slot: Slot, rehash: impl Fn(Slot) -> u64) {
        self.table.insert_unique(hash, slot, |slot| rehash(*slot));
    }

    /// Forgets every slot.
    pub(crate) fn clear(&mut self) {
        self.table.clear();
    }

    /// The slot whose record has `id`. `record` gives the id of the record in a slot.
    pub(crate) fn get<'a>(&self, id: &[u8], record: impl Fn(Slot) -> Option<&'a [u8]>) -> Option<Slot> {
        self.table.find(self.hash(id), |slot| record(*slot) == Some(id)).copied()
    }

    /// Adds `slot` under `id`. The caller has seen that no record has this id.
    pub(crate) fn insert<'a>(&mut self, id: &[u8], slot: Slot, record: impl Fn(Slot) -> Option<&'a [u8]>) {
        self.insert_hashed(self.hash(id), slot, record);
    }

    /// As [`Self::insert`], where the id is hashed already.
    pub(crate) fn insert_hashed<'a>(
        &mut self,
        hash: u64,
        slot: Slot,
        record: impl Fn(Slot) -> Option<&'a [u8]>,
    ) {
        let key = self.key;
        let rehash = |slot: &Slot| {
            let mut hasher = SipHasher13::new_with_key(&key);
            hasher.write(record(*slot).unwrap_or_default());
            hasher.finish()
        };
        self.table.insert_unique(hash, slot, rehash);
    }

    /// Takes `slot` out of the index.
    pub(crate) fn remove(&mut self, id: &[u8], slot: Slot) {
        if let Ok(entry) = self.table.find_entry(self.hash(id), |held| *held == slot) {
            entry.remove();
        }
    }
}

impl fmt::Debug for KeyedIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The key stays out: who knows it can choose ids that collide.
        f.debug_struct("KeyedIndex").field("len", &self.table.len()).finish_non_exhaustive()
    }
}
