//! The registry: records, the ways to find them, and the fold of events.

use alloc::boxed::Box;
use core::fmt;

use super::{
    certificate::DeviceCertificate,
    event::DeviceEvent,
    limits::DeviceLimits,
    record::{DeviceKind, DeviceRecord, Rotation},
    revocation::{Revocation, RevocationSet, RevocationSubject},
};
use crate::{
    digest::Sha256Digest,
    id::DeviceId,
    index::{KeptHash, KeyedIndex, Slot},
    slab::KeyedSlab,
    time::Now,
};

/// Devices, their certificates and keys, and everything revoked: bounded, replayable, without I/O.
///
/// Two registries are equal when they hold the same records, whatever their slots.
///
/// ```
/// use leasehold::{
///     digest::Sha256Digest,
///     id::DeviceId,
///     identity::*,
///     time::{Millis, Now, Wall},
/// };
/// let limits = DeviceLimits::new(100, 100, Millis::from_secs(3600))?;
/// // In a service the key is random: it keeps peers from choosing ids that collide.
/// let mut registry = DeviceRegistry::new(limits, [7; 16]);
/// let now = Now::new(0, 1_000);
/// let leaf = Sha256Digest::of(b"the DER of a certificate");
/// let certificate = DeviceCertificate::new(leaf, Sha256Digest::of(b"its key"), Wall(0), Wall(9_000))?;
/// let device = DeviceId::new("press-1")?;
/// let register = DeviceCommand::Register { device: device.clone(), kind: DeviceKind::Worker, certificate };
/// registry.apply(&register, now)?;
/// assert_eq!(registry.authenticate_fingerprint(leaf, now)?.device(), &device);
///
/// let subject = RevocationSubject::Device(device);
/// registry.apply(&DeviceCommand::Revoke { subject, reason: RevocationReason::Lost }, now)?;
/// assert!(registry.authenticate_fingerprint(leaf, now).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct DeviceRegistry {
    limits: DeviceLimits,
    generation: u64,
    devices: KeyedSlab<DeviceRecord>,
    /// From fingerprint, and from key, to a place: twice the device's slot, plus one for the next certificate.
    certificates: KeyedIndex,
    /// A device may have one key in both places; either answers "whose is it".
    keys: KeyedIndex,
    revoked: RevocationSet,
}

/// The certificate in a place: twice the slot for the one in force, plus one for the next one.
fn certificate_at(devices: &KeyedSlab<DeviceRecord>, place: Slot) -> Option<&DeviceCertificate> {
    let record = devices.get(place >> 1)?;
    if place & 1 == 0 { Some(&record.current) } else { Some(&record.rotation.as_ref()?.next) }
}

impl DeviceRegistry {
    /// An empty registry. `index_key` keys the hash of the lookup tables; take it from the entropy source.
    pub fn new(limits: DeviceLimits, index_key: [u8; 16]) -> Self {
        Self {
            limits,
            generation: 0,
            devices: KeyedSlab::new(index_key),
            certificates: KeyedIndex::new(index_key),
            keys: KeyedIndex::new(index_key),
            revoked: RevocationSet::new(index_key),
        }
    }

    /// The bounds of this registry.
    pub const fn limits(&self) -> &DeviceLimits {
        &self.limits
    }

    /// Puts other bounds in force; [`Self::fits`] was asked.
    pub(crate) fn set_limits(&mut self, limits: DeviceLimits) {
        self.limits = limits;
    }

    /// Whether what is held fits into other bounds, with room to revoke all of it.
    pub(crate) fn fits(&self, limits: DeviceLimits) -> Result<(), &'static str> {
        let revoked = u64::try_from(self.revoked.len()).unwrap_or(u64::MAX);
        let devices = u64::try_from(self.len()).unwrap_or(u64::MAX);
        if devices > limits.max_devices().into() || !limits.leaves_room(devices, revoked) {
            return Err("limits.devices");
        }
        Ok(())
    }

    /// Grows whenever something that authenticated may not do so any more, and when a revocation is cleared.
    ///
    /// Open streams, leases and permits remember the generation under which their device authenticated; where it
    /// has grown, they ask again before they go on.
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// How many devices.
    pub fn len(&self) -> usize {
        self.devices.len()
    }

    /// Whether there is no device.
    pub fn is_empty(&self) -> bool {
        self.devices.len() == 0
    }

    /// The record of `device`, revoked or not. Cost: O(1).
    pub fn get(&self, device: &DeviceId) -> Option<&DeviceRecord> {
        self.devices.get_by(device.as_str().as_bytes())
    }

    /// The device whose key has this digest (SHA-256 of the SubjectPublicKeyInfo). Cost: O(1).
    pub fn by_key(&self, key: &Sha256Digest) -> Option<&DeviceRecord> {
        let place = self.keys.get(key.as_bytes(), |place| {
            certificate_at(&self.devices, place).map(DeviceCertificate::key_bytes)
        })?;
        self.devices.get(place >> 1)
    }

    /// The device and the certificate with this fingerprint, whether it authenticates or not. Cost: O(1).
    pub fn by_certificate(&self, fingerprint: &Sha256Digest) -> Option<(&DeviceRecord, &DeviceCertificate)> {
        self.by_certificate_hashed(self.certificates.kept_hash(fingerprint.as_bytes()), fingerprint)
    }

    /// As [`Self::by_certificate`], by the hash of the fingerprint.
    pub(super) fn by_certificate_hashed(
        &self,
        hash: KeptHash,
        fingerprint: &Sha256Digest,
    ) -> Option<(&DeviceRecord, &DeviceCertificate)> {
        let is_it = |place| {
            certificate_at(&self.devices, place).map(DeviceCertificate::fingerprint_bytes)
                == Some(fingerprint.as_bytes())
        };
        let place = self.certificates.get_kept(hash, is_it)?;
        Some((self.devices.get(place >> 1)?, certificate_at(&self.devices, place)?))
    }

    /// When and why `subject` was revoked, where it is. Cost: O(1).
    pub fn revocation(&self, subject: &RevocationSubject) -> Option<&Revocation> {
        self.revoked.get(subject)
    }

    /// The devices by id. Cost: O(n log n); for listings.
    pub fn devices(&self) -> impl Iterator<Item = &DeviceRecord> {
        self.devices.sorted().into_iter()
    }

    /// Everything revoked: devices, certificates, keys, each in order. Cost: O(n log n); for listings.
    pub fn revoked(&self) -> impl Iterator<Item = (RevocationSubject, Revocation)> {
        self.revoked.sorted()
    }

    pub(super) const fn revocations(&self) -> &RevocationSet {
        &self.revoked
    }

    /// The revoked one among a device, its certificate and its key. The hashes are of its id and of the fingerprint.
    pub(super) fn standing(
        &self,
        device: &DeviceId,
        certificate: &DeviceCertificate,
        (device_hash, certificate_hash): (KeptHash, KeptHash),
    ) -> Result<(), RevocationSubject> {
        let (fingerprint, key) = (certificate.fingerprint(), certificate.key());
        if self.revoked.device_hashed(device_hash, device).is_some() {
            return Err(RevocationSubject::Device(device.clone()));
        }
        if self.revoked.certificate_hashed(certificate_hash, &fingerprint).is_some() {
            return Err(RevocationSubject::Certificate(fingerprint));
        }
        if self.revoked.key(&key).is_some() {
            return Err(RevocationSubject::Key(key));
        }
        Ok(())
    }

    /// Puts the certificate in `place` into both indexes.
    fn index(&mut self, place: Slot) {
        let Some(certificate) = certificate_at(&self.devices, place) else { return };
        self.certificates.insert(certificate.fingerprint_bytes(), place);
        self.keys.insert(certificate.key_bytes(), place);
    }

    /// Takes the certificate in `place` out of both indexes, before it changes.
    fn unindex(&mut self, place: Slot) {
        let Some(certificate) = certificate_at(&self.devices, place) else { return };
        self.certificates.remove(certificate.fingerprint_bytes(), place);
        self.keys.remove(certificate.key_bytes(), place);
    }

    fn slot(&self, device: &DeviceId) -> Option<Slot> {
        self.devices.find(device.as_str().as_bytes())
    }

    /// Puts a record in, in place of the one with its id.
    pub(super) fn put(&mut self, mut record: DeviceRecord) {
        record.id_hash = self.revoked.hash(record.device.as_str().as_bytes());
        if let Some(slot) = self.slot(&record.device) {
            self.unindex(slot << 1);
            self.unindex(slot << 1 | 1);
        }
        if let Some(slot) = self.devices.insert(record) {
            self.index(slot << 1);
            self.index(slot << 1 | 1);
        }
    }

    pub(super) fn restore_revocation(&mut self, subject: &RevocationSubject, revocation: Revocation) {
        self.revoked.insert(subject, revocation);
    }

    pub(super) fn set_generation(&mut self, generation: u64) {
        self.generation = generation;
    }

    fn bump(&mut self) {
        self.generation = self.generation.saturating_add(1);
    }

    fn rotate(&mut self, device: &DeviceId, rotation: Rotation) {
        let Some(slot) = self.slot(device) else { return };
        self.unindex(slot << 1 | 1);
        if let Some(record) = self.devices.get_mut(slot) {
            record.rotation = Some(Box::new(rotation));
        }
        self.index(slot << 1 | 1);
    }

    fn end_rotation(&mut self, device: &DeviceId, retired: Sha256Digest) {
        let Some(slot) = self.slot(device) else { return };
        self.unindex(slot << 1);
        self.unindex(slot << 1 | 1);
        if let Some(record) = self.devices.get_mut(slot)
            && let Some(rotation) = record.rotation.take()
            && record.current.fingerprint() == retired
        {
            record.current = rotation.next;
        }
        self.index(slot << 1);
    }

    fn register(&mut self, device: &DeviceId, kind: DeviceKind, current: DeviceCertificate, at: Now) {
        let (device, id_hash) = (device.clone(), KeptHash::default());
        self.put(DeviceRecord { device, kind, id_hash, registered: at, current, rotation: None });
    }

    /// Folds one event. Total: an event that does not fit changes nothing, and recovery has checked that it does.
    pub(crate) fn evolve(&mut self, event: &DeviceEvent) {
        match event {
            DeviceEvent::DeviceRegistered { device, kind, certificate, at } => {
                self.register(device, *kind, *certificate, *at);
            }
            DeviceEvent::DeviceReplaced { device, kind, certificate, at } => {
                self.register(device, *kind, *certificate, *at);
                self.bump();
            }
            DeviceEvent::RotationBegun { device, next, until, at_deadline } => {
                self.rotate(device, Rotation { next: *next, until: *until, at_deadline: *at_deadline });
            }
            DeviceEvent::RotationEnded { device, retired, cause: _ } => {
                self.end_rotation(device, *retired);
                self.bump();
            }
            DeviceEvent::Revoked { subject, reason, at } => {
                self.revoked.insert(subject, Revocation { reason: *reason, at: *at });
                self.bump();
            }
            DeviceEvent::RevocationCleared { subject } => {
                self.revoked.remove(subject);
                self.bump();
            }
            DeviceEvent::DeviceRemoved { device } => {
                if let Some(slot) = self.slot(device) {
                    self.unindex(slot << 1);
                    self.unindex(slot << 1 | 1);
                    self.devices.remove(slot);
                }
                self.bump();
            }
        }
    }
}

impl PartialEq for DeviceRegistry {
    fn eq(&self, other: &Self) -> bool {
        self.limits == other.limits
            && self.generation == other.generation
            && self.devices == other.devices
            && self.revoked == other.revoked
    }
}

impl Eq for DeviceRegistry {}

impl fmt::Debug for DeviceRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceRegistry")
            .field("limits", &self.limits)
            .field("generation", &self.generation)
            .field("devices", &self.devices)
            .field("revoked", &self.revoked)
            .finish_non_exhaustive()
    }
}
