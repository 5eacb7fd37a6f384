//! What can be asked of a node runtime, by whom: strangers that pair, devices, clients, operators, and time.

use alloc::vec::Vec;

use super::{
    error::NodeError,
    event::NodePrincipal,
    runtime::{Draft, NodeRuntime, NodeTicket},
};
use crate::{
    digest::Sha256Digest,
    dispatch::{
        Decision, DeviceMessage, DispatchCommand, DispatchError, DispatchRequest, Enqueued, Incarnation,
        More, RejectReason,
    },
    id::{ClientId, DeviceId, SessionId},
    identity::{
        AuthError, AuthenticatedDevice, DeviceCertificate, DeviceCommand, DeviceError, OverlapEnd,
        RevocationReason, RevocationSubject,
        pairing::{
            Offered, PairingEnd, PairingMethod, PairingPhase, PairingSession, PairingTarget, PairingTools,
            Received, Turn, VerifiedPairing,
        },
    },
    time::{Millis, Mono, Now},
};

/// How many pairing sessions one [`NodeRuntime::poll`] looks after.
const SWEEP: usize = 64;

impl NodeRuntime {
    /// The device that presented the certificate `leaf` on a connection. Ask for every connection, resumed ones too.
    ///
    /// # Errors
    /// [`AuthError`].
    pub fn authenticate(&self, leaf: &[u8], now: Now) -> Result<AuthenticatedDevice<'_>, AuthError> {
        self.state.registry.authenticate(leaf, now)
    }

    /// Offers a pairing. The ticket holds the code; it is stored nowhere.
    ///
    /// # Errors
    /// [`NodeError::Pairing`] and those of every operation.
    pub fn offer(
        &mut self,
        operator: &ClientId,
        method: PairingMethod,
        target: PairingTarget,
        now: Now,
        tools: &mut PairingTools<'_>,
    ) -> Result<NodeTicket<Offered>, NodeError> {
        let at = self.enter(now)?;
        let turn = self.desk.offer(method, target, &self.state.registry, at, tools)?;
        Ok(self.took(at, NodePrincipal::Operator(operator.clone()), turn))
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
    ) -> Result<NodeTicket<Received>, NodeError> {
        let at = self.enter(now)?;
        let turn = self.desk.receive(bytes, &self.state.registry, at, tools)?;
        Ok(self.took(at, NodePrincipal::Stranger, turn))
    }

    /// Approves the pairing that `transcript` names. What the ticket holds goes to the certificate issuer.
    ///
    /// # Errors
    /// [`NodeError::Pairing`] and those of every operation.
    pub fn approve(
        &mut self,
        operator: &ClientId,
        session: &SessionId,
        transcript: &Sha256Digest,
        now: Now,
    ) -> Result<NodeTicket<VerifiedPairing>, NodeError> {
        let at = self.enter(now)?;
        let turn = self.desk.approve(session, transcript, at)?;
        Ok(self.took(at, NodePrincipal::Operator(operator.clone()), turn))
    }

    /// Says no to a pairing.
    ///
    /// # Errors
    /// [`NodeError::Pairing`] and those of every operation.
    pub fn reject(
        &mut self,
        operator: &ClientId,
        session: &SessionId,
        now: Now,
    ) -> Result<NodeTicket<()>, NodeError> {
        let at = self.enter(now)?;
        let turn = self.desk.reject(session, at)?;
        Ok(self.took(at, NodePrincipal::Operator(operator.clone()), turn))
    }

    /// Completes a pairing with the certificate that its issuer signed (exact DER): the device is registered, or takes
    /// the place of the one that it replaces, whose open requests are rejected. One record, whole or not at all.
    ///
    /// # Errors
    /// [`NodeError::Pairing`], [`NodeError::Device`] and those of every operation.
    pub fn complete(
        &mut self,
        pairing: VerifiedPairing,
        certificate: &[u8],
        now: Now,
    ) -> Result<NodeTicket<DeviceId>, NodeError> {
        let at = self.enter(now)?;
        let device = pairing.device().clone();
        let expelled = match pairing.replaces() {
            true => Some(self.state.dispatch.expel(at, &device, RejectReason::DeviceReplaced)?),
            false => None,
        };
        let turn = self.desk.complete(pairing, certificate, &self.state.registry, at)?;
        let mut draft = Draft::default();
        self.fold_pairing(turn.events(), &mut draft);
        let changes = self.state.registry.decide(&turn.durable().command, at)?;
        self.fold_devices(changes, &mut draft);
        if let Some(decision) = expelled {
            self.fold_dispatch(at, decision, &mut draft)?;
        }
        Ok(self.commit(at, NodePrincipal::Core, draft, device))
    }

    fn took<T>(&mut self, at: Now, principal: NodePrincipal, turn: Turn<T>) -> NodeTicket<T> {
        let mut draft = Draft::default();
        self.fold_pairing(turn.events(), &mut draft);
        self.commit(at, principal, draft, turn.durable())
    }

    /// Takes a message over the stream of the device whose certificate has this fingerprint. The certificate is judged
    /// again for every message; its first use ends a rotation.
    ///
    /// # Errors
    /// [`NodeError::Auth`], [`NodeError::Dispatch`] and those of every operation.
    pub fn device_message(
        &mut self,
        certificate: Sha256Digest,
        message: &DeviceMessage,
        now: Now,
    ) -> Result<NodeTicket<()>, NodeError> {
        let at = self.enter(now)?;
        let device = self.state.registry.authenticate_fingerprint(certificate, at)?.device().clone();
        let decision = self.state.dispatch.decide_device(at, &device, message)?;
        let used = self.state.registry.decide(&DeviceCommand::ConfirmUse { fingerprint: certificate }, at)?;
        let mut draft = Draft::default();
        self.fold_devices(used, &mut draft);
        self.fold_dispatch(at, decision, &mut draft)?;
        Ok(self.commit(at, NodePrincipal::Device(device), draft, ()))
    }

    /// A device begins to rotate its own certificate.
    ///
    /// # Errors
    /// [`NodeError::Auth`], [`NodeError::Device`] and those of every operation.
    pub fn device_rotates(
        &mut self,
        certificate: Sha256Digest,
        next: DeviceCertificate,
        overlap: Millis,
        now: Now,
    ) -> Result<NodeTicket<()>, NodeError> {
        let at = self.enter(now)?;
        let device = self.state.registry.authenticate_fingerprint(certificate, at)?.device().clone();
        let command = DeviceCommand::BeginRotation {
            device: device.clone(),
            next,
            overlap,
            at_deadline: OverlapEnd::AbandonNew,
        };
        self.change_devices(at, NodePrincipal::Device(device), &command)
    }

    /// A device revokes itself.
    ///
    /// # Errors
    /// [`NodeError::Auth`], [`NodeError::Device`] and those of every operation.
    pub fn device_revokes_itself(
        &mut self,
        certificate: Sha256Digest,
        now: Now,
    ) -> Result<NodeTicket<()>, NodeError> {
        let at = self.enter(now)?;
        let device = self.state.registry.authenticate_fingerprint(certificate, at)?.device().clone();
        let subject = RevocationSubject::Device(device.clone());
        let command = DeviceCommand::Revoke { subject, reason: RevocationReason::DeviceRequest };
        self.change_devices(at, NodePrincipal::Device(device), &command)
    }

    /// The stream of a device ended.
    ///
    /// # Errors
    /// [`NodeError::Dispatch`] where this incarnation has none open, and those of every operation.
    pub fn stream_ended(
        &mut self,
        device: &DeviceId,
        incarnation: Incarnation,
        now: Now,
    ) -> Result<NodeTicket<()>, NodeError> {
        let at = self.enter(now)?;
        let decision = self.state.dispatch.disconnect(device, incarnation)?;
        self.dispatched(at, NodePrincipal::Core, decision)
    }

    /// Takes what a client asks of dispatch.
    ///
    /// # Errors
    /// [`NodeError::Dispatch`] and those of every operation.
    pub fn request(
        &mut self,
        client: &ClientId,
        ask: &DispatchRequest,
        now: Now,
    ) -> Result<NodeTicket<Option<Enqueued>>, NodeError> {
        let at = self.enter(now)?;
        let decision = self.state.dispatch.decide_service(&self.live, at, client, ask)?;
        self.dispatched(at, NodePrincipal::Client(client.clone()), decision)
    }

    /// Takes an operator's order about the registry. What it means for dispatch and for pairing is in the same record:
    /// revoking a device rejects its open requests, closes its stream and ends its pairing sessions.
    ///
    /// # Errors
    /// [`NodeError::Device`], [`NodeError::Dispatch`] and those of every operation.
    pub fn order_device(
        &mut self,
        operator: &ClientId,
        command: &DeviceCommand,
        now: Now,
    ) -> Result<NodeTicket<()>, NodeError> {
        let at = self.enter(now)?;
        self.change_devices(at, NodePrincipal::Operator(operator.clone()), command)
    }

    /// Takes an operator's order about dispatch. Revoking, reinstating and removing go through the registry, so that
    /// no device is revoked in one and not in the other; grants are for registered devices that are not revoked.
    ///
    /// # Errors
    /// [`NodeError::Device`], [`NodeError::Dispatch`] and those of every operation.
    pub fn order_dispatch(
        &mut self,
        operator: &ClientId,
        order: &DispatchCommand,
        now: Now,
    ) -> Result<NodeTicket<()>, NodeError> {
        let at = self.enter(now)?;
        let principal = NodePrincipal::Operator(operator.clone());
        let subject = |device: &DeviceId| RevocationSubject::Device(device.clone());
        match order {
            DispatchCommand::Revoke { device } => {
                let reason = RevocationReason::Operator;
                let command = DeviceCommand::Revoke { subject: subject(device), reason };
                self.change_devices(at, principal, &command)
            }
            DispatchCommand::Reinstate { device } => {
                let command = DeviceCommand::ClearRevocation { subject: subject(device) };
                self.change_devices(at, principal, &command)
            }
            DispatchCommand::Remove { device } => {
                self.change_devices(at, principal, &DeviceCommand::Remove { device: device.clone() })
            }
            DispatchCommand::Grant { device, .. } if self.state.registry.get(device).is_none() => {
                Err(DeviceError::Unknown(device.clone()).into())
            }
            DispatchCommand::Grant { device, .. }
                if self.state.registry.revocation(&subject(device)).is_some() =>
            {
                Err(DeviceError::Revoked(subject(device)).into())
            }
            order => {
                let decision = self.state.dispatch.decide_operator(at, order)?;
                self.dispatched(at, principal, decision)
            }
        }
    }

    fn dispatched<A>(
        &mut self,
        at: Now,
        principal: NodePrincipal,
        decision: Decision<A>,
    ) -> Result<NodeTicket<A>, NodeError> {
        let mut draft = Draft::default();
        let answer = self.fold_dispatch(at, decision, &mut draft)?;
        Ok(self.commit(at, principal, draft, answer))
    }

    /// Changes the registry, and dispatch and pairing with it. Both decisions come before any change.
    fn change_devices(
        &mut self,
        at: Now,
        principal: NodePrincipal,
        command: &DeviceCommand,
    ) -> Result<NodeTicket<()>, NodeError> {
        let changes = self.state.registry.decide(command, at)?;
        let follows = self.in_dispatch(at, command)?;
        let ending = match command {
            DeviceCommand::Revoke { subject, .. } => self.sessions_of(subject),
            _ => Vec::new(),
        };
        let mut draft = Draft::default();
        self.fold_devices(changes, &mut draft);
        if let Some(decision) = follows {
            self.fold_dispatch(at, decision, &mut draft)?;
        }
        for session in ending {
            // One whose time is over cannot complete, and is swept.
            if let Ok(turn) = self.desk.reject(&session, at) {
                self.fold_pairing(turn.events(), &mut draft);
            }
        }
        Ok(self.commit(at, principal, draft, ()))
    }

    /// What a change of the registry means for dispatch.
    fn in_dispatch(&self, at: Now, command: &DeviceCommand) -> Result<Option<Decision<()>>, DispatchError> {
        let dispatch = &self.state.dispatch;
        let order = |order: DispatchCommand| match dispatch.decide_operator(at, &order) {
            // A device that was granted nothing has nothing to lose there.
            Err(DispatchError::DeviceUnknown) => Ok(None),
            decided => decided.map(Some),
        };
        match command {
            DeviceCommand::Revoke { subject: RevocationSubject::Device(device), .. } => {
                order(DispatchCommand::Revoke { device: device.clone() })
            }
            DeviceCommand::Revoke { subject, .. } => match self.owner(subject) {
                Some(device) => dispatch.expel(at, &device, RejectReason::DeviceRevoked).map(Some),
                None => Ok(None),
            },
            DeviceCommand::RevokeSelf { fingerprint } => {
                match self.owner(&RevocationSubject::Certificate(*fingerprint)) {
                    Some(device) => order(DispatchCommand::Revoke { device }),
                    None => Ok(None),
                }
            }
            DeviceCommand::ClearRevocation { subject: RevocationSubject::Device(device) } => {
                order(DispatchCommand::Reinstate { device: device.clone() })
            }
            DeviceCommand::Replace { device, .. } => {
                dispatch.expel(at, device, RejectReason::DeviceReplaced).map(Some)
            }
            DeviceCommand::Remove { device } => {
                dispatch.expel(at, device, RejectReason::DeviceRemoved).map(Some)
            }
            DeviceCommand::Register { .. }
            | DeviceCommand::BeginRotation { .. }
            | DeviceCommand::ConfirmUse { .. }
            | DeviceCommand::AbandonRotation { .. }
            | DeviceCommand::Settle { .. }
            | DeviceCommand::ClearRevocation { .. } => Ok(None),
        }
    }

    /// The registered device that a revocation is about.
    fn owner(&self, subject: &RevocationSubject) -> Option<DeviceId> {
        let registry = &self.state.registry;
        let record = match subject {
            RevocationSubject::Device(device) => registry.get(device),
            RevocationSubject::Certificate(fingerprint) => {
                registry.by_certificate(fingerprint).map(|(record, _)| record)
            }
            RevocationSubject::Key(key) => registry.by_key(key),
        };
        record.map(|record| record.device().clone())
    }

    /// The open pairing sessions that a revocation is about.
    fn sessions_of(&self, subject: &RevocationSubject) -> Vec<SessionId> {
        let concerned = |session: &PairingSession| {
            let peer = match session.phase() {
                PairingPhase::Confirmed { peer, .. } | PairingPhase::Approved { peer, .. } => Some(peer),
                _ => None,
            };
            match subject {
                RevocationSubject::Device(device) => {
                    peer.is_some_and(|peer| peer.device == *device)
                        || matches!(session.target(), PairingTarget::New(named) | PairingTarget::Replace(named)
                            if named == device)
                }
                RevocationSubject::Key(key) => peer.is_some_and(|peer| peer.key == *key),
                RevocationSubject::Certificate(_) => false,
            }
        };
        let sessions = self.state.pairing.sessions();
        let open = sessions.filter(|(_, session)| session.end().is_none() && concerned(session));
        open.map(|(id, _)| id.clone()).collect()
    }

    /// What time brings: ends what is due, and hands waiting requests to devices. Bounded; ask again where the answer
    /// is [`More::More`].
    ///
    /// # Errors
    /// Those of every operation: [`NodeError::Halted`] and [`NodeError::Time`].
    pub fn poll(&mut self, now: Now) -> Result<NodeTicket<More>, NodeError> {
        let at = self.enter(now)?;
        let mut draft = Draft::default();
        let turn = self.desk.sweep(SWEEP, at);
        self.fold_pairing(turn.events(), &mut draft);
        let mut more = if turn.events().len() >= SWEEP { More::More } else { More::Done };
        let due = self.state.dispatch.decide_due(&self.live, at);
        if self.fold_dispatch(at, due, &mut draft)? == More::More {
            more = More::More;
        } else {
            let sends = self.state.dispatch.decide_sends(&self.live, at);
            if self.fold_dispatch(at, sends, &mut draft)? == More::More {
                more = More::More;
            }
        }
        Ok(self.commit(at, NodePrincipal::Core, draft, more))
    }

    /// When [`poll`](Self::poll) has something to do next, if nothing else happens. Calling it early is harmless.
    pub fn next_due(&self) -> Option<Mono> {
        let dispatch = self.state.dispatch.next_due(&self.live);
        match (dispatch, self.state.pairing.next_deadline()) {
            (Some(dispatch), Some(pairing)) => Some(dispatch.min(pairing)),
            (dispatch, pairing) => dispatch.or(pairing),
        }
    }

    /// How the pairing of `session` ended, where it did.
    pub fn pairing_end(&self, session: &SessionId) -> Option<PairingEnd> {
        self.state.pairing.get(session).and_then(PairingSession::end)
    }
}
