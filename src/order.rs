//! An ordered collection for keys that usually grow. An insertion of such a key costs O(1), however many
//! there are.
//!
//! The collection consists of a few runs. A run is a linked list of nodes in order. A new key goes to the end
//! of the run that fits best, or a few places before the end. A key that fits no run goes to a tree and costs
//! O(log n) of the keys there; this happens with a mix of many time spans, or if a device comes back under an
//! old number. A node that is removed and inserted under a new key is in a run again.

use alloc::{collections::BTreeMap, vec::Vec};
use core::hint::black_box;

use crate::slab::Chunks;

/// The number of runs. Looking at all of them reads two cache lines.
const RUNS: usize = 8;

/// How far before the end of a run a key may be inserted. It allows for keys within one millisecond that come
/// in any order.
const STEPS: usize = 32;

/// Tag bit of a link: this link is not a node but the number of the run that begins or ends there. Node
/// numbers never have this bit set.
const EDGE: u32 = 1 << 31;
/// The value of `prev` of a node that is in the tree.
const STRAY: u32 = u32::MAX - 1;
/// The value of `prev` of a node that is not in the collection.
const OUT: u32 = u32::MAX;

/// The neighbours of a node.
#[derive(Clone, Copy, Debug)]
struct Links {
    prev: u32,
    next: u32,
}

const UNLINKED: Links = Links { prev: OUT, next: OUT };

/// The nodes of a collection, by number. The links are stored apart from the values: removing a node changes
/// two other links, and eight links share a cache line.
#[derive(Clone, Debug)]
pub(crate) struct Nodes<K, W> {
    links: Chunks<Links>,
    with: Chunks<(K, W)>,
}

impl<K, W> Default for Nodes<K, W> {
    fn default() -> Self {
        Self { links: Chunks::default(), with: Chunks::default() }
    }
}

impl<K: Copy, W: Copy> Nodes<K, W> {
    pub(crate) fn len(&self) -> usize {
        self.links.len()
    }

    /// Adds a node that is not in the collection, with its value.
    pub(crate) fn push(&mut self, key: K, with: W) {
        self.links.push(UNLINKED);
        self.with.push((key, with));
    }

    /// Makes sure that there is a node `at`.
    pub(crate) fn reach(&mut self, at: usize, key: K, with: W) {
        self.links.reach(at, UNLINKED);
        self.with.reach(at, (key, with));
    }

    fn link(&self, at: u32) -> Option<Links> {
        self.links.get(index(at)).copied()
    }

    fn link_mut(&mut self, at: u32) -> Option<&mut Links> {
        self.links.get_mut(index(at))
    }

    fn any_key(&self, at: u32) -> Option<K> {
        self.with.get(index(at)).map(|(key, _)| *key)
    }

    /// The key of a node that is in the collection.
    pub(crate) fn key(&self, at: u32) -> Option<K> {
        self.link(at).filter(|links| links.prev != OUT)?;
        self.any_key(at)
    }

    /// The value of a node.
    pub(crate) fn with(&self, at: u32) -> Option<W> {
        self.with.get(index(at)).map(|(_, with)| *with)
    }

    pub(crate) fn with_mut(&mut self, at: u32) -> Option<&mut W> {
        self.with.get_mut(index(at)).map(|(_, with)| with)
    }

    /// Reads the node `at` and its neighbours and discards them, so that the processor loads their cache
    /// lines while the caller goes on.
    pub(crate) fn fetch(&self, at: u32) {
        let links = self.link(at);
        black_box((
            self.any_key(at).is_some(),
            links.map(|links| (self.link(links.prev), self.link(links.next))),
        ));
    }
}

#[derive(Clone, Copy, Debug)]
struct Run<K> {
    first: u32,
    last: u32,
    /// The key of the last node, so that appending reads no node.
    latest: K,
}

/// The collection. Its owner keeps the nodes. No key is in it twice.
#[derive(Clone, Debug)]
pub(crate) struct Order<K> {
    runs: [Option<Run<K>>; RUNS],
    strays: BTreeMap<K, u32>,
    len: usize,
    /// Whether every key goes to the tree, until [`Self::settle`] is called.
    loading: bool,
}

impl<K: Copy> Default for Order<K> {
    fn default() -> Self {
        Self { runs: [None; RUNS], strays: BTreeMap::new(), len: 0, loading: false }
    }
}

fn index(at: u32) -> usize {
    usize::try_from(at).unwrap_or(usize::MAX)
}

fn edge(run: usize) -> u32 {
    EDGE | u32::try_from(run).unwrap_or(0)
}

/// The number of the run, if the link is one.
fn run_of(neighbour: u32) -> Option<usize> {
    (neighbour & EDGE != 0).then(|| index(neighbour & !EDGE))
}

impl<K: Copy + Ord> Order<K> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A collection that is being loaded: keys may come in any order and can be looked up, until it is
    /// settled.
    pub(crate) fn loading() -> Self {
        Self { loading: true, ..Self::default() }
    }

    /// Whether `key` is in the collection, while it is being loaded.
    pub(crate) fn has_loaded(&self, key: &K) -> bool {
        self.strays.contains_key(key)
    }

    /// How many keys are in the tree.
    #[cfg(test)]
    pub(crate) fn strays(&self) -> usize {
        self.strays.len()
    }

    /// Inserts the node `at`, which is not in the collection, under `key`.
    pub(crate) fn insert<W: Copy>(&mut self, nodes: &mut Nodes<K, W>, at: u32, key: K) {
        let Some((held, _)) = nodes.with.get_mut(index(at)) else { return };
        *held = key;
        self.len = self.len.saturating_add(1);
        let mut best: Option<(usize, K)> = None;
        let mut vacant = None;
        for (number, run) in self.runs.iter().enumerate() {
            match run {
                Some(run) if run.latest <= key && best.is_none_or(|(_, latest)| latest < run.latest) => {
                    best = Some((number, run.latest));
                }
                Some(_) => {}
                None => vacant = vacant.or(Some(number)),
            }
        }
        let fits = best.map(|(number, _)| number).or(vacant).filter(|_| !self.loading);
        let links = match fits {
            Some(number) => self.append(nodes, number, at, key),
            None => self.insert_near_an_end(nodes, at, key).unwrap_or_else(|| {
                self.strays.insert(key, at);
                Links { prev: STRAY, next: OUT }
            }),
        };
        if let Some(own) = nodes.link_mut(at) {
            *own = links;
        }
    }

    /// Appends a node to a run, or begins the run.
    fn append<W: Copy>(&mut self, nodes: &mut Nodes<K, W>, number: usize, at: u32, key: K) -> Links {
        let mut links = Links { prev: edge(number), next: edge(number) };
        match self.runs.get_mut(number) {
            Some(Some(run)) => {
                links.prev = core::mem::replace(&mut run.last, at);
                run.latest = key;
                if let Some(before) = nodes.link_mut(links.prev) {
                    before.next = at;
                }
            }
            Some(run) => *run = Some(Run { first: at, last: at, latest: key }),
            None => {}
        }
        links
    }

    /// Inserts a node a few places before the end of the run that ends earliest. `None` if it does not belong
    /// there.
    fn insert_near_an_end<W: Copy>(&mut self, nodes: &mut Nodes<K, W>, at: u32, key: K) -> Option<Links> {
        let runs = self.runs.iter_mut().flatten().filter(|_| !self.loading);
        let run = runs.min_by_key(|run| run.latest)?;
        let mut next = run.last;
        for _ in 0..STEPS {
            let prev = nodes.link(next)?.prev;
            let first = run_of(prev).is_some();
            if first || nodes.any_key(prev)? < key {
                nodes.link_mut(next)?.prev = at;
                if first {
                    run.first = at;
                } else {
                    nodes.link_mut(prev)?.next = at;
                }
                return Some(Links { prev, next });
            }
            next = prev;
        }
        None
    }

    /// Removes the node `at` if it is in the collection.
    pub(crate) fn remove<W: Copy>(&mut self, nodes: &mut Nodes<K, W>, at: u32) {
        let Some(links) = nodes.link_mut(at).filter(|links| links.prev != OUT) else { return };
        let Links { prev, next } = core::mem::replace(links, UNLINKED);
        self.len = self.len.saturating_sub(1);
        if prev == STRAY {
            if let Some(key) = nodes.any_key(at) {
                self.strays.remove(&key);
            }
            return;
        }
        let (before, after) = (run_of(prev), run_of(next));
        if before.is_none()
            && let Some(links) = nodes.link_mut(prev)
        {
            links.next = next;
        }
        if after.is_none()
            && let Some(links) = nodes.link_mut(next)
        {
            links.prev = prev;
        }
        let Some(run) = before.or(after).and_then(|number| self.runs.get_mut(number)) else { return };
        match (before, after, run.as_mut()) {
            (Some(_), Some(_), _) => *run = None,
            (Some(_), None, Some(run)) => run.first = next,
            (None, Some(_), Some(run)) => {
                run.last = prev;
                run.latest = nodes.any_key(prev).unwrap_or(run.latest);
            }
            _ => {}
        }
    }

    /// The keys and nodes in order.
    pub(crate) fn iter<'a, W: Copy>(&'a self, nodes: &'a Nodes<K, W>) -> impl Iterator<Item = (K, u32)> + 'a {
        let mut heads = self.runs.map(|run| run.map(|run| run.first));
        let mut strays = self.strays.iter().map(|(key, at)| (*key, *at)).peekable();
        core::iter::from_fn(move || {
            let first = heads.iter_mut().filter_map(|head| Some((nodes.any_key((*head)?)?, head)));
            match (first.min_by_key(|(key, _)| *key), strays.peek().copied()) {
                (Some((key, head)), stray) if stray.is_none_or(|(other, _)| key < other) => {
                    let at = (*head)?;
                    *head = nodes.link(at).map(|links| links.next).filter(|next| run_of(*next).is_none());
                    Some((key, at))
                }
                _ => strays.next(),
            }
        })
    }

    /// The smallest key.
    pub(crate) fn first<W: Copy>(&self, nodes: &Nodes<K, W>) -> Option<K> {
        if self.is_empty() {
            return None;
        }
        self.iter(nodes).next().map(|(key, _)| key)
    }

    /// Moves everything into one run, after loading in any order. Cost: O(n).
    pub(crate) fn settle<W: Copy>(&mut self, nodes: &mut Nodes<K, W>) {
        let all: Vec<(K, u32)> = self.iter(nodes).collect();
        *self = Self::default();
        all.into_iter().for_each(|(key, at)| self.insert(nodes, at, key));
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn nodes(count: u32) -> Nodes<u64, ()> {
        let mut nodes = Nodes::default();
        (0..count).for_each(|_| nodes.push(0, ()));
        nodes
    }

    /// Growing keys, and a few interleaved time spans, never reach the tree.
    #[test]
    fn keys_that_grow_in_a_few_lines_cost_no_tree() {
        let (mut nodes, mut order) = (nodes(8_000), Order::default());
        let spans = [5, 60_000, 1_000, 86_400_000, 300_000];
        for round in 0..3 {
            for at in 0..8_000 {
                order.remove(&mut nodes, at);
                let now = 100 * u64::from(8_000 * round + at);
                order.insert(
                    &mut nodes,
                    at,
                    8 * (now + spans[at as usize % spans.len()]) + u64::from(at % 5),
                );
                assert_eq!(order.strays(), 0);
            }
        }
        assert_eq!(order.len(), 8_000);
    }

    /// Keys within one millisecond may come in any order.
    #[test]
    fn keys_of_one_instant_in_any_order_cost_no_tree() {
        let (mut nodes, mut order) = (nodes(40_000), Order::default());
        for at in 0..40_000 {
            let (instant, within) = (u64::from(at / 100), u64::from(at % 100 * 37 % 100));
            order.insert(&mut nodes, at, 100 * instant + within);
            assert_eq!(order.strays(), 0);
        }
        assert!(order.iter(&nodes).map(|(key, _)| key).eq(0..40_000));
    }

    proptest! {
        /// Compares the collection with a sorted map, whichever keys are inserted, removed and moved.
        #[test]
        fn an_order_is_a_sorted_map(steps in prop::collection::vec((0_u32..40, any::<u8>(), 0_u8..8), 1..300)) {
            let (mut nodes, mut order) = (nodes(40), Order::default());
            let mut map = BTreeMap::new();
            for (count, (at, far, what)) in steps.into_iter().enumerate() {
                order.remove(&mut nodes, at);
                map.retain(|_, other| *other != at);
                if what > 0 {
                    let key = if what < 3 { 1_000 * u64::from(far) } else { 200 * count as u64 };
                    let key = 1_000 * key + count as u64;
                    order.insert(&mut nodes, at, key);
                    map.insert(key, at);
                }
                if what == 7 {
                    order.settle(&mut nodes);
                    prop_assert_eq!(order.strays(), 0);
                }
                let held: Vec<_> = order.iter(&nodes).collect();
                prop_assert_eq!(held, map.iter().map(|(key, at)| (*key, *at)).collect::<Vec<_>>());
                prop_assert_eq!(order.first(&nodes), map.keys().next().copied());
                prop_assert_eq!(order.len(), map.len());
                for at in 0..40 {
                    let key = nodes.key(at);
                    prop_assert_eq!(key, map.iter().find(|(_, other)| **other == at).map(|(key, _)| *key));
                }
            }
        }
    }
}
