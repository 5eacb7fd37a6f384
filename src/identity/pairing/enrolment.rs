//! Enrolment keys: one code with which many devices pair, as often and as long as an operator has allowed.
//!
//! The exchange is that of a QR code, with proof both ways over a transcript that has the coordinator's certificate in it.
//! Two things differ. The secret cannot be guessed and is in many hands, so no attempts are counted, and nothing is
//! written before a device has proved it; and the key's terms stand where an operator would be asked.

use super::{
    desk::{PairingDesk, replied},
    error::PairingError,
    exchange::Exchange,
    message::{Hello, Message, Status},
    pake::PairingTools,
    secret::{enrolment_secret, order_of},
    state::PairingCommand,
    turn::{EnrolmentOffered, Received, Turn},
    verified::VerifiedPairing,
};
use crate::{
    id::{OrderId, SessionId},
    identity::{DeviceRegistry, OrderError, StandingTerms},
    time::Now,
};

impl PairingDesk {
    /// Gives out an enrolment key. An operator's act. The code follows from the host's seed and the key's name, so that it
    /// stays good over restarts, and no secret is stored.
    ///
    /// # Errors
    /// [`PairingError::Enrolment`]: no seed, a name that is taken, or as many keys as there may be.
    pub fn open_enrolment(
        &mut self,
        order: OrderId,
        terms: StandingTerms,
        now: Now,
        tools: &mut PairingTools<'_>,
    ) -> Result<Turn<EnrolmentOffered>, PairingError> {
        let secret = enrolment_secret(tools.enrolment.ok_or(OrderError::NoSeed)?, self.fleet(), &order, now)?;
        let until = terms.order(now).until();
        let command = PairingCommand::OpenEnrolment { order: order.clone(), terms, check: secret.check() };
        let events = self.apply(&command, now)?;
        let code = secret.enrolment_code(&order, &self.certificate());
        Ok(Turn { events, value: EnrolmentOffered { order, code, until } })
    }

    /// Takes an enrolment key back, with what it allowed and has no certificate yet. An operator's act.
    ///
    /// # Errors
    /// [`PairingError::Enrolment`] where there is no such key, or it was revoked before.
    pub fn revoke_enrolment(&mut self, order: &OrderId, now: Now) -> Result<Turn<()>, PairingError> {
        let events = self.apply(&PairingCommand::RevokeEnrolment { order: order.clone() }, now)?;
        events.iter().for_each(|event| self.forget_live(event));
        Ok(Turn { events, value: () })
    }

    pub(super) fn enrol_hello(
        &mut self,
        hello: Hello,
        bytes: &[u8],
        registry: &DeviceRegistry,
        now: Now,
        tools: &mut PairingTools<'_>,
    ) -> Result<Turn<Received>, PairingError> {
        let session = hello.session.clone();
        // The reply was lost on the way; the same question gets the same answer.
        if let Some(reply) =
            self.enrolling.answered(&session, bytes).or_else(|| self.answered(&session, bytes))
        {
            return Ok(replied(alloc::vec![], reply));
        }
        let order = order_of(&session).ok_or(PairingError::UnknownSession)?;
        let key = self.state().enrolment(&order)?;
        key.standing.allows(&hello.device, hello.kind, now.mono)?;
        if self.state().get(&session).is_some() {
            return Err(PairingError::Conflict);
        }
        let secret =
            enrolment_secret(tools.enrolment.ok_or(OrderError::NoSeed)?, self.fleet(), &order, key.opened)?;
        if secret.check() != key.check {
            // The host has another seed than when the key was given out.
            return Err(PairingError::SecretLost);
        }
        let prepared = Exchange::prepare(hello, bytes, self.fleet(), self.certificate(), tools)?;
        registry.may_pair_key(&prepared.key_digest())?;
        let (exchange, reply) = prepared.answer(secret, tools)?;
        self.enrolling.put(session, order, exchange);
        Ok(replied(alloc::vec![], reply))
    }

    pub(super) fn enrol_confirm(
        &mut self,
        session: &SessionId,
        proof: &[u8; 32],
        registry: &DeviceRegistry,
        now: Now,
    ) -> Result<Turn<Received>, PairingError> {
        // One proof for one exchange: a wrong one ends it.
        let (order, mut exchange) = self.enrolling.take(session).ok_or(PairingError::Order)?;
        let transcript = exchange.check(proof)?;
        let peer = exchange.peer();
        registry.may_pair(&peer.device, Some(&peer.key), false)?;
        let request = exchange.request().to_vec();
        let (session, enrolled) = (session.clone(), peer.clone());
        let command = PairingCommand::Enrol { order, session: session.clone(), peer, transcript };
        let events = self.apply(&command, now)?;
        let until = now.mono.plus(self.state().policy().get().approval_ttl_ms);
        self.keep_exchange(session.clone(), exchange);
        let pending = Message::Status { session: session.clone(), status: Status::Pending }.encode();
        let pairing =
            VerifiedPairing { session, peer: enrolled, transcript, request, replaces: false, until };
        let value = Received { reply: Some(pending), enrolled: Some(pairing), ..Received::default() };
        Ok(Turn { events, value })
    }
}
