//! The registry as one value to store. It loads only whole: its digest ties the records to the revocation set.

use alloc::{boxed::Box, vec::Vec};

use serde::{Deserialize, Serialize};

use super::{
    certificate::DeviceCertificate,
    error::RestoreError,
    limits::DeviceLimits,
    record::{DeviceKind, DeviceRecord, OverlapEnd, Rotation},
    registry::DeviceRegistry,
    revocation::{Revocation, RevocationSubject},
};
use crate::{
    digest::Sha256Digest,
    id::DeviceId,
    time::{Mono, Now},
};

const VERSION: u16 = 1;

/// The stored form of a registry. Canonical: equal registries have equal snapshots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeviceRegistrySnapshot {
    version: u16,
    generation: u64,
    /// Over the revocation set and the generation: records with another set, or with none, do not load.
    revocations_sha256: Sha256Digest,
    revoked: Vec<(RevocationSubject, Revocation)>,
    devices: Vec<StoredDevice>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredDevice {
    device: DeviceId,
    kind: DeviceKind,
    registered: Now,
    current: DeviceCertificate,
    rotation: Option<(DeviceCertificate, Mono, OverlapEnd)>,
}

impl From<&DeviceRecord> for StoredDevice {
    fn from(record: &DeviceRecord) -> Self {
        Self {
            device: record.device.clone(),
            kind: record.kind,
            registered: record.registered,
            current: record.current,
            rotation: record.rotation().map(|rotation| (rotation.next, rotation.until, rotation.at_deadline)),
        }
    }
}

impl From<StoredDevice> for DeviceRecord {
    fn from(stored: StoredDevice) -> Self {
        let StoredDevice { device, kind, registered, current, rotation } = stored;
        let rotation =
            rotation.map(|(next, until, at_deadline)| Box::new(Rotation { next, until, at_deadline }));
        Self { device, kind, registered, current, rotation }
    }
}

#[allow(dead_code, reason = "called by the state that embeds the registry")]
impl DeviceRegistry {
    /// The registry as one value. Cost: O(n log n).
    pub(crate) fn snapshot(&self) -> DeviceRegistrySnapshot {
        DeviceRegistrySnapshot {
            version: VERSION,
            generation: self.generation(),
            revocations_sha256: self.revocations().digest(self.generation()),
            revoked: self.revoked().collect(),
            devices: self.devices().map(StoredDevice::from).collect(),
        }
    }

    /// The registry that `snapshot` was taken of. A snapshot is believed in nothing that can be checked.
    pub(crate) fn restore(
        snapshot: DeviceRegistrySnapshot,
        limits: DeviceLimits,
        index_key: [u8; 16],
    ) -> Result<Self, RestoreError> {
        let DeviceRegistrySnapshot { version, generation, revocations_sha256, revoked, devices } = snapshot;
        if version != VERSION {
            return Err(RestoreError::Version(version));
        }
        let fits = |len: usize, bound: u64| u64::try_from(len).is_ok_and(|len| len <= bound);
        if !fits(devices.len(), limits.max_devices().into())
            || !fits(revoked.len(), limits.revocation_bound())
        {
            return Err(RestoreError::Limits);
        }
        let mut registry = Self::new(limits, index_key);
        for (subject, revocation) in &revoked {
            if registry.revocation(subject).is_some() {
                return Err(RestoreError::Revocations);
            }
            registry.restore_revocation(subject, *revocation);
        }
        registry.set_generation(generation);
        if registry.revocations().digest(generation) != revocations_sha256 {
            return Err(RestoreError::Revocations);
        }
        for stored in devices {
            let record = DeviceRecord::from(stored);
            let taken = registry.get(record.device()).is_some()
                || record.certificates().any(|certificate| {
                    registry.by_certificate(&certificate.fingerprint()).is_some()
                        || registry.by_key(&certificate.key()).is_some()
                })
                || record
                    .rotation()
                    .is_some_and(|rotation| rotation.next.fingerprint() == record.current.fingerprint());
            if taken {
                return Err(RestoreError::Collision(record.device().clone()));
            }
            registry.put(record);
        }
        Ok(registry)
    }
}
