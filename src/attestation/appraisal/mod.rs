//! Appraisal: evidence against a policy, in one context. Every check runs; nothing unknown passes.
//!
//! First who signed it: where that does not hold, nothing that it says is looked at, and every other check is listed
//! as skipped. Then every dimension of trust, each with a tier of its own. Evidence is accepted where every dimension
//! is affirmed, or waived by the policy with a reason.

mod authenticity;
mod dimension;
mod egress;
mod facts;
mod failure;
mod freshness;
mod keys;
mod measure;
mod provenance;
mod reappraise;
mod report;
mod verdict;

pub use self::{
    dimension::{Dimension, Field, Measurement},
    facts::{AcceptedEvidence, BuilderFacts, EgressFacts, EvidenceFacts, EvidenceProfile, SignerFacts},
    failure::Failure,
    provenance::{MAX_ATTACHMENTS, PROVENANCE_PREDICATE},
    reappraise::{reappraise, reappraise_all},
    report::{AppraisalReport, CoarseAppraisal, FailureReport, WaivedReport},
    verdict::{Appraisal, Tier, TrustVector},
};

use self::verdict::Judge;
use super::{
    evidence::{Claim, EvidenceForm, WorkerAttestation},
    policy::{AttestationPolicy, AttestationPolicyForm, Label},
    signature::{SignatureVerifier, TrustedKey},
};
use crate::{
    digest::Sha256Digest,
    id::{DeviceId, FleetId},
    time::Wall,
};

/// What is known about the connection that the evidence came over, and about the challenge that it must answer.
/// None of it comes from the evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EvidenceContext<'a> {
    /// The time of the appraisal.
    pub now: Wall,
    /// The challenge's bytes.
    pub nonce: &'a [u8],
    /// When the challenge was issued.
    pub nonce_issued: Wall,
    /// This fleet.
    pub audience: &'a FleetId,
    /// The device of the connection.
    pub device: &'a DeviceId,
    /// SHA-256 of the DER of the certificate that the device showed on this connection.
    pub certificate: Sha256Digest,
}

/// Evidence as it was handed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Submission<'a> {
    /// In which wire form.
    pub form: EvidenceForm,
    /// The document or the envelope.
    pub bytes: &'a [u8],
    /// Envelopes that others signed about the same worker: build provenance. Those that do not verify, or say nothing
    /// of use, are passed over, so that junk denies nothing.
    pub attachments: &'a [&'a [u8]],
}

/// Judges evidence that comes alone.
///
/// Cost: for the plain form one strict read and O(claims + log references); for the signed form the verifications
/// on top, at most 128.
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
    let form = policy.form();
    let mut judge = Judge::new(policy.digest());
    if submission.attachments.len() > MAX_ATTACHMENTS {
        judge.fail(Failure::TooManyAttachments(submission.attachments.len()));
        return judge.conclude(None);
    }
    let authentic = match authenticity::establish(submission, form, paired, context, verifier) {
        Ok(authentic) => authentic,
        Err(failures) => {
            failures.into_iter().for_each(|failure| judge.fail(failure));
            return judge.conclude(None);
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
    let egress = egress::check(&claims, form, context, verifier, &mut judge);
    let builders =
        provenance::check(submission.attachments, &claims, form, context.now, verifier, &mut judge);
    let parts = facts::Parts {
        context,
        policy: policy.digest(),
        evidence: authentic.digest,
        signers: authentic.signers,
        egress,
        builders,
        claims: &claims,
    };
    judge.concern(&claims, authentic.digest);
    let facts = judge.passes().then(|| parts.gather(judge.until())).flatten();
    judge.conclude(facts)
}

/// What a claim states; where it states nothing, that is the failure.
fn stated<'c, T>(
    claim: &'c Claim<T>,
    field: Field,
    failures: &mut alloc::vec::Vec<Failure>,
) -> Option<&'c T> {
    match claim {
        Claim::Stated(value) => return Some(value),
        Claim::Absent => failures.push(Failure::Missing(field)),
        Claim::Malformed => failures.push(Failure::Malformed(field)),
    }
    None
}

fn identity(
    claims: &WorkerAttestation,
    form: &AttestationPolicyForm,
    context: &EvidenceContext<'_>,
    failures: &mut alloc::vec::Vec<Failure>,
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
        failures.push(Failure::AudienceMismatch(audience.clone()));
    }
}

fn binding(
    claims: &WorkerAttestation,
    form: &AttestationPolicyForm,
    context: &EvidenceContext<'_>,
    failures: &mut alloc::vec::Vec<Failure>,
) {
    if let Some(certificate) = stated(&claims.certificate, Field::Certificate, failures)
        && *certificate != context.certificate
    {
        failures.push(Failure::CertificateMismatch(*certificate));
    }
    if form.revoked.certificates.contains(&context.certificate) {
        failures.push(Failure::CertificateRevoked(context.certificate));
    }
}
