//! The crypto back end behind a trait, and the default one.

use super::{Algorithm, KeyError, PublicKey};

/// Checks signatures. One object-safe trait, so that a service may bring its own library or a hardware module.
///
/// An implementation must be strict: a signature that some verifiers would take and others not is false. It must
/// not batch (a batch may hide a forgery under a weak key), and it must not keep state that changes an answer.
pub trait SignatureVerifier {
    /// Whether this back end has `algorithm`. Without it every signature of such a key is refused with a code.
    fn supports(&self, algorithm: Algorithm) -> bool;

    /// Refuses a key that cannot be used, so that a trust root fails when it is built and not when it is needed.
    ///
    /// # Errors
    /// [`KeyError::Unsupported`] without a back end for the algorithm; [`KeyError::NotOnCurve`] or
    /// [`KeyError::Weak`] for a key that must not be trusted.
    fn check_key(&self, key: &PublicKey) -> Result<(), KeyError>;

    /// Whether `signature` is `key`'s over `message`. False for everything unsupported or malformed.
    fn verify(&self, key: &PublicKey, message: &[u8], signature: &[u8]) -> bool;
}

/// The default back end: Ed25519 with the feature `ed25519` (always `verify_strict`), P-256 with the feature
/// `p256`. An algorithm without its feature is refused with `signature.unsupported_algorithm`, never passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DefaultVerifier;

impl SignatureVerifier for DefaultVerifier {
    fn supports(&self, algorithm: Algorithm) -> bool {
        match algorithm {
            Algorithm::Ed25519 => cfg!(feature = "ed25519"),
            Algorithm::P256Der | Algorithm::P256P1363 => cfg!(feature = "p256"),
        }
    }

    fn check_key(&self, key: &PublicKey) -> Result<(), KeyError> {
        match key.algorithm() {
            #[cfg(feature = "ed25519")]
            Algorithm::Ed25519 => ed25519::check(key),
            #[cfg(feature = "p256")]
            Algorithm::P256Der | Algorithm::P256P1363 => p256_ecdsa::parse(key).map(drop),
            #[cfg(not(all(feature = "ed25519", feature = "p256")))]
            other => Err(KeyError::Unsupported(other)),
        }
    }

    fn verify(&self, key: &PublicKey, message: &[u8], signature: &[u8]) -> bool {
        match key.algorithm() {
            #[cfg(feature = "ed25519")]
            Algorithm::Ed25519 => ed25519::verify(key, message, signature),
            #[cfg(feature = "p256")]
            Algorithm::P256Der | Algorithm::P256P1363 => p256_ecdsa::verify(key, message, signature),
            #[cfg(not(all(feature = "ed25519", feature = "p256")))]
            _ => {
                let _ = (message, signature);
                false
            }
        }
    }
}

#[cfg(feature = "ed25519")]
mod ed25519 {
    use ed25519_dalek::Signature;

    use super::{KeyError, PublicKey};

    pub(super) fn check(key: &PublicKey) -> Result<(), KeyError> {
        let point = key.point().ok_or(KeyError::NotOnCurve)?;
        if point.is_weak() { Err(KeyError::Weak) } else { Ok(()) }
    }

    pub(super) fn verify(key: &PublicKey, message: &[u8], signature: &[u8]) -> bool {
        let (Some(key), Ok(signature)) = (key.point(), Signature::from_slice(signature)) else {
            return false;
        };
        // This refuses weak keys too, and signatures whose first half is a weak point.
        key.verify_strict(message, &signature).is_ok()
    }
}

#[cfg(feature = "p256")]
mod p256_ecdsa {
    use p256::ecdsa::{Signature, VerifyingKey, signature::Verifier as _};

    use super::{Algorithm, KeyError, PublicKey};

    pub(super) fn parse(key: &PublicKey) -> Result<VerifyingKey, KeyError> {
        // The header was checked when the key was built; its last byte begins the point.
        let point = key.as_bytes().get(26..).unwrap_or_default();
        VerifyingKey::from_sec1_bytes(point).map_err(|_| KeyError::NotOnCurve)
    }

    pub(super) fn verify(key: &PublicKey, message: &[u8], signature: &[u8]) -> bool {
        let signature = match key.algorithm() {
            Algorithm::P256Der => Signature::from_der(signature),
            _ => Signature::from_slice(signature),
        };
        let (Ok(key), Ok(signature)) = (parse(key), signature) else { return false };
        key.verify(message, &signature).is_ok()
    }
}
