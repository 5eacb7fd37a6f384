//! The devices that have a waiting request and credit for it, oldest request first.
//!
//! There are few such devices in any fleet. Their places are reused, the last freed one first.

use super::ready::NONE;
use crate::{
    index::Slot,
    order::{Nodes, Order},
};

/// The ordered set of these devices. The record of a device holds its place here.
#[derive(Clone, Debug, Default)]
pub(super) struct Senders {
    order: Order<u64>,
    /// The slot of the device, or the next unused place.
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

    /// Sets the first waiting request of the device in `slot`, or that it has none. `place` is its present
    /// place or [`NONE`]. Returns its new place.
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

    /// An unused place for the device in `slot`.
    fn take(&mut self, slot: Slot) -> u32 {
        if let Some(place) = self.vacant {
            if let Some(held) = self.nodes.with_mut(place) {
                let next = core::mem::replace(held, slot);
                self.vacant = Some(next).filter(|next| *next != NONE);
            }
            return place;
        }
        self.nodes.push(0, slot);
        // There are no more places than slots.
        u32::try_from(self.nodes.len()).map_or(NONE, |len| len.saturating_sub(1))
    }

    /// The numbers of the first waiting requests, and the slots of the devices.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, Slot)> + '_ {
        self.order.iter(&self.nodes).filter_map(|(number, place)| Some((number, self.nodes.with(place)?)))
    }

    #[cfg(test)]
    pub(super) fn strays(&self) -> usize {
        self.order.strays()
    }

    /// Orders the devices after everything was loaded in the order of ids.
    pub(super) fn settle(&mut self) {
        self.order.settle(&mut self.nodes);
    }
}
