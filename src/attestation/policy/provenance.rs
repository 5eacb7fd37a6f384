//! What builders must have vouched for, and what their statements must say.

use alloc::{collections::BTreeMap, string::String, vec::Vec};

use serde::{Deserialize, Serialize};

use super::{
    PolicyError, Window,
    pattern::{self, MAX_ENTRIES, MAX_ENTRY_BYTES, patterns},
};
use crate::{
    attestation::{
        appraisal::Measurement, keyless::BuilderIdentity, signature::MAX_LABEL_BYTES, strict::Limits,
    },
    digest::{FieldHasher, Sha256Digest},
    time::Wall,
};

/// That builders have vouched for what runs.
///
/// A statement of a builder counts where one of its builder keys, or an identity of the policy, signed it, may speak for
/// its `builder.id`, and may sign its predicate type. Each measurement needs enough owners, from any statements.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProvenanceRule {
    /// How many distinct owners of builder keys and identities must vouch for each measurement.
    pub threshold: u32,
    /// What they must vouch for. Left out or empty: image and build, without one that the policy waives; both where it
    /// waives both. What is named here is asked for also where its reference values are waived.
    #[serde(default)]
    pub of: Vec<Measurement>,
    /// The build types that a statement may have (`buildDefinition.buildType`, in v0.2 `buildType`), as patterns. Empty:
    /// any, and none.
    #[serde(default)]
    pub build_types: Vec<String>,
    /// Where the source may come from, as patterns without the prefix `git+`; a ref follows an `@`. Empty: from anywhere.
    ///
    /// A statement states its source as `buildDefinition.externalParameters.source` (a text, or `uri` in it), or as
    /// `repository` and `ref` of `workflow` or `buildConfigSource` there, or else as the first of its
    /// `resolvedDependencies`; in v0.2 as `invocation.configSource.uri`. Every one that is stated must match.
    #[serde(default)]
    pub sources: Vec<String>,
    /// What the external parameters must be. Left out: they are not looked at.
    #[serde(default)]
    pub parameters: Option<ParameterRule>,
    /// The most bytes of one attachment, up to 4 MiB. Left out: `limits.bytes`.
    #[serde(default)]
    pub max_bytes: Option<u32>,
}

/// Which external parameters a build may have had.
///
/// A parameter is named by its JSON pointer (RFC 6901) in `buildDefinition.externalParameters`; in v0.2 in `invocation`,
/// where `configSource` and `parameters` are external. Its value is compared by its text: of a string what it says, of a
/// number or a literal how it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParameterRule {
    /// Parameters that must be there, with the values that each may have.
    #[serde(default)]
    pub expected: BTreeMap<String, Vec<String>>,
    /// What to do with every other parameter. Left out: refuse, as SLSA recommends.
    #[serde(default)]
    pub others: OtherParameters,
}

/// What is done with external parameters that a policy does not name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OtherParameters {
    /// The statement does not count.
    #[default]
    Refuse,
    /// They are passed over.
    Ignore,
}

impl ProvenanceRule {
    /// That `threshold` owners vouch for image and build, whatever else their statements say.
    pub const fn new(threshold: u32) -> Self {
        Self {
            threshold,
            of: Vec::new(),
            build_types: Vec::new(),
            sources: Vec::new(),
            parameters: None,
            max_bytes: None,
        }
    }

    /// The identity of what statements must say. Under another one, what was judged has to be judged again.
    pub(crate) fn terms(&self) -> Sha256Digest {
        let mut terms = FieldHasher::new("provenance-terms.v1");
        let list = |terms: FieldHasher, list: &[String]| {
            let counted = terms.field(&u64::try_from(list.len()).unwrap_or(u64::MAX).to_be_bytes());
            list.iter().fold(counted, |terms, entry| terms.field(entry.as_bytes()))
        };
        terms = list(terms, &self.build_types);
        terms = list(terms, &self.sources);
        if let Some(rule) = &self.parameters {
            let others: &[u8] = match rule.others {
                OtherParameters::Refuse => b"refuse",
                OtherParameters::Ignore => b"ignore",
            };
            terms = terms.field(others);
            for (pointer, values) in &rule.expected {
                terms = list(terms.field(pointer.as_bytes()), values);
            }
        }
        terms.finish()
    }

    /// `builders` is how many owners can vouch at all.
    pub(super) fn check(&self, builders: usize) -> Result<(), PolicyError> {
        let threshold = usize::try_from(self.threshold).unwrap_or(usize::MAX);
        if threshold == 0 || threshold > builders {
            return Err(PolicyError::new(
                "the provenance threshold is at least 1 and can be reached by the owners of builder keys and identities",
            ));
        }
        let repeated =
            self.of.iter().enumerate().any(|(at, what)| self.of.iter().take(at).any(|held| held == what));
        if repeated {
            return Err(PolicyError::new("provenance.of names a measurement at most once"));
        }
        let most = u32::try_from(Limits::PROVENANCE.max_bytes()).unwrap_or(u32::MAX);
        if self.max_bytes.is_some_and(|bytes| bytes == 0 || bytes > most) {
            return Err(PolicyError::new("provenance.max_bytes is at least 1 and at most 4194304"));
        }
        patterns(&self.build_types)?;
        patterns(&self.sources)?;
        let Some(rule) = &self.parameters else { return Ok(()) };
        if rule.expected.len() > MAX_ENTRIES {
            return Err(PolicyError::new("provenance.parameters.expected names at most 64 parameters"));
        }
        for (pointer, values) in &rule.expected {
            if !pointer.starts_with('/') || pointer.len() > MAX_ENTRY_BYTES {
                return Err(PolicyError::new("a parameter is named by a JSON pointer of at most 512 bytes"));
            }
            if values.is_empty() {
                return Err(PolicyError::new("an expected parameter has at least one value"));
            }
            if values.len() > MAX_ENTRIES || values.iter().any(|value| value.len() > MAX_ENTRY_BYTES) {
                return Err(PolicyError::new("an expected parameter has at most 64 values of 512 bytes"));
            }
        }
        Ok(())
    }
}

/// A workload identity that is trusted as a builder: what a certificate of a short life says about who signed, and a
/// transparency log or a time authority about when. A trait verifies both
/// ([`IdentityVerifier`](crate::attestation::keyless::IdentityVerifier)).
///
/// Each list that is not empty must match; of `subjects`, `repositories` and `workflows` at least one is not empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScopedIdentity {
    /// Who issued the identity: the OIDC issuer, exactly.
    pub issuer: String,
    /// Who holds it. Thresholds count owners.
    pub owner: String,
    /// Subjects of the certificate, as patterns: a workflow's URI, or an address.
    #[serde(default)]
    pub subjects: Vec<String>,
    /// Source repositories, as patterns: `https://github.com/acme/app`.
    #[serde(default)]
    pub repositories: Vec<String>,
    /// Workflows that ran (the build's configuration), as patterns: `https://github.com/acme/app/.github/workflows/w.yml@*`.
    #[serde(default)]
    pub workflows: Vec<String>,
    /// Refs of the source, as patterns: `refs/heads/main`, `refs/tags/*`.
    #[serde(default)]
    pub refs: Vec<String>,
    /// The predicate types that it may sign.
    pub predicates: Vec<String>,
    /// Which `builder.id` it may speak for, as for builder keys.
    pub builders: Vec<String>,
    /// When it counts.
    #[serde(default)]
    pub window: Window,
}

impl ScopedIdentity {
    /// Whether `identity` is this one.
    pub(crate) fn matches(&self, identity: &BuilderIdentity) -> bool {
        let holds = |patterns: &[String], text: Option<&str>| {
            patterns.is_empty() || text.is_some_and(|text| pattern::any(patterns, text))
        };
        self.issuer == identity.issuer()
            && holds(&self.subjects, Some(identity.subject()))
            && holds(&self.repositories, identity.repository())
            && holds(&self.workflows, identity.workflow())
            && holds(&self.refs, identity.reference())
    }

    pub(crate) fn is_current(&self, now: Wall) -> bool {
        self.window.contains(now)
    }

    pub(super) fn check(&self) -> Result<(), PolicyError> {
        let label =
            |text: &str, most| !text.is_empty() && text.len() <= most && !text.chars().any(char::is_control);
        if !label(&self.issuer, MAX_ENTRY_BYTES) || !label(&self.owner, MAX_LABEL_BYTES) {
            return Err(PolicyError::new(
                "an identity has an issuer of 1 to 512 bytes and an owner of 1 to 128",
            ));
        }
        if self.subjects.is_empty() && self.repositories.is_empty() && self.workflows.is_empty() {
            return Err(PolicyError::new("an identity names subjects, repositories or workflows"));
        }
        for list in [&self.subjects, &self.repositories, &self.workflows, &self.refs, &self.builders] {
            patterns(list)?;
        }
        if self.predicates.len() > 16
            || self.predicates.iter().any(|text| text.is_empty() || text.len() > 256)
        {
            return Err(PolicyError::new("an identity has at most 16 predicate types of 1 to 256 bytes"));
        }
        if !self.window.is_possible() {
            return Err(PolicyError::new("a window begins before it ends"));
        }
        Ok(())
    }
}
