//! The one hash index of this crate: from an external id to the slot of its record.
//!
//! It stores slots only, compares against the record itself, and cannot be iterated, so its order can never
//! reach a decision. The hash is keyed because ids are chosen by peers.

use alloc::{vec, vec::Vec};
use core::{fmt, hash::Hasher, hint::black_box};

use siphasher::sip::SipHasher13;

/// A slot: the place of a record in its slab.
pub(crate) type Slot = u32;

/// Maps ids to slots. Two indexes are never compared: the records are the truth, this only finds them.
///
/// What is asked for is nearly always in the first cache line that is looked at, and the record after it: two misses
/// where neither is in a cache. Half of the hash lies beside the slot, so that no other record is fetched to compare.
///
/// No insertion pays for the others: a table that is full is kept beside the larger one, and each insertion moves a
/// few of its entries. At a million records, moving all of them in one call would take many milliseconds.
#[derive(Clone)]
pub(crate) struct KeyedIndex {
    key: [u8; 16],
    table: Table,
    outgrown: Option<Outgrown>,
}

/// Open addressing, one place after the other. A place holds half of the hash, above the slot plus one; 0 is empty.
#[derive(Clone, Default)]
struct Table {
    /// A power of two, or none.
    places: Vec<u64>,
    len: usize,
}

/// The places of an outgrown table that an insertion empties at least: while there are two tables, what is in the
/// older one is looked for in both, so that they are better two for a short time only.
const STEP: usize = 16;

/// A table on its way into a larger one.
#[derive(Clone)]
struct Outgrown {
    table: Table,
    /// The first place that may still hold something.
    next: usize,
    /// How many places are emptied at each insertion: so many that all are before the larger table can be full.
    step: usize,
}

/// In a table that was outgrown: what was here is not any more, and others may follow.
const GONE: u64 = 1 << 32;

fn keyed_hash(key: &[u8; 16], id: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new_with_key(key);
    hasher.write(id);
    hasher.finish()
}

/// The half of a hash that a place holds, and all that finding needs. Its lower bits say where to begin to look.
fn tag_of(hash: u64) -> u32 {
    u32::try_from(hash >> 32).unwrap_or(0)
}

/// What an index finds an id by, for who keeps it beside the id: all indexes with one key have the same.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct KeptHash(u32);

/// It follows from the id and from a key that means nothing.
impl PartialEq for KeptHash {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for KeptHash {}

fn place(tag: u32, slot: Slot) -> u64 {
    u64::from(tag) << 32 | u64::from(slot.saturating_add(1))
}

/// Tag and slot of a place, where it is not empty.
fn entry(place: u64) -> Option<(u32, Slot)> {
    let [a, b, c, d, tag @ ..] = place.to_le_bytes();
    let slot = u32::from_le_bytes([a, b, c, d]).checked_sub(1)?;
    Some((u32::from_le_bytes(tag), slot))
}

impl Table {
    /// An empty table with room for so many.
    fn with_room(room: usize) -> Self {
        if room == 0 {
            return Self::default();
        }
        // Seven of eight places are taken at most.
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

    /// Where the entry with this tag is that `is_it` knows.
    fn find(&self, tag: u32, is_it: impl Fn(Slot) -> bool) -> Option<(usize, Slot)> {
        let mut at = self.home(tag);
        loop {
            // There is an empty place, so this ends.
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

    /// Adds an entry. There is room.
    fn insert(&mut self, tag: u32, slot: Slot) {
        let mut at = self.home(tag);
        while self.at(at).is_some() {
            at = self.after(at);
        }
        self.set(at, place(tag, slot));
        self.len = self.len.saturating_add(1);
    }

    /// Empties a place. What had to stand behind it comes forward, so that nobody looks past a gap.
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

    /// Empties a place of a table that was outgrown, and moves nothing: those behind it are still found.
    fn vacate(&mut self, at: usize) {
        self.set(at, GONE);
        self.len = self.len.saturating_sub(1);
    }
}

impl KeyedIndex {
    pub(crate) fn new(key: [u8; 16]) -> Self {
        Self { key, table: Table::default(), outgrown: None }
    }

    /// An index with room for `capacity` ids, so that filling it never moves one.
    pub(crate) fn with_capacity(key: [u8; 16], capacity: usize) -> Self {
        Self { key, table: Table::with_room(capacity), outgrown: None }
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

    /// The keyed hash of `id`, as far as it finds something.
    pub(crate) fn kept_hash(&self, id: &[u8]) -> KeptHash {
        KeptHash(tag_of(self.hash(id)))
    }

    /// Looks where the search for this hash will begin, and gives nothing: the processor fetches that place while the
    /// caller goes on. There is no prefetch without `unsafe`.
    pub(crate) fn fetch(&self, KeptHash(tag): KeptHash) {
        black_box(self.table.at(self.table.home(tag)));
    }

    /// The slot under `hash` of the record that `is_it` knows.
    pub(crate) fn get_hashed(&self, hash: u64, is_it: impl Fn(Slot) -> bool) -> Option<Slot> {
        self.get_kept(KeptHash(tag_of(hash)), is_it)
    }

    /// As [`Self::get_hashed`], by what was kept of the hash.
    pub(crate) fn get_kept(&self, KeptHash(tag): KeptHash, is_it: impl Fn(Slot) -> bool) -> Option<Slot> {
        let found = self.table.find(tag, &is_it);
        let outgrown = || self.outgrown.as_ref()?.table.find(tag, &is_it);
        found.or_else(outgrown).map(|(_, slot)| slot)
    }

    /// Adds `slot` under `hash`. The caller has seen that no record has this id.
    pub(crate) fn insert_hashed(&mut self, hash: u64, slot: Slot) {
        if self.table.len >= self.table.room() {
            self.outgrow();
        }
        self.table.insert(tag_of(hash), slot);
        self.move_some();
    }

    /// Begins a larger table. It has room for what is there and for as many insertions as it takes to move that.
    fn outgrow(&mut self) {
        // There is nothing left to move, by the choice of the step; were there, nothing may be lost.
        while self.outgrown.is_some() {
            self.move_some();
        }
        let larger = Table::with_room(self.table.room().saturating_mul(2).max(7));
        let ahead = larger.room().saturating_sub(self.table.len).max(1);
        let table = core::mem::replace(&mut self.table, larger);
        let step = table.places.len().div_ceil(ahead).max(STEP);
        self.outgrown = (table.len > 0).then_some(Outgrown { table, next: 0, step });
    }

    /// Moves what is in the next few places of the table that was outgrown.
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

    /// Forgets every slot, and the room for them.
    pub(crate) fn release(&mut self) {
        (self.table, self.outgrown) = (Table::default(), None);
    }

    /// The slot whose record has `id`. `record` gives the id of the record in a slot.
    pub(crate) fn get<'a>(&self, id: &[u8], record: impl Fn(Slot) -> Option<&'a [u8]>) -> Option<Slot> {
        self.get_hashed(self.hash(id), |slot| record(slot) == Some(id))
    }

    /// Adds `slot` under `id`. The caller has seen that no record has this id.
    pub(crate) fn insert(&mut self, id: &[u8], slot: Slot) {
        self.insert_hashed(self.hash(id), slot);
    }

    /// Takes `slot` out of the index.
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
        // The key stays out: who knows it can choose ids that collide.
        let len = self.table.len.saturating_add(outgrown);
        f.debug_struct("KeyedIndex").field("len", &len).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use alloc::{format, string::String, vec::Vec};

    use proptest::prelude::*;

    use super::*;

    /// An index over texts in slots, with how many of them were moved in the last insertion.
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
            // A table that is outgrown holds all that there was.
            let waited = if waited == 0 && waits(&self.index) > 0 { all } else { waited };
            self.moved = waited - waits(&self.index);
        }

        fn remove(&mut self, id: &str) {
            let slot = self.find(id).unwrap();
            self.index.remove(id.as_bytes(), slot);
            self.texts[slot as usize] = None;
        }
    }

    /// The cost of an insertion is flat: however many ids there are, a few of them are moved.
    #[test]
    fn no_insertion_pays_for_the_others() {
        let mut held = Held::new();
        for n in 0..50_000 {
            held.insert(format!("id-{n}"));
            assert!(held.moved <= STEP, "{} of {n} at once", held.moved);
        }
        // And while they come and go, and after most of them are gone.
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
