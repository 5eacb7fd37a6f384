//! Decides which worker gets a lease, or why no worker does.

use alloc::{boxed::Box, sync::Arc};

use super::leasable::{Leasable, Unfit};

use crate::{
    code,
    fleet::{
        condition::LossReason,
        context::{Context, Draft, Steps, sealed::Decide},
        effect::Effect,
        event::FleetEvent,
        operation::{Acquire, Acquired},
        principal::Principal,
        rejection::{AcquireError, Shortage, WorkerError},
        runs::RunState,
        table::Act,
    },
    lease::{Fence, GrantError, LeaseFacts, WorkerLease},
    time::{Millis, Mono},
};

/// How many workers that can be leased, but not for as long as requested, one call looks at. Spans of the
/// queue in which no worker can be leased for that long are skipped, so a call reaches this number only if
/// the wall time has run ahead of the monotonic time.
const SEEN: u32 = 4096;

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
        let Attempt { number: attempt, not_on } = self.judge_run(context)?;
        let terms = self.request.terms();
        let mut steps = Steps::with_room(1);
        let span = self.span(context)?;
        let (slot, leasable) = match self.request.worker() {
            Some(worker) => {
                let slot = state.roster.by_id(worker).ok_or(WorkerError::Unknown)?;
                (slot, self.judge_named(context, slot, &span)?)
            }
            None => self.pick(context, &mut steps, &span, not_on)?,
        };
        let record = state.roster.get(slot).ok_or(WorkerError::Unknown)?;
        let horizon = span.most.min(leasable.until);
        let ttl = self.request.ttl().0.min(state.policy.lease.ttl_max_ms.0);
        let facts = LeaseFacts {
            fence: Fence::new(state.epoch, state.fence_counter.saturating_add(1)),
            worker: record.id.clone(),
            device: record.device.clone(),
            incarnation: state.roster.generation(slot),
            attempt,
            granted: now.mono,
            horizon,
            terms: Arc::clone(terms),
        };
        let lease = WorkerLease::new(facts, now.mono.plus(Millis(ttl)).min(horizon));
        let worker = state.handle(slot);
        steps.events.extend(leasable.kept.map(|kept| *kept));
        if !record.is_wanted() {
            steps.events.push(FleetEvent::ProbeBegan { slot });
        }
        steps.events.push(FleetEvent::LeaseGranted { slot, lease: lease.clone() });
        steps.effects.push(Effect::LeaseLive { lease: lease.clone() });
        steps.effects.push(Effect::Assign { worker, lease: lease.clone() });
        Ok(steps.with_answer(Acquired { worker, lease }))
    }
}

/// The next attempt of a run.
struct Attempt {
    /// Its number, from 1.
    number: u32,
    /// The slot of the worker that had the last attempt, if the policy prefers another one.
    not_on: Option<u32>,
}

/// How long the lease may and must last, whichever worker gets it.
struct Span {
    /// The instant that no renewal can pass.
    most: Mono,
    /// The instant until which the worker must be leasable.
    least: Mono,
    /// The time from now to `least`.
    wanted: Millis,
}

impl Acquire {
    /// Checks that the grant is for this fleet, in force, no longer-lived than the policy allows, and unspent
    /// (invariant 1).
    fn judge_grant(&self, context: &Context<'_>) -> Result<(), GrantError> {
        let (state, wall) = (context.state, context.now.wall);
        let grant = self.request.grant().terms();
        let lifetime = grant.expires.since(grant.issued);
        if grant.fleet != state.policy.fleet {
            return Err(GrantError::OtherFleet);
        }
        // A signed grant is good only while its key is trusted, however long ago it was opened.
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
        if state.grants.is_full(limit, state.bounds.forgotten(context.now.mono).0) {
            return Err(GrantError::TooMany);
        }
        Ok(())
    }

    /// Checks that the run may be leased now, and gives the number of the attempt.
    fn judge_run(&self, context: &Context<'_>) -> Result<Attempt, AcquireError> {
        let (state, now) = (context.state, context.now.mono);
        let forgotten = state.bounds.forgotten(now);
        let Some(record) = state.run(&self.request.terms().run) else {
            let limit = state.policy.limits.runs;
            let full = state.runs.is_full(usize::try_from(limit).unwrap_or(usize::MAX), forgotten);
            let next = state.runs.next_forgotten();
            let first = Attempt { number: 1, not_on: None };
            return if full { Err(AcquireError::RunsFull { limit, next }) } else { Ok(first) };
        };
        match record.state {
            RunState::Leased { slot, fence } => {
                let worker = state.roster.get(slot).ok_or(WorkerError::Unknown)?.id.clone();
                Err(AcquireError::RunLeased { worker, fence })
            }
            RunState::Ended { outcome, lost, .. } => Err(AcquireError::RunEnded { outcome, lost }),
            RunState::Held { until, .. } if now < state.run_free_at(record, until) => {
                Err(AcquireError::RunHeld { until: state.run_free_at(record, until) })
            }
            RunState::Held { reason, .. } => {
                if reason == Some(LossReason::Silent)
                    && let Some((silent, of, until)) = state.brake(now)
                {
                    return Err(AcquireError::Brake { silent, of, until });
                }
                let rules = &state.policy.runs;
                if record.counted(rules.max_spared, false) >= rules.max_attempts {
                    return Err(AcquireError::NoAttempts { attempts: record.attempts });
                }
                let not_on = record.last_on.filter(|_| rules.retry_elsewhere);
                Ok(Attempt { number: record.attempts.saturating_add(1), not_on })
            }
        }
    }

    /// The bounds of the lease's duration, by the policy, the grant and the request.
    fn span(&self, context: &Context<'_>) -> Result<Span, AcquireError> {
        let (rules, now) = (&context.state.policy.lease, context.now);
        let most = context.lease_bound(now.mono, self.request.grant().terms().expires);
        let wanted = self.request.at_least().max(rules.ttl_min_ms);
        let left = most.since(now.mono);
        if left < wanted || self.request.ttl() < rules.ttl_min_ms {
            return Err(AcquireError::TooShort { left: left.min(self.request.ttl().max(wanted)), wanted });
        }
        Ok(Span { most, least: now.mono.plus(wanted), wanted })
    }

    /// Checks the worker that the request names. The choice among all workers makes the same checks.
    fn judge_named(&self, context: &Context<'_>, slot: u32, span: &Span) -> Result<Leasable, AcquireError> {
        let state = context.state;
        let record = state.roster.get(slot).ok_or(WorkerError::Unknown)?;
        context.admit(Act::Acquire, record)?;
        if !record.is_wanted() && !self.request.is_probe() {
            let state = record.activity.kind().name();
            return Err(WorkerError::Condition { code: code::WORKER_SET_ASIDE, state }.into());
        }
        let able = state.roster.capabilities(slot);
        if !able.is_some_and(|able| self.request.terms().capabilities.is_subset_of(able)) {
            return Err(AcquireError::Capabilities);
        }
        let leasable = context.leasable(slot, record).map_err(|unfit| unfit.refusal(span.wanted))?;
        if leasable.until < span.least {
            let left = leasable.until.since(context.now.mono);
            return Err(AcquireError::TooShort { left, wanted: span.wanted });
        }
        Ok(leasable)
    }

    /// Picks the worker that has the capabilities, can be leased for as long as requested, and was used
    /// longest ago. Workers before it that cannot be leased at all leave the queue in the same record. The
    /// worker in `not_on` gets the lease only if no other worker can.
    ///
    /// Cost: O(classes / 64) if the first worker qualifies, which is the usual case. Otherwise each worker
    /// that cannot be leased counts against `limits.transitions_per_call`, and each one that cannot be leased
    /// for long enough counts against [`SEEN`].
    fn pick(
        &self,
        context: &Context<'_>,
        steps: &mut Steps,
        span: &Span,
        not_on: Option<u32>,
    ) -> Result<(u32, Leasable), AcquireError> {
        let state = context.state;
        let judge = |slot| Some((slot, state.roster.get(slot)?));
        let capabilities = &self.request.terms().capabilities;
        let queues = state.roster.ready.serving(capabilities);
        if let Some((slot, record)) = queues.first().filter(|slot| Some(*slot) != not_on).and_then(judge)
            && let Ok(leasable) = context.leasable(slot, record)
            && leasable.until >= span.least
        {
            return Ok((slot, leasable));
        }
        let mut judged = 0_u32;
        let mut seen = 0_u32;
        let mut longest = None;
        let mut last = None;
        // If the wall clock has lagged behind, evidence ends later than its instant in monotonic time, but
        // never sooner.
        let mut candidates = queues.candidates(span.least);
        while let Some((slot, record)) = candidates.next().and_then(judge) {
            match context.leasable(slot, record) {
                Ok(leasable) if leasable.until >= span.least && Some(slot) == not_on => {
                    last = Some((slot, leasable));
                }
                Ok(leasable) if leasable.until >= span.least => return Ok((slot, leasable)),
                Ok(leasable) => {
                    longest = longest.max(Some(leasable.until.since(context.now.mono)));
                    seen = seen.saturating_add(1);
                }
                Err(unfit) => {
                    if let Unfit::Short(left) = unfit {
                        longest = longest.max(Some(left));
                    }
                    context.take_out(steps, slot, record, &unfit);
                    judged = judged.saturating_add(1);
                }
            }
            if judged >= state.policy.limits.transitions_per_call || seen >= SEEN {
                if let Some(last) = last {
                    return Ok(last);
                }
                return Err(AcquireError::Sweeping { judged: judged.saturating_add(seen) });
            }
        }
        if let Some(last) = last {
            return Ok(last);
        }
        let skipped = candidates.skipped().map(|until| until.since(context.now.mono));
        match longest.max(skipped) {
            Some(left) => Err(AcquireError::TooShort { left, wanted: span.wanted }),
            None => Err(AcquireError::NoWorker(Box::new(Shortage {
                able: state.roster.ready.able(capabilities),
                nobody_has: state.roster.ready.nobody_has(capabilities).cloned(),
                counts: state.counts(),
            }))),
        }
    }
}
