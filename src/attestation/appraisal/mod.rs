//! Appraisal: evidence against a policy, in one context. Every check runs; nothing unknown passes.
//!
//! First who signed it: where that does not hold, nothing that it says is looked at, and every other check is listed
//! as skipped. Then every dimension of trust, each with a tier of its own. Evidence is accepted where every dimension
//! is affirmed, or waived by the policy with a reason.

mod attachment;
mod authenticity;
mod context;
mod dimension;
mod egress;
mod facts;
mod failure;
mod freshness;
mod keys;
mod measure;
mod memory;
mod provenance;
mod reappraise;
mod report;
mod signed;
mod stated;
mod table;
mod verdict;

pub use self::{
    attachment::{
        AttachmentError, AttachmentFinding, AttachmentPlace, MAX_ATTACHMENTS, MAX_ENVELOPES, Vouched,
    },
    context::{EvidenceContext, Submission},
    dimension::{Dimension, Field, Measurement},
    facts::{
        AcceptedEvidence, BuilderFacts, BuilderSigner, EgressFacts, EvidenceFacts, EvidenceProfile,
        SignerFacts,
    },
    failure::Failure,
    memory::{Learned, ProvenanceMemory},
    provenance::{InspectedStatement, StatementFacts},
    reappraise::{reappraise, reappraise_all},
    report::{AppraisalReport, AttachmentReport, CoarseAppraisal, FailureReport, WaivedReport},
    table::CheckRow,
    verdict::{Appraisal, Tier, TrustVector},
};

use alloc::vec::Vec;

use self::{stated::stated, verdict::Judge};
use super::{
    dsse::Budget,
    evidence::{EvidenceForm, WorkerAttestation},
    keyless::IdentityVerifier,
    policy::{AttestationPolicy, AttestationPolicyForm, Label},
    signature::{SignatureVerifier, TrustedKey},
};
use crate::time::Wall;

/// Judges evidence that comes alone.
///
/// Cost: for the plain form one strict read and O(claims + log references); for the signed form the verifications
/// on top, at most 256 for the submission with its egress binding and its attachments, and at most 128 of them for
/// signatures that carry a key id; the verification of an identity counts as eight.
///
/// ```
/// use leasehold::attestation::{self, AttestationPolicy, EvidenceContext, EvidenceForm, signature::DefaultVerifier};
/// use leasehold::{digest::Sha256Digest, time::Wall};
/// let policy = AttestationPolicy::from_json(br#"{"accept": ["dsse"], "times":
///     {"max_age_ms": 60000, "max_lifetime_ms": 3600000, "future_skew_ms": 2000, "expiry_skew_ms": 0}}"#)?;
/// let (audience, device) = ("fleet-a".parse()?, "d1".parse()?);
/// let context = EvidenceContext {
///     now: Wall(1_764_000_000_000), nonce: &[7; 64], nonce_issued: Wall(1_763_999_990_000),
///     audience: &audience, device: &device, certificate: Sha256Digest::of(b"certificate"),
/// };
/// let verdict = attestation::appraise(EvidenceForm::Json, b"{}", &policy, &context, &DefaultVerifier);
/// assert!(verdict.accepted().is_none());
/// assert_eq!(verdict.failures().len(), 1);
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
pub fn appraise(
    form: EvidenceForm,
    bytes: &[u8],
    policy: &AttestationPolicy,
    context: &EvidenceContext<'_>,
    verifier: &dyn SignatureVerifier,
) -> Appraisal {
    let submission = Submission { form, bytes, attachments: &[] };
    appraise_submission(&submission, policy, &[], context, verifier)
}

/// Judges evidence with what came beside it. `paired` are the keys of the paired node of this connection, its
/// launcher's: they may sign evidence for what runs on their device, and need no entry in the policy.
pub fn appraise_submission(
    submission: &Submission<'_>,
    policy: &AttestationPolicy,
    paired: &[TrustedKey],
    context: &EvidenceContext<'_>,
    verifier: &dyn SignatureVerifier,
) -> Appraisal {
    Appraiser { paired, ..Appraiser::new(policy, verifier) }.appraise(submission, context).0
}

/// Everything that evidence is judged with, besides the evidence and its context.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Appraiser<'a> {
    /// The policy.
    pub policy: &'a AttestationPolicy,
    /// The back end for signatures.
    pub signatures: &'a dyn SignatureVerifier,
    /// Keys of the paired node of the connection.
    pub paired: &'a [TrustedKey],
    /// The verifier of builders' identities. Without one no identity of the policy can vouch.
    pub identities: Option<&'a dyn IdentityVerifier>,
    /// What was found out about attachments before.
    pub memory: Option<&'a ProvenanceMemory>,
}

impl<'a> Appraiser<'a> {
    /// An appraiser that knows no paired node, no identities, and remembers nothing. Set the fields for more.
    pub const fn new(policy: &'a AttestationPolicy, signatures: &'a dyn SignatureVerifier) -> Self {
        Self { policy, signatures, paired: &[], identities: None, memory: None }
    }

    /// Judges evidence with what came beside it, and gives what a [`ProvenanceMemory`] can learn from that, which
    /// is nothing where there is no memory. The verdict is the same with a memory and without.
    ///
    /// Cost: as for [`appraise`], and one strict read of each attachment; of one that is remembered, one SHA-256 of it.
    pub fn appraise(
        &self,
        submission: &Submission<'_>,
        context: &EvidenceContext<'_>,
    ) -> (Appraisal, Learned) {
        let (form, verifier) = (self.policy.form(), self.signatures);
        let mut judge = Judge::new(self.policy.digest());
        let nothing = || Learned::of(self.policy.digest());
        if submission.attachments.len() > MAX_ATTACHMENTS {
            judge.fail(Failure::TooManyAttachments(submission.attachments.len()));
            return (judge.conclude(None), nothing());
        }
        let mut budget = Budget::new(&form.limits.envelope());
        let authentic =
            match authenticity::establish(submission, form, self.paired, context, verifier, &mut budget) {
                Ok(authentic) => authentic,
                Err(failures) => {
                    failures.into_iter().for_each(|failure| judge.fail(failure));
                    return (judge.conclude(None), nothing());
                }
            };
        let claims = authentic.claims;
        match submission.form {
            EvidenceForm::Json => {
                judge.waive(Dimension::Authenticity, &Label::fixed("the policy takes unsigned documents"))
            }
            EvidenceForm::Dsse => {
                judge.check(Dimension::Authenticity, |_, until| *until = (*until).min(authentic.until));
            }
        }
        judge.check(Dimension::Identity, |failures, _| identity(&claims, form, context, failures));
        judge.check(Dimension::Binding, |failures, _| binding(&claims, form, context, failures));
        judge.check(Dimension::Freshness, |failures, until| {
            freshness::check(&claims, form, context, failures, until);
        });
        measure::all(&claims, form, context.now, &mut judge);
        let egress = egress::check(&claims, form, context, verifier, &mut budget, &mut judge);
        let (identities, memory) = (self.identities, self.memory);
        let bench = provenance::Bench { form, now: context.now, verifier, identities, memory };
        let established = provenance::check(submission.attachments, &claims, &bench, &mut budget, &mut judge);
        let parts = facts::Parts {
            context,
            policy: self.policy.digest(),
            evidence: authentic.digest,
            signers: authentic.signers,
            egress,
            builders: established.builders,
            statements: established.statements,
            claims: &claims,
        };
        judge.concern(&claims, authentic.digest);
        let facts = judge.passes().then(|| parts.gather(judge.until())).flatten();
        (judge.conclude(facts), established.learned)
    }
}

impl Appraiser<'_> {
    /// What the statements in an attachment say at `now`, and which builders of the policy may say so, with no evidence to
    /// hold them against: for tools, and for people who write policies. Where the policy asks for no provenance, nothing
    /// is asked of a statement but its signer and its builder.
    ///
    /// Cost: as for an attachment in [`Self::appraise`].
    pub fn inspect(&self, attachment: &[u8], now: Wall) -> Vec<InspectedStatement> {
        let form = self.policy.form();
        let bench = provenance::Bench {
            form,
            now,
            verifier: self.signatures,
            identities: self.identities,
            memory: None,
        };
        provenance::inspect(attachment, &bench, &mut Budget::new(&form.limits.envelope()))
    }
}

impl core::fmt::Debug for Appraiser<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Appraiser").field("policy", &self.policy.digest()).finish_non_exhaustive()
    }
}

fn identity(
    claims: &WorkerAttestation,
    form: &AttestationPolicyForm,
    context: &EvidenceContext<'_>,
    failures: &mut Vec<Failure>,
) {
    if let Some(worker) = stated(&claims.worker, Field::Worker, failures)
        && form.revoked.workers.contains(worker)
    {
        failures.push(Failure::WorkerRevoked(worker.clone()));
    }
    if let Some(device) = stated(&claims.device, Field::Device, failures)
        && device != context.device
    {
        failures.push(Failure::DeviceMismatch { stated: device.clone(), connected: context.device.clone() });
    }
    if form.revoked.devices.contains(context.device) {
        failures.push(Failure::DeviceRevoked(context.device.clone()));
    }
    if let Some(audience) = stated(&claims.audience, Field::Audience, failures)
        && audience != context.audience
    {
        failures.push(Failure::AudienceMismatch { found: audience.clone(), due: context.audience.clone() });
    }
}

fn binding(
    claims: &WorkerAttestation,
    form: &AttestationPolicyForm,
    context: &EvidenceContext<'_>,
    failures: &mut Vec<Failure>,
) {
    if let Some(certificate) = stated(&claims.certificate, Field::Certificate, failures)
        && *certificate != context.certificate
    {
        failures.push(Failure::CertificateMismatch { found: *certificate, due: context.certificate });
    }
    if form.revoked.certificates.contains(&context.certificate) {
        failures.push(Failure::CertificateRevoked(context.certificate));
    }
}
