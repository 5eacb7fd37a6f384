//! When each device was last heard: soft state, which writes nothing and is made anew after a recovery.

use alloc::collections::BTreeSet;

use alloc::vec::Vec;

use super::{event::DispatchEvent, state::DispatchState};
use crate::{
    id::DeviceId,
    index::Slot,
    time::{Mono, Now},
};

/// When each connected device was last heard.
///
/// After a recovery everyone counts as heard at that time: [`DispatchLiveness::after_recovery`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DispatchLiveness {
    heard: Vec<Option<Mono>>,
    oldest: BTreeSet<(Mono, Slot)>,
}

impl DispatchLiveness {
    /// Nobody was heard.
    pub fn new() -> Self {
        Self::default()
    }

    /// Everyone who has a stream open in `state` was heard at `now`.
    pub fn after_recovery(state: &DispatchState, now: Mono) -> Self {
        let mut live = Self::new();
        for (slot, device) in state.devices.enumerate() {
            if device.session.is_some() {
                live.mark(slot, now);
            }
        }
        live
    }

    /// A message of `device` came in at `now`. Cost: O(log n), and nothing is written. A device without an open
    /// stream stays unheard, and time that runs backwards changes nothing.
    pub fn heard(&mut self, state: &DispatchState, device: &DeviceId, now: Now) {
        let Some(slot) = state.device_slot(device) else { return };
        if state.devices.get(slot).is_some_and(|known| known.session.is_some()) {
            self.mark(slot, now.mono);
        }
    }

    /// When the device that was silent for the longest time becomes stale.
    pub fn next_silence(&self, state: &DispatchState) -> Option<Mono> {
        self.oldest.first().map(|(at, _)| at.plus(state.policy.bounds().staleness_ms))
    }

    /// Keeps in step with `event`, which is about to be folded into `state`.
    pub(crate) fn before(&mut self, state: &DispatchState, event: &DispatchEvent) {
        if let DispatchEvent::DeviceDisconnected { device, .. } | DispatchEvent::DeviceRemoved { device } =
            event
            && let Some(slot) = state.device_slot(device)
        {
            self.forget(slot);
        }
    }

    /// Keeps in step with `event`, which was folded into `state`.
    pub(crate) fn after(&mut self, state: &DispatchState, event: &DispatchEvent, now: Now) {
        if let DispatchEvent::DeviceConnected { device, .. } = event {
            self.heard(state, device, now);
        }
    }

    pub(crate) fn mark(&mut self, slot: Slot, at: Mono) {
        let Ok(place) = usize::try_from(slot) else { return };
        if self.heard.len() <= place {
            self.heard.resize(place.saturating_add(1), None);
        }
        let Some(entry) = self.heard.get_mut(place) else { return };
        let at = entry.map_or(at, |before| before.max(at));
        if let Some(before) = entry.replace(at) {
            self.oldest.remove(&(before, slot));
        }
        self.oldest.insert((at, slot));
    }

    pub(crate) fn forget(&mut self, slot: Slot) {
        let entry = usize::try_from(slot).ok().and_then(|place| self.heard.get_mut(place));
        if let Some(before) = entry.and_then(Option::take) {
            self.oldest.remove(&(before, slot));
        }
    }

    /// Whether the device in `slot` was heard in time.
    pub(crate) fn is_fresh(&self, state: &DispatchState, slot: Slot, now: Mono) -> bool {
        let heard = usize::try_from(slot).ok().and_then(|place| self.heard.get(place)).copied().flatten();
        heard.is_some_and(|at| now < at.plus(state.policy.bounds().staleness_ms))
    }

    /// The devices that were silent for too long, the longest silence first.
    pub(crate) fn silent<'a>(
        &'a self,
        state: &'a DispatchState,
        now: Mono,
    ) -> impl Iterator<Item = Slot> + 'a {
        let staleness = state.policy.bounds().staleness_ms;
        self.oldest.iter().take_while(move |(at, _)| at.plus(staleness) <= now).map(|(_, slot)| *slot)
    }
}
