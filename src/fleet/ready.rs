//! The ready queues. Workers with the same capabilities form a class, and each class has a queue.
//!
//! A request picks among the heads of the classes that can serve it, least recently used first, so the choice
//! does not depend on names. Joining, leaving and picking cost O(classes / 64), however many workers there
//! are. A request for a long lease skips spans of a queue in which no worker can be leased for that long.

use alloc::{borrow::Cow, collections::BTreeMap, vec::Vec};
use core::num::NonZeroU32;

use crate::{
    capability::{CapabilityName, CapabilitySet},
    index::KeyedIndex,
    slab::Chunks,
    time::Mono,
};

/// The number of a class, which holds the workers with one set of capabilities. It is the class's index plus
/// one, so that `Option<ClassId>` takes no extra room.
pub(crate) type ClassId = NonZeroU32;

/// For how many request shapes the matching classes are kept. Other shapes are matched anew each time.
const MAX_SHAPES: usize = 1024;

const NONE: u32 = u32::MAX;

/// Two stamps belong to one span if they differ in their last `SPAN_BITS` bits only.
const SPAN_BITS: u32 = 8;

/// A part of a queue: the workers whose stamps belong to one span.
#[derive(Clone, Copy, Debug)]
struct Span {
    /// The first worker of the span. It is not kept up to date for the span of the queue's head.
    first: u32,
    /// No worker of the span can be leased for longer than until this instant.
    longest: Mono,
}

fn span(stamp: u64) -> u64 {
    stamp >> SPAN_BITS
}

#[derive(Clone, Debug)]
struct Class {
    capabilities: CapabilitySet,
    members: u32,
    head: u32,
    tail: u32,
    /// The stamp of the head, so that choosing among classes reads no worker.
    stamp: u64,
    /// The spans of the queue, beginning with that of the head.
    spans: BTreeMap<u64, Span>,
}

/// A worker's links in the queue of its class. `stamp` orders workers across all classes; zero means that the
/// worker is not queued.
#[derive(Clone, Copy, Debug)]
struct Link {
    prev: u32,
    next: u32,
    stamp: u64,
}

const UNLINKED: Link = Link { prev: NONE, next: NONE, stamp: 0 };

/// The ready queues. The position of each queued worker, as a stamp, and the last stamp are hard state;
/// everything else here is derived from the records.
#[derive(Clone, Debug)]
pub(crate) struct ReadyQueues {
    classes: Vec<Class>,
    by_set: BTreeMap<CapabilitySet, ClassId>,
    vacant: Vec<ClassId>,
    links: Chunks<Link>,
    /// One bit for each class whose queue is not empty.
    occupied: Vec<u64>,
    /// Which classes can serve a request of each shape. Discarded whenever a class is added or removed.
    shapes: Vec<(CapabilitySet, Vec<u64>)>,
    by_shape: KeyedIndex,
    /// The shape of the last request. The next request usually has the same one.
    recent: usize,
    stamp: u64,
    /// Workers with a stamp up to this one were removed by [`Self::clear`].
    cleared: u64,
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
    /// Queues without classes. `index_key` keys the hash of the request shapes.
    pub(crate) fn new(index_key: [u8; 16]) -> Self {
        Self {
            classes: Vec::new(),
            by_set: BTreeMap::new(),
            vacant: Vec::new(),
            links: Chunks::default(),
            occupied: Vec::new(),
            shapes: Vec::new(),
            by_shape: KeyedIndex::new(index_key),
            recent: 0,
            stamp: 0,
            cleared: 0,
        }
    }

    fn class(&self, class: ClassId) -> Option<&Class> {
        self.classes.get(index(place(class)))
    }

    fn class_mut(&mut self, class: ClassId) -> Option<&mut Class> {
        self.classes.get_mut(index(place(class)))
    }

    fn link(&self, slot: u32) -> Link {
        self.links.get(index(slot)).copied().filter(|link| link.stamp > self.cleared).unwrap_or(UNLINKED)
    }

    fn link_mut(&mut self, slot: u32) -> Option<&mut Link> {
        self.links.reach(index(slot), UNLINKED);
        self.links.get_mut(index(slot))
    }

    /// Adds a member to the class of `capabilities`, and makes the class if there is none.
    pub(crate) fn enter_class(&mut self, capabilities: &CapabilitySet) -> ClassId {
        if let Some(class) = self.by_set.get(capabilities).copied() {
            if let Some(class) = self.class_mut(class) {
                class.members = class.members.saturating_add(1);
            }
            return class;
        }
        let fresh = Class {
            capabilities: capabilities.clone(),
            members: 1,
            head: NONE,
            tail: NONE,
            stamp: 0,
            spans: BTreeMap::new(),
        };
        let id = match self.vacant.pop() {
            Some(id) => {
                if let Some(place) = self.class_mut(id) {
                    *place = fresh;
                }
                id
            }
            None => {
                self.classes.push(fresh);
                // Each class has a member, so there are no more classes than workers.
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

    /// Removes a member from a class. A class without members is removed.
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

    /// The capabilities of the members of a class.
    pub(crate) fn capabilities(&self, class: ClassId) -> Option<&CapabilitySet> {
        self.class(class).map(|class| &class.capabilities)
    }

    /// Whether the worker in `slot` is queued.
    pub(crate) fn is_queued(&self, slot: u32) -> bool {
        self.link(slot).stamp != 0
    }

    /// The position of the worker in `slot` across all queues; zero if it is not queued.
    pub(crate) fn stamp(&self, slot: u32) -> u64 {
        self.link(slot).stamp
    }

    /// The last stamp that was given.
    pub(crate) fn last_stamp(&self) -> u64 {
        self.stamp
    }

    /// Continues after `stamp`, which may belong to a worker that has left the queues.
    pub(crate) fn resume_stamps(&mut self, stamp: u64) {
        self.stamp = self.stamp.max(stamp);
    }

    /// Appends the worker in `slot`, which can be leased until `end`, to the queue of `class`.
    pub(crate) fn push(&mut self, class: ClassId, slot: u32, end: Mono) {
        self.stamp = self.stamp.saturating_add(1);
        self.push_stamped(class, slot, self.stamp, end);
    }

    /// The same as [`Self::push`] with a stamp that was given before. Recovery pushes in the order of the
    /// stamps.
    pub(crate) fn push_stamped(&mut self, class: ClassId, slot: u32, stamp: u64, end: Mono) {
        self.stamp = self.stamp.max(stamp);
        let Some(queue) = self.class_mut(class) else { return };
        let tail = core::mem::replace(&mut queue.tail, slot);
        let last = queue.spans.entry(span(stamp)).or_insert(Span { first: slot, longest: end });
        last.longest = last.longest.max(end);
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

    /// Removes the worker in `slot` from the queue of `class`. `end` gives until when any worker can be
    /// leased.
    pub(crate) fn remove(&mut self, class: ClassId, slot: u32, end: impl Fn(u32) -> Mono) {
        let Link { prev, next, stamp } = self.link(slot);
        if stamp == 0 {
            return;
        }
        if prev != NONE {
            self.measure(class, slot, Some(slot), end);
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
            if next == NONE || span(following) != span(stamp) {
                queue.spans.pop_first();
            }
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

    /// Notes that the worker in `slot` can be leased until another instant than before.
    pub(crate) fn moved(&mut self, class: ClassId, slot: u32, end: impl Fn(u32) -> Mono) {
        if self.is_queued(slot) {
            self.measure(class, slot, None, end);
        }
    }

    /// Computes the span of the worker in `slot` again, leaving out the worker `without`. Cost: O(length of a
    /// span).
    fn measure(&mut self, class: ClassId, slot: u32, without: Option<u32>, end: impl Fn(u32) -> Mono) {
        let of = span(self.stamp(slot));
        let here = |slot: &u32| *slot != NONE && span(self.stamp(*slot)) == of;
        let before = core::iter::successors(Some(slot), |slot| Some(self.link(*slot).prev));
        let first = before.take_while(here).last().unwrap_or(slot);
        let all = core::iter::successors(Some(first), |slot| Some(self.link(*slot).next)).take_while(here);
        let measured =
            all.filter(|slot| Some(*slot) != without).fold(None, |measured: Option<Span>, slot| {
                let Span { first, longest } = measured.unwrap_or(Span { first: slot, longest: Mono::START });
                Some(Span { first, longest: longest.max(end(slot)) })
            });
        let Some(queue) = self.class_mut(class) else { return };
        match measured {
            Some(measured) => queue.spans.insert(of, measured),
            None => queue.spans.remove(&of),
        };
    }

    /// Removes every worker from the queues. Cost: O(classes).
    pub(crate) fn clear(&mut self) {
        self.cleared = self.stamp;
        self.occupied.fill(0);
        for class in &mut self.classes {
            (class.head, class.tail, class.stamp) = (NONE, NONE, 0);
            class.spans.clear();
        }
    }

    /// How many workers belong to a class that can serve `shape`, whether or not they are queued. Cost:
    /// O(classes).
    pub(crate) fn able(&self, shape: &CapabilitySet) -> u64 {
        let able = self.by_set.iter().filter(|(set, _)| shape.is_subset_of(set));
        able.filter_map(|(_, class)| self.class(*class)).map(|class| u64::from(class.members)).sum()
    }

    /// The first capability of `shape` that no worker has. Cost: O(names x classes).
    pub(crate) fn nobody_has<'s>(&self, shape: &'s CapabilitySet) -> Option<&'s CapabilityName> {
        shape.iter().find(|name| !self.by_set.keys().any(|set| set.contains(name)))
    }

    fn forget_shapes(&mut self) {
        self.shapes.clear();
        self.by_shape.clear();
    }

    fn hash_of(&self, shape: &CapabilitySet) -> u64 {
        // A name contains no separator, so different sets give different texts.
        self.by_shape.hash_parts(shape.iter().flat_map(|name| [name.as_str().as_bytes(), b"\n"]))
    }

    /// The index of `shape` among those that are kept, or its hash.
    fn shape(&self, shape: &CapabilitySet) -> Result<usize, u64> {
        let is_it = |at: usize| self.shapes.get(at).is_some_and(|(set, _)| set.is_same(shape));
        if is_it(self.recent) {
            return Ok(self.recent);
        }
        let hash = self.hash_of(shape);
        self.by_shape.get_hashed(hash, |at| is_it(index(at))).map(index).ok_or(hash)
    }

    /// Keeps the classes that can serve `shape`, so that the next request of that shape need not match them
    /// all.
    pub(crate) fn remember_shape(&mut self, shape: &CapabilitySet) {
        match self.shape(shape) {
            Ok(at) => self.recent = at,
            Err(hash) if self.shapes.len() < MAX_SHAPES => {
                let Ok(at) = u32::try_from(self.shapes.len()) else { return };
                self.recent = self.shapes.len();
                self.shapes.push((shape.clone(), self.matching(shape)));
                self.by_shape.insert_hashed(hash, at);
            }
            Err(_) => {}
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

    /// The queues of the classes that can serve `shape`.
    pub(crate) fn serving(&self, shape: &CapabilitySet) -> Serving<'_> {
        let kept = self.shape(shape).ok().and_then(|at| self.shapes.get(at));
        let mask = match kept {
            Some((_, mask)) => Cow::Borrowed(mask.as_slice()),
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
    /// Visits the matching classes whose queues are not empty. The loops are plain, because each grant runs them.
    fn each_class(&self, mut visit: impl FnMut(&'a Class)) {
        let chunks = self.queues.classes.chunks(64);
        for (classes, (mask, occupied)) in chunks.zip(self.mask.iter().zip(&self.queues.occupied)) {
            let mut word = mask & occupied;
            while word != 0 {
                if let Some(class) = classes.get(index(word.trailing_zeros())) {
                    visit(class);
                }
                word &= word.saturating_sub(1);
            }
        }
    }

    /// The worker that was used longest ago. Cost: O(classes / 64), plus a look at each matching class whose
    /// queue is not empty.
    pub(crate) fn first(&self) -> Option<u32> {
        let mut first: Option<&Class> = None;
        self.each_class(|class| {
            if first.is_none_or(|first| class.stamp < first.stamp) {
                first = Some(class);
            }
        });
        first.map(|class| class.head)
    }

    /// The workers, least recently used first. Spans of the queue in which no worker can be leased until
    /// `until` are skipped. The caller takes the first worker that passes the remaining checks.
    pub(crate) fn candidates(&self, until: Mono) -> Candidates<'a> {
        let mut heads = Vec::new();
        self.each_class(|class| heads.push((class.head, class)));
        Candidates { queues: self.queues, heads, until, skipped: None }
    }
}

/// The iterator of [`Serving::candidates`].
pub(crate) struct Candidates<'a> {
    queues: &'a ReadyQueues,
    /// The next worker of each matching class.
    heads: Vec<(u32, &'a Class)>,
    until: Mono,
    /// Until when a worker in the skipped spans can be leased at most.
    skipped: Option<Mono>,
}

impl Candidates<'_> {
    /// Until when a worker in the spans that were skipped so far can be leased at most.
    pub(crate) const fn skipped(&self) -> Option<Mono> {
        self.skipped
    }
}

impl Iterator for Candidates<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let (queues, until) = (self.queues, self.until);
        let heads = self.heads.iter_mut().filter(|(slot, _)| *slot != NONE);
        let (head, class) = heads.min_by_key(|(slot, _)| queues.stamp(*slot))?;
        let (found, here) = (*head, span(queues.stamp(*head)));
        *head = queues.link(found).next;
        if *head != NONE && span(queues.stamp(*head)) != here {
            *head = NONE;
            for (_, span) in class.spans.range(here.saturating_add(1)..) {
                if span.longest >= until {
                    *head = span.first;
                    break;
                }
                self.skipped = self.skipped.max(Some(span.longest));
            }
        }
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(names: &[&str]) -> CapabilitySet {
        CapabilitySet::parse(names.iter().copied()).unwrap()
    }

    #[test]
    fn candidates_come_least_recently_used_first_across_classes() {
        let mut queues = ReadyQueues::new([1; 16]);
        let wide = queues.enter_class(&set(&["a", "b"]));
        let narrow = queues.enter_class(&set(&["a"]));
        let never = |_| Mono::NEVER;
        queues.push(wide, 7, Mono::NEVER);
        queues.push(narrow, 3, Mono::NEVER);
        queues.push(wide, 1, Mono::NEVER);
        let all = |queues: &ReadyQueues, shape: &[&str]| {
            let shape = set(shape);
            let all: Vec<_> = queues.serving(&shape).candidates(Mono::START).collect();
            assert_eq!(queues.serving(&shape).first(), all.first().copied());
            all
        };
        assert_eq!(all(&queues, &["a"]), [7, 3, 1]);
        assert_eq!(all(&queues, &["b"]), [7, 1]);
        assert_eq!(all(&queues, &["c"]), [0; 0]);
        queues.remember_shape(&set(&["a"]));
        queues.remove(wide, 7, never);
        queues.push(wide, 7, Mono::NEVER);
        assert_eq!(all(&queues, &["a"]), [3, 1, 7]);
        queues.remove(wide, 1, never);
        queues.remove(wide, 7, never);
        assert_eq!(all(&queues, &["a"]), [3]);
        assert_eq!(all(&queues, &["b"]), [0; 0]);
    }

    proptest! {
        /// Compares the queues with lists. Whichever workers come and go and however their ends move, a
        /// search finds the same workers in the same order, except for those that it may skip, and it skips
        /// no worker that fits.
        #[test]
        fn a_search_for_a_long_lease_skips_nobody_who_fits(
            steps in prop::collection::vec((0_u32..40, 0_u8..16, 0_u64..4), 1..3_000),
        ) {
            let mut queues = ReadyQueues::new([1; 16]);
            let classes = [queues.enter_class(&set(&["a"])), queues.enter_class(&set(&["a", "b"]))];
            let mut listed: Vec<u32> = Vec::new();
            let mut ends = [Mono(0); 40];
            for (slot, what, end) in steps {
                let class = classes[slot as usize % 2];
                let queued = listed.contains(&slot);
                match what {
                    0 => {
                        queues.clear();
                        listed.clear();
                    }
                    1..4 => {
                        ends[slot as usize] = Mono(end);
                        queues.moved(class, slot, |slot| ends[slot as usize]);
                    }
                    _ if queued => {
                        listed.retain(|other| *other != slot);
                        queues.remove(class, slot, |slot| ends[slot as usize]);
                    }
                    _ => {
                        ends[slot as usize] = Mono(end);
                        listed.push(slot);
                        queues.push(class, slot, Mono(end));
                    }
                }
                for until in (0..4).map(Mono) {
                    let found: Vec<u32> = queues.serving(&set(&["a"])).candidates(until).collect();
                    let fits = |slot: &&u32| ends[**slot as usize] >= until;
                    let want: Vec<u32> = listed.iter().filter(fits).copied().collect();
                    let got: Vec<u32> = found.iter().filter(fits).copied().collect();
                    prop_assert_eq!(got, want);
                    prop_assert!(until > Mono(0) || found == listed);
                }
                for class in classes {
                    let spans = queues.class(class).map_or(0, |class| class.spans.len());
                    prop_assert!(spans <= listed.len());
                }
            }
        }
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
