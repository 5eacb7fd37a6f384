//! A pairing session as it is kept: what was offered, how far it came, how it ended. No code, no key.

use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

use super::method::{PairingMethod, PairingTarget};
use crate::{
    digest::Sha256Digest,
    id::{DeviceId, OrderId, SessionId},
    identity::{DeviceKind, StandingOrder},
    journaled::events,
    time::{Mono, Now},
};

/// How a session ended. Final.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PairingEnd {
    /// The certificate was issued.
    Paired,
    /// Its time passed.
    Expired,
    /// Every attempt was used and failed.
    Locked,
    /// The operator said no.
    Rejected,
    /// The operator took the offer back.
    Cancelled,
    /// The code was proved, by a device that the registry does not take: known, revoked, or with another's key.
    Refused,
    /// The coordinator restarted, and codes are not stored.
    SecretLost,
}

impl fmt::Display for PairingEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Paired => "paired",
            Self::Expired => "expired",
            Self::Locked => "locked",
            Self::Rejected => "rejected",
            Self::Cancelled => "cancelled",
            Self::Refused => "refused",
            Self::SecretLost => "code lost in a restart",
        })
    }
}

/// Who proved the code of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct PairingPeer {
    /// The id that it wants.
    pub device: DeviceId,
    /// What it says it is.
    pub kind: DeviceKind,
    /// SHA-256 of the SubjectPublicKeyInfo in its certificate request.
    pub key: Sha256Digest,
    /// SHA-256 of the request.
    pub request: Sha256Digest,
}

/// How far a session came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum PairingPhase {
    /// Open for exchanges, until `expires`.
    Offered,
    /// A device proved the code; the operator decides, until `expires`.
    #[non_exhaustive]
    Confirmed {
        /// Who.
        peer: PairingPeer,
        /// Over which transcript.
        transcript: Sha256Digest,
    },
    /// The operator said yes; the certificate may be issued, until `expires`.
    #[non_exhaustive]
    Approved {
        /// To whom.
        peer: PairingPeer,
        /// Over which transcript.
        transcript: Sha256Digest,
    },
    /// The certificate was issued, and the same key may fetch it again, until `expires`. Final.
    #[non_exhaustive]
    Issued {
        /// To whom.
        peer: PairingPeer,
        /// Over which transcript.
        transcript: Sha256Digest,
        /// SHA-256 of the certificate.
        fingerprint: Sha256Digest,
        /// The certificate, DER. Public data.
        certificate: Vec<u8>,
        /// Proof to the device that it comes from this coordinator. Of no use to anybody else.
        tag: [u8; 32],
    },
    /// Over. Final.
    Ended(PairingEnd),
}

/// One pairing session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PairingSession {
    pub(super) method: PairingMethod,
    pub(super) target: PairingTarget,
    pub(super) opened: Now,
    pub(super) expires: Mono,
    pub(super) attempts: u8,
    pub(super) phase: PairingPhase,
}

impl PairingSession {
    /// How it pairs.
    pub const fn method(&self) -> PairingMethod {
        self.method
    }

    /// Which device it may pair.
    pub const fn target(&self) -> &PairingTarget {
        &self.target
    }

    /// When it was opened.
    pub const fn opened(&self) -> Now {
        self.opened
    }

    /// Where the phase that it is in ends.
    pub const fn expires(&self) -> Mono {
        self.expires
    }

    /// How many exchanges were started.
    pub const fn attempts(&self) -> u8 {
        self.attempts
    }

    /// How far it came. Its time may have passed: nothing changes a session but events.
    pub const fn phase(&self) -> &PairingPhase {
        &self.phase
    }

    /// How it ended, where it did.
    pub const fn end(&self) -> Option<PairingEnd> {
        match self.phase {
            PairingPhase::Issued { .. } => Some(PairingEnd::Paired),
            PairingPhase::Ended(end) => Some(end),
            _ => None,
        }
    }
}

events! {
    /// One change of the pairing sessions. Folding the events in order gives [`PairingState`](super::PairingState).
    PairingEvent, stored as StoredPairingEvent;

    /// An operator offered a pairing.
    SessionOpened {
        /// The session.
        session: SessionId,
        /// How it pairs.
        method: PairingMethod,
        /// What it may pair.
        target: PairingTarget,
        /// Until when.
        expires: Mono,
        /// When it was opened.
        at: Now,
    }
    /// A device began an exchange: an attempt is charged, before anything is answered.
    ExchangeStarted {
        /// The session.
        session: SessionId,
        /// When.
        at: Now,
    }
    /// An exchange failed: a wrong code, or somebody in between.
    ExchangeFailed {
        /// The session.
        session: SessionId,
        /// When.
        at: Now,
    }
    /// A device proved the code, and the coordinator proved it to the device.
    PairingConfirmed {
        /// The session.
        session: SessionId,
        /// Who.
        peer: PairingPeer,
        /// The transcript that both have.
        transcript: Sha256Digest,
        /// When.
        at: Now,
    }
    /// The operator approved.
    PairingApproved {
        /// The session.
        session: SessionId,
        /// Until when the certificate may be issued.
        until: Mono,
    }
    /// The certificate was issued.
    CertificateIssued {
        /// The session.
        session: SessionId,
        /// SHA-256 of the certificate.
        fingerprint: Sha256Digest,
        /// The certificate, DER.
        certificate: Vec<u8>,
        /// What proves to the device where it comes from.
        tag: [u8; 32],
        /// Until when it may be fetched again.
        until: Mono,
    }
    /// A session ended.
    SessionEnded {
        /// The session.
        session: SessionId,
        /// How.
        end: PairingEnd,
    }
    /// An ended session was forgotten.
    SessionForgotten {
        /// The session.
        session: SessionId,
    }
    /// An operator gave out an enrolment key.
    EnrolmentOpened {
        /// The key.
        order: OrderId,
        /// What it allows.
        standing: StandingOrder,
        /// What its secret is known by; the secret itself is nowhere.
        check: Sha256Digest,
        /// When.
        at: Now,
    }
    /// An operator took an enrolment key back.
    EnrolmentRevoked {
        /// The key.
        order: OrderId,
    }
    /// An enrolment key was forgotten, whose time is over.
    EnrolmentForgotten {
        /// The key.
        order: OrderId,
    }
    /// A device proved an enrolment key, and the coordinator proved it to the device: its certificate may be issued.
    DeviceEnrolled {
        /// The key; it was used once more.
        order: OrderId,
        /// The session.
        session: SessionId,
        /// Who.
        peer: PairingPeer,
        /// The transcript that both have.
        transcript: Sha256Digest,
        /// Until when the certificate may be issued.
        until: Mono,
        /// When.
        at: Now,
    }
}
