//! What the registry keeps of a device.

use alloc::boxed::Box;
use core::fmt;

use serde::{Deserialize, Serialize, Serializer, ser::SerializeStruct as _};

use super::certificate::DeviceCertificate;
use crate::{
    digest::Sha256Digest,
    id::DeviceId,
    index::KeptHash,
    slab::Keyed,
    time::{Mono, Now},
};

/// What a device is paired as. An operator sees it when approving, and the pairing transcript binds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DeviceKind {
    /// A networked worker.
    Worker,
    /// A person's desktop that runs tools locally.
    DesktopNode,
    /// An egress proxy: an enforcement point.
    EgressProxy,
}

impl DeviceKind {
    /// The kind's name, as serialised.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::DesktopNode => "desktop_node",
            Self::EgressProxy => "egress_proxy",
        }
    }
}

impl fmt::Display for DeviceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What happens to a rotation whose new certificate was not used before the overlap's deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OverlapEnd {
    /// The old certificate stops to authenticate. A device that never got the new one must be paired again.
    RetireOld,
    /// The new certificate is given up and the old one stays. No device is lost; no key is forced out either,
    /// which is what revocation is for.
    AbandonNew,
}

/// A rotation that is under way: both certificates authenticate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Rotation {
    /// The new certificate.
    pub next: DeviceCertificate,
    /// The overlap ends here at the latest. On the monotonic line, so that a wall clock that steps back
    /// cannot make it longer (invariant 7).
    pub until: Mono,
    /// What the deadline does.
    pub at_deadline: OverlapEnd,
}

impl Rotation {
    /// Whether the deadline has passed.
    pub fn lapsed(&self, now: Now) -> bool {
        now.mono >= self.until
    }
}

/// A registered device: its certificate, and the next one while a rotation is under way.
///
/// Authentication reads the kind, which also says that there is a record, the rotation, the fingerprint and the
/// validity: the first cache line, and no other.
#[derive(Clone, Debug, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct DeviceRecord {
    /// Boxed: most devices are not rotating, and there may be a million of them.
    pub(super) rotation: Option<Box<Rotation>>,
    pub(super) kind: DeviceKind,
    /// Of the device's id: whether that is revoked can be asked without looking at it. The registry sees to it.
    pub(super) id_hash: KeptHash,
    pub(super) current: DeviceCertificate,
    pub(super) device: DeviceId,
    pub(super) registered: Now,
}

impl Serialize for DeviceRecord {
    // Where a field lies is for speed; how a record reads is not to follow from that.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut form = serializer.serialize_struct("DeviceRecord", 5)?;
        form.serialize_field("rotation", &self.rotation)?;
        form.serialize_field("current", &self.current)?;
        form.serialize_field("device", &self.device)?;
        form.serialize_field("registered", &self.registered)?;
        form.serialize_field("kind", &self.kind)?;
        form.end()
    }
}

impl DeviceRecord {
    /// The device's id.
    pub const fn device(&self) -> &DeviceId {
        &self.device
    }

    /// What it is paired as.
    pub const fn kind(&self) -> DeviceKind {
        self.kind
    }

    /// When it was registered, or replaced.
    pub const fn registered(&self) -> Now {
        self.registered
    }

    /// The certificate in force: the old one while a rotation is under way.
    pub const fn certificate(&self) -> &DeviceCertificate {
        &self.current
    }

    /// The rotation that is under way. It may have passed its deadline: nothing changes a record but events.
    pub fn rotation(&self) -> Option<&Rotation> {
        self.rotation.as_deref()
    }

    /// Both certificates, the old one first.
    pub fn certificates(&self) -> impl Iterator<Item = &DeviceCertificate> {
        core::iter::once(&self.current).chain(self.rotation.iter().map(|rotation| &rotation.next))
    }

    /// Whether `fingerprint` is of one of the device's certificates.
    pub fn has_certificate(&self, fingerprint: &Sha256Digest) -> bool {
        self.certificates().any(|certificate| certificate.fingerprint() == *fingerprint)
    }
}

impl Keyed for DeviceRecord {
    fn key(&self) -> &[u8] {
        self.device.as_str().as_bytes()
    }
}
