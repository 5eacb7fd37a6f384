//! The coordinator's side: offers codes, answers devices, asks the operator, hands out certificates.

use alloc::{collections::BTreeMap, string::String, vec::Vec};
use core::fmt;

use super::{
    enrolling::Enrolling,
    error::PairingError,
    exchange::Exchange,
    message::{Message, Status},
    method::{PairingMethod, PairingTarget},
    pake::PairingTools,
    policy::PairingPolicy,
    secret::{self, Secret},
    session::{PairingEnd, PairingEvent, PairingPhase},
    state::{PairingCommand, PairingState},
    transcript::{Digits, Label, tag},
    turn::{ApprovalRequest, Completed, Offered, Received, Turn},
    verified::VerifiedPairing,
};
use crate::{
    digest::Sha256Digest,
    id::{FleetId, SessionId},
    identity::{DEFAULT_CERTIFICATE_BYTES, DeviceCertificate, DeviceCommand, DeviceRegistry},
    time::Now,
};

/// What a session has besides its state: the code, and the exchange under way. Never stored.
#[derive(Debug)]
struct Live {
    secret: Secret,
    exchange: Option<Exchange>,
}

/// Pairs devices: a state machine without I/O.
///
/// Bytes go in through [`Self::receive`]; the operator's acts have a method each. Every step gives a [`Turn`]:
/// journal its events, then use its value. An error changes nothing.
///
/// Codes live in memory only: after a restart, [`Self::recover`] keeps what was issued, and sessions that still
/// needed their code end.
pub struct PairingDesk {
    state: PairingState,
    fleet: FleetId,
    certificate: Sha256Digest,
    live: BTreeMap<SessionId, Live>,
    /// Exchanges under enrolment keys that are not proved yet.
    pub(super) enrolling: Enrolling,
}

impl PairingDesk {
    /// A desk without sessions. `certificate` is the SHA-256 of the certificate (exact DER) that the coordinator
    /// presents on its pairing port: both sides bind what they see on their own end of the channel.
    pub fn new(policy: PairingPolicy, fleet: FleetId, certificate: Sha256Digest) -> Self {
        Self::recover(PairingState::new(policy), fleet, certificate)
    }

    /// A desk over sessions that were recovered.
    pub fn recover(state: PairingState, fleet: FleetId, certificate: Sha256Digest) -> Self {
        Self { state, fleet, certificate, live: BTreeMap::new(), enrolling: Enrolling::default() }
    }

    /// The sessions.
    pub const fn state(&self) -> &PairingState {
        &self.state
    }

    /// The coordinator presents another certificate from here on. Exchanges under way keep theirs, and fail
    /// where the device sees the new one; it begins again.
    pub fn set_certificate(&mut self, certificate: Sha256Digest) {
        self.certificate = certificate;
    }

    /// Opens a session and draws its code. An operator's act.
    ///
    /// # Errors
    /// [`PairingError::NoPake`] for a PIN without a provider, [`PairingError::Sessions`] over the bound, and
    /// [`PairingError::Device`] for a target that is registered, revoked, or (to be replaced) unknown.
    pub fn offer(
        &mut self,
        method: PairingMethod,
        target: PairingTarget,
        registry: &DeviceRegistry,
        now: Now,
        tools: &mut PairingTools<'_>,
    ) -> Result<Turn<Offered>, PairingError> {
        if method == PairingMethod::Pin && tools.pake.is_none() {
            return Err(PairingError::NoPake);
        }
        if matches!(target, PairingTarget::Enrolled { .. }) {
            return Err(PairingError::Method);
        }
        if let PairingTarget::New(device) | PairingTarget::Replace(device) = &target {
            registry.may_pair(device, None, target.replaces())?;
        }
        let session = self.draw_session(method, tools)?;
        let digits = self.state.policy().get().pin_digits;
        let (secret, code) = secret::draw(method, digits, &session, &self.certificate, tools.entropy)?;
        let command = PairingCommand::Open { session: session.clone(), method, target };
        let events = self.apply(&command, now)?;
        self.live.insert(session.clone(), Live { secret, exchange: None });
        let expires = now.mono.plus(self.state.policy().get().ttl_ms);
        Ok(Turn { events, value: Offered { session, code, expires } })
    }

    /// Takes a message from a device.
    ///
    /// Where the error, or [`Received::refused`], is to be told to the device, send [`Self::refusal`]: it has no
    /// reason in it.
    ///
    /// # Errors
    /// [`PairingError`]; nothing has changed, and no attempt was charged.
    pub fn receive(
        &mut self,
        bytes: &[u8],
        registry: &DeviceRegistry,
        now: Now,
        tools: &mut PairingTools<'_>,
    ) -> Result<Turn<Received>, PairingError> {
        match Message::decode(bytes)? {
            Message::Hello(hello) if hello.method == PairingMethod::Enrolment => {
                self.enrol_hello(hello, bytes, registry, now, tools)
            }
            Message::Confirm { session, proof } if self.enrolling.has(&session) => {
                self.enrol_confirm(&session, &proof, registry, now)
            }
            Message::Hello(hello) => self.hello(hello, bytes, registry, now, tools),
            Message::Confirm { session, proof } => self.confirm(&session, &proof, registry, now),
            Message::Fetch { session, key } => self.fetch(session, &key, registry, now),
            // What a coordinator says, said to a coordinator: a reflection.
            Message::Reply(_) | Message::Status { .. } => Err(PairingError::Order),
        }
    }

    /// The message that refuses `session` without a reason.
    pub fn refusal(session: &SessionId) -> Vec<u8> {
        Message::Status { session: session.clone(), status: Status::Refused }.encode()
    }

    fn hello(
        &mut self,
        hello: super::message::Hello,
        bytes: &[u8],
        registry: &DeviceRegistry,
        now: Now,
        tools: &mut PairingTools<'_>,
    ) -> Result<Turn<Received>, PairingError> {
        let session = hello.session.clone();
        let open = self.state.open(&session, now)?;
        if open.method() != hello.method {
            return Err(PairingError::Method);
        }
        if !open.target().admits(&hello.device) {
            return Err(PairingError::WrongDevice);
        }
        let live = self.live.get(&session).ok_or(PairingError::SecretLost)?;
        if let Some(reply) = live.exchange.as_ref().and_then(|exchange| exchange.answered(bytes)) {
            // The reply was lost on the way; the same question gets the same answer and costs nothing.
            return Ok(replied(Vec::new(), reply));
        }
        let secret = live.secret.copy();
        let prepared = Exchange::prepare(hello, bytes, &self.fleet, self.certificate, tools)?;
        registry.may_pair_key(&prepared.key_digest())?;
        // Charged before anything that depends on the code is computed or said.
        let mut events = self.apply(&PairingCommand::Start { session: session.clone() }, now)?;
        match prepared.answer(secret, tools) {
            Ok((exchange, reply)) => {
                if let Some(live) = self.live.get_mut(&session) {
                    live.exchange = Some(exchange);
                }
                Ok(replied(events, reply))
            }
            Err(refused) => {
                events.extend(self.fail(&session, now).unwrap_or_default());
                Ok(refusing(events, refused))
            }
        }
    }

    fn confirm(
        &mut self,
        session: &SessionId,
        proof: &[u8; 32],
        registry: &DeviceRegistry,
        now: Now,
    ) -> Result<Turn<Received>, PairingError> {
        let open = self.state.open(session, now)?;
        let (method, replaces) = (open.method(), open.target().replaces());
        let offered = *open.phase() == PairingPhase::Offered;
        let live = self.live.get_mut(session).ok_or(PairingError::SecretLost)?;
        let exchange = live.exchange.as_mut().ok_or(PairingError::Order)?;
        if !offered {
            // Confirmed already; the acknowledgement was lost, or somebody else comes second.
            let again = exchange.confirmed_by(proof);
            let pending = Message::Status { session: session.clone(), status: Status::Pending }.encode();
            return if again { Ok(replied(Vec::new(), pending)) } else { Err(PairingError::Conflict) };
        }
        let transcript = match exchange.check(proof) {
            Ok(transcript) => transcript,
            Err(refused) => {
                live.exchange = None;
                let events = self.fail(session, now)?;
                return Ok(refusing(events, refused));
            }
        };
        let peer = exchange.peer();
        if let Err(refused) = registry.may_pair(&peer.device, Some(&peer.key), replaces) {
            let command = PairingCommand::End { session: session.clone(), end: PairingEnd::Refused };
            let events = self.apply(&command, now)?;
            self.live.remove(session);
            return Ok(refusing(events, refused.into()));
        }
        let command = PairingCommand::Confirm { session: session.clone(), peer: peer.clone(), transcript };
        let events = self.apply(&command, now)?;
        if let Some(live) = self.live.get_mut(session) {
            // The code has done its work; what is left is the key of this one exchange.
            live.secret = Secret::none();
        }
        let ask = ApprovalRequest {
            session: session.clone(),
            method,
            device: peer.device,
            kind: peer.kind,
            key: peer.key,
            replaces,
            digits: Digits::of(&transcript),
            transcript,
        };
        let reply = Some(Message::Status { session: session.clone(), status: Status::Pending }.encode());
        Ok(Turn { events, value: Received { reply, ask: Some(ask), ..Received::default() } })
    }

    fn fetch(
        &mut self,
        session: SessionId,
        key: &Sha256Digest,
        registry: &DeviceRegistry,
        now: Now,
    ) -> Result<Turn<Received>, PairingError> {
        let held = self.state.get(&session).ok_or(PairingError::UnknownSession)?;
        let status = match held.phase() {
            PairingPhase::Offered => return self.state.open(&session, now).and(Err(PairingError::Order)),
            PairingPhase::Ended(end) => return Err(PairingError::Ended(*end)),
            PairingPhase::Confirmed { peer, .. }
            | PairingPhase::Approved { peer, .. }
            | PairingPhase::Issued { peer, .. }
                if peer.key != *key =>
            {
                return Err(PairingError::Conflict);
            }
            PairingPhase::Confirmed { .. } | PairingPhase::Approved { .. } => {
                self.state.open(&session, now)?;
                Status::Pending
            }
            PairingPhase::Issued { peer, certificate, fingerprint, tag, .. } => {
                if now.mono >= held.expires() {
                    return Err(PairingError::Expired);
                }
                registry.still_good(&peer.device, fingerprint, &peer.key)?;
                Status::Issued { certificate: certificate.clone(), tag: *tag }
            }
        };
        Ok(replied(Vec::new(), Message::Status { session, status }.encode()))
    }

    /// The operator approves what `transcript` names: [`ApprovalRequest::transcript`].
    ///
    /// # Errors
    /// [`PairingError::Approval`] where that is not what the session waits with, [`PairingError::Ended`] for a
    /// session that is over.
    pub fn approve(
        &mut self,
        session: &SessionId,
        transcript: &Sha256Digest,
        now: Now,
    ) -> Result<Turn<VerifiedPairing>, PairingError> {
        let replaces = self.state.open(session, now)?.target().replaces();
        let live = self.live.get(session).ok_or(PairingError::SecretLost)?;
        let exchange = live.exchange.as_ref().ok_or(PairingError::Approval)?;
        let (peer, request) = (exchange.peer(), exchange.request().to_vec());
        let command = PairingCommand::Approve { session: session.clone(), transcript: *transcript };
        let events = self.apply(&command, now)?;
        let until = now.mono.plus(self.state.policy().get().approval_ttl_ms);
        let transcript = *transcript;
        let value = VerifiedPairing { session: session.clone(), peer, transcript, request, replaces, until };
        Ok(Turn { events, value })
    }

    /// The operator says no. Possible until the certificate is issued.
    ///
    /// # Errors
    /// [`PairingError::Ended`], [`PairingError::UnknownSession`] and the like; a final state stays final.
    pub fn reject(&mut self, session: &SessionId, now: Now) -> Result<Turn<()>, PairingError> {
        self.end(session, PairingEnd::Rejected, now)
    }

    /// The operator takes the offer back.
    ///
    /// # Errors
    /// As [`Self::reject`].
    pub fn cancel(&mut self, session: &SessionId, now: Now) -> Result<Turn<()>, PairingError> {
        self.end(session, PairingEnd::Cancelled, now)
    }

    /// Completes a pairing with the certificate that its issuer signed, and uses it up, also where it fails.
    ///
    /// The registry is asked once more: what was revoked since the approval gets no certificate.
    ///
    /// # Errors
    /// [`PairingError::WrongKey`], [`PairingError::Certificate`] and [`PairingError::Device`] for a certificate or
    /// device that cannot be registered; [`PairingError::ApprovalExpired`] and [`PairingError::Ended`].
    pub fn complete(
        &mut self,
        pairing: VerifiedPairing,
        certificate: &[u8],
        registry: &DeviceRegistry,
        now: Now,
    ) -> Result<Turn<Completed>, PairingError> {
        let VerifiedPairing { session, peer, transcript, replaces, .. } = pairing;
        // It travels in a pairing message, which has room for no more.
        let leaf = DeviceCertificate::from_der_within(certificate, DEFAULT_CERTIFICATE_BYTES)?;
        if leaf.key() != peer.key {
            return Err(PairingError::WrongKey);
        }
        match self.state.open(&session, now)?.phase() {
            PairingPhase::Approved { transcript: approved, .. } if *approved == transcript => {}
            _ => return Err(PairingError::Approval),
        }
        let (device, kind) = (peer.device, peer.kind);
        let command = if replaces {
            DeviceCommand::Replace { device, kind, certificate: leaf }
        } else {
            DeviceCommand::Register { device, kind, certificate: leaf }
        };
        registry.decide(&command, now)?;
        let exchange = self.live.get(&session).and_then(|live| live.exchange.as_ref());
        let key = exchange.ok_or(PairingError::SecretLost)?.key();
        let issue = PairingCommand::Issue {
            session: session.clone(),
            fingerprint: leaf.fingerprint(),
            certificate: certificate.to_vec(),
            tag: tag(key, Label::Delivery, &transcript, certificate)?,
        };
        let events = self.apply(&issue, now)?;
        self.live.remove(&session);
        Ok(Turn { events, value: Completed { session, command } })
    }

    /// Ends what expired or lost its code, and forgets what ended long enough ago: at most `limit` sessions.
    /// Safety does not wait for this: every step looks at the time itself.
    pub fn sweep(&mut self, limit: usize, now: Now) -> Turn<()> {
        let mut events = self.apply(&PairingCommand::Sweep { limit }, now).unwrap_or_default();
        let lost =
            self.state.sessions().filter(|(id, held)| held.end().is_none() && !self.live.contains_key(*id));
        let lost: Vec<SessionId> =
            lost.take(limit.saturating_sub(events.len())).map(|(id, _)| id.clone()).collect();
        for session in lost {
            let command = PairingCommand::End { session, end: PairingEnd::SecretLost };
            events.extend(self.apply(&command, now).unwrap_or_default());
        }
        let state = &self.state;
        self.live.retain(|session, _| state.get(session).is_some_and(|held| held.end().is_none()));
        Turn { events, value: () }
    }

    /// Follows an event that was decided elsewhere: on a state that is the same as this desk's.
    pub(crate) fn follow(&mut self, event: &PairingEvent) {
        self.state.evolve(event);
        self.forget_live(event);
    }

    /// What is over has no code and no exchange any more.
    pub(super) fn forget_live(&mut self, event: &PairingEvent) {
        if let PairingEvent::SessionEnded { session, .. } | PairingEvent::SessionForgotten { session } = event
        {
            self.live.remove(session);
        }
    }

    /// Puts other rules in force.
    pub(crate) fn set_policy(&mut self, policy: PairingPolicy) {
        self.state.set_policy(policy);
    }

    fn end(&mut self, session: &SessionId, end: PairingEnd, now: Now) -> Result<Turn<()>, PairingError> {
        let events = self.apply(&PairingCommand::End { session: session.clone(), end }, now)?;
        self.live.remove(session);
        Ok(Turn { events, value: () })
    }

    /// Records a failed exchange; the last one ends the session and wipes its code.
    fn fail(&mut self, session: &SessionId, now: Now) -> Result<Vec<PairingEvent>, PairingError> {
        let events = self.apply(&PairingCommand::Fail { session: session.clone() }, now)?;
        if self.state.get(session).is_none_or(|held| held.end().is_some()) {
            self.live.remove(session);
        }
        Ok(events)
    }

    /// A session goes on with an exchange whose secret has done its work.
    pub(super) fn keep_exchange(&mut self, session: SessionId, exchange: Exchange) {
        self.live.insert(session, Live { secret: Secret::none(), exchange: Some(exchange) });
    }

    /// The answer that was given to these very bytes.
    pub(super) fn answered(&self, session: &SessionId, bytes: &[u8]) -> Option<Vec<u8>> {
        self.live.get(session)?.exchange.as_ref()?.answered(bytes)
    }

    pub(super) const fn fleet(&self) -> &FleetId {
        &self.fleet
    }

    pub(super) const fn certificate(&self) -> Sha256Digest {
        self.certificate
    }

    pub(super) fn apply(
        &mut self,
        command: &PairingCommand,
        now: Now,
    ) -> Result<Vec<PairingEvent>, PairingError> {
        let events = self.state.decide(command, now)?;
        for event in &events {
            self.state.evolve(event);
        }
        Ok(events)
    }

    /// A fresh session id: 128 bits in a QR code, six characters where people type it. It is a name, not a secret.
    fn draw_session(
        &self,
        method: PairingMethod,
        tools: &mut PairingTools<'_>,
    ) -> Result<SessionId, PairingError> {
        const TYPED: &[u8] = b"abcdefghjkmnpqrstuvwxyz23456789";
        const HEX: &[u8] = b"0123456789abcdef";
        let (letters, length) = if method == PairingMethod::Qr { (HEX, 32) } else { (TYPED, 6) };
        for _ in 0..8 {
            let mut bytes = [0_u8; 32];
            tools.entropy.fill(&mut bytes)?;
            let text: String = bytes
                .iter()
                .take(length)
                .filter_map(|byte| letters.get(usize::from(*byte).checked_rem(letters.len())?))
                .map(|letter| char::from(*letter))
                .collect();
            let session = SessionId::new(&text).map_err(|_| PairingError::Entropy)?;
            if self.state.get(&session).is_none() {
                return Ok(session);
            }
        }
        Err(PairingError::Entropy)
    }
}

impl fmt::Debug for PairingDesk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PairingDesk")
            .field("state", &self.state)
            .field("fleet", &self.fleet)
            .field("certificate", &self.certificate)
            .field("live", &self.live.len())
            .finish()
    }
}

pub(super) fn replied(events: Vec<PairingEvent>, reply: Vec<u8>) -> Turn<Received> {
    Turn { events, value: Received { reply: Some(reply), ..Received::default() } }
}

fn refusing(events: Vec<PairingEvent>, refused: PairingError) -> Turn<Received> {
    Turn { events, value: Received { refused: Some(refused), ..Received::default() } }
}

#[cfg(test)]
impl PairingDesk {
    pub(super) fn exchange_transcript(&self, session: &SessionId) -> Option<Sha256Digest> {
        match self.state.get(session)?.phase() {
            PairingPhase::Confirmed { transcript, .. }
            | PairingPhase::Approved { transcript, .. }
            | PairingPhase::Issued { transcript, .. } => Some(*transcript),
            PairingPhase::Offered | PairingPhase::Ended(_) => None,
        }
    }
}
