//! What a step of the desk gives: events to journal first, then what may be shown.

use alloc::vec::Vec;
use core::fmt;

use super::{
    error::PairingError, method::PairingMethod, secret::PairingCode, session::PairingEvent,
    transcript::Digits, verified::VerifiedPairing,
};
use crate::{
    digest::Sha256Digest,
    id::{DeviceId, OrderId, SessionId},
    identity::{DeviceCommand, DeviceKind},
    time::Mono,
};

/// Events, and what they entitle to. Journal the events, then call [`Turn::durable`].
///
/// Where the journal fails, drop the turn, stop, and recover: an attempt that was not charged must not be answered.
#[derive(Debug)]
#[must_use = "the events belong in the journal before the value is used"]
pub struct Turn<T> {
    pub(super) events: Vec<PairingEvent>,
    pub(super) value: T,
}

impl<T> Turn<T> {
    /// What happened, in order. May be empty.
    pub fn events(&self) -> &[PairingEvent] {
        &self.events
    }

    /// The value, once the events are durable.
    pub fn durable(self) -> T {
        self.value
    }
}

/// A session that was opened.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Offered {
    /// Its id: in the QR code, or to be typed in.
    pub session: SessionId,
    /// The code, to be shown once.
    pub code: PairingCode,
    /// Until when.
    pub expires: Mono,
}

/// An enrolment key that was given out.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EnrolmentOffered {
    /// Its name, by which it is revoked.
    pub order: OrderId,
    /// The code, to be put onto the devices. Whoever reads it can pair as many as the key allows.
    pub code: PairingCode,
    /// Until when it stands.
    pub until: Mono,
}

/// What came of a message.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Received {
    /// What to send back.
    pub reply: Option<Vec<u8>>,
    /// What to ask the operator.
    pub ask: Option<ApprovalRequest>,
    /// A device proved an enrolment key: for the issuer, and then [`PairingDesk::complete`](super::PairingDesk::complete).
    pub enrolled: Option<VerifiedPairing>,
    /// Why the message was refused, where that changed the session: an attempt is gone, or the session is over.
    pub refused: Option<PairingError>,
}

/// What the operator decides on. Shown whole: a name alone can be chosen to deceive.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ApprovalRequest {
    /// The session.
    pub session: SessionId,
    /// How it pairs.
    pub method: PairingMethod,
    /// The id that the device wants.
    pub device: DeviceId,
    /// What it says it is.
    pub kind: DeviceKind,
    /// SHA-256 of its public key.
    pub key: Sha256Digest,
    /// Whether a registered device is replaced.
    pub replaces: bool,
    /// Digits that the device shows too. With [`PairingMethod::Compare`], to approve is to say that they agree.
    pub digits: Digits,
    /// What an approval names, so that it cannot be taken for another exchange.
    pub transcript: Sha256Digest,
}

/// A pairing that is done.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Completed {
    /// The session.
    pub session: SessionId,
    /// For the registry, which was asked and takes it. The device authenticates when this is applied.
    pub command: DeviceCommand,
}

impl fmt::Display for ApprovalRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let act = if self.replaces { "replace" } else { "pair" };
        write!(
            f,
            "{act} {} {} by {}, digits {}, key {}",
            self.kind, self.device, self.method, self.digits, self.key
        )
    }
}
