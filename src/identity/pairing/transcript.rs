//! What both sides must agree on, as one digest; and what is derived from it: tags, digits, the commitment.

use core::fmt;

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::{error::PairingError, method::PairingMethod};
use crate::{
    digest::{FieldHasher, Sha256Digest},
    id::{DeviceId, FleetId, SessionId},
    identity::DeviceKind,
};

/// The versions of the handshake that this crate speaks.
pub(super) const VERSIONS: (u8, u8) = (1, 1);

/// What the device says of itself and of the session before the coordinator has said anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Opening<'a> {
    pub(super) session: &'a SessionId,
    pub(super) versions: (u8, u8),
    pub(super) method: PairingMethod,
    pub(super) device: &'a DeviceId,
    pub(super) kind: DeviceKind,
    pub(super) request: &'a [u8],
    /// The coordinator's certificate, as each side sees it on its own end of the channel.
    pub(super) coordinator: &'a Sha256Digest,
}

impl Opening<'_> {
    fn hash(&self, domain: &str) -> FieldHasher {
        FieldHasher::new(domain)
            .field(b"device")
            .field(self.session.as_str().as_bytes())
            .field(&[self.versions.0, self.versions.1])
            .field(self.method.as_str().as_bytes())
            .field(self.device.as_str().as_bytes())
            .field(self.kind.as_str().as_bytes())
            .field(self.request)
            .field(b"coordinator")
            .field(self.coordinator.as_bytes())
    }

    /// What a key exchange is bound to: all that is known when it starts.
    pub(super) fn context(&self) -> Sha256Digest {
        self.hash("pairing.context.v1").finish()
    }

    /// Binds the device to `nonce` without showing it.
    pub(super) fn commitment(&self, nonce: &[u8; 32]) -> Sha256Digest {
        self.hash("pairing.commitment.v1").field(nonce).finish()
    }

    /// The transcript, once the coordinator has answered.
    pub(super) fn transcript(&self, answer: &Answer<'_>) -> Sha256Digest {
        self.hash("pairing.transcript.v1")
            .field(&[answer.version])
            .field(answer.fleet.as_str().as_bytes())
            .field(answer.device_nonce)
            .field(answer.coordinator_nonce)
            .field(answer.device_share)
            .field(answer.coordinator_share)
            .finish()
    }
}

/// The rest of the transcript.
#[derive(Clone, Debug)]
pub(super) struct Answer<'a> {
    pub(super) version: u8,
    pub(super) fleet: &'a FleetId,
    pub(super) device_nonce: &'a [u8; 32],
    pub(super) coordinator_nonce: &'a [u8; 32],
    pub(super) device_share: &'a [u8],
    pub(super) coordinator_share: &'a [u8],
}

/// What a tag says. Each side has labels of its own, so a tag that is sent back proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Label {
    Coordinator,
    Device,
    Delivery,
    /// The secret of an enrolment key, under the host's seed.
    Enrolment,
}

/// HMAC-SHA256 under `key` over the label, the transcript, and `payload`.
pub(super) fn tag(
    key: &[u8],
    label: Label,
    transcript: &Sha256Digest,
    payload: &[u8],
) -> Result<[u8; 32], PairingError> {
    let label = match label {
        Label::Coordinator => "pairing.confirm.coordinator.v1",
        Label::Device => "pairing.confirm.device.v1",
        Label::Delivery => "pairing.delivery.v1",
        Label::Enrolment => "pairing.enrolment.secret.v1",
    };
    let message = FieldHasher::new(label).field(transcript.as_bytes()).field(payload).finish();
    let mut mac = Hmac::<Sha256>::new_from_slice(key).map_err(|_| PairingError::Confirmation)?;
    mac.update(message.as_bytes());
    Ok(mac.finalize().into_bytes().into())
}

/// Compares in constant time.
pub(super) fn same(left: &[u8; 32], right: &[u8; 32]) -> bool {
    left.ct_eq(right).into()
}

/// Six decimal digits of a transcript, for people to compare.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Digits(u32);

impl Digits {
    /// The digits of `transcript`.
    pub fn of(transcript: &Sha256Digest) -> Self {
        let digest = FieldHasher::new("pairing.digits.v1").field(transcript.as_bytes()).finish();
        let wide = digest.as_bytes().iter().take(8).fold(0_u64, |wide, byte| (wide << 8) | u64::from(*byte));
        // 2^64 is no multiple of a million; the bias is below 2^-44.
        Self(u32::try_from(wide % 1_000_000).unwrap_or(0))
    }
}

impl fmt::Display for Digits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:06}", self.0)
    }
}

impl fmt::Debug for Digits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231 test case 2, for the primitive under [`tag`].
    #[test]
    fn hmac_is_the_one_of_rfc_4231() {
        let mut mac = Hmac::<Sha256>::new_from_slice(b"Jefe").unwrap();
        mac.update(b"what do ya want for nothing?");
        let got = Sha256Digest::from_bytes(mac.finalize().into_bytes().into());
        let want = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(got, want.parse().unwrap());
    }

    /// Attack P7: every field of the handshake is in the transcript, the commitment and the context.
    #[test]
    fn p7_every_field_changes_the_transcript() {
        let (session, device) = (SessionId::new("s").unwrap(), DeviceId::new("d").unwrap());
        let (fleet, coordinator) = (FleetId::new("f").unwrap(), Sha256Digest::of(b"c"));
        let (nonce_a, nonce_b) = ([1; 32], [2; 32]);
        let opening = Opening {
            session: &session,
            versions: (1, 1),
            method: PairingMethod::Qr,
            device: &device,
            kind: DeviceKind::Worker,
            request: b"request",
            coordinator: &coordinator,
        };
        let answer = Answer {
            version: 1,
            fleet: &fleet,
            device_nonce: &nonce_a,
            coordinator_nonce: &nonce_b,
            device_share: b"",
            coordinator_share: b"x",
        };
        let (other_session, other_device) = (SessionId::new("t").unwrap(), DeviceId::new("e").unwrap());
        let (other_fleet, other_coordinator) = (FleetId::new("g").unwrap(), Sha256Digest::of(b"d"));
        let openings = [
            Opening { session: &other_session, ..opening.clone() },
            Opening { versions: (1, 2), ..opening.clone() },
            Opening { versions: (0, 1), ..opening.clone() },
            Opening { method: PairingMethod::Compare, ..opening.clone() },
            Opening { device: &other_device, ..opening.clone() },
            Opening { kind: DeviceKind::EgressProxy, ..opening.clone() },
            Opening { request: b"reques", ..opening.clone() },
            Opening { coordinator: &other_coordinator, ..opening.clone() },
        ];
        let answers = [
            Answer { version: 2, ..answer.clone() },
            Answer { fleet: &other_fleet, ..answer.clone() },
            Answer { device_nonce: &nonce_b, ..answer.clone() },
            Answer { coordinator_nonce: &nonce_a, ..answer.clone() },
            Answer { device_share: b"x", coordinator_share: b"", ..answer.clone() },
        ];
        let base = opening.transcript(&answer);
        for changed in &openings {
            assert_ne!(changed.transcript(&answer), base, "{changed:?}");
            assert_ne!(changed.context(), opening.context(), "{changed:?}");
            assert_ne!(changed.commitment(&nonce_a), opening.commitment(&nonce_a), "{changed:?}");
        }
        for changed in &answers {
            assert_ne!(opening.transcript(changed), base, "{changed:?}");
        }
        assert_ne!(opening.commitment(&nonce_a), opening.commitment(&nonce_b));
    }

    #[test]
    fn tags_of_different_roles_differ() {
        let transcript = Sha256Digest::of(b"t");
        let of = |label| tag(b"key", label, &transcript, b"").unwrap();
        assert!(!same(&of(Label::Coordinator), &of(Label::Device)));
        assert!(!same(&of(Label::Device), &of(Label::Delivery)));
        assert!(same(&of(Label::Device), &of(Label::Device)));
    }
}
