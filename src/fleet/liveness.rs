//! `Liveness`: what a restart may forget. When each worker was last heard, and when to look at it again.
//!
//! A heartbeat writes one number here and nothing anywhere else. Deadlines are looked up, not kept exact: a worker
//! is looked at when the earliest deadline that it could have had comes, and again later if that has moved.

use alloc::collections::BTreeMap;

use super::{
    condition::{Activity, LeaseStage},
    operation::WorkerHandle,
    rejection::TimeError,
    roster::WorkerRecord,
    state::FleetState,
    wheel::Wheel,
};
use crate::{
    dispatch::DispatchLiveness,
    id::DeviceId,
    slab::Chunks,
    time::{Millis, Mono, Wall},
};

/// What a heartbeat needs to know of a worker, and the one thing that it writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Beat {
    heard: Mono,
    /// The certificate of the worker's evidence authenticates its device before this instant.
    until: Wall,
    /// The incarnation of which that was seen.
    generation: u32,
    /// [`Liveness::standing`] when it was seen, twice; plus one where a heartbeat of the worker changes nothing.
    mark: u32,
}

/// Soft state, rebuilt at recovery: everybody counts as heard at that time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Liveness {
    beats: Chunks<Beat>,
    /// Counts everything after which a device that authenticated may not do so any more. What was seen under an
    /// earlier number is asked about again (invariant 12).
    standing: u32,
    wheel: Wheel,
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
        let mut liveness = Self {
            beats: Chunks::default(),
            standing: 1,
            wheel: Wheel::at(now),
            sweep: Some(0),
            last: now,
            admissions: BTreeMap::new(),
            dispatch: DispatchLiveness::after_recovery(&state.nodes.dispatch, now),
        };
        for slot in 0..state.roster.slots() {
            liveness.hear(slot, now);
            liveness.arm(state, slot, now);
        }
        liveness
    }

    fn beat(&self, slot: u32) -> Beat {
        self.beats.get(index(slot)).copied().unwrap_or_default()
    }

    /// When the worker in `slot` was last heard.
    pub(crate) fn heard(&self, slot: u32) -> Mono {
        self.beat(slot).heard
    }

    /// The worker in `slot` is heard now.
    pub(crate) fn hear(&mut self, slot: u32, now: Mono) {
        self.beats.reach(index(slot), Beat::default());
        if let Some(beat) = self.beats.get_mut(index(slot)) {
            beat.heard = now.max(beat.heard);
        }
        self.last = self.last.max(now);
    }

    /// Whether the worker in `slot` has been heard in time (invariant 4).
    pub(crate) fn is_heard(&self, state: &FleetState, slot: u32, now: Mono) -> bool {
        now < self.heard(slot).plus(state.policy.liveness.offline_after_ms)
    }

    /// Whether the certificate of this incarnation's evidence is known to authenticate its device at `wall`.
    pub(crate) fn is_vouched(&self, worker: WorkerHandle, wall: Wall) -> bool {
        let beat = self.beat(worker.slot);
        beat.generation == worker.generation && beat.mark >> 1 == self.standing && wall < beat.until
    }

    /// Until when that certificate is good, where [`Self::is_vouched`].
    pub(crate) fn vouched_until(&self, worker: WorkerHandle, wall: Wall) -> Option<Wall> {
        self.is_vouched(worker, wall).then(|| self.beat(worker.slot).until)
    }

    /// As [`Self::is_vouched`], and a heartbeat of it is known to change nothing.
    pub(crate) fn is_steady(&self, worker: WorkerHandle, wall: Wall) -> bool {
        self.is_vouched(worker, wall) && self.beat(worker.slot).mark & 1 == 1
    }

    /// The certificate of this incarnation's evidence was seen to authenticate its device, and does until `until`,
    /// whatever happens short of [`Self::ask_again`] and [`Self::ask_again_for`].
    pub(crate) fn vouch(&mut self, worker: WorkerHandle, until: Wall) {
        // When the numbers have run out, nothing is remembered any more.
        let mark = self.standing.checked_mul(2);
        if let (Some(beat), Some(mark)) = (self.beats.get_mut(index(worker.slot)), mark) {
            *beat = Beat { until, generation: worker.generation, mark, ..*beat };
        }
    }

    /// A heartbeat changes nothing of the worker in `slot` until something else does.
    pub(crate) fn steady(&mut self, slot: u32, is: bool) {
        if let Some(beat) = self.beats.get_mut(index(slot)) {
            beat.mark = beat.mark & !1 | u32::from(is);
        }
    }

    /// Something that authenticated may not do so any more.
    pub(crate) fn ask_again(&mut self) {
        self.standing = self.standing.saturating_add(1);
    }

    /// The worker in `slot` is another, or its evidence is.
    pub(crate) fn ask_again_for(&mut self, slot: u32) {
        if let Some(beat) = self.beats.get_mut(index(slot)) {
            *beat = Beat { heard: beat.heard, ..Beat::default() };
        }
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
            None => self.wheel.next(),
        }
    }

    /// Finds what is due at `now`, a bounded number of it. Whether more may be.
    pub(crate) fn turn(&mut self, now: Mono, most: usize) -> bool {
        self.wheel.turn(now, most)
    }

    /// Slots to look at, as far as [`Self::turn`] has found them.
    pub(crate) fn due(&self) -> impl Iterator<Item = u32> {
        self.wheel.due()
    }

    /// Whether the worker in `slot` has to be looked at by now.
    pub(crate) fn is_due(&self, slot: u32, now: Mono) -> bool {
        self.wheel.armed(slot) <= now
    }

    /// Looks at the worker in `slot` again when its next deadline comes.
    pub(crate) fn arm(&mut self, state: &FleetState, slot: u32, now: Mono) {
        let heard = self.heard(slot);
        let due = state.roster.get(slot).map_or(Mono::NEVER, |record| deadline(state, record, heard));
        let armed = self.wheel.armed(slot);
        // A deadline that moved later is found when the earlier one comes: renewals touch nothing here.
        if due < armed || armed <= now {
            self.wheel.arm(slot, due);
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
            let evidence = record.evidence.as_ref().map_or(Mono::NEVER, |evidence| {
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
