//! Who gets the lease, or why nobody does.

use alloc::sync::Arc;

use crate::{
    fleet::{
        condition::LossReason,
        context::{Context, Draft, Steps, sealed::Decide},
        effect::Effect,
        event::FleetEvent,
        operation::{Acquire, Acquired},
        principal::Principal,
        rejection::{AcquireError, WorkerError},
        roster::WorkerRecord,
        runs::RunState,
        state::FleetState,
        table::Act,
    },
    lease::{Fence, GrantError, LeaseFacts, LeaseTerms, WorkerLease},
    time::{Millis, Mono},
};

/// How many workers at the head of each class are looked at. Those that are passed over are silent, or their
/// evidence is over, and their own deadlines take them out of the queue.
const LOOK_AHEAD: usize = 8;

impl Decide for Acquire {
    const NAME: &'static str = "acquire";

    fn admits(principal: &Principal) -> bool {
        matches!(principal, Principal::Service(_) | Principal::Operator(_))
    }

    fn decide(&self, context: &Context<'_>) -> Result<Draft<Acquired>, AcquireError> {
        context.trust_wall()?;
        let state = context.state;
        let now = context.now;
        if now.mono < state.quiet_until {
            return Err(AcquireError::Quiet { until: state.quiet_until });
        }
        self.judge_grant(context)?;
        let attempt = self.judge_run(context)?;
        let terms = self.request.terms();
        let (slot, fit) = match self.request.worker() {
            Some(worker) => {
                let slot = state.roster.by_id(worker).ok_or(WorkerError::Unknown)?;
                (slot, self.judge_named(context, slot)?)
            }
            None => self.pick(context, terms)?,
        };
        let record = state.roster.get(slot).ok_or(WorkerError::Unknown)?;
        let ttl = self.request.ttl().0.min(state.policy.lease.ttl_max_ms.0);
        let facts = LeaseFacts {
            fence: Fence::new(state.epoch, state.fence_counter.saturating_add(1)),
            worker: record.id.clone(),
            device: record.device.clone(),
            incarnation: state.roster.generation(slot),
            attempt,
            granted: now.mono,
            horizon: fit.horizon,
            terms: Arc::clone(terms),
        };
        let lease = WorkerLease::new(facts, now.mono.plus(Millis(ttl)).min(fit.horizon));
        let worker = state.handle(slot);
        let mut steps = Steps::with_room(1);
        steps.events.extend(fit.kept);
        steps.events.push(FleetEvent::LeaseGranted { slot, lease: lease.clone() });
        steps.effects.push(Effect::LeaseLive { lease: lease.clone() });
        steps.effects.push(Effect::Assign { worker, lease: lease.clone() });
        Ok(steps.with_answer(Acquired { worker, lease }))
    }
}

/// A worker that passed every check.
struct Fit {
    /// The end of the longest lease that it can have.
    horizon: Mono,
    /// What has to happen first, where its evidence was accepted under a former policy.
    kept: Option<FleetEvent>,
}

impl Acquire {
    /// The grant is for this fleet, in force, as short-lived as the fleet demands, and unspent (invariant 1).
    fn judge_grant(&self, context: &Context<'_>) -> Result<(), GrantError> {
        let (state, wall) = (context.state, context.now.wall);
        let grant = self.request.grant().terms();
        let lifetime = grant.expires.since(grant.issued);
        if grant.fleet != state.policy.fleet {
            return Err(GrantError::OtherFleet);
        }
        // A signed grant is good for as long as its key is trusted, whenever it was opened.
        if self
            .request
            .grant()
            .signed_by()
            .is_some_and(|key| !state.policy.runs.issuers.trusts(key, &grant.issuer))
        {
            return Err(GrantError::NotTrusted);
        }
        if wall.plus(state.policy.lease.clock_budget_ms) < grant.issued {
            return Err(GrantError::NotYet);
        }
        if grant.expires <= wall {
            return Err(GrantError::Expired);
        }
        if lifetime > state.policy.runs.grant_lifetime_max_ms {
            return Err(GrantError::TooLong(lifetime));
        }
        if grant.issued < state.floor {
            return Err(GrantError::BeforeFloor);
        }
        if state.grants.contains(&self.request.terms().spent_as()) {
            return Err(GrantError::Spent);
        }
        let limit = usize::try_from(state.policy.limits.grants).unwrap_or(usize::MAX);
        if state.grants.is_full(limit, wall.0) {
            return Err(GrantError::TooMany);
        }
        Ok(())
    }

    /// The run may be leased now; gives the number of the attempt.
    fn judge_run(&self, context: &Context<'_>) -> Result<u32, AcquireError> {
        let (state, now) = (context.state, context.now.mono);
        let Some(record) = state.run(&self.request.terms().run) else {
            let limit = usize::try_from(state.policy.limits.runs).unwrap_or(usize::MAX);
            return if state.runs.is_full(limit, now) { Err(AcquireError::RunsFull) } else { Ok(1) };
        };
        match record.state {
            RunState::Leased { slot, fence } => {
                let worker = state.roster.get(slot).ok_or(WorkerError::Unknown)?.id.clone();
                Err(AcquireError::RunLeased { worker, fence })
            }
            RunState::Ended { .. } => Err(AcquireError::RunEnded),
            RunState::Held { until, .. } if now < until => Err(AcquireError::RunHeld { until }),
            RunState::Held { reason, .. } => {
                if reason == Some(LossReason::Silent)
                    && let Some((silent, of)) = state.brake()
                {
                    return Err(AcquireError::Brake { silent, of });
                }
                if record.attempts >= state.policy.runs.max_attempts {
                    return Err(AcquireError::NoAttempts { attempts: record.attempts });
                }
                Ok(record.attempts.saturating_add(1))
            }
        }
    }

    /// The named worker, by the same checks that the choice among all makes.
    fn judge_named(&self, context: &Context<'_>, slot: u32) -> Result<Fit, AcquireError> {
        let state = context.state;
        let record = state.roster.get(slot).ok_or(WorkerError::Unknown)?;
        context.admit(Act::Acquire, record)?;
        let able = state.roster.capabilities(slot);
        if !able.is_some_and(|able| self.request.terms().capabilities.is_subset_of(able)) {
            return Err(AcquireError::Capabilities);
        }
        self.judge_worker(context, slot, record)
    }

    /// The worker is heard, attested and authenticated at this instant (invariant 4); gives the lease's horizon.
    fn judge_worker(
        &self,
        context: &Context<'_>,
        slot: u32,
        record: &WorkerRecord,
    ) -> Result<Fit, AcquireError> {
        let (state, now) = (context.state, context.now);
        context.admit(Act::Acquire, record)?;
        if !context.liveness.is_heard(state, slot, now.mono) {
            return Err(AcquireError::NotHeard);
        }
        let evidence = context.standing(slot, record).ok_or(AcquireError::Evidence)?;
        let certificate_ends = context.certificate_ends(slot, evidence.certificate)?;
        // Invariant 3: the earliest of the longest lease, the grant, the evidence and the certificate.
        let horizon = now
            .mono
            .plus(state.policy.lease.longest_ms)
            .min(FleetState::mono_at(now, self.request.grant().terms().expires))
            .min(FleetState::mono_at(now, evidence.valid_until))
            .min(evidence.valid_until_mono)
            .min(evidence.certificate_until_mono)
            .min(certificate_ends);
        let left = horizon.since(now.mono).min(self.request.ttl());
        if left < state.policy.lease.ttl_min_ms {
            return Err(AcquireError::TooShort { left });
        }
        Ok(Fit { horizon, kept: evidence.kept })
    }

    /// The worker that has the capabilities, passes every check, and was used longest ago.
    fn pick(&self, context: &Context<'_>, terms: &LeaseTerms) -> Result<(u32, Fit), AcquireError> {
        let roster = &context.state.roster;
        let judge = |slot| Some((slot, self.judge_worker(context, slot, roster.get(slot)?)));
        let queues = roster.ready.serving(&terms.capabilities);
        // The first is nearly always the one, and finding it costs nothing but a look at each head.
        if let Some((slot, Ok(fit))) = queues.first().and_then(judge) {
            return Ok((slot, fit));
        }
        let mut too_short = None;
        for (slot, judged) in queues.candidates(LOOK_AHEAD).filter_map(judge) {
            match judged {
                Ok(fit) => return Ok((slot, fit)),
                Err(error @ AcquireError::TooShort { .. }) => too_short = Some(error),
                Err(_) => {}
            }
        }
        Err(too_short.unwrap_or(AcquireError::NoWorker))
    }
}
