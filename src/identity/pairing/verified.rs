//! What an approved pairing entitles to, once; and who turns it into a certificate.

use alloc::vec::Vec;

use super::session::PairingPeer;
use crate::{
    digest::Sha256Digest,
    id::{DeviceId, SessionId},
    identity::DeviceKind,
    time::{Mono, Now},
};

/// A pairing that both sides proved and an operator approved.
///
/// Only the desk makes it, it cannot be copied or deserialised, and
/// [`PairingDesk::complete`](super::PairingDesk::complete) takes it back.
///
/// ```compile_fail
/// fn twice(pairing: leasehold::identity::pairing::VerifiedPairing) {
///     let copy = pairing.clone();
/// }
/// ```
/// ```compile_fail
/// let forged: leasehold::identity::pairing::VerifiedPairing = serde_json::from_str("{}").unwrap();
/// ```
#[derive(Debug, PartialEq, Eq)]
#[must_use = "an approval does nothing until its certificate is issued"]
pub struct VerifiedPairing {
    pub(super) session: SessionId,
    pub(super) peer: PairingPeer,
    pub(super) transcript: Sha256Digest,
    pub(super) request: Vec<u8>,
    pub(super) replaces: bool,
    pub(super) until: Mono,
}

impl VerifiedPairing {
    /// The session.
    pub const fn session(&self) -> &SessionId {
        &self.session
    }

    /// The device.
    pub const fn device(&self) -> &DeviceId {
        &self.peer.device
    }

    /// What it is.
    pub const fn kind(&self) -> DeviceKind {
        self.peer.kind
    }

    /// SHA-256 of the SubjectPublicKeyInfo that the certificate must have.
    pub const fn key(&self) -> Sha256Digest {
        self.peer.key
    }

    /// The certificate request (PKCS #10, DER), as the transcript binds it.
    pub fn request(&self) -> &[u8] {
        &self.request
    }

    /// Whether the operator named this registered device to be replaced.
    pub const fn replaces(&self) -> bool {
        self.replaces
    }

    /// The transcript that both sides proved.
    pub const fn transcript(&self) -> Sha256Digest {
        self.transcript
    }

    /// The approval ends here.
    pub const fn until(&self) -> Mono {
        self.until
    }
}

/// Signs certificates for paired devices. The private key of the authority is behind it.
///
/// An implementation checks the signature of the request, which proves that the device holds the key; takes
/// nothing from the request but the key; and names the device as [`VerifiedPairing::device`] says.
pub trait CertificateIssuer {
    /// The certificate, DER.
    ///
    /// # Errors
    /// [`IssueError`] where it cannot or will not sign.
    fn issue(&mut self, pairing: &VerifiedPairing, now: Now) -> Result<Vec<u8>, IssueError>;
}

/// The authority did not sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IssueError {
    /// The request is not one that this authority signs.
    #[error("the certificate request is not one that the authority signs")]
    Request,
    /// The request is signed in a way that the authority cannot check. The same key may ask again, signed otherwise.
    #[error("the certificate request is signed with an algorithm that the authority does not check")]
    Algorithm,
    /// The authority could not be asked.
    #[error("the certificate authority is unavailable")]
    Unavailable,
}

impl crate::code::Coded for IssueError {
    fn code(&self) -> crate::code::Code {
        match self {
            Self::Request => crate::code::ISSUE_REQUEST,
            Self::Algorithm => crate::code::ISSUE_ALGORITHM,
            Self::Unavailable => crate::code::ISSUE_UNAVAILABLE,
        }
    }
}
