//! `FleetState`: everything that must survive a restart. It changes only by folding events, and has equality
//! and a digest.

use super::{
    bounds::Bounds,
    command_rejection::TimeError,
    condition::{Activity, Debt, HeldLease, LeaseStage, WorkerLifecycleState},
    counts::WorkerFleetCounts,
    event::EvidenceRecord,
    evidence::Evidence,
    folding::Folding,
    marks::DrainPlan,
    operation::WorkerHandle,
    policy::WorkerFleetPolicy,
    roster::{Roster, WorkerRecord},
    runs::{RunRecord, RunState, Runs},
    session::Sessions,
    spent::Spent,
};
use crate::{
    capability::CapabilitySet,
    id::{DeviceId, RunId, WorkerId},
    identity::DeviceRegistry,
    lease::{Epoch, Fence, LeaseTerms, WorkerLease},
    node::NodeRuntimeState,
    time::{Millis, Mono, Now, Wall},
};

/// The hard state of a fleet.
///
/// Two states are equal if folding the same events led to them, whatever keys their indexes use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetState {
    pub(crate) policy: WorkerFleetPolicy,
    pub(crate) policy_generation: u64,
    pub(crate) epoch: Epoch,
    /// How many events were folded.
    pub(crate) version: u64,
    /// How many records were accepted.
    pub(crate) index: u64,
    /// The time of the last record, on both clocks as the core accepted them.
    pub(crate) last: Now,
    pub(crate) fence_counter: u64,
    pub(crate) roster: Roster,
    pub(crate) runs: Runs,
    pub(crate) grants: Spent,
    pub(crate) nonces: Spent,
    pub(crate) sessions: Sessions,
    pub(crate) nodes: NodeRuntimeState,
    pub(crate) quiet_until: Mono,
    /// No run is leased again before this instant, after a change of coordinator.
    pub(crate) held_until: Mono,
    pub(crate) floor: Wall,
    pub(crate) bounds: Bounds,
    pub(crate) folding: Folding,
}

/// The public view of a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerView<'a> {
    /// The worker's id.
    pub id: &'a WorkerId,
    /// The worker's device.
    pub device: &'a DeviceId,
    /// The current incarnation.
    pub handle: WorkerHandle,
    /// What the worker is doing.
    pub activity: super::condition::ActivityKind,
    /// The public state.
    pub state: WorkerLifecycleState,
    /// Whether the worker is draining.
    pub draining: bool,
    /// The reason and the deadline of the drain, if an operator gave them.
    pub drain: Option<DrainPlan>,
    /// Whether the worker gets only probes, because too many runs in a row ended badly on it.
    pub set_aside: bool,
    /// How many runs ended badly since the last one that ended well, if the policy counts them.
    pub bad_in_a_row: u32,
    /// Whether the worker is quarantined.
    pub quarantined: bool,
    /// Why its own latch is closed. Empty if only an act on the whole fleet quarantines the worker.
    pub reasons: &'a [super::condition::QuarantineReason],
    /// The lease that the worker holds.
    pub lease: Option<&'a WorkerLease>,
    /// The stage of that lease.
    pub stage: Option<LeaseStage>,
    /// What the worker owes for a lease that it lost.
    pub owes: Option<Debt>,
    /// The capabilities that its evidence states.
    pub capabilities: Option<&'a CapabilitySet>,
    /// The worker's evidence.
    pub evidence: Option<&'a EvidenceRecord>,
}

impl FleetState {
    /// The policy in force.
    pub fn policy(&self) -> &WorkerFleetPolicy {
        &self.policy
    }

    /// The coordinator's epoch.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// How many events were folded.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// How many records were accepted.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// The time of the last record, on both clocks as the core accepted them.
    pub fn last(&self) -> Now {
        self.last
    }

    /// The largest fence that was given out.
    pub fn last_fence(&self) -> Fence {
        Fence::new(self.epoch, self.fence_counter)
    }

    /// No lease is granted before this instant.
    pub fn quiet_until(&self) -> Mono {
        self.quiet_until
    }

    /// The device registry: which devices are known, and what is revoked.
    pub fn devices(&self) -> &DeviceRegistry {
        &self.nodes.registry
    }

    /// The devices, their pairing sessions, and the requests that are dispatched to them.
    pub fn nodes(&self) -> &NodeRuntimeState {
        &self.nodes
    }

    /// When the run of `record` may be leased again. `until` is the instant that was computed when its lease
    /// ended.
    pub(crate) fn run_free_at(&self, record: &RunRecord, until: Mono) -> Mono {
        self.bounds.held_until(until, record.left_at).max(self.held_until)
    }

    /// What the fleet remembers of a run.
    pub fn run(&self, run: &RunId) -> Option<&RunRecord> {
        self.runs.get(run)
    }

    /// Every run that is remembered, in no particular order.
    pub fn runs(&self) -> impl Iterator<Item = &RunRecord> {
        self.runs.iter()
    }

    /// How many workers are in each public state. Cost: O(1).
    pub fn counts(&self) -> WorkerFleetCounts {
        use WorkerLifecycleState as View;
        let count = |view| self.roster.count(view);
        let leased = [View::Assigned, View::Running, View::CleaningUp, View::Revoking];
        WorkerFleetCounts {
            total: self.roster.len().into(),
            registered: count(View::Registered),
            available: count(View::Available),
            leased: leased.into_iter().map(count).sum(),
            offline: count(View::Offline),
            orphaned: count(View::Orphaned),
            quarantined: count(View::Quarantined),
            draining: count(View::Draining),
            retired: count(View::Retired),
        }
    }

    /// The worker with this id. Cost: O(1).
    pub fn worker(&self, id: &WorkerId) -> Option<WorkerView<'_>> {
        self.view(self.roster.by_id(id)?)
    }

    /// The current incarnation of the worker with this id. Cost: O(1), one look-up.
    pub fn handle_of(&self, id: &WorkerId) -> Option<WorkerHandle> {
        Some(self.handle(self.roster.by_id(id)?))
    }

    /// The worker of this device that is not retired. Cost: O(1).
    pub fn worker_of(&self, device: &DeviceId) -> Option<WorkerView<'_>> {
        self.view(self.roster.by_device(device)?)
    }

    /// Every worker, in the order of the slots.
    pub fn workers(&self) -> impl Iterator<Item = WorkerView<'_>> {
        (0..self.roster.slots()).filter_map(|slot| self.view(slot))
    }

    /// Every lease that authorises something, because it is assigned or running, in the order of its holder's
    /// slot.
    pub fn live_leases(&self) -> impl Iterator<Item = &WorkerLease> {
        self.roster.places().filter_map(|place| match &place.worker.as_ref()?.activity {
            Activity::Leased(held) if matches!(held.stage, LeaseStage::Assigned | LeaseStage::Running) => {
                Some(&held.lease)
            }
            _ => None,
        })
    }

    fn view(&self, slot: u32) -> Option<WorkerView<'_>> {
        let record = self.roster.get(slot)?;
        let (held, marks) = (held(record), record.marks());
        Some(WorkerView {
            id: &record.id,
            device: &record.device,
            handle: self.handle(slot),
            activity: record.activity.kind(),
            state: self.roster.view(record),
            draining: record.draining,
            drain: marks.drain,
            set_aside: marks.set_aside,
            bad_in_a_row: marks.bad_in_a_row,
            quarantined: self.roster.is_quarantined(record),
            reasons: record.quarantine().reasons(),
            lease: held.map(|held| &held.lease),
            stage: held.map(|held| held.stage),
            owes: debt(record),
            capabilities: self.roster.capabilities(slot),
            evidence: record.evidence.as_ref().map(|evidence| &evidence.record),
        })
    }

    /// The terms of the lease `fence` that `record` has lost, if its completion may still come: the lease
    /// expired, nobody revoked it, and its run was not leased to anybody since.
    pub(crate) fn late_of<'a>(&self, record: &'a WorkerRecord, fence: Fence) -> Option<&'a LeaseTerms> {
        let Activity::Orphaned(orphan) = &record.activity else { return None };
        let terms = orphan.late.as_deref().filter(|_| orphan.debt.fence == fence)?;
        let held = matches!(self.run(&terms.run)?.state, RunState::Held { fence: last, .. } if last == fence);
        held.then_some(terms)
    }

    pub(crate) fn handle(&self, slot: u32) -> WorkerHandle {
        WorkerHandle { slot, generation: self.roster.generation(slot) }
    }

    /// Whether the worker's evidence was judged under the policy in force and has not ended at `now`.
    pub(crate) fn evidence_in_force(&self, record: &WorkerRecord, now: Now) -> bool {
        let judged = |evidence: &Evidence| evidence.record.generation == self.policy_generation;
        Self::evidence_in_time(record, now) && record.evidence.as_ref().is_some_and(judged)
    }

    /// Whether the worker has evidence that has not ended at `now`, under whichever policy it was judged.
    pub(crate) fn evidence_in_time(record: &WorkerRecord, now: Now) -> bool {
        record.evidence.as_ref().is_some_and(|evidence| evidence.is_in_time(now))
    }

    /// Whether the worker's evidence, or the certificate to which it is bound, ends before the shortest lease
    /// would.
    pub(crate) fn evidence_is_short(&self, record: &WorkerRecord, now: Now) -> bool {
        let ends = record.evidence.as_ref().map_or(now.mono, |evidence| {
            evidence.ends().min(Self::mono_at(now, evidence.record.valid_until))
        });
        ends.since(now.mono) < self.policy.lease.ttl_min_ms
    }

    /// The brake: whether so many workers fell silent together that the coordinator suspects its own
    /// connection. Gives how many did, of how many that were not silent before, and when the brake ends by
    /// itself.
    pub(crate) fn brake(&self, now: Mono) -> Option<(u32, u32, Mono)> {
        let wave = &self.roster.wave;
        let retired = u32::try_from(self.roster.count(WorkerLifecycleState::Retired)).unwrap_or(u32::MAX);
        let silent_before = self.roster.silent.saturating_sub(wave.silent);
        let of = self.roster.len().saturating_sub(retired).saturating_sub(silent_before);
        let rules = &self.policy.liveness;
        let until = wave.last.plus(rules.brake_hold_ms);
        let most = u64::from(wave.silent).saturating_mul(100)
            >= u64::from(of).saturating_mul(rules.brake_percent.into());
        let holds = of >= rules.brake_min_workers && wave.silent > 0 && most && now < until;
        holds.then_some((wave.silent, of, until))
    }

    /// The latest instant that a lease holder was told or that a run is held until. Cost: O(workers + runs).
    pub(crate) fn latest_promise(&self) -> Mono {
        let held =
            self.roster.places().filter_map(|place| held(place.worker.as_ref()?)).map(|held| held.promised);
        let runs = self.runs.iter().filter_map(|run| match run.state {
            RunState::Held { until, .. } => Some(until),
            RunState::Leased { .. } | RunState::Ended { .. } => None,
        });
        held.chain(runs).max().unwrap_or(Mono::START)
    }

    /// Both clocks as the core accepts them at `now`, and how far the wall clock leapt, if it did.
    ///
    /// The monotonic time never goes back. The wall time follows it within `liveness.max_wall_step_ms` and
    /// never goes back either (invariant 7). A leap is reported, and operations that need a trusted wall
    /// clock refuse.
    pub(crate) fn discipline(&self, now: Now) -> Result<(Now, Option<Millis>), TimeError> {
        if now.mono < self.last.mono {
            return Err(TimeError::Backwards { last: self.last.mono, now: now.mono });
        }
        let expected = self.last.wall.plus(now.mono.since(self.last.mono));
        let leap = Millis(now.wall.0.abs_diff(expected.0));
        if leap > self.policy.liveness.max_wall_step_ms {
            return Ok((Now { mono: now.mono, wall: expected }, Some(leap)));
        }
        Ok((Now { mono: now.mono, wall: now.wall.max(self.last.wall) }, None))
    }

    /// The monotonic instant at which the wall clock will show `wall`.
    pub(crate) fn mono_at(now: Now, wall: Wall) -> Mono {
        if wall == Wall::NEVER { Mono::NEVER } else { now.mono.plus(wall.since(now.wall)) }
    }
}

pub(crate) fn held(record: &WorkerRecord) -> Option<&HeldLease> {
    match &record.activity {
        Activity::Leased(held) => Some(held),
        _ => None,
    }
}

pub(crate) fn debt(record: &WorkerRecord) -> Option<Debt> {
    match &record.activity {
        Activity::Orphaned(orphan) => Some(orphan.debt),
        _ => None,
    }
}

/// What a coordinator's endpoint needs to know of a worker.
impl FleetState {
    /// Whether the worker of `device` should bring evidence over a new nonce.
    pub(crate) fn wants_evidence(&self, device: &DeviceId, now: Now) -> bool {
        let Some(record) = self.roster.by_device(device).and_then(|slot| self.roster.get(slot)) else {
            return true;
        };
        let now = self.discipline(now).map_or(now, |(now, _)| now);
        // After a change of policy, the sweep judges the evidence that there is.
        !Self::evidence_in_time(record, now)
            || self.evidence_is_short(record, now)
            || record.quarantine().evidence_since.is_some()
            || debt(record).is_some_and(|debt| debt.evidence_since.is_some())
    }

    /// The terms of the lease `fence` that the worker of `device` has lost, if the policy accepts its
    /// completion late.
    pub(crate) fn late_completion(&self, device: &DeviceId, fence: Fence) -> Option<&LeaseTerms> {
        let record = self.roster.get(self.roster.by_device(device)?)?;
        self.late_of(record, fence).filter(|_| self.policy.lease.complete_late)
    }

    /// The lease of the worker of `device` that was revoked and is not acknowledged, and why it was revoked.
    pub(crate) fn revocation_of(&self, device: &DeviceId) -> Option<(Fence, super::condition::LossReason)> {
        let record = self.roster.get(self.roster.by_device(device)?)?;
        let held = held(record)?;
        held.revoked.map(|(reason, _)| (held.lease.fence, reason))
    }
}
