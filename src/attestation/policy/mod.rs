//! `AttestationPolicy`: which evidence lets a worker join. Plain data, validated when it is built.
//!
//! Nothing is defaulted into being true. A reference set that is absent or empty refuses; to skip a check the policy
//! waives it, with a reason that every appraisal shows. The serde form is [`AttestationPolicyForm`].

mod form;
mod key;
mod lint;
mod reference;
mod rule;

use serde::{Deserialize, Serialize};

pub use self::{
    form::{
        AttestationPolicyForm, Authority, CapabilityRules, EgressRule, ProtocolRule, ProvenanceRule,
        Revocations, TimeRules, WitRequirement,
    },
    key::{KeyRole, MAX_POLICY_KEYS, ScopedKey, WorkerPattern},
    lint::Warning,
    reference::{MAX_REFERENCES, ReferenceSet, ReferenceValue, Standing},
    rule::{Label, Rule, Window},
};
use crate::{
    attestation::{
        signature::{KeyError, SignatureVerifier},
        strict::{self, Limits, StrictError},
    },
    code::{self, Code, Coded},
    digest::{FieldHasher, Sha256Digest},
    time::Wall,
};

/// A policy that contradicts itself, with the rule that it breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("attestation policy: {rule}")]
pub struct PolicyError {
    rule: &'static str,
}

impl PolicyError {
    pub(super) const fn new(rule: &'static str) -> Self {
        Self { rule }
    }

    /// The rule that does not hold.
    pub const fn rule(&self) -> &'static str {
        self.rule
    }
}

impl Coded for PolicyError {
    fn code(&self) -> Code {
        code::ATTESTATION_POLICY_INVALID
    }
}

/// A validated policy. Cannot be invalid: the only ways in are [`TryFrom`] its form, and serde, which takes the same
/// way.
///
/// ```
/// use leasehold::{attestation::policy::AttestationPolicy, code::Coded, time::Wall};
/// let policy = AttestationPolicy::from_json(br#"{
///     "accept": ["dsse"],
///     "times": {"max_age_ms": 60000, "max_lifetime_ms": 3600000, "future_skew_ms": 2000, "expiry_skew_ms": 0},
///     "image": {"require": {"values": [
///         {"digest": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", "label": "1.4"}]}},
///     "egress": {"waived": {"reason": "workers of this fleet have no network"}}
/// }"#)?;
/// assert!(policy.lint(Wall(0)).iter().any(|warning| warning.code().as_str() == "attestation.lint.no_reference"));
/// # Ok::<(), leasehold::attestation::strict::StrictError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "AttestationPolicyForm", into = "AttestationPolicyForm")]
pub struct AttestationPolicy {
    form: AttestationPolicyForm,
    digest: Sha256Digest,
}

impl TryFrom<AttestationPolicyForm> for AttestationPolicy {
    type Error = PolicyError;

    fn try_from(form: AttestationPolicyForm) -> Result<Self, PolicyError> {
        form.check()?;
        // The form is lists, numbers and texts alone: writing it cannot fail, and its bytes are its identity.
        let bytes =
            postcard::to_allocvec(&form).map_err(|_| PolicyError::new("a policy can be written down"))?;
        let digest = FieldHasher::new("attestation-policy.v1").field(&bytes).finish();
        Ok(Self { form, digest })
    }
}

impl From<AttestationPolicy> for AttestationPolicyForm {
    fn from(policy: AttestationPolicy) -> Self {
        policy.form
    }
}

impl AttestationPolicy {
    /// Reads a policy from JSON, strictly and within [`Limits::POLICY`].
    ///
    /// # Errors
    /// [`StrictError`] with the offset; [`StrictErrorKind::Shape`](strict::StrictErrorKind::Shape) also for a policy
    /// that contradicts itself. To learn the rule it breaks, build it from its form.
    pub fn from_json(bytes: &[u8]) -> Result<Self, StrictError> {
        strict::read(bytes, &Limits::POLICY)
    }

    /// The identity of this policy. Revocations are part of it: an appraisal that is kept with the digest dies with
    /// any change.
    pub const fn digest(&self) -> Sha256Digest {
        self.digest
    }

    /// The policy's content.
    pub const fn form(&self) -> &AttestationPolicyForm {
        &self.form
    }

    /// Asks the back end about every trusted key, so that a policy which cannot work is refused when it is loaded.
    ///
    /// # Errors
    /// The first [`KeyError`].
    pub fn check_keys(&self, verifier: &dyn SignatureVerifier) -> Result<(), KeyError> {
        self.form.keys.iter().try_for_each(|scoped| verifier.check_key(scoped.key.key()))
    }

    /// What is legal here and useless or dangerous at `now`.
    pub fn lint(&self, now: Wall) -> alloc::vec::Vec<Warning> {
        lint::run(&self.form, now)
    }
}
