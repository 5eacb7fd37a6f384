//! Pairing in a fleet of `explain`: the same case gives the same codes and nonces. They guard nothing.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use leasehold::{
    digest::Sha256Digest,
    fleet::{FleetEvent, NodeError, Ticket},
    id::{ClientId, SessionId},
    identity::pairing::{PairingMethod, PairingTarget, PairingTools},
    shell::{Entropy, EntropyError},
};
use serde_json::{Value, json};

use super::{Done, Rejection, peers::Peers};

/// Bytes that count: never the same twice in one case, and the same in every run of it.
#[derive(Default)]
pub struct Counted(u64);

impl Entropy for Counted {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        self.0 += 1;
        let digest = Sha256Digest::of(&self.0.to_be_bytes());
        for (to, from) in bytes.iter_mut().zip(digest.as_bytes().iter().cycle()) {
            *to = *from;
        }
        Ok(())
    }
}

impl Peers {
    fn operator_id() -> Result<ClientId, Rejection> {
        Ok(ClientId::new("operator")?)
    }

    /// Writes, hands out, and shows what happened.
    fn redeem<A>(&mut self, ticket: Result<Ticket<A>, NodeError>) -> Result<(Vec<FleetEvent>, A), Rejection> {
        let ticket = ticket?;
        let batch = self.fleet.take_journal();
        let events = batch.iter().flat_map(|batch| &batch.records).flat_map(|record| record.events.clone());
        let events = events.collect();
        if let Some(batch) = batch {
            let _ = self.fleet.durable(batch.last);
        }
        match ticket.redeem(&self.fleet) {
            Ok(released) => Ok((events, released.answer)),
            Err(_) => Err(Rejection::malformed("the answer is held")),
        }
    }

    /// Opens a session. The answer has its code, as an operator would be shown it: in a real fleet it is a secret.
    pub fn offer(&mut self, method: PairingMethod, target: PairingTarget) -> Result<Done, Rejection> {
        let operator = Self::operator_id()?;
        let mut tools = PairingTools::new(&mut self.entropy);
        let ticket = self.fleet.offer_pairing(&operator, method, target, self.now, &mut tools);
        let (events, offered) = self.redeem(ticket)?;
        Ok((events, json!({"session": offered.session, "code": offered.code.expose()})))
    }

    pub fn pair(&mut self, message: &[u8]) -> Result<Done, Rejection> {
        let mut tools = PairingTools::new(&mut self.entropy);
        let ticket = self.fleet.pairing_message(message, self.now, &mut tools);
        let (events, received) = self.redeem(ticket)?;
        if let Some(refused) = received.refused {
            return Ok((events, json!({"refused": leasehold::code::Coded::code(&refused)})));
        }
        let ask = received.ask.map(|ask| {
            json!({"session": ask.session, "device": ask.device, "kind": ask.kind, "digits": ask.digits.to_string(),
                "transcript": ask.transcript, "key_sha256": ask.key})
        });
        Ok((events, json!({"reply": received.reply.map(|reply| STANDARD.encode(reply)), "ask": ask})))
    }

    pub fn approve(&mut self, session: &SessionId, transcript: &Sha256Digest) -> Result<Done, Rejection> {
        let ticket = self.fleet.approve_pairing(&Self::operator_id()?, session, transcript, self.now);
        let (events, approved) = self.redeem(ticket)?;
        let shown = json!({"device": approved.device(), "request": STANDARD.encode(approved.request())});
        self.approved.insert(session.clone(), approved);
        Ok((events, shown))
    }

    pub fn end_pairing(&mut self, session: &SessionId, cancel: bool) -> Result<Done, Rejection> {
        let operator = Self::operator_id()?;
        let ticket = match cancel {
            true => self.fleet.cancel_pairing(&operator, session, self.now),
            false => self.fleet.reject_pairing(&operator, session, self.now),
        };
        let (events, ()) = self.redeem(ticket)?;
        Ok((events, Value::Null))
    }

    pub fn complete(&mut self, session: &SessionId, certificate: &[u8]) -> Result<Done, Rejection> {
        let approved = self.approved.remove(session);
        let approved =
            approved.ok_or_else(|| Rejection::malformed("nothing was approved for this session"))?;
        let ticket = self.fleet.complete_pairing(approved, certificate, self.now);
        let (events, device) = self.redeem(ticket)?;
        Ok((events, json!({"device": device})))
    }
}
