//! The portable verdict: an accepted appraisal as a signed SLSA Verification Summary Attestation v1
//! (slsa.dev/spec/v1.0/verification_summary), and reading one back.
//!
//! The members are those of the specification: who verified and when, the worker as the resource, the policy by a URI and
//! its digest, every attestation that was used by the digest of its payload (the egress binding is a part of the evidence),
//! the result, and our level, which begins with no `SLSA_`. Our one extension is named by a URI, as extensions must be.
//!
//! Who trusts the fleet's key learns what was accepted without seeing the evidence. A summary that was read back is
//! information: it makes no [`AcceptedEvidence`], and no lease hangs on it.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};

use serde::{Deserialize, Serialize};

use super::{
    AcceptedEvidence,
    dsse::{self, DsseError, EnvelopeLimits, TrustRoot},
    evidence::{
        Claim, PAYLOAD_TYPE, STATEMENT_TYPE, StatementError,
        statement::{StatementForm, SubjectForm},
    },
    rfc3339,
    signature::{SignatureVerifier, Signer, SignerError},
};
use crate::{
    code::{self, Code, Coded},
    digest::Sha256Digest,
    id::{FleetId, WorkerId},
    time::Wall,
};

/// The predicate type of a summary.
pub const SUMMARY_PREDICATE: &str = "https://slsa.dev/verification_summary/v1";

/// The level that a summary of ours states. Levels of others begin with `SLSA_`.
pub const SUMMARY_LEVEL: &str = "LEASEHOLD_WORKER_EVIDENCE_1";

/// Why there is no summary, or why one is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SummaryError {
    /// The signer gave no signature.
    #[error(transparent)]
    Signer(#[from] SignerError),
    /// Every measurement was waived, so there is no subject to speak of.
    #[error("the accepted evidence measures nothing that a summary could name")]
    NoSubject,
    /// A time that the format cannot express, or not in its one form.
    #[error("a time that is not RFC 3339 in UTC")]
    Time,
    /// The envelope does not hold.
    #[error(transparent)]
    Envelope(#[from] DsseError),
    /// The payload is no summary statement.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// What names the verifier is no URI.
    #[error("the verifier is named by a URI with a scheme, of 1 to 256 printable ASCII characters")]
    VerifierUri,
    /// The summary names its policy by no URI.
    #[error("the summary names its policy by no URI, which is due beside the digest")]
    PolicyUri,
    /// The summary is of another verifier than the one whose keys signed it.
    #[error("the summary names another verifier")]
    Verifier,
    /// The summary is about another worker or fleet.
    #[error("the summary is about another resource")]
    Resource,
    /// The verification did not pass, or not at our level.
    #[error("the summary does not say that evidence passed at {SUMMARY_LEVEL}")]
    NotPassed,
    /// A digest that the summary must have is not there or malformed.
    #[error("the summary lacks the digest of its policy, its evidence or its subject")]
    Digest,
    /// What it says is over.
    #[error("the summary expired at {0}")]
    Expired(Wall),
}

impl Coded for SummaryError {
    fn code(&self) -> Code {
        match self {
            Self::Signer(error) => error.code(),
            Self::Envelope(error) => error.code(),
            Self::Statement(error) => error.code(),
            Self::NoSubject => code::SUMMARY_NO_SUBJECT,
            Self::PolicyUri => code::SUMMARY_POLICY,
            Self::Time => code::SUMMARY_TIME,
            Self::Verifier | Self::VerifierUri => code::SUMMARY_VERIFIER,
            Self::Resource => code::SUMMARY_RESOURCE,
            Self::NotPassed => code::SUMMARY_NOT_PASSED,
            Self::Digest => code::SUMMARY_DIGEST,
            Self::Expired(_) => code::SUMMARY_EXPIRED,
        }
    }
}

// Members that this version does not know are ignored, as the specification says.
#[derive(Serialize, Deserialize)]
struct Predicate {
    verifier: Verifier,
    #[serde(rename = "timeVerified")]
    time_verified: String,
    #[serde(rename = "resourceUri")]
    resource_uri: String,
    policy: Resource,
    #[serde(rename = "inputAttestations")]
    input_attestations: Vec<Resource>,
    #[serde(rename = "verificationResult")]
    verification_result: String,
    #[serde(rename = "verifiedLevels")]
    verified_levels: Vec<String>,
    #[serde(rename = "slsaVersion", default, skip_serializing_if = "Option::is_none")]
    slsa_version: Option<String>,
    /// Our extension: until when the acceptance holds.
    #[serde(rename = "https://leasehold.dev/verification-summary/v1/validUntil")]
    valid_until: String,
}

#[derive(Serialize, Deserialize)]
struct Verifier {
    id: String,
}

#[derive(Serialize, Deserialize)]
struct Resource {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    uri: Option<String>,
    digest: alloc::collections::BTreeMap<String, String>,
}

impl Resource {
    fn new(digest: Sha256Digest) -> Self {
        Self { uri: None, digest: [("sha256".into(), digest.to_string())].into() }
    }

    fn sha256(&self) -> Result<Sha256Digest, SummaryError> {
        let text = self.digest.get("sha256").ok_or(SummaryError::Digest)?;
        text.parse().map_err(|_| SummaryError::Digest)
    }
}

fn resource(fleet: &FleetId, worker: &WorkerId) -> String {
    format!("leasehold:fleet/{fleet}/worker/{worker}")
}

/// A policy has no place where it could be fetched: its digest is its name.
fn policy_uri(policy: Sha256Digest) -> String {
    format!("leasehold:attestation-policy/sha256/{policy}")
}

/// Whether `text` is a URI as far as its scheme and its characters say (RFC 3986, section 3).
fn is_uri(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    let named = scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
    scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && named
        && !rest.is_empty()
        && text.len() <= 256
        && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Signs a summary of `accepted`, verified at `now`. `verifier` is the URI under which the fleet's keys are known.
///
/// # Errors
/// [`SummaryError::NoSubject`], [`SummaryError::VerifierUri`], [`SummaryError::Time`] after the year 9999,
/// [`SummaryError::Signer`].
pub fn seal_summary(
    accepted: &AcceptedEvidence,
    verifier: &str,
    now: Wall,
    signers: &[&dyn Signer],
) -> Result<Vec<u8>, SummaryError> {
    let facts = accepted.facts();
    let measured =
        [("image", accepted.image()), ("build", accepted.build()), ("artifact", accepted.artifact())];
    let subject: Vec<_> =
        measured.iter().filter_map(|(name, digest)| Some(SubjectForm::new(name, (*digest)?))).collect();
    if subject.is_empty() {
        return Err(SummaryError::NoSubject);
    }
    if !is_uri(verifier) {
        return Err(SummaryError::VerifierUri);
    }
    let time = |at| rfc3339::format(at).ok_or(SummaryError::Time);
    let statement = StatementForm {
        kind: STATEMENT_TYPE.into(),
        subject,
        predicate_type: SUMMARY_PREDICATE.into(),
        predicate: Predicate {
            verifier: Verifier { id: verifier.into() },
            time_verified: time(now)?,
            resource_uri: resource(&facts.audience, &facts.worker),
            policy: Resource { uri: Some(policy_uri(facts.policy)), ..Resource::new(facts.policy) },
            input_attestations: [facts.evidence]
                .iter()
                .chain(&facts.statements)
                .copied()
                .map(Resource::new)
                .collect(),
            verification_result: "PASSED".into(),
            verified_levels: [SUMMARY_LEVEL.into()].into(),
            slsa_version: Some("1.0".into()),
            valid_until: time(facts.valid_until)?,
        },
    };
    // Strings and lists alone: writing them cannot fail.
    let payload = serde_json::to_vec(&statement).unwrap_or_default();
    Ok(dsse::seal(PAYLOAD_TYPE, &payload, signers)?)
}

/// A summary that its verifier's keys signed. Information about a verdict, not the verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerificationSummary {
    /// When the evidence was verified.
    pub verified: Wall,
    /// Until when the acceptance holds.
    pub valid_until: Wall,
    /// The policy that accepted it.
    pub policy: Sha256Digest,
    /// SHA-256 of the evidence's payload.
    pub evidence: Sha256Digest,
    /// SHA-256 of the payloads of the builders' statements that were used.
    pub statements: Vec<Sha256Digest>,
    /// What was measured: names and digests.
    pub subjects: Vec<(String, Sha256Digest)>,
}

/// What a reader of summaries expects: the keys of a verifier, and the URI that they may speak for.
#[derive(Clone, Copy)]
pub struct SummaryTrust<'a> {
    /// The verifier's keys.
    pub root: &'a TrustRoot,
    /// The URI under which they are known.
    pub verifier: &'a str,
    /// The crypto back end.
    pub signatures: &'a dyn SignatureVerifier,
}

impl SummaryTrust<'_> {
    /// Reads a summary about `worker` of `fleet`, in the order of the specification's verification steps.
    ///
    /// # Errors
    /// [`SummaryError`] where any step does not hold.
    pub fn open(
        &self,
        bytes: &[u8],
        fleet: &FleetId,
        worker: &WorkerId,
        now: Wall,
    ) -> Result<VerificationSummary, SummaryError> {
        let opened = self.root.open(bytes, PAYLOAD_TYPE, &EnvelopeLimits::DEFAULT, self.signatures)?;
        let statement: StatementForm<Predicate> = StatementForm::read(opened.payload(), SUMMARY_PREDICATE)?;
        let predicate = &statement.predicate;
        if predicate.verifier.id != self.verifier {
            return Err(SummaryError::Verifier);
        }
        if predicate.resource_uri != resource(fleet, worker) {
            return Err(SummaryError::Resource);
        }
        if !predicate.policy.uri.as_deref().is_some_and(is_uri) {
            return Err(SummaryError::PolicyUri);
        }
        let level = predicate.verified_levels.iter().any(|level| level == SUMMARY_LEVEL);
        if predicate.verification_result != "PASSED" || !level {
            return Err(SummaryError::NotPassed);
        }
        let subject = |form: &SubjectForm| match form.sha256() {
            Claim::Stated(digest) => Ok((form.name.clone(), digest)),
            _ => Err(SummaryError::Digest),
        };
        let [evidence, statements @ ..] = predicate.input_attestations.as_slice() else {
            return Err(SummaryError::Digest);
        };
        let time = |text: &str| rfc3339::parse(text).ok_or(SummaryError::Time);
        let summary = VerificationSummary {
            verified: time(&predicate.time_verified)?,
            valid_until: time(&predicate.valid_until)?,
            policy: predicate.policy.sha256()?,
            evidence: evidence.sha256()?,
            statements: statements.iter().map(Resource::sha256).collect::<Result<_, _>>()?,
            subjects: statement.subject.iter().map(subject).collect::<Result<_, _>>()?,
        };
        if summary.valid_until <= now {
            return Err(SummaryError::Expired(summary.valid_until));
        }
        Ok(summary)
    }
}
