//! When each device was last heard: soft state that is not journaled and is rebuilt at recovery.

use super::{event::DispatchEvent, state::DispatchState};
use crate::{
    id::DeviceId,
    index::Slot,
    order::{Nodes, Order},
    time::{Mono, Now},
};

/// When each connected device was last heard.
///
/// After a recovery every connected device counts as heard at that time:
/// [`DispatchLiveness::after_recovery`].
#[derive(Clone, Debug, Default)]
pub struct DispatchLiveness {
    /// When each device was last heard, by slot. The second value orders the devices of one instant.
    heard: Nodes<(Mono, u64), ()>,
    oldest: Order<(Mono, u64)>,
    count: u64,
}

impl PartialEq for DispatchLiveness {
    fn eq(&self, other: &Self) -> bool {
        let slots = 0..self.heard.len().max(other.heard.len());
        slots.filter_map(|at| Slot::try_from(at).ok()).all(|slot| self.when(slot) == other.when(slot))
    }
}

impl Eq for DispatchLiveness {}

impl DispatchLiveness {
    /// Liveness in which no device was heard.
    pub fn new() -> Self {
        Self::default()
    }

    /// Liveness in which every device with an open stream in `state` was heard at `now`.
    pub fn after_recovery(state: &DispatchState, now: Mono) -> Self {
        let mut live = Self::new();
        for (slot, device) in state.devices.enumerate() {
            if device.session.is_some() {
                live.mark(slot, now);
            }
        }
        live
    }

    /// Notes that a message of `device` came at `now`. Nothing is journaled. A device without an open stream
    /// is not noted, and an earlier time changes nothing. Cost: O(1).
    pub fn heard(&mut self, state: &DispatchState, device: &DeviceId, now: Now) {
        let Some(slot) = state.device_slot(device) else { return };
        if state.devices.get(slot).is_some_and(|known| known.session.is_some()) {
            self.mark(slot, now.mono);
        }
    }

    /// When the device that was heard longest ago becomes stale.
    pub fn next_silence(&self, state: &DispatchState) -> Option<Mono> {
        self.oldest.first(&self.heard).map(|(at, _)| at.plus(state.policy.bounds().staleness_ms))
    }

    /// Follows `event`, which is about to be folded into `state`.
    pub(crate) fn before(&mut self, state: &DispatchState, event: &DispatchEvent) {
        if let DispatchEvent::DeviceDisconnected { device, .. } | DispatchEvent::DeviceRemoved { device } =
            event
            && let Some(slot) = state.device_slot(device)
        {
            self.forget(slot);
        }
    }

    /// Follows `event`, which was folded into `state`.
    pub(crate) fn after(&mut self, state: &DispatchState, event: &DispatchEvent, now: Now) {
        if let DispatchEvent::DeviceConnected { device, .. } = event {
            self.heard(state, device, now);
        }
    }

    #[cfg(test)]
    pub(super) fn strays(&self) -> usize {
        self.oldest.strays()
    }

    /// When the device in `slot` was last heard.
    fn when(&self, slot: Slot) -> Option<Mono> {
        self.heard.key(slot).map(|(at, _)| at)
    }

    pub(crate) fn mark(&mut self, slot: Slot, at: Mono) {
        let Ok(place) = usize::try_from(slot) else { return };
        // A device that was heard at this time or later keeps its place.
        if self.when(slot).is_some_and(|before| before >= at) {
            return;
        }
        self.heard.reach(place, (Mono::START, 0), ());
        self.oldest.remove(&mut self.heard, slot);
        self.count = self.count.saturating_add(1);
        self.oldest.insert(&mut self.heard, slot, (at, self.count));
    }

    pub(crate) fn forget(&mut self, slot: Slot) {
        self.oldest.remove(&mut self.heard, slot);
    }

    /// Whether the device in `slot` was heard in time.
    pub(crate) fn is_fresh(&self, state: &DispatchState, slot: Slot, now: Mono) -> bool {
        self.when(slot).is_some_and(|at| now < at.plus(state.policy.bounds().staleness_ms))
    }

    /// The devices that were silent for too long, longest silence first.
    pub(crate) fn silent<'a>(
        &'a self,
        state: &'a DispatchState,
        now: Mono,
    ) -> impl Iterator<Item = Slot> + 'a {
        let staleness = state.policy.bounds().staleness_ms;
        let since = self.oldest.iter(&self.heard).map(|((at, _), slot)| (at, slot));
        since.take_while(move |(at, _)| at.plus(staleness) <= now).map(|(_, slot)| slot)
    }
}
