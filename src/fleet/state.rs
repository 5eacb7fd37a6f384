//! `FleetState`: everything that must survive. It changes only by folding events, and has equality and a digest.

use super::{
    condition::{Activity, Debt, HeldLease, LeaseStage, WorkerLifecycleState},
    counts::WorkerFleetCounts,
    event::EvidenceRecord,
    evidence::Evidence,
    operation::WorkerHandle,
    policy::WorkerFleetPolicy,
    rejection::TimeError,
    roster::{Roster, WorkerRecord},
    runs::{RunRecord, Runs},
    session::Sessions,
    spent::Spent,
};
use crate::{
    capability::CapabilitySet,
    id::{DeviceId, RunId, WorkerId},
    identity::DeviceRegistry,
    lease::{Epoch, Fence, WorkerLease},
    node::NodeRuntimeState,
    time::{Millis, Mono, Now, Wall},
};

/// The hard state of a fleet.
///
/// Two states are equal when folding the same events led to them; how their indexes are keyed does not matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetState {
    pub(crate) policy: WorkerFleetPolicy,
    pub(crate) policy_generation: u64,
    pub(crate) epoch: Epoch,
    /// Events folded so far.
    pub(crate) version: u64,
    /// Records accepted so far.
    pub(crate) index: u64,
    /// The time of the last record, both lines as the core believed them.
    pub(crate) last: Now,
    pub(crate) fence_counter: u64,
    pub(crate) roster: Roster,
    pub(crate) runs: Runs,
    pub(crate) grants: Spent,
    pub(crate) nonces: Spent,
    pub(crate) sessions: Sessions,
    pub(crate) nodes: NodeRuntimeState,
    pub(crate) quiet_until: Mono,
    pub(crate) floor: Wall,
}

/// A worker as others may see it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerView<'a> {
    /// Its id.
    pub id: &'a WorkerId,
    /// Its device.
    pub device: &'a DeviceId,
    /// Its current incarnation.
    pub handle: WorkerHandle,
    /// What it is doing.
    pub activity: super::condition::ActivityKind,
    /// The public view of its condition.
    pub state: WorkerLifecycleState,
    /// Whether it is draining.
    pub draining: bool,
    /// Whether its latch is closed.
    pub quarantined: bool,
    /// Why its own latch is closed; empty where only an act on the whole fleet closed it.
    pub reasons: &'a [super::condition::QuarantineReason],
    /// Its lease, where it holds one.
    pub lease: Option<&'a WorkerLease>,
    /// Where that lease stands.
    pub stage: Option<LeaseStage>,
    /// What it owes for a lease that it lost.
    pub owes: Option<Debt>,
    /// What it can do, by its evidence.
    pub capabilities: Option<&'a CapabilitySet>,
    /// The evidence, where there is some.
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

    /// How many operations were accepted.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// The time of the last accepted operation, both lines as the core believed them.
    pub fn last(&self) -> Now {
        self.last
    }

    /// The largest fence so far.
    pub fn last_fence(&self) -> Fence {
        Fence::new(self.epoch, self.fence_counter)
    }

    /// No lease is granted before this instant.
    pub fn quiet_until(&self) -> Mono {
        self.quiet_until
    }

    /// The devices: who is known, and what is revoked.
    pub fn devices(&self) -> &DeviceRegistry {
        &self.nodes.registry
    }

    /// The devices with what pairs and what is dispatched to them.
    pub fn nodes(&self) -> &NodeRuntimeState {
        &self.nodes
    }

    /// What the fleet remembers of a run.
    pub fn run(&self, run: &RunId) -> Option<&RunRecord> {
        self.runs.get(run)
    }

    /// Every run that is remembered, in no particular order.
    pub fn runs(&self) -> impl Iterator<Item = &RunRecord> {
        self.runs.iter()
    }

    /// How many workers are in which public state. Cost: O(1).
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

    /// The current incarnation of the worker with this id, for messages that name it so. Cost: O(1), one look-up.
    pub fn handle_of(&self, id: &WorkerId) -> Option<WorkerHandle> {
        Some(self.handle(self.roster.by_id(id)?))
    }

    /// The worker of this device that is not retired. Cost: O(1).
    pub fn worker_of(&self, device: &DeviceId) -> Option<WorkerView<'_>> {
        self.view(self.roster.by_device(device)?)
    }

    /// Every worker, in the order of their slots.
    pub fn workers(&self) -> impl Iterator<Item = WorkerView<'_>> {
        (0..self.roster.slots()).filter_map(|slot| self.view(slot))
    }

    /// Every lease that authorises something: assigned or running, in the order of the slots of their holders.
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
        let held = held(record);
        Some(WorkerView {
            id: &record.id,
            device: &record.device,
            handle: self.handle(slot),
            activity: record.activity.kind(),
            state: self.roster.view(record),
            draining: record.draining,
            quarantined: self.roster.is_quarantined(record),
            reasons: record.quarantine().reasons(),
            lease: held.map(|held| &held.lease),
            stage: held.map(|held| held.stage),
            owes: debt(record),
            capabilities: self.roster.capabilities(slot),
            evidence: record.evidence.as_ref().map(|evidence| &evidence.record),
        })
    }

    pub(crate) fn handle(&self, slot: u32) -> WorkerHandle {
        WorkerHandle { slot, generation: self.roster.generation(slot) }
    }

    /// Whether the worker's evidence was judged under the policy in force, and its time is not over at `now`.
    pub(crate) fn evidence_in_force(&self, record: &WorkerRecord, now: Now) -> bool {
        let judged = |evidence: &Evidence| evidence.record.generation == self.policy_generation;
        Self::evidence_in_time(record, now) && record.evidence.as_ref().is_some_and(judged)
    }

    /// Whether the worker has evidence whose time is not over at `now`, under whatever policy it was judged.
    pub(crate) fn evidence_in_time(record: &WorkerRecord, now: Now) -> bool {
        record.evidence.as_ref().is_some_and(|evidence| evidence.is_in_time(now))
    }

    /// Whether so many workers are silent that the coordinator suspects itself.
    pub(crate) fn brake(&self) -> Option<(u32, u32)> {
        let retired = u32::try_from(self.roster.count(WorkerLifecycleState::Retired)).unwrap_or(u32::MAX);
        let of = self.roster.len().saturating_sub(retired);
        let rules = &self.policy.liveness;
        let silent = self.roster.silent;
        let most =
            u64::from(silent).saturating_mul(100) >= u64::from(of).saturating_mul(rules.brake_percent.into());
        (of >= rules.brake_min_workers && silent > 0 && most).then_some((silent, of))
    }

    /// Both lines as the core believes them at `now`, and by how much the wall clock leapt where it did.
    ///
    /// The monotonic line never goes back. The wall follows it within the policy's step, and never goes back either
    /// (invariant 7): a leap is reported, and what needs a trustworthy wall refuses.
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

    /// The instant on the fleet's line at which the wall will show `wall`.
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
        Activity::Orphaned(debt) => Some(**debt),
        _ => None,
    }
}

/// What a coordinator's endpoint tells a worker about itself.
impl FleetState {
    /// Whether evidence over a new nonce is wanted from the worker of `device`.
    pub(crate) fn wants_evidence(&self, device: &DeviceId, now: Now) -> bool {
        let Some(record) = self.roster.by_device(device).and_then(|slot| self.roster.get(slot)) else {
            return true;
        };
        let now = self.discipline(now).map_or(now, |(now, _)| now);
        // Where the policy changed, the sweep that is under way judges what there is.
        !Self::evidence_in_time(record, now)
            || record.quarantine().evidence_since.is_some()
            || debt(record).is_some_and(|debt| debt.evidence_since.is_some())
    }

    /// The lease of the worker of `device` that was taken back and is not acknowledged, and why.
    pub(crate) fn revocation_of(&self, device: &DeviceId) -> Option<(Fence, super::condition::LossReason)> {
        let record = self.roster.get(self.roster.by_device(device)?)?;
        let held = held(record)?;
        held.revoked.map(|(reason, _)| (held.lease.fence, reason))
    }
}
