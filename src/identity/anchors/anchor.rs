//! A pinned certificate, and the announcement of the one that takes over from it.

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::{digest::Sha256Digest, identity::certificate::DeviceCertificate, time::Wall};

/// What a pinned certificate is accepted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AnchorRole {
    /// The certificate that a coordinator presents.
    Coordinator,
    /// The certificate of an authority that signs device certificates; the host's TLS library chains to it.
    Authority,
}

impl fmt::Display for AnchorRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Coordinator => "coordinator",
            Self::Authority => "authority",
        })
    }
}

/// What is known of a pinned certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(clippy::exhaustive_enums, reason = "a certificate is known, or only its digest is")]
pub enum PinnedCertificate {
    /// Nothing but the SHA-256 of its exact DER: what a device has seen when it paired. Its dates are not judged.
    Fingerprint(Sha256Digest),
    /// Its facts. It is accepted from its first instant until before its last.
    Certificate(DeviceCertificate),
}

impl PinnedCertificate {
    /// SHA-256 of the exact DER.
    pub const fn fingerprint(&self) -> Sha256Digest {
        match self {
            Self::Fingerprint(fingerprint) => *fingerprint,
            Self::Certificate(certificate) => certificate.fingerprint(),
        }
    }

    /// The first instant at which it is accepted.
    pub const fn not_before(&self) -> Wall {
        match self {
            Self::Fingerprint(_) => Wall::START,
            Self::Certificate(certificate) => certificate.not_before(),
        }
    }

    /// The first instant at which it is not accepted any more; [`Wall::NEVER`] where that is not known.
    pub const fn not_after(&self) -> Wall {
        match self {
            Self::Fingerprint(_) => Wall::NEVER,
            Self::Certificate(certificate) => certificate.not_after(),
        }
    }

    pub(super) fn is_over(&self, now: Wall) -> bool {
        self.not_after() != Wall::NEVER && now >= self.not_after()
    }
}

impl From<DeviceCertificate> for PinnedCertificate {
    fn from(certificate: DeviceCertificate) -> Self {
        Self::Certificate(certificate)
    }
}

/// A pinned certificate, and where it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Anchor {
    /// What for.
    pub role: AnchorRole,
    /// Which.
    pub certificate: PinnedCertificate,
    /// The anchor that this one takes over from, until it is used for the first time.
    pub succeeds: Option<Sha256Digest>,
    /// The coordinator that announced it.
    pub announced_by: Option<Sha256Digest>,
}

impl Anchor {
    /// What announces it, while it was not used yet.
    pub fn announcement(&self) -> Option<Announcement> {
        match self.certificate {
            PinnedCertificate::Certificate(next) => {
                self.succeeds.map(|succeeds| Announcement { role: self.role, succeeds, next })
            }
            PinnedCertificate::Fingerprint(_) => None,
        }
    }
}

/// A coordinator's word that a certificate takes over from one that is pinned. It proves nothing by itself: it counts over
/// a channel that a pinned coordinator authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(clippy::exhaustive_structs, reason = "a message")]
pub struct Announcement {
    /// What for.
    pub role: AnchorRole,
    /// The anchor that the next one takes over from.
    pub succeeds: Sha256Digest,
    /// The next one.
    pub next: DeviceCertificate,
}
