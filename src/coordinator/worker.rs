//! What workers ask, and what they send.

use alloc::{boxed::Box, string::ToString};

use super::{
    endpoint::Coordinator,
    held::{Held, To},
    inspect::Report,
    io::{ConnectionId, CoordinatorEvent, CoordinatorOutput},
    upload::Upload,
};
use crate::{
    code::{self, Code, Coded},
    digest::Sha256Digest,
    fleet::{
        Attest, Challenge, CommandError, CommandId, Complete, Decide, LossReason, Operation, Renew, Start,
        Ticket, WorkerHandle,
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

/// The session under which the commands of a device are remembered: derived, so that no device can use another's.
pub(super) fn client_of(device: &DeviceId) -> Option<crate::id::ClientId> {
    let digest = Sha256Digest::of(device.as_str().as_bytes());
    crate::id::ClientId::new(&alloc::format!("device:{digest}")).ok()
}

impl Coordinator {
    pub(super) fn worker_request(
        &mut self,
        id: ConnectionId,
        request: WorkerRequest,
        now: Now,
    ) -> Result<(), ProtocolError> {
        let Some(connection) = self.connections.get_mut(&id) else { return Ok(()) };
        if connection.greeted == matches!(request.message, WorkerMessage::Hello { .. }) {
            return Err(ProtocolError::Order);
        }
        connection.greeted = true;
        if connection.in_flight >= self.config.max_in_flight || self.held.len() >= self.config.max_held {
            self.close(id, code::CONNECTION_TOO_FAST);
            return Ok(());
        }
        connection.in_flight = connection.in_flight.saturating_add(1);
        let to = To { connection: id, sequence: request.sequence };
        match request.message {
            WorkerMessage::Hello { worker, resume, epoch } => self.hello(to, &worker, resume, epoch, now),
            WorkerMessage::Challenge {} => {
                if self.admit(to, "challenge", now) {
                    self.submit(to, &Challenge {}, false, Held::Challenged, now);
                }
            }
            WorkerMessage::Attest { nonce, form, evidence, attachments, resume } => {
                if self.admit(to, "attest", now) {
                    let attachments = attachments.into_iter().map(|envelope| envelope.0).collect();
                    let attest = Attest { nonce: nonce.0, form, evidence: evidence.0, attachments, resume };
                    self.submit(to, &attest, true, Held::Attested, now);
                }
            }
            WorkerMessage::Heartbeat { worker } => self.heartbeat(to, worker, now),
            WorkerMessage::Fetch { fence } => self.fetch(to, fence),
            WorkerMessage::Start { worker, fence } => {
                self.submit(to, &Start { worker, fence }, true, Held::Remaining, now);
            }
            // Renewing twice does what renewing once does: it needs no memory.
            WorkerMessage::Renew { worker, fence } => {
                self.submit(to, &Renew { worker, fence }, false, Held::Remaining, now);
            }
            WorkerMessage::Complete { worker, fence, outcome, claim, cleanup } => {
                let connection = self.connections.get(&id);
                let upload =
                    connection.and_then(|it| it.upload.as_ref()).filter(|upload| upload.fence == fence);
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
        let Some(connection) = self.connections.get(&to.connection) else { return false };
        let device = connection.device.clone();
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
        held: fn(To, Ticket<O::Answer>) -> Held,
        now: Now,
    ) where
        O::Error: From<CommandError>,
    {
        let Some(connection) = self.connections.get(&to.connection) else { return };
        let principal = connection.principal();
        let command = command.then(|| CommandId { client: connection.client.clone(), sequence: to.sequence });
        let name = name_of::<O>();
        match self.manager.decide(operation, &principal, command.as_ref(), now) {
            Ok(prepared) => match self.manager.accept(prepared) {
                Ok(ticket) => self.held.push_back(held(to, ticket)),
                Err(error) => self.refuse(to, name, error.code(), &error),
            },
            Err(error) => self.refuse(to, name, error.code(), &error),
        }
    }

    /// Refuses a request: the code to the peer, the facts to the log.
    pub(super) fn refuse(&mut self, to: To, asked: &'static str, code: Code, facts: &dyn ToString) {
        let index = self.manager.state().index();
        self.held.push_back(Held::Refused(to, index, code));
        if let Some(connection) = self.connections.get(&to.connection) {
            let device = connection.device.clone();
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
        let Some(connection) = self.connections.get(&to.connection) else { return };
        let view = state.worker_of(&connection.device);
        let view = view.filter(|view| view.id == worker && Some(view.handle) == resume);
        let held = view
            .as_ref()
            .and_then(|view| Some(HeldLeaseNotice { lease: view.lease?.clone(), stage: view.stage? }));
        let policy = state.policy();
        let welcome = Welcome {
            fleet: policy.fleet.clone(),
            epoch,
            heartbeat_every: policy.liveness.heartbeat_every_ms,
            renew_every: policy.lease.renew_every_ms,
            clock_budget: policy.lease.clock_budget_ms,
            start_within: policy.lease.start_ms,
            resumed: view.is_some(),
            held,
        };
        let _ = now;
        self.held.push_back(Held::Welcome(to, state.index(), Box::new(welcome)));
    }

    fn heartbeat(&mut self, to: To, worker: WorkerHandle, now: Now) {
        let Some(connection) = self.connections.get(&to.connection) else { return };
        let (principal, device) = (connection.principal(), connection.device.clone());
        match self.manager.heartbeat(worker, &principal, now) {
            Ok(None) => {}
            Ok(Some(prepared)) => match self.manager.accept(prepared) {
                Ok(ticket) => self.held.push_back(Held::Heard(ticket)),
                Err(error) => return self.refuse(to, "heartbeat", error.code(), &error),
            },
            Err(error) => return self.refuse(to, "heartbeat", error.code(), &error),
        }
        match self.standing(&device, now) {
            Some(standing) => {
                let index = self.manager.state().index();
                self.held.push_back(Held::Alive(to, index, standing));
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
        let Some(connection) = self.connections.get(&to.connection) else { return };
        let state = self.manager.state();
        let view = state.worker_of(&connection.device);
        if view.and_then(|view| view.lease).is_some_and(|lease| lease.fence == fence) {
            self.held.push_back(Held::Fetching(to, state.index(), fence));
        } else {
            self.refuse(to, "fetch", code::LEASE_STALE_FENCE, &"the fence is not that of the lease");
        }
    }

    /// A piece of an output or of the log.
    pub(super) fn chunk(&mut self, id: ConnectionId, chunk: Chunk) -> Result<(), ProtocolError> {
        let Some(connection) = self.connections.get_mut(&id) else { return Ok(()) };
        if matches!(chunk.stream, Stream::Input(_)) {
            return Err(ProtocolError::Direction);
        }
        if !connection.welcomed {
            return Err(ProtocolError::Order);
        }
        let (device, fence) = (connection.device.clone(), chunk.fence);
        let view = self.manager.state().worker_of(&device);
        let Some(lease) = view.and_then(|view| view.lease).filter(|lease| lease.fence == fence) else {
            // What was on its way when the lease ended: no fault of the peer's, and of no use.
            self.event(CoordinatorEvent::ArtifactRefused { device, fence, code: code::CHUNK_NOT_HELD });
            return Ok(());
        };
        if connection.upload.as_ref().is_none_or(|upload| upload.fence != fence) {
            connection.upload = Some(Upload::new(fence, &lease.terms.artifacts));
        }
        let Some(upload) = &mut connection.upload else { return Ok(()) };
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
