//! The consequences of a registry change for dispatch and pairing. They are decided together and stored in
//! one record.

use alloc::vec::Vec;

use super::state::NodeRuntimeState;
use crate::{
    dispatch::{Decision, DispatchCommand, DispatchError, DispatchEvent, RejectReason},
    id::{DeviceId, SessionId},
    identity::{
        DeviceCommand, RevocationSubject,
        pairing::{PairingCommand, PairingEnd, PairingEvent, PairingPhase, PairingSession, PairingTarget},
    },
    time::Now,
};

/// The events of other parts that follow from a change of the registry.
#[derive(Debug, Default)]
pub(crate) struct Follows {
    pub(crate) dispatch: Vec<DispatchEvent>,
    pub(crate) pairing: Vec<PairingEvent>,
}

impl NodeRuntimeState {
    /// The consequences of `command` besides the registry's own events. They are decided on the state before
    /// any of them.
    ///
    /// # Errors
    /// [`DispatchError::Quarantined`] if a quarantined device would be removed.
    pub(crate) fn follows(&self, command: &DeviceCommand, at: Now) -> Result<Follows, DispatchError> {
        let subject = match command {
            DeviceCommand::Revoke { subject, .. } => Some(subject.clone()),
            DeviceCommand::Renew { fingerprint, .. } | DeviceCommand::ReportClone { fingerprint } => self
                .registry
                .by_former(fingerprint)
                .map(|record| record.device().clone())
                .map(RevocationSubject::Device),
            DeviceCommand::RevokeSelf { fingerprint } => {
                self.owner(&RevocationSubject::Certificate(*fingerprint)).map(RevocationSubject::Device)
            }
            _ => None,
        };
        let dispatch = match &subject {
            Some(subject) => self.dispatch_revokes(subject, at)?,
            None => self.dispatch_follows(command, at)?,
        };
        let pairing = subject.map(|subject| self.ended_sessions(&subject, at)).unwrap_or_default();
        Ok(Follows { dispatch, pairing })
    }

    /// A revocation of a device revokes it in dispatch too. A revocation of a certificate or a key ends the
    /// stream and the requests of its device, which may come back under another certificate.
    fn dispatch_revokes(
        &self,
        subject: &RevocationSubject,
        at: Now,
    ) -> Result<Vec<DispatchEvent>, DispatchError> {
        match subject {
            RevocationSubject::Device(device) => {
                self.order(at, &DispatchCommand::Revoke { device: device.clone() })
            }
            subject => match self.owner(subject) {
                Some(device) => {
                    self.dispatch.expel(at, &device, RejectReason::DeviceRevoked).map(Decision::into_events)
                }
                None => Ok(Vec::new()),
            },
        }
    }

    fn dispatch_follows(
        &self,
        command: &DeviceCommand,
        at: Now,
    ) -> Result<Vec<DispatchEvent>, DispatchError> {
        let expel = |device, reason| self.dispatch.expel(at, device, reason).map(Decision::into_events);
        match command {
            DeviceCommand::ClearRevocation { subject: RevocationSubject::Device(device) } => {
                self.order(at, &DispatchCommand::Reinstate { device: device.clone() })
            }
            DeviceCommand::Replace { device, .. } => expel(device, RejectReason::DeviceReplaced),
            DeviceCommand::Remove { device } => expel(device, RejectReason::DeviceRemoved),
            DeviceCommand::Register { .. }
            | DeviceCommand::BeginRotation { .. }
            | DeviceCommand::ConfirmUse { .. }
            | DeviceCommand::AbandonRotation { .. }
            | DeviceCommand::Settle { .. }
            | DeviceCommand::Revoke { .. }
            | DeviceCommand::RevokeSelf { .. }
            | DeviceCommand::OrderRenewals { .. }
            | DeviceCommand::EndRenewals { .. }
            | DeviceCommand::Renew { .. }
            | DeviceCommand::ReportClone { .. }
            | DeviceCommand::ClearRevocation { .. } => Ok(Vec::new()),
        }
    }

    fn order(&self, at: Now, order: &DispatchCommand) -> Result<Vec<DispatchEvent>, DispatchError> {
        match self.dispatch.decide_operator(at, order) {
            // A device without grants has nothing to lose in dispatch.
            Err(DispatchError::DeviceUnknown) => Ok(Vec::new()),
            decided => decided.map(Decision::into_events),
        }
    }

    /// The registered device that a revocation concerns.
    pub(crate) fn owner(&self, subject: &RevocationSubject) -> Option<DeviceId> {
        let record = match subject {
            RevocationSubject::Device(device) => self.registry.get(device),
            RevocationSubject::Certificate(fingerprint) => {
                self.registry.by_certificate(fingerprint).map(|(record, _)| record)
            }
            RevocationSubject::Key(key) => self.registry.by_key(key),
        };
        record.map(|record| record.device().clone())
    }

    /// Ends the open pairing sessions that a revocation concerns.
    fn ended_sessions(&self, subject: &RevocationSubject, at: Now) -> Vec<PairingEvent> {
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
        let open = self.pairing.sessions().filter(|(_, held)| held.end().is_none() && concerned(held));
        let end = |(session, _): (&SessionId, _)| {
            let command = PairingCommand::End { session: session.clone(), end: PairingEnd::Rejected };
            // A session whose time has passed cannot complete, and the sweep removes it.
            self.pairing.decide(&command, at).unwrap_or_default()
        };
        open.flat_map(end).collect()
    }
}
