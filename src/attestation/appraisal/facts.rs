//! What accepted evidence establishes: sealed for those who act on it, and as plain facts for records.

use alloc::{string::String, sync::Arc, vec::Vec};

use serde::{Deserialize, Serialize};

use super::{EvidenceContext, Measurement};
use crate::{
    attestation::{
        evidence::WorkerAttestation,
        keyless::BuilderIdentity,
        provenance::ProvenanceVersion,
        version::{ProtocolRange, WitInterface},
    },
    capability::CapabilitySet,
    digest::Sha256Digest,
    id::{DeviceId, FleetId, WorkerId},
    time::Wall,
};

/// What accepted evidence says, as a record. Plain data: having one authorises nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvidenceFacts {
    /// The worker.
    pub worker: WorkerId,
    /// The device that it runs on.
    pub device: DeviceId,
    /// The fleet that the evidence is addressed to.
    pub audience: FleetId,
    /// SHA-256 of the DER of the device's certificate.
    pub certificate: Sha256Digest,
    /// The capabilities: claimed, granted and trusted.
    pub capabilities: CapabilitySet,
    /// What runs there, and who says so.
    pub profile: Arc<EvidenceProfile>,
    /// When the evidence was issued.
    pub issued: Wall,
    /// When it expires by its own word.
    pub expires: Wall,
    /// When its egress binding expires. `None` only where the policy waives it.
    pub egress_expires: Option<Wall>,
    /// Until when the acceptance holds.
    pub valid_until: Wall,
    /// SHA-256 of the payload's bytes.
    pub evidence: Sha256Digest,
    /// SHA-256 of the payloads of the builders' statements that count. Empty where facts are put together from records.
    #[serde(default)]
    pub statements: Vec<Sha256Digest>,
    /// The policy that accepted it.
    pub policy: Sha256Digest,
}

/// The part of the facts that workers of one image under one launcher have in common: kept once for all of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvidenceProfile {
    /// Digest of the image. `None` only where the policy waives it and nothing is stated.
    pub image: Option<Sha256Digest>,
    /// Digest of the build. `None` as for the image.
    pub build: Option<Sha256Digest>,
    /// Digest of the artifact. `None` as for the image.
    pub artifact: Option<Sha256Digest>,
    /// The SDK protocol versions. `None` as for the image.
    pub protocol: Option<ProtocolRange>,
    /// The WIT interfaces. Empty only where the policy waives them.
    pub wit: Vec<WitInterface>,
    /// Who granted the capabilities.
    pub authority: Sha256Digest,
    /// Who signed. Empty for a plain document.
    pub signers: Vec<SignerFacts>,
    /// The egress binding. `None` only where the policy waives it.
    pub egress: Option<EgressFacts>,
    /// The builders that vouched for what runs, where the policy asks for that.
    pub builders: Vec<BuilderFacts>,
}

/// Who signed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignerFacts {
    /// The key's fingerprint.
    pub key: Sha256Digest,
    /// Whether it is the paired node's own, and not one of the policy's.
    pub paired: bool,
}

/// Who vouched for what runs, in one statement or several.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BuilderFacts {
    /// Who signed.
    pub by: BuilderSigner,
    /// The builder that was signed for, one of those that the policy let the signer speak for.
    pub id: String,
    /// The version of the statements.
    pub predicate: ProvenanceVersion,
    /// What they vouch for.
    pub of: Vec<Measurement>,
    /// The identity of what the policy asked of every statement: build types, sources, parameters. Where a later policy asks
    /// for something else, the statements would have to be read again, and the evidence does not pass without.
    pub terms: Sha256Digest,
}

/// Who signed a builder's statement.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum BuilderSigner {
    /// A builder key of the policy, by its fingerprint.
    Key(Sha256Digest),
    /// An identity that a verifier of identities established.
    Identity(BuilderIdentity),
}

/// What an egress binding established.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EgressFacts {
    /// The proxies' keys that signed it.
    pub proxies: Vec<Sha256Digest>,
    /// Digest of the policy that they enforce.
    pub policy: Sha256Digest,
}

/// Evidence that passed. Only an appraisal makes one; it cannot be read from anywhere.
///
/// ```compile_fail
/// let forged: leasehold::attestation::AcceptedEvidence = serde_json::from_str("{}").unwrap();
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceptedEvidence(Arc<EvidenceFacts>);

impl AcceptedEvidence {
    pub(super) fn new(facts: EvidenceFacts) -> Self {
        Self(Arc::new(facts))
    }

    /// The worker.
    pub fn worker(&self) -> &WorkerId {
        &self.0.worker
    }

    /// The device that it runs on.
    pub fn device(&self) -> &DeviceId {
        &self.0.device
    }

    /// SHA-256 of the DER of the device's certificate.
    pub fn certificate(&self) -> Sha256Digest {
        self.0.certificate
    }

    /// The capabilities: claimed, granted by their authority, trusted by the fleet.
    pub fn capabilities(&self) -> &CapabilitySet {
        &self.0.capabilities
    }

    /// Until when the acceptance holds: the earliest end of the evidence, the keys, the references, the authority and
    /// the egress binding.
    pub fn valid_until(&self) -> Wall {
        self.0.valid_until
    }

    /// When the evidence was issued.
    pub fn issued(&self) -> Wall {
        self.0.issued
    }

    /// SHA-256 of the payload's bytes: the identity of the evidence, whoever signs it how often.
    pub fn evidence(&self) -> Sha256Digest {
        self.0.evidence
    }

    /// Digest of the image; `None` only where the policy waives it and nothing is stated.
    pub fn image(&self) -> Option<Sha256Digest> {
        self.0.profile.image
    }

    /// Digest of the build; `None` only where the policy waives it and nothing is stated.
    pub fn build(&self) -> Option<Sha256Digest> {
        self.0.profile.build
    }

    /// Digest of the artifact; `None` only where the policy waives it and nothing is stated.
    pub fn artifact(&self) -> Option<Sha256Digest> {
        self.0.profile.artifact
    }

    /// The policy that accepted it. Another digest in force means: judge again.
    pub fn policy(&self) -> Sha256Digest {
        self.0.policy
    }

    /// Everything, as a record.
    pub fn facts(&self) -> &EvidenceFacts {
        &self.0
    }
}

/// What an appraisal has in hand when every check passed.
pub(super) struct Parts<'a, 'c> {
    pub(super) context: &'a EvidenceContext<'c>,
    pub(super) policy: Sha256Digest,
    pub(super) evidence: Sha256Digest,
    pub(super) signers: Vec<SignerFacts>,
    pub(super) egress: Option<(EgressFacts, Wall)>,
    pub(super) builders: Vec<BuilderFacts>,
    pub(super) statements: Vec<Sha256Digest>,
    pub(super) claims: &'a WorkerAttestation,
}

impl Parts<'_, '_> {
    /// The facts. `None` where a claim without which nothing can be accepted is not there after all.
    pub(super) fn gather(self, valid_until: Wall) -> Option<EvidenceFacts> {
        let claims = self.claims;
        let (egress, egress_expires) = self.egress.unzip();
        let profile = EvidenceProfile {
            image: claims.image.stated().copied(),
            build: claims.build.stated().copied(),
            artifact: claims.artifact.stated().copied(),
            protocol: claims.protocol.stated().copied(),
            wit: claims.wit.stated().cloned().unwrap_or_default(),
            authority: *claims.authority.stated()?,
            signers: self.signers,
            egress,
            builders: self.builders,
        };
        Some(EvidenceFacts {
            worker: claims.worker.stated()?.clone(),
            device: self.context.device.clone(),
            audience: self.context.audience.clone(),
            certificate: self.context.certificate,
            capabilities: claims.capabilities.stated()?.clone(),
            profile: Arc::new(profile),
            issued: *claims.issued.stated()?,
            expires: *claims.expires.stated()?,
            egress_expires,
            valid_until,
            evidence: self.evidence,
            statements: self.statements,
            policy: self.policy,
        })
    }
}
