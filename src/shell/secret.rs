//! Where secrets come from, and the only form in which they move.

use alloc::{collections::BTreeMap, string::String, vec::Vec};
use core::fmt;

use zeroize::Zeroizing;

use crate::code::{self, Code, Coded};

/// The bytes of a secret. Wiped when dropped; neither shown, compared nor serialised (invariant 10).
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes `bytes` over.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes, for the outgoing header and nothing else.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// A vault.
pub trait SecretStore {
    /// The secret behind `reference`, the text of a vault reference.
    ///
    /// # Errors
    /// [`SecretError`], which says nothing about why.
    fn fetch(&self, reference: &str) -> Result<Secret, SecretError>;
}

/// There is no such secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the secret store has no such secret")]
pub struct SecretError;

impl Coded for SecretError {
    fn code(&self) -> Code {
        code::SECRET_UNKNOWN
    }
}

/// A vault in memory: for tests, and for shells that fill one from elsewhere.
#[derive(Default)]
pub struct MemorySecretStore(BTreeMap<String, Zeroizing<Vec<u8>>>);

impl MemorySecretStore {
    /// Puts a secret behind `reference`.
    pub fn insert(&mut self, reference: &str, secret: &[u8]) {
        self.0.insert(reference.into(), Zeroizing::new(secret.to_vec()));
    }
}

impl fmt::Debug for MemorySecretStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemorySecretStore of {}", self.0.len())
    }
}

impl SecretStore for MemorySecretStore {
    fn fetch(&self, reference: &str) -> Result<Secret, SecretError> {
        self.0.get(reference).map(|bytes| Secret(bytes.clone())).ok_or(SecretError)
    }
}
