//! The hash index of this crate: it maps an external id to the slot of its record.
//!
//! The index stores only slots, compares ids against the records, and cannot be iterated, so its order cannot
//! influence a decision. The hash is keyed because peers choose ids.

use alloc::{vec, vec::Vec};
use core::{fmt, hash::Hasher, hint::black_box};

use siphasher::sip::SipHasher13;

/// The position of a record in its slab.
pub(crate) type Slot = u32;

/// Maps ids to slots. Indexes are never compared for equality: they are derived from the records.
///
/// A look-up usually costs two cache misses: the first cache line of the table that is looked at, and the
/// record. Half of the hash is stored beside the slot, so that no other record is read for a comparison.
///
/// The cost of an insertion is bounded. A full table is kept beside a larger one, and each insertion moves a
/// few of its entries. Moving a million entries in one call would take many milliseconds.
#[derive(Clone)]
pub(crate) struct KeyedIndex {
    key: [u8; 16],
    table: Table,
    outgrown: Option<Outgrown>,
}

/// A table with open addressing and linear probing. A place holds half of the hash above the slot plus one; 0
/// means empty.
#[derive(Clone, Default)]
struct Table {
    /// The number of places is a power of two, or zero.
    places: Vec<u64>,
    len: usize,
}

/// How many places of an outgrown table each insertion empties at least. While there are two tables, a
/// look-up may have to search both, so the number keeps that time short.
const STEP: usize = 16;

/// A table whose entries are being moved to a larger one.
#[derive(Clone)]
struct Outgrown {
    table: Table,
    /// The first place that may still hold an entry.
    next: usize,
    /// How many places each insertion empties. It is large enough to empty all of them before the larger
    /// table is full.
    step: usize,
}

/// A place of an outgrown table whose entry was moved or removed. Entries of the same chain may follow it.
const GONE: u64 = 1 << 32;

fn keyed_hash(key: &[u8; 16], id: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new_with_key(key);
    hasher.write(id);
    hasher.finish()
}

/// The half of a hash that a place holds. Its lower bits are the place at which a search begins.
fn tag_of(hash: u64) -> u32 {
    u32::try_from(hash >> 32).unwrap_or(0)
}

/// The part of a hash that an index searches by, for callers that store it with the id. It is the same in all
/// indexes with one key.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct KeptHash(u32);

/// The value is derived from the id and a random key, so it takes no part in equality.
impl PartialEq for KeptHash {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for KeptHash {}

fn place(tag: u32, slot: Slot) -> u64 {
    u64::from(tag) << 32 | u64::from(slot.saturating_add(1))
}

/// Tag and slot of a place; `None` if it holds no entry.
fn entry(place: u64) -> Option<(u32, Slot)> {
    let [a, b, c, d, tag @ ..] = place.to_le_bytes();
    let slot = u32::from_le_bytes([a, b, c, d]).checked_sub(1)?;
    Some((u32::from_le_bytes(tag), slot))
}

impl Table {
    /// An empty table with room for `room` entries.
    fn with_room(room: usize) -> Self {
        if room == 0 {
            return Self::default();
        }
        // At most seven of eight places are used.
        let places = room.saturating_mul(8).div_ceil(7).max(8).checked_next_power_of_two();
        Self { places: vec![0; places.unwrap_or(usize::MAX)], len: 0 }
    }

    fn room(&self) -> usize {
        (self.places.len() / 8).saturating_mul(7)
    }

    fn mask(&self) -> usize {
        self.places.len().saturating_sub(1)
    }

    fn home(&self, tag: u32) -> usize {
        usize::try_from(tag).unwrap_or(0) & self.mask()
    }

    fn after(&self, at: usize) -> usize {
        at.wrapping_add(1) & self.mask()
    }

    fn at(&self, at: usize) -> Option<(u32, Slot)> {
        entry(self.places.get(at).copied().unwrap_or(0))
    }

    fn set(&mut self, at: usize, value: u64) {
        if let Some(place) = self.places.get_mut(at) {
            *place = value;
        }
    }

    /// The place of the entry with this tag whose slot `is_it` accepts.
    fn find(&self, tag: u32, is_it: impl Fn(Slot) -> bool) -> Option<(usize, Slot)> {
        let mut at = self.home(tag);
        loop {
            // At least one place is empty, so the search ends.
            let place = self.places.get(at).copied().filter(|place| *place != 0)?;
            if let Some((held, slot)) = entry(place)
                && held == tag
                && is_it(slot)
            {
                return Some((at, slot));
            }
            at = self.after(at);
        }
    }

    /// Adds an entry. The caller has checked that there is room.
    fn insert(&mut self, tag: u32, slot: Slot) {
        let mut at = self.home(tag);
        while self.at(at).is_some() {
            at = self.after(at);
        }
        self.set(at, place(tag, slot));
        self.len = self.len.saturating_add(1);
    }

    /// Empties a place, and moves entries behind it forward so that no search stops too early.
    fn remove(&mut self, at: usize) {
        let (mut gap, mut next) = (at, self.after(at));
        while let Some((tag, slot)) = self.at(next) {
            let mask = self.mask();
            let past_home = next.wrapping_sub(self.home(tag)) & mask;
            if past_home >= next.wrapping_sub(gap) & mask {
                self.set(gap, place(tag, slot));
                gap = next;
            }
            next = self.after(next);
        }
        self.set(gap, 0);
        self.len = self.len.saturating_sub(1);
    }

    /// Empties a place of an outgrown table without moving entries. The marker keeps the entries behind it
    /// reachable.
    fn vacate(&mut self, at: usize) {
        self.set(at, GONE);
        self.len = self.len.saturating_sub(1);
    }
}

impl KeyedIndex {
    pub(crate) fn new(key: [u8; 16]) -> Self {
        Self { key, table: Table::default(), outgrown: None }
    }

    /// An index with room for `capacity` ids. Inserting that many never moves an entry.
    pub(crate) fn with_capacity(key: [u8; 16], capacity: usize) -> Self {
        Self { key, table: Table::with_room(capacity), outgrown: None }
    }

    /// The keyed hash of `id`.
    pub(crate) fn hash(&self, id: &[u8]) -> u64 {
        keyed_hash(&self.key, id)
    }

    /// The keyed hash of several texts in a row. The caller compares what it finds.
    pub(crate) fn hash_parts<'a>(&self, parts: impl IntoIterator<Item = &'a [u8]>) -> u64 {
        let mut hasher = SipHasher13::new_with_key(&self.key);
        parts.into_iter().for_each(|part| hasher.write(part));
        hasher.finish()
    }

    /// The part of the keyed hash of `id` that an index searches by.
    pub(crate) fn kept_hash(&self, id: &[u8]) -> KeptHash {
        KeptHash(tag_of(self.hash(id)))
    }

    /// Reads the place at which the search for this hash will begin and discards it, so that the processor
    /// loads that cache line while the caller goes on. Safe Rust has no prefetch instruction.
    pub(crate) fn fetch(&self, KeptHash(tag): KeptHash) {
        black_box(self.table.at(self.table.home(tag)));
    }

    /// The slot under `hash` that `is_it` accepts.
    pub(crate) fn get_hashed(&self, hash: u64, is_it: impl Fn(Slot) -> bool) -> Option<Slot> {
        self.get_kept(KeptHash(tag_of(hash)), is_it)
    }

    /// The same as [`Self::get_hashed`], by a stored part of the hash.
    pub(crate) fn get_kept(&self, KeptHash(tag): KeptHash, is_it: impl Fn(Slot) -> bool) -> Option<Slot> {
        let found = self.table.find(tag, &is_it);
        let outgrown = || self.outgrown.as_ref()?.table.find(tag, &is_it);
        found.or_else(outgrown).map(|(_, slot)| slot)
    }

    /// Adds `slot` under `hash`. The caller has checked that no record has this id.
    pub(crate) fn insert_hashed(&mut self, hash: u64, slot: Slot) {
        if self.table.len >= self.table.room() {
            self.outgrow();
        }
        self.table.insert(tag_of(hash), slot);
        self.move_some();
    }

    /// Begins a larger table. It has room for the present entries and for as many insertions as it takes to
    /// move them.
    fn outgrow(&mut self) {
        // The step ensures that nothing is left to move. The loop makes sure that nothing is lost.
        while self.outgrown.is_some() {
            self.move_some();
        }
        let larger = Table::with_room(self.table.room().saturating_mul(2).max(7));
        let ahead = larger.room().saturating_sub(self.table.len).max(1);
        let table = core::mem::replace(&mut self.table, larger);
        let step = table.places.len().div_ceil(ahead).max(STEP);
        self.outgrown = (table.len > 0).then_some(Outgrown { table, next: 0, step });
    }

    /// Moves the entries in the next few places of the outgrown table.
    fn move_some(&mut self) {
        let Some(outgrown) = &mut self.outgrown else { return };
        let end = outgrown.next.saturating_add(outgrown.step).min(outgrown.table.places.len());
        for at in outgrown.next..end {
            if let Some((tag, slot)) = outgrown.table.at(at) {
                self.table.insert(tag, slot);
                outgrown.table.vacate(at);
            }
        }
        outgrown.next = end;
        if outgrown.table.len == 0 || end >= outgrown.table.places.len() {
            self.outgrown = None;
        }
    }

    /// Forgets every slot.
    pub(crate) fn clear(&mut self) {
        self.table.places.fill(0);
        self.table.len = 0;
        self.outgrown = None;
    }

    /// Removes every slot and frees the memory.
    pub(crate) fn release(&mut self) {
        (self.table, self.outgrown) = (Table::default(), None);
    }

    /// The slot whose record has `id`. `record` returns the id of the record in a slot.
    pub(crate) fn get<'a>(&self, id: &[u8], record: impl Fn(Slot) -> Option<&'a [u8]>) -> Option<Slot> {
        self.get_hashed(self.hash(id), |slot| record(slot) == Some(id))
    }

    /// Adds `slot` under `id`. The caller has checked that no record has this id.
    pub(crate) fn insert(&mut self, id: &[u8], slot: Slot) {
        self.insert_hashed(self.hash(id), slot);
    }

    /// Removes `slot` from the index.
    pub(crate) fn remove(&mut self, id: &[u8], slot: Slot) {
        let tag = tag_of(self.hash(id));
        if let Some((at, _)) = self.table.find(tag, |held| held == slot) {
            self.table.remove(at);
        } else if let Some(outgrown) = &mut self.outgrown
            && let Some((at, _)) = outgrown.table.find(tag, |held| held == slot)
        {
            outgrown.table.vacate(at);
        }
    }
}

impl fmt::Debug for KeyedIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outgrown = self.outgrown.as_ref().map_or(0, |outgrown| outgrown.table.len);
        // The key is left out, because it would allow choosing ids that collide.
        let len = self.table.len.saturating_add(outgrown);
        f.debug_struct("KeyedIndex").field("len", &len).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use alloc::{format, string::String, vec::Vec};

    use proptest::prelude::*;

    use super::*;

    /// An index over texts in slots. It counts how many entries the last insertion moved.
    struct Held {
        texts: Vec<Option<String>>,
        index: KeyedIndex,
        moved: usize,
    }

    impl Held {
        fn new() -> Self {
            Self { texts: Vec::new(), index: KeyedIndex::new([3; 16]), moved: 0 }
        }

        fn find(&self, id: &str) -> Option<Slot> {
            self.index.get(id.as_bytes(), |slot| Some(self.texts[slot as usize].as_ref()?.as_bytes()))
        }

        fn insert(&mut self, id: String) {
            let slot = Slot::try_from(self.texts.len()).unwrap();
            self.texts.push(Some(id.clone()));
            let waits = |index: &KeyedIndex| index.outgrown.as_ref().map_or(0, |outgrown| outgrown.table.len);
            let (waited, all) = (waits(&self.index), self.index.table.len);
            self.index.insert(id.as_bytes(), slot);
            // A table that was just outgrown holds every former entry.
            let waited = if waited == 0 && waits(&self.index) > 0 { all } else { waited };
            self.moved = waited - waits(&self.index);
        }

        fn remove(&mut self, id: &str) {
            let slot = self.find(id).unwrap();
            self.index.remove(id.as_bytes(), slot);
            self.texts[slot as usize] = None;
        }
    }

    /// The cost of an insertion is bounded: however many ids there are, it moves only a few.
    #[test]
    fn no_insertion_pays_for_the_others() {
        let mut held = Held::new();
        for n in 0..50_000 {
            held.insert(format!("id-{n}"));
            assert!(held.moved <= STEP, "{} of {n} at once", held.moved);
        }
        // This also holds while ids come and go, and after most of them are gone.
        for n in 0..75_000 {
            held.insert(format!("new-{n}"));
            assert!(held.moved <= STEP, "{} at once", held.moved);
            let gone = if n < 50_000 { format!("id-{n}") } else { format!("new-{}", n - 50_000) };
            held.remove(&gone);
        }
        for n in 25_000..72_500 {
            held.remove(&format!("new-{n}"));
        }
        for n in 0..50_000 {
            held.insert(format!("last-{n}"));
            assert!(held.moved <= STEP, "{} at once", held.moved);
        }
        assert!(held.find("new-74999").is_some() && held.find("new-1").is_none());
        assert!((0..50_000).all(|n| held.find(&format!("last-{n}")).is_some()));
    }

    proptest! {
        /// An id that was inserted is found, and one that was removed is not, wherever entries have been
        /// moved.
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
