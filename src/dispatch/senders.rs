//! Devices with something to hand over and credit for it, the oldest request first.
//!
//! There are few of them, whatever the fleet has: their places are used again, the last one first.

use super::{
    order::{Nodes, Order},
    ready::NONE,
};
use crate::index::Slot;

/// See the module's page. A device keeps its place here in its record.
#[derive(Clone, Debug, Default)]
pub(super) struct Senders {
    order: Order<u64>,
    /// With the slot of the device, or the next place that nobody has.
    nodes: Nodes<u64, u32>,
    vacant: Option<u32>,
}

impl Senders {
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// The device in `slot`, which is at `place` or at [`NONE`], has this first request that waits, or none. Gives its
    /// place.
    pub(super) fn set(&mut self, place: u32, slot: Slot, head: Option<u64>) -> u32 {
        if place != NONE {
            if self.nodes.key(place) == head {
                return place;
            }
            self.order.remove(&mut self.nodes, place);
        }
        match head {
            None if place == NONE => NONE,
            None => {
                let next = self.vacant.replace(place).unwrap_or(NONE);
                if let Some(held) = self.nodes.with_mut(place) {
                    *held = next;
                }
                NONE
            }
            Some(head) => {
                let place = if place == NONE { self.take(slot) } else { place };
                self.order.insert(&mut self.nodes, place, head);
                place
            }
        }
    }

    /// A place that nobody has, for the device in `slot`.
    fn take(&mut self, slot: Slot) -> u32 {
        if let Some(place) = self.vacant {
            if let Some(held) = self.nodes.with_mut(place) {
                let next = core::mem::replace(held, slot);
                self.vacant = Some(next).filter(|next| *next != NONE);
            }
            return place;
        }
        self.nodes.push(0, slot);
        // There are no more of them than slots.
        u32::try_from(self.nodes.len()).map_or(NONE, |len| len.saturating_sub(1))
    }

    /// The numbers of the requests, and the slots of the devices.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, Slot)> + '_ {
        self.order.iter(&self.nodes).filter_map(|(number, place)| Some((number, self.nodes.with(place)?)))
    }

    #[cfg(test)]
    pub(super) fn strays(&self) -> usize {
        self.order.strays()
    }

    /// Everything was loaded, in the order of ids.
    pub(super) fn settle(&mut self) {
        self.order.settle(&mut self.nodes);
    }
}
