//! Operations under a lease: start, renew, complete, clean up, acknowledge. Each of them carries the fence,
//! and a stale fence changes nothing (invariant 6).

use super::leasable::Unfit;
use crate::{
    code,
    fleet::{
        condition::{HeldLease, LossReason, QuarantineReason},
        context::{Context, Draft, Steps, sealed::Decide},
        effect::Effect,
        event::FleetEvent,
        operation::{
            AcknowledgeRevocation, Complete, Remaining, Renew, ReportCleanup, Start, Verdict, WorkerHandle,
        },
        outcome::RunOutcome,
        principal::Principal,
        rejection::{LeaseError, WorkerError},
        roster::WorkerRecord,
        state::{self, FleetState},
        table::Act,
    },
    id::RunId,
    lease::{ArtifactError, Fence, Inspection, LeaseTerms, WorkerCleanupReport},
    time::{Millis, Mono},
};

/// A worker, its record and its lease, after the checks that all operations under a lease share.
struct Holder<'a> {
    slot: u32,
    record: &'a WorkerRecord,
    held: &'a HeldLease,
}

fn holder<'a>(
    context: &Context<'a>,
    act: Act,
    worker: WorkerHandle,
    fence: Fence,
) -> Result<Holder<'a>, LeaseError> {
    let record = context.sender::<LeaseError>(worker)?;
    if let Some(held) = state::held(record)
        && held.lease.fence != fence
    {
        return Err(LeaseError::StaleFence { given: fence });
    }
    context.admit(act, record)?;
    let held = state::held(record).ok_or(LeaseError::StaleFence { given: fence })?;
    if !held.lease.is_live(context.now.mono) {
        return Err(LeaseError::Expired { expired: held.lease.expires });
    }
    // Another policy may be in force and its sweep may not have reached this worker. Evidence that it refuses
    // is void already.
    if matches!(act, Act::Start | Act::Complete) && context.is_refused(worker.slot, record) {
        return Err(LeaseError::Evidence);
    }
    Ok(Holder { slot: worker.slot, record, held })
}

/// Only devices act under leases.
fn is_device(principal: &Principal) -> bool {
    matches!(principal, Principal::Device { .. })
}

impl Decide for Start {
    const NAME: &'static str = "start";

    fn admits(principal: &Principal) -> bool {
        is_device(principal)
    }

    fn decide(&self, context: &Context<'_>) -> Result<Draft<Remaining>, LeaseError> {
        let Holder { slot, held, .. } = holder(context, Act::Start, self.worker, self.fence)?;
        let late = held.lease.granted.plus(context.state.policy.lease.start_ms);
        if context.now.mono >= late {
            return Err(LeaseError::Expired { expired: late });
        }
        let mut steps = Steps::of(slot, 1);
        steps.events.push(FleetEvent::RunStarted { slot, fence: self.fence });
        let remaining = held.lease.expires.since(context.now.mono);
        Ok(steps.with_answer(Remaining { fence: self.fence, remaining }))
    }
}

impl Decide for Renew {
    const NAME: &'static str = "renew";

    fn admits(principal: &Principal) -> bool {
        is_device(principal)
    }

    fn decide(&self, context: &Context<'_>) -> Result<Draft<Remaining>, LeaseError> {
        let Holder { slot, record, held } = holder(context, Act::Renew, self.worker, self.fence)?;
        let (end, kept) = context.lease_end(slot, record, &held.lease).map_err(|unfit| match unfit {
            Unfit::Certificate(error) => LeaseError::Device(error),
            Unfit::Silent | Unfit::Evidence | Unfit::Short(_) => LeaseError::Evidence,
        })?;
        let (rules, now) = (&context.state.policy.lease, context.now.mono);
        // If the end moved nearer since the holder was told, the answer reports that.
        if held.lease.expires >= end && held.promised <= held.lease.expires {
            return Err(LeaseError::Horizon { horizon: end });
        }
        let expires = now.plus(rules.ttl_max_ms).min(end);
        let mut steps = Steps::of(slot, 1);
        steps.events.extend(kept.map(|kept| *kept));
        // A renewal never shortens a lease, even if the request that acquired it asked for more than a
        // renewal would give. A renewal that would add little adds nothing, so a worker that renews as often
        // as it can writes no more than one that follows `lease.renew_every_ms`.
        let gain = expires.since(held.lease.expires);
        if gain.0 > rules.renew_every_ms.0 / 2 || gain > Millis::ZERO && expires == end {
            let mut lease = held.lease.clone();
            if expires > held.lease.horizon {
                let (expires, horizon) = (held.lease.expires, end);
                steps.events.push(FleetEvent::LeaseBounded { slot, fence: self.fence, expires, horizon });
                lease.bound(expires, horizon);
            }
            steps.events.push(FleetEvent::LeaseRenewed { slot, fence: self.fence, expires });
            lease.expires = expires;
            steps.effects.push(Effect::LeaseLive { lease });
            return Ok(steps.with_answer(Remaining { fence: self.fence, remaining: expires.since(now) }));
        }
        let remaining = held.lease.expires.min(end).since(now);
        Ok(steps.with_answer(Remaining { fence: self.fence, remaining }))
    }
}

impl Decide for Complete {
    const NAME: &'static str = "complete";

    fn admits(principal: &Principal) -> bool {
        is_device(principal)
    }

    fn decide(&self, context: &Context<'_>) -> Result<Draft<Verdict>, LeaseError> {
        if context.state.policy.lease.complete_late
            && let Some(late) = self.late(context)?
        {
            return Ok(late);
        }
        let Holder { slot, record, held } = holder(context, Act::Complete, self.worker, self.fence)?;
        let mut steps = Steps::of(slot, 2);
        let terms = &held.lease.terms;
        if let Err(error) = self.judge_outputs(terms) {
            return Ok(self.refuse_outputs(context, slot, held, error.is_lie()));
        }
        steps.events.push(self.ended(context, &terms.run, self.outcome, None));
        let Some(report) = &self.cleanup else {
            steps.events.push(FleetEvent::CleanupAwaited { slot, fence: self.fence });
            // The run has ended: nothing that it still sends may be permitted.
            steps.effects.push(Effect::LeaseOver { fence: self.fence });
            return Ok(steps.with_answer(Verdict::CleanupAwaited));
        };
        let verdict = clean(context, &mut steps, Holder { slot, record, held }, report, self.inspection);
        Ok(steps.with_answer(verdict))
    }
}

impl Complete {
    fn judge_outputs(&self, terms: &LeaseTerms) -> Result<(), ArtifactError> {
        match self.outcome {
            RunOutcome::Succeeded => terms.artifacts.judge(&self.claim, &self.received),
            RunOutcome::Failed => terms.artifacts.judge_partial(&self.claim, &self.received),
        }
    }

    fn ended(
        &self,
        context: &Context<'_>,
        run: &RunId,
        outcome: RunOutcome,
        lost: Option<LossReason>,
    ) -> FleetEvent {
        FleetEvent::RunEnded {
            run: run.clone(),
            fence: self.fence,
            outcome: Some(outcome),
            lost,
            outputs: Some(self.received.outputs().digest()),
            remembered_until: context.remember_run_until(),
        }
    }

    /// The completion of a lease that expired, if its run was not leased to anybody since. It changes the
    /// run. It changes nothing about the worker, except through a cleanup report: the lease stays lost, so
    /// this is no act of the transition table.
    fn late(&self, context: &Context<'_>) -> Result<Option<Draft<Verdict>>, LeaseError> {
        let (state, slot) = (context.state, self.worker.slot);
        let record = context.sender::<LeaseError>(self.worker)?;
        let Some(terms) = state.late_of(record, self.fence) else { return Ok(None) };
        if state.roster.is_quarantined(record) {
            let code = code::WORKER_QUARANTINED;
            return Err(WorkerError::Condition { code, state: record.activity.kind().name() }.into());
        }
        if !FleetState::evidence_in_time(record, context.now) || context.is_refused(slot, record) {
            return Err(LeaseError::Evidence);
        }
        let mut steps = Steps::of(slot, 2);
        match self.judge_outputs(terms) {
            Ok(()) => steps.events.push(self.ended(context, &terms.run, self.outcome, None)),
            Err(error) if error.is_lie() => {
                steps.events.push(FleetEvent::Quarantined { slot, reason: QuarantineReason::FailedOutput });
                return Ok(Some(steps.with_answer(Verdict::OutputRefused)));
            }
            Err(_) => {
                let lost = Some(LossReason::Output);
                steps.events.push(self.ended(context, &terms.run, RunOutcome::Failed, lost));
                return Ok(Some(steps.with_answer(Verdict::OutputExcess)));
            }
        }
        let (Some(report), Some(debt)) = (&self.cleanup, state::debt(record)) else {
            return Ok(Some(steps.with_answer(Verdict::CleanupAwaited)));
        };
        let cleanup = context.state.policy.lease.cleanup;
        let verdict = match report.judge_digest(debt.fence, debt.lease, self.inspection, cleanup) {
            Ok(()) => {
                steps.events.push(FleetEvent::CleanupVerified { slot, fence: self.fence, forced: false });
                context.retire_used(&mut steps, slot);
                Verdict::Clean
            }
            Err(_) => {
                steps.events.push(FleetEvent::Quarantined { slot, reason: QuarantineReason::FailedCleanup });
                Verdict::CleanupFailed
            }
        };
        Ok(Some(steps.with_answer(verdict)))
    }

    /// Handles outputs that do not match the worker's claim, or that the lease does not allow.
    fn refuse_outputs(
        &self,
        context: &Context<'_>,
        slot: u32,
        held: &HeldLease,
        lie: bool,
    ) -> Draft<Verdict> {
        let mut steps = Steps::of(slot, 3);
        if !lie {
            // The job caused this, not the worker: the run would end the same way on any worker.
            let run = &held.lease.terms.run;
            steps.events.push(self.ended(context, run, RunOutcome::Failed, Some(LossReason::Output)));
        }
        context.lose(&mut steps, slot, held, LossReason::Output, context.hold_until(held));
        if lie {
            steps.events.push(FleetEvent::Quarantined { slot, reason: QuarantineReason::FailedOutput });
            return steps.with_answer(Verdict::OutputRefused);
        }
        steps.with_answer(Verdict::OutputExcess)
    }
}

/// Judges the cleanup report, and returns or loses the lease accordingly.
fn clean(
    context: &Context<'_>,
    steps: &mut Steps,
    holder: Holder<'_>,
    report: &WorkerCleanupReport,
    inspection: Option<Inspection>,
) -> Verdict {
    let Holder { slot, record, held } = holder;
    match report.judge(&held.lease, inspection, context.state.policy.lease.cleanup) {
        Ok(()) => {
            context.give_back(steps, slot, record, held);
            Verdict::Clean
        }
        Err(_) => {
            context.lose(steps, slot, held, LossReason::Cleanup, context.now.mono);
            steps.events.push(FleetEvent::Quarantined { slot, reason: QuarantineReason::FailedCleanup });
            Verdict::CleanupFailed
        }
    }
}

impl Decide for ReportCleanup {
    const NAME: &'static str = "report_cleanup";

    fn admits(principal: &Principal) -> bool {
        is_device(principal)
    }

    fn decide(&self, context: &Context<'_>) -> Result<Draft<Verdict>, LeaseError> {
        let record = context.sender::<LeaseError>(self.worker)?;
        let mut steps = Steps::of(self.worker.slot, 1);
        let Some(debt) = state::debt(record) else {
            let holder = holder(context, Act::ReportCleanup, self.worker, self.report.fence)?;
            let verdict = clean(context, &mut steps, holder, &self.report, self.inspection);
            return Ok(steps.with_answer(verdict));
        };
        context.admit(Act::ReportCleanup, record)?;
        if self.report.fence != debt.fence {
            return Err(LeaseError::StaleFence { given: self.report.fence });
        }
        if !debt.cleanup {
            return Err(LeaseError::NotOwed);
        }
        self.report.judge_digest(
            debt.fence,
            debt.lease,
            self.inspection,
            context.state.policy.lease.cleanup,
        )?;
        let (slot, fence) = (self.worker.slot, debt.fence);
        steps.events.push(FleetEvent::CleanupVerified { slot, fence, forced: false });
        context.retire_used(&mut steps, slot);
        Ok(steps.with_answer(Verdict::Clean))
    }
}

impl Decide for AcknowledgeRevocation {
    const NAME: &'static str = "acknowledge_revocation";

    fn admits(principal: &Principal) -> bool {
        is_device(principal)
    }

    fn decide(&self, context: &Context<'_>) -> Result<Draft<Verdict>, LeaseError> {
        let record = context.sender::<LeaseError>(self.worker)?;
        if let Some(held) = state::held(record)
            && held.lease.fence != self.fence
        {
            return Err(LeaseError::StaleFence { given: self.fence });
        }
        context.admit(Act::AcknowledgeRevocation, record)?;
        let held = state::held(record).ok_or(LeaseError::StaleFence { given: self.fence })?;
        let (reason, acknowledge_by) = held.revoked.unwrap_or((LossReason::Operator, Mono::START));
        if context.now.mono >= acknowledge_by {
            return Err(LeaseError::Expired { expired: acknowledge_by });
        }
        let slot = self.worker.slot;
        let mut steps = Steps::of(slot, 1);
        let verdict = match &self.cleanup {
            Some(report) => {
                clean(context, &mut steps, Holder { slot, record, held }, report, self.inspection)
            }
            None => {
                // The worker has stopped, so the run is free. Its cleanup is still owed.
                context.lose(&mut steps, slot, held, reason, context.now.mono);
                Verdict::CleanupAwaited
            }
        };
        Ok(steps.with_answer(verdict))
    }
}
