//! The registry as one value to store. It loads only whole: its digest ties the records to the revocation set.

use alloc::{boxed::Box, collections::BTreeMap, vec::Vec};

use serde::{Deserialize, Serialize};

use super::{
    certificate::DeviceCertificate,
    error::RestoreError,
    limits::DeviceLimits,
    record::{DeviceKind, DeviceRecord, OverlapEnd, Rotation},
    registry::{DeviceRegistry, MAX_FORMER, MAX_OVERDUE},
    revocation::{Revocation, RevocationSubject},
    standing::{MAX_ORDERS, StandingOrder},
};
use crate::{
    digest::Sha256Digest,
    id::{DeviceId, OrderId},
    index::KeptHash,
    time::{Mono, Now},
};

const VERSION: u16 = 1;

/// The stored form of a registry in one piece. Canonical: equal registries have equal snapshots.
#[cfg(test)]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeviceRegistrySnapshot {
    version: u16,
    generation: u64,
    /// Over the revocation set and the generation: records with another set, or with none, do not load.
    revocations_sha256: Sha256Digest,
    overdue: Vec<Sha256Digest>,
    renewals: Vec<(OrderId, StandingOrder)>,
    revoked: Vec<(RevocationSubject, Revocation)>,
    devices: Vec<StoredDevice>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StoredDevice {
    device: DeviceId,
    kind: DeviceKind,
    registered: Now,
    current: DeviceCertificate,
    rotation: Option<(DeviceCertificate, Mono, OverlapEnd)>,
    former: Vec<Sha256Digest>,
}

impl StoredDevice {
    /// A device as the first form had it: what it had before was not kept.
    pub(crate) const fn first_form(
        device: DeviceId,
        kind: DeviceKind,
        registered: Now,
        current: DeviceCertificate,
        rotation: Option<(DeviceCertificate, Mono, OverlapEnd)>,
    ) -> Self {
        Self { device, kind, registered, current, rotation, former: Vec::new() }
    }
}

impl StoredDevice {
    fn of(record: &DeviceRecord, former: &[Sha256Digest]) -> Self {
        Self {
            device: record.device.clone(),
            kind: record.kind,
            registered: record.registered,
            current: record.current,
            rotation: record.rotation().map(|rotation| (rotation.next, rotation.until, rotation.at_deadline)),
            former: former.to_vec(),
        }
    }
}

impl From<StoredDevice> for DeviceRecord {
    fn from(stored: StoredDevice) -> Self {
        let StoredDevice { device, kind, registered, current, rotation, former: _ } = stored;
        let rotation =
            rotation.map(|(next, until, at_deadline)| Box::new(Rotation { next, until, at_deadline }));
        let id_hash = KeptHash::default();
        Self { device, kind, id_hash, registered, current, rotation }
    }
}

/// What a stored registry begins with: everything but its two lists, which may be long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeviceRegistryHead {
    version: u16,
    generation: u64,
    revocations_sha256: Sha256Digest,
    overdue: Vec<Sha256Digest>,
    renewals: Vec<(OrderId, StandingOrder)>,
}

impl DeviceRegistryHead {
    /// What a registry began with in the first form.
    pub(crate) fn first_form(version: u16, generation: u64, revocations_sha256: Sha256Digest) -> Self {
        Self { version, generation, revocations_sha256, overdue: Vec::new(), renewals: Vec::new() }
    }
}

impl DeviceRegistry {
    /// What its stored form begins with.
    pub(crate) fn stored_head(&self) -> DeviceRegistryHead {
        DeviceRegistryHead {
            version: VERSION,
            generation: self.generation(),
            revocations_sha256: self.revocations().digest(self.generation()),
            overdue: self.overdue().copied().collect(),
            renewals: self.renewals().map(|(order, held)| (order.clone(), held.clone())).collect(),
        }
    }

    /// The devices in the order of their ids, one at a time. Cost: O(n log n), and a pointer for each.
    pub(crate) fn stored_devices(&self) -> impl Iterator<Item = StoredDevice> {
        self.devices().map(|record| StoredDevice::of(record, self.former(record.device())))
    }

    /// The registry as one value. Cost: O(n log n).
    #[cfg(test)]
    pub(crate) fn snapshot(&self) -> DeviceRegistrySnapshot {
        let DeviceRegistryHead { version, generation, revocations_sha256, overdue, renewals } =
            self.stored_head();
        DeviceRegistrySnapshot {
            version,
            generation,
            revocations_sha256,
            overdue,
            renewals,
            revoked: self.revoked().collect(),
            devices: self.stored_devices().collect(),
        }
    }

    /// The registry that `snapshot` was taken of. A snapshot is believed in nothing that can be checked.
    #[cfg(test)]
    pub(crate) fn restore(
        snapshot: DeviceRegistrySnapshot,
        limits: DeviceLimits,
        index_key: [u8; 16],
    ) -> Result<Self, RestoreError> {
        let DeviceRegistrySnapshot {
            version,
            generation,
            revocations_sha256,
            overdue,
            renewals,
            revoked,
            devices,
        } = snapshot;
        let head = DeviceRegistryHead { version, generation, revocations_sha256, overdue, renewals };
        let mut loader = DeviceRegistryLoader::new(head, limits, index_key)?;
        revoked.into_iter().try_for_each(|entry| loader.revoked(entry))?;
        devices.into_iter().try_for_each(|device| loader.device(device))?;
        loader.finish()
    }
}

/// A registry on its way out of a snapshot: first what is revoked, then the devices.
pub(crate) struct DeviceRegistryLoader {
    registry: DeviceRegistry,
    head: DeviceRegistryHead,
    revoked: u64,
}

impl DeviceRegistryLoader {
    pub(crate) fn new(
        head: DeviceRegistryHead,
        limits: DeviceLimits,
        index_key: [u8; 16],
    ) -> Result<Self, RestoreError> {
        if head.version != VERSION {
            return Err(RestoreError::Version(head.version));
        }
        if head.overdue.len() > MAX_OVERDUE || head.renewals.len() > MAX_ORDERS {
            return Err(RestoreError::Limits);
        }
        let mut registry = DeviceRegistry::new(limits, index_key);
        head.overdue.iter().for_each(|fingerprint| registry.remember_overdue(*fingerprint));
        let renewals: BTreeMap<_, _> = head.renewals.iter().cloned().collect();
        if renewals.len() != head.renewals.len() {
            return Err(RestoreError::Limits);
        }
        registry.restore_renewals(renewals);
        Ok(Self { registry, head, revoked: 0 })
    }

    pub(crate) fn revoked(
        &mut self,
        (subject, revocation): (RevocationSubject, Revocation),
    ) -> Result<(), RestoreError> {
        self.revoked = self.revoked.saturating_add(1);
        if self.revoked > self.registry.limits().revocation_bound() {
            return Err(RestoreError::Limits);
        }
        if self.registry.revocation(&subject).is_some() {
            return Err(RestoreError::Revocations);
        }
        self.registry.restore_revocation(&subject, revocation);
        Ok(())
    }

    pub(crate) fn device(&mut self, stored: StoredDevice) -> Result<(), RestoreError> {
        let bound = u64::from(self.registry.limits().max_devices());
        if u64::try_from(self.registry.len()).is_ok_and(|len| len >= bound) {
            return Err(RestoreError::Limits);
        }
        if stored.former.len() > MAX_FORMER {
            return Err(RestoreError::Limits);
        }
        let former = stored.former.clone();
        let record = DeviceRecord::from(stored);
        let taken = self.registry.get(record.device()).is_some()
            || record.certificates().any(|certificate| {
                self.registry.by_certificate(&certificate.fingerprint()).is_some()
                    || self.registry.by_key(&certificate.key()).is_some()
            })
            || record
                .rotation()
                .is_some_and(|rotation| rotation.next.fingerprint() == record.current.fingerprint());
        if taken {
            return Err(RestoreError::Collision(record.device().clone()));
        }
        let device = record.device().clone();
        self.registry.put(record);
        self.registry.set_former(&device, former);
        Ok(())
    }

    /// The registry, if what is revoked is all that was.
    pub(crate) fn finish(mut self) -> Result<DeviceRegistry, RestoreError> {
        self.registry.set_generation(self.head.generation);
        if self.registry.revocations().digest(self.head.generation) != self.head.revocations_sha256 {
            return Err(RestoreError::Revocations);
        }
        Ok(self.registry)
    }
}
