//! Decisions of the registry: pure, from the registry, a command and the time to events or a refusal.

use alloc::{vec, vec::Vec};

use super::{
    certificate::DeviceCertificate,
    command::{Basis, DeviceCommand},
    error::DeviceError,
    event::{DeviceEvent, RotationEnd},
    limits::SUBJECTS_PER_DEVICE,
    record::{DeviceRecord, OverlapEnd},
    registry::DeviceRegistry,
    renewal::Renewable,
    revocation::{RevocationReason, RevocationSubject},
};
use crate::{
    digest::Sha256Digest,
    id::DeviceId,
    time::{Millis, Mono, Now},
};

impl DeviceRegistry {
    /// What `command` would change at `now`. Pure; a refusal changes nothing. Cost: O(1).
    ///
    /// No event at all is a success that had nothing to do.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub fn decide(&self, command: &DeviceCommand, now: Now) -> Result<Vec<DeviceEvent>, DeviceError> {
        match command {
            DeviceCommand::Register { device, kind, certificate } => {
                if self.get(device).is_some() {
                    return Err(DeviceError::Exists(device.clone()));
                }
                let max = self.limits().max_devices();
                if u32::try_from(self.len()).unwrap_or(u32::MAX) >= max {
                    return Err(DeviceError::Full(max));
                }
                self.admit(device, certificate, now)?;
                self.room_to_revoke(1, 0)?;
                let (device, kind, certificate) = (device.clone(), *kind, *certificate);
                Ok(vec![DeviceEvent::DeviceRegistered { device, kind, certificate, at: now }])
            }
            DeviceCommand::Replace { device, kind, certificate } => {
                self.known(device)?;
                self.admit(device, certificate, now)?;
                self.room_to_revoke(0, 0)?;
                let (device, kind, certificate) = (device.clone(), *kind, *certificate);
                Ok(vec![DeviceEvent::DeviceReplaced { device, kind, certificate, at: now }])
            }
            DeviceCommand::BeginRotation { device, next, overlap, at_deadline } => {
                self.begin_rotation(device, next, *overlap, *at_deadline, Basis::Authenticated, now)
            }
            DeviceCommand::ConfirmUse { fingerprint } => {
                let used = self.authenticate_fingerprint(*fingerprint, now)?;
                let retired = used.record().certificate().fingerprint();
                let device = used.device().clone();
                let cause = RotationEnd::FirstUse;
                Ok(if used.confirms_rotation() {
                    vec![DeviceEvent::RotationEnded { device, retired, cause }]
                } else {
                    vec![]
                })
            }
            DeviceCommand::AbandonRotation { device } => {
                let record = self.known(device)?;
                let Some(rotation) = record.rotation() else {
                    return Err(DeviceError::NotRotating(device.clone()));
                };
                Ok(vec![self.lapse(record, now).unwrap_or_else(|| DeviceEvent::RotationEnded {
                    device: device.clone(),
                    retired: rotation.next.fingerprint(),
                    cause: RotationEnd::Abandoned,
                })])
            }
            DeviceCommand::Settle { device } => {
                Ok(self.lapse(self.known(device)?, now).into_iter().collect())
            }
            DeviceCommand::Revoke { subject, reason } => self.revoke(subject, *reason, now),
            DeviceCommand::RevokeSelf { fingerprint } => {
                let device = self.authenticate_fingerprint(*fingerprint, now)?.device().clone();
                self.revoke(&RevocationSubject::Device(device), RevocationReason::DeviceRequest, now)
            }
            DeviceCommand::ClearRevocation { subject } => {
                if self.revocation(subject).is_none() {
                    return Err(DeviceError::NotRevoked(subject.clone()));
                }
                Ok(vec![DeviceEvent::RevocationCleared { subject: subject.clone() }])
            }
            DeviceCommand::Remove { device } => {
                self.known(device)?;
                Ok(vec![DeviceEvent::DeviceRemoved { device: device.clone() }])
            }
            DeviceCommand::OrderRenewals { order, terms } => self.order_renewals(order, terms, now),
            DeviceCommand::EndRenewals { order } => self.end_renewals(order),
            DeviceCommand::Renew { fingerprint, next, overlap } => {
                self.renew(*fingerprint, next, *overlap, now)
            }
            DeviceCommand::ReportClone { fingerprint } => match self.renewable(*fingerprint, now)? {
                Renewable::Superseded(record) => self.noticed_clone(record.device(), now),
                Renewable::Expired { .. } => Ok(vec![]),
            },
        }
    }

    /// Decides `command` and folds its events at once, for hosts that keep no journal: tests, tools, caches.
    ///
    /// Where decisions must last before they show, go through the coordinator instead.
    ///
    /// # Errors
    /// [`DeviceError`]; then nothing has changed.
    pub fn apply(&mut self, command: &DeviceCommand, now: Now) -> Result<Vec<DeviceEvent>, DeviceError> {
        let events = self.decide(command, now)?;
        for event in &events {
            self.evolve(event);
        }
        Ok(events)
    }

    /// Whether recovery may fold `event` here: it names what exists, keeps ids, certificates and keys unique, and
    /// stays within the limits. Times and policy are not judged again: they were, when it was decided.
    pub(crate) fn admits(&self, event: &DeviceEvent) -> bool {
        match event {
            DeviceEvent::DeviceRegistered { device, certificate, .. } => {
                let room =
                    u64::try_from(self.len()).is_ok_and(|len| len < self.limits().max_devices().into());
                room && self.get(device).is_none() && self.unclaimed(device, certificate).is_ok()
            }
            DeviceEvent::DeviceReplaced { device, certificate, .. } => {
                self.get(device).is_some() && self.unclaimed(device, certificate).is_ok()
            }
            DeviceEvent::RotationBegun { device, next, .. } => {
                self.get(device).is_some_and(|record| record.rotation().is_none())
                    && self.unclaimed(device, next).is_ok()
            }
            DeviceEvent::RotationEnded { device, retired, .. } => self
                .get(device)
                .is_some_and(|record| record.rotation().is_some() && record.has_certificate(retired)),
            DeviceEvent::Revoked { subject, .. } => {
                self.revocation(subject).is_none() && self.revoked_count() < self.limits().revocation_bound()
            }
            DeviceEvent::RevocationCleared { subject } => self.revocation(subject).is_some(),
            DeviceEvent::DeviceRemoved { device } => self.get(device).is_some(),
            DeviceEvent::RenewalsOrdered { .. }
            | DeviceEvent::RenewalGranted { .. }
            | DeviceEvent::RenewalsEnded { .. } => self.admits_renewals(event),
        }
    }

    /// Whether a pairing may bring `device`, with this key where it is known. Asked again when it is completed.
    pub(super) fn may_pair(
        &self,
        device: &DeviceId,
        key: Option<&Sha256Digest>,
        replaces: bool,
    ) -> Result<(), DeviceError> {
        if self.revocations().device(device).is_some() {
            return Err(DeviceError::Revoked(RevocationSubject::Device(device.clone())));
        }
        if let Some(key) = key {
            self.may_pair_key(key)?;
            if let Some(owner) = self.by_key(key).filter(|owner| owner.device() != device) {
                return Err(DeviceError::KeyInUse(owner.device().clone()));
            }
        }
        match (self.get(device).is_some(), replaces) {
            (true, false) => Err(DeviceError::Exists(device.clone())),
            (false, true) => Err(DeviceError::Unknown(device.clone())),
            (true, true) | (false, false) => Ok(()),
        }
    }

    /// A revoked key pairs nothing, under no id.
    pub(super) fn may_pair_key(&self, key: &Sha256Digest) -> Result<(), DeviceError> {
        if self.revocations().key(key).is_some() {
            return Err(DeviceError::Revoked(RevocationSubject::Key(*key)));
        }
        Ok(())
    }

    /// Whether an issued certificate may still be handed out.
    pub(super) fn still_good(
        &self,
        device: &DeviceId,
        fingerprint: &Sha256Digest,
        key: &Sha256Digest,
    ) -> Result<(), DeviceError> {
        if self.revocations().device(device).is_some() {
            return Err(DeviceError::Revoked(RevocationSubject::Device(device.clone())));
        }
        if self.revocations().certificate(fingerprint).is_some() {
            return Err(DeviceError::Revoked(RevocationSubject::Certificate(*fingerprint)));
        }
        self.may_pair_key(key)
    }

    pub(super) fn known(&self, device: &DeviceId) -> Result<&DeviceRecord, DeviceError> {
        self.get(device).ok_or_else(|| DeviceError::Unknown(device.clone()))
    }

    fn revoked_count(&self) -> u64 {
        u64::try_from(self.revocations().len()).unwrap_or(u64::MAX)
    }

    /// A certificate and a key belong to one device.
    fn unclaimed(&self, device: &DeviceId, certificate: &DeviceCertificate) -> Result<(), DeviceError> {
        if let Some((owner, _)) = self.by_certificate(&certificate.fingerprint()) {
            return Err(DeviceError::CertificateInUse(owner.device().clone()));
        }
        match self.by_key(&certificate.key()) {
            Some(owner) if owner.device() != device => Err(DeviceError::KeyInUse(owner.device().clone())),
            _ => Ok(()),
        }
    }

    /// Whether `device` may get `certificate`.
    fn admit(&self, device: &DeviceId, certificate: &DeviceCertificate, now: Now) -> Result<(), DeviceError> {
        let hash = |bytes| self.revocations().hash(bytes);
        let hashes = (hash(device.as_str().as_bytes()), hash(certificate.fingerprint_bytes()));
        self.standing(device, certificate, hashes).map_err(DeviceError::Revoked)?;
        self.unclaimed(device, certificate)?;
        if now.wall > certificate.not_after() { Err(DeviceError::Expired) } else { Ok(()) }
    }

    /// Keeps room to revoke everything that registered devices have, so that a full set never protects a device.
    fn room_to_revoke(&self, more_devices: u64, more_revocations: u64) -> Result<(), DeviceError> {
        let devices = u64::try_from(self.len()).unwrap_or(u64::MAX).saturating_add(more_devices);
        let set_aside = devices.saturating_mul(SUBJECTS_PER_DEVICE);
        let revoked = self.revoked_count();
        if set_aside.saturating_add(revoked).saturating_add(more_revocations)
            > self.limits().revocation_bound()
        {
            return Err(DeviceError::RevocationsFull(revoked));
        }
        Ok(())
    }

    fn is_registered(&self, subject: &RevocationSubject) -> bool {
        match subject {
            RevocationSubject::Device(device) => self.get(device).is_some(),
            RevocationSubject::Certificate(fingerprint) => self.by_certificate(fingerprint).is_some(),
            RevocationSubject::Key(key) => self.by_key(key).is_some(),
        }
    }

    pub(super) fn revoke(
        &self,
        subject: &RevocationSubject,
        reason: RevocationReason,
        now: Now,
    ) -> Result<Vec<DeviceEvent>, DeviceError> {
        if self.revocation(subject).is_some() {
            return Err(DeviceError::AlreadyRevoked(subject.clone()));
        }
        if !self.is_registered(subject) {
            self.room_to_revoke(0, 1)?;
        }
        let mut events = vec![DeviceEvent::Revoked { subject: subject.clone(), reason, at: now }];
        events.extend(self.rotation_without(subject));
        Ok(events)
    }

    /// The end of the rotation to what `subject` revokes. The certificate in force stays, where it is not revoked, too:
    /// a deadline must not leave the device with the revoked one alone.
    fn rotation_without(&self, subject: &RevocationSubject) -> Option<DeviceEvent> {
        let record = match subject {
            RevocationSubject::Device(_) => return None,
            RevocationSubject::Certificate(fingerprint) => self.by_certificate(fingerprint)?.0,
            RevocationSubject::Key(key) => self.by_key(key)?,
        };
        let next = &record.rotation()?.next;
        let concerned = match subject {
            RevocationSubject::Key(key) => next.key() == *key && record.certificate().key() != *key,
            _ => *subject == RevocationSubject::Certificate(next.fingerprint()),
        };
        concerned.then(|| ended(record.device(), next.fingerprint(), RotationEnd::Revoked))
    }

    /// The end of a rotation whose deadline has passed.
    fn lapse(&self, record: &DeviceRecord, now: Now) -> Option<DeviceEvent> {
        let rotation = record.rotation().filter(|rotation| rotation.lapsed(now))?;
        let retired = if self.abandons(rotation) { &rotation.next } else { record.certificate() };
        Some(ended(record.device(), retired.fingerprint(), RotationEnd::Deadline))
    }

    pub(super) fn begin_rotation(
        &self,
        device: &DeviceId,
        next: &DeviceCertificate,
        overlap: Millis,
        at_deadline: OverlapEnd,
        basis: Basis,
        now: Now,
    ) -> Result<Vec<DeviceEvent>, DeviceError> {
        let limit = self.limits().max_overlap();
        if overlap == Millis::ZERO || overlap > limit {
            return Err(DeviceError::Overlap { limit });
        }
        let record = self.known(device)?;
        let mut events: Vec<_> = self.lapse(record, now).into_iter().collect();
        let mut in_force = record.certificate();
        let mut until = now.mono.plus(overlap);
        if let Some(rotation) = record.rotation() {
            match (rotation.lapsed(now), self.abandons(rotation)) {
                (true, false) => in_force = &rotation.next,
                (true, true) => {}
                (false, _) if rotation.next == *next => return Ok(events),
                (false, _) => {
                    events.push(ended(device, rotation.next.fingerprint(), RotationEnd::Superseded));
                    until = until.min(rotation.until);
                }
            }
        }
        if basis == Basis::Authenticated {
            // Who cannot authenticate now cannot rotate; that takes a renewal or a new pairing.
            self.authenticate_fingerprint(in_force.fingerprint(), now)?;
        }
        self.admit(device, next, now)?;
        if at_deadline == OverlapEnd::RetireOld {
            outlasts(next, until, now)?;
        }
        self.room_to_revoke(0, 0)?;
        events.push(DeviceEvent::RotationBegun { device: device.clone(), next: *next, until, at_deadline });
        Ok(events)
    }
}

fn ended(device: &DeviceId, retired: Sha256Digest, cause: RotationEnd) -> DeviceEvent {
    DeviceEvent::RotationEnded { device: device.clone(), retired, cause }
}

/// A device that is left with `next` alone at `until` can use it from now on and then.
fn outlasts(next: &DeviceCertificate, until: Mono, now: Now) -> Result<(), DeviceError> {
    if now.wall < next.not_before() {
        return Err(DeviceError::NotYetValid(next.not_before()));
    }
    let until = now.wall.plus(until.since(now.mono));
    if next.not_after() < until {
        return Err(DeviceError::EndsEarly { not_after: next.not_after(), until });
    }
    Ok(())
}
