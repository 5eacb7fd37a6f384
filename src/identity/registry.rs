//! The registry: records, the ways to find them, and the fold of events.

use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet, VecDeque},
    vec::Vec,
};
use core::fmt;

use super::{
    certificate::{CertificateError, DeviceCertificate},
    event::{DeviceEvent, RotationEnd},
    limits::DeviceLimits,
    record::{DeviceKind, DeviceRecord, OverlapEnd, Rotation},
    revocation::{Revocation, RevocationSet, RevocationSubject},
    standing::StandingOrder,
};
use crate::{
    digest::Sha256Digest,
    id::{DeviceId, OrderId},
    index::{KeptHash, KeyedIndex, Slot},
    slab::KeyedSlab,
    time::{Mono, Now},
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
    /// The deadlines of the rotations that are under way.
    deadlines: BTreeSet<(Mono, Slot)>,
    revoked: RevocationSet,
    /// The certificates that deadlines of rotations retired last: who comes too late is told so, and not that nobody
    /// knows them.
    overdue: VecDeque<Sha256Digest>,
    /// The certificates that others took over from, the latest last, of devices that have some: [`MAX_FORMER`] at most. Not
    /// in the records, which are two cache lines.
    former: BTreeMap<DeviceId, Vec<Sha256Digest>>,
    /// From such a certificate to the device's slot.
    former_index: KeyedIndex,
    /// What operators allow in advance: expired certificates of these devices may be renewed.
    renewals: BTreeMap<OrderId, StandingOrder>,
}

/// How many certificates are remembered that the deadline of a rotation retired.
pub(super) const MAX_OVERDUE: usize = 256;

/// The certificate in a place: twice the slot for the one in force, plus one for the next one.
fn certificate_at(devices: &KeyedSlab<DeviceRecord>, place: Slot) -> Option<&DeviceCertificate> {
    let record = devices.get(place >> 1)?;
    if place & 1 == 0 { Some(&record.current) } else { Some(&record.rotation.as_ref()?.next) }
}

/// How many certificates of a device are remembered that others took over from.
pub(super) const MAX_FORMER: usize = 4;

impl DeviceRegistry {
    /// An empty registry. `index_key` keys the hash of the lookup tables; take it from the entropy source.
    pub fn new(limits: DeviceLimits, index_key: [u8; 16]) -> Self {
        Self {
            limits,
            generation: 0,
            devices: KeyedSlab::new(index_key),
            certificates: KeyedIndex::new(index_key),
            keys: KeyedIndex::new(index_key),
            deadlines: BTreeSet::new(),
            revoked: RevocationSet::new(index_key),
            overdue: VecDeque::new(),
            former: BTreeMap::new(),
            former_index: KeyedIndex::new(index_key),
            renewals: BTreeMap::new(),
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

    /// Reads a certificate within the limits of this registry.
    ///
    /// # Errors
    /// [`CertificateError`] as for [`DeviceCertificate::from_der`], and over
    /// [`DeviceLimits::max_certificate_bytes`].
    pub fn read(&self, leaf: &[u8]) -> Result<DeviceCertificate, CertificateError> {
        let most = usize::try_from(self.limits.max_certificate_bytes()).unwrap_or(usize::MAX);
        DeviceCertificate::from_der_within(leaf, most)
    }

    /// When the first rotation that is under way has to be settled. Cost: O(log n) of the rotations.
    pub fn next_deadline(&self) -> Option<Mono> {
        self.deadlines.first().map(|(until, _)| *until)
    }

    /// The devices whose rotation has passed its deadline and is not settled, the earliest deadline first.
    pub fn unsettled(&self, now: Mono) -> impl Iterator<Item = &DeviceId> {
        let due = self.deadlines.iter().take_while(move |(until, _)| *until <= now);
        due.filter_map(|(_, slot)| self.devices.get(*slot)).map(DeviceRecord::device)
    }

    /// Whether the deadline of `rotation` gives its next certificate up: because it was begun so, or because what is
    /// revoked cannot take over.
    pub(super) fn abandons(&self, rotation: &Rotation) -> bool {
        rotation.at_deadline == OverlapEnd::AbandonNew
            || self.revoked.certificate(&rotation.next.fingerprint()).is_some()
            || self.revoked.key(&rotation.next.key()).is_some()
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

    /// The device one of whose former certificates this is: another took over from it since the device was paired.
    /// The device may be rotating back to it: it is a former one until that rotation has ended. Cost: O(1).
    pub fn by_former(&self, fingerprint: &Sha256Digest) -> Option<&DeviceRecord> {
        let hash = self.former_index.kept_hash(fingerprint.as_bytes());
        let has_it = |slot| {
            let record = self.devices.get(slot);
            record.is_some_and(|record| self.former(record.device()).contains(fingerprint))
        };
        self.devices.get(self.former_index.get_kept(hash, has_it)?)
    }

    /// The certificates of `device` that others took over from since it was paired, the latest last; four at most.
    pub fn former(&self, device: &DeviceId) -> &[Sha256Digest] {
        self.former.get(device).map_or(&[], Vec::as_slice)
    }

    /// Puts other former certificates in place of those that a registered device has.
    pub(super) fn set_former(&mut self, device: &DeviceId, former: Vec<Sha256Digest>) {
        let Some(slot) = self.slot(device) else { return };
        for fingerprint in self.former.remove(device).iter().flatten() {
            self.former_index.remove(fingerprint.as_bytes(), slot);
        }
        for fingerprint in &former {
            self.former_index.insert(fingerprint.as_bytes(), slot);
        }
        if !former.is_empty() {
            self.former.insert(device.clone(), former);
        }
    }

    /// Another certificate took over from `retired`.
    fn supersede(&mut self, device: &DeviceId, retired: Sha256Digest, next: Sha256Digest) {
        let mut former = self.former(device).to_vec();
        // One that comes back to its device is in force again.
        former.retain(|held| *held != next);
        if former.len() >= MAX_FORMER {
            former.remove(0);
        }
        former.push(retired);
        self.set_former(device, former);
    }

    /// The standing orders under which expired certificates are renewed, by name.
    pub fn renewals(&self) -> impl ExactSizeIterator<Item = (&OrderId, &StandingOrder)> {
        self.renewals.iter()
    }

    pub(super) const fn renewal_orders(&self) -> &BTreeMap<OrderId, StandingOrder> {
        &self.renewals
    }

    pub(super) fn restore_renewals(&mut self, renewals: BTreeMap<OrderId, StandingOrder>) {
        self.renewals = renewals;
    }

    /// The certificates that deadlines of rotations retired last, the oldest first.
    pub(super) fn overdue(&self) -> impl Iterator<Item = &Sha256Digest> {
        self.overdue.iter()
    }

    pub(super) fn remember_overdue(&mut self, fingerprint: Sha256Digest) {
        if self.overdue.len() >= MAX_OVERDUE {
            self.overdue.pop_front();
        }
        self.overdue.push_back(fingerprint);
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

    /// The deadline of the rotation in the slot of `place`, where the place is of a next certificate.
    fn deadline(&self, place: Slot) -> Option<(Mono, Slot)> {
        let slot = place >> 1;
        let rotation = self.devices.get(slot)?.rotation.as_ref().filter(|_| place & 1 == 1)?;
        Some((rotation.until, slot))
    }

    /// Puts the certificate in `place` into both indexes, and the deadline of a next one with them.
    fn index(&mut self, place: Slot) {
        let Some(certificate) = certificate_at(&self.devices, place) else { return };
        self.deadlines.extend(self.deadline(place));
        self.certificates.insert(certificate.fingerprint_bytes(), place);
        self.keys.insert(certificate.key_bytes(), place);
    }

    /// Takes the certificate in `place` out of both indexes, before it changes.
    fn unindex(&mut self, place: Slot) {
        let Some(certificate) = certificate_at(&self.devices, place) else { return };
        if let Some(deadline) = self.deadline(place) {
            self.deadlines.remove(&deadline);
        }
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
        self.set_former(&record.device.clone(), Vec::new());
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
        let mut superseded = None;
        if let Some(record) = self.devices.get_mut(slot)
            && let Some(rotation) = record.rotation.take()
            && record.current.fingerprint() == retired
        {
            superseded = Some(rotation.next.fingerprint());
            record.current = rotation.next;
        }
        self.index(slot << 1);
        if let Some(next) = superseded {
            self.supersede(device, retired, next);
        }
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
            DeviceEvent::RotationEnded { device, retired, cause } => {
                self.end_rotation(device, *retired);
                if *cause == RotationEnd::Deadline {
                    self.remember_overdue(*retired);
                }
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
                    self.set_former(device, Vec::new());
                    self.devices.remove(slot);
                }
                self.bump();
            }
            DeviceEvent::RenewalsOrdered { order, standing, at: _ } => {
                self.renewals.insert(order.clone(), standing.clone());
            }
            DeviceEvent::RenewalGranted { order, device: _ } => {
                if let Some(standing) = self.renewals.get_mut(order) {
                    standing.charge();
                }
            }
            DeviceEvent::RenewalsEnded { order } => {
                self.renewals.remove(order);
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
            && self.overdue == other.overdue
            && self.former == other.former
            && self.renewals == other.renewals
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
