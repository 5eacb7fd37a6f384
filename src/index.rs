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
///
/// No insertion pays for the others: a table that is full is kept beside the larger one, and each insertion moves a
/// few of its entries. At a million records, moving all of them in one call would take the better part of a second.
#[derive(Clone)]
pub(crate) struct KeyedIndex {
    key: [u8; 16],
    table: HashTable<Slot>,
    outgrown: Option<Outgrown>,
}

/// A table on its way into a larger one.
#[derive(Clone)]
struct Outgrown {
    table: HashTable<Slot>,
    /// The first bucket that may still hold something.
    next: usize,
    /// How many buckets are emptied at each insertion: so many that all are before the larger table can be full.
    step: usize,
}

fn keyed_hash(key: &[u8; 16], id: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new_with_key(key);
    hasher.write(id);
    hasher.finish()
}

impl KeyedIndex {
    pub(crate) fn new(key: [u8; 16]) -> Self {
        Self { key, table: HashTable::new(), outgrown: None }
    }

    /// An index with room for `capacity` ids, so that filling it never hashes an id again.
    pub(crate) fn with_capacity(key: [u8; 16], capacity: usize) -> Self {
        Self { key, table: HashTable::with_capacity(capacity), outgrown: None }
    }

    /// The keyed hash of `id`.
    pub(crate) fn hash(&self, id: &[u8]) -> u64 {
        keyed_hash(&self.key, id)
    }

    /// The keyed hash of several texts in a row; the caller compares what it finds.
    pub(crate) fn hash_parts<'a>(&self, parts: impl IntoIterator<Item = &'a [u8]>) -> u64 {
        let mut hasher = SipHasher13::new_with_key(&self.key);
        parts.into_iter().for_each(|part| hasher.write(part));
        hasher.finish()
    }

    /// The slot under `hash` of the record that `is_it` knows.
    pub(crate) fn get_hashed(&self, hash: u64, is_it: impl Fn(Slot) -> bool) -> Option<Slot> {
        let found = self.table.find(hash, |slot| is_it(*slot));
        let outgrown = || self.outgrown.as_ref()?.table.find(hash, |slot| is_it(*slot));
        found.or_else(outgrown).copied()
    }

    /// Adds `slot` under `hash`; `rehash` gives the hash of the record in a slot.
    pub(crate) fn insert_rehashed(&mut self, hash: u64, slot: Slot, rehash: impl Fn(Slot) -> u64) {
        if self.table.len() >= self.table.capacity() {
            self.outgrow(&rehash);
        }
        self.table.insert_unique(hash, slot, |slot| rehash(*slot));
        self.move_some(&rehash);
    }

    /// Begins a larger table, or one without the remains of what was removed. It has room for what is there and for as
    /// many insertions as it takes to move that.
    fn outgrow(&mut self, rehash: &impl Fn(Slot) -> u64) {
        // There is nothing left to move, by the choice of the step; were there, nothing may be lost.
        while self.outgrown.is_some() {
            self.move_some(rehash);
        }
        let (held, buckets) = (self.table.len(), self.table.num_buckets());
        let ahead = (held / 2).max(buckets / 16).max(3);
        let larger = HashTable::with_capacity(held.saturating_add(ahead));
        // At least `ahead`, and more where the table was rounded up.
        let room = larger.capacity().saturating_sub(held).max(1);
        let table = core::mem::replace(&mut self.table, larger);
        let step = buckets.div_ceil(room);
        self.outgrown = (held > 0).then_some(Outgrown { table, next: 0, step });
    }

    /// Moves what is in the next few buckets of the table that was outgrown.
    fn move_some(&mut self, rehash: &impl Fn(Slot) -> u64) {
        let Some(outgrown) = &mut self.outgrown else { return };
        let end = outgrown.next.saturating_add(outgrown.step).min(outgrown.table.num_buckets());
        for bucket in outgrown.next..end {
            if let Ok(entry) = outgrown.table.get_bucket_entry(bucket) {
                let (slot, _) = entry.remove();
                self.table.insert_unique(rehash(slot), slot, |slot| rehash(*slot));
            }
        }
        outgrown.next = end;
        if outgrown.table.is_empty() || end >= outgrown.table.num_buckets() {
            self.outgrown = None;
        }
    }

    /// Forgets every slot.
    pub(crate) fn clear(&mut self) {
        self.table.clear();
        self.outgrown = None;
    }

    /// Forgets every slot, and the room for them.
    pub(crate) fn release(&mut self) {
        (self.table, self.outgrown) = (HashTable::new(), None);
    }

    /// The slot whose record has `id`. `record` gives the id of the record in a slot.
    pub(crate) fn get<'a>(&self, id: &[u8], record: impl Fn(Slot) -> Option<&'a [u8]>) -> Option<Slot> {
        self.get_hashed(self.hash(id), |slot| record(slot) == Some(id))
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
        self.insert_rehashed(hash, slot, |slot| keyed_hash(&key, record(slot).unwrap_or_default()));
    }

    /// Takes `slot` out of the index.
    pub(crate) fn remove(&mut self, id: &[u8], slot: Slot) {
        let hash = self.hash(id);
        let tables = [Some(&mut self.table), self.outgrown.as_mut().map(|outgrown| &mut outgrown.table)];
        for table in tables.into_iter().flatten() {
            if let Ok(entry) = table.find_entry(hash, |held| *held == slot) {
                entry.remove();
                return;
            }
        }
    }
}

impl fmt::Debug for KeyedIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outgrown = self.outgrown.as_ref().map_or(0, |outgrown| outgrown.table.len());
        // The key stays out: who knows it can choose ids that collide.
        let len = self.table.len().saturating_add(outgrown);
        f.debug_struct("KeyedIndex").field("len", &len).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use alloc::{format, string::String, vec::Vec};
    use core::cell::Cell;

    use proptest::prelude::*;

    use super::*;

    /// An index over texts in slots, with how many ids were hashed again in the last insertion.
    struct Held {
        texts: Vec<Option<String>>,
        index: KeyedIndex,
        again: usize,
    }

    impl Held {
        fn new() -> Self {
            Self { texts: Vec::new(), index: KeyedIndex::new([3; 16]), again: 0 }
        }

        fn find(&self, id: &str) -> Option<Slot> {
            self.index.get(id.as_bytes(), |slot| Some(self.texts[slot as usize].as_ref()?.as_bytes()))
        }

        fn insert(&mut self, id: String) {
            let slot = Slot::try_from(self.texts.len()).unwrap();
            self.texts.push(Some(id.clone()));
            let (texts, again) = (&self.texts, Cell::new(0));
            self.index.insert(id.as_bytes(), slot, |slot| {
                again.set(again.get() + 1);
                Some(texts[slot as usize].as_ref().unwrap().as_bytes())
            });
            self.again = again.get();
        }

        fn remove(&mut self, id: &str) {
            let slot = self.find(id).unwrap();
            self.index.remove(id.as_bytes(), slot);
            self.texts[slot as usize] = None;
        }
    }

    /// The cost of an insertion is flat: however many ids there are, a few of them are hashed again.
    #[test]
    fn no_insertion_pays_for_the_others() {
        let mut held = Held::new();
        for n in 0..50_000 {
            held.insert(format!("id-{n}"));
            assert!(held.again <= 8, "{} of {n} at once", held.again);
        }
        // And while they come and go, and after most of them are gone: what is left of them is buckets, not ids.
        for n in 0..75_000 {
            held.insert(format!("new-{n}"));
            assert!(held.again <= 32, "{} at once", held.again);
            let gone = if n < 50_000 { format!("id-{n}") } else { format!("new-{}", n - 50_000) };
            held.remove(&gone);
        }
        for n in 25_000..72_500 {
            held.remove(&format!("new-{n}"));
        }
        for n in 0..50_000 {
            held.insert(format!("last-{n}"));
            assert!(held.again <= 32, "{} at once", held.again);
        }
        assert!(held.find("new-74999").is_some() && held.find("new-1").is_none());
        assert!((0..50_000).all(|n| held.find(&format!("last-{n}")).is_some()));
    }

    proptest! {
        /// What was put in is found, and what was taken out is not, wherever it has moved meanwhile.
        #[test]
        fn an_index_finds_what_is_there(steps in prop::collection::vec((any::<bool>(), 0_u8..60), 0..400)) {
            let mut held = Held::new();
            let mut there = alloc::collections::BTreeSet::new();
            for (insert, id) in steps {
                let id = format!("{id}");
                if insert && there.insert(id.clone()) {
                    held.insert(id);
                } else if !insert && there.remove(&id) {
                    held.remove(&id);
                }
                for n in 0_u8..60 {
                    let id = format!("{n}");
                    prop_assert_eq!(held.find(&id).is_some(), there.contains(&id));
                }
            }
        }
    }
}
