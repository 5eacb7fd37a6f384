//! Pairing through the fleet. The steps of the pairing desk are journaled like every other operation.
//!
//! A step of pairing is decided and accepted in one call. The code and the keys that it depends on are in
//! memory only and are used up by deciding, so no step can be decided twice. Its answer waits for the journal
//! like every other: no attempt is answered before it is charged.

use alloc::vec::Vec;

use super::{
    command_rejection::{CommandError, TimeError},
    context::Steps,
    decide::change_devices,
    event::FleetEvent,
    ledger::Ticket,
    manager::WorkerFleetManager,
    node_rejection::NodeError,
    principal::Principal,
};
use crate::{
    digest::Sha256Digest,
    id::{ClientId, DeviceId, OrderId, SessionId},
    identity::{
        AuthError, AuthenticatedDevice, DeviceError, Renewable, StandingTerms,
        pairing::{
            EnrolmentOffered, Offered, PairingEnd, PairingMethod, PairingSession, PairingTarget,
            PairingTools, Received, Turn, VerifiedPairing,
        },
    },
    time::Now,
};

impl WorkerFleetManager {
    /// The device that presented the certificate `leaf` (exact DER) on a connection, by the fleet's own
    /// clocks. Call it for every connection, including resumed ones.
    ///
    /// # Errors
    /// [`NodeError::Auth`]; [`NodeError::Command`] if the monotonic time goes back.
    pub fn authenticate(&self, leaf: &[u8], now: Now) -> Result<AuthenticatedDevice<'_>, NodeError> {
        let (now, _) = self.state().discipline(now)?;
        let authenticated: Result<_, AuthError> = self.state().devices().authenticate(leaf, now);
        Ok(authenticated?)
    }

    /// The renewal that the certificate `leaf` (exact DER) of a connection allows although it no longer
    /// authenticates, by the fleet's own clocks.
    ///
    /// # Errors
    /// [`NodeError::Auth`] if the certificate allows nothing, [`NodeError::Device`] if a condition of the
    /// renewal is not met; [`NodeError::Command`] if a clock cannot be trusted.
    pub fn renewable(&self, leaf: &[u8], now: Now) -> Result<Renewable<'_>, NodeError> {
        let (now, leap) = self.state().discipline(now)?;
        if let Some(leap) = leap {
            return Err(CommandError::from(TimeError::WallLeap { leap }).into());
        }
        let registry = self.state().devices();
        let presented = registry.read(leaf).map_err(AuthError::from)?;
        match registry.renewable(presented.fingerprint(), now) {
            Ok(found) => Ok(found),
            Err(DeviceError::Auth(error)) => Err(error.into()),
            Err(error) => Err(error.into()),
        }
    }

    /// Offers a pairing, for an operator. The ticket holds the pairing code, which is stored nowhere else.
    ///
    /// # Errors
    /// [`NodeError::Pairing`], and the errors that every operation shares.
    pub fn offer_pairing(
        &mut self,
        operator: &ClientId,
        method: PairingMethod,
        target: PairingTarget,
        now: Now,
        tools: &mut PairingTools<'_>,
    ) -> Result<Ticket<Offered>, NodeError> {
        let at = self.enter(now)?;
        let turn = self.desk.offer(method, target, &self.kernel.state.nodes.registry, at, tools)?;
        Ok(self.took(at, Principal::Operator(operator.clone()), turn)?)
    }

    /// Issues an enrolment key, for an operator. The ticket holds its code, which is stored nowhere else.
    ///
    /// # Errors
    /// [`NodeError::Pairing`], and the errors that every operation shares.
    pub fn open_enrolment(
        &mut self,
        operator: &ClientId,
        order: OrderId,
        terms: StandingTerms,
        now: Now,
        tools: &mut PairingTools<'_>,
    ) -> Result<Ticket<EnrolmentOffered>, NodeError> {
        let at = self.enter(now)?;
        let turn = self.desk.open_enrolment(order, terms, at, tools)?;
        Ok(self.took(at, Principal::Operator(operator.clone()), turn)?)
    }

    /// Revokes an enrolment key.
    ///
    /// # Errors
    /// [`NodeError::Pairing`], and the errors that every operation shares.
    pub fn revoke_enrolment(
        &mut self,
        operator: &ClientId,
        order: &OrderId,
        now: Now,
    ) -> Result<Ticket<()>, NodeError> {
        let at = self.enter(now)?;
        let turn = self.desk.revoke_enrolment(order, at)?;
        Ok(self.took(at, Principal::Operator(operator.clone()), turn)?)
    }

    /// Handles a pairing message of a peer that is not authenticated.
    ///
    /// # Errors
    /// [`NodeError::Pairing`], and the errors that every operation shares.
    pub fn pairing_message(
        &mut self,
        bytes: &[u8],
        now: Now,
        tools: &mut PairingTools<'_>,
    ) -> Result<Ticket<Received>, NodeError> {
        let at = self.enter(now)?;
        let turn = self.desk.receive(bytes, &self.kernel.state.nodes.registry, at, tools)?;
        Ok(self.took(at, Principal::Stranger, turn)?)
    }

    /// Approves the pairing with this transcript. The ticket holds what the certificate issuer needs.
    ///
    /// # Errors
    /// [`NodeError::Pairing`], and the errors that every operation shares.
    pub fn approve_pairing(
        &mut self,
        operator: &ClientId,
        session: &SessionId,
        transcript: &Sha256Digest,
        now: Now,
    ) -> Result<Ticket<VerifiedPairing>, NodeError> {
        let at = self.enter(now)?;
        let turn = self.desk.approve(session, transcript, at)?;
        Ok(self.took(at, Principal::Operator(operator.clone()), turn)?)
    }

    /// Rejects a pairing. Possible until its certificate is issued.
    ///
    /// # Errors
    /// [`NodeError::Pairing`], and the errors that every operation shares.
    pub fn reject_pairing(
        &mut self,
        operator: &ClientId,
        session: &SessionId,
        now: Now,
    ) -> Result<Ticket<()>, NodeError> {
        let at = self.enter(now)?;
        let turn = self.desk.reject(session, at)?;
        Ok(self.took(at, Principal::Operator(operator.clone()), turn)?)
    }

    /// Withdraws an offer of pairing.
    ///
    /// # Errors
    /// [`NodeError::Pairing`], and the errors that every operation shares.
    pub fn cancel_pairing(
        &mut self,
        operator: &ClientId,
        session: &SessionId,
        now: Now,
    ) -> Result<Ticket<()>, NodeError> {
        let at = self.enter(now)?;
        let turn = self.desk.cancel(session, at)?;
        Ok(self.took(at, Principal::Operator(operator.clone()), turn)?)
    }

    /// Completes a pairing with the certificate that its issuer signed (exact DER). The device is registered,
    /// or replaces another one, whose lease, requests and connections end. All of it is one record.
    ///
    /// # Errors
    /// [`NodeError::Pairing`], [`NodeError::Device`], and the errors that every operation shares.
    pub fn complete_pairing(
        &mut self,
        pairing: VerifiedPairing,
        certificate: &[u8],
        now: Now,
    ) -> Result<Ticket<DeviceId>, NodeError> {
        let at = self.enter(now)?;
        let device = pairing.device().clone();
        let turn = self.desk.complete(pairing, certificate, &self.kernel.state.nodes.registry, at)?;
        let mut events = paired(turn.events());
        let command = turn.durable().command;
        let context = self.context(&Principal::Core, now)?;
        let steps = match change_devices(&context, &command) {
            Ok(steps) => steps,
            // The desk has asked the registry, and dispatch refuses neither a registration nor a replacement.
            // If one refuses all the same, the desk is ahead of the state and only recovery continues.
            Err(error) => {
                self.journal_failed();
                return Err(error);
            }
        };
        let mut draft = steps.with_answer(device);
        events.append(&mut draft.events);
        draft.events = events;
        Ok(self.settle(at, Principal::Core, draft)?)
    }

    /// How the pairing of `session` ended; `None` if it is open or unknown.
    pub fn pairing_end(&self, session: &SessionId) -> Option<PairingEnd> {
        self.state().nodes().pairing().get(session).and_then(PairingSession::end)
    }

    /// The time of a step, or why no step may be made now.
    fn enter(&self, now: Now) -> Result<Now, CommandError> {
        Ok(self.context(&Principal::Core, now)?.now)
    }

    /// Makes a record of what the desk did. If there are no events, nothing is written and the ticket can be
    /// redeemed as soon as earlier records are durable.
    fn took<T>(&mut self, at: Now, principal: Principal, turn: Turn<T>) -> Result<Ticket<T>, CommandError> {
        let events = paired(turn.events());
        self.settle(at, principal, Steps::following(events).with_answer(turn.durable()))
    }
}

fn paired(events: &[crate::identity::pairing::PairingEvent]) -> Vec<FleetEvent> {
    events.iter().cloned().map(FleetEvent::from).collect()
}
