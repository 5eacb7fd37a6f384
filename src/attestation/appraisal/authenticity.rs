//! Who signed the evidence, established before anything that it says is looked at.

use alloc::{string::String, vec::Vec};

use super::{EvidenceContext, Failure, SignerFacts, Submission, keys};
use crate::{
    attestation::{
        dsse::{Budget, DsseError, Envelope, owners},
        evidence::{EVIDENCE_PREDICATE, EvidenceForm, PAYLOAD_TYPE, WorkerAttestation},
        excerpt::Excerpt,
        policy::{AttestationPolicyForm, KeyRole, ScopedKey},
        signature::{SignatureVerifier, TrustedKey},
    },
    digest::Sha256Digest,
    time::Wall,
};

/// Claims whose author is known, or for which the policy asks for none.
pub(super) struct Authentic {
    pub(super) claims: WorkerAttestation,
    pub(super) digest: Sha256Digest,
    pub(super) signers: Vec<SignerFacts>,
    /// The earliest end of the signers' keys.
    pub(super) until: Wall,
}

pub(super) fn establish(
    submission: &Submission<'_>,
    form: &AttestationPolicyForm,
    paired: &[TrustedKey],
    context: &EvidenceContext<'_>,
    verifier: &dyn SignatureVerifier,
    budget: &mut Budget,
) -> Result<Authentic, Vec<Failure>> {
    let one = |failure: Failure| -> Vec<Failure> { [failure].into() };
    if !form.accept.contains(&submission.form) {
        return Err(one(Failure::Form { found: submission.form, due: form.accept.clone() }));
    }
    match submission.form {
        EvidenceForm::Json => {
            let claims = WorkerAttestation::from_document(submission.bytes, &form.limits)
                .map_err(|error| one(error.into()))?;
            let digest = Sha256Digest::of(submission.bytes);
            Ok(Authentic { claims, digest, signers: Vec::new(), until: Wall::NEVER })
        }
        EvidenceForm::Dsse => {
            let envelope = Envelope::parse(submission.bytes, &form.limits.envelope())
                .map_err(|error| one(error.into()))?;
            signed(&envelope, &Trust { form, paired, now: context.now, verifier, complete: true }, budget)
        }
    }
}

struct Trust<'a> {
    form: &'a AttestationPolicyForm,
    paired: &'a [TrustedKey],
    now: Wall,
    verifier: &'a dyn SignatureVerifier,
    /// Whether every signature was tried.
    complete: bool,
}

fn signed(envelope: &Envelope, trust: &Trust<'_>, budget: &mut Budget) -> Result<Authentic, Vec<Failure>> {
    let mut candidates = keys::distinct(trust.form, |scoped| scoped.has_role(KeyRole::Evidence));
    for key in trust.paired {
        if candidates.iter().all(|held| held.key() != key.key()) {
            candidates.push(key);
        }
    }
    let signed = envelope.signed_by(&candidates, trust.verifier, budget);
    let (mut signers, complete) = (signed.keys, signed.complete);
    if signers.is_empty() {
        return Err([trust.nobody(envelope, &candidates, complete, budget)].into());
    }
    let trust = &Trust { complete, ..*trust };
    // Role, time and revocation do not depend on the payload, so they are settled before it is parsed.
    trust.sift(&mut signers, |_| true, Failure::KeyTime)?;
    if envelope.unverified_type() != PAYLOAD_TYPE {
        return Err([Failure::PayloadType(Excerpt::of(envelope.unverified_type()))].into());
    }
    let payload = envelope.unverified_payload();
    let claims = WorkerAttestation::from_statement(payload, &trust.form.limits)
        .map_err(|error| [Failure::from(error)])?;
    // What the signers may speak of depends on the payload.
    let predicate =
        |scoped: Option<&ScopedKey>| scoped.is_none_or(|s| s.allows_predicate(EVIDENCE_PREDICATE));
    trust.sift(&mut signers, predicate, Failure::KeyPredicate)?;
    let worker = claims.worker.stated();
    let covers = |scoped: Option<&ScopedKey>| predicate(scoped) && scoped.is_none_or(|s| s.covers(worker));
    trust.sift(&mut signers, covers, Failure::KeyWorker)?;
    let end = |key: &&TrustedKey| trust.scope(key, covers).map_or(Wall::START, |scope| scope.end());
    Ok(Authentic {
        digest: Sha256Digest::of(payload),
        until: signers.iter().map(end).min().unwrap_or(Wall::START),
        signers: signers.iter().map(|key| keys::signer(key, trust.is_paired(key))).collect(),
        claims,
    })
}

/// Why a key may sign: an entry of the policy, or that it is the paired node's own.
enum Scope<'a> {
    Entry(&'a ScopedKey),
    Paired,
}

impl Scope<'_> {
    fn end(&self) -> Wall {
        match self {
            Self::Entry(scoped) => scoped.window.end(),
            Self::Paired => Wall::NEVER,
        }
    }
}

impl Trust<'_> {
    fn is_paired(&self, key: &TrustedKey) -> bool {
        self.paired.iter().any(|held| held.fingerprint() == key.fingerprint())
    }

    fn scope(&self, key: &TrustedKey, allows: impl Fn(Option<&ScopedKey>) -> bool) -> Option<Scope<'_>> {
        if self.is_paired(key) {
            return Some(Scope::Paired);
        }
        keys::entry(self.form, key.fingerprint(), KeyRole::Evidence, self.now, |scoped| allows(Some(scoped)))
            .map(Scope::Entry)
    }

    /// Keeps the signers whose trust reaches so far. Where they are not enough, the reasons for the others.
    fn sift(
        &self,
        signers: &mut Vec<&TrustedKey>,
        allows: impl Fn(Option<&ScopedKey>) -> bool,
        otherwise: fn(String) -> Failure,
    ) -> Result<(), Vec<Failure>> {
        let mut failures = Vec::new();
        signers.retain(|key| {
            if keys::is_revoked(self.form, key.fingerprint()) {
                failures.push(Failure::KeyRevoked(key.keyid().into()));
                return false;
            }
            let usable = self.scope(key, &allows).is_some();
            if !usable {
                failures.push(otherwise(key.keyid().into()));
            }
            usable
        });
        let have = owners(signers.iter().copied());
        let need = usize::try_from(self.form.threshold).unwrap_or(usize::MAX);
        if have >= need {
            return Ok(());
        }
        failures.push(DsseError::Threshold { have, need }.into());
        if !self.complete {
            failures.push(DsseError::Verifications.into());
        }
        Err(failures)
    }

    /// Nobody who may sign evidence signed. Says so, or that somebody of another role did, as far as there are checks left
    /// to find out.
    fn nobody(
        &self,
        envelope: &Envelope,
        candidates: &[&TrustedKey],
        complete: bool,
        budget: &mut Budget,
    ) -> Failure {
        let others = keys::distinct(self.form, |scoped| !scoped.has_role(KeyRole::Evidence));
        let signed = envelope.signed_by(&others, self.verifier, budget);
        match signed.keys.first() {
            Some(key) => Failure::KeyRole(key.keyid().into()),
            None if complete => keys::nobody(candidates, self.verifier).into(),
            None => DsseError::Verifications.into(),
        }
    }
}
