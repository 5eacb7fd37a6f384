//! Public keys and trusted keys as plain, comparable data.

use alloc::{string::String, sync::Arc};
use core::{
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
};

use serde::{Deserialize, Serialize};

use super::{Algorithm, form};
use crate::{
    code::{self, Code, Coded},
    digest::{FieldHasher, Sha256Digest},
};

/// The longest key id or owner name, in bytes.
pub const MAX_LABEL_BYTES: usize = 128;

/// Why bytes are not a key that can be trusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Not the one encoding that the algorithm has here.
    #[error("a public key of {} is {}; in documents as lowercase hex, or as PEM", .0.as_str(), .0.key_form())]
    Malformed(Algorithm),
    /// A point of small order: it has signatures that hold for any message.
    #[error("a weak key: it has signatures that hold for any message")]
    Weak,
    /// The bytes are no point of the curve.
    #[error("the key is no point of its curve")]
    NotOnCurve,
    /// This build has no back end for the algorithm.
    #[error("this verifier has no {}", .0.as_str())]
    Unsupported(Algorithm),
    /// A key id or an owner that is empty, too long, or has control characters.
    #[error("a key id and an owner have 1 to {MAX_LABEL_BYTES} bytes and no control characters")]
    Label,
}

impl Coded for KeyError {
    fn code(&self) -> Code {
        match self {
            Self::Malformed(_) | Self::NotOnCurve => code::SIGNATURE_KEY_MALFORMED,
            Self::Weak => code::SIGNATURE_KEY_WEAK,
            Self::Unsupported(_) => code::SIGNATURE_UNSUPPORTED_ALGORITHM,
            Self::Label => code::SIGNATURE_KEY_LABEL,
        }
    }
}

/// The y coordinates, little endian, of the points of order 1, 2, 4 and 8 of edwards25519. Either sign bit may
/// stand on top.
const SMALL_ORDER_Y: [&str; 5] = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
];

/// A public key in its one encoding, not weak. Whether it is a point of its curve is for the back end to say
/// ([`SignatureVerifier::check_key`](super::SignatureVerifier::check_key)).
#[derive(Clone)]
pub struct PublicKey {
    algorithm: Algorithm,
    bytes: Arc<[u8]>,
    /// The point that the bytes stand for, where they stand for one: finding it takes a square root, which every
    /// verification would pay again.
    #[cfg(feature = "ed25519")]
    point: Option<Arc<ed25519_dalek::VerifyingKey>>,
}

impl PublicKey {
    /// The key of `algorithm` in `bytes`.
    ///
    /// # Errors
    /// [`KeyError::Malformed`] for another length, another header, a compressed point, or an Ed25519 key whose
    /// coordinate is not reduced; [`KeyError::Weak`] for an Ed25519 key of small order.
    pub fn new(algorithm: Algorithm, bytes: &[u8]) -> Result<Self, KeyError> {
        if !form::is_well_formed(algorithm, bytes) {
            return Err(KeyError::Malformed(algorithm));
        }
        if algorithm == Algorithm::Ed25519 {
            check_ed25519(bytes)?;
        }
        Ok(Self {
            algorithm,
            bytes: Arc::from(bytes),
            #[cfg(feature = "ed25519")]
            point: match algorithm {
                Algorithm::Ed25519 => ed25519_dalek::VerifyingKey::try_from(bytes).ok().map(Arc::new),
                _ => None,
            },
        })
    }

    /// The point of an Ed25519 key; none where the bytes are no point of the curve.
    #[cfg(feature = "ed25519")]
    pub(super) fn point(&self) -> Option<&ed25519_dalek::VerifyingKey> {
        self.point.as_deref()
    }

    /// What a key is: the rest follows from it.
    fn identity(&self) -> (Algorithm, &[u8]) {
        (self.algorithm, &self.bytes)
    }

    /// The algorithm that this key signs with.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The key's bytes, as [`Algorithm`] says.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The identity of the key: equal for one key under two ids, and under two encodings or schemes of its signatures.
    pub fn fingerprint(&self) -> Sha256Digest {
        FieldHasher::new("public-key.v1").field(self.algorithm.family()).field(&self.bytes).finish()
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for PublicKey {}

impl PartialOrd for PublicKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for PublicKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.identity().cmp(&other.identity())
    }
}

impl Hash for PublicKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}

fn check_ed25519(bytes: &[u8]) -> Result<(), KeyError> {
    let mut y = <[u8; 32]>::try_from(bytes).map_err(|_| KeyError::Malformed(Algorithm::Ed25519))?;
    let [_, .., top] = &mut y;
    *top &= 0x7f;
    // 2^255 - 19 and above are second spellings of small coordinates.
    let [low, middle @ .., top] = &y;
    if *low >= 0xed && *top == 0x7f && middle.iter().all(|byte| *byte == 0xff) {
        return Err(KeyError::Malformed(Algorithm::Ed25519));
    }
    if SMALL_ORDER_Y.contains(&hex::encode(y).as_str()) {
        return Err(KeyError::Weak);
    }
    Ok(())
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.as_str(), self.fingerprint())
    }
}

/// A key that somebody trusts: the key, the id that it is called by, and who holds it. Plain data: it can live in a
/// hashed state, and two of them compare by content.
///
/// In documents: `{"keyid":"...","algorithm":"ed25519","public_key":"lowercase hex","owner":"..."}`. In place of hex,
/// `public_key` may be PEM (`-----BEGIN PUBLIC KEY-----`).
///
/// ```
/// use leasehold::attestation::signature::{Algorithm, TrustedKey};
/// let key = [0x66; 32];
/// let trusted = TrustedKey::new("k1", Algorithm::Ed25519, &key, "team-a")?;
/// assert_eq!((trusted.keyid(), trusted.owner()), ("k1", "team-a"));
/// # Ok::<(), leasehold::attestation::signature::KeyError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "TrustedKeyForm", into = "TrustedKeyForm")]
pub struct TrustedKey {
    keyid: Arc<str>,
    owner: Arc<str>,
    key: PublicKey,
    fingerprint: Sha256Digest,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TrustedKeyForm {
    keyid: String,
    algorithm: Algorithm,
    public_key: String,
    owner: String,
}

impl TrustedKey {
    /// A trusted key.
    ///
    /// # Errors
    /// [`KeyError`] as for [`PublicKey::new`], and [`KeyError::Label`] for a key id or an owner out of bounds.
    pub fn new(keyid: &str, algorithm: Algorithm, public_key: &[u8], owner: &str) -> Result<Self, KeyError> {
        for label in [keyid, owner] {
            if label.is_empty() || label.len() > MAX_LABEL_BYTES || label.chars().any(char::is_control) {
                return Err(KeyError::Label);
            }
        }
        let key = PublicKey::new(algorithm, public_key)?;
        let fingerprint = key.fingerprint();
        Ok(Self { keyid: Arc::from(keyid), owner: Arc::from(owner), key, fingerprint })
    }

    /// What the key is called. A hint in messages, never an identity.
    pub fn keyid(&self) -> &str {
        &self.keyid
    }

    /// Who holds the key. Thresholds count owners, not only keys.
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// The public key.
    pub const fn key(&self) -> &PublicKey {
        &self.key
    }

    /// The identity of the key, whatever it is called.
    pub const fn fingerprint(&self) -> Sha256Digest {
        self.fingerprint
    }
}

impl TryFrom<TrustedKeyForm> for TrustedKey {
    type Error = KeyError;

    fn try_from(document: TrustedKeyForm) -> Result<Self, KeyError> {
        let TrustedKeyForm { keyid, algorithm, public_key, owner } = document;
        let bytes = if form::looks_like_pem(&public_key) {
            form::from_pem(algorithm, &public_key)
        } else if public_key.bytes().any(|byte| byte.is_ascii_uppercase()) {
            None
        } else {
            hex::decode(&public_key).ok()
        };
        Self::new(&keyid, algorithm, &bytes.ok_or(KeyError::Malformed(algorithm))?, &owner)
    }
}

impl From<TrustedKey> for TrustedKeyForm {
    fn from(key: TrustedKey) -> Self {
        Self {
            keyid: String::from(&*key.keyid),
            algorithm: key.key.algorithm,
            public_key: hex::encode(&key.key.bytes),
            owner: String::from(&*key.owner),
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::{string::ToString, vec::Vec};

    use super::{form::P256_SPKI, *};

    /// Attack A11: every encoding of a point of small order, reduced or not, with either sign.
    #[test]
    fn a11_weak_keys_are_refused_when_the_key_is_built() {
        for y in SMALL_ORDER_Y {
            for sign in [0, 0x80] {
                let mut bytes = hex::decode(y).unwrap();
                bytes[31] |= sign;
                assert_eq!(PublicKey::new(Algorithm::Ed25519, &bytes).unwrap_err(), KeyError::Weak, "{y}");
            }
        }
        for low in 0xed..=0xff {
            for top in [0x7f, 0xff] {
                let mut bytes = [0xff; 32];
                (bytes[0], bytes[31]) = (low, top);
                let error = PublicKey::new(Algorithm::Ed25519, &bytes).unwrap_err();
                assert_eq!(error, KeyError::Malformed(Algorithm::Ed25519), "{low:x}");
            }
        }
    }

    #[cfg(feature = "ed25519")]
    #[test]
    fn the_list_of_weak_keys_is_that_of_the_back_end() {
        for y in SMALL_ORDER_Y {
            let bytes: [u8; 32] = hex::decode(y).unwrap().try_into().unwrap();
            assert!(ed25519_dalek::VerifyingKey::from_bytes(&bytes).unwrap().is_weak(), "{y}");
        }
    }

    #[test]
    fn a_key_has_one_encoding_and_one_fingerprint() {
        let mut spki: Vec<u8> = P256_SPKI.to_vec();
        spki.extend([7; 64]);
        let der = TrustedKey::new("a", Algorithm::P256Der, &spki, "o").unwrap();
        let p1363 = TrustedKey::new("b", Algorithm::P256P1363, &spki, "p").unwrap();
        assert_eq!(der.fingerprint(), p1363.fingerprint());
        let compressed = [&P256_SPKI[..26], &[2], &[7; 32]].concat();
        for bad in [&spki[..90], &[&spki[..], &[0]].concat(), &spki[27..], &compressed] {
            assert!(PublicKey::new(Algorithm::P256Der, bad).is_err());
        }
        let json = serde_json::to_string(&der).unwrap();
        assert_eq!(serde_json::from_str::<TrustedKey>(&json).unwrap(), der);
        let bytes = postcard::to_allocvec(&der).unwrap();
        assert_eq!(postcard::from_bytes::<TrustedKey>(&bytes).unwrap(), der);
        let hex = hex::encode(&spki);
        assert!(serde_json::from_str::<TrustedKey>(&json.replace(&hex, &hex.to_uppercase())).is_err());
        assert!(serde_json::from_str::<TrustedKey>(&json.replace("{", "{\"x\":1,")).is_err());
        assert!(!alloc::format!("{der:?}").contains(&"07".repeat(64).to_string()));
    }
}
