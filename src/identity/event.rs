//! What happened to the registry, as it is journaled.

use serde::{Deserialize, Serialize};

use super::{
    certificate::DeviceCertificate,
    record::{DeviceKind, OverlapEnd},
    revocation::{RevocationReason, RevocationSubject},
    standing::StandingOrder,
};
use crate::{
    digest::Sha256Digest,
    id::{DeviceId, OrderId},
    journaled::events,
    time::{Mono, Now},
};

/// Why a rotation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RotationEnd {
    /// The new certificate was used.
    FirstUse,
    /// The overlap's deadline passed.
    Deadline,
    /// Another rotation took its place before the new certificate was used.
    Superseded,
    /// It was given up.
    Abandoned,
    /// The new certificate, or its key alone, was revoked.
    Revoked,
}

events! {
    /// One change of the [`DeviceRegistry`](super::DeviceRegistry). Folding the events in order gives the
    /// registry.
    DeviceEvent, stored as StoredDeviceEvent;

    /// A device was registered.
    DeviceRegistered {
        /// Its id.
        device: DeviceId,
        /// What it is.
        kind: DeviceKind,
        /// Its certificate.
        certificate: DeviceCertificate,
        /// When.
        at: Now,
    }
    /// A known device got another certificate at once; what it had before does not authenticate any more.
    DeviceReplaced {
        /// Its id.
        device: DeviceId,
        /// What it is now.
        kind: DeviceKind,
        /// Its only certificate.
        certificate: DeviceCertificate,
        /// When.
        at: Now,
    }
    /// A second certificate authenticates beside the first.
    RotationBegun {
        /// The device.
        device: DeviceId,
        /// The second certificate.
        next: DeviceCertificate,
        /// The overlap ends here at the latest.
        until: Mono,
        /// What the deadline does.
        at_deadline: OverlapEnd,
    }
    /// One certificate of two was retired.
    RotationEnded {
        /// The device.
        device: DeviceId,
        /// The certificate that does not authenticate any more; the other one is in force.
        retired: Sha256Digest,
        /// Why.
        cause: RotationEnd,
    }
    /// Something was revoked.
    Revoked {
        /// What.
        subject: RevocationSubject,
        /// Why.
        reason: RevocationReason,
        /// When.
        at: Now,
    }
    /// A revocation was taken back.
    RevocationCleared {
        /// Of what.
        subject: RevocationSubject,
    }
    /// A device was forgotten.
    DeviceRemoved {
        /// The device.
        device: DeviceId,
    }
    /// An operator allowed expired certificates of some devices to be renewed.
    RenewalsOrdered {
        /// The order.
        order: OrderId,
        /// What it allows.
        standing: StandingOrder,
        /// When.
        at: Now,
    }
    /// A standing order was used for the renewal that begins in the same record.
    RenewalGranted {
        /// The order.
        order: OrderId,
        /// The device.
        device: DeviceId,
    }
    /// A standing order was taken back, or forgotten where it could not be used any more.
    RenewalsEnded {
        /// The order.
        order: OrderId,
    }
}
