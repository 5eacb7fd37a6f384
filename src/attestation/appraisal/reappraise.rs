//! Judging again what was accepted before, when the policy or the time has changed.

use alloc::{collections::BTreeSet, vec::Vec};

use super::{
    BuilderFacts, BuilderSigner, Dimension, EvidenceFacts, Failure, Measurement, SignerFacts, keys, measure,
    verdict::Judge,
};
use crate::{
    attestation::{
        dsse::DsseError,
        evidence::{Claim, EVIDENCE_PREDICATE, WorkerAttestation},
        policy::{AttestationPolicy, AttestationPolicyForm, KeyRole, ScopedIdentity, ScopedKey, pattern},
    },
    digest::Sha256Digest,
    time::{Millis, Wall},
};

/// Judges again: whether `facts`, accepted before, pass under `policy` at `now`, and until when. Never longer than before.
///
/// The challenge is not asked for again: it proved at its time that the evidence was fresh. Everything else counts as
/// if it were new: references, versions, capabilities, keys, revocations, the egress binding, the time left.
/// Cost: O(claims + log references + keys).
///
/// # Errors
/// Every check that would fail.
pub fn reappraise(
    facts: &EvidenceFacts,
    policy: &AttestationPolicy,
    now: Wall,
) -> Result<Wall, Vec<Failure>> {
    let (form, profile) = (policy.form(), &*facts.profile);
    let mut judge = Judge::new(policy.digest());
    let claims = claims(facts);
    judge.check(Dimension::Authenticity, |failures, until| signers(facts, form, now, failures, until));
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
    judge.check(Dimension::Freshness, |failures, until| {
        let end = facts.valid_until.min(facts.expires.plus(form.times.expiry_skew_ms));
        if end <= now {
            failures.push(Failure::Expired { at: end, now });
        }
        let lifetime = facts.expires.since(facts.issued);
        if lifetime == Millis::ZERO || lifetime > form.times.max_lifetime_ms {
            failures.push(Failure::Lifetime { lifetime, most: form.times.max_lifetime_ms });
        }
        *until = (*until).min(end);
    });
    measure::all(&claims, form, now, &mut judge);
    measure::required(&mut judge, Dimension::Egress, &form.egress, |rule, failures, until| {
        let (Some(egress), Some(expires)) = (&profile.egress, facts.egress_expires) else {
            return failures.push(Failure::Missing(super::Field::Egress));
        };
        let entry = |key: &Sha256Digest| {
            live(form, *key, KeyRole::EgressProxy, now, |scoped| scoped.covers(Some(&facts.worker)))
        };
        match egress.proxies.iter().filter_map(entry).map(|scoped| scoped.window.end()).min() {
            Some(end) => *until = (*until).min(end),
            None => failures.push(Failure::EgressUntrusted(DsseError::Untrusted)),
        }
        if !rule.policies.contains(&egress.policy) {
            failures.push(Failure::EgressPolicy(egress.policy));
        }
        if expires <= now {
            failures.push(Failure::EgressExpired(expires));
        }
        *until = (*until).min(expires);
    });
    if let Some(rule) = &form.provenance {
        judge.check(Dimension::Provenance, |failures, until| {
            let terms = rule.terms();
            let standing: Vec<_> = profile
                .builders
                .iter()
                .filter(|builder| builder.terms == terms)
                .filter_map(|builder| Some((builder, vouches(form, builder, now)?)))
                .collect();
            let need = usize::try_from(rule.threshold).unwrap_or(usize::MAX);
            let have = |what: Measurement| {
                let about = standing.iter().filter(|(builder, _)| builder.of.contains(&what));
                (what, about.map(|(_, (owner, _))| *owner).collect::<BTreeSet<_>>().len())
            };
            let have: Vec<_> = form.vouched(rule).into_iter().map(have).collect();
            if have.iter().any(|(_, have)| *have < need) {
                failures.push(Failure::Provenance { have, need });
            }
            *until = standing.iter().map(|(_, (_, end))| *end).fold(*until, Wall::min);
        });
    }
    let until = judge.until();
    let failures = judge.into_failures();
    if failures.is_empty() { Ok(until) } else { Err(failures) }
}

/// Judges everything that is kept again, one item for each step of the iterator: take as many as there is time for,
/// and go on later. Each comes with what [`reappraise`] says of it.
///
/// ```
/// use leasehold::{attestation::{AttestationPolicy, EvidenceFacts, reappraise_all}, time::Wall};
/// fn lost(kept: &[EvidenceFacts], policy: &AttestationPolicy, now: Wall) -> usize {
///     let judged = reappraise_all(kept.iter().map(|facts| (&facts.worker, facts)), policy, now);
///     judged.filter(|(_, standing)| standing.is_err()).count()
/// }
/// ```
pub fn reappraise_all<'a, K>(
    kept: impl IntoIterator<Item = (K, &'a EvidenceFacts)>,
    policy: &AttestationPolicy,
    now: Wall,
) -> impl Iterator<Item = (K, Result<Wall, Vec<Failure>>)> {
    kept.into_iter().map(move |(key, facts)| (key, reappraise(facts, policy, now)))
}

fn claims(facts: &EvidenceFacts) -> WorkerAttestation {
    fn maybe<T>(value: Option<T>) -> Claim<T> {
        value.map_or(Claim::Absent, Claim::Stated)
    }
    WorkerAttestation {
        worker: Claim::Stated(facts.worker.clone()),
        device: Claim::Stated(facts.device.clone()),
        audience: Claim::Absent,
        image: maybe(facts.profile.image),
        build: maybe(facts.profile.build),
        artifact: maybe(facts.profile.artifact),
        protocol: maybe(facts.profile.protocol),
        wit: Claim::Stated(facts.profile.wit.clone()),
        capabilities: Claim::Stated(facts.capabilities.clone()),
        authority: Claim::Stated(facts.profile.authority),
        egress: Claim::Absent,
        nonce: Claim::Absent,
        issued: Claim::Stated(facts.issued),
        expires: Claim::Stated(facts.expires),
        certificate: Claim::Stated(facts.certificate),
        sha512: None,
    }
}

fn signers(
    facts: &EvidenceFacts,
    form: &AttestationPolicyForm,
    now: Wall,
    failures: &mut Vec<Failure>,
    until: &mut Wall,
) {
    use crate::attestation::evidence::EvidenceForm;
    let signers = &facts.profile.signers;
    if signers.is_empty() {
        if !form.accept.contains(&EvidenceForm::Json) {
            failures.push(Failure::Form { found: EvidenceForm::Json, due: form.accept.clone() });
        }
        return;
    }
    if !form.accept.contains(&EvidenceForm::Dsse) {
        failures.push(Failure::Form { found: EvidenceForm::Dsse, due: form.accept.clone() });
    }
    for signer in signers.iter().filter(|signer| keys::is_revoked(form, signer.key)) {
        failures.push(Failure::KeyRevoked(alloc::format!("{}", signer.key)));
    }
    let (have, end) = owners(form, signers, KeyRole::Evidence, now, |scoped| {
        scoped.covers(Some(&facts.worker)) && scoped.allows_predicate(EVIDENCE_PREDICATE)
    });
    let need = usize::try_from(form.threshold).unwrap_or(usize::MAX);
    if have < need {
        failures.push(DsseError::Threshold { have, need }.into());
    }
    *until = (*until).min(end);
}

/// The entry by which `key` counts, where it still does.
fn live(
    form: &AttestationPolicyForm,
    key: Sha256Digest,
    role: KeyRole,
    now: Wall,
    allows: impl Fn(&ScopedKey) -> bool,
) -> Option<&ScopedKey> {
    keys::entry(form, key, role, now, allows).filter(|_| !keys::is_revoked(form, key))
}

/// On whose word, and until when, a builder still counts.
fn vouches<'p>(
    form: &'p AttestationPolicyForm,
    builder: &BuilderFacts,
    now: Wall,
) -> Option<(&'p str, Wall)> {
    let predicate = builder.predicate.predicate();
    match &builder.by {
        BuilderSigner::Key(key) => {
            let scoped = live(form, *key, KeyRole::Builder, now, |scoped| {
                scoped.allows_predicate(predicate) && scoped.speaks_for(&builder.id)
            })?;
            Some((scoped.key.owner(), scoped.window.end()))
        }
        BuilderSigner::Identity(identity) => {
            let same =
                form.identities.iter().filter(|scoped| scoped.matches(identity) && scoped.is_current(now));
            let speaks = |scoped: &&ScopedIdentity| {
                scoped.predicates.iter().any(|held| held == predicate)
                    && pattern::any(&scoped.builders, &builder.id)
            };
            let scoped = same.filter(speaks).max_by_key(|scoped| scoped.window.end())?;
            Some((scoped.owner.as_str(), scoped.window.end()))
        }
    }
}

/// How many owners are behind the signers that still count, and the earliest end of their keys. All keys of the paired
/// node have one owner.
fn owners(
    form: &AttestationPolicyForm,
    signers: &[SignerFacts],
    role: KeyRole,
    now: Wall,
    allows: impl Fn(&ScopedKey) -> bool,
) -> (usize, Wall) {
    let paired = signers.iter().any(|signer| signer.paired && !keys::is_revoked(form, signer.key));
    let entries = signers.iter().filter(|signer| !signer.paired);
    let (named, end) = behind(entries.filter_map(|signer| live(form, signer.key, role, now, &allows)));
    (named.saturating_add(usize::from(paired)), end)
}

/// How many owners are behind these entries, and the earliest end.
fn behind<'p>(entries: impl Iterator<Item = &'p ScopedKey>) -> (usize, Wall) {
    let mut named: BTreeSet<&str> = BTreeSet::new();
    let mut end = Wall::NEVER;
    for scoped in entries {
        named.insert(scoped.key.owner());
        end = end.min(scoped.window.end());
    }
    (named.len(), end)
}
