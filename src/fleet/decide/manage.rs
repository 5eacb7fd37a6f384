//! Operations of services and operators on workers, runs and the policy.

use crate::{
    fleet::{
        condition::{Activity, LeaseStage, LossReason, QuarantineReason, WorkerLifecycleState},
        context::{Context, Draft, Steps, sealed::Decide},
        event::FleetEvent,
        marks::DrainPlan,
        operation::{
            AcceptWall, Drain, DrainFor, ForceCleanup, Managed, QuarantineAll, QuarantineWorker, Release,
            Retire, Reverify, RevokeRun, Revoked, SetPolicy, Undrain,
        },
        principal::Principal,
        rejection::{ManageError, WorkerError},
        roster::WorkerRecord,
        runs::RunState,
        state,
        table::Act,
    },
    id::WorkerId,
};

fn is_operator(principal: &Principal) -> bool {
    matches!(principal, Principal::Operator(_))
}

/// The worker that a command names, if the transition table allows `act`.
fn target<'a>(
    context: &Context<'a>,
    act: Act,
    worker: &WorkerId,
) -> Result<(u32, &'a WorkerRecord), ManageError> {
    let slot = context.state.roster.by_id(worker).ok_or(WorkerError::Unknown)?;
    let record = context.state.roster.get(slot).ok_or(WorkerError::Unknown)?;
    context.admit(act, record)?;
    Ok((slot, record))
}

/// The answer with the public state after the operation.
fn managed(context: &Context<'_>, record: &WorkerRecord, quarantined: bool, unwanted: bool) -> Managed {
    let fleet = record.quarantine_generation < context.state.roster.quarantine_generation;
    let view = WorkerLifecycleState::of(record.activity.kind(), quarantined || fleet, unwanted);
    Managed { state: Some(view) }
}

macro_rules! operator {
    ($($operation:ident = $name:literal, |$this:ident, $context:ident| $body:expr;)+) => {$(
        impl Decide for $operation {
            const NAME: &'static str = $name;

            fn admits(principal: &Principal) -> bool {
                is_operator(principal)
            }

            fn decide(&self, $context: &Context<'_>) -> Result<Draft<Managed>, ManageError> {
                let $this = self;
                $body
            }
        }
    )+};
}

operator! {
    QuarantineWorker = "quarantine", |this, context| {
        let (slot, record) = target(context, Act::Quarantine, &this.worker)?;
        let mut steps = Steps::default();
        context.quarantine(&mut steps, slot, record, QuarantineReason::Operator);
        Ok(steps.with_answer(managed(context, record, true, !record.is_wanted())))
    };
    Release = "release", |this, context| {
        let (slot, record) = target(context, Act::Release, &this.worker)?;
        let pending = record.quarantine_generation < context.state.roster.quarantine_generation;
        if !record.quarantine().release && !pending {
            return Err(ManageError::NothingToRelease);
        }
        let mut steps = Steps::default();
        if pending {
            steps.events.push(FleetEvent::Quarantined { slot, reason: QuarantineReason::Operator });
        }
        steps.events.push(FleetEvent::QuarantineReleased { slot });
        let mut latch = record.quarantine().clone();
        latch.release = false;
        let closed = pending || !latch.is_settled();
        Ok(steps.with_answer(Managed {
            state: Some(WorkerLifecycleState::of(record.activity.kind(), closed, !record.is_wanted())),
        }))
    };
    Drain = "drain", |this, context| {
        let (slot, record) = target(context, Act::Drain, &this.worker)?;
        let mut steps = Steps::default();
        steps.events.push(FleetEvent::DrainBegan { slot });
        Ok(steps.with_answer(managed(context, record, record.quarantine().is_closed(), true)))
    };
    DrainFor = "drain_for", |this, context| {
        let (slot, record) = target(context, Act::Drain, &this.worker)?;
        let mut steps = Steps::default();
        steps.events.push(FleetEvent::DrainBegan { slot });
        let until = this.within_ms.map(|within| context.now.mono.plus(within));
        let plan = DrainPlan { reason: this.reason, until };
        steps.events.push(FleetEvent::DrainPlanned { slot, plan });
        Ok(steps.with_answer(managed(context, record, record.quarantine().is_closed(), true)))
    };
    Undrain = "undrain", |this, context| {
        let slot = context.state.roster.by_id(&this.worker).ok_or(WorkerError::Unknown)?;
        let record = context.state.roster.get(slot).ok_or(WorkerError::Unknown)?;
        let marks = record.marks();
        if !marks.set_aside {
            context.admit(Act::Undrain, record)?;
        }
        let mut steps = Steps::default();
        if record.draining {
            steps.events.push(FleetEvent::DrainEnded { slot });
        }
        if marks.set_aside {
            steps.events.push(FleetEvent::WorkerRated { slot, bad_in_a_row: 0, set_aside: false });
        }
        Ok(steps.with_answer(managed(context, record, record.quarantine().is_closed(), false)))
    };
    Reverify = "reverify", |this, context| {
        let (slot, record) = target(context, Act::Reverify, &this.worker)?;
        let mut steps = Steps::default();
        steps.events.push(FleetEvent::EvidenceWithdrawn { slot });
        let idle = matches!(record.activity, Activity::Available);
        let closed = context.state.roster.is_quarantined(record);
        let kind = record.activity.kind();
        let kind = if idle { crate::fleet::condition::ActivityKind::Registered } else { kind };
        Ok(steps.with_answer(Managed { state: Some(WorkerLifecycleState::of(kind, closed, !record.is_wanted())) }))
    };
    ForceCleanup = "force_cleanup", |this, context| {
        let (slot, record) = target(context, Act::ForceCleanup, &this.worker)?;
        let debt = state::debt(record).ok_or(ManageError::NoLease)?;
        if debt.fence != this.fence {
            return Err(ManageError::StaleFence { given: this.fence });
        }
        if !debt.cleanup {
            return Err(ManageError::NothingOwed);
        }
        let mut steps = Steps::default();
        steps.events.push(FleetEvent::CleanupVerified { slot, fence: this.fence, forced: true });
        context.retire_used(&mut steps, slot);
        Ok(steps.with_answer(Managed { state: None }))
    };
    Retire = "retire", |this, context| {
        let (slot, _) = target(context, Act::Retire, &this.worker)?;
        let mut steps = Steps::default();
        steps.events.push(FleetEvent::WorkerRetired { slot });
        Ok(steps.with_answer(Managed { state: Some(WorkerLifecycleState::Retired) }))
    };
    QuarantineAll = "quarantine_all", |_this, context| {
        let mut steps = Steps::default();
        let generation = context.state.roster.quarantine_generation.saturating_add(1);
        steps.events.push(FleetEvent::FleetQuarantined { generation });
        Ok(steps.with_answer(Managed { state: None }))
    };
    AcceptWall = "accept_wall", |_this, context| {
        if context.leap.is_none() {
            return Err(ManageError::NoLeap);
        }
        let mut steps = Steps::default();
        steps.events.push(FleetEvent::WallAccepted { wall: context.shown });
        Ok(steps.with_answer(Managed { state: None }))
    };
    SetPolicy = "set_policy", |this, context| {
        if this.policy.fleet != context.state.policy.fleet {
            return Err(ManageError::OtherFleet);
        }
        context.state.fits(&this.policy).map_err(ManageError::BelowHeld)?;
        // Folding must not enforce this bound, because former stored forms have none.
        if context.state.sessions.bytes() > this.policy.limits.answer_bytes {
            return Err(ManageError::BelowHeld("limits.answer_bytes"));
        }
        let mut steps = Steps::default();
        let generation = context.state.policy_generation.saturating_add(1);
        steps.events.push(FleetEvent::PolicySet { policy: this.policy.clone(), generation });
        Ok(steps.with_answer(Managed { state: None }))
    };
}

impl Decide for RevokeRun {
    const NAME: &'static str = "revoke";

    fn admits(principal: &Principal) -> bool {
        matches!(principal, Principal::Service(_) | Principal::Operator(_))
    }

    fn decide(&self, context: &Context<'_>) -> Result<Draft<Revoked>, ManageError> {
        let record = context.state.run(&self.run).ok_or(ManageError::RunUnknown)?;
        let RunState::Leased { slot, fence } = record.state else { return Err(ManageError::NoLease) };
        if fence != self.fence {
            return Err(ManageError::StaleFence { given: self.fence });
        }
        let worker = context.state.roster.get(slot).ok_or(WorkerError::Unknown)?;
        context.admit(Act::Revoke, worker)?;
        let held = state::held(worker).ok_or(ManageError::NoLease)?;
        let reason = if is_operator(context.principal) { LossReason::Operator } else { LossReason::Service };
        let mut steps = Steps::default();
        debug_assert!(matches!(held.stage, LeaseStage::Assigned | LeaseStage::Running));
        context.take_back(&mut steps, slot, held, reason);
        Ok(steps.with_answer(Revoked { worker: context.state.handle(slot), fence }))
    }
}
