//! `Liveness`: what a restart may forget. When each worker was last heard, and when to look at it again.
//!
//! A heartbeat writes one number here and nothing anywhere else. Deadlines are looked up, not kept exact: a worker
//! is looked at when the earliest deadline that it could have had comes, and again later if that has moved.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use super::{
    condition::{Activity, LeaseStage},
    rejection::TimeError,
    roster::WorkerRecord,
    state::FleetState,
};
use crate::{
    dispatch::DispatchLiveness,
    id::DeviceId,
    time::{Millis, Mono},
};

/// Soft state, rebuilt at recovery: everybody counts as heard at that time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Liveness {
    heard: Vec<Mono>,
    armed: Vec<Mono>,
    deadlines: BTreeSet<(Mono, u32)>,
    /// The next slot that a sweep after an act on the whole fleet has to visit.
    sweep: Option<u32>,
    last: Mono,
    admissions: BTreeMap<DeviceId, (Mono, u32)>,
    /// When devices with a dispatch stream were last heard.
    pub(crate) dispatch: DispatchLiveness,
}

fn index(slot: u32) -> usize {
    usize::try_from(slot).unwrap_or(usize::MAX)
}

impl Liveness {
    /// Everybody in `state` counts as heard at `now`, and everything is looked at again.
    pub(crate) fn rebuilt(state: &FleetState, now: Mono) -> Self {
        let slots = index(state.roster.slots());
        let mut liveness = Self {
            heard: alloc::vec![now; slots],
            armed: alloc::vec![Mono::NEVER; slots],
            sweep: Some(0),
            last: now,
            dispatch: DispatchLiveness::after_recovery(&state.nodes.dispatch, now),
            ..Self::default()
        };
        for slot in 0..state.roster.slots() {
            liveness.arm(state, slot, now);
        }
        liveness
    }

    /// When the worker in `slot` was last heard.
    pub(crate) fn heard(&self, slot: u32) -> Mono {
        self.heard.get(index(slot)).copied().unwrap_or_default()
    }

    /// The worker in `slot` is heard now.
    pub(crate) fn hear(&mut self, slot: u32, now: Mono) {
        if self.heard.len() <= index(slot) {
            self.heard.resize(index(slot).saturating_add(1), Mono::START);
        }
        if let Some(heard) = self.heard.get_mut(index(slot)) {
            *heard = now.max(*heard);
        }
        self.last = self.last.max(now);
    }

    /// Whether the worker in `slot` has been heard in time (invariant 4).
    pub(crate) fn is_heard(&self, state: &FleetState, slot: u32, now: Mono) -> bool {
        now < self.heard(slot).plus(state.policy.liveness.offline_after_ms)
    }

    /// Refuses a monotonic line that is behind what was seen before.
    pub(crate) fn forward(&self, now: Mono) -> Result<(), TimeError> {
        if now < self.last { Err(TimeError::Backwards { last: self.last, now }) } else { Ok(()) }
    }

    pub(crate) fn advance(&mut self, now: Mono) {
        self.last = self.last.max(now);
    }

    /// The latest time that was seen.
    pub(crate) fn last(&self) -> Mono {
        self.last
    }

    /// When something is due, or could be. Early is harmless.
    pub(crate) fn next_deadline(&self) -> Option<Mono> {
        match self.sweep {
            Some(_) => Some(self.last),
            None => self.deadlines.first().map(|(at, _)| *at),
        }
    }

    /// Slots to look at, earliest first.
    pub(crate) fn due(&self, now: Mono) -> impl Iterator<Item = u32> {
        self.deadlines.range(..=(now, u32::MAX)).map(|(_, slot)| *slot)
    }

    /// Looks at the worker in `slot` again when its next deadline comes.
    pub(crate) fn arm(&mut self, state: &FleetState, slot: u32, now: Mono) {
        if self.armed.len() <= index(slot) {
            self.armed.resize(index(slot).saturating_add(1), Mono::NEVER);
        }
        let heard = self.heard(slot);
        let due = state.roster.get(slot).map_or(Mono::NEVER, |record| deadline(state, record, heard));
        let Some(armed) = self.armed.get_mut(index(slot)) else { return };
        // A deadline that moved later is found when the earlier one comes: renewals touch nothing here.
        if due < *armed || *armed <= now {
            self.deadlines.remove(&(*armed, slot));
            *armed = due;
            if due != Mono::NEVER {
                self.deadlines.insert((due, slot));
            }
        }
    }

    /// Every slot has to be visited once.
    pub(crate) fn begin_sweep(&mut self) {
        self.sweep = Some(0);
    }

    pub(crate) fn sweep(&self) -> Option<u32> {
        self.sweep
    }

    pub(crate) fn set_sweep(&mut self, next: Option<u32>) {
        self.sweep = next;
    }

    /// Counts one challenge or attestation of `device` against its allowance.
    pub(crate) fn admit(&mut self, state: &FleetState, device: &DeviceId, now: Mono) -> bool {
        let limits = &state.policy.limits;
        let over = |since: Mono, window: Millis| since.plus(window) <= now;
        if self.admissions.len() >= index(limits.devices) && !self.admissions.contains_key(device) {
            self.admissions.retain(|_, (since, _)| !over(*since, limits.admission_window_ms));
            if self.admissions.len() >= index(limits.devices) {
                return false;
            }
        }
        let entry = self.admissions.entry(device.clone()).or_insert((now, 0));
        if over(entry.0, limits.admission_window_ms) {
            *entry = (now, 0);
        }
        entry.1 = entry.1.saturating_add(1);
        entry.1 <= limits.admission_per_device
    }
}

/// When the worker has to be looked at next.
pub(crate) fn deadline(state: &FleetState, record: &WorkerRecord, heard: Mono) -> Mono {
    let policy = &state.policy;
    match &record.activity {
        Activity::Available => {
            let evidence = record.evidence.as_deref().map_or(Mono::NEVER, |evidence| {
                evidence.record.valid_until_mono.min(evidence.record.certificate_until_mono)
            });
            evidence.min(heard.plus(policy.liveness.offline_after_ms))
        }
        Activity::Leased(held) => {
            let stage = match (held.stage, held.revoked) {
                (LeaseStage::Assigned, _) => held.lease.granted.plus(policy.lease.start_ms),
                (_, Some((_, acknowledge_by))) => return acknowledge_by,
                _ => Mono::NEVER,
            };
            stage.min(held.lease.expires)
        }
        Activity::Retired { since } => since.plus(policy.limits.retired_memory_ms),
        Activity::Registered | Activity::Offline | Activity::Orphaned(_) => Mono::NEVER,
    }
}
