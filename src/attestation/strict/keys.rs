//! Whether an object has a key already. Few keys are compared one by one, more through a table of their hashes. Where
//! hashes collide more than honest ones do, a sorted set takes over: no choice of keys makes the reader slow.

use alloc::{borrow::Cow, boxed::Box, collections::BTreeSet, vec, vec::Vec};

/// Up to this many keys need no table.
const FEW_KEYS: usize = 16;

/// The most slots of a table that are looked at for one key.
const MAX_PROBES: usize = 64;

/// A key after unescaping.
type Text<'a> = Cow<'a, [u8]>;

struct Key<'a> {
    hash: u64,
    text: Text<'a>,
}

/// The keys of all objects that are open, those of the innermost last.
pub(super) struct Keys<'a>(Vec<Key<'a>>);

/// What an open object remembers about its keys.
pub(super) struct ObjectKeys<'a> {
    /// Where its keys start.
    from: usize,
    /// A bit per hash that was seen: where it is clear, the key is new.
    seen: u64,
    wide: Option<Box<Wide<'a>>>,
}

impl ObjectKeys<'_> {
    /// How many keys there may be before the object needs a table, or a larger one.
    fn room(&self) -> usize {
        self.wide.as_deref().map_or(FEW_KEYS, |wide| wide.slots.len() / 2)
    }
}

#[derive(Default)]
struct Wide<'a> {
    /// 0, or one more than the place of a key among those of its object. A power of two of them, more than half of
    /// them 0.
    slots: Vec<u32>,
    /// All keys, once the table is given up.
    sorted: Option<BTreeSet<Text<'a>>>,
}

impl<'a> Keys<'a> {
    pub(super) fn new() -> Self {
        // A statement has a few more open at once.
        Self(Vec::with_capacity(FEW_KEYS + FEW_KEYS / 2))
    }

    pub(super) fn open(&self) -> ObjectKeys<'a> {
        ObjectKeys { from: self.0.len(), seen: 0, wide: None }
    }

    pub(super) fn close(&mut self, object: &ObjectKeys<'a>) {
        self.0.truncate(object.from);
    }

    /// Takes the next key of the innermost object. False where the object has it already.
    pub(super) fn insert(&mut self, object: &mut ObjectKeys<'a>, text: Text<'a>) -> bool {
        let hash = hash(&text);
        let held = self.0.get(object.from..).unwrap_or_default();
        if let Some(wide) = object.wide.as_deref_mut() {
            if let Some(sorted) = &mut wide.sorted {
                return sorted.insert(text);
            }
            match look(&wide.slots, held, hash, &text) {
                Found::Held => return false,
                Found::Vacant(slot) => occupy(&mut wide.slots, slot, held.len()),
                Found::Crowded => return self.sort(object).insert(text),
            }
        } else {
            let bit = 1 << (hash >> 58);
            if object.seen & bit != 0 && held.iter().any(|key| key.hash == hash && key.text == text) {
                return false;
            }
            object.seen |= bit;
        }
        let count = held.len().saturating_add(1);
        self.0.push(Key { hash, text });
        if count > object.room() {
            self.widen(object);
        }
        true
    }

    /// Gives the object a table, or a larger one.
    fn widen(&mut self, object: &mut ObjectKeys<'a>) {
        let held = self.0.get(object.from..).unwrap_or_default();
        let mut slots = vec![0; held.len().saturating_mul(4).next_power_of_two()];
        for (place, key) in held.iter().enumerate() {
            // They are all different, so none needs to be compared.
            let Found::Vacant(slot) = look(&slots, &[], key.hash, &key.text) else {
                self.sort(object);
                return;
            };
            occupy(&mut slots, slot, place);
        }
        object.wide.get_or_insert_default().slots = slots;
    }

    /// Moves the object's keys into a sorted set.
    fn sort<'o>(&mut self, object: &'o mut ObjectKeys<'a>) -> &'o mut BTreeSet<Text<'a>> {
        let from = object.from.min(self.0.len());
        let keys = self.0.drain(from..).map(|key| key.text).collect();
        object.wide.get_or_insert_default().sorted.insert(keys)
    }
}

enum Found {
    Held,
    Vacant(usize),
    Crowded,
}

fn look(slots: &[u32], held: &[Key<'_>], hash: u64, text: &[u8]) -> Found {
    let mask = slots.len().wrapping_sub(1);
    // Only the highest bits of a product depend on all of its factors.
    let high = hash.checked_shr(64_u32.saturating_sub(slots.len().trailing_zeros())).unwrap_or(0);
    let mut slot = usize::try_from(high).unwrap_or(0) & mask;
    for _ in 0..MAX_PROBES {
        let Some(place) = slots.get(slot).copied() else { break };
        let Some(place) = place.checked_sub(1) else { return Found::Vacant(slot) };
        let key = usize::try_from(place).ok().and_then(|place| held.get(place));
        if key.is_some_and(|key| key.hash == hash && *key.text == *text) {
            return Found::Held;
        }
        slot = slot.wrapping_add(1) & mask;
    }
    Found::Crowded
}

fn occupy(slots: &mut [u32], slot: usize, place: usize) {
    if let Some(slot) = slots.get_mut(slot) {
        *slot = u32::try_from(place.saturating_add(1)).unwrap_or(u32::MAX);
    }
}

/// Spreads keys over a table. Anyone can find collisions, and gains nothing by them.
fn hash(text: &[u8]) -> u64 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix =
        |hash: u64, word: [u8; 8]| (hash.rotate_left(23) ^ u64::from_le_bytes(word)).wrapping_mul(FACTOR);
    let length = u64::try_from(text.len()).unwrap_or(0);
    let (words, _) = text.as_chunks::<8>();
    // The last word overlaps the one before it where the length is no multiple of eight.
    let last = text.last_chunk::<8>().copied().unwrap_or_else(|| short(text));
    mix(words.iter().fold(length, |hash, word| mix(hash, *word)), last)
}

/// Fewer than eight bytes as one word. The lengths are told apart already.
fn short(text: &[u8]) -> [u8; 8] {
    let word = |start: [u8; 4], end: [u8; 4]| {
        let (start, end) = (u32::from_le_bytes(start), u32::from_le_bytes(end));
        (u64::from(end) << 32 | u64::from(start)).to_le_bytes()
    };
    match *text {
        [] => [0; 8],
        [a] => word([a, 0, 0, 0], [0; 4]),
        [a, b] => word([a, b, 0, 0], [0; 4]),
        [a, b, c] => word([a, b, c, 0], [0; 4]),
        [a, b, c, d, ..] => {
            let end = text.last_chunk().copied().unwrap_or_default();
            word([a, b, c, d], end)
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use proptest::prelude::*;

    use super::*;

    /// The first key that comes again, by `Keys`.
    fn repeated(keys: &[Vec<u8>]) -> Option<usize> {
        let mut all = Keys::new();
        let mut object = all.open();
        keys.iter().position(|key| !all.insert(&mut object, Cow::Borrowed(key)))
    }

    /// Two texts with one hash: the second word makes good what the first one changed, and the last one is the same.
    fn twin(key: u64, other: u64) -> [[u8; 24]; 2] {
        let start = 24_u64.rotate_left(23);
        let step = |word: u64| (start ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23);
        let second = step(key) ^ step(other);
        let text = |first: u64, second: u64| {
            let mut text = [0; 24];
            text[..8].copy_from_slice(&first.to_le_bytes());
            text[8..16].copy_from_slice(&second.to_le_bytes());
            text
        };
        [text(key, 0), text(other, second)]
    }

    /// Attack A8: keys that all have one hash are told apart, and the one that comes again is found.
    #[test]
    fn a8_keys_that_collide_are_told_apart() {
        let mut keys: Vec<Vec<u8>> = (1..400).map(|n| twin(0, n)[1].to_vec()).collect();
        let [first, _] = twin(0, 1);
        assert!(keys.iter().all(|key| hash(key) == hash(&first)), "the attack is one");
        assert_eq!(repeated(&keys), None);
        for again in [0, 15, 16, 17, 63, 64, 65, 200, 398] {
            keys.push(keys[again].clone());
            assert_eq!(repeated(&keys), Some(399), "{again}");
            keys.pop();
        }
    }

    /// Keys that count up, at the front or at the end, need no sorted set.
    #[test]
    fn honest_keys_stay_in_the_table() {
        for name in [
            |n: u32| format!("member-{n:04}"),
            |n| format!("{n}"),
            |n| format!("{n:05}-a-longer-name-than-a-word"),
        ] {
            let (mut all, mut probes) = (Keys::new(), 0);
            let mut object = all.open();
            for n in 0..4096 {
                assert!(all.insert(&mut object, Cow::Owned(name(n).into_bytes())));
                let wide = object.wide.as_deref();
                assert!(wide.is_none_or(|wide| wide.sorted.is_none()), "{}", name(n));
                probes += wide.map_or(0, |wide| crowd(&wide.slots));
            }
            assert!(probes < 4096 * 16, "{}: {probes}", name(0));
        }
    }

    /// How many slots in a row are taken at the slot that is taken last.
    fn crowd(slots: &[u32]) -> usize {
        let last = slots.iter().enumerate().max_by_key(|(_, place)| **place).map_or(0, |(at, _)| at);
        slots[..=last].iter().rev().take_while(|place| **place != 0).count()
    }

    proptest! {
        /// Any keys, in nested objects too: the verdict is that of a set.
        #[test]
        fn the_verdict_is_that_of_a_set(keys in prop::collection::vec("[ab]{0,9}|[a-z]{0,3}", 0..200), cut in 0usize..200) {
            let keys: Vec<Vec<u8>> = keys.iter().map(|key| format!("prefix-{key}").into_bytes()).collect();
            let mut set = BTreeSet::new();
            let want = keys.iter().position(|key| !set.insert(key));
            prop_assert_eq!(repeated(&keys), want);
            let (mut all, mut outer_set) = (Keys::new(), BTreeSet::new());
            let mut outer = all.open();
            for (at, key) in keys.iter().enumerate() {
                prop_assert_eq!(all.insert(&mut outer, Cow::Borrowed(key)), outer_set.insert(key));
                if at == cut {
                    let mut inner = all.open();
                    let mut inner_set = BTreeSet::new();
                    for key in &keys {
                        prop_assert_eq!(all.insert(&mut inner, Cow::Borrowed(key)), inner_set.insert(key));
                    }
                    all.close(&inner);
                }
            }
        }
    }
}
