//! How large evidence may be: by default what the types can hold, and what a policy lowers that to.

use serde::{Deserialize, Serialize};

use super::{Claim, WorkerAttestation};
use crate::{
    attestation::{
        dsse::{EnvelopeLimits, MAX_SIGNATURES},
        strict::Limits,
    },
    capability::MAX_CAPABILITIES,
    id::MAX_ID_BYTES,
};

/// The sizes up to which evidence is read. The defaults are the most that is possible; a policy only lowers them.
///
/// A document that is too large, too deep or signed too often is refused whole; an id that is too long, or a list of
/// too many capabilities, is a malformed claim.
///
/// ```
/// use leasehold::attestation::{evidence::EvidenceLimits, policy::AttestationPolicy};
/// let policy = |limits: &str| {
///     let times = r#"{"max_age_ms": 1, "max_lifetime_ms": 1, "future_skew_ms": 0, "expiry_skew_ms": 0}"#;
///     AttestationPolicy::from_json(
///         format!(r#"{{"accept": ["dsse"], "times": {times}, "limits": {limits}}}"#).as_bytes(),
///     )
/// };
/// let lowered = policy(r#"{"bytes": 8192, "id_bytes": 64}"#)?;
/// assert_eq!(lowered.form().limits, EvidenceLimits { bytes: 8192, id_bytes: 64, ..EvidenceLimits::DEFAULT });
/// assert!(policy(r#"{"bytes": 65537}"#).is_err());
/// assert!(policy(r#"{"signatures": 0}"#).is_err());
/// # Ok::<(), leasehold::attestation::strict::StrictError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EvidenceLimits {
    /// Bytes of a document, and of an envelope with what it carries. Default 65 536.
    pub bytes: u32,
    /// Containers within containers. Default 32.
    pub depth: u32,
    /// Signatures of an envelope. Default 16.
    pub signatures: u32,
    /// Capabilities. Default 64.
    pub capabilities: u32,
    /// Bytes of the id of a worker, a device or a fleet. Default 128.
    pub id_bytes: u32,
}

impl Default for EvidenceLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

#[allow(clippy::cast_possible_truncation, reason = "the largest is 65 536")]
const fn small(bound: usize) -> u32 {
    bound as u32
}

fn wide(bound: u32) -> usize {
    usize::try_from(bound).unwrap_or(usize::MAX)
}

impl EvidenceLimits {
    /// As large as evidence can be.
    pub const DEFAULT: Self = Self {
        bytes: small(Limits::DOCUMENT.max_bytes()),
        depth: small(Limits::DOCUMENT.max_depth()),
        signatures: small(MAX_SIGNATURES),
        capabilities: small(MAX_CAPABILITIES),
        id_bytes: small(MAX_ID_BYTES),
    };

    /// Whether every limit is at least 1 and at most its default.
    pub(crate) const fn is_possible(&self) -> bool {
        const fn within(limit: u32, most: u32) -> bool {
            limit >= 1 && limit <= most
        }
        let most = Self::DEFAULT;
        within(self.bytes, most.bytes)
            && within(self.depth, most.depth)
            && within(self.signatures, most.signatures)
            && within(self.capabilities, most.capabilities)
            && within(self.id_bytes, most.id_bytes)
    }

    /// What the reader of a document obeys.
    pub(crate) fn json(&self) -> Limits {
        Limits::DOCUMENT.bytes(wide(self.bytes)).depth(wide(self.depth))
    }

    /// What the reader of an envelope obeys.
    pub(crate) fn envelope(&self) -> EnvelopeLimits {
        let envelope = EnvelopeLimits::DEFAULT.bytes(wide(self.bytes)).depth(wide(self.depth));
        envelope.signatures(wide(self.signatures))
    }

    /// Takes what is too long for these limits for malformed.
    pub(super) fn bound(&self, claims: &mut WorkerAttestation) {
        fn bound<T>(claim: &mut Claim<T>, most: u32, size: impl FnOnce(&T) -> usize) {
            if claim.stated().is_some_and(|value| size(value) > wide(most)) {
                *claim = Claim::Malformed;
            }
        }
        bound(&mut claims.worker, self.id_bytes, |id| id.as_str().len());
        bound(&mut claims.device, self.id_bytes, |id| id.as_str().len());
        bound(&mut claims.audience, self.id_bytes, |id| id.as_str().len());
        bound(&mut claims.capabilities, self.capabilities, |set| set.len());
    }
}
