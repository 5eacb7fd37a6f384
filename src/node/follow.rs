//! What a change of the registry means for dispatch and for pairing: decided together, in one record.

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

/// What follows from a change of the registry in the other parts.
#[derive(Debug, Default)]
pub(crate) struct Follows {
    pub(crate) dispatch: Vec<DispatchEvent>,
    pub(crate) pairing: Vec<PairingEvent>,
}

impl NodeRuntimeState {
    /// What `command` means beside the registry's own events. Decided on the state before any of them.
    ///
    /// # Errors
    /// [`DispatchError::Quarantined`] for the removal of a device that is not trusted.
    pub(crate) fn follows(&self, command: &DeviceCommand, at: Now) -> Result<Follows, DispatchError> {
        let subject = match command {
            DeviceCommand::Revoke { subject, .. } => Some(subject.clone()),
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

    /// A device is revoked in both parts; of one whose certificate or key is, the stream and the requests end, and
    /// it may come back with what it has left.
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
            | DeviceCommand::ClearRevocation { .. } => Ok(Vec::new()),
        }
    }

    fn order(&self, at: Now, order: &DispatchCommand) -> Result<Vec<DispatchEvent>, DispatchError> {
        match self.dispatch.decide_operator(at, order) {
            // A device that was granted nothing has nothing to lose there.
            Err(DispatchError::DeviceUnknown) => Ok(Vec::new()),
            decided => decided.map(Decision::into_events),
        }
    }

    /// The registered device that a revocation is about.
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

    /// Ends the open pairing sessions that a revocation is about.
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
            // One whose time is over cannot complete, and is swept.
            self.pairing.decide(&command, at).unwrap_or_default()
        };
        open.flat_map(end).collect()
    }
}
