//! What workers ask, and what they send.

use alloc::{boxed::Box, string::ToString};

use super::{
    io::{ConnectionId, CoordinatorEvent, CoordinatorOutput},
    parts::Coordinator,
    replies::{Pending, To},
    report::Report,
    upload::Upload,
};
use crate::{
    code::{self, Code, Coded},
    fleet::{
        Attest, Challenge, CommandError, CommandId, Complete, Decide, Displaced, LossReason, Operation,
        Renew, Start, Ticket, WorkerHandle,
    },
    id::{DeviceId, WorkerId},
    lease::{ArtifactReceiver, Epoch, Fence},
    protocol::{
        ProtocolError,
        chunk::{Chunk, Stream},
        message::{HeldLeaseNotice, Standing, Welcome, WorkerMessage, WorkerRequest},
    },
    time::Now,
};

impl Coordinator {
    pub(super) fn worker_request(
        &mut self,
        id: ConnectionId,
        request: WorkerRequest,
        now: Now,
    ) -> Result<(), ProtocolError> {
        let Some(peer) = self.connections.device_mut(id) else { return Ok(()) };
        if peer.greeted == matches!(request.message, WorkerMessage::Hello { .. }) {
            return Err(ProtocolError::Order);
        }
        peer.greeted = true;
        if !self.count_request(id) {
            return Ok(());
        }
        let to = To { connection: id, sequence: request.sequence };
        if let WorkerMessage::Start { worker, .. }
        | WorkerMessage::Renew { worker, .. }
        | WorkerMessage::Complete { worker, .. }
        | WorkerMessage::ReportCleanup { worker, .. }
        | WorkerMessage::AcknowledgeRevocation { worker, .. } = &request.message
        {
            self.heard(to, *worker, now);
        }
        match request.message {
            WorkerMessage::Hello { worker, resume, epoch } => self.hello(to, &worker, resume, epoch, now),
            WorkerMessage::Challenge {} => {
                if self.admit(to, "challenge", now) {
                    self.submit(to, &Challenge {}, false, Pending::Challenged, now);
                }
            }
            WorkerMessage::Attest { nonce, form, evidence, attachments, resume } => {
                if self.admit(to, "attest", now) {
                    let attachments = attachments.into_iter().map(|envelope| envelope.0).collect();
                    let attest = Attest { nonce: nonce.0, form, evidence: evidence.0, attachments, resume };
                    self.submit(to, &attest, true, Pending::Attested, now);
                }
            }
            WorkerMessage::Heartbeat { worker } => self.heartbeat(to, worker, now),
            WorkerMessage::Fetch { fence } => self.fetch(to, fence),
            WorkerMessage::Start { worker, fence } => {
                self.submit(to, &Start { worker, fence }, true, Pending::Remaining, now);
            }
            // Renewing twice does what renewing once does: it needs no memory.
            WorkerMessage::Renew { worker, fence } => {
                self.submit(to, &Renew { worker, fence }, false, Pending::Remaining, now);
            }
            WorkerMessage::Complete { worker, fence, outcome, claim, cleanup } => {
                let upload = self.connections.device(id).and_then(|peer| peer.upload.as_ref());
                let upload = upload.filter(|upload| upload.fence == fence);
                let received = match upload {
                    Some(upload) => upload.received(),
                    None => ArtifactReceiver::new(0).finish().ok(),
                };
                let Some(received) = received else {
                    self.refuse(to, "complete", code::ARTIFACT_MISMATCH, &"what arrived is no manifest");
                    return Ok(());
                };
                let mut complete = Complete::new(worker, fence, outcome, claim, received);
                complete.cleanup = cleanup;
                self.report(to, Report::Complete(Box::new(complete)), now);
            }
            WorkerMessage::ReportCleanup { worker, report } => {
                self.report(to, Report::Cleanup { worker, report }, now);
            }
            WorkerMessage::AcknowledgeRevocation { worker, fence, cleanup } => {
                self.report(to, Report::Acknowledge { worker, fence, cleanup }, now);
            }
        }
        Ok(())
    }

    /// Counts a challenge or an attestation against the device's allowance.
    fn admit(&mut self, to: To, asked: &'static str, now: Now) -> bool {
        let Some(peer) = self.connections.device(to.connection) else { return false };
        let device = peer.device.clone();
        match self.manager.admit(&device, now) {
            Ok(()) => true,
            Err(error) => {
                self.refuse(to, asked, error.code(), &error);
                false
            }
        }
    }

    /// Decides and accepts an operation of a device; its answer, or its refusal, waits for the journal.
    pub(super) fn submit<O: Decide>(
        &mut self,
        to: To,
        operation: &O,
        command: bool,
        pending: fn(To, Ticket<O::Answer>) -> Pending,
        now: Now,
    ) where
        O::Error: From<CommandError>,
    {
        let Some(peer) = self.connections.device(to.connection) else { return };
        let principal = peer.principal();
        let command = command.then(|| CommandId { client: peer.client.clone(), sequence: to.sequence });
        let name = name_of::<O>();
        match self.manager.decide(operation, &principal, command.as_ref(), now) {
            Ok(prepared) => match self.manager.accept(prepared) {
                Ok(ticket) => self.pending.push_back(pending(to, ticket)),
                Err(error) => self.refuse(to, name, error.code(), &error),
            },
            Err(error) => self.refuse(to, name, error.code(), &error),
        }
    }

    /// Refuses a request: the code to the peer, the facts to the log.
    pub(super) fn refuse(&mut self, to: To, asked: &'static str, code: Code, facts: &dyn ToString) {
        let index = self.manager.state().index();
        self.pending.push_back(Pending::Refused(to, index, code));
        if let Some(peer) = self.connections.device(to.connection) {
            let device = peer.device.clone();
            self.event(CoordinatorEvent::Refused { device, asked, code, facts: facts.to_string() });
        }
    }

    fn hello(&mut self, to: To, worker: &WorkerId, resume: Option<WorkerHandle>, seen: Epoch, now: Now) {
        let state = self.manager.state();
        let epoch = state.epoch();
        if seen > epoch {
            self.event(CoordinatorEvent::Deposed { seen });
            self.close(to.connection, code::COORDINATOR_LOWER_EPOCH);
            return;
        }
        let rhythm = self.rhythm();
        let Some(peer) = self.connections.device_mut(to.connection) else { return };
        peer.rhythm = Some(rhythm);
        let state = self.manager.state();
        let view = state.worker_of(&peer.device);
        let view = view.filter(|view| view.id == worker && Some(view.handle) == resume);
        let held = view
            .as_ref()
            .and_then(|view| Some(HeldLeaseNotice { lease: view.lease?.clone(), stage: view.stage? }));
        let fleet = state.policy().fleet.clone();
        let welcome = Welcome { fleet, epoch, rhythm, resumed: view.is_some(), held };
        let resumed = welcome.resumed;
        self.pending.push_back(Pending::Welcome(to, state.index(), Box::new(welcome)));
        if let Some(handle) = resume.filter(|_| !resumed) {
            self.displaced(to, worker, handle, now);
        }
    }

    /// An incarnation that does not go on came back. Where another took its place, and the policy asks, that is noticed.
    fn displaced(&mut self, to: To, worker: &WorkerId, former: WorkerHandle, now: Now) {
        let state = self.manager.state();
        let Some(peer) = self.connections.device(to.connection) else { return };
        let present = state.worker_of(&peer.device).filter(|view| view.id == worker).map(|view| view.handle);
        let displaced = present
            .is_some_and(|present| present.slot == former.slot && former.generation < present.generation);
        if !displaced || state.policy().workers.latch_displaced_after == 0 {
            return;
        }
        let principal = peer.principal();
        let displaced = Displaced { worker: former };
        match self.manager.decide(&displaced, &principal, None, now) {
            Ok(prepared) => match self.manager.accept(prepared) {
                Ok(ticket) => self.pending.push_back(Pending::Heard(ticket)),
                Err(error) => self.refuse(to, "displaced", error.code(), &error),
            },
            Err(error) => self.refuse(to, "displaced", error.code(), &error),
        }
    }

    /// Who asks under a lease is there, also where what it asks is refused.
    fn heard(&mut self, to: To, worker: WorkerHandle, now: Now) {
        let Some(peer) = self.connections.device(to.connection) else { return };
        let principal = peer.principal();
        if let Ok(Some(prepared)) = self.manager.heartbeat(worker, &principal, now)
            && let Ok(ticket) = self.manager.accept(prepared)
        {
            self.pending.push_back(Pending::Heard(ticket));
        }
    }

    fn heartbeat(&mut self, to: To, worker: WorkerHandle, now: Now) {
        let Some(peer) = self.connections.device(to.connection) else { return };
        let (principal, device) = (peer.principal(), peer.device.clone());
        match self.manager.heartbeat(worker, &principal, now) {
            Ok(None) => {}
            Ok(Some(prepared)) => match self.manager.accept(prepared) {
                Ok(ticket) => self.pending.push_back(Pending::Heard(ticket)),
                Err(error) => return self.refuse(to, "heartbeat", error.code(), &error),
            },
            Err(error) => return self.refuse(to, "heartbeat", error.code(), &error),
        }
        match self.standing(&device, now) {
            Some(standing) => {
                let index = self.manager.state().index();
                self.pending.push_back(Pending::Alive(to, index, standing));
            }
            None => self.refuse(to, "heartbeat", code::WORKER_UNKNOWN, &"no worker of this device"),
        }
    }

    /// How the fleet sees the worker of `device`.
    fn standing(&self, device: &DeviceId, now: Now) -> Option<Standing> {
        let state = self.manager.state();
        let view = state.worker_of(device)?;
        Some(Standing {
            state: view.state,
            lease: view.lease.map(|lease| lease.fence),
            owes: view.owes,
            evidence_wanted: state.wants_evidence(device, now),
        })
    }

    /// The lease of `device` that was taken back and is not acknowledged, and why.
    pub(super) fn revocation_of(&self, device: &DeviceId) -> Option<(Fence, LossReason)> {
        self.manager.state().revocation_of(device)
    }

    fn fetch(&mut self, to: To, fence: Fence) {
        let Some(peer) = self.connections.device(to.connection) else { return };
        let state = self.manager.state();
        let view = state.worker_of(&peer.device);
        if view.and_then(|view| view.lease).is_some_and(|lease| lease.fence == fence) {
            self.pending.push_back(Pending::Fetching(to, state.index(), fence));
        } else {
            self.refuse(to, "fetch", code::LEASE_STALE_FENCE, &"the fence is not that of the lease");
        }
    }

    /// A piece of an output or of the log.
    pub(super) fn chunk(&mut self, id: ConnectionId, chunk: Chunk) -> Result<(), ProtocolError> {
        let Some(peer) = self.connections.device_mut(id) else { return Ok(()) };
        if matches!(chunk.stream, Stream::Input(_)) {
            return Err(ProtocolError::Direction);
        }
        if !peer.welcomed {
            return Err(ProtocolError::Order);
        }
        let (device, fence) = (peer.device.clone(), chunk.fence);
        let state = self.manager.state();
        let lease = state.worker_of(&device).and_then(|view| view.lease);
        let terms = lease.filter(|lease| lease.fence == fence).map(|lease| &*lease.terms);
        let Some(terms) = terms.or_else(|| state.late_completion(&device, fence)) else {
            // What was on its way when the lease ended: no fault of the peer's, and of no use.
            self.event(CoordinatorEvent::ArtifactRefused { device, fence, code: code::CHUNK_NOT_HELD });
            return Ok(());
        };
        if peer.upload.as_ref().is_none_or(|upload| upload.fence != fence) {
            peer.upload = Some(Upload::new(fence, &terms.artifacts));
        }
        let Some(upload) = &mut peer.upload else { return Ok(()) };
        match upload.take(&chunk.stream, chunk.offset, &chunk.content) {
            Ok(true) => {
                let Chunk { fence, stream, offset, content } = chunk;
                self.push(CoordinatorOutput::Artifact { fence, stream, offset, content });
            }
            Ok(false) => {}
            Err(code) if code == code::CHUNK_GAP => self.close(id, code),
            Err(code) => self.event(CoordinatorEvent::ArtifactRefused { device, fence, code }),
        }
        Ok(())
    }
}

/// The last part of the operation's type name, for the log.
fn name_of<O: Operation>() -> &'static str {
    let name = core::any::type_name::<O>();
    name.rsplit("::").next().unwrap_or(name)
}
