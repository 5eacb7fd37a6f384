//! Peers without a certificate: they may pair, and nothing else. Few of them, for a short time, with small messages.

use alloc::{boxed::Box, vec::Vec};
use core::fmt;

use super::{
    config::CoordinatorConfig,
    endpoint::Coordinator,
    held::Held,
    io::{ConnectionId, CoordinatorEvent, CoordinatorOutput, LocalAnswer, RequestTag},
};
use crate::{
    code::{self, Code, Coded as _},
    fleet::{NodeError, Ticket, WorkerFleetManager},
    id::{ClientId, SessionId},
    identity::pairing::{
        PairingDesk, PairingError, PairingMethod, PairingTarget, PairingTools, Pake, Received,
        VerifiedPairing, session_of,
    },
    protocol::{
        ProtocolError,
        endpoint::EndpointError,
        frame::{self, FrameDecoder, FrameKind},
    },
    shell::Entropy,
    time::{Mono, Now},
};

/// Messages of a peer without a certificate that wait for the journal.
const MAX_IN_FLIGHT: usize = 4;

/// Bytes that such a peer may have been handed without taking them.
const MAX_UNSENT: usize = 64 << 10;

/// What pairing needs from outside. With it, a [`Coordinator`] lets peers without a certificate pair; without it,
/// they are refused.
pub struct PairingPort {
    entropy: Box<dyn Entropy + Send>,
    pake: Option<Box<dyn Pake + Send + Sync>>,
}

impl PairingPort {
    /// Pairing by QR code and by comparison.
    pub fn new(entropy: Box<dyn Entropy + Send>) -> Self {
        Self { entropy, pake: None }
    }

    /// Pairing by PIN too, through `pake`.
    #[must_use]
    pub fn with_pake(self, pake: Box<dyn Pake + Send + Sync>) -> Self {
        Self { pake: Some(pake), ..self }
    }

    fn tools(&mut self) -> PairingTools<'_> {
        let tools = PairingTools::new(&mut *self.entropy);
        match &self.pake {
            Some(pake) => tools.with_pake(&**pake),
            None => tools,
        }
    }
}

impl fmt::Debug for PairingPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PairingPort").field("pake", &self.pake.is_some()).finish_non_exhaustive()
    }
}

/// A peer that has proved nothing.
#[derive(Debug)]
pub(super) struct Stranger {
    decoder: FrameDecoder,
    since: Mono,
    messages: usize,
    in_flight: usize,
    unsent: usize,
}

impl Stranger {
    pub(super) fn deadline(&self, config: &CoordinatorConfig) -> Mono {
        self.since.plus(config.pairing_patience)
    }
}

impl Coordinator {
    /// Lets peers without a certificate pair.
    #[must_use]
    pub fn with_pairing(mut self, port: PairingPort) -> Self {
        self.pairing = Some(port);
        self
    }

    pub(super) fn stranger(&mut self, id: ConnectionId, now: Now) -> Result<(), EndpointError> {
        if self.connections.contains_key(&id) || self.strangers.contains_key(&id) {
            return Err(EndpointError::Connected);
        }
        let refused = if self.is_halted() {
            Some(code::FLEET_HALTED)
        } else if self.pairing.is_none() {
            Some(code::PAIRING_CLOSED)
        } else if self.strangers.len() >= self.config.max_strangers {
            Some(code::CONNECTION_TOO_MANY)
        } else {
            None
        };
        if let Some(code) = refused {
            self.refuse_connection(id, code);
            return Ok(());
        }
        let stranger = Stranger {
            decoder: FrameDecoder::only(FrameKind::Pairing),
            since: now.mono,
            messages: 0,
            in_flight: 0,
            unsent: 0,
        };
        self.timers.insert((stranger.deadline(&self.config), id));
        self.strangers.insert(id, stranger);
        self.event(CoordinatorEvent::Stranger { connection: id });
        Ok(())
    }

    /// Forgets a peer without a certificate. True where there was one.
    pub(super) fn forget_stranger(&mut self, id: ConnectionId) -> bool {
        let Some(stranger) = self.strangers.remove(&id) else { return false };
        self.timers.remove(&(stranger.deadline(&self.config), id));
        true
    }

    pub(super) fn close_stranger(&mut self, id: ConnectionId, code: Code) {
        if self.forget_stranger(id) {
            self.drop_unsent(id);
            self.refuse_connection(id, code);
        }
    }

    pub(super) fn stranger_received(&mut self, id: ConnectionId, mut bytes: &[u8], now: Now) {
        loop {
            let Some(stranger) = self.strangers.get_mut(&id) else { return };
            let body = match stranger.decoder.decode(&mut bytes) {
                Ok(Some(frame)) => frame.body,
                Ok(None) => return,
                Err(error) => return self.close_stranger(id, error.code()),
            };
            stranger.messages = stranger.messages.saturating_add(1);
            let too_fast = stranger.in_flight >= MAX_IN_FLIGHT
                || stranger.messages > self.config.max_pairing_messages
                || self.held.len() >= self.config.max_held;
            if too_fast {
                return self.close_stranger(id, code::CONNECTION_TOO_FAST);
            }
            stranger.in_flight = stranger.in_flight.saturating_add(1);
            // What is not a message at all needs no answer.
            let Some(session) = session_of(&body) else {
                return self.close_stranger(id, PairingError::Malformed.code());
            };
            let outcome = match (&mut self.pairing, &mut self.manager) {
                (Some(port), manager) => manager.pairing_message(&body, now, &mut port.tools()),
                (None, _) => Err(PairingError::Closed.into()),
            };
            match outcome {
                Ok(ticket) => self.held.push_back(Held::Pairing(id, session, ticket)),
                Err(error) => {
                    self.event(CoordinatorEvent::PairingRefused {
                        session: session.clone(),
                        code: error.code(),
                    });
                    let index = self.manager.state().index();
                    self.held.push_back(Held::PairingRefused(id, index, session));
                }
            }
        }
    }

    pub(super) fn stranger_sent(&mut self, id: ConnectionId, bytes: usize) {
        if let Some(stranger) = self.strangers.get_mut(&id) {
            stranger.unsent = stranger.unsent.saturating_sub(bytes);
        }
    }

    /// What came of a pairing message, once it lasts.
    pub(super) fn paired(&mut self, id: ConnectionId, session: &SessionId, received: Received) {
        let Received { reply, ask, refused, .. } = received;
        if let Some(ask) = ask {
            self.push(CoordinatorOutput::ApprovalWanted(Box::new(ask)));
        }
        if let Some(error) = refused {
            self.event(CoordinatorEvent::PairingRefused { session: session.clone(), code: error.code() });
        }
        match reply {
            Some(reply) => self.send_stranger(id, &reply),
            None => self.refuse_stranger(id, session),
        }
    }

    /// Says no, without a reason.
    pub(super) fn refuse_stranger(&mut self, id: ConnectionId, session: &SessionId) {
        self.send_stranger(id, &PairingDesk::refusal(session));
    }

    fn send_stranger(&mut self, id: ConnectionId, message: &[u8]) {
        let Some(stranger) = self.strangers.get_mut(&id) else { return };
        stranger.in_flight = stranger.in_flight.saturating_sub(1);
        let mut bytes = Vec::new();
        if let Err(error) = frame::encode(FrameKind::Pairing, message, &mut bytes) {
            return self.close_stranger(id, ProtocolError::from(error).code());
        }
        stranger.unsent = stranger.unsent.saturating_add(bytes.len());
        if stranger.unsent > MAX_UNSENT {
            return self.close_stranger(id, code::CONNECTION_SLOW_READER);
        }
        self.push(CoordinatorOutput::Send { connection: id, bytes });
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
        self.hold(tag, outcome, Held::Offered, |error| LocalAnswer::Offered(Err(error)));
    }

    /// Holds the outcome of a step of pairing for the caller.
    pub(super) fn hold<A>(
        &mut self,
        tag: RequestTag,
        outcome: Result<Ticket<A>, NodeError>,
        held: fn(RequestTag, Ticket<A>) -> Held,
        refused: fn(NodeError) -> LocalAnswer,
    ) {
        let waiting = match outcome {
            Ok(ticket) => held(tag, ticket),
            Err(error) => Held::LocalRefused(tag, self.manager.state().index(), refused(error)),
        };
        self.held.push_back(waiting);
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
        self.hold(tag, outcome, Held::Paired, |error| LocalAnswer::Paired(Err(error)));
    }
}
