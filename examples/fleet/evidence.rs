//! The evidence of a worker, over a challenge: what it runs, by the supervisor's measurement, with the word of an egress
//! proxy where there is one.

use leasehold::{
    attestation::{WorkerClaims, signature::Ed25519Signer},
    digest::Sha256Digest,
    time::{Millis, Wall},
};

use crate::{Failure, boot, policy};

/// How long evidence claims to be good for.
const LIFETIME: Millis = Millis::from_secs(1800);

/// Signed evidence for `nonce`, with `image` as the executable that runs and `egress` as the proxy's signed word.
pub fn make(
    boot: &boot::Worker,
    egress: Option<Vec<u8>>,
    image: Sha256Digest,
    nonce: &[u8],
    now: Wall,
) -> Result<Vec<u8>, Failure> {
    let seed = boot.evidence_seed.0.as_slice().try_into().map_err(|_| Failure::new("a seed has 32 bytes"))?;
    let signer = Ed25519Signer::from_seed(boot.paired.worker.as_str(), seed);
    let claims = WorkerClaims {
        worker: boot.paired.worker.clone(),
        device: boot.paired.device.clone(),
        audience: policy::fleet()?,
        image,
        build: policy::build(),
        artifact: image,
        protocol: policy::protocol()?,
        wit: vec![policy::wit()?],
        capabilities: policy::capabilities()?,
        authority: policy::authority(),
        egress,
        nonce: nonce.to_vec(),
        issued: now,
        expires: now.plus(LIFETIME),
        certificate: boot.identity.fingerprint(),
    };
    claims.seal(&[&signer]).map_err(|error| Failure::new(error.to_string()))
}
