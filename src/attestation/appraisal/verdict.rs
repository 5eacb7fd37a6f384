//! The verdict, and how it is reached: a tier per dimension, a list of failures, the earliest end.

use alloc::vec::Vec;

use super::{AcceptedEvidence, AttachmentFinding, Dimension, EvidenceFacts, Failure};
use crate::{
    attestation::{evidence::WorkerAttestation, policy::Label},
    digest::Sha256Digest,
    id::WorkerId,
    time::Wall,
};

/// How far one dimension is trusted. The names are those of AR4SI where it has them; unlike there, "none" is never
/// outweighed by something affirmed elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Tier {
    /// Nothing was established. Does not pass.
    NoClaim,
    /// The check was made and holds.
    Affirming,
    /// The check was made and does not hold.
    Contraindicated,
    /// The policy waives the check, with a reason.
    Waived,
    /// The policy does not ask.
    NotAsked,
}

impl Tier {
    const fn passes(self) -> bool {
        matches!(self, Self::Affirming | Self::Waived | Self::NotAsked)
    }
}

/// A tier for every dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrustVector([Tier; Dimension::ALL.len()]);

impl TrustVector {
    /// The tier of a dimension.
    pub fn tier(&self, dimension: Dimension) -> Tier {
        self.0.get(dimension.index()).copied().unwrap_or(Tier::NoClaim)
    }

    fn set(&mut self, dimension: Dimension, tier: Tier) {
        if let Some(slot) = self.0.get_mut(dimension.index()) {
            *slot = tier;
        }
    }

    fn passes(&self) -> bool {
        self.0.iter().all(|tier| tier.passes())
    }
}

/// The outcome of an appraisal: every failure, what was skipped or waived, and the accepted evidence if there is any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appraisal {
    failures: Vec<Failure>,
    waived: Vec<(Dimension, Label)>,
    trust: TrustVector,
    policy: Digests,
    worker: Option<WorkerId>,
    accepted: Option<AcceptedEvidence>,
    attachments: Vec<AttachmentFinding>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Digests {
    policy: Sha256Digest,
    evidence: Option<Sha256Digest>,
}

impl Appraisal {
    /// The accepted evidence; `None` where anything did not pass.
    pub const fn accepted(&self) -> Option<&AcceptedEvidence> {
        self.accepted.as_ref()
    }

    /// Every check that did not hold. A check of several parts can be here several times.
    pub fn failures(&self) -> &[Failure] {
        &self.failures
    }

    /// The checks that were not made, because what they would have looked at is not believed.
    pub fn skipped(&self) -> impl Iterator<Item = Dimension> {
        Dimension::ALL.into_iter().filter(|dimension| self.trust.tier(*dimension) == Tier::NoClaim)
    }

    /// The checks that the policy waives, with its reasons.
    pub fn waived(&self) -> &[(Dimension, Label)] {
        &self.waived
    }

    /// How far each dimension is trusted.
    pub const fn trust(&self) -> &TrustVector {
        &self.trust
    }

    /// The worker that believed evidence is about; `None` where the evidence is not believed to be anyone's.
    pub const fn worker(&self) -> Option<&WorkerId> {
        self.worker.as_ref()
    }

    /// What became of each envelope that came beside the evidence, where the policy asks for provenance and the evidence is
    /// believed.
    pub fn attachments(&self) -> &[AttachmentFinding] {
        &self.attachments
    }

    /// The digest of the policy that judged.
    pub const fn policy(&self) -> Sha256Digest {
        self.policy.policy
    }

    /// SHA-256 of the payload's bytes, where the payload is believed. Signatures are no part of it.
    pub const fn evidence(&self) -> Option<Sha256Digest> {
        self.policy.evidence
    }

    /// Until when the acceptance holds.
    pub fn valid_until(&self) -> Option<Wall> {
        self.accepted.as_ref().map(AcceptedEvidence::valid_until)
    }
}

/// An appraisal under way.
pub(super) struct Judge {
    failures: Vec<Failure>,
    waived: Vec<(Dimension, Label)>,
    trust: TrustVector,
    until: Wall,
    policy: Digests,
    worker: Option<WorkerId>,
    attachments: Vec<AttachmentFinding>,
}

impl Judge {
    pub(super) const fn new(policy: Sha256Digest) -> Self {
        Self {
            failures: Vec::new(),
            waived: Vec::new(),
            trust: TrustVector([Tier::NoClaim; Dimension::ALL.len()]),
            until: Wall::NEVER,
            policy: Digests { policy, evidence: None },
            worker: None,
            attachments: Vec::new(),
        }
    }

    pub(super) const fn policy(&self) -> Sha256Digest {
        self.policy.policy
    }

    /// Notes what became of the envelopes that came beside the evidence.
    pub(super) fn find(&mut self, attachments: Vec<AttachmentFinding>) {
        self.attachments = attachments;
    }

    pub(super) fn fail(&mut self, failure: Failure) {
        self.trust.set(failure.dimension(), Tier::Contraindicated);
        self.failures.push(failure);
    }

    /// Makes one check: it lists its failures and may bring the end forward. Without a failure it affirms.
    pub(super) fn check(&mut self, dimension: Dimension, check: impl FnOnce(&mut Vec<Failure>, &mut Wall)) {
        let mut failures = Vec::new();
        let mut until = self.until;
        check(&mut failures, &mut until);
        self.until = self.until.min(until);
        let tier = if failures.is_empty() { Tier::Affirming } else { Tier::Contraindicated };
        self.trust.set(dimension, tier);
        self.failures.append(&mut failures);
    }

    pub(super) fn waive(&mut self, dimension: Dimension, reason: &Label) {
        self.trust.set(dimension, Tier::Waived);
        self.waived.push((dimension, reason.clone()));
    }

    pub(super) fn not_asked(&mut self, dimension: Dimension) {
        self.trust.set(dimension, Tier::NotAsked);
    }

    /// Notes whom and what believed evidence is about.
    pub(super) fn concern(&mut self, claims: &WorkerAttestation, evidence: Sha256Digest) {
        self.worker = claims.worker.stated().cloned();
        self.policy.evidence = Some(evidence);
    }

    pub(super) const fn until(&self) -> Wall {
        self.until
    }

    pub(super) fn passes(&self) -> bool {
        self.failures.is_empty() && self.trust.passes()
    }

    pub(super) fn into_failures(self) -> Vec<Failure> {
        self.failures
    }

    pub(super) fn conclude(self, facts: Option<EvidenceFacts>) -> Appraisal {
        let accepted = if self.passes() { facts.map(AcceptedEvidence::new) } else { None };
        Appraisal {
            failures: self.failures,
            waived: self.waived,
            trust: self.trust,
            policy: self.policy,
            worker: self.worker,
            accepted,
            attachments: self.attachments,
        }
    }
}
