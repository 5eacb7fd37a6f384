//! Who is ready, by what they can do: workers with the same capabilities form a class with a queue of its own.
//!
//! A request picks among the heads of the classes that can serve it, least recently used first, so no name can
//! jump the queue. Joining, leaving and picking cost O(classes / 64), however many workers there are.

use alloc::{borrow::Cow, collections::BTreeMap, vec::Vec};
use core::num::NonZeroU32;

use crate::{capability::CapabilitySet, index::KeyedIndex, slab::Chunks};

/// A class: the workers with one set of capabilities. One more than its place, so that none takes no room.
pub(crate) type ClassId = NonZeroU32;

/// The most request shapes whose matching classes are kept; others are matched anew each time.
const MAX_SHAPES: usize = 1024;

const NONE: u32 = u32::MAX;

#[derive(Clone, Debug)]
struct Class {
    capabilities: CapabilitySet,
    members: u32,
    head: u32,
    tail: u32,
    /// The stamp of the head: choosing among classes looks at no worker.
    stamp: u64,
}

/// A worker's place in the queue of its class. `stamp` orders workers across classes; zero means not queued.
#[derive(Clone, Copy, Debug)]
struct Link {
    prev: u32,
    next: u32,
    stamp: u64,
}

const UNLINKED: Link = Link { prev: NONE, next: NONE, stamp: 0 };

/// The queues. Which worker stands where, by stamp, and which stamp came last, is hard state; everything else here is
/// derived from it.
#[derive(Clone, Debug)]
pub(crate) struct ReadyQueues {
    classes: Vec<Class>,
    by_set: BTreeMap<CapabilitySet, ClassId>,
    vacant: Vec<ClassId>,
    links: Chunks<Link>,
    /// One bit for each class that has somebody queued.
    occupied: Vec<u64>,
    /// Which classes can serve a request of this shape. Derived; forgotten whenever a class comes or goes.
    shapes: Vec<(CapabilitySet, Vec<u64>)>,
    by_shape: KeyedIndex,
    stamp: u64,
}

fn index(id: u32) -> usize {
    usize::try_from(id).unwrap_or(usize::MAX)
}

fn place(class: ClassId) -> u32 {
    class.get().saturating_sub(1)
}

fn bit(class: ClassId) -> (usize, u64) {
    (index(place(class) / 64), 1_u64 << (place(class) % 64))
}

impl ReadyQueues {
    /// No class and nobody queued. `index_key` keys the hash of the shapes of requests.
    pub(crate) fn new(index_key: [u8; 16]) -> Self {
        Self {
            classes: Vec::new(),
            by_set: BTreeMap::new(),
            vacant: Vec::new(),
            links: Chunks::default(),
            occupied: Vec::new(),
            shapes: Vec::new(),
            by_shape: KeyedIndex::new(index_key),
            stamp: 0,
        }
    }

    fn class(&self, class: ClassId) -> Option<&Class> {
        self.classes.get(index(place(class)))
    }

    fn class_mut(&mut self, class: ClassId) -> Option<&mut Class> {
        self.classes.get_mut(index(place(class)))
    }

    fn link(&self, slot: u32) -> Link {
        self.links.get(index(slot)).copied().unwrap_or(UNLINKED)
    }

    fn link_mut(&mut self, slot: u32) -> Option<&mut Link> {
        self.links.reach(index(slot), UNLINKED);
        self.links.get_mut(index(slot))
    }

    /// The class of `capabilities`, with one more member.
    pub(crate) fn enter_class(&mut self, capabilities: &CapabilitySet) -> ClassId {
        if let Some(class) = self.by_set.get(capabilities).copied() {
            if let Some(class) = self.class_mut(class) {
                class.members = class.members.saturating_add(1);
            }
            return class;
        }
        let fresh =
            Class { capabilities: capabilities.clone(), members: 1, head: NONE, tail: NONE, stamp: 0 };
        let id = match self.vacant.pop() {
            Some(id) => {
                if let Some(place) = self.class_mut(id) {
                    *place = fresh;
                }
                id
            }
            None => {
                self.classes.push(fresh);
                // There are fewer classes than workers.
                u32::try_from(self.classes.len()).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MAX)
            }
        };
        let (word, _) = bit(id);
        if self.occupied.len() <= word {
            self.occupied.resize(word.saturating_add(1), 0);
        }
        self.by_set.insert(capabilities.clone(), id);
        self.forget_shapes();
        id
    }

    /// One member fewer; a class without members is gone.
    pub(crate) fn leave_class(&mut self, id: ClassId) {
        let Some(class) = self.class_mut(id) else { return };
        class.members = class.members.saturating_sub(1);
        if class.members == 0 {
            let capabilities = class.capabilities.clone();
            self.by_set.remove(&capabilities);
            self.vacant.push(id);
            self.forget_shapes();
        }
    }

    /// What the members of a class can do.
    pub(crate) fn capabilities(&self, class: ClassId) -> Option<&CapabilitySet> {
        self.class(class).map(|class| &class.capabilities)
    }

    /// Whether the worker in `slot` is queued.
    pub(crate) fn is_queued(&self, slot: u32) -> bool {
        self.link(slot).stamp != 0
    }

    /// Where the worker in `slot` stands across all queues; zero where it is not queued.
    pub(crate) fn stamp(&self, slot: u32) -> u64 {
        self.link(slot).stamp
    }

    /// The last stamp that was given.
    pub(crate) fn last_stamp(&self) -> u64 {
        self.stamp
    }

    /// Goes on after `stamp`: the worker that had it may have left the queues.
    pub(crate) fn resume_stamps(&mut self, stamp: u64) {
        self.stamp = self.stamp.max(stamp);
    }

    /// Puts the worker in `slot` at the end of the queue of `class`.
    pub(crate) fn push(&mut self, class: ClassId, slot: u32) {
        self.stamp = self.stamp.saturating_add(1);
        self.push_stamped(class, slot, self.stamp);
    }

    /// As [`Self::push`], with a stamp that was given before: recovery pushes in the order of the stamps.
    pub(crate) fn push_stamped(&mut self, class: ClassId, slot: u32, stamp: u64) {
        self.stamp = self.stamp.max(stamp);
        let Some(queue) = self.class_mut(class) else { return };
        let tail = core::mem::replace(&mut queue.tail, slot);
        if tail == NONE {
            (queue.head, queue.stamp) = (slot, stamp);
        } else if let Some(link) = self.link_mut(tail) {
            link.next = slot;
        }
        if let Some(link) = self.link_mut(slot) {
            *link = Link { prev: tail, next: NONE, stamp };
        }
        let (word, mask) = bit(class);
        if let Some(word) = self.occupied.get_mut(word) {
            *word |= mask;
        }
    }

    /// Takes the worker in `slot` out of the queue of `class`.
    pub(crate) fn remove(&mut self, class: ClassId, slot: u32) {
        let Link { prev, next, stamp } = self.link(slot);
        if stamp == 0 {
            return;
        }
        if let Some(link) = self.link_mut(slot) {
            *link = UNLINKED;
        }
        if prev != NONE
            && let Some(link) = self.link_mut(prev)
        {
            link.next = next;
        }
        if next != NONE
            && let Some(link) = self.link_mut(next)
        {
            link.prev = prev;
        }
        let following = self.stamp(next);
        let Some(queue) = self.class_mut(class) else { return };
        if prev == NONE {
            (queue.head, queue.stamp) = (next, following);
        }
        if next == NONE {
            queue.tail = prev;
        }
        if queue.head == NONE {
            let (word, mask) = bit(class);
            if let Some(word) = self.occupied.get_mut(word) {
                *word &= !mask;
            }
        }
    }

    fn forget_shapes(&mut self) {
        self.shapes.clear();
        self.by_shape.clear();
    }

    fn hash_of(&self, shape: &CapabilitySet) -> u64 {
        // No name is the beginning of a name and a separator, so different sets are different texts.
        self.by_shape.hash_parts(shape.iter().flat_map(|name| [name.as_str().as_bytes(), b"\n"]))
    }

    fn shape(&self, shape: &CapabilitySet, hash: u64) -> Option<&[u64]> {
        let known = |at: u32| self.shapes.get(index(at));
        let at = self.by_shape.get_hashed(hash, |at| known(at).is_some_and(|(set, _)| set == shape))?;
        known(at).map(|(_, mask)| mask.as_slice())
    }

    /// Keeps which classes can serve `shape`, so that the next request of that shape need not match them all.
    pub(crate) fn remember_shape(&mut self, shape: &CapabilitySet) {
        let hash = self.hash_of(shape);
        if self.shapes.len() >= MAX_SHAPES || self.shape(shape, hash).is_some() {
            return;
        }
        let Ok(at) = u32::try_from(self.shapes.len()) else { return };
        self.shapes.push((shape.clone(), self.matching(shape)));
        self.by_shape.insert_hashed(hash, at);
    }

    fn matching(&self, shape: &CapabilitySet) -> Vec<u64> {
        let mut mask = alloc::vec![0; self.occupied.len()];
        for (set, class) in &self.by_set {
            if shape.is_subset_of(set) {
                let (word, one) = bit(*class);
                if let Some(word) = mask.get_mut(word) {
                    *word |= one;
                }
            }
        }
        mask
    }

    /// The queues of the classes that can serve `shape`.
    pub(crate) fn serving(&self, shape: &CapabilitySet) -> Serving<'_> {
        let mask = match self.shape(shape, self.hash_of(shape)) {
            Some(mask) => Cow::Borrowed(mask),
            None => Cow::Owned(self.matching(shape)),
        };
        Serving { queues: self, mask }
    }
}

/// The queues that can serve one request.
pub(crate) struct Serving<'a> {
    queues: &'a ReadyQueues,
    mask: Cow<'a, [u64]>,
}

impl<'a> Serving<'a> {
    /// The classes that have somebody.
    fn classes(&self) -> impl Iterator<Item = &'a Class> {
        let queues = self.queues;
        let words = (0_u32..).zip(self.mask.iter().zip(&queues.occupied));
        words.flat_map(move |(at, (mask, occupied))| {
            let next = |word: &u64| Some(word & word.saturating_sub(1));
            let bits = core::iter::successors(Some(mask & occupied), next).take_while(|word| *word != 0);
            bits.filter_map(move |word| {
                queues.classes.get(index(at.saturating_mul(64).saturating_add(word.trailing_zeros())))
            })
        })
    }

    /// The worker that was used longest ago. Cost: O(classes / 64) and a look at each class that has somebody.
    pub(crate) fn first(&self) -> Option<u32> {
        self.classes().min_by_key(|class| class.stamp).map(|class| class.head)
    }

    /// The workers, least recently used first, at most `most` from each class. Callers take the first that passes the
    /// checks that are made at the last moment.
    pub(crate) fn candidates(&self, most: usize) -> Candidates<'a> {
        let heads = self.classes().map(|class| (class.head, most)).collect();
        Candidates { queues: self.queues, heads }
    }
}

/// See [`Serving::candidates`].
pub(crate) struct Candidates<'a> {
    queues: &'a ReadyQueues,
    /// The next worker of each matching class, and how many more may be taken from it.
    heads: Vec<(u32, usize)>,
}

impl Iterator for Candidates<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let queues = self.queues;
        let (slot, left) = self
            .heads
            .iter_mut()
            .filter(|(slot, left)| *slot != NONE && *left > 0)
            .min_by_key(|(slot, _)| queues.stamp(*slot))?;
        let found = *slot;
        *slot = queues.link(found).next;
        *left = left.saturating_sub(1);
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> CapabilitySet {
        CapabilitySet::parse(names.iter().copied()).unwrap()
    }

    #[test]
    fn candidates_come_least_recently_used_first_across_classes() {
        let mut queues = ReadyQueues::new([1; 16]);
        let wide = queues.enter_class(&set(&["a", "b"]));
        let narrow = queues.enter_class(&set(&["a"]));
        queues.push(wide, 7);
        queues.push(narrow, 3);
        queues.push(wide, 1);
        let all = |queues: &ReadyQueues, shape: &[&str]| {
            let shape = set(shape);
            let all: Vec<_> = queues.serving(&shape).candidates(9).collect();
            assert_eq!(queues.serving(&shape).first(), all.first().copied());
            all
        };
        assert_eq!(all(&queues, &["a"]), [7, 3, 1]);
        assert_eq!(all(&queues, &["b"]), [7, 1]);
        assert_eq!(all(&queues, &["c"]), [0; 0]);
        queues.remember_shape(&set(&["a"]));
        queues.remove(wide, 7);
        queues.push(wide, 7);
        assert_eq!(all(&queues, &["a"]), [3, 1, 7]);
        queues.remove(wide, 1);
        queues.remove(wide, 7);
        assert_eq!(all(&queues, &["a"]), [3]);
        assert_eq!(all(&queues, &["b"]), [0; 0]);
    }

    #[test]
    fn a_class_without_members_is_gone_and_its_place_is_used_again() {
        let mut queues = ReadyQueues::new([1; 16]);
        let first = queues.enter_class(&set(&["a"]));
        queues.leave_class(first);
        assert_eq!(queues.enter_class(&set(&["b"])), first);
        assert_eq!(queues.capabilities(first), Some(&set(&["b"])));
    }
}
