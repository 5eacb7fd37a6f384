//! Paired devices on their streams: what they say to dispatch, what they are handed, their rotations.

use alloc::{collections::VecDeque, string::ToString, vec::Vec};

use super::{
    anchors::Session,
    endpoint::Coordinator,
    held::{Held, To},
    io::{CertificateId, ConnectionId, CoordinatorEvent, CoordinatorOutput},
};
use crate::{
    code::{self, Code, Coded as _},
    dispatch::{Delivery, DeviceMessage, DispatchEffect, Incarnation},
    fleet::{
        ConfirmUse, Decide, NodeError, Principal, RevokeSelf, RotateSelf, StreamEnded, TellDispatch, Ticket,
    },
    id::{DeviceId, RequestId},
    identity::{DeviceCertificate, OverlapEnd, request_key},
    protocol::{
        ProtocolError,
        endpoint::EndpointError,
        message::{NodeAnswer, NodeMessage, NodeRequest, NodeWord, WireBytes},
    },
    time::Now,
};

/// The dispatch stream of a connection.
#[derive(Debug, Default)]
pub(super) struct NodeSession {
    /// The first message has come.
    pub(super) greeted: bool,
    /// The answer to it has been sent: from here on, words are that nobody asked for.
    pub(super) welcomed: bool,
    /// The life of the agent whose stream is open here.
    pub(super) stream: Option<Incarnation>,
    /// What is to be handed over and waits for the connection to take what went before. Bounded by the device's
    /// window.
    pub(super) deliveries: VecDeque<Delivery>,
    /// The certificate that its rotation waits for.
    pub(super) rotating: Option<CertificateId>,
}

impl Coordinator {
    pub(super) fn node_request(
        &mut self,
        id: ConnectionId,
        request: NodeRequest,
        now: Now,
    ) -> Result<(), ProtocolError> {
        let Some(connection) = self.connections.get_mut(&id) else { return Ok(()) };
        if connection.node.greeted == matches!(request.message, NodeMessage::Hello { .. }) {
            return Err(ProtocolError::Order);
        }
        connection.node.greeted = true;
        if connection.in_flight >= self.config.max_in_flight || self.held.len() >= self.config.max_held {
            self.close(id, code::CONNECTION_TOO_FAST);
            return Ok(());
        }
        connection.in_flight = connection.in_flight.saturating_add(1);
        let to = To { connection: id, sequence: request.sequence };
        match request.message {
            NodeMessage::Hello { epoch: seen } => {
                let state = self.manager.state();
                let (epoch, index) = (state.epoch(), state.index());
                if seen > epoch {
                    self.event(CoordinatorEvent::Deposed { seen });
                    self.close(id, code::COORDINATOR_LOWER_EPOCH);
                    return Ok(());
                }
                let policy = state.policy();
                let heartbeat_every = policy.liveness.heartbeat_every_ms;
                let answer = NodeAnswer::Welcome { fleet: policy.fleet.clone(), epoch, heartbeat_every };
                self.held.push_back(Held::NodeWelcome(to, index, answer));
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
        let Some(connection) = self.connections.get(&to.connection) else { return false };
        let principal = connection.principal();
        match self.manager.decide(operation, &principal, None, now) {
            Ok(prepared) => match self.manager.accept(prepared) {
                Ok(ticket) => {
                    self.held.push_back(Held::Told(to, ticket));
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
        self.held.push_back(Held::NodeRefused(to, index, code));
        if let Some(connection) = self.connections.get(&to.connection) {
            let device = connection.device.clone();
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
            && let Some(connection) = self.connections.get_mut(&to.connection)
        {
            connection.node.stream = Some(incarnation);
            connection.node.deliveries.clear();
        }
    }

    /// Asks for the certificate that a device wants next: one at a time, and counted like a handshake.
    fn rotate(&mut self, to: To, request: Vec<u8>, now: Now) {
        let Some(connection) = self.connections.get(&to.connection) else { return };
        let device = connection.device.clone();
        if connection.node.rotating.is_some() {
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
        if let Some(connection) = self.connections.get_mut(&to.connection) {
            connection.node.rotating = Some(wanted);
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
        let connection = self.connections.get_mut(&to.connection).ok_or(GONE)?;
        connection.node.rotating = None;
        let Some(der) = certificate else {
            self.refuse_node(to, "rotate", code::ISSUE_REQUEST, &"the issuer did not sign");
            return Ok(());
        };
        let next = match DeviceCertificate::from_der(der) {
            Ok(next) => next,
            Err(error) => {
                self.refuse_node(to, "rotate", error.code(), &error);
                return Ok(());
            }
        };
        let principal = connection.principal();
        // The device asked for it, so one that it never comes to use leaves the former one in force.
        let rotate = RotateSelf::new(next, self.config.rotation_overlap, OverlapEnd::AbandonNew);
        match self.manager.decide(&rotate, &principal, None, now) {
            Ok(prepared) => match self.manager.accept(prepared) {
                Ok(ticket) => self.held.push_back(Held::Rotating(to, ticket, der.to_vec())),
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

    /// Ends the streams of connections that are gone.
    pub(super) fn end_streams(&mut self, now: Now) {
        for (device, incarnation) in core::mem::take(&mut self.ended_streams) {
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
            self.held.push_back(Held::Heard(ticket));
        }
    }

    pub(super) fn carry_out_dispatch(&mut self, effect: DispatchEffect, now: Now) {
        match effect {
            DispatchEffect::Deliver { device, delivery } => {
                let Some(id) = self.stream_of(&device) else { return };
                if let Some(connection) = self.connections.get_mut(&id)
                    && connection.node.stream == Some(delivery.incarnation)
                {
                    connection.node.deliveries.push_back(delivery);
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
        let id = self.by_device.get(device).copied()?;
        self.connections.get(&id).filter(|connection| connection.node.stream.is_some()).map(|_| id)
    }

    /// Drops a delivery that has not left yet. True where there was one.
    fn withhold(&mut self, id: ConnectionId, request: &RequestId) -> bool {
        let Some(connection) = self.connections.get_mut(&id) else { return false };
        let before = connection.node.deliveries.len();
        connection.node.deliveries.retain(|waiting| waiting.request != *request);
        connection.node.deliveries.len() < before
    }

    /// Hands over what waits, while half of the bound of the connection is free: the rest is for answers.
    pub(super) fn pump_deliveries(&mut self, id: ConnectionId, now: Now) {
        while let Some(connection) = self.connections.get_mut(&id)
            && connection.unsent <= self.config.max_unsent / 2
            && let Some(delivery) = connection.node.deliveries.pop_front()
        {
            self.send(id, &NodeWord::Deliver(delivery), now);
        }
    }

    pub(super) fn node_answer(&mut self, to: To, answer: NodeAnswer, now: Now) {
        self.settle(to);
        self.send(to.connection, &NodeWord::Answer { sequence: to.sequence, answer }, now);
    }

    pub(super) fn node_welcome(&mut self, to: To, answer: NodeAnswer, now: Now) {
        self.node_answer(to, answer, now);
        if let Some(connection) = self.connections.get_mut(&to.connection) {
            connection.node.welcomed = true;
            self.tell(to.connection, Session::Device, now);
        }
    }

    pub(super) fn rotated(&mut self, to: To, certificate: Vec<u8>, now: Now) {
        self.node_answer(to, NodeAnswer::Certificate { certificate: WireBytes(certificate) }, now);
    }
}
