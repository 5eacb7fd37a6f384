//! Spent grants and nonces. Each is remembered for as long as it could be used again.

use alloc::{collections::BTreeMap, vec::Vec};

use crate::{
    digest::Sha256Digest,
    slab::{Keyed, KeyedSlab},
    time::{Now, Wall},
};

/// Entries are forgotten in batches of this many milliseconds, so that remembering one costs O(1).
const BATCH_MS: u64 = 60_000;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry(Sha256Digest);

impl Keyed for Entry {
    fn key(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// A bounded set of spent things. Each is remembered until the millisecond up to which it could be used
/// again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spent {
    entries: KeyedSlab<Entry>,
    batches: BTreeMap<u64, Vec<Sha256Digest>>,
}

impl Spent {
    pub(crate) fn new(index_key: [u8; 16]) -> Self {
        Self { entries: KeyedSlab::new(index_key), batches: BTreeMap::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn contains(&self, thing: &Sha256Digest) -> bool {
        self.entries.find(thing.as_bytes()).is_some()
    }

    /// Whether the set is full at `now`. Entries that may be forgotten by then do not count against `limit`.
    pub(crate) fn is_full(&self, limit: usize, now: u64) -> bool {
        if self.len() < limit {
            return false;
        }
        let over: usize = self.batches.range(..=now / BATCH_MS).map(|(_, batch)| batch.len()).sum();
        self.len().saturating_sub(over) >= limit
    }

    /// Forgets one entry that may be forgotten at `now`. Returns false if there is none.
    fn forget_one(&mut self, now: u64) -> bool {
        let over = self.batches.first_entry().filter(|batch| *batch.key() <= now / BATCH_MS);
        let Some(mut batch) = over else { return false };
        let thing = batch.get_mut().pop();
        if batch.get().is_empty() {
            batch.remove();
        }
        if let Some(slot) = thing.and_then(|thing| self.entries.find(thing.as_bytes())) {
            self.entries.remove(slot);
        }
        true
    }

    /// Remembers `thing` until after `until`, and forgets up to `most` entries that may be forgotten at
    /// `now`. Returns false if `thing` is remembered already.
    pub(crate) fn insert(&mut self, thing: Sha256Digest, until: u64, now: u64, most: usize) -> bool {
        for _ in 0..most {
            if !self.forget_one(now) {
                break;
            }
        }
        let Err(hash) = self.entries.find_or_hash(thing.as_bytes()) else { return false };
        // The next batch begins after `until`, so nothing is forgotten while it could be used again.
        self.batches.entry((until / BATCH_MS).saturating_add(1)).or_default().push(thing);
        self.entries.insert_hashed(hash, Entry(thing));
        true
    }

    /// Converts a batch by the wall clock to the batch by monotonic time that ends no sooner, with both
    /// clocks as at `last`.
    pub(crate) fn batch_on_the_line(batch: u64, last: Now) -> u64 {
        let over = Wall(batch.saturating_mul(BATCH_MS)).since(last.wall);
        last.mono.plus(over).0.div_ceil(BATCH_MS)
    }

    /// Every entry with its batch, in order.
    pub(crate) fn stored(&self) -> impl Iterator<Item = (u64, Sha256Digest)> {
        self.batches.iter().flat_map(|(batch, things)| things.iter().map(|thing| (*batch, *thing)))
    }

    /// Loads the next entry from a snapshot.
    pub(crate) fn load(&mut self, (batch, thing): (u64, Sha256Digest)) {
        self.batches.entry(batch).or_default().push(thing);
        self.entries.insert(Entry(thing));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORGOTTEN: usize = 8;

    #[test]
    fn nothing_is_forgotten_while_it_could_be_used_and_all_is_forgotten_after() {
        let thing = |n: u64| Sha256Digest::of(&n.to_be_bytes());
        let mut spent = Spent::new([1; 16]);
        assert!(spent.insert(thing(1), 1_000, 0, FORGOTTEN));
        assert!(spent.insert(thing(2), 500_000, 59_999, FORGOTTEN));
        assert!(spent.contains(&thing(1)) && spent.contains(&thing(2)));
        assert!(!spent.insert(thing(2), 900_000, 59_999, FORGOTTEN), "it is remembered already");
        assert!(spent.is_full(2, 0) && spent.is_full(1, 120_000) && !spent.is_full(2, 120_000));
        assert!(spent.insert(thing(3), 900_000, 120_000, FORGOTTEN));
        assert!(!spent.contains(&thing(1)) && spent.contains(&thing(2)));
        let mut loaded = Spent::new([2; 16]);
        spent.stored().for_each(|entry| loaded.load(entry));
        assert_eq!(loaded, spent);
    }

    #[test]
    fn no_operation_forgets_much_and_in_the_end_all_of_it_is_forgotten() {
        let thing = |n: u64| Sha256Digest::of(&n.to_be_bytes());
        let mut spent = Spent::new([1; 16]);
        (0..1_000).for_each(|n| assert!(spent.insert(thing(n), 1, 0, FORGOTTEN)));
        assert!(spent.is_full(1_000, 0) && !spent.is_full(1, 120_000));
        for n in 1_000..1_200 {
            let before = spent.len();
            assert!(spent.insert(thing(n), 500_000, 120_000, FORGOTTEN));
            assert!(spent.len() + FORGOTTEN > before);
            let mut loaded = Spent::new([2; 16]);
            spent.stored().for_each(|entry| loaded.load(entry));
            assert_eq!(loaded, spent);
        }
        assert_eq!(spent.len(), 200);
    }
}
