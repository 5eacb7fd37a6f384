//! A timer wheel for deadlines. Arming, moving and taking one costs O(1), however many there are.
//!
//! The wheel has eleven levels of 64 buckets, which cover every millisecond of a `u64`. A bucket of level 0
//! is one millisecond long, a bucket of level `n` is 64 to the power of `n` milliseconds. An entry is on the
//! level of the highest digit in which its time differs from the wheel's, and moves down at least one level
//! when the wheel reaches its bucket. The entries of a bucket are a linked list through the slots. So the
//! wheel holds one entry for each slot, however often slots are armed (invariant 13).

use alloc::{vec, vec::Vec};

use crate::{slab::Chunks, time::Mono};

const LEVELS: u32 = 11;
const BITS: u32 = 6;
const BUCKETS: u32 = 64;
/// The list of due entries, after the buckets.
const DUE: u32 = LEVELS * BUCKETS;
/// Tag bit: this link is not a slot but the number of the list that ends here. Slot numbers never have this
/// bit set.
const EDGE: u32 = 1 << 31;
const NOWHERE: u32 = u32::MAX;

/// The entry of a slot: when it is due, and its neighbours in its list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    at: Mono,
    prev: u32,
    next: u32,
}

const OUT: Entry = Entry { at: Mono::NEVER, prev: NOWHERE, next: NOWHERE };

/// The first and the last slot of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ends {
    first: u32,
    last: u32,
}

const EMPTY: Ends = Ends { first: NOWHERE, last: NOWHERE };

/// The wheel. An entry whose time is not after the wheel's time is due at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wheel {
    entries: Chunks<Entry>,
    lists: Vec<Ends>,
    /// For each level, one bit for each bucket that is not empty.
    occupied: [u64; 11],
    now: u64,
}

impl Default for Wheel {
    fn default() -> Self {
        let lists = vec![EMPTY; index(DUE).saturating_add(1)];
        Self { entries: Chunks::default(), lists, occupied: [0; 11], now: 0 }
    }
}

fn index(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// The number of the list that ends at this link; `None` if the link is a slot.
const fn edge(neighbour: u32) -> Option<u32> {
    if neighbour & EDGE == 0 { None } else { Some(neighbour ^ EDGE) }
}

impl Wheel {
    /// A wheel whose time is `now`.
    pub(super) fn at(now: Mono) -> Self {
        Self { now: now.0, ..Self::default() }
    }

    /// When the entry of `slot` is due; `Mono::NEVER` if it is not armed.
    pub(super) fn armed(&self, slot: u32) -> Mono {
        self.entries.get(index(slot)).map_or(Mono::NEVER, |entry| entry.at)
    }

    /// The list to which an entry for `at` belongs now.
    fn list(&self, at: Mono) -> u32 {
        if at.0 <= self.now {
            return DUE;
        }
        let level = 63_u32.saturating_sub((at.0 ^ self.now).leading_zeros()) / BITS;
        let digit = u32::try_from(at.0 >> level.saturating_mul(BITS) & 63).unwrap_or(0);
        level.saturating_mul(BUCKETS).saturating_add(digit)
    }

    fn mark(&mut self, list: u32, taken: bool) {
        if let Some(word) = self.occupied.get_mut(index(list / BUCKETS)) {
            let bit = 1_u64 << (list % BUCKETS);
            *word = if taken { *word | bit } else { *word & !bit };
        }
    }

    fn entry(&mut self, slot: u32) -> Option<&mut Entry> {
        self.entries.get_mut(index(slot))
    }

    /// Appends `slot` to the list for `at`.
    fn link(&mut self, slot: u32, at: Mono) {
        let list = self.list(at);
        let Some(ends) = self.lists.get_mut(index(list)) else { return };
        let last = core::mem::replace(&mut ends.last, slot);
        let prev = if last == NOWHERE {
            ends.first = slot;
            self.mark(list, true);
            EDGE | list
        } else {
            if let Some(entry) = self.entry(last) {
                entry.next = slot;
            }
            last
        };
        if let Some(entry) = self.entry(slot) {
            *entry = Entry { at, prev, next: EDGE | list };
        }
    }

    fn unlink(&mut self, slot: u32) {
        let Some(entry) = self.entry(slot) else { return };
        let Entry { prev, next, .. } = core::mem::replace(entry, OUT);
        if prev == NOWHERE {
            return;
        }
        let (before, after) = (edge(prev), edge(next));
        match before {
            Some(list) => {
                if let Some(ends) = self.lists.get_mut(index(list)) {
                    ends.first = if after.is_some() { NOWHERE } else { next };
                }
            }
            None => {
                if let Some(entry) = self.entry(prev) {
                    entry.next = next;
                }
            }
        }
        match after {
            Some(list) => {
                if let Some(ends) = self.lists.get_mut(index(list)) {
                    ends.last = if before.is_some() { NOWHERE } else { prev };
                }
                if before.is_some() {
                    self.mark(list, false);
                }
            }
            None => {
                if let Some(entry) = self.entry(next) {
                    entry.prev = prev;
                }
            }
        }
    }

    /// Arms `slot` for `at`. `Mono::NEVER` disarms it.
    pub(super) fn arm(&mut self, slot: u32, at: Mono) {
        self.entries.reach(index(slot), OUT);
        self.unlink(slot);
        if at != Mono::NEVER {
            self.link(slot, at);
        }
    }

    /// The first bucket that is not empty, and when it begins.
    fn first(&self) -> Option<(u32, u64)> {
        let bucket = |(level, word): (u32, u64)| {
            let (digit, shift) = (word.trailing_zeros(), level.saturating_mul(BITS));
            // Above this level's digit, the bucket's time equals the wheel's.
            let above = self.now.checked_shr(shift.saturating_add(BITS)).unwrap_or(0);
            let begins = (above << BITS | u64::from(digit)) << shift;
            (level.saturating_mul(BUCKETS).saturating_add(digit), begins)
        };
        let occupied = (0_u32..).zip(self.occupied).filter(|(_, word)| *word != 0);
        occupied.map(bucket).min_by_key(|(_, begins)| *begins)
    }

    /// When the wheel must turn next. Never later than the first entry, and possibly earlier.
    pub(super) fn next(&self) -> Option<Mono> {
        if self.due().next().is_some() {
            return Some(Mono(self.now));
        }
        self.first().map(|(_, begins)| Mono(begins))
    }

    /// The slots that are due, in the order in which they became due.
    pub(super) fn due(&self) -> impl Iterator<Item = u32> {
        let first = self.lists.get(index(DUE)).map_or(NOWHERE, |ends| ends.first);
        let next = |slot: &u32| self.entries.get(index(*slot)).map(|entry| entry.next);
        core::iter::successors(Some(first), next).take_while(|slot| edge(*slot).is_none())
    }

    /// Turns the wheel to `now` and moves at most `most` entries. Returns whether more are left to move.
    pub(super) fn turn(&mut self, now: Mono, most: usize) -> bool {
        let mut left = most;
        while let Some((list, begins)) = self.first().filter(|(_, begins)| *begins <= now.0) {
            self.now = self.now.max(begins);
            while let Some(slot) =
                self.lists.get(index(list)).map(|ends| ends.first).filter(|slot| edge(*slot).is_none())
            {
                if left == 0 {
                    return true;
                }
                left = left.saturating_sub(1);
                let at = self.armed(slot);
                self.unlink(slot);
                self.link(slot, at);
            }
        }
        self.now = self.now.max(now.0);
        false
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Compares the wheel with a sorted set. After any arming and turning the same slots are due, none
        /// early and none late.
        #[test]
        fn a_wheel_is_a_sorted_set(
            steps in prop::collection::vec((0_u32..40, 0_u64..8, 0_u64..1 << 40, 0_u64..9), 1..200),
        ) {
            let mut wheel = Wheel::at(Mono(77));
            let mut set = BTreeSet::new();
            let mut now = 77_u64;
            for (slot, what, far, span) in steps {
                match what {
                    0..5 => {
                        let at = Mono(now + (far >> (4 * span)));
                        set.retain(|(_, other)| *other != slot);
                        set.insert((at, slot));
                        wheel.arm(slot, at);
                    }
                    5 => {
                        set.retain(|(_, other)| *other != slot);
                        wheel.arm(slot, Mono::NEVER);
                    }
                    _ => {
                        now += far >> (5 * span);
                        let next = wheel.next();
                        prop_assert!(next.is_none_or(|next| set.first().is_some_and(|(at, _)| next <= *at || at.0 <= now)));
                        prop_assert_eq!(next.is_none(), set.is_empty());
                        while wheel.turn(Mono(now), 3) {}
                        let due: BTreeSet<_> = wheel.due().collect();
                        let want: BTreeSet<_> = set.iter().filter(|(at, _)| at.0 <= now).map(|(_, slot)| *slot).collect();
                        prop_assert_eq!(&due, &want);
                        for slot in due {
                            set.retain(|(_, other)| *other != slot);
                            wheel.arm(slot, Mono::NEVER);
                        }
                    }
                }
                for (at, slot) in &set {
                    prop_assert_eq!(wheel.armed(*slot), *at);
                }
            }
        }
    }
}
