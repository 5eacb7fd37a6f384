//! Devices that may be chosen, by capability, the least recently used first.

use alloc::{collections::BTreeMap, vec::Vec};

use super::order::{Nodes, Order};
use crate::{
    capability::{CapabilityName, CapabilitySet},
    index::Slot,
};

/// In place of a listing: there is none.
pub(super) const NONE: u32 = u32::MAX;

/// One device under one capability, and the same device's next listing: what changes with every use needs no name.
#[derive(Clone, Copy, Debug)]
struct Listing {
    slot: Slot,
    list: u32,
    sibling: u32,
}

/// See the module's page. A device has a listing for each capability, in a chain that begins in its record.
#[derive(Clone, Debug, Default)]
pub(super) struct Ready {
    nodes: Nodes<u64, Listing>,
    /// Nodes that nobody has, in a chain as well.
    vacant: Option<u32>,
    lists: Vec<Order<u64>>,
    vacant_lists: Vec<u32>,
    by_name: BTreeMap<CapabilityName, u32>,
}

fn index(at: u32) -> usize {
    usize::try_from(at).unwrap_or(usize::MAX)
}

impl Ready {
    fn listing(&self, at: u32) -> Option<Listing> {
        self.nodes.with(at)
    }

    /// The list of `name`, a new one where there is none.
    fn list_of(&mut self, name: &CapabilityName) -> Option<u32> {
        if let Some(list) = self.by_name.get(name) {
            return Some(*list);
        }
        let list = match self.vacant_lists.pop() {
            Some(list) => list,
            None => {
                let list = u32::try_from(self.lists.len()).ok()?;
                self.lists.push(Order::default());
                list
            }
        };
        self.by_name.insert(name.clone(), list);
        Some(list)
    }

    /// A node for `listing`. None where the numbers have run out, which the bound on devices makes impossible.
    fn node(&mut self, listing: Listing) -> Option<u32> {
        let Some(at) = self.vacant else {
            let at = u32::try_from(self.nodes.len()).ok()?;
            self.nodes.push(0, listing);
            return Some(at);
        };
        let held = self.nodes.with_mut(at)?;
        self.vacant = Some(held.sibling).filter(|next| *next != NONE);
        *held = listing;
        Some(at)
    }

    /// Lists the device in `slot` under each of `names`, as last used at `number`. Gives its first listing.
    pub(super) fn list(&mut self, slot: Slot, number: u64, names: &CapabilitySet) -> u32 {
        let mut first = NONE;
        for name in names.iter() {
            let Some(list) = self.list_of(name) else { continue };
            let Some(at) = self.node(Listing { slot, list, sibling: first }) else { continue };
            first = at;
            if let Some(order) = self.lists.get_mut(index(list)) {
                order.insert(&mut self.nodes, at, number);
            }
        }
        first
    }

    /// Takes a device out, by its first listing. `names` are those that it is listed under.
    pub(super) fn unlist(&mut self, mut at: u32, names: &CapabilitySet) {
        while let Some(listing) = self.listing(at) {
            if let Some(order) = self.lists.get_mut(index(listing.list)) {
                order.remove(&mut self.nodes, at);
            }
            if let Some(held) = self.nodes.with_mut(at) {
                held.sibling = self.vacant.unwrap_or(NONE);
            }
            self.vacant = Some(at);
            at = listing.sibling;
        }
        for name in names.iter() {
            let list = self.by_name.get(name).copied();
            if let Some(list) = list.filter(|at| self.lists.get(index(*at)).is_some_and(Order::is_empty)) {
                self.by_name.remove(name);
                self.vacant_lists.push(list);
            }
        }
    }

    /// The device with this first listing was chosen for `number`.
    pub(super) fn used(&mut self, mut at: u32, number: u64) {
        while let Some(listing) = self.listing(at) {
            if let Some(order) = self.lists.get_mut(index(listing.list)) {
                order.remove(&mut self.nodes, at);
                order.insert(&mut self.nodes, at, number);
            }
            at = listing.sibling;
        }
    }

    /// Fetches what [`Self::used`] will change.
    pub(super) fn fetch(&self, first: u32) {
        self.nodes.fetch(first);
    }

    /// The devices that hold `name`, least recently used first, with the numbers of their last use.
    pub(super) fn holders(&self, name: &CapabilityName) -> impl Iterator<Item = (u64, Slot)> + '_ {
        let order = self.by_name.get(name).and_then(|list| self.lists.get(index(*list)));
        let listed = order.into_iter().flat_map(|order| order.iter(&self.nodes));
        listed.filter_map(|(number, at)| Some((number, self.listing(at)?.slot)))
    }

    /// The capabilities that somebody holds.
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn names(&self) -> impl Iterator<Item = &CapabilityName> {
        self.by_name.keys()
    }

    #[cfg(test)]
    pub(super) fn strays(&self) -> usize {
        self.lists.iter().map(Order::strays).sum()
    }

    /// Everything was loaded, in the order of ids.
    pub(super) fn settle(&mut self) {
        self.lists.iter_mut().for_each(|order| order.settle(&mut self.nodes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Devices that come, are used and go leave nothing behind: listings and lists are used again.
    #[test]
    fn what_is_vacant_is_used_again() {
        let mut ready = Ready::default();
        let names = CapabilitySet::parse(["cam", "mic"]).unwrap();
        for number in 0..200 {
            let first = ready.list(7, number, &names);
            ready.used(first, 1_000 + number);
            let holders = |name: &CapabilityName| ready.holders(name).collect::<Vec<_>>();
            assert!(names.iter().all(|name| holders(name) == [(1_000 + number, 7)]));
            ready.unlist(first, &names);
        }
        assert_eq!((ready.nodes.len(), ready.lists.len(), ready.by_name.len()), (2, 2, 0));
    }
}
