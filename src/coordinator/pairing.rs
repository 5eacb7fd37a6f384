//! Peers without a certificate: they may pair, and nothing else. Few of them, for a short time, with small messages.

use alloc::boxed::Box;

use super::{
    io::{ConnectionId, CoordinatorEvent, CoordinatorOutput, LocalAnswer, RequestTag},
    parts::Coordinator,
    port::PairingPort,
    replies::Pending,
};
use crate::{
    code::{self, Coded as _},
    fleet::{NodeError, Ticket, WorkerFleetManager},
    id::{ClientId, OrderId, SessionId},
    identity::{
        StandingTerms,
        pairing::{
            PairingDesk, PairingError, PairingMethod, PairingTarget, Received, VerifiedPairing, session_of,
        },
    },
    protocol::{endpoint::EndpointError, frame::FrameKind},
    time::Now,
};

/// Messages of a peer without a certificate that wait for the journal.
const MAX_IN_FLIGHT: usize = 4;

impl Coordinator {
    /// Lets peers without a certificate pair.
    #[must_use]
    pub fn with_pairing(mut self, port: PairingPort) -> Self {
        self.pairing = Some(port);
        self
    }

    /// A peer without a certificate has come. Where there are as many as there may be, the one goes that has been there for
    /// longest without a pairing: silence keeps nobody out.
    pub(super) fn stranger(&mut self, id: ConnectionId, now: Now) -> Result<(), EndpointError> {
        if self.connections.contains(id) {
            return Err(EndpointError::Connected);
        }
        let full = self.connections.strangers() >= self.config.max_strangers;
        let oldest = self.connections.oldest_idle_stranger();
        let refused = if self.halted {
            Some(code::FLEET_HALTED)
        } else if self.pairing.is_none() {
            Some(code::PAIRING_CLOSED)
        } else if full && oldest.is_none() {
            Some(code::CONNECTION_TOO_MANY)
        } else {
            None
        };
        if let Some(code) = refused {
            self.refuse_connection(id, code);
            return Ok(());
        }
        if let Some(oldest) = oldest.filter(|_| full) {
            self.close(oldest, code::CONNECTION_TOO_MANY);
        }
        self.connections.open_stranger(id, now.mono);
        self.event(CoordinatorEvent::Stranger { connection: id });
        Ok(())
    }

    pub(super) fn stranger_message(&mut self, id: ConnectionId, body: &[u8], now: Now) {
        let in_flight = self.connections.get_mut(id).map_or(0, |connection| connection.in_flight);
        let Some(stranger) = self.connections.stranger_mut(id) else { return };
        stranger.messages = stranger.messages.saturating_add(1);
        let too_fast = in_flight >= MAX_IN_FLIGHT
            || stranger.messages > self.config.max_pairing_messages
            || self.pending.len() >= self.config.max_held;
        if too_fast {
            return self.close(id, code::CONNECTION_TOO_FAST);
        }
        // What is not a message at all needs no answer.
        let Some(session) = session_of(body) else {
            return self.close(id, PairingError::Malformed.code());
        };
        if let Some(connection) = self.connections.get_mut(id) {
            connection.in_flight = in_flight.saturating_add(1);
        }
        let outcome = match (&mut self.pairing, &mut self.manager) {
            (Some(port), manager) => manager.pairing_message(body, now, &mut port.tools()),
            (None, _) => Err(PairingError::Closed.into()),
        };
        let waiting = match outcome {
            Ok(ticket) => {
                self.connections.in_session(id);
                Pending::Pairing(id, session, ticket)
            }
            Err(error) => {
                self.event(CoordinatorEvent::PairingRefused { session: session.clone(), code: error.code() });
                Pending::PairingRefused(id, self.manager.state().index(), session)
            }
        };
        self.pending.push_back(waiting);
    }

    /// What came of a pairing message, once it lasts.
    pub(super) fn paired(&mut self, id: ConnectionId, session: &SessionId, received: Received, now: Now) {
        let Received { reply, ask, enrolled, refused, .. } = received;
        if let Some(pairing) = enrolled {
            self.push(CoordinatorOutput::Enrolled(Box::new(pairing)));
        }
        if let Some(ask) = ask {
            self.push(CoordinatorOutput::ApprovalWanted(Box::new(ask)));
        }
        if let Some(error) = refused {
            self.event(CoordinatorEvent::PairingRefused { session: session.clone(), code: error.code() });
        }
        match reply {
            Some(reply) => self.send_stranger(id, &reply, now),
            None => self.refuse_stranger(id, session, now),
        }
    }

    /// Says no, without a reason.
    pub(super) fn refuse_stranger(&mut self, id: ConnectionId, session: &SessionId, now: Now) {
        self.send_stranger(id, &PairingDesk::refusal(session), now);
    }

    fn send_stranger(&mut self, id: ConnectionId, message: &[u8], now: Now) {
        self.settle(id);
        self.send_frame(id, FrameKind::Pairing, message, now);
    }

    pub(super) fn offer(
        &mut self,
        tag: RequestTag,
        client: &ClientId,
        method: PairingMethod,
        target: PairingTarget,
        now: Now,
    ) {
        let outcome = match (&mut self.pairing, &mut self.manager) {
            (Some(port), manager) => manager.offer_pairing(client, method, target, now, &mut port.tools()),
            (None, _) => Err(PairingError::Closed.into()),
        };
        self.await_local(tag, outcome, Pending::Offered, |error| LocalAnswer::Offered(Err(error)));
    }

    pub(super) fn open_enrolment(
        &mut self,
        tag: RequestTag,
        client: &ClientId,
        order: OrderId,
        terms: StandingTerms,
        now: Now,
    ) {
        let outcome = match (&mut self.pairing, &mut self.manager) {
            (Some(port), manager) => manager.open_enrolment(client, order, terms, now, &mut port.tools()),
            (None, _) => Err(PairingError::Closed.into()),
        };
        self.await_local(tag, outcome, Pending::Enrolment, |error| LocalAnswer::Enrolment(Err(error)));
    }

    /// Holds the outcome of a step of pairing for the caller.
    pub(super) fn await_local<A>(
        &mut self,
        tag: RequestTag,
        outcome: Result<Ticket<A>, NodeError>,
        pending: fn(RequestTag, Ticket<A>) -> Pending,
        refused: fn(NodeError) -> LocalAnswer,
    ) {
        let waiting = match outcome {
            Ok(ticket) => pending(tag, ticket),
            Err(error) => Pending::LocalRefused(tag, self.manager.state().index(), refused(error)),
        };
        self.pending.push_back(waiting);
    }

    /// The issuer has signed what was approved.
    pub(super) fn complete_pairing(
        &mut self,
        tag: RequestTag,
        pairing: VerifiedPairing,
        certificate: &[u8],
        now: Now,
    ) {
        let outcome = WorkerFleetManager::complete_pairing(&mut self.manager, pairing, certificate, now);
        self.await_local(tag, outcome, Pending::Paired, |error| LocalAnswer::Paired(Err(error)));
    }
}
