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

/// The default back end: Ed25519 with the feature `ed25519` (always `verify_strict`), ECDSA with the features `p256` and
/// `p384`, RSA with `rsa`, ML-DSA-65 with `ml-dsa`. An algorithm without its feature is refused with `signature.unsupported_algorithm`, never passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DefaultVerifier;

impl SignatureVerifier for DefaultVerifier {
    fn supports(&self, algorithm: Algorithm) -> bool {
        match algorithm {
            Algorithm::Ed25519 => cfg!(feature = "ed25519"),
            Algorithm::P256Der | Algorithm::P256P1363 => cfg!(feature = "p256"),
            Algorithm::P384Der | Algorithm::P384P1363 => cfg!(feature = "p384"),
            Algorithm::RsaPssSha256 | Algorithm::RsaPkcs1Sha256 => cfg!(feature = "rsa"),
            Algorithm::MlDsa65 => cfg!(feature = "ml-dsa"),
        }
    }

    fn check_key(&self, key: &PublicKey) -> Result<(), KeyError> {
        match key.algorithm() {
            #[cfg(feature = "ed25519")]
            Algorithm::Ed25519 => ed25519::check(key),
            #[cfg(feature = "p256")]
            Algorithm::P256Der | Algorithm::P256P1363 => p256_ecdsa::parse(key).map(drop),
            #[cfg(feature = "p384")]
            Algorithm::P384Der | Algorithm::P384P1363 => p384_ecdsa::parse(key).map(drop),
            #[cfg(feature = "rsa")]
            Algorithm::RsaPssSha256 | Algorithm::RsaPkcs1Sha256 => rsa_sha256::parse(key).map(drop),
            #[cfg(feature = "ml-dsa")]
            Algorithm::MlDsa65 => ml_dsa_65::parse(key).map(drop),
            #[allow(unreachable_patterns, reason = "with every feature, nothing is left")]
            other => Err(KeyError::Unsupported(other)),
        }
    }

    fn verify(&self, key: &PublicKey, message: &[u8], signature: &[u8]) -> bool {
        match key.algorithm() {
            #[cfg(feature = "ed25519")]
            Algorithm::Ed25519 => ed25519::verify(key, message, signature),
            #[cfg(feature = "p256")]
            Algorithm::P256Der | Algorithm::P256P1363 => p256_ecdsa::verify(key, message, signature),
            #[cfg(feature = "p384")]
            Algorithm::P384Der | Algorithm::P384P1363 => p384_ecdsa::verify(key, message, signature),
            #[cfg(feature = "rsa")]
            Algorithm::RsaPssSha256 | Algorithm::RsaPkcs1Sha256 => {
                rsa_sha256::verify(key, message, signature)
            }
            #[cfg(feature = "ml-dsa")]
            Algorithm::MlDsa65 => ml_dsa_65::verify(key, message, signature),
            #[allow(unreachable_patterns, reason = "with every feature, nothing is left")]
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

#[cfg(feature = "p384")]
mod p384_ecdsa {
    use p384::ecdsa::{Signature, VerifyingKey, signature::Verifier as _};

    use super::{Algorithm, KeyError, PublicKey};
    use crate::attestation::signature::form::P384_SPKI;

    pub(super) fn parse(key: &PublicKey) -> Result<VerifyingKey, KeyError> {
        // The header was checked when the key was built; its last byte begins the point.
        let point = key.as_bytes().get(P384_SPKI.len().saturating_sub(1)..).unwrap_or_default();
        VerifyingKey::from_sec1_bytes(point).map_err(|_| KeyError::NotOnCurve)
    }

    pub(super) fn verify(key: &PublicKey, message: &[u8], signature: &[u8]) -> bool {
        let signature = match key.algorithm() {
            Algorithm::P384Der => Signature::from_der(signature),
            _ => Signature::from_slice(signature),
        };
        let (Ok(key), Ok(signature)) = (parse(key), signature) else { return false };
        key.verify(message, &signature).is_ok()
    }
}

#[cfg(feature = "rsa")]
mod rsa_sha256 {
    use rsa::{BoxedUint, pkcs1v15, pss, signature::Verifier as _};
    use sha2::Sha256;

    use super::{Algorithm, KeyError, PublicKey};
    use crate::attestation::signature::form::rsa_parts;

    pub(super) fn parse(key: &PublicKey) -> Result<rsa::PublicKey, KeyError> {
        let malformed = KeyError::Malformed(key.algorithm());
        let (modulus, exponent) = rsa_parts(key.as_bytes()).ok_or(malformed.clone())?;
        let number = |bytes| BoxedUint::from_be_slice_vartime(bytes);
        rsa::PublicKey::new(number(modulus), number(exponent)).map_err(|_| malformed)
    }

    pub(super) fn verify(key: &PublicKey, message: &[u8], signature: &[u8]) -> bool {
        let Ok(parsed) = parse(key) else { return false };
        // RFC 8017, step 1 of both schemes: a signature is as long as the modulus.
        let modulus = rsa_parts(key.as_bytes()).map_or(0, |(modulus, _)| modulus.len());
        if signature.len() != modulus {
            return false;
        }
        match key.algorithm() {
            Algorithm::RsaPssSha256 => pss::Signature::try_from(signature).is_ok_and(|signature| {
                pss::VerifyingKey::<Sha256>::new(parsed).verify(message, &signature).is_ok()
            }),
            _ => pkcs1v15::Signature::try_from(signature).is_ok_and(|signature| {
                pkcs1v15::VerifyingKey::<Sha256>::new(parsed).verify(message, &signature).is_ok()
            }),
        }
    }
}

#[cfg(feature = "ml-dsa")]
mod ml_dsa_65 {
    use ml_dsa::{EncodedVerifyingKey, MlDsa65, Signature, VerifyingKey, signature::Verifier as _};

    use super::{Algorithm, KeyError, PublicKey};
    use crate::attestation::signature::form::ML_DSA_65_SPKI;

    pub(super) fn parse(key: &PublicKey) -> Result<VerifyingKey<MlDsa65>, KeyError> {
        // The header and the length were checked when the key was built, and every such key stands for something.
        let bytes = key.as_bytes().get(ML_DSA_65_SPKI.len()..).unwrap_or_default();
        let bytes = EncodedVerifyingKey::<MlDsa65>::try_from(bytes);
        bytes.map(|bytes| VerifyingKey::decode(&bytes)).map_err(|_| KeyError::Malformed(Algorithm::MlDsa65))
    }

    pub(super) fn verify(key: &PublicKey, message: &[u8], signature: &[u8]) -> bool {
        let (Ok(key), Ok(signature)) = (parse(key), Signature::<MlDsa65>::try_from(signature)) else {
            return false;
        };
        key.verify(message, &signature).is_ok()
    }
}
