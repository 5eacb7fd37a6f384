//! Who is ready, by what they can do: workers with the same capabilities form a class with a queue of its own.
//!
//! A request picks among the heads of the classes that can serve it, least recently used first, so no name can
//! jump the queue. Joining, leaving and picking cost O(classes / 64), however many workers there are.

use alloc::{collections::BTreeMap, vec::Vec};

use crate::capability::CapabilitySet;

/// A class: the workers with one set of capabilities.
pub(crate) type ClassId = u32;

/// The most request shapes whose matching classes are kept; others are matched anew each time.
const MAX_SHAPES: usize = 1024;

const NONE: u32 = u32::MAX;

#[derive(Clone, Debug)]
struct Class {
    capabilities: CapabilitySet,
    members: u32,
    head: u32,
    tail: u32,
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
#[derive(Clone, Debug, Default)]
pub(crate) struct ReadyQueues {
    classes: Vec<Class>,
    by_set: BTreeMap<CapabilitySet, ClassId>,
    vacant: Vec<ClassId>,
    links: Vec<Link>,
    /// One bit for each class that has somebody queued.
    occupied: Vec<u64>,
    /// Which classes can serve a request of this shape. Derived; forgotten whenever a class comes or goes.
    shapes: BTreeMap<CapabilitySet, Vec<u64>>,
    stamp: u64,
}

fn index(id: u32) -> usize {
    usize::try_from(id).unwrap_or(usize::MAX)
}

fn bit(class: ClassId) -> (usize, u64) {
    (index(class / 64), 1_u64 << (class % 64))
}

impl ReadyQueues {
    fn class(&self, class: ClassId) -> Option<&Class> {
        self.classes.get(index(class))
    }

    fn class_mut(&mut self, class: ClassId) -> Option<&mut Class> {
        self.classes.get_mut(index(class))
    }

    fn link(&self, slot: u32) -> Link {
        self.links.get(index(slot)).copied().unwrap_or(UNLINKED)
    }

    fn link_mut(&mut self, slot: u32) -> Option<&mut Link> {
        if self.links.len() <= index(slot) {
            self.links.resize(index(slot).saturating_add(1), UNLINKED);
        }
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
        let fresh = Class { capabilities: capabilities.clone(), members: 1, head: NONE, tail: NONE };
        let id = match self.vacant.pop() {
            Some(id) => {
                if let Some(place) = self.class_mut(id) {
                    *place = fresh;
                }
                id
            }
            None => {
                self.classes.push(fresh);
                u32::try_from(self.classes.len()).unwrap_or(NONE).saturating_sub(1)
            }
        };
        let (word, _) = bit(id);
        if self.occupied.len() <= word {
            self.occupied.resize(word.saturating_add(1), 0);
        }
        self.by_set.insert(capabilities.clone(), id);
        self.shapes.clear();
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
            self.shapes.clear();
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
        let Some(place) = self.class_mut(class) else { return };
        let tail = core::mem::replace(&mut place.tail, slot);
        if tail == NONE {
            place.head = slot;
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
        let Some(place) = self.class_mut(class) else { return };
        if prev == NONE {
            place.head = next;
        }
        if next == NONE {
            place.tail = prev;
        }
        if place.head == NONE {
            let (word, mask) = bit(class);
            if let Some(word) = self.occupied.get_mut(word) {
                *word &= !mask;
            }
        }
    }

    /// Keeps which classes can serve `shape`, so that the next request of that shape need not match them all.
    pub(crate) fn remember_shape(&mut self, shape: &CapabilitySet) {
        if self.shapes.len() < MAX_SHAPES && !self.shapes.contains_key(shape) {
            self.shapes.insert(shape.clone(), self.matching(shape));
        }
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

    /// The workers that can serve `shape`, least recently used first, at most `most` from each class.
    ///
    /// The first of them costs O(classes / 64); each further one as much again. Callers take the first that passes
    /// the checks that are made at the last moment.
    pub(crate) fn candidates(&self, shape: &CapabilitySet, most: usize) -> Candidates<'_> {
        let matched;
        let mask = match self.shapes.get(shape) {
            Some(mask) => mask,
            None => {
                matched = self.matching(shape);
                &matched
            }
        };
        let mut heads = Vec::new();
        for (at, (mask, occupied)) in mask.iter().zip(&self.occupied).enumerate() {
            let mut word = mask & occupied;
            while word != 0 {
                let class =
                    u32::try_from(at).unwrap_or(0).saturating_mul(64).saturating_add(word.trailing_zeros());
                word &= word.saturating_sub(1);
                if let Some(class) = self.class(class) {
                    heads.push((class.head, most));
                }
            }
        }
        Candidates { queues: self, heads }
    }
}

/// See [`ReadyQueues::candidates`].
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
        let mut queues = ReadyQueues::default();
        let wide = queues.enter_class(&set(&["a", "b"]));
        let narrow = queues.enter_class(&set(&["a"]));
        queues.push(wide, 7);
        queues.push(narrow, 3);
        queues.push(wide, 1);
        let all =
            |queues: &ReadyQueues, shape: &[&str]| queues.candidates(&set(shape), 9).collect::<Vec<_>>();
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
        let mut queues = ReadyQueues::default();
        let first = queues.enter_class(&set(&["a"]));
        queues.leave_class(first);
        assert_eq!(queues.enter_class(&set(&["b"])), first);
        assert_eq!(queues.capabilities(first), Some(&set(&["b"])));
    }
}
