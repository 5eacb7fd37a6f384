//! The devices that may be chosen, by capability, least recently used first.

use alloc::{collections::BTreeMap, vec::Vec};

use crate::{
    capability::{CapabilityName, CapabilitySet},
    index::Slot,
    order::{Nodes, Order},
};

/// The value of a listing number that means that there is none.
pub(super) const NONE: u32 = u32::MAX;

/// A listing of one device under one capability, with the next listing of the same device. A use of the
/// device changes its listings without looking up names.
#[derive(Clone, Copy, Debug)]
struct Listing {
    slot: Slot,
    list: u32,
    sibling: u32,
}

/// The lists of devices. A device has a listing for each capability, linked in a chain that begins in its
/// record.
#[derive(Clone, Debug, Default)]
pub(super) struct Ready {
    nodes: Nodes<u64, Listing>,
    /// The first of the unused nodes, which are linked in a chain too.
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

    /// The list of `name`, which is created if there is none.
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

    /// A node for `listing`; `None` if the numbers are used up, which the bound on devices prevents.
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

    /// Lists the device in `slot` under each of `names`, with `number` as its last use. Returns its first
    /// listing.
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

    /// Removes a device by its first listing. `names` are the capabilities under which it is listed.
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

    /// Notes that the device with this first listing was chosen for the request `number`.
    pub(super) fn used(&mut self, mut at: u32, number: u64) {
        while let Some(listing) = self.listing(at) {
            if let Some(order) = self.lists.get_mut(index(listing.list)) {
                order.remove(&mut self.nodes, at);
                order.insert(&mut self.nodes, at, number);
            }
            at = listing.sibling;
        }
    }

    /// Prefetches what [`Self::used`] will change.
    pub(super) fn fetch(&self, first: u32) {
        self.nodes.fetch(first);
    }

    /// The devices that hold `name`, least recently used first, with the numbers of their last use.
    pub(super) fn holders(&self, name: &CapabilityName) -> impl Iterator<Item = (u64, Slot)> + '_ {
        let order = self.by_name.get(name).and_then(|list| self.lists.get(index(*list)));
        let listed = order.into_iter().flat_map(|order| order.iter(&self.nodes));
        listed.filter_map(|(number, at)| Some((number, self.listing(at)?.slot)))
    }

    /// The capabilities that some device holds.
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn names(&self) -> impl Iterator<Item = &CapabilityName> {
        self.by_name.keys()
    }

    #[cfg(test)]
    pub(super) fn strays(&self) -> usize {
        self.lists.iter().map(Order::strays).sum()
    }

    /// Orders the lists after everything was loaded in the order of ids.
    pub(super) fn settle(&mut self) {
        self.lists.iter_mut().for_each(|order| order.settle(&mut self.nodes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Devices that are listed, used and removed leave nothing behind: listings and lists are reused.
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
