//! The trust root: which keys, and how many of them must agree.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::{Budget, DsseError, Envelope, EnvelopeLimits, RootError};
use crate::{
    attestation::{
        excerpt::Excerpt,
        signature::{KeyError, SignatureVerifier, TrustedKey},
    },
    digest::Sha256Digest,
};

/// The most keys of one trust root.
pub const MAX_ROOT_KEYS: usize = 64;

/// Keys and the number of distinct owners that must have signed. Plain data.
///
/// In documents: `{"keys":[...],"threshold":n}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "RootForm", into = "RootForm")]
pub struct TrustRoot {
    keys: Vec<TrustedKey>,
    threshold: usize,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RootForm {
    keys: Vec<TrustedKey>,
    threshold: u32,
}

impl TryFrom<RootForm> for TrustRoot {
    type Error = RootError;

    fn try_from(form: RootForm) -> Result<Self, RootError> {
        Self::new(form.keys, form.threshold)
    }
}

impl From<TrustRoot> for RootForm {
    fn from(root: TrustRoot) -> Self {
        Self { threshold: u32::try_from(root.threshold).unwrap_or(u32::MAX), keys: root.keys }
    }
}

impl TrustRoot {
    /// A root of `keys` of which `threshold` owners must agree. A key that is listed again under another id, or for
    /// the other encoding of its signatures, counts once.
    ///
    /// # Errors
    /// [`RootError`]: no key, over [`MAX_ROOT_KEYS`], a threshold of 0 or one that the owners cannot reach, one key
    /// for two owners.
    pub fn new(keys: impl IntoIterator<Item = TrustedKey>, threshold: u32) -> Result<Self, RootError> {
        let mut distinct: Vec<TrustedKey> = Vec::new();
        for key in keys {
            let same = |held: &&TrustedKey| held.fingerprint() == key.fingerprint();
            if distinct.iter().find(same).is_some_and(|held| held.owner() != key.owner()) {
                return Err(RootError::Conflict);
            }
            if distinct.iter().filter(same).any(|held| held.key() == key.key()) {
                continue;
            }
            if distinct.len() >= MAX_ROOT_KEYS {
                return Err(RootError::TooManyKeys(distinct.len().saturating_add(1)));
            }
            distinct.push(key);
        }
        if distinct.is_empty() {
            return Err(RootError::Empty);
        }
        let owners = owners(distinct.iter());
        let threshold = usize::try_from(threshold).unwrap_or(usize::MAX);
        if threshold == 0 || threshold > owners {
            return Err(RootError::Threshold { threshold, owners });
        }
        Ok(Self { keys: distinct, threshold })
    }

    /// The distinct keys.
    pub fn keys(&self) -> &[TrustedKey] {
        &self.keys
    }

    /// How many owners must have signed.
    pub const fn threshold(&self) -> usize {
        self.threshold
    }

    /// Asks the back end about every key, so that a root which cannot work is refused when it is loaded.
    ///
    /// # Errors
    /// The first [`KeyError`].
    pub fn check_keys(&self, verifier: &dyn SignatureVerifier) -> Result<(), KeyError> {
        self.keys.iter().try_for_each(|key| verifier.check_key(key.key()))
    }

    /// Verifies an envelope that was read before.
    ///
    /// # Errors
    /// [`DsseError::Untrusted`], [`DsseError::Threshold`], [`DsseError::UnsupportedAlgorithm`], or
    /// [`DsseError::Verifications`] where the limit ended the attempts before enough signers were found.
    pub fn verify<'r>(
        &'r self,
        envelope: &Envelope,
        limits: &EnvelopeLimits,
        verifier: &dyn SignatureVerifier,
    ) -> Result<Verified<'r>, DsseError> {
        let keys: Vec<&TrustedKey> = self.keys.iter().collect();
        let signers = envelope.signed_by(&keys, verifier, &mut Budget::new(limits));
        let have = owners(signers.keys.iter().copied());
        if have >= self.threshold {
            return Ok(Verified { signers: signers.keys });
        }
        if !signers.complete {
            return Err(DsseError::Verifications);
        }
        if self.keys.iter().any(|key| !verifier.supports(key.key().algorithm())) {
            return Err(DsseError::UnsupportedAlgorithm);
        }
        Err(match have {
            0 => DsseError::Untrusted,
            have => DsseError::Threshold { have, need: self.threshold },
        })
    }

    /// Reads an envelope, verifies it, and only then says what it holds.
    ///
    /// # Errors
    /// [`DsseError`] as for [`Envelope::parse`] and [`TrustRoot::verify`]; [`DsseError::PayloadType`] where the signed
    /// type is not `payload_type`.
    pub fn open(
        &self,
        bytes: &[u8],
        payload_type: &str,
        limits: &EnvelopeLimits,
        verifier: &dyn SignatureVerifier,
    ) -> Result<Opened, DsseError> {
        let envelope = Envelope::parse(bytes, limits)?;
        let verified = self.verify(&envelope, limits, verifier)?;
        let signers = verified.signers.into_iter().cloned().collect();
        if envelope.unverified_type() != payload_type {
            let found = Excerpt::of(envelope.unverified_type());
            return Err(DsseError::PayloadType { found, due: Excerpt::of(payload_type) });
        }
        Ok(Opened { envelope, signers })
    }
}

/// How many different owners hold `keys`, which are few.
pub(crate) fn owners<'a>(keys: impl Iterator<Item = &'a TrustedKey> + Clone) -> usize {
    let first =
        |(at, key): &(usize, &TrustedKey)| keys.clone().take(*at).all(|held| held.owner() != key.owner());
    keys.clone().enumerate().filter(first).count()
}

/// An envelope's signers, enough of them. Cannot be built outside this crate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified<'r> {
    signers: Vec<&'r TrustedKey>,
}

impl<'r> Verified<'r> {
    /// The distinct trusted keys that signed.
    pub fn signers(&self) -> &[&'r TrustedKey] {
        &self.signers
    }
}

/// A payload whose signatures hold. Cannot be built outside this crate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    envelope: Envelope,
    signers: Vec<TrustedKey>,
}

impl Opened {
    /// The signed type.
    pub fn payload_type(&self) -> &str {
        self.envelope.unverified_type()
    }

    /// The signed bytes.
    pub fn payload(&self) -> &[u8] {
        self.envelope.unverified_payload()
    }

    /// The identity of what was signed. Never that of the envelope: signatures can be remade.
    pub fn payload_digest(&self) -> Sha256Digest {
        Sha256Digest::of(self.payload())
    }

    /// The distinct trusted keys that signed.
    pub fn signers(&self) -> &[TrustedKey] {
        &self.signers
    }
}
