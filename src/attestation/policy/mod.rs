//! `AttestationPolicy`: which evidence lets a worker join. Plain data, validated when it is built.
//!
//! Nothing is defaulted into being true. A reference set that is absent or empty refuses; to skip a check the policy
//! waives it, with a reason that every appraisal shows. The serde form is [`AttestationPolicyForm`]; with every member
//! it looks like this:
//!
//! ```
//! # use leasehold::attestation::AttestationPolicy;
//! # let text = r#"
//! {
//!   "accept": ["dsse"],
//!   "times": {"max_age_ms": 60000, "max_lifetime_ms": 3600000, "future_skew_ms": 2000, "expiry_skew_ms": 1000},
//!   "keys": [
//!     {"key": {"keyid": "launcher", "algorithm": "ed25519", "owner": "node",
//!              "public_key": "8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c"},
//!      "roles": ["evidence"], "workers": ["team-a-*"],
//!      "predicates": ["https://leasehold.dev/worker-evidence/v1"],
//!      "window": {"not_before_ms": 1760000000000, "not_after_ms": 1790000000000}},
//!     {"key": {"keyid": "proxy", "algorithm": "ed25519", "owner": "network",
//!              "public_key": "8139770ea87d175f56a35466c34c7ecccb8d8a91b4ee37a25df60f5b8fc9b394"},
//!      "roles": ["egress_proxy"], "workers": ["*"]},
//!     {"key": {"keyid": "ci", "algorithm": "ed25519", "owner": "ci",
//!              "public_key": "ca93ac1705187071d67b83c7ff0efe8108e8ec4530575d7726879333dbdabe7c"},
//!      "roles": ["builder"], "predicates": ["https://slsa.dev/provenance/v1"], "builders": ["https://ci.example/1", "https://ci.example/2@*"]}
//!   ],
//!   "threshold": 1,
//!   "image": {"require": {
//!     "values": [{"digest": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", "label": "1.4"}],
//!     "denied": ["e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"]}},
//!   "build": {"waived": {"reason": "builders vouch below"}},
//!   "artifact": {"require": {
//!     "values": [{"digest": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", "label": "1.4"}]}},
//!   "protocol": {"require": {"range": {"min": 2, "max": 4}, "denied": [3]}},
//!   "wit": {"require": [{"minimum": "tools:hash/run@1.2.0", "denied": ["1.3.0"]}]},
//!   "capabilities": {
//!     "authorities": [{"digest": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
//!                      "label": "grants 2025-11", "grants": ["tool:hash", "os:linux"]}],
//!     "trusted": ["tool:hash", "os:linux"]},
//!   "egress": {"require": {
//!     "policies": ["ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"]}},
//!   "provenance": {"threshold": 1, "of": ["image", "build"],
//!     "build_types": ["https://ci.example/types/image@*"],
//!     "sources": ["https://git.example/acme/app@refs/tags/*"],
//!     "parameters": {"expected": {"/profile": ["release"]}, "others": "refuse"},
//!     "max_bytes": 262144},
//!   "identities": [{
//!     "issuer": "https://token.actions.githubusercontent.com", "owner": "ci",
//!     "repositories": ["https://github.com/acme/app"], "refs": ["refs/tags/*"],
//!     "workflows": ["https://github.com/acme/app/.github/workflows/release.yml@*"],
//!     "predicates": ["https://slsa.dev/provenance/v1"], "builders": ["https://github.com/actions/runner/*"]}],
//!   "revoked": {"workers": ["team-a-9"], "devices": [], "certificates": [], "keys": []},
//!   "limits": {"bytes": 65536, "depth": 32, "signatures": 16, "capabilities": 64, "id_bytes": 128}
//! }
//! # "#;
//! # let policy = AttestationPolicy::from_json(text.as_bytes()).unwrap();
//! # assert_eq!(policy.check_keys(&leasehold::attestation::signature::DefaultVerifier), Ok(()));
//! ```

mod error;
mod form;
mod key;
mod lint;
pub(crate) mod pattern;
mod provenance;
mod reference;
mod rule;

use serde::{Deserialize, Serialize};

pub use self::{
    error::PolicyError,
    form::{
        AttestationPolicyForm, Authority, CapabilityRules, EgressRule, ProtocolRule, Revocations, TimeRules,
        WitRequirement,
    },
    key::{KeyRole, MAX_POLICY_KEYS, ScopedKey, WorkerPattern},
    lint::Warning,
    provenance::{OtherParameters, ParameterRule, ProvenanceRule, ScopedIdentity},
    reference::{MAX_REFERENCES, ReferenceSet, ReferenceValue, Standing},
    rule::{Label, Rule, Window},
};
use crate::{
    attestation::{
        signature::{KeyError, SignatureVerifier},
        strict::{self, Limits, StrictError},
    },
    digest::{FieldHasher, Sha256Digest},
    time::Wall,
};

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
        Ok(Self::held_before(form))
    }
}

impl From<AttestationPolicy> for AttestationPolicyForm {
    fn from(policy: AttestationPolicy) -> Self {
        policy.form
    }
}

impl AttestationPolicy {
    /// A policy that was checked when it came into force, by whatever rules then held.
    pub(crate) fn held_before(form: AttestationPolicyForm) -> Self {
        // The form is lists, numbers and texts alone: writing it cannot fail, and its bytes are its identity.
        let bytes = postcard::to_allocvec(&form).unwrap_or_default();
        let digest = FieldHasher::new("attestation-policy.v1").field(&bytes).finish();
        Self { form, digest }
    }

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
