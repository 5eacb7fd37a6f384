//! The ways to pair, and what a session may pair.

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::id::{DeviceId, OrderId};

/// How device and coordinator convince each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PairingMethod {
    /// A 128-bit secret in a QR code, with the coordinator's certificate. Both sides prove it with HMAC-SHA256
    /// (RFC 2104) over the transcript.
    Qr,
    /// A short PIN through a password-authenticated key exchange. Needs a [`Pake`](super::Pake) provider;
    /// without one a session cannot start, and the PIN never travels in any other way.
    Pin,
    /// Six digits of the transcript, compared by people. The device commits to its nonce before it sees the
    /// coordinator's, so that nobody in between can search for a collision: one in a million per session.
    ///
    /// There is no shared secret here, so a delivered certificate is only as genuine as the channel, whose
    /// certificate the digits cover: the host must give each message with the channel that it came over.
    Compare,
    /// The secret of an enrolment key, which many devices hold. It is proved as a QR code's is; what an operator would
    /// approve, the key's terms have allowed.
    Enrolment,
}

impl PairingMethod {
    /// The method's name, as serialised.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Qr => "qr",
            Self::Pin => "pin",
            Self::Compare => "compare",
            Self::Enrolment => "enrolment",
        }
    }
}

impl fmt::Display for PairingMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which device a session may pair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PairingTarget {
    /// Any device that is not registered yet.
    AnyNew,
    /// This device, which is not registered yet.
    New(DeviceId),
    /// This registered device, whose certificates the new one replaces: the operator names the change.
    Replace(DeviceId),
    /// This device, which is not registered yet and came with an enrolment key.
    Enrolled {
        /// The key.
        order: OrderId,
        /// The device.
        device: DeviceId,
    },
}

impl PairingTarget {
    /// Whether a device with this id may use the session.
    pub fn admits(&self, device: &DeviceId) -> bool {
        match self {
            Self::AnyNew => true,
            Self::New(named) | Self::Replace(named) | Self::Enrolled { device: named, .. } => named == device,
        }
    }

    /// Whether the operator named a registered device.
    pub const fn replaces(&self) -> bool {
        matches!(self, Self::Replace(_))
    }
}
