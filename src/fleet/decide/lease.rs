//! Acts under a lease: start, renew, complete, clean up, acknowledge. Each carries the fence, and a stale one
//! changes nothing (invariant 6).

use crate::{
    fleet::{
        condition::{HeldLease, LossReason, QuarantineReason},
        context::{Context, Draft, Steps, sealed::Decide},
        effect::Effect,
        event::FleetEvent,
        operation::{
            AcknowledgeRevocation, Complete, Remaining, Renew, ReportCleanup, RunOutcome, Start, Verdict,
            WorkerHandle,
        },
        principal::Principal,
        rejection::LeaseError,
        roster::WorkerRecord,
        state,
        table::Act,
    },
    lease::{Fence, Inspection, WorkerCleanupReport},
    time::Mono,
};

/// A worker, its record and its lease, after every check that all acts under a lease share.
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
        let standing = context.standing(slot, record).ok_or(LeaseError::Evidence)?;
        let now = context.now.mono;
        // Judged again, evidence may end sooner than when the lease was granted.
        let horizon = held.lease.horizon.min(standing.valid_until_mono);
        let expires = now.plus(context.state.policy.lease.ttl_max_ms).min(horizon);
        if held.lease.expires >= horizon {
            return Err(LeaseError::Horizon { horizon });
        }
        let mut steps = Steps::of(slot, 1);
        steps.events.extend(standing.kept);
        // A renewal never takes anything away: the ttl of the request may have been shorter than the policy's.
        if expires > held.lease.expires {
            steps.events.push(FleetEvent::LeaseRenewed { slot, fence: self.fence, expires });
            let mut lease = held.lease.clone();
            lease.expires = expires;
            steps.effects.push(Effect::LeaseLive { lease });
        }
        let remaining = expires.max(held.lease.expires).since(now);
        Ok(steps.with_answer(Remaining { fence: self.fence, remaining }))
    }
}

impl Decide for Complete {
    const NAME: &'static str = "complete";

    fn admits(principal: &Principal) -> bool {
        is_device(principal)
    }

    fn decide(&self, context: &Context<'_>) -> Result<Draft<Verdict>, LeaseError> {
        let Holder { slot, record, held } = holder(context, Act::Complete, self.worker, self.fence)?;
        let mut steps = Steps::of(slot, 2);
        let transport = &held.lease.terms.artifacts;
        let outputs = match self.outcome {
            RunOutcome::Succeeded => transport.judge(&self.claim, &self.received),
            RunOutcome::Failed => transport.judge_partial(&self.claim, &self.received),
        };
        if outputs.is_err() {
            // The run is not done: what came back is not what was made, or not what was allowed.
            context.lose(&mut steps, slot, held, LossReason::Output, context.hold_until(held));
            steps.events.push(FleetEvent::Quarantined { slot, reason: QuarantineReason::FailedOutput });
            return Ok(steps.with_answer(Verdict::OutputRefused));
        }
        steps.events.push(FleetEvent::RunEnded {
            run: held.lease.terms.run.clone(),
            fence: self.fence,
            outcome: Some(self.outcome),
            lost: None,
            outputs: Some(self.received.outputs().digest()),
            remembered_until: context.remember_run_until(),
        });
        let Some(report) = &self.cleanup else {
            steps.events.push(FleetEvent::CleanupAwaited { slot, fence: self.fence });
            // The run is over: nothing that it still sends may reach anybody.
            steps.effects.push(Effect::LeaseOver { fence: self.fence });
            return Ok(steps.with_answer(Verdict::CleanupAwaited));
        };
        let verdict = clean(context, &mut steps, Holder { slot, record, held }, report, self.inspection);
        Ok(steps.with_answer(verdict))
    }
}

/// Ends the lease by what its cleanup report is worth.
fn clean(
    context: &Context<'_>,
    steps: &mut Steps,
    holder: Holder<'_>,
    report: &WorkerCleanupReport,
    inspection: Option<Inspection>,
) -> Verdict {
    let Holder { slot, held, .. } = holder;
    match report.judge(&held.lease, inspection, context.state.policy.lease.cleanup) {
        Ok(()) => {
            context.give_back(steps, slot, held);
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
                // It has stopped, so the run is free; what it left behind is still owed.
                context.lose(&mut steps, slot, held, reason, context.now.mono);
                Verdict::CleanupAwaited
            }
        };
        Ok(steps.with_answer(verdict))
    }
}
