//! Making signatures: a trait, and Ed25519 from a seed.

use alloc::vec::Vec;

use super::Algorithm;

/// A signer could not sign: a hardware module that did not answer, a key that is gone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signer gave no signature")]
pub struct SignerError;

impl crate::code::Coded for SignerError {
    fn code(&self) -> crate::code::Code {
        crate::code::SIGNATURE_SIGNER_FAILED
    }
}

/// Makes signatures with one key.
pub trait Signer {
    /// The algorithm of the signatures.
    fn algorithm(&self) -> Algorithm;

    /// What the key is called in envelopes: a hint for those who verify.
    fn key_id(&self) -> &str;

    /// Signs `message`.
    ///
    /// # Errors
    /// [`SignerError`] where the key cannot be used.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignerError>;
}

#[cfg(feature = "ed25519")]
mod ed25519 {
    use alloc::{string::String, vec::Vec};
    use core::fmt;

    use ed25519_dalek::{Signer as _, SigningKey};

    use super::{Algorithm, Signer, SignerError};
    use crate::attestation::signature::{KeyError, TrustedKey};

    /// Signs with an Ed25519 key built from a 32-byte seed. The key is wiped when this is dropped, and is in no
    /// `Debug`.
    ///
    /// ```
    /// use leasehold::attestation::signature::{DefaultVerifier, Ed25519Signer, SignatureVerifier, Signer};
    /// let signer = Ed25519Signer::from_seed("node-7", &[9; 32]);
    /// let signature = signer.sign(b"message")?;
    /// let trusted = signer.trusted_key("team-a")?;
    /// assert!(DefaultVerifier.verify(trusted.key(), b"message", &signature));
    /// assert!(!DefaultVerifier.verify(trusted.key(), b"another", &signature));
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub struct Ed25519Signer {
        key_id: String,
        key: SigningKey,
    }

    impl Ed25519Signer {
        /// A signer called `key_id`. The caller wipes its own copy of `seed`.
        pub fn from_seed(key_id: &str, seed: &[u8; 32]) -> Self {
            Self { key_id: String::from(key_id), key: SigningKey::from_bytes(seed) }
        }

        /// The public key.
        pub fn public_key(&self) -> [u8; 32] {
            self.key.verifying_key().to_bytes()
        }

        /// This signer's public half as a key that a trust root can hold.
        ///
        /// # Errors
        /// [`KeyError::Label`] where the key id or `owner` is out of bounds.
        pub fn trusted_key(&self, owner: &str) -> Result<TrustedKey, KeyError> {
            TrustedKey::new(&self.key_id, Algorithm::Ed25519, &self.public_key(), owner)
        }
    }

    impl Signer for Ed25519Signer {
        fn algorithm(&self) -> Algorithm {
            Algorithm::Ed25519
        }

        fn key_id(&self) -> &str {
            &self.key_id
        }

        fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignerError> {
            Ok(self.key.sign(message).to_bytes().to_vec())
        }
    }

    impl fmt::Debug for Ed25519Signer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("Ed25519Signer").field("key_id", &self.key_id).finish_non_exhaustive()
        }
    }
}

#[cfg(feature = "ed25519")]
pub use ed25519::Ed25519Signer;
