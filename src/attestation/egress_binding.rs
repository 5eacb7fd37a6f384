//! The egress binding: an egress proxy signs that a worker's traffic goes through it, under which policy, and until
//! when. A worker's own word for it is worth nothing.

use alloc::{string::String, vec::Vec};

use serde::{Deserialize, Serialize};

use super::{
    dsse,
    evidence::parse_nonce,
    signature::{Signer, SignerError},
    strict::{self, Limits, StrictError},
};
use crate::{
    digest::Sha256Digest,
    id::{FleetId, WorkerId},
    time::Wall,
};

/// The payload type of a binding in its envelope.
pub const EGRESS_PAYLOAD_TYPE: &str = "application/vnd.leasehold.egress-binding.v1+json";

/// What a proxy signs.
///
/// ```
/// # #[cfg(feature = "ed25519")] {
/// use leasehold::attestation::{EgressBinding, signature::Ed25519Signer};
/// use leasehold::{digest::Sha256Digest, time::Wall};
/// let proxy = Ed25519Signer::from_seed("proxy-1", &[3; 32]);
/// let binding = EgressBinding {
///     worker: "w1".parse()?, audience: "fleet-a".parse()?, nonce: vec![7; 32],
///     certificate: Sha256Digest::of(b"device"), policy: Sha256Digest::of(b"egress policy"),
///     issued: Wall(1_000), expires: Wall(61_000),
/// };
/// let envelope = binding.seal(&[&proxy])?;
/// # assert!(!envelope.is_empty());
/// # }
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EgressBinding {
    /// The worker whose traffic goes through the proxy.
    pub worker: WorkerId,
    /// The fleet.
    pub audience: FleetId,
    /// SHA-256 of the DER of the device's certificate, as the proxy saw it.
    pub certificate: Sha256Digest,
    /// Digest of the egress policy that the proxy enforces for this worker.
    pub policy: Sha256Digest,
    /// The challenge that the evidence answers.
    pub nonce: Vec<u8>,
    /// When this was signed.
    pub issued: Wall,
    /// From when on it is worth nothing.
    pub expires: Wall,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BindingForm {
    worker_id: WorkerId,
    audience: FleetId,
    certificate_sha256: Sha256Digest,
    policy_sha256: Sha256Digest,
    nonce: String,
    issued_at_ms: u64,
    expires_at_ms: u64,
}

impl EgressBinding {
    /// The binding in an envelope that every signer signed.
    ///
    /// # Errors
    /// [`SignerError`] where a signer gives no signature.
    pub fn seal(&self, signers: &[&dyn Signer]) -> Result<Vec<u8>, SignerError> {
        let form = BindingForm {
            worker_id: self.worker.clone(),
            audience: self.audience.clone(),
            certificate_sha256: self.certificate,
            policy_sha256: self.policy,
            nonce: hex::encode(&self.nonce),
            issued_at_ms: self.issued.0,
            expires_at_ms: self.expires.0,
        };
        // Strings and numbers alone: writing them cannot fail.
        dsse::seal(EGRESS_PAYLOAD_TYPE, &serde_json::to_vec(&form).unwrap_or_default(), signers)
    }

    /// Reads the payload of a verified envelope.
    pub(super) fn read(payload: &[u8]) -> Result<Self, BindingError> {
        let form: BindingForm = strict::read(payload, &Limits::DOCUMENT.bytes(4 << 10))?;
        Ok(Self {
            nonce: parse_nonce(&form.nonce).ok_or(BindingError::Nonce)?,
            worker: form.worker_id,
            audience: form.audience,
            certificate: form.certificate_sha256,
            policy: form.policy_sha256,
            issued: Wall(form.issued_at_ms),
            expires: Wall(form.expires_at_ms),
        })
    }
}

/// Why a signed payload is no binding.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BindingError {
    /// Not the JSON that it must be.
    #[error("the binding: {0}")]
    Json(#[from] StrictError),
    /// The nonce is not 8 to 64 bytes in lowercase hex.
    #[error("the binding's nonce is not 8 to 64 bytes in lowercase hex")]
    Nonce,
}
