//! From a certificate to the device that it stands for, or to the reason why it stands for none.

use super::{
    certificate::{CertificateError, DeviceCertificate},
    record::DeviceRecord,
    registry::DeviceRegistry,
    revocation::RevocationSubject,
};
use crate::{
    code::{self, Code, Coded},
    digest::Sha256Digest,
    id::DeviceId,
    time::{Mono, Now, Wall},
};

/// Why a certificate does not authenticate. For the log; a peer is told no more than that it is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthError {
    /// The bytes are not one certificate.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// No device has this certificate.
    #[error("no device has certificate {0}")]
    Unknown(Sha256Digest),
    /// The device, the certificate or its key is revoked. Wins over every other reason.
    #[error("{0} is revoked")]
    Revoked(RevocationSubject),
    /// The certificate was rotated away.
    #[error("certificate {0} was rotated away")]
    Retired(Sha256Digest),
    /// The certificate is not valid yet.
    #[error("the certificate is valid from {0} on")]
    NotYetValid(Wall),
    /// The certificate is not valid any more.
    #[error("the certificate was valid through {0}")]
    Expired(Wall),
    /// The key in the certificate is not the one that was registered with its fingerprint.
    #[error("the key of the certificate is not the registered one")]
    KeyMismatch,
}

impl Coded for AuthError {
    fn code(&self) -> Code {
        match self {
            Self::Certificate(error) => error.code(),
            Self::Unknown(_) => code::CERTIFICATE_UNKNOWN,
            Self::Revoked(RevocationSubject::Device(_)) => code::DEVICE_REVOKED,
            Self::Revoked(RevocationSubject::Certificate(_)) => code::CERTIFICATE_REVOKED,
            Self::Revoked(RevocationSubject::Key(_)) => code::KEY_REVOKED,
            Self::Retired(_) => code::CERTIFICATE_RETIRED,
            Self::NotYetValid(_) => code::CERTIFICATE_NOT_YET_VALID,
            Self::Expired(_) => code::CERTIFICATE_EXPIRED,
            Self::KeyMismatch => code::CERTIFICATE_KEY_MISMATCH,
        }
    }
}

/// A device that a certificate stands for, at the time that was asked about. Only the registry makes it.
///
/// It borrows the registry: it cannot outlive the state that it was judged on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuthenticatedDevice<'a> {
    record: &'a DeviceRecord,
    certificate: &'a DeviceCertificate,
    generation: u64,
    ends: Option<Mono>,
    confirms_rotation: bool,
}

impl<'a> AuthenticatedDevice<'a> {
    /// The device.
    pub const fn device(&self) -> &'a DeviceId {
        self.record.device()
    }

    /// The device's record.
    pub const fn record(&self) -> &'a DeviceRecord {
        self.record
    }

    /// The certificate that was used.
    pub const fn certificate(&self) -> &'a DeviceCertificate {
        self.certificate
    }

    /// The registry's generation. When it has grown, ask again before the next use.
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// Where the overlap of a rotation ends and with it this certificate, whatever its validity.
    pub const fn ends(&self) -> Option<Mono> {
        self.ends
    }

    /// Whether this use ends a rotation: submit [`DeviceCommand::ConfirmUse`](super::DeviceCommand::ConfirmUse).
    pub const fn confirms_rotation(&self) -> bool {
        self.confirms_rotation
    }
}

impl DeviceRegistry {
    /// The device that presented the certificate `leaf` (exact DER) on a connection.
    ///
    /// Ask for every accepted connection, resumed ones included, and again when the generation grew.
    /// Cost: one pass over the certificate and two SHA-256, then as [`Self::authenticate_fingerprint`].
    ///
    /// # Errors
    /// [`AuthError`]. Revoked devices, certificates and keys authenticate nothing (invariant 12).
    pub fn authenticate(&self, leaf: &[u8], now: Now) -> Result<AuthenticatedDevice<'_>, AuthError> {
        let presented = self.read(leaf)?;
        if self.revocations().key(&presented.key()).is_some() {
            return Err(AuthError::Revoked(RevocationSubject::Key(presented.key())));
        }
        let device = self.authenticate_fingerprint(presented.fingerprint(), now)?;
        if device.certificate.key() != presented.key() {
            return Err(AuthError::KeyMismatch);
        }
        Ok(device)
    }

    /// The device that the certificate with this fingerprint stands for, where the host knows no more of it.
    ///
    /// Cost: O(1): one hash, a place in a table, and one cache line of the device's record; where something is revoked, a
    /// place in each of three tables more.
    ///
    /// # Errors
    /// [`AuthError`].
    pub fn authenticate_fingerprint(
        &self,
        fingerprint: Sha256Digest,
        now: Now,
    ) -> Result<AuthenticatedDevice<'_>, AuthError> {
        let hash = self.revocations().hash(fingerprint.as_bytes());
        if self.revocations().certificate_hashed(hash, &fingerprint).is_some() {
            return Err(AuthError::Revoked(RevocationSubject::Certificate(fingerprint)));
        }
        let Some((record, certificate)) = self.by_certificate_hashed(hash, &fingerprint) else {
            let late = self.overdue().any(|retired| *retired == fingerprint);
            return Err(if late { AuthError::Retired(fingerprint) } else { AuthError::Unknown(fingerprint) });
        };
        let hashes = (record.id_hash, hash);
        self.standing(record.device(), certificate, hashes).map_err(AuthError::Revoked)?;
        let mut ends = None;
        let mut confirms_rotation = false;
        if let Some(rotation) = record.rotation() {
            let is_next = rotation.next.fingerprint() == fingerprint;
            let retires_this = is_next == self.abandons(rotation);
            if retires_this && rotation.lapsed(now) {
                return Err(AuthError::Retired(fingerprint));
            }
            ends = retires_this.then_some(rotation.until);
            confirms_rotation = is_next;
        }
        if now.wall < certificate.not_before() {
            return Err(AuthError::NotYetValid(certificate.not_before()));
        }
        if now.wall > certificate.not_after() {
            return Err(AuthError::Expired(certificate.not_after()));
        }
        Ok(AuthenticatedDevice {
            record,
            certificate,
            generation: self.generation(),
            ends,
            confirms_rotation,
        })
    }
}
