//! The coordinator's law: one enum in, one enum out, one drain; and what each input is followed by.

use super::{
    connection::{DevicePeer, Peer},
    connections::Due,
    io::{ConnectionId, CoordinatorEvent, CoordinatorInput, CoordinatorOutput},
    parts::{Coordinator, Out},
    replies::Pending,
};
use crate::{
    code::{self, Coded as _},
    digest::Sha256Digest,
    fleet::{NodeError, Principal},
    identity::{DeviceKind, Renewable},
    lease::{Fence, RelativePath},
    protocol::{
        ProtocolError,
        chunk::{Chunk, Stream},
        endpoint::EndpointError,
        frame::{Frame, FrameKind},
        message::{Document as _, GateMessage, NodeRequest, WorkerRequest},
    },
    time::{Millis, Mono, Now},
};

/// Timers that one call looks at.
const TIMERS: usize = 256;

impl Coordinator {
    /// Takes one input. Work is bounded by the size of the input, and by the policy for deadlines. What concerns every
    /// connection (a change of the registry, a network that was down) is done a few at a time, and is due again at once;
    /// only a lease that begins or ends is told to every enforcement point.
    ///
    /// # Errors
    /// [`EndpointError`] where the law was broken; nothing has changed then. What a *peer* does wrong is no error
    /// here: it becomes [`CoordinatorOutput::Close`] with a code.
    pub fn handle(&mut self, input: CoordinatorInput<'_>, now: Now) -> Result<(), EndpointError> {
        if !self.drained {
            return Err(EndpointError::NotDrained);
        }
        if now.mono < self.last {
            return Err(EndpointError::TimeBackwards { last: self.last, now: now.mono });
        }
        self.last = now.mono;
        let outcome = self.take(input, now);
        self.turn(now);
        outcome
    }

    /// The next output. [`CoordinatorOutput::Wait`] ends the drain.
    pub fn poll(&mut self) -> CoordinatorOutput {
        loop {
            match self.out.pop_front() {
                // Nothing that rests on a journal which failed is answered.
                Some(Out::Whole(output))
                    if self.halted && matches!(*output, CoordinatorOutput::Answer { .. }) => {}
                Some(Out::Whole(output)) => return *output,
                Some(Out::Bytes(connection)) => {
                    // A connection that was closed meanwhile has nothing in line.
                    if let Some(bytes) = self.connections.next_out(connection) {
                        return CoordinatorOutput::Send { connection, bytes };
                    }
                }
                None if self.halted && self.hang_up_one() => {}
                None => {
                    self.drained = true;
                    return CoordinatorOutput::Wait(self.next_deadline());
                }
            }
        }
    }

    /// When [`CoordinatorInput::Timeout`] is due. Changes with every `handle`.
    pub fn next_deadline(&self) -> Option<Mono> {
        if self.halted {
            return None;
        }
        if self.expire_at_once || self.round.is_under_way() || !self.ended_streams.is_empty() {
            return Some(self.last);
        }
        let timer = self.connections.next_deadline();
        let due = self.manager.next_deadline().map(|at| at.max(self.expire_not_before));
        [timer, due].into_iter().flatten().min()
    }

    fn take(&mut self, input: CoordinatorInput<'_>, now: Now) -> Result<(), EndpointError> {
        match input {
            CoordinatorInput::Connected { connection, leaf } => return self.connected(connection, leaf, now),
            CoordinatorInput::Stranger { connection } => return self.stranger(connection, now),
            CoordinatorInput::Received { connection, bytes } => self.received(connection, bytes, now),
            CoordinatorInput::Sent { connection, bytes } => self.sent(connection, bytes, now),
            CoordinatorInput::Closed { connection } => {
                self.forget(connection);
            }
            CoordinatorInput::Service { .. }
            | CoordinatorInput::Operator { .. }
            | CoordinatorInput::CompletePairing { .. }
                if self.pending.len() >= self.config.max_held =>
            {
                return Err(EndpointError::Full);
            }
            CoordinatorInput::Service { tag, client, sequence, request } => {
                self.service(tag, client, sequence, request, now);
            }
            CoordinatorInput::Operator { tag, client, sequence, command } => {
                self.operator(tag, client, sequence, command, now);
            }
            CoordinatorInput::CompletePairing { tag, pairing, certificate } => {
                self.complete_pairing(tag, *pairing, certificate, now);
            }
            CoordinatorInput::Certificate { wanted, certificate } => {
                return self.certificate(wanted, certificate, now);
            }
            CoordinatorInput::Deliver { fence, path, content } => {
                return self.deliver(fence, path, content, now);
            }
            CoordinatorInput::Inspected { inspection, found } => {
                self.inspected(inspection, found, now);
            }
            CoordinatorInput::Durable(last) => {
                // The write that a former coordinator began says nothing about this one's, whatever its index is.
                if self.persisting != Some(last) {
                    return Err(EndpointError::NotNow("no batch that ends with this record is on its way"));
                }
                self.persisting = None;
                if self.manager.durable(last).is_ok() {
                    self.durable = self.durable.max(last.index);
                }
            }
            CoordinatorInput::JournalFailed => self.manager.journal_failed(),
            CoordinatorInput::Timeout => self.expire(now),
        }
        Ok(())
    }

    /// What every input is followed by: what lasts is handed out, what changed is persisted, told and checked.
    fn turn(&mut self, now: Now) {
        if self.manager.is_halted() {
            self.halt();
            return;
        }
        self.release(now);
        self.close_overdue(now);
        self.walk(now);
        self.end_streams(now);
        self.hand_over(now);
        self.pump(now);
        self.persist();
    }

    /// Only recovery goes on: what waits is dropped, and every connection with it.
    fn halt(&mut self) {
        if self.halted {
            return;
        }
        self.halted = true;
        self.pending.clear();
        self.ended_streams.clear();
        self.event(CoordinatorEvent::Halted);
    }

    /// Closes one connection of a coordinator that has halted. False: none is left.
    fn hang_up_one(&mut self) -> bool {
        let first = self.connections.after(None);
        if let Some(id) = first {
            self.close(id, code::FLEET_HALTED);
        }
        self.ended_streams.clear();
        first.is_some()
    }

    /// Closes connections whose time is up: a bounded number, and the rest at once after that. O(log n) for each.
    fn close_overdue(&mut self, now: Now) {
        for _ in 0..TIMERS {
            match self.connections.pop_due(now.mono) {
                None => return,
                Some((_, None)) => {}
                Some((id, Some(Due::Close(code)))) => self.close(id, code),
                Some((id, Some(Due::Authenticate))) => {
                    self.watch_certificate(id, now);
                }
            }
        }
    }

    fn expire(&mut self, now: Now) {
        self.expire_at_once = false;
        let due = self.manager.next_deadline().is_some_and(|at| at <= now.mono);
        if !due {
            return;
        }
        let Ok(prepared) = self.manager.expire(now) else {
            // A clock that cannot be believed stops deadlines and everything else alike. Try again, but not at once.
            self.expire_not_before = now.mono.plus(Millis(100));
            return;
        };
        let changes = !prepared.events().is_empty();
        if let Ok(ticket) = self.manager.accept(prepared) {
            self.pending.push_back(Pending::Expired(ticket));
        }
        self.expire_at_once = changes && self.manager.next_deadline().is_some_and(|at| at <= now.mono);
    }

    /// Requests that a device has credit for are handed over at once, not at the next timeout.
    fn hand_over(&mut self, now: Now) {
        if self.manager.state().nodes().dispatch().waits_to_be_sent() {
            self.expire(now);
        }
    }

    fn connected(&mut self, id: ConnectionId, leaf: &[u8], now: Now) -> Result<(), EndpointError> {
        if self.connections.contains(id) {
            return Err(EndpointError::Connected);
        }
        if self.halted {
            self.refuse_connection(id, code::FLEET_HALTED);
            return Ok(());
        }
        let authenticated = match self.manager.authenticate(leaf, now) {
            Ok(authenticated) => authenticated,
            Err(error) => {
                self.renewing(id, leaf, &error, now);
                return Ok(());
            }
        };
        let (device, kind) = (authenticated.device().clone(), authenticated.record().kind());
        let certificate = authenticated.certificate().fingerprint();
        let rotated = authenticated.confirms_rotation();
        let Some(peer) = DevicePeer::new(device.clone(), kind, certificate) else {
            self.refuse_connection(id, code::CONNECTION_KIND);
            return Ok(());
        };
        // A handshake counts against the same allowance as challenges and evidence do.
        if let Err(error) = self.manager.admit(&device, now) {
            self.refuse_connection(id, error.code());
            return Ok(());
        }
        if let Some(former) = self.connections.of_device(&device) {
            self.close(former, code::CONNECTION_REPLACED);
        }
        if self.connections.devices() >= self.config.max_connections {
            self.refuse_connection(id, code::CONNECTION_TOO_MANY);
            return Ok(());
        }
        self.connections.open_device(id, peer, now.mono);
        self.watch_certificate(id, now);
        if rotated {
            let principal = Principal::Device { device: device.clone(), certificate };
            self.confirm_use(&principal, now);
            self.event(CoordinatorEvent::RotationUsed { device: device.clone() });
        }
        self.event(CoordinatorEvent::Opened { connection: id, device, kind });
        Ok(())
    }

    /// A certificate that does not authenticate. One that has just expired is good for asking for the next one; one that
    /// another took over from shows that the device may be in two places.
    fn renewing(&mut self, id: ConnectionId, leaf: &[u8], refused: &NodeError, now: Now) {
        let (record, is_former) = match self.manager.renewable(leaf, now) {
            Ok(standing) => (standing.record(), matches!(standing, Renewable::Superseded(_))),
            // What a renewal lacks is said of a certificate that could be renewed, and of no other.
            Err(NodeError::Device(lacks)) => return self.refuse_connection(id, lacks.code()),
            Err(_) => return self.refuse_connection(id, refused.code()),
        };
        let (device, kind, certificate) = (record.device().clone(), record.kind(), Sha256Digest::of(leaf));
        if is_former {
            self.refuse_connection(id, refused.code());
            return self.notice_clone(device, certificate, now);
        }
        let Some(mut peer) = DevicePeer::new(device.clone(), kind, certificate) else {
            return self.refuse_connection(id, code::CONNECTION_KIND);
        };
        peer.renews = true;
        if let Err(error) = self.manager.admit(&device, now) {
            return self.refuse_connection(id, error.code());
        }
        if self.connections.devices() >= self.config.max_connections {
            return self.refuse_connection(id, code::CONNECTION_TOO_MANY);
        }
        self.connections.open_renewal(id, peer, now.mono);
        self.watch_certificate(id, now);
        self.event(CoordinatorEvent::Renewing { connection: id, device });
    }

    fn received(&mut self, id: ConnectionId, mut bytes: &[u8], now: Now) {
        loop {
            // Bytes of a connection that was closed meanwhile are nobody's.
            let Some(frame) = self.connections.frame(id, &mut bytes, now.mono) else { return };
            let outcome = match frame {
                Ok(Some(frame)) => self.frame(id, &frame, now),
                Ok(None) => return self.keep_budget(),
                Err(error) => Err(error.into()),
            };
            if let Err(error) = outcome {
                return self.close(id, error.code());
            }
        }
    }

    fn frame(&mut self, id: ConnectionId, frame: &Frame, now: Now) -> Result<(), ProtocolError> {
        let body = &frame.body;
        let kind = match self.connections.get_mut(id).map(|connection| &connection.peer) {
            None => return Ok(()),
            Some(Peer::Stranger(_)) => {
                self.stranger_message(id, body, now);
                return Ok(());
            }
            Some(Peer::Device(device)) => device.kind,
        };

        if !self.is_authenticated(id, now) {
            return Ok(());
        }
        if self.connections.device(id).is_some_and(|peer| peer.renews) {
            // A device of every kind may ask for its next certificate. The line takes no frames of another kind.
            return self.node_request(id, NodeRequest::read(body)?, now);
        }
        match (frame.kind, kind) {
            (FrameKind::Worker, DeviceKind::Worker) => {
                self.worker_request(id, WorkerRequest::read(body)?, now)
            }
            (FrameKind::Chunk, DeviceKind::Worker) => self.chunk(id, Chunk::decode(body)?),
            (FrameKind::Node, DeviceKind::Worker | DeviceKind::DesktopNode) => {
                self.node_request(id, NodeRequest::read(body)?, now)
            }
            (FrameKind::Gate, DeviceKind::EgressProxy) => {
                self.gate_message(id, &GateMessage::read(body)?, now)
            }
            _ => Err(ProtocolError::Direction),
        }
    }

    fn sent(&mut self, id: ConnectionId, bytes: usize, now: Now) {
        self.connections.taken(id, bytes, now.mono);
        self.pump_deliveries(id, now);
        self.subscribers.has_room(id);
    }

    fn deliver(
        &mut self,
        fence: Fence,
        path: &RelativePath,
        content: &[u8],
        now: Now,
    ) -> Result<(), EndpointError> {
        const GONE: EndpointError = EndpointError::NotNow("nobody fetches the inputs of this lease");
        let holder = self.leases.holder(fence).ok_or(GONE)?;
        let id = self.connections.of_device(holder).ok_or(GONE)?;
        let has_room = self.connections.has_room(id);
        let peer = self.connections.device_mut(id).ok_or(GONE)?;
        let (_, offsets) = peer.fetching.as_mut().filter(|(wanted, _)| *wanted == fence).ok_or(GONE)?;
        if !has_room {
            return Err(EndpointError::Full);
        }
        let at = offsets.entry(path.clone()).or_default();
        let chunk = Chunk::new(fence, Stream::Input(path.clone()), *at, content)
            .map_err(|_| EndpointError::NotNow("a piece has at most MAX_CHUNK_BYTES"))?;
        *at = at.saturating_add(content.len() as u64);
        self.send_frame(id, FrameKind::Chunk, &chunk.encode(), now);
        Ok(())
    }
}
