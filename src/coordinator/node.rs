//! Paired devices on their streams: what they say to dispatch, what they are handed, their rotations.

use alloc::{string::ToString, vec::Vec};

use super::{
    io::{CertificateId, ConnectionId, CoordinatorEvent, CoordinatorOutput},
    parts::Coordinator,
    replies::{Pending, To},
};
use crate::{
    code::{self, Code, Coded as _},
    digest::Sha256Digest,
    dispatch::{DeviceMessage, DispatchEffect},
    fleet::{
        CloneRule, ConfirmUse, Decide, NodeError, Principal, RenewSelf, ReportClone, RevokeSelf, RotateSelf,
        StreamEnded, TellDispatch, Ticket,
    },
    id::{DeviceId, RequestId},
    identity::{OverlapEnd, request_key},
    protocol::{
        ProtocolError,
        endpoint::EndpointError,
        message::{NodeAnswer, NodeMessage, NodeRequest, NodeWord, WireBytes},
    },
    time::Now,
};

/// Streams that one call ends.
const STREAMS: usize = 64;

impl Coordinator {
    pub(super) fn node_request(
        &mut self,
        id: ConnectionId,
        request: NodeRequest,
        now: Now,
    ) -> Result<(), ProtocolError> {
        let Some(peer) = self.connections.device_mut(id) else { return Ok(()) };
        if peer.node.greeted == matches!(request.message, NodeMessage::Hello { .. }) {
            return Err(ProtocolError::Order);
        }
        peer.node.greeted = true;
        if !self.count_request(id) {
            return Ok(());
        }
        let to = To { connection: id, sequence: request.sequence };
        let renews = self.connections.device(id).is_some_and(|peer| peer.renews);
        if renews && matches!(request.message, NodeMessage::Tell(_) | NodeMessage::RevokeSelf {}) {
            let facts = &"the certificate is good for a renewal only";
            self.refuse_node(to, "tell", code::CERTIFICATE_EXPIRED, facts);
            return Ok(());
        }
        match request.message {
            NodeMessage::Hello { epoch: seen } => {
                let state = self.manager.state();
                let (epoch, index) = (state.epoch(), state.index());
                if seen > epoch {
                    self.event(CoordinatorEvent::Deposed { seen });
                    self.close(id, code::COORDINATOR_LOWER_EPOCH);
                    return Ok(());
                }
                let (fleet, rhythm) = (state.policy().fleet.clone(), self.rhythm());
                if let Some(peer) = self.connections.device_mut(id) {
                    peer.rhythm = Some(rhythm);
                }
                let answer = NodeAnswer::Welcome { fleet, epoch, heartbeat_every: rhythm.heartbeat_every };
                self.pending.push_back(Pending::NodeWelcome(to, index, answer));
            }
            NodeMessage::Tell(message) => self.hear(to, message, now),
            NodeMessage::Rotate { request } => self.rotate(to, request.0, now),
            NodeMessage::RevokeSelf {} => {
                self.say(to, "revoke_self", &RevokeSelf {}, now);
            }
        }
        Ok(())
    }

    /// Decides and accepts what a device says. True where it was accepted.
    fn say<O: Decide<Answer = (), Error = NodeError>>(
        &mut self,
        to: To,
        asked: &'static str,
        operation: &O,
        now: Now,
    ) -> bool {
        let Some(peer) = self.connections.device(to.connection) else { return false };
        let principal = peer.principal();
        match self.manager.decide(operation, &principal, None, now) {
            Ok(prepared) => match self.manager.accept(prepared) {
                Ok(ticket) => {
                    self.pending.push_back(Pending::Told(to, ticket));
                    return true;
                }
                Err(error) => self.refuse_node(to, asked, error.code(), &error),
            },
            Err(error) => self.refuse_node(to, asked, error.code(), &error),
        }
        false
    }

    /// Refuses a message: the code to the peer, the facts to the log.
    fn refuse_node(&mut self, to: To, asked: &'static str, code: Code, facts: &dyn ToString) {
        let index = self.manager.state().index();
        self.pending.push_back(Pending::NodeRefused(to, index, code));
        if let Some(peer) = self.connections.device(to.connection) {
            let device = peer.device.clone();
            self.event(CoordinatorEvent::Refused { device, asked, code, facts: facts.to_string() });
        }
    }

    fn hear(&mut self, to: To, message: DeviceMessage, now: Now) {
        let opens = match &message {
            DeviceMessage::Connect { incarnation, .. } => Some(*incarnation),
            _ => None,
        };
        let taken = self.say(to, "tell", &TellDispatch { message }, now);
        if let Some(incarnation) = opens.filter(|_| taken)
            && let Some(peer) = self.connections.device_mut(to.connection)
        {
            peer.node.stream = Some(incarnation);
            peer.node.deliveries.clear();
        }
    }

    /// Somebody came with a certificate of `device` that another took over from.
    pub(super) fn notice_clone(&mut self, device: DeviceId, certificate: Sha256Digest, now: Now) {
        let latches = self.manager.state().policy().identity.clones == CloneRule::Latch;
        if latches {
            let principal = Principal::Device { device: device.clone(), certificate };
            if let Ok(prepared) = self.manager.decide(&ReportClone {}, &principal, None, now) {
                self.settle_quietly(|manager| manager.accept(prepared));
            }
        }
        self.event(CoordinatorEvent::CloneNoticed { device, latches });
    }

    /// Asks for the certificate that a device wants next: one at a time, and counted like a handshake.
    fn rotate(&mut self, to: To, request: Vec<u8>, now: Now) {
        let Some(peer) = self.connections.device(to.connection) else { return };
        let device = peer.device.clone();
        if peer.node.rotating.is_some() {
            return self.refuse_node(to, "rotate", code::CONNECTION_TOO_FAST, &"a certificate is being made");
        }
        if let Err(error) = self.manager.admit(&device, now) {
            return self.refuse_node(to, "rotate", error.code(), &error);
        }
        if let Err(error) = request_key(&request) {
            return self.refuse_node(to, "rotate", error.code(), &error);
        }
        self.next_certificate = self.next_certificate.saturating_add(1);
        let wanted = CertificateId(self.next_certificate);
        if let Some(peer) = self.connections.device_mut(to.connection) {
            peer.node.rotating = Some(wanted);
        }
        self.certificates.insert(wanted, to);
        self.push(CoordinatorOutput::CertificateWanted { wanted, device, request });
    }

    /// The issuer has signed, or will not.
    pub(super) fn certificate(
        &mut self,
        wanted: CertificateId,
        certificate: Option<&[u8]>,
        now: Now,
    ) -> Result<(), EndpointError> {
        const GONE: EndpointError = EndpointError::NotNow("nobody waits for this certificate");
        let to = self.certificates.remove(&wanted).ok_or(GONE)?;
        let peer = self.connections.device_mut(to.connection).ok_or(GONE)?;
        peer.node.rotating = None;
        let (principal, renews) = (peer.principal(), peer.renews);
        let Some(der) = certificate else {
            self.refuse_node(to, "rotate", code::ISSUE_REQUEST, &"the issuer did not sign");
            return Ok(());
        };
        let next = match self.manager.state().devices().read(der) {
            Ok(next) => next,
            Err(error) => {
                self.refuse_node(to, "rotate", error.code(), &error);
                return Ok(());
            }
        };
        let overlap = self.config.rotation_overlap;
        let decided = if renews {
            self.manager.decide(&RenewSelf::new(next, overlap), &principal, None, now)
        } else {
            // The device asked for it, so one that it never comes to use leaves the former one in force.
            self.manager.decide(
                &RotateSelf::new(next, overlap, OverlapEnd::AbandonNew),
                &principal,
                None,
                now,
            )
        };
        match decided {
            Ok(prepared) => match self.manager.accept(prepared) {
                Ok(ticket) => self.pending.push_back(Pending::Rotating(to, ticket, der.to_vec())),
                Err(error) => self.refuse_node(to, "rotate", error.code(), &error),
            },
            Err(error) => self.refuse_node(to, "rotate", error.code(), &error),
        }
        Ok(())
    }

    /// The certificate of a new connection is the next one of a rotation: its first use ends the overlap.
    pub(super) fn confirm_use(&mut self, principal: &Principal, now: Now) {
        if let Ok(prepared) = self.manager.decide(&ConfirmUse {}, principal, None, now) {
            self.settle_quietly(|manager| manager.accept(prepared));
        }
    }

    /// Ends the streams of connections that are gone: some of them, and the rest at once after that.
    pub(super) fn end_streams(&mut self, now: Now) {
        for _ in 0..STREAMS {
            let Some((device, incarnation)) = self.ended_streams.pop_front() else { return };
            let ended = StreamEnded::new(device, incarnation);
            // Where the device was cut, or has a newer stream, there is nothing to end.
            if let Ok(prepared) = self.manager.decide(&ended, &Principal::Core, None, now) {
                self.settle_quietly(|manager| manager.accept(prepared));
            }
        }
    }

    fn settle_quietly<E>(
        &mut self,
        accept: impl FnOnce(&mut crate::fleet::WorkerFleetManager) -> Result<Ticket<()>, E>,
    ) {
        if let Ok(ticket) = accept(&mut self.manager) {
            self.pending.push_back(Pending::Heard(ticket));
        }
    }

    pub(super) fn carry_out_dispatch(&mut self, effect: DispatchEffect, now: Now) {
        match effect {
            DispatchEffect::Deliver { device, delivery } => {
                let Some(id) = self.stream_of(&device) else { return };
                if let Some(peer) = self.connections.device_mut(id)
                    && peer.node.stream == Some(delivery.incarnation)
                {
                    peer.node.deliveries.push_back(delivery);
                    self.pump_deliveries(id, now);
                }
            }
            DispatchEffect::Settle { device, request } => {
                let Some(id) = self.stream_of(&device) else { return };
                if !self.withhold(id, &request) {
                    self.send(id, &NodeWord::Settle { request }, now);
                }
            }
            DispatchEffect::Close { device } => {
                if let Some(id) = self.stream_of(&device) {
                    self.close(id, code::CONNECTION_SILENT);
                }
            }
            DispatchEffect::Finished { client, request, state } => {
                self.push(CoordinatorOutput::Finished { client, request, state });
            }
        }
    }

    fn stream_of(&self, device: &DeviceId) -> Option<ConnectionId> {
        let id = self.connections.of_device(device)?;
        self.connections.device(id).filter(|peer| peer.node.stream.is_some()).map(|_| id)
    }

    /// Drops a delivery that has not left yet. True where there was one.
    fn withhold(&mut self, id: ConnectionId, request: &RequestId) -> bool {
        let Some(peer) = self.connections.device_mut(id) else { return false };
        let before = peer.node.deliveries.len();
        peer.node.deliveries.retain(|waiting| waiting.request != *request);
        peer.node.deliveries.len() < before
    }

    /// Hands over what waits, while half of the bound of the connection is free: the rest is for answers.
    pub(super) fn pump_deliveries(&mut self, id: ConnectionId, now: Now) {
        while self.connections.has_room(id)
            && let Some(peer) = self.connections.device_mut(id)
            && let Some(delivery) = peer.node.deliveries.pop_front()
        {
            self.send(id, &NodeWord::Deliver(delivery), now);
        }
    }

    pub(super) fn node_answer(&mut self, to: To, answer: NodeAnswer, now: Now) {
        self.settle(to.connection);
        self.send(to.connection, &NodeWord::Answer { sequence: to.sequence, answer }, now);
    }

    pub(super) fn node_welcome(&mut self, to: To, answer: NodeAnswer, now: Now) {
        self.node_answer(to, answer, now);
        if let Some(peer) = self.connections.device_mut(to.connection) {
            peer.node.welcomed = true;
            self.tell_anchors(to.connection, now);
        }
    }

    pub(super) fn rotated(&mut self, to: To, certificate: Vec<u8>, now: Now) {
        self.node_answer(to, NodeAnswer::Certificate { certificate: WireBytes(certificate) }, now);
    }
}
