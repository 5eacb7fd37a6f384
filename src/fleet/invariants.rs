//! Invariants that can be checked on one state as a whole. Recovery refuses a state that breaks one; tests
//! check after every operation.

use alloc::collections::BTreeSet;

use super::{
    condition::{Activity, LeaseStage, WorkerLifecycleState},
    policy::WorkerFleetPolicy,
    runs::RunState,
    state::{self, FleetState},
};

type Verdict = Result<(), &'static str>;

fn ensure(holds: bool, otherwise: &'static str) -> Verdict {
    if holds { Ok(()) } else { Err(otherwise) }
}

impl FleetState {
    /// Checks that what the fleet holds fits into the bounds of another policy. The error names the first
    /// bound that it exceeds.
    pub(crate) fn fits(&self, policy: &WorkerFleetPolicy) -> Result<(), &'static str> {
        let limits = &policy.limits;
        let fits = |count: usize, limit: u32| u32::try_from(count).is_ok_and(|count| count <= limit);
        ensure(self.roster.len() <= limits.workers, "limits.workers")?;
        ensure(fits(self.runs.len(), limits.runs), "limits.runs")?;
        ensure(fits(self.sessions.len(), limits.sessions), "limits.sessions")?;
        let (devices, pairing, dispatch) = policy.node_policies();
        self.nodes.fits(devices, &pairing, &dispatch)
    }

    /// Checks every invariant that one state can show. Cost: O(workers + runs). Intended for recovery and
    /// tests.
    ///
    /// # Errors
    /// The invariant that does not hold.
    pub fn check_invariants(&self) -> Result<(), &'static str> {
        let mut fences = BTreeSet::new();
        let mut devices = BTreeSet::new();
        let mut silent = 0_u32;
        let mut counted = 0_u64;
        for slot in 0..self.roster.slots() {
            let Some(record) = self.roster.get(slot) else { continue };
            counted = counted.saturating_add(1);
            silent = silent.saturating_add(record.silent.is_some().into());
            ensure(self.roster.by_id(&record.id) == Some(slot), "a worker is not found by its id")?;
            if matches!(record.activity, Activity::Retired { .. }) {
                continue;
            }
            ensure(devices.insert(&record.device), "a device runs two workers")?;
            ensure(
                self.roster.by_device(&record.device) == Some(slot),
                "a worker is not found by its device",
            )?;
            ensure(
                record.quarantine().is_closed() != record.quarantine().is_settled(),
                "a latch is closed for nothing",
            )?;
            let available = self.roster.view(record) == WorkerLifecycleState::Available;
            ensure(available == self.roster.ready.is_queued(slot), "a queue and a worker disagree")?;
            ensure(
                !available || record.evidence.is_some(),
                "invariant 4: an available worker has no evidence",
            )?;
            if let Activity::Orphaned(orphan) = &record.activity {
                ensure(!orphan.debt.is_settled(), "invariant 5: an orphan owes nothing")?;
                let late = orphan.late.is_some();
                ensure(
                    !late || orphan.debt.cleanup && orphan.debt.reason.is_by_time(),
                    "a lease that was taken back, or is cleaned up, may be completed",
                )?;
            }
            let marks = record.marks();
            ensure(!marks.probing || state::held(record).is_some(), "a probe is under way without a lease")?;
            ensure(marks.drain.is_none() || record.draining, "a drain is planned that did not begin")?;
            if let Some(held) = state::held(record) {
                let lease = &held.lease;
                ensure(fences.insert(lease.fence), "invariant 2: a fence is used twice")?;
                ensure(lease.fence <= self.last_fence(), "invariant 2: a fence is larger than the last")?;
                ensure(lease.expires <= lease.horizon, "invariant 3: a lease passes its horizon")?;
                ensure(lease.expires <= held.promised, "a lease lasts longer than its holder was told")?;
                ensure(
                    lease.worker == record.id && lease.device == record.device,
                    "a lease names another worker",
                )?;
                ensure(
                    lease.incarnation == self.roster.generation(slot),
                    "a lease names another incarnation",
                )?;
                let run = self
                    .run(&lease.terms.run)
                    .ok_or("invariant 1: a lease is for a run that is not known")?;
                let mine = RunState::Leased { slot, fence: lease.fence };
                let over = held.stage == LeaseStage::CleaningUp || held.stage == LeaseStage::Revoking;
                ensure(run.state == mine || over, "invariant 1: a run does not know its lease")?;
            }
        }
        for run in self.runs() {
            ensure(run.spared <= run.attempts, "a run was spared more attempts than it had")?;
            if let RunState::Leased { slot, fence } = run.state {
                let held = self.roster.get(slot).and_then(state::held);
                ensure(
                    held.is_some_and(|held| held.lease.fence == fence),
                    "invariant 1: a run has a lease that nobody holds",
                )?;
            }
        }
        ensure(silent == self.roster.silent, "the silent are miscounted")?;
        let counts = self.counts();
        let sum = [
            counts.registered,
            counts.available,
            counts.leased,
            counts.offline,
            counts.orphaned,
            counts.quarantined,
            counts.draining,
            counts.retired,
        ]
        .into_iter()
        .fold(0_u64, u64::saturating_add);
        ensure(sum == counts.total && sum == counted, "workers are miscounted")?;
        let limits = &self.policy.limits;
        let fits = |count: usize, limit: u32| u32::try_from(count).is_ok_and(|count| count <= limit);
        ensure(self.roster.len() <= limits.workers, "invariant 13: too many workers")?;
        ensure(fits(self.runs.len(), limits.runs), "invariant 13: too many runs")?;
        ensure(fits(self.sessions.len(), limits.sessions), "invariant 13: too many sessions")?;
        self.nodes.check()
    }
}
