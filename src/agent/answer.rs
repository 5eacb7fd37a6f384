//! What an answer, a refusal, or the coordinator's view of the worker leads to.

use super::{
    attesting::Step,
    endpoint::Agent,
    event::{AgentEvent, Asked, StopReason},
    job::{Owing, Stage, renewal_pause},
    pending::Pending,
};
use crate::{
    code::{self, Coded as _},
    fleet::{Attested, Debt, LeaseStage, Remaining, Verdict},
    lease::Fence,
    protocol::{
        ProtocolError,
        message::{Rhythm, Standing, Welcome, WireCode, WorkerAnswer, WorkerMessage},
        session::Session as _,
    },
    time::{Millis, Now},
};

impl Agent {
    pub(super) fn answered(
        &mut self,
        pending: &Pending,
        answer: WorkerAnswer,
        now: Now,
    ) -> Result<(), ProtocolError> {
        match (pending.asked, answer) {
            (Asked::Hello, WorkerAnswer::Welcome(welcome)) => self.welcomed(welcome, now),
            (Asked::Challenge, WorkerAnswer::Challenged { nonce, ttl }) => {
                self.attesting.step = Step::Making(now.mono.plus(ttl));
                self.link.event(AgentEvent::Challenged { nonce: nonce.0, ttl });
            }
            (Asked::Attest, WorkerAnswer::Attested(attested)) => self.attested(&attested, now),
            (Asked::Heartbeat, WorkerAnswer::Alive(standing)) => self.reconcile(&standing, now),
            (Asked::Fetch, WorkerAnswer::Fetching {}) => {}
            (Asked::Start | Asked::Renew, WorkerAnswer::Remaining(remaining)) => {
                self.may_run(pending, remaining, now);
            }
            (
                Asked::Complete | Asked::ReportCleanup | Asked::AcknowledgeRevocation,
                WorkerAnswer::Verdict(verdict),
            ) => self.judged(pending.asked, verdict, now),
            _ => return Err(ProtocolError::Order),
        }
        Ok(())
    }

    fn welcomed(&mut self, welcome: Welcome, now: Now) {
        if welcome.epoch < self.epoch {
            self.lose_link(code::COORDINATOR_LOWER_EPOCH);
            return;
        }
        if !self.believed(now) {
            return;
        }
        self.open = true;
        self.epoch = welcome.epoch;
        self.keep_to(welcome.rhythm, now);
        self.link.event(AgentEvent::Welcome { epoch: welcome.epoch, resumed: welcome.resumed });
        if !welcome.resumed {
            self.unbound(now);
            return;
        }
        // Whether the evidence is still good says the answer: evidence that lasts is not asked for again.
        self.heartbeat_at = Some(now.mono);
        self.aligned = true;
        self.resume_lease(welcome.held, now);
        self.ask_again();
    }

    /// The rhythm of the policy in force. What was to happen later by the former one happens no later than by this one.
    pub(super) fn keep_to(&mut self, rhythm: Rhythm, now: Now) {
        self.rhythm = rhythm;
        self.link.asked_every(rhythm.heartbeat_every);
        let latest = now.mono.plus(rhythm.heartbeat_every);
        self.heartbeat_at = self.heartbeat_at.map(|at| at.min(latest));
        if let Some(job) = &mut self.job
            && let Stage::Running { until, renew_at: Some(at) } = &mut job.stage
        {
            *at = (*at).min(now.mono.plus(renewal_pause(rhythm.renew_every, *until, now.mono)));
        }
    }

    /// This incarnation is over: whatever it held is lost, and the worker joins anew.
    fn unbound(&mut self, now: Now) {
        self.handle = None;
        self.heartbeat_at = None;
        self.waiting = None;
        self.requests.give_up(|_| true);
        self.lose_job();
        self.attesting.step = Step::Wanted(now.mono);
    }

    fn attested(&mut self, attested: &Attested, now: Now) {
        if !attested.failures.is_empty() {
            let failures = attested.failures.iter().filter_map(|text| WireCode::parse(text)).collect();
            self.link.event(AgentEvent::EvidenceRefused { failures });
            self.attesting.pause(now);
            return;
        }
        if self.handle != Some(attested.handle) {
            // Another incarnation, which inherits nothing.
            self.lose_job();
        }
        self.handle = Some(attested.handle);
        self.bound_epoch = self.epoch;
        self.attesting.accepted(attested.valid_until, self.share, now);
        self.link.event(AgentEvent::Bound { handle: attested.handle, state: attested.state });
        if attested.owes.is_some() {
            self.settle(attested.owes, now);
        }
        // Heard, it is ready for work.
        self.heartbeat_at = Some(now.mono);
    }

    /// Sets the agent right by how the coordinator sees the worker, whatever it has missed.
    fn reconcile(&mut self, standing: &Standing, now: Now) {
        let lost = self.job.as_ref().is_some_and(|job| {
            let asked = self.requests.is_waiting(Asked::Start) || self.requests.is_waiting(Asked::Complete);
            job.is_before_the_end() && !asked && standing.lease != Some(job.fence())
        });
        if lost {
            self.lose_job();
        }
        if standing.evidence_wanted {
            // Under another epoch everybody is asked within a moment: each brings it at a time of its own.
            let others = self.bound_epoch < self.epoch;
            let pause = if others { self.share.of(self.rhythm.heartbeat_every) } else { Millis::ZERO };
            self.bound_epoch = self.epoch;
            self.attesting.want_after(pause, now);
        }
        // Where the lease is not over for the coordinator yet, nothing is settled.
        if standing.lease.is_none() || self.owing.as_ref().map(|owing| owing.fence) != standing.lease {
            self.settle(standing.owes, now);
        }
    }

    /// What is owed for a lease that was lost, by the coordinator's own record.
    pub(super) fn settle(&mut self, owes: Option<Debt>, now: Now) {
        let Some(debt) = owes.filter(|debt| debt.cleanup) else {
            let settled = self.owing.take();
            if let Some(owing) = settled {
                self.link.event(AgentEvent::Done { fence: owing.fence });
                self.take_waiting(now);
            }
            return;
        };
        // A job that has not been stopped yet is cleaned up after it has been.
        if self.job.as_ref().is_some_and(|job| job.fence() == debt.fence) {
            self.lose_job();
            return;
        }
        let known = self.owing.take().filter(|owing| owing.fence == debt.fence);
        let mut owing = known.unwrap_or(Owing { fence: debt.fence, report: None, told: false });
        match (&owing.report, self.handle) {
            (Some(report), Some(worker)) if !self.requests.is_waiting(Asked::ReportCleanup) => {
                let report = report.clone();
                self.ask(WorkerMessage::ReportCleanup { worker, report }, now);
            }
            (None, _) if !owing.told => {
                owing.told = true;
                self.link.event(AgentEvent::CleanUp { fence: debt.fence, lease: debt.lease });
            }
            _ => {}
        }
        self.owing = Some(owing);
    }

    fn may_run(&mut self, pending: &Pending, remaining: Remaining, now: Now) {
        // Counted from when the request was sent, so the answer's own journey cannot make the lease longer.
        let until = pending.sent.plus(remaining.remaining).minus(self.rhythm.clock_budget);
        let rhythm = self.rhythm.renew_every;
        let Ok(job) = self.job_of(remaining.fence) else { return };
        let (event, until) = match &mut job.stage {
            Stage::Starting => (AgentEvent::Run { fence: remaining.fence, until }, until),
            Stage::Running { until: before, .. } => {
                // A renewal takes nothing away.
                let until = until.max(*before);
                (AgentEvent::Extended { fence: remaining.fence, until }, until)
            }
            _ => return,
        };
        if now.mono >= until {
            self.stop(remaining.fence, StopReason::Deadline);
            return;
        }
        job.stage =
            Stage::Running { until, renew_at: Some(now.mono.plus(renewal_pause(rhythm, until, now.mono))) };
        self.link.event(event);
    }

    fn judged(&mut self, asked: Asked, verdict: Verdict, now: Now) {
        let Some(job) = &self.job else {
            if let Some(owing) = &self.owing {
                let fence = owing.fence;
                self.link.event(AgentEvent::Verdict { fence, verdict });
                // Whether evidence is owed as well, the answer to a heartbeat says.
                self.heartbeat_at = Some(now.mono);
            }
            return;
        };
        let (fence, digest) = (job.fence(), job.lease.digest());
        self.link.event(AgentEvent::Verdict { fence, verdict });
        match verdict {
            Verdict::Clean => {
                self.job = None;
                self.link.event(AgentEvent::Done { fence });
                self.take_waiting(now);
            }
            Verdict::CleanupAwaited if asked == Asked::Complete => self.clean_up_now(fence, digest),
            _ => {
                self.job = None;
                self.owing = Some(Owing { fence, report: None, told: true });
                self.link.event(AgentEvent::CleanUp { fence, lease: digest });
            }
        }
        self.heartbeat_at = Some(now.mono);
    }

    pub(super) fn clean_up_now(&mut self, fence: Fence, lease: crate::digest::Sha256Digest) {
        if let Some(job) = &mut self.job {
            job.stage = Stage::Cleaning;
        }
        self.link.event(AgentEvent::CleanUp { fence, lease });
    }

    pub(super) fn refused(&mut self, asked: Asked, code: WireCode, now: Now) {
        self.link.event(AgentEvent::Refused { asked, code: code.clone() });
        let gone = [
            code::WORKER_STALE_HANDLE,
            code::WORKER_UNKNOWN,
            code::WORKER_OTHER_DEVICE,
            code::WORKER_RETIRED,
        ];
        if asked != Asked::Hello && gone.into_iter().any(|gone| code.is(gone)) {
            self.unbound(now);
            self.attesting.pause(now);
            return;
        }
        match asked {
            Asked::Hello => self.lose_link(code::CONNECTION_CLOSED),
            Asked::Challenge | Asked::Attest => self.attesting.pause(now),
            Asked::Heartbeat => {}
            Asked::Fetch | Asked::Start | Asked::Complete => self.lose_job(),
            Asked::Renew => self.not_renewed(&code, now),
            // The next answer to a heartbeat says what is really owed.
            Asked::ReportCleanup | Asked::AcknowledgeRevocation => self.lose_job(),
        }
    }

    fn not_renewed(&mut self, code: &WireCode, now: Now) {
        let Some(job) = &mut self.job else { return };
        let over = [code::LEASE_STALE_FENCE, code::LEASE_EXPIRED, code::LEASE_REVOKED, code::LEASE_NONE];
        if over.into_iter().any(|over| code.is(over)) {
            self.lose_job();
        } else if code.is(code::EVIDENCE_NOT_IN_FORCE) {
            self.attesting.want(now);
        } else if let Stage::Running { renew_at, .. } = &mut job.stage
            && (code.is(code::LEASE_HORIZON) || code.is(code::LEASE_CLEANING_UP))
        {
            // No more to be had: the run goes on until its deadline.
            *renew_at = None;
        }
    }

    /// What the coordinator says that this incarnation holds, beside what the agent has in hand.
    fn resume_lease(&mut self, held: Option<crate::protocol::message::HeldLeaseNotice>, now: Now) {
        let Some(job) = &mut self.job else {
            if let Some(held) = held {
                self.assigned(held, now);
            }
            return;
        };
        let fence = job.fence();
        let stage = held.as_ref().filter(|held| held.lease.fence == fence).map(|held| held.stage);
        let sent_something = !job.sent.is_empty();
        job.sent.clear();
        match (&job.stage, stage) {
            // A notice of the revocation follows.
            (_, Some(LeaseStage::Revoking)) => {}
            (Stage::Finishing, Some(LeaseStage::CleaningUp)) => {
                let digest = job.lease.digest();
                self.requests.give_up(|asked| asked == Asked::Complete);
                self.link.event(AgentEvent::Verdict { fence, verdict: Verdict::CleanupAwaited });
                self.clean_up_now(fence, digest);
            }
            (Stage::Finishing, Some(_)) if sent_something => {
                self.link.event(AgentEvent::UploadAgain { fence })
            }
            (Stage::Finishing, Some(_)) => self.complete_again(),
            (Stage::Running { .. }, Some(_)) if sent_something => {
                self.link.event(AgentEvent::UploadAgain { fence });
            }
            (Stage::Fetching, Some(_)) => self.fetch(now),
            (_, Some(_)) => {}
            // An answer that is still to come says what became of it.
            (Stage::Starting | Stage::Reporting | Stage::Acknowledging, None) => {}
            (_, None) => self.lose_job(),
        }
        if let Some(held) = held.filter(|held| held.lease.fence > fence) {
            self.assigned(held, now);
        }
    }

    fn complete_again(&mut self) {
        for (sequence, message) in self.requests.again() {
            if matches!(message, WorkerMessage::Complete { .. }) {
                let request = crate::protocol::message::WorkerRequest { sequence, message };
                if let Err(error) = self.link.send(&request) {
                    self.lose_link(error.code());
                }
            }
        }
    }
}
