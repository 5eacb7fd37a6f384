//! The agent: what goes in, what comes out, and what happens when time passes.

use super::{
    attesting::{Attesting, Share, Step},
    config::AgentConfig,
    event::{AgentAct, AgentEvent, Asked, StopReason},
    job::{Job, Owing, Stage, renewal_pause},
    pending::Requests,
};
use crate::{
    code::{self, Code, Coded as _},
    fleet::WorkerHandle,
    identity::TrustAnchors,
    lease::{Epoch, Fence, WorkerLease},
    protocol::{
        ProtocolError,
        chunk::Chunk,
        endpoint::{Endpoint, EndpointError, Input, Output},
        frame::{Frame, FrameKind},
        link::Link,
        message::{
            CoordinatorMessage, Document as _, HeldLeaseNotice, Rhythm, WireBytes, WorkerMessage,
            WorkerRequest,
        },
        session::Session,
        trust::{Trust, TrustEvent},
    },
    time::{Millis, Mono, Now},
};

/// The worker's endpoint. See the module page for what it promises.
#[derive(Debug)]
pub struct Agent {
    pub(super) config: AgentConfig,
    pub(super) link: Link<AgentEvent>,
    trust: Trust,
    /// Whether the coordinator has answered the greeting of this connection.
    pub(super) open: bool,
    pub(super) epoch: Epoch,
    pub(super) rhythm: Rhythm,
    pub(super) requests: Requests,
    pub(super) handle: Option<WorkerHandle>,
    /// The epoch under which the evidence was accepted.
    pub(super) bound_epoch: Epoch,
    pub(super) attesting: Attesting,
    pub(super) heartbeat_at: Option<Mono>,
    /// Where in a span of time this worker does what all do in it.
    pub(super) share: Share,
    /// The session has just opened, perhaps with everybody else's.
    pub(super) aligned: bool,
    pub(super) job: Option<Job>,
    /// A lease that came before the one in hand was done with.
    pub(super) waiting: Option<HeldLeaseNotice>,
    pub(super) owing: Option<Owing>,
}

impl Agent {
    /// An agent without a connection.
    pub fn new(mut config: AgentConfig) -> Self {
        let rhythm = Rhythm {
            heartbeat_every: Millis::from_secs(5),
            renew_every: Millis::from_secs(20),
            clock_budget: Millis::from_secs(2),
            start_within: Millis::from_secs(10),
        };
        Self {
            link: Link::new(config.patience),
            trust: Trust::new(core::mem::take(&mut config.anchors)),
            open: false,
            epoch: config.epoch,
            rhythm,
            requests: Requests::new(config.first_sequence),
            handle: None,
            bound_epoch: Epoch(0),
            attesting: Attesting::new(),
            heartbeat_at: None,
            share: Share::of_worker(&config.worker),
            aligned: false,
            job: None,
            waiting: None,
            owing: None,
            config,
        }
    }

    /// The lease in hand. A copy: the coordinator's own record of it decides.
    pub fn lease(&self) -> Option<&WorkerLease> {
        self.job.as_ref().map(|job| &*job.lease)
    }

    /// Until when the run of the lease in hand may go on; `None` where nothing may run.
    pub fn may_run_until(&self) -> Option<Mono> {
        match self.job.as_ref()?.stage {
            Stage::Running { until, .. } => Some(until),
            _ => None,
        }
    }

    /// The incarnation of this worker, once it is bound.
    pub const fn incarnation(&self) -> Option<WorkerHandle> {
        self.handle
    }

    /// The highest epoch that was seen.
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The certificates of the coordinator that are accepted.
    pub const fn anchors(&self) -> &TrustAnchors {
        self.trust.anchors()
    }

    /// Sends a request, or keeps it for the next connection where it is a command.
    pub(super) fn ask(&mut self, message: WorkerMessage, now: Now) {
        let sequence = self.requests.add(&message, now.mono);
        self.send(sequence, message);
    }

    fn send(&mut self, sequence: u64, message: WorkerMessage) {
        if !self.link.is_up() || !(self.open || matches!(message, WorkerMessage::Hello { .. })) {
            return;
        }
        if let Err(error) = self.link.send(&WorkerRequest { sequence, message }) {
            self.lose_link(error.code());
        }
    }

    /// Sends again what a lost connection may have swallowed. A completion is not: what it speaks of has to be sent
    /// before it.
    pub(super) fn ask_again(&mut self) {
        for (sequence, message) in self.requests.again() {
            if !matches!(message, WorkerMessage::Complete { .. }) {
                self.send(sequence, message);
            }
        }
    }

    fn hear(&mut self, message: CoordinatorMessage, now: Now) -> Result<(), ProtocolError> {
        match message {
            CoordinatorMessage::Answer { sequence, answer } => match self.requests.answered(sequence)? {
                Some(pending) => self.answered(&pending, answer, now),
                None => Ok(()),
            },
            CoordinatorMessage::Refused { sequence, refusal } => {
                if let Some(pending) = self.requests.answered(sequence)? {
                    self.refused(pending.asked, refusal.code, now);
                }
                Ok(())
            }
            _ if !self.open => Err(ProtocolError::Order),
            CoordinatorMessage::Assign { held } => {
                self.assigned(held, now);
                Ok(())
            }
            CoordinatorMessage::Revoke { fence, reason } => {
                self.revoked(fence, reason);
                Ok(())
            }
            CoordinatorMessage::Anchors(notice) => {
                self.told(&notice, now);
                Ok(())
            }
            CoordinatorMessage::Rhythm(rhythm) => {
                self.keep_to(rhythm, now);
                Ok(())
            }
        }
    }

    /// The job, where it is the one under `fence`.
    pub(super) fn job_of(&mut self, fence: Fence) -> Result<&mut Job, EndpointError> {
        let job = self.job.as_mut().filter(|job| job.fence() == fence);
        job.ok_or(EndpointError::NotNow("another lease, or none, is in hand"))
    }

    /// When the next heartbeat is due. One at a time: the next waits for the answer.
    fn heartbeat_due(&self) -> Option<Mono> {
        self.heartbeat_at.filter(|_| self.handle.is_some() && !self.requests.is_waiting(Asked::Heartbeat))
    }

    /// What a lease does by itself when time passes. The deadline needs no connection.
    fn tick_job(&mut self, now: Now) {
        let can_renew = self.can_renew();
        let Some(job) = &mut self.job else { return };
        let fence = job.fence();
        match &mut job.stage {
            Stage::Running { until, .. } if now.mono >= *until => self.stop(fence, StopReason::Deadline),
            Stage::Fetching | Stage::Ready if now.mono >= job.start_by => {
                self.stop(fence, StopReason::Deadline)
            }
            // Without a connection it stays due: the first thing that the next connection is used for.
            Stage::Running { until, renew_at: Some(at) } if now.mono >= *at && can_renew => {
                *at = now.mono.plus(renewal_pause(self.rhythm.renew_every, *until, now.mono));
                let worker = job.handle;
                self.ask(WorkerMessage::Renew { worker, fence }, now);
            }
            _ => {}
        }
    }

    /// One renewal at a time, and only where there is somebody to ask.
    fn can_renew(&self) -> bool {
        self.open && !self.requests.is_waiting(Asked::Renew)
    }
}

impl Session for Agent {
    type Act = AgentAct;
    type Event = AgentEvent;

    fn parts(&mut self) -> (&mut Link<AgentEvent>, &mut Trust) {
        (&mut self.link, &mut self.trust)
    }

    fn greet(&mut self, now: Now) {
        let worker = self.config.worker.clone();
        self.ask(WorkerMessage::Hello { worker, resume: self.handle, epoch: self.epoch }, now);
    }

    fn frame(&mut self, frame: Frame, now: Now) -> Result<(), ProtocolError> {
        match frame.kind {
            FrameKind::Coordinator => self.hear(CoordinatorMessage::read(&frame.body)?, now),
            FrameKind::Chunk if self.open => self.take_input(Chunk::decode(&frame.body)?),
            FrameKind::Chunk => Err(ProtocolError::Order),
            _ => Err(ProtocolError::Direction),
        }
    }

    fn act(&mut self, act: AgentAct, now: Now) -> Result<(), EndpointError> {
        match act {
            AgentAct::Evidence { nonce, form, evidence, attachments } => {
                if !matches!(self.attesting.step, Step::Making(_)) {
                    return Err(EndpointError::NotNow("no evidence is wanted"));
                }
                self.attesting.step = Step::Presenting;
                let (nonce, evidence) = (WireBytes(nonce), WireBytes(evidence));
                let attachments = attachments.into_iter().map(WireBytes).collect();
                let resume = self.handle;
                self.ask(WorkerMessage::Attest { nonce, form, evidence, attachments, resume }, now);
                Ok(())
            }
            AgentAct::Start { fence } => self.start(fence, now),
            AgentAct::Output { fence, path, content } => self.output(fence, path, &content),
            AgentAct::Log { fence, content } => self.log(fence, &content),
            AgentAct::Finished { fence, outcome, claim } => self.finished(fence, outcome, claim, now),
            AgentAct::Stopped { fence, cleanup } => self.stopped(fence, cleanup, now),
            AgentAct::Cleaned { report } => self.cleaned(report, now),
        }
    }

    fn tick(&mut self, now: Now) {
        self.tick_job(now);
        self.attesting.tick(now);
        self.watch(now);
        if self.requests.are_too_many() {
            self.lose_link(code::COORDINATOR_SILENT);
        }
        if !self.open {
            return;
        }
        if self.attesting.is_due(now) {
            self.attesting.step = Step::Challenging;
            self.ask(WorkerMessage::Challenge {}, now);
        }
        if let Some(worker) = self.handle
            && self.heartbeat_due().is_some_and(|at| now.mono >= at)
        {
            let every = self.rhythm.heartbeat_every;
            // Whoever lost the same coordinator comes back at the same time: the heartbeats are spread again.
            let early = if core::mem::take(&mut self.aligned) {
                self.share.of(Millis(every.0 / 2))
            } else {
                Millis::ZERO
            };
            self.heartbeat_at = Some(now.mono.plus(every).minus(early));
            self.ask(WorkerMessage::Heartbeat { worker }, now);
        }
    }

    fn link_lost(&mut self, why: Code) {
        self.attesting.disconnected(self.link.last());
        self.open = false;
        self.heartbeat_at = None;
        self.requests.disconnected();
        self.link.event(AgentEvent::LinkLost { why });
    }

    fn of_trust(event: TrustEvent) -> AgentEvent {
        match event {
            TrustEvent::Changed(anchors) => AgentEvent::AnchorsChanged { anchors },
            TrustEvent::Refused(code) => AgentEvent::AnnouncementRefused { code },
        }
    }
}

impl Endpoint for Agent {
    type Act = AgentAct;
    type Event = AgentEvent;

    fn handle(&mut self, input: Input<'_, AgentAct>, now: Now) -> Result<(), EndpointError> {
        self.take(input, now)
    }

    fn poll(&mut self) -> Output<AgentEvent> {
        self.link.poll(self.next_deadline())
    }

    fn next_deadline(&self) -> Option<Mono> {
        let job = self.job.as_ref().and_then(|job| job.deadline(self.can_renew()));
        if !self.link.is_up() {
            return job;
        }
        let silent = Some(self.link.silent_at());
        let (attesting, heartbeat) =
            if self.open { (self.attesting.deadline(), self.heartbeat_due()) } else { (None, None) };
        [job, silent, self.link.frame_deadline(), attesting, heartbeat].into_iter().flatten().min()
    }
}
