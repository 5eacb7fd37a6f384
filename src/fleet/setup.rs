//! What a coordinator gives to the core besides the policy: keys, its own certificate, and the signature back
//! end.

use alloc::boxed::Box;
use core::fmt;

use crate::{
    attestation::{challenge::NonceKey, keyless::IdentityVerifier, signature::SignatureVerifier},
    digest::Sha256Digest,
};

/// Values outside of the state that stay the same while a coordinator runs.
pub struct Setup {
    pub(crate) index_key: [u8; 16],
    pub(crate) nonce_key: NonceKey,
    pub(crate) coordinator_certificate: Sha256Digest,
    pub(crate) verifier: Box<dyn SignatureVerifier + Send + Sync>,
    pub(crate) identities: Option<Box<dyn IdentityVerifier + Send + Sync>>,
}

impl Setup {
    /// `entropy` is 64 secret random bytes: 16 key the index, 32 key the nonces, and the last 16 are not
    /// used. `coordinator_certificate` is the SHA-256 of the certificate that workers see; nonces are bound
    /// to it.
    pub fn new(
        entropy: [u8; 64],
        coordinator_certificate: Sha256Digest,
        verifier: Box<dyn SignatureVerifier + Send + Sync>,
    ) -> Self {
        let mut index_key = [0; 16];
        let mut nonce_key = [0; 32];
        for (to, from) in index_key.iter_mut().chain(&mut nonce_key).zip(entropy) {
            *to = from;
        }
        let nonce_key = NonceKey::new(nonce_key);
        Self { index_key, nonce_key, coordinator_certificate, verifier, identities: None }
    }

    /// Adds a verifier of the identities that the attestation policy trusts as builders. Without one, no
    /// identity can vouch for a build.
    #[must_use]
    pub fn with_identities(mut self, identities: Box<dyn IdentityVerifier + Send + Sync>) -> Self {
        self.identities = Some(identities);
        self
    }
}

impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The keys are left out.
        f.debug_struct("Setup")
            .field("coordinator_certificate", &self.coordinator_certificate)
            .finish_non_exhaustive()
    }
}
