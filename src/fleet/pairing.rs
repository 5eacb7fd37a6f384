//! Pairing through the fleet: the desk's steps, journaled like every other operation.
//!
//! A step of pairing is decided and accepted in one call. What it rests on, a code and the keys of an exchange, is in
//! memory only and is used up by deciding; there is nothing that could be decided twice. Its answer waits for the
//! journal like every other: an attempt that was not charged is not answered.

use alloc::vec::Vec;

use super::{
    context::Steps,
    decide::change_devices,
    event::FleetEvent,
    manager::{Ticket, WorkerFleetManager},
    node_rejection::NodeError,
    principal::Principal,
    rejection::CommandError,
};
use crate::{
    digest::Sha256Digest,
    id::{ClientId, DeviceId, SessionId},
    identity::{
        AuthError, AuthenticatedDevice,
        pairing::{
            Offered, PairingEnd, PairingMethod, PairingSession, PairingTarget, PairingTools, Received, Turn,
            VerifiedPairing,
        },
    },
    time::Now,
};

impl WorkerFleetManager {
    /// The device that presented the certificate `leaf` (exact DER) on a connection, by the fleet's own clock. Ask
    /// for every connection, resumed ones too.
    ///
    /// # Errors
    /// [`NodeError::Auth`]; [`NodeError::Command`] for a line that goes back.
    pub fn authenticate(&self, leaf: &[u8], now: Now) -> Result<AuthenticatedDevice<'_>, NodeError> {
        let (now, _) = self.state().discipline(now)?;
        let authenticated: Result<_, AuthError> = self.state().devices().authenticate(leaf, now);
        Ok(authenticated?)
    }

    /// Offers a pairing. An operator's act. The ticket holds the code; it is stored nowhere.
    ///
    /// # Errors
    /// [`NodeError::Pairing`] and those of every operation.
    pub fn offer_pairing(
        &mut self,
        operator: &ClientId,
        method: PairingMethod,
        target: PairingTarget,
        now: Now,
        tools: &mut PairingTools<'_>,
    ) -> Result<Ticket<Offered>, NodeError> {
        let at = self.enter(now)?;
        let turn = self.desk.offer(method, target, &self.state.nodes.registry, at, tools)?;
        Ok(self.took(at, Principal::Operator(operator.clone()), turn))
    }

    /// Takes a pairing message from a peer that has proved nothing.
    ///
    /// # Errors
    /// [`NodeError::Pairing`] and those of every operation.
    pub fn pairing_message(
        &mut self,
        bytes: &[u8],
        now: Now,
        tools: &mut PairingTools<'_>,
    ) -> Result<Ticket<Received>, NodeError> {
        let at = self.enter(now)?;
        let turn = self.desk.receive(bytes, &self.state.nodes.registry, at, tools)?;
        Ok(self.took(at, Principal::Stranger, turn))
    }

    /// Approves the pairing that `transcript` names. What the ticket holds goes to the certificate issuer.
    ///
    /// # Errors
    /// [`NodeError::Pairing`] and those of every operation.
    pub fn approve_pairing(
        &mut self,
        operator: &ClientId,
        session: &SessionId,
        transcript: &Sha256Digest,
        now: Now,
    ) -> Result<Ticket<VerifiedPairing>, NodeError> {
        let at = self.enter(now)?;
        let turn = self.desk.approve(session, transcript, at)?;
        Ok(self.took(at, Principal::Operator(operator.clone()), turn))
    }

    /// Says no to a pairing. Possible until its certificate is issued.
    ///
    /// # Errors
    /// [`NodeError::Pairing`] and those of every operation.
    pub fn reject_pairing(
        &mut self,
        operator: &ClientId,
        session: &SessionId,
        now: Now,
    ) -> Result<Ticket<()>, NodeError> {
        let at = self.enter(now)?;
        let turn = self.desk.reject(session, at)?;
        Ok(self.took(at, Principal::Operator(operator.clone()), turn))
    }

    /// Takes an offer back.
    ///
    /// # Errors
    /// [`NodeError::Pairing`] and those of every operation.
    pub fn cancel_pairing(
        &mut self,
        operator: &ClientId,
        session: &SessionId,
        now: Now,
    ) -> Result<Ticket<()>, NodeError> {
        let at = self.enter(now)?;
        let turn = self.desk.cancel(session, at)?;
        Ok(self.took(at, Principal::Operator(operator.clone()), turn))
    }

    /// Completes a pairing with the certificate that its issuer signed (exact DER): the device is registered, or takes
    /// the place of the one that it replaces, whose lease, requests and connections end. One record, whole or not at
    /// all.
    ///
    /// # Errors
    /// [`NodeError::Pairing`], [`NodeError::Device`] and those of every operation.
    pub fn complete_pairing(
        &mut self,
        pairing: VerifiedPairing,
        certificate: &[u8],
        now: Now,
    ) -> Result<Ticket<DeviceId>, NodeError> {
        let at = self.enter(now)?;
        let device = pairing.device().clone();
        let turn = self.desk.complete(pairing, certificate, &self.state.nodes.registry, at)?;
        let mut events = paired(turn.events());
        let command = turn.durable().command;
        let context = self.context(&Principal::Core, now)?;
        let steps = match change_devices(&context, &command) {
            Ok(steps) => steps,
            // The desk asked the registry, and dispatch refuses neither a registration nor a replacement. Where that
            // is wrong, the desk is ahead of the state: only recovery goes on.
            Err(error) => {
                self.journal_failed();
                return Err(error);
            }
        };
        let mut draft = steps.with_answer(device);
        events.append(&mut draft.events);
        draft.events = events;
        Ok(self.settle(at, Principal::Core, draft, true))
    }

    /// How the pairing of `session` ended, where it did.
    pub fn pairing_end(&self, session: &SessionId) -> Option<PairingEnd> {
        self.state().nodes().pairing().get(session).and_then(PairingSession::end)
    }

    /// The time of a step; an error where none may be taken.
    fn enter(&self, now: Now) -> Result<Now, CommandError> {
        Ok(self.context(&Principal::Core, now)?.now)
    }

    /// Makes a record of what the desk did. Without events, nothing is written and nothing is held back.
    fn took<T>(&mut self, at: Now, principal: Principal, turn: Turn<T>) -> Ticket<T> {
        let events = paired(turn.events());
        self.settle(at, principal, Steps::following(events).with_answer(turn.durable()), true)
    }
}

fn paired(events: &[crate::identity::pairing::PairingEvent]) -> Vec<FleetEvent> {
    events.iter().map(|change| FleetEvent::PairingChanged { change: change.clone() }).collect()
}
