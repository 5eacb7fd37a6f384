//! `Liveness`: soft state that a restart may forget. It holds when each worker was last heard and when to
//! look at it again.
//!
//! A heartbeat writes one number here and nothing anywhere else. Deadlines are not kept exact: a worker is
//! looked at when the earliest deadline that it could have had comes, and is armed again if its deadline has
//! moved later.

use alloc::collections::BTreeMap;

use super::{
    command_rejection::TimeError,
    condition::{Activity, LeaseStage},
    operation::WorkerHandle,
    roster::WorkerRecord,
    state::FleetState,
    wheel::Wheel,
};
use crate::{
    attestation::ProvenanceMemory,
    dispatch::DispatchLiveness,
    id::DeviceId,
    slab::Chunks,
    time::{Millis, Mono, Wall},
};

/// What a heartbeat reads of a worker, and the one value that it writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Beat {
    heard: Mono,
    /// Before this instant, the certificate of the worker's evidence authenticates its device.
    until: Wall,
    /// The incarnation for which the certificate was checked.
    generation: u32,
    /// Bits 31..1: the value of [`Liveness::standing`] when the certificate was checked. Bit 0: set while a
    /// heartbeat changes nothing else.
    mark: u32,
}

/// The soft state. It is rebuilt at recovery, where every worker counts as heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Liveness {
    beats: Chunks<Beat>,
    /// A number that grows whenever a device that authenticated may have lost that right. What was checked
    /// under a smaller number is checked again (invariant 12).
    standing: u32,
    wheel: Wheel,
    /// The next slot that the sweep after an act on the whole fleet must visit.
    sweep: Option<u32>,
    last: Mono,
    /// A longer time between two calls counts as a standstill of the coordinator; `None` if the policy does
    /// not excuse standstills.
    patience: Option<Millis>,
    /// The total time of all standstills.
    stood: Millis,
    standstill: (Mono, Mono),
    admissions: BTreeMap<DeviceId, (Mono, u32)>,
    /// What attached builders' statements were found to be under the attestation policy in force. It is a
    /// cache and changes no decision.
    pub(crate) statements: ProvenanceMemory,
    /// When devices with a dispatch stream were last heard.
    pub(crate) dispatch: DispatchLiveness,
}

fn index(slot: u32) -> usize {
    usize::try_from(slot).unwrap_or(usize::MAX)
}

impl Liveness {
    /// Soft state for `state`: every worker counts as heard at `now`, and every deadline is armed.
    pub(crate) fn rebuilt(state: &FleetState, now: Mono) -> Self {
        let mut liveness = Self {
            beats: Chunks::default(),
            standing: 1,
            wheel: Wheel::at(now),
            sweep: Some(0),
            last: now,
            patience: patience(state),
            stood: Millis::ZERO,
            standstill: (now, now),
            admissions: BTreeMap::new(),
            statements: ProvenanceMemory::new(),
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

    /// When the worker in `slot` was last heard. If the policy excuses standstills, the time that the
    /// coordinator stood still since then is added.
    pub(crate) fn heard(&self, slot: u32) -> Mono {
        self.beat(slot).heard.plus(self.stood)
    }

    /// Notes that the worker in `slot` is heard now.
    pub(crate) fn hear(&mut self, slot: u32, now: Mono) {
        self.advance(now);
        let heard = now.minus(self.stood);
        self.beats.reach(index(slot), Beat::default());
        if let Some(beat) = self.beats.get_mut(index(slot)) {
            beat.heard = heard.max(beat.heard);
        }
    }

    /// Whether the worker in `slot` has been heard in time (invariant 4).
    pub(crate) fn is_heard(&self, state: &FleetState, slot: u32, now: Mono) -> bool {
        let heard = self.heard(slot).plus(self.standing_still(now));
        now < heard.plus(state.policy.liveness.offline_after_ms)
    }

    /// How long the coordinator stood still before this call at `now`.
    fn standing_still(&self, now: Mono) -> Millis {
        let gap = now.since(self.last);
        if self.patience.is_some_and(|patience| gap > patience) { gap } else { Millis::ZERO }
    }

    /// Whether the coordinator stood still at the instant `then`, as far as the last standstill tells.
    pub(crate) fn stood_still_at(&self, then: Mono, now: Mono) -> bool {
        let (from, until) = self.standstill;
        let stands = self.last < then && self.standing_still(now) > Millis::ZERO;
        from < then && then <= until || stands
    }

    /// Whether the certificate of this incarnation's evidence is known to authenticate its device at `wall`.
    pub(crate) fn is_vouched(&self, worker: WorkerHandle, wall: Wall) -> bool {
        let beat = self.beat(worker.slot);
        beat.generation == worker.generation && beat.mark >> 1 == self.standing && wall < beat.until
    }

    /// Until when that certificate is good; `None` unless [`Self::is_vouched`].
    pub(crate) fn vouched_until(&self, worker: WorkerHandle, wall: Wall) -> Option<Wall> {
        self.is_vouched(worker, wall).then(|| self.beat(worker.slot).until)
    }

    /// Records a heartbeat of the worker in `slot`, for which [`Self::is_vouched`] holds, if it is known to change
    /// nothing else. Returns false, and records nothing, if it could.
    pub(crate) fn hear_steady(&mut self, slot: u32, now: Mono) -> bool {
        if self.beat(slot).mark & 1 == 0 {
            return false;
        }
        self.advance(now);
        let heard = now.minus(self.stood);
        if let Some(beat) = self.beats.get_mut(index(slot)) {
            beat.heard = heard.max(beat.heard);
        }
        true
    }

    /// Notes that the certificate of this incarnation's evidence authenticates its device until `until`.
    /// [`Self::ask_again`] and [`Self::ask_again_for`] revoke that.
    pub(crate) fn vouch(&mut self, worker: WorkerHandle, until: Wall) {
        // Once the numbers are used up, nothing is remembered any more.
        let mark = self.standing.checked_mul(2);
        if let (Some(beat), Some(mark)) = (self.beats.get_mut(index(worker.slot)), mark) {
            *beat = Beat { until, generation: worker.generation, mark, ..*beat };
        }
    }

    /// Notes whether a heartbeat of the worker in `slot` changes nothing until the next event about it.
    pub(crate) fn steady(&mut self, slot: u32, is: bool) {
        if let Some(beat) = self.beats.get_mut(index(slot)) {
            beat.mark = beat.mark & !1 | u32::from(is);
        }
    }

    /// Notes that a device which authenticated may have lost that right: every certificate is checked again.
    pub(crate) fn ask_again(&mut self) {
        self.standing = self.standing.saturating_add(1);
    }

    /// Notes that the worker in `slot` or its evidence changed: its certificate is checked again.
    pub(crate) fn ask_again_for(&mut self, slot: u32) {
        if let Some(beat) = self.beats.get_mut(index(slot)) {
            *beat = Beat { heard: beat.heard, ..Beat::default() };
        }
    }

    /// Refuses a monotonic time that is before the latest one.
    pub(crate) fn forward(&self, now: Mono) -> Result<(), TimeError> {
        if now < self.last { Err(TimeError::Backwards { last: self.last, now }) } else { Ok(()) }
    }

    /// Notes that the coordinator is called at `now`.
    pub(crate) fn advance(&mut self, now: Mono) {
        let stood = self.standing_still(now);
        if stood > Millis::ZERO {
            self.stood = self.stood.plus(stood);
            self.standstill = (self.last, now);
        }
        self.last = self.last.max(now);
    }

    /// Takes over the rules of the policy in force.
    pub(crate) fn follow(&mut self, state: &FleetState) {
        self.patience = patience(state);
    }

    /// The latest monotonic time that was seen.
    pub(crate) fn last(&self) -> Mono {
        self.last
    }

    /// The earliest instant at which something may be due. Calling early is harmless.
    pub(crate) fn next_deadline(&self) -> Option<Mono> {
        let next = match self.sweep {
            Some(_) => return Some(self.last),
            None => self.wheel.next(),
        };
        // To notice a standstill, the coordinator must be called twice in each span of `patience`.
        let look =
            self.patience.filter(|_| next.is_some()).map(|patience| self.last.plus(Millis(patience.0 / 2)));
        next.into_iter().chain(look).min()
    }

    /// Finds up to `most` entries that are due at `now`. Returns whether more may be due.
    pub(crate) fn turn(&mut self, now: Mono, most: usize) -> bool {
        self.wheel.turn(now, most)
    }

    /// The slots that [`Self::turn`] has found due.
    pub(crate) fn due(&self) -> impl Iterator<Item = u32> {
        self.wheel.due()
    }

    /// Whether the worker in `slot` must be looked at by `now`.
    pub(crate) fn is_due(&self, slot: u32, now: Mono) -> bool {
        self.wheel.armed(slot) <= now
    }

    /// Arms the next deadline of the worker in `slot`.
    pub(crate) fn arm(&mut self, state: &FleetState, slot: u32, now: Mono) {
        let heard = self.heard(slot);
        let due = state.roster.get(slot).map_or(Mono::NEVER, |record| deadline(state, record, heard));
        let armed = self.wheel.armed(slot);
        // A deadline that moved later is found when the earlier one comes, so a renewal writes nothing here.
        if due < armed || armed <= now {
            self.wheel.arm(slot, due);
        }
    }

    /// Begins a sweep that visits every slot once.
    pub(crate) fn begin_sweep(&mut self) {
        self.sweep = Some(0);
    }

    pub(crate) fn sweep(&self) -> Option<u32> {
        self.sweep
    }

    pub(crate) fn set_sweep(&mut self, next: Option<u32>) {
        self.sweep = next;
    }

    /// Counts one handshake, challenge or attestation of `device` against its allowance. Returns whether it
    /// is within the allowance.
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

/// After how long without a call the coordinator counts as standing still; `None` if the policy does not
/// excuse standstills.
fn patience(state: &FleetState) -> Option<Millis> {
    let rules = &state.policy.liveness;
    rules.excuse_standstill.then_some(rules.heartbeat_every_ms)
}

#[cfg(feature = "testing")]
impl Liveness {
    /// The soft state that decides what can happen next: for each slot when it was heard, what is known of
    /// its certificate and when it is looked at; then the sweep.
    pub(crate) fn shape(&self, slots: u32) -> impl serde::Serialize {
        let slot = |slot| {
            let Beat { heard, until, generation, mark } = self.beat(slot);
            let vouched = (mark >> 1 == self.standing).then_some((until, generation, mark & 1));
            (heard, vouched, self.wheel.armed(slot))
        };
        let stood = self.patience.map(|patience| (patience, self.stood, self.standstill));
        ((0..slots).map(slot).collect::<alloc::vec::Vec<_>>(), self.sweep, self.last, stood)
    }
}

/// When the worker must be looked at next.
pub(crate) fn deadline(state: &FleetState, record: &WorkerRecord, heard: Mono) -> Mono {
    let policy = &state.policy;
    match &record.activity {
        Activity::Available => {
            // Once less than the shortest lease is left, the worker can no longer be leased.
            let evidence = record.evidence.as_ref().map_or(Mono::NEVER, |evidence| {
                let least = Millis(policy.lease.ttl_min_ms.0.saturating_sub(1));
                evidence.ends().minus(least)
            });
            evidence.min(heard.plus(policy.liveness.offline_after_ms))
        }
        Activity::Leased(held) => {
            let stage = match (held.stage, held.revoked) {
                (LeaseStage::Assigned, _) => held.lease.granted.plus(policy.lease.start_ms),
                (_, Some((_, acknowledge_by))) => return acknowledge_by,
                _ => Mono::NEVER,
            };
            let drained = match held.stage {
                LeaseStage::Assigned | LeaseStage::Running => record.drain_until(),
                LeaseStage::CleaningUp | LeaseStage::Revoking => None,
            };
            stage.min(held.lease.expires).min(drained.unwrap_or(Mono::NEVER))
        }
        Activity::Retired { since } => since.plus(policy.limits.retired_memory_ms),
        Activity::Registered | Activity::Offline | Activity::Orphaned(_) => Mono::NEVER,
    }
}
