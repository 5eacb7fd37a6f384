//! The acts of one lease, from its assignment to its end.

use super::{
    endpoint::Agent,
    event::{AgentEvent, Asked, StopReason},
    job::{Job, Owing, Stage},
};
use crate::{
    code::Coded as _,
    fleet::{LeaseStage, LossReason, RunOutcome},
    lease::{Fence, OutputClaim, RelativePath, WorkerCleanupReport},
    protocol::{
        ProtocolError,
        chunk::{Chunk, MAX_CHUNK_BYTES, Stream},
        endpoint::EndpointError,
        frame::{FrameKind, HEADER_BYTES},
        message::{HeldLeaseNotice, WorkerMessage},
        session::Session as _,
    },
    time::Now,
};

impl Agent {
    /// The coordinator says that this worker has a lease.
    pub(super) fn assigned(&mut self, held: HeldLeaseNotice, now: Now) {
        let Some(handle) = self.handle else { return };
        if let Some(job) = &self.job {
            let (fence, given) = (job.fence(), held.lease.fence);
            if given > fence {
                // The coordinator would not give another one if this one were not over.
                self.waiting = Some(held);
                if self.job.as_ref().is_some_and(Job::is_before_the_end) {
                    self.lose_job();
                }
            }
            return;
        }
        if self.owing.as_ref().is_some_and(|owing| owing.fence == held.lease.fence) {
            return;
        }
        let fence = held.lease.fence;
        let start_by = now.mono.plus(self.rhythm.start_within);
        let has_inputs = !held.lease.terms.artifacts.inputs.entries().is_empty();
        let job = Job::new(held.lease, handle, start_by);
        self.link.event(AgentEvent::Assigned { lease: job.lease.clone() });
        self.job = Some(job);
        match held.stage {
            LeaseStage::Assigned if has_inputs => self.fetch(now),
            LeaseStage::Assigned => self.ready(fence),
            // A notice of the revocation follows.
            LeaseStage::Revoking => {}
            // A run that this agent knows nothing of cannot go on.
            _ => self.lose_job(),
        }
    }

    /// Takes up the lease that came while another one was in hand.
    pub(super) fn take_waiting(&mut self, now: Now) {
        if self.job.is_none()
            && let Some(held) = self.waiting.take()
        {
            self.assigned(held, now);
        }
    }

    /// Asks for the inputs, from their beginning.
    pub(super) fn fetch(&mut self, now: Now) {
        if let Some(job) = &mut self.job {
            job.inputs = super::inputs::Inputs::new(&job.lease.terms.artifacts.inputs);
            let fence = job.fence();
            self.ask(WorkerMessage::Fetch { fence }, now);
        }
    }

    fn ready(&mut self, fence: Fence) {
        if let Some(job) = &mut self.job {
            job.stage = Stage::Ready;
            self.link.event(AgentEvent::Ready { fence });
        }
    }

    /// A piece of an input.
    pub(super) fn take_input(&mut self, chunk: Chunk) -> Result<(), ProtocolError> {
        let Stream::Input(path) = chunk.stream else { return Err(ProtocolError::Direction) };
        let fence = chunk.fence;
        // What is on its way for a lease that is over has nowhere to go.
        let Some(job) = self.job.as_mut().filter(|job| job.fence() == fence) else { return Ok(()) };
        if !matches!(job.stage, Stage::Fetching) {
            return Ok(());
        }
        let taken = job.inputs.take(&path, chunk.offset, &chunk.content);
        match taken.and_then(|()| job.inputs.are_complete()) {
            Ok(complete) => {
                let (offset, content) = (chunk.offset, chunk.content);
                self.link.event(AgentEvent::Input { fence, path, offset, content });
                if complete {
                    self.ready(fence);
                }
            }
            Err(code) => {
                self.link.event(AgentEvent::InputsRefused { fence, code });
                self.lose_job();
            }
        }
        Ok(())
    }

    pub(super) fn start(&mut self, fence: Fence, now: Now) -> Result<(), EndpointError> {
        let job = self.job_of(fence)?;
        if !matches!(job.stage, Stage::Ready) {
            return Err(EndpointError::NotNow("a run starts once, when its inputs are there"));
        }
        job.stage = Stage::Starting;
        let worker = job.handle;
        self.ask(WorkerMessage::Start { worker, fence }, now);
        Ok(())
    }

    pub(super) fn output(
        &mut self,
        fence: Fence,
        path: RelativePath,
        content: &[u8],
    ) -> Result<(), EndpointError> {
        self.upload(fence, Stream::Output(path), content)
    }

    pub(super) fn log(&mut self, fence: Fence, content: &[u8]) -> Result<(), EndpointError> {
        self.upload(fence, Stream::Log, content)
    }

    fn upload(&mut self, fence: Fence, stream: Stream, content: &[u8]) -> Result<(), EndpointError> {
        let room = self.link.has_room(MAX_CHUNK_BYTES.saturating_mul(2).saturating_add(HEADER_BYTES));
        let (up, open) = (self.link.is_up(), self.open);
        let job = self.job_of(fence)?;
        if !matches!(job.stage, Stage::Running { .. } | Stage::Finishing) {
            return Err(EndpointError::NotNow("outputs come from a run"));
        }
        if !room {
            return Err(EndpointError::Full);
        }
        let limit = job.limit(&stream);
        if job.sent_like(&stream).saturating_add(content.len() as u64) > limit {
            return Err(EndpointError::OverLimit { limit });
        }
        let at = job.sent.entry(stream.clone()).or_default();
        let chunk = Chunk::new(fence, stream, *at, content)
            .map_err(|_| EndpointError::NotNow("a piece has at most MAX_CHUNK_BYTES"))?;
        *at = at.saturating_add(content.len() as u64);
        // Without a connection it is given again later, and `sent` says that there is something to give.
        if up
            && open
            && let Err(error) = self.link.send_frame(FrameKind::Chunk, &chunk.encode())
        {
            self.lose_link(error.code());
        }
        Ok(())
    }

    pub(super) fn finished(
        &mut self,
        fence: Fence,
        outcome: RunOutcome,
        claim: OutputClaim,
        now: Now,
    ) -> Result<(), EndpointError> {
        let job = self.job_of(fence)?;
        let worker = job.handle;
        let message = WorkerMessage::Complete { worker, fence, outcome, claim, cleanup: None };
        match job.stage {
            Stage::Running { .. } => {
                job.stage = Stage::Finishing;
                self.ask(message, now);
            }
            // Said again, after everything was sent again: the same request under the same number.
            Stage::Finishing => {
                let again = self.requests.again();
                let Some((sequence, _)) = again.into_iter().find(|(_, waiting)| *waiting == message) else {
                    return Err(EndpointError::NotNow("a run ends once, in one way"));
                };
                self.send_again(sequence, message);
            }
            _ => return Err(EndpointError::NotNow("only a run can be finished")),
        }
        Ok(())
    }

    fn send_again(&mut self, sequence: u64, message: WorkerMessage) {
        let request = crate::protocol::message::WorkerRequest { sequence, message };
        if self.open
            && let Err(error) = self.link.send(&request)
        {
            self.lose_link(error.code());
        }
    }

    /// Tells the worker to stop.
    pub(super) fn stop(&mut self, fence: Fence, reason: StopReason) {
        let Some(job) = &mut self.job else { return };
        let revoked = match reason {
            StopReason::Revoked(reason) => Some(reason),
            StopReason::Deadline | StopReason::Lost => None,
        };
        job.stage = Stage::Stopping { revoked };
        self.requests
            .give_up(|asked| matches!(asked, Asked::Start | Asked::Renew | Asked::Complete | Asked::Fetch));
        self.link.event(AgentEvent::Stop { fence, reason });
    }

    /// The lease in hand is over. What runs is stopped; what does not run any more is only cleaned up after.
    pub(super) fn lose_job(&mut self) {
        let Some(job) = &self.job else { return };
        let (fence, digest) = (job.fence(), job.lease.digest());
        match job.stage {
            Stage::Stopping { revoked: None } => {}
            // It was told to stop already; there is nothing to acknowledge any more.
            Stage::Stopping { revoked: Some(_) } => {
                if let Some(job) = &mut self.job {
                    job.stage = Stage::Stopping { revoked: None };
                }
            }
            Stage::Cleaning => self.owe(Owing { fence, report: None, told: true }),
            Stage::Finishing | Stage::Reporting | Stage::Acknowledging => {
                self.requests.give_up(|asked| {
                    matches!(asked, Asked::Complete | Asked::ReportCleanup | Asked::AcknowledgeRevocation)
                });
                self.owe(Owing { fence, report: None, told: true });
                self.link.event(AgentEvent::CleanUp { fence, lease: digest });
            }
            _ => self.stop(fence, StopReason::Lost),
        }
    }

    /// The job has become a debt.
    fn owe(&mut self, owing: Owing) {
        self.job = None;
        self.owing = Some(owing);
        self.heartbeat_at = self.heartbeat_at.map(|_| self.link.last());
    }

    pub(super) fn revoked(&mut self, fence: Fence, reason: LossReason) {
        let Some(job) = self.job.as_ref().filter(|job| job.fence() == fence) else { return };
        match job.stage {
            Stage::Cleaning | Stage::Reporting | Stage::Acknowledging => {}
            // Told to stop by its own deadline before: then it is acknowledged when it has.
            Stage::Stopping { .. } => {
                if let Some(job) = &mut self.job {
                    job.stage = Stage::Stopping { revoked: Some(reason) };
                }
            }
            _ => self.stop(fence, StopReason::Revoked(reason)),
        }
    }

    pub(super) fn stopped(
        &mut self,
        fence: Fence,
        cleanup: Option<WorkerCleanupReport>,
        now: Now,
    ) -> Result<(), EndpointError> {
        let job = self.job_of(fence)?;
        let (worker, digest) = (job.handle, job.lease.digest());
        match job.stage {
            Stage::Stopping { revoked: Some(_) } => {
                job.stage = Stage::Acknowledging;
                self.ask(WorkerMessage::AcknowledgeRevocation { worker, fence, cleanup }, now);
            }
            Stage::Acknowledging | Stage::Reporting | Stage::Cleaning => {
                return Err(EndpointError::NotNow("it has stopped already"));
            }
            _ => {
                let told = cleanup.is_none();
                self.requests.give_up(|asked| matches!(asked, Asked::Start | Asked::Renew | Asked::Complete));
                self.owe(Owing { fence, report: cleanup, told });
                if told {
                    self.link.event(AgentEvent::CleanUp { fence, lease: digest });
                }
            }
        }
        Ok(())
    }

    pub(super) fn cleaned(&mut self, report: WorkerCleanupReport, now: Now) -> Result<(), EndpointError> {
        if let Some(owing) = self.owing.as_mut().filter(|owing| owing.fence == report.fence) {
            owing.report = Some(report);
            // The answer says whether it is awaited yet.
            self.heartbeat_at = self.heartbeat_at.map(|_| now.mono);
            return Ok(());
        }
        let job = self.job_of(report.fence)?;
        if !matches!(job.stage, Stage::Cleaning) {
            return Err(EndpointError::NotNow("no cleanup is awaited"));
        }
        job.stage = Stage::Reporting;
        let worker = job.handle;
        self.ask(WorkerMessage::ReportCleanup { worker, report }, now);
        Ok(())
    }
}
