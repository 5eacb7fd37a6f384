//! Two renderings of a verdict: everything for the audit log, and next to nothing for the peer.

use alloc::{
    string::{String, ToString},
    vec::Vec,
};

use serde::Serialize;

use super::{Appraisal, AttachmentFinding, AttachmentPlace, Dimension, Tier};
use crate::{
    attestation::policy::Label,
    code::{self, Code, Coded},
    digest::Sha256Digest,
    id::WorkerId,
    time::Wall,
};

/// The full rendering, for audit. Not for the peer: it would tell a forger what to change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AppraisalReport {
    /// Whether everything passed.
    pub accepted: bool,
    /// The worker, where the evidence is believed.
    pub worker: Option<WorkerId>,
    /// Every check that did not hold.
    pub failures: Vec<FailureReport>,
    /// The checks that were not made.
    pub skipped: Vec<Code>,
    /// The checks that the policy waives.
    pub waived: Vec<WaivedReport>,
    /// What became of each envelope that came beside the evidence.
    pub attachments: Vec<AttachmentReport>,
    /// The tier of every dimension, by the code of its check.
    pub trust: Vec<(Code, Tier)>,
    /// Until when the acceptance holds.
    pub valid_until: Option<Wall>,
    /// The policy that judged.
    pub policy: Sha256Digest,
    /// SHA-256 of the payload, where it is believed.
    pub evidence: Option<Sha256Digest>,
}

/// A failure in a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FailureReport {
    /// The stable code.
    pub code: Code,
    /// For people, with the facts.
    pub message: String,
}

/// An envelope beside the evidence, in a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AttachmentReport {
    /// Which attachment, from 0.
    pub attachment: usize,
    /// Which line of it, from 1, where it has several documents.
    pub line: Option<usize>,
    /// `attestation.provenance.vouched`, or why it was passed over.
    pub code: Code,
    /// For people, with the facts.
    pub message: String,
}

impl From<&AttachmentFinding> for AttachmentReport {
    fn from(finding: &AttachmentFinding) -> Self {
        let AttachmentPlace { attachment, line } = finding.place;
        let (code, message) = match &finding.outcome {
            Ok(vouched) => (code::ATTESTATION_PROVENANCE_VOUCHED, vouched.to_string()),
            Err(reason) => (reason.code(), reason.to_string()),
        };
        Self { attachment, line, code, message }
    }
}

/// A waiver in a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct WaivedReport {
    /// The check.
    pub check: Code,
    /// The policy's reason.
    pub reason: Label,
}

/// The coarse rendering, for the peer: whether it passed, and whether a new challenge may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CoarseAppraisal {
    /// Whether everything passed.
    pub accepted: bool,
    /// `attestation.accepted`, `attestation.stale` where freshness alone failed, or `attestation.refused`.
    pub code: Code,
}

impl Appraisal {
    /// The full rendering.
    pub fn report(&self) -> AppraisalReport {
        let failure =
            |failure: &super::Failure| FailureReport { code: failure.code(), message: failure.to_string() };
        let waived = |(check, reason): &(Dimension, Label)| WaivedReport {
            check: check.code(),
            reason: reason.clone(),
        };
        AppraisalReport {
            accepted: self.accepted().is_some(),
            worker: self.worker().cloned(),
            failures: self.failures().iter().map(failure).collect(),
            skipped: self.skipped().map(Dimension::code).collect(),
            waived: self.waived().iter().map(waived).collect(),
            attachments: self.attachments().iter().map(AttachmentReport::from).collect(),
            trust: Dimension::ALL.iter().map(|check| (check.code(), self.trust().tier(*check))).collect(),
            valid_until: self.valid_until(),
            policy: self.policy(),
            evidence: self.evidence(),
        }
    }

    /// The coarse rendering.
    pub fn coarse(&self) -> CoarseAppraisal {
        let accepted = self.accepted().is_some();
        let stale = || self.failures().iter().all(|failure| failure.dimension() == Dimension::Freshness);
        let code = match accepted {
            true => code::ATTESTATION_ACCEPTED,
            false if !self.failures().is_empty() && stale() => code::ATTESTATION_STALE,
            false => code::ATTESTATION_REFUSED,
        };
        CoarseAppraisal { accepted, code }
    }
}
