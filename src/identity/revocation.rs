//! The set of what was revoked: devices, certificates, keys, whether they are registered or not.

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    digest::{FieldHasher, Sha256Digest},
    id::DeviceId,
    index::KeptHash,
    slab::{Keyed, KeyedSlab},
    time::Now,
};

/// What can be revoked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RevocationSubject {
    /// A device, whatever certificate it has or gets.
    Device(DeviceId),
    /// One certificate, by the SHA-256 of its exact DER.
    Certificate(Sha256Digest),
    /// A public key, by the SHA-256 of its SubjectPublicKeyInfo: every certificate for it, old or new.
    Key(Sha256Digest),
}

impl fmt::Display for RevocationSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(device) => write!(f, "device {device}"),
            Self::Certificate(fingerprint) => write!(f, "certificate {fingerprint}"),
            Self::Key(key) => write!(f, "key {key}"),
        }
    }
}

/// Why something was revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RevocationReason {
    /// The private key is, or may be, in other hands.
    KeyCompromise,
    /// The device is lost or stolen.
    Lost,
    /// The device is out of service for good.
    Decommissioned,
    /// An operator decided so, for a reason kept elsewhere.
    Operator,
    /// The device asked for it itself.
    DeviceRequest,
    /// A certificate that had been rotated away was used to ask for another: two places have the device's identity.
    Cloned,
}

impl RevocationReason {
    /// The number that stands for it in digests.
    pub(super) const fn number(self) -> u64 {
        match self {
            Self::KeyCompromise => 1,
            Self::Lost => 2,
            Self::Decommissioned => 3,
            Self::Operator => 4,
            Self::DeviceRequest => 5,
            Self::Cloned => 6,
        }
    }
}

/// When and why something was revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Revocation {
    /// Why.
    pub reason: RevocationReason,
    /// When it was decided.
    pub at: Now,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry<K> {
    subject: K,
    revocation: Revocation,
}

impl Keyed for Entry<DeviceId> {
    fn key(&self) -> &[u8] {
        self.subject.as_str().as_bytes()
    }
}

impl Keyed for Entry<Sha256Digest> {
    fn key(&self) -> &[u8] {
        self.subject.as_bytes()
    }
}

/// The revocation of `key`, by its hash. Nothing is looked at where nothing is revoked, which is nearly always.
fn find<'a, 'k, K>(
    table: &'a KeyedSlab<Entry<K>>,
    hash: KeptHash,
    key: impl Fn() -> &'k [u8],
) -> Option<&'a Revocation>
where
    Entry<K>: Keyed,
{
    if table.len() == 0 { None } else { table.get_kept(hash, key).map(|entry| &entry.revocation) }
}

/// Everything revoked. Three tables, so that a lookup hashes the subject as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RevocationSet {
    devices: KeyedSlab<Entry<DeviceId>>,
    certificates: KeyedSlab<Entry<Sha256Digest>>,
    keys: KeyedSlab<Entry<Sha256Digest>>,
}

impl RevocationSet {
    pub(super) fn new(index_key: [u8; 16]) -> Self {
        Self {
            devices: KeyedSlab::new(index_key),
            certificates: KeyedSlab::new(index_key),
            keys: KeyedSlab::new(index_key),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.devices.len().saturating_add(self.certificates.len()).saturating_add(self.keys.len())
    }

    /// What these bytes are found by.
    pub(super) fn hash(&self, bytes: &[u8]) -> KeptHash {
        self.certificates.kept_hash(bytes)
    }

    pub(super) fn device(&self, device: &DeviceId) -> Option<&Revocation> {
        self.device_hashed(self.hash(device.as_str().as_bytes()), device)
    }

    pub(super) fn device_hashed(&self, hash: KeptHash, device: &DeviceId) -> Option<&Revocation> {
        find(&self.devices, hash, || device.as_str().as_bytes())
    }

    pub(super) fn certificate(&self, fingerprint: &Sha256Digest) -> Option<&Revocation> {
        self.certificate_hashed(self.hash(fingerprint.as_bytes()), fingerprint)
    }

    pub(super) fn certificate_hashed(
        &self,
        hash: KeptHash,
        fingerprint: &Sha256Digest,
    ) -> Option<&Revocation> {
        find(&self.certificates, hash, || fingerprint.as_bytes())
    }

    /// Nothing is hashed where no key is revoked.
    pub(super) fn key(&self, key: &Sha256Digest) -> Option<&Revocation> {
        if self.keys.len() == 0 {
            return None;
        }
        find(&self.keys, self.hash(key.as_bytes()), || key.as_bytes())
    }

    pub(super) fn get(&self, subject: &RevocationSubject) -> Option<&Revocation> {
        match subject {
            RevocationSubject::Device(device) => self.device(device),
            RevocationSubject::Certificate(fingerprint) => self.certificate(fingerprint),
            RevocationSubject::Key(key) => self.key(key),
        }
    }

    pub(super) fn insert(&mut self, subject: &RevocationSubject, revocation: Revocation) {
        match subject {
            RevocationSubject::Device(device) => {
                self.devices.insert(Entry { subject: device.clone(), revocation });
            }
            RevocationSubject::Certificate(fingerprint) => {
                self.certificates.insert(Entry { subject: *fingerprint, revocation });
            }
            RevocationSubject::Key(key) => {
                self.keys.insert(Entry { subject: *key, revocation });
            }
        }
    }

    pub(super) fn remove(&mut self, subject: &RevocationSubject) {
        match subject {
            RevocationSubject::Device(device) => {
                if let Some(slot) = self.devices.find(device.as_str().as_bytes()) {
                    self.devices.remove(slot);
                }
            }
            RevocationSubject::Certificate(fingerprint) => {
                if let Some(slot) = self.certificates.find(fingerprint.as_bytes()) {
                    self.certificates.remove(slot);
                }
            }
            RevocationSubject::Key(key) => {
                if let Some(slot) = self.keys.find(key.as_bytes()) {
                    self.keys.remove(slot);
                }
            }
        }
    }

    /// Everything revoked, in one order: devices, certificates, keys, each by key.
    pub(super) fn sorted(&self) -> impl Iterator<Item = (RevocationSubject, Revocation)> {
        let devices = self.devices.sorted().into_iter();
        let certificates = self.certificates.sorted().into_iter();
        let keys = self.keys.sorted().into_iter();
        devices
            .map(|entry| (RevocationSubject::Device(entry.subject.clone()), entry.revocation))
            .chain(
                certificates.map(|entry| (RevocationSubject::Certificate(entry.subject), entry.revocation)),
            )
            .chain(keys.map(|entry| (RevocationSubject::Key(entry.subject), entry.revocation)))
    }

    /// A digest of the set and the generation that it belongs to.
    pub(super) fn digest(&self, generation: u64) -> Sha256Digest {
        let mut hasher = FieldHasher::new("revocations.v1").number(generation);
        for (subject, Revocation { reason, at }) in self.sorted() {
            let (tag, bytes): (u64, &[u8]) = match &subject {
                RevocationSubject::Device(device) => (1, device.as_str().as_bytes()),
                RevocationSubject::Certificate(fingerprint) => (2, fingerprint.as_bytes()),
                RevocationSubject::Key(key) => (3, key.as_bytes()),
            };
            hasher = hasher.number(tag).field(bytes).number(reason.number());
            hasher = hasher.number(at.mono.0).number(at.wall.0);
        }
        hasher.finish()
    }
}
