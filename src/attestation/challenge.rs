//! Challenges that cost no memory: the coordinator reads back its own nonces by their MAC.
//!
//! A nonce carries the epoch, the version of the state and the time at which it was issued, and a MAC over those and
//! over everything that it is bound to: device, device certificate, audience, coordinator certificate, role. A
//! stranger's requests cause no writes; only nonces that were used are remembered, until they would have expired.

use core::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroize as _;

use crate::{
    code::{self, Code, Coded},
    digest::{FieldHasher, Sha256Digest},
    fence::Epoch,
    id::{DeviceId, FleetId},
    time::{Millis, Mono, Now, Wall},
};

/// The length of a nonce, in bytes: five numbers of 8 and a MAC of 24. RFC 9711 allows 8 to 64.
pub const NONCE_LENGTH: usize = 64;

/// The MAC's part of a nonce: HMAC-SHA256 cut to 192 bits (RFC 2104 section 5 asks for at least 128).
const MAC_LENGTH: usize = 24;

/// The key that a coordinator makes its nonces with. Wiped when dropped, in no `Debug`.
///
/// Coordinators that share it can open each other's nonces of the same epoch only, and only for the same
/// coordinator certificate.
#[derive(Clone)]
pub struct NonceKey([u8; 32]);

impl NonceKey {
    /// The key in `bytes`: 32 random bytes. The caller wipes its own copy.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl Drop for NonceKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for NonceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NonceKey(***)")
    }
}

/// What a nonce is for. Evidence that answers one can be turned neither to another fleet or coordinator nor back at
/// its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NonceBinding<'a> {
    /// The coordinator's term.
    pub epoch: Epoch,
    /// The device that asked.
    pub device: &'a DeviceId,
    /// SHA-256 of the DER of the certificate that the device showed on this connection.
    pub certificate: Sha256Digest,
    /// The fleet.
    pub audience: &'a FleetId,
    /// SHA-256 of the DER of the certificate that the coordinator showed on this connection.
    pub coordinator: Sha256Digest,
    /// What the answer is for.
    pub role: NonceRole,
}

/// What the answer to a nonce is for. An answer for one is none for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum NonceRole {
    /// A worker's evidence.
    Worker,
    /// An egress proxy's.
    EgressProxy,
}

impl NonceRole {
    const fn as_bytes(self) -> &'static [u8] {
        match self {
            Self::Worker => b"worker",
            Self::EgressProxy => b"egress-proxy",
        }
    }
}

/// A challenge: 64 bytes that only this coordinator can have made.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Nonce([u8; NONCE_LENGTH]);

impl Nonce {
    /// The nonce's bytes.
    pub const fn as_bytes(&self) -> &[u8; NONCE_LENGTH] {
        &self.0
    }
}

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Nonce({})", nonce_id(&self.0))
    }
}

/// A nonce that came back and holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenedNonce {
    version: u64,
    issued: Now,
    id: Sha256Digest,
}

impl OpenedNonce {
    /// The version of the fleet's state at which it was issued.
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// When it was issued, on both clocks.
    pub const fn issued(&self) -> Now {
        self.issued
    }

    /// What to remember so that it is used once, until it would have expired.
    pub const fn id(&self) -> Sha256Digest {
        self.id
    }
}

/// Why bytes are not a nonce that may be answered here and now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NonceError {
    /// Not of the length of a nonce.
    #[error("a nonce has {NONCE_LENGTH} bytes")]
    Malformed,
    /// Not made with this key for this device, certificate, fleet, coordinator and role. Which of them, only the
    /// maker could say.
    #[error("not a nonce of this coordinator for this device")]
    Forged,
    /// Made by an earlier term, or by a later one.
    #[error("a nonce of another epoch")]
    Epoch,
    /// Its time is over.
    #[error("the nonce has expired")]
    Expired,
    /// Issued after now: the clock of the caller ran backwards.
    #[error("the nonce is from the future")]
    Future,
}

impl Coded for NonceError {
    fn code(&self) -> Code {
        match self {
            Self::Malformed => code::NONCE_MALFORMED,
            Self::Forged => code::NONCE_FORGED,
            Self::Epoch => code::NONCE_EPOCH,
            Self::Expired => code::NONCE_EXPIRED,
            Self::Future => code::NONCE_FUTURE,
        }
    }
}

/// The numbers that a nonce carries in clear, as they stand in it.
struct Numbers {
    epoch: u64,
    version: u64,
    mono: u64,
    wall: u64,
    salt: [u8; 8],
}

impl Numbers {
    fn bytes(&self) -> [[u8; 8]; 5] {
        [
            self.epoch.to_be_bytes(),
            self.version.to_be_bytes(),
            self.mono.to_be_bytes(),
            self.wall.to_be_bytes(),
            self.salt,
        ]
    }

    fn parse(words: &[[u8; 8]]) -> Option<Self> {
        let [epoch, version, mono, wall, salt] = *words else { return None };
        let number = u64::from_be_bytes;
        Some(Self {
            epoch: number(epoch),
            version: number(version),
            mono: number(mono),
            wall: number(wall),
            salt,
        })
    }

    /// The MAC over these numbers and `binding`, each field with its length before it.
    fn mac(&self, key: &NonceKey, binding: &NonceBinding<'_>) -> [u8; 32] {
        // A key of any length makes an HMAC; this one has 32 bytes.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&key.0) else { return [0; 32] };
        let mut field = |bytes: &[u8]| {
            mac.update(&(bytes.len() as u64).to_be_bytes());
            mac.update(bytes);
        };
        field(b"leasehold nonce.v1");
        for number in self.bytes() {
            field(&number);
        }
        field(binding.device.as_str().as_bytes());
        field(binding.certificate.as_bytes());
        field(binding.audience.as_str().as_bytes());
        field(binding.coordinator.as_bytes());
        field(binding.role.as_bytes());
        mac.finalize().into_bytes().into()
    }
}

fn nonce_id(bytes: &[u8]) -> Sha256Digest {
    FieldHasher::new("nonce.v1").field(bytes).finish()
}

/// Makes a nonce for `binding` at `version` of the state. `salt` is eight fresh random bytes: without it two
/// requests of one device in one millisecond would share a nonce. Writes nothing.
///
/// ```
/// use leasehold::attestation::challenge::{self, NonceBinding, NonceError, NonceKey, NonceRole};
/// use leasehold::{digest::Sha256Digest, lease::Epoch, time::{Millis, Now}};
/// let key = NonceKey::new([7; 32]);
/// let (device, audience) = ("d1".parse()?, "fleet-a".parse()?);
/// let binding = NonceBinding {
///     epoch: Epoch(1), device: &device, audience: &audience, role: NonceRole::Worker,
///     certificate: Sha256Digest::of(b"device"), coordinator: Sha256Digest::of(b"coordinator"),
/// };
/// let now = Now::new(1_000, 1_764_000_000_000);
/// let nonce = challenge::issue(&key, &binding, 42, now, [1; 8]);
/// let ttl = Millis::from_secs(60);
/// assert_eq!(challenge::open(&key, nonce.as_bytes(), &binding, now, ttl)?.version(), 42);
/// let late = now.plus(ttl);
/// assert_eq!(challenge::open(&key, nonce.as_bytes(), &binding, late, ttl), Err(NonceError::Expired));
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
pub fn issue(key: &NonceKey, binding: &NonceBinding<'_>, version: u64, now: Now, salt: [u8; 8]) -> Nonce {
    let numbers = Numbers { epoch: binding.epoch.0, version, mono: now.mono.0, wall: now.wall.0, salt };
    let mac = numbers.mac(key, binding);
    let mut nonce = [0; NONCE_LENGTH];
    let parts = numbers.bytes();
    let source = parts.as_flattened().iter().chain(mac.iter().take(MAC_LENGTH));
    for (to, from) in nonce.iter_mut().zip(source) {
        *to = *from;
    }
    Nonce(nonce)
}

/// Reads a nonce back: whether this coordinator made it for `binding`, in this epoch, less than `ttl` ago.
///
/// The MAC is compared in constant time and before anything that the nonce says is looked at. The age runs on the
/// monotonic line, so a wall clock that jumps extends nothing.
///
/// # Errors
/// [`NonceError`]. Whether the nonce was used before is for the caller to know, by [`OpenedNonce::id`].
pub fn open(
    key: &NonceKey,
    bytes: &[u8],
    binding: &NonceBinding<'_>,
    now: Now,
    ttl: Millis,
) -> Result<OpenedNonce, NonceError> {
    let bytes: &[u8; NONCE_LENGTH] = bytes.try_into().map_err(|_| NonceError::Malformed)?;
    let (words, _) = bytes.as_chunks::<8>();
    let (numbers, mac) = words.split_at_checked(5).ok_or(NonceError::Malformed)?;
    let numbers = Numbers::parse(numbers).ok_or(NonceError::Malformed)?;
    let expected = numbers.mac(key, binding);
    let expected = expected.get(..MAC_LENGTH).ok_or(NonceError::Malformed)?;
    if !bool::from(mac.as_flattened().ct_eq(expected)) {
        return Err(NonceError::Forged);
    }
    if numbers.epoch != binding.epoch.0 {
        return Err(NonceError::Epoch);
    }
    let issued = Now { mono: Mono(numbers.mono), wall: Wall(numbers.wall) };
    if issued.mono > now.mono {
        return Err(NonceError::Future);
    }
    if now.mono.since(issued.mono) >= ttl {
        return Err(NonceError::Expired);
    }
    Ok(OpenedNonce { version: numbers.version, issued, id: nonce_id(bytes) })
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use proptest::prelude::*;

    use super::*;

    const TTL: Millis = Millis(1_000);

    /// Attack A2: a nonce for one device, certificate, fleet, coordinator, role or epoch is none for another.
    #[test]
    fn a2_a_nonce_is_bound_to_everything_that_it_is_for() {
        let key = NonceKey::new([7; 32]);
        let (device, other) = (DeviceId::new("d1").unwrap(), DeviceId::new("d2").unwrap());
        let (fleet, elsewhere) = (FleetId::new("f1").unwrap(), FleetId::new("f2").unwrap());
        let binding = NonceBinding {
            epoch: Epoch(3),
            device: &device,
            certificate: Sha256Digest::of(b"c"),
            audience: &fleet,
            coordinator: Sha256Digest::of(b"k"),
            role: NonceRole::Worker,
        };
        let now = Now::new(5_000, 9_000);
        let nonce = issue(&key, &binding, 8, now, [1; 8]);
        let opened = open(&key, nonce.as_bytes(), &binding, now, TTL).unwrap();
        assert_eq!((opened.version(), opened.issued()), (8, now));
        let others = [
            NonceBinding { device: &other, ..binding },
            NonceBinding { certificate: Sha256Digest::of(b"x"), ..binding },
            NonceBinding { audience: &elsewhere, ..binding },
            NonceBinding { coordinator: Sha256Digest::of(b"x"), ..binding },
            NonceBinding { role: NonceRole::EgressProxy, ..binding },
        ];
        for wrong in others {
            assert_eq!(open(&key, nonce.as_bytes(), &wrong, now, TTL), Err(NonceError::Forged), "{wrong:?}");
        }
        for epoch in [Epoch(4), Epoch(2)] {
            let wrong = NonceBinding { epoch, ..binding };
            assert_eq!(open(&key, nonce.as_bytes(), &wrong, now, TTL), Err(NonceError::Epoch));
        }
        let foreign = NonceKey::new([8; 32]);
        assert_eq!(open(&foreign, nonce.as_bytes(), &binding, now, TTL), Err(NonceError::Forged));
        let again = issue(&key, &binding, 8, now, [2; 8]);
        assert_ne!(open(&key, again.as_bytes(), &binding, now, TTL).unwrap().id(), opened.id());
        assert!(!format!("{key:?}").contains('7'));
    }

    /// Invariant 7: the age runs on the monotonic line; the wall clock moves nothing.
    #[test]
    fn a_nonce_ends_after_its_ttl_whatever_the_wall_clock_says() {
        let key = NonceKey::new([7; 32]);
        let (device, fleet) = (DeviceId::new("d1").unwrap(), FleetId::new("f1").unwrap());
        let digest = Sha256Digest::of(b"c");
        let binding = NonceBinding {
            epoch: Epoch(1),
            device: &device,
            certificate: digest,
            audience: &fleet,
            coordinator: digest,
            role: NonceRole::Worker,
        };
        let nonce = issue(&key, &binding, 0, Now::new(5_000, 9_000), [0; 8]);
        let at = |mono, wall| open(&key, nonce.as_bytes(), &binding, Now::new(mono, wall), TTL).map(drop);
        assert_eq!(at(5_999, 0), Ok(()));
        assert_eq!(at(5_999, u64::MAX), Ok(()));
        assert_eq!(at(6_000, 0), Err(NonceError::Expired));
        assert_eq!(at(u64::MAX, 9_000), Err(NonceError::Expired));
        assert_eq!(at(4_999, 9_000), Err(NonceError::Future));
    }

    proptest! {
        /// Any change of a nonce is refused, at any length.
        #[test]
        fn a_changed_nonce_is_refused(at in 0usize..NONCE_LENGTH, flip in 1u8.., cut in 0usize..NONCE_LENGTH) {
            let key = NonceKey::new([7; 32]);
            let (device, fleet) = (DeviceId::new("d1").unwrap(), FleetId::new("f1").unwrap());
            let digest = Sha256Digest::of(b"c");
            let binding = NonceBinding {
                epoch: Epoch(1), device: &device, certificate: digest, audience: &fleet, coordinator: digest,
                role: NonceRole::Worker,
            };
            let now = Now::new(1, 2);
            let mut bytes = *issue(&key, &binding, 3, now, [4; 8]).as_bytes();
            prop_assert_eq!(open(&key, &bytes[..cut], &binding, now, TTL), Err(NonceError::Malformed));
            bytes[at] ^= flip;
            // The epoch is under the MAC too, so a change of it is a forgery like any other.
            prop_assert_eq!(open(&key, &bytes, &binding, now, TTL), Err(NonceError::Forged));
        }
    }
}
