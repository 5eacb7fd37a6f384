//! Judging again what was accepted before, when the policy or the time has changed.

use alloc::{collections::BTreeSet, vec::Vec};

use super::{Dimension, EvidenceFacts, Failure, SignerFacts, keys, measure, verdict::Judge};
use crate::{
    attestation::{
        dsse::DsseError,
        evidence::{Claim, EVIDENCE_PREDICATE, WorkerAttestation},
        policy::{AttestationPolicy, AttestationPolicyForm, KeyRole, ScopedKey},
    },
    digest::Sha256Digest,
    time::{Millis, Wall},
};

/// What would fail if `facts`, accepted before, were judged under `policy` at `now`. Empty where they still pass.
///
/// The challenge is not asked for again: it proved at its time that the evidence was fresh. Everything else counts as
/// if it were new: references, versions, capabilities, keys, revocations, the egress binding, the time left.
/// Cost: O(claims + log references + keys).
pub fn reappraise(facts: &EvidenceFacts, policy: &AttestationPolicy, now: Wall) -> Vec<Failure> {
    let form = policy.form();
    let mut judge = Judge::new(policy.digest());
    let claims = claims(facts);
    judge.check(Dimension::Authenticity, |failures, _| signers(facts, form, now, failures));
    judge.check(Dimension::Identity, |failures, _| {
        if form.revoked.workers.contains(&facts.worker) {
            failures.push(Failure::WorkerRevoked(facts.worker.clone()));
        }
        if form.revoked.devices.contains(&facts.device) {
            failures.push(Failure::DeviceRevoked(facts.device.clone()));
        }
    });
    judge.check(Dimension::Binding, |failures, _| {
        if form.revoked.certificates.contains(&facts.certificate) {
            failures.push(Failure::CertificateRevoked(facts.certificate));
        }
    });
    judge.check(Dimension::Freshness, |failures, _| {
        let end = facts.valid_until.min(facts.expires.plus(form.times.expiry_skew_ms));
        if end <= now {
            failures.push(Failure::Expired(end));
        }
        let lifetime = facts.expires.since(facts.issued);
        if lifetime == Millis::ZERO || lifetime > form.times.max_lifetime_ms {
            failures.push(Failure::Lifetime(lifetime));
        }
    });
    measure::all(&claims, form, now, &mut judge);
    measure::required(&mut judge, Dimension::Egress, &form.egress, |rule, failures, _| {
        let Some(egress) = &facts.egress else {
            return failures.push(Failure::Missing(super::Field::Egress));
        };
        let trusted = |key: &Sha256Digest| {
            counts(form, *key, KeyRole::EgressProxy, now, |scoped| scoped.covers(Some(&facts.worker)))
        };
        if !egress.proxies.iter().any(trusted) {
            failures.push(Failure::EgressUntrusted(DsseError::Untrusted));
        }
        if !rule.policies.contains(&egress.policy) {
            failures.push(Failure::EgressPolicy(egress.policy));
        }
        if egress.expires <= now {
            failures.push(Failure::EgressExpired(egress.expires));
        }
    });
    if let Some(rule) = form.provenance {
        let have = owners(form, &facts.builders, KeyRole::Builder, now, |_| true);
        let need = usize::try_from(rule.threshold).unwrap_or(usize::MAX);
        judge.check(Dimension::Provenance, |failures, _| {
            if have < need {
                failures.push(Failure::Provenance { have, need });
            }
        });
    }
    judge.into_failures()
}

fn claims(facts: &EvidenceFacts) -> WorkerAttestation {
    fn maybe<T>(value: Option<T>) -> Claim<T> {
        value.map_or(Claim::Absent, Claim::Stated)
    }
    WorkerAttestation {
        worker: Claim::Stated(facts.worker.clone()),
        device: Claim::Stated(facts.device.clone()),
        audience: Claim::Absent,
        image: maybe(facts.image),
        build: maybe(facts.build),
        artifact: maybe(facts.artifact),
        protocol: maybe(facts.protocol),
        wit: Claim::Stated(facts.wit.clone()),
        capabilities: Claim::Stated(facts.capabilities.clone()),
        authority: Claim::Stated(facts.authority),
        egress: Claim::Absent,
        nonce: Claim::Absent,
        issued: Claim::Stated(facts.issued),
        expires: Claim::Stated(facts.expires),
        certificate: Claim::Stated(facts.certificate),
    }
}

fn signers(facts: &EvidenceFacts, form: &AttestationPolicyForm, now: Wall, failures: &mut Vec<Failure>) {
    use crate::attestation::evidence::EvidenceForm;
    if facts.signers.is_empty() {
        if !form.accept.contains(&EvidenceForm::Json) {
            failures.push(Failure::Form(EvidenceForm::Json));
        }
        return;
    }
    if !form.accept.contains(&EvidenceForm::Dsse) {
        failures.push(Failure::Form(EvidenceForm::Dsse));
    }
    for signer in facts.signers.iter().filter(|signer| keys::is_revoked(form, signer.key)) {
        failures.push(Failure::KeyRevoked(alloc::format!("{}", signer.key)));
    }
    let have = owners(form, &facts.signers, KeyRole::Evidence, now, |scoped| {
        scoped.covers(Some(&facts.worker)) && scoped.allows_predicate(EVIDENCE_PREDICATE)
    });
    let need = usize::try_from(form.threshold).unwrap_or(usize::MAX);
    if have < need {
        failures.push(DsseError::Threshold { have, need }.into());
    }
}

fn counts(
    form: &AttestationPolicyForm,
    key: Sha256Digest,
    role: KeyRole,
    now: Wall,
    allows: impl Fn(&ScopedKey) -> bool,
) -> bool {
    !keys::is_revoked(form, key) && keys::entry(form, key, role, now, allows).is_some()
}

/// How many owners are behind the signers that still count. All keys of the paired node have one owner.
fn owners(
    form: &AttestationPolicyForm,
    signers: &[SignerFacts],
    role: KeyRole,
    now: Wall,
    allows: impl Fn(&ScopedKey) -> bool,
) -> usize {
    let live = |signer: &&SignerFacts| !keys::is_revoked(form, signer.key);
    let paired = signers.iter().filter(live).any(|signer| signer.paired);
    let named: BTreeSet<&str> = signers
        .iter()
        .filter(live)
        .filter(|signer| !signer.paired)
        .filter_map(|signer| keys::entry(form, signer.key, role, now, &allows))
        .map(|scoped| scoped.key.owner())
        .collect();
    named.len().saturating_add(usize::from(paired))
}
