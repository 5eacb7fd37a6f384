//! Why the registry refuses a command, or does not load.

use super::{authenticate::AuthError, revocation::RevocationSubject, standing::OrderError};
use crate::{
    code::{self, Code, Coded},
    id::DeviceId,
    time::{Millis, Wall},
};

/// Why a [`DeviceCommand`](super::DeviceCommand) is refused. A refused command changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// The device is registered already. Another certificate needs `Replace`, which names the change.
    #[error("device {0} is registered already")]
    Exists(DeviceId),
    /// No such device.
    #[error("device {0} is not registered")]
    Unknown(DeviceId),
    /// The registry holds as many devices as its limits allow.
    #[error("the registry is full: {0} devices")]
    Full(u32),
    /// The certificate belongs to a device already.
    #[error("the certificate belongs to device {0}")]
    CertificateInUse(DeviceId),
    /// The key belongs to another device.
    #[error("the key belongs to device {0}")]
    KeyInUse(DeviceId),
    /// The device, the certificate or its key is revoked.
    #[error("{0} is revoked")]
    Revoked(RevocationSubject),
    /// The certificate is past its validity.
    #[error("the certificate has expired")]
    Expired,
    /// The deadline of the rotation would retire the old certificate, and the next one is not valid yet.
    #[error(
        "the next certificate is valid from {0} on, and a rotation that retires the old one begins with a valid one"
    )]
    NotYetValid(Wall),
    /// The deadline of the rotation would retire the old certificate, and the next one has expired by then.
    #[error("the next certificate is valid through {not_after}, and the overlap may last until {until}")]
    EndsEarly {
        /// Where the next certificate ends.
        not_after: Wall,
        /// Where the overlap ends at the latest.
        until: Wall,
    },
    /// The overlap is zero or over the limit.
    #[error("the overlap must be more than zero and at most {limit}")]
    Overlap {
        /// The longest overlap.
        limit: Millis,
    },
    /// No rotation is under way.
    #[error("device {0} is not rotating its certificate")]
    NotRotating(DeviceId),
    /// It is revoked already; the first reason stays.
    #[error("{0} is revoked already")]
    AlreadyRevoked(RevocationSubject),
    /// It is not revoked.
    #[error("{0} is not revoked")]
    NotRevoked(RevocationSubject),
    /// No room for another revocation of something unregistered, or for what a new certificate would need.
    #[error("the revocation set is full: {0} entries")]
    RevocationsFull(u64),
    /// The certificate expired longer ago than the grace of renewals is long.
    #[error("the certificate could be renewed through {0}")]
    RenewalLate(Wall),
    /// No standing order allows the device to renew its expired certificate.
    #[error("no standing order lets device {0} renew its expired certificate")]
    RenewalUnordered(DeviceId),
    /// The standing order is refused, or is none.
    #[error(transparent)]
    Order(#[from] OrderError),
    /// The certificate that the command names does not authenticate.
    #[error(transparent)]
    Auth(#[from] AuthError),
}

impl Coded for DeviceError {
    fn code(&self) -> Code {
        match self {
            Self::Exists(_) => code::DEVICE_EXISTS,
            Self::Unknown(_) => code::DEVICE_UNKNOWN,
            Self::Full(_) => code::DEVICE_FULL,
            Self::CertificateInUse(_) => code::DEVICE_CERTIFICATE_IN_USE,
            Self::KeyInUse(_) => code::DEVICE_KEY_IN_USE,
            Self::Revoked(RevocationSubject::Device(_)) => code::DEVICE_REVOKED,
            Self::Revoked(RevocationSubject::Certificate(_)) => code::CERTIFICATE_REVOKED,
            Self::Revoked(RevocationSubject::Key(_)) => code::KEY_REVOKED,
            Self::Expired => code::CERTIFICATE_EXPIRED,
            Self::NotYetValid(_) => code::CERTIFICATE_NOT_YET_VALID,
            Self::EndsEarly { .. } => code::ROTATION_ENDS_EARLY,
            Self::Overlap { .. } => code::ROTATION_OVERLAP,
            Self::NotRotating(_) => code::ROTATION_NONE,
            Self::AlreadyRevoked(_) => code::REVOCATION_EXISTS,
            Self::NotRevoked(_) => code::REVOCATION_NONE,
            Self::RevocationsFull(_) => code::REVOCATION_FULL,
            Self::RenewalLate(_) => code::DEVICE_RENEWAL_LATE,
            Self::RenewalUnordered(_) => code::DEVICE_RENEWAL_UNORDERED,
            Self::Order(error) => error.code(),
            Self::Auth(error) => error.code(),
        }
    }
}

/// Why a snapshot does not load.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// The snapshot is of another form.
    #[error("the snapshot has form {0}, which this version does not read")]
    Version(u16),
    /// The revocation set is not the one that the snapshot was taken with, or is missing.
    #[error("the revocation set does not belong to this snapshot")]
    Revocations,
    /// Two records share an id, a certificate or a key.
    #[error("device {0} collides with another record")]
    Collision(DeviceId),
    /// More devices or revocations than the limits allow.
    #[error("the snapshot is over the limits of the registry")]
    Limits,
    /// The pairing sessions repeat an id, or are more than the policy allows.
    #[error("the stored pairing sessions are inconsistent")]
    Pairing,
}

impl Coded for RestoreError {
    fn code(&self) -> Code {
        match self {
            Self::Version(_) => code::DEVICE_SNAPSHOT_VERSION,
            Self::Revocations => code::DEVICE_SNAPSHOT_REVOCATIONS,
            Self::Collision(_) => code::DEVICE_SNAPSHOT_COLLISION,
            Self::Limits => code::DEVICE_SNAPSHOT_LIMITS,
            Self::Pairing => code::PAIRING_SNAPSHOT,
        }
    }
}
