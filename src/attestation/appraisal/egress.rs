//! The egress binding inside the evidence: signed by a proxy of the fleet, for this worker, now.

use alloc::vec::Vec;

use super::{
    Dimension, EgressFacts, EvidenceContext, Failure, Field, keys, measure::required, stated::stated,
    verdict::Judge,
};
use crate::{
    attestation::{
        dsse::{Budget, DsseError, Envelope},
        egress_binding::{EGRESS_PAYLOAD_TYPE, EgressBinding},
        evidence::WorkerAttestation,
        excerpt::Excerpt,
        policy::{AttestationPolicyForm, EgressRule, KeyRole},
        signature::{SignatureVerifier, TrustedKey},
    },
    digest::Sha256Digest,
    time::{Millis, Wall},
};

pub(super) fn check(
    claims: &WorkerAttestation,
    form: &AttestationPolicyForm,
    context: &EvidenceContext<'_>,
    verifier: &dyn SignatureVerifier,
    budget: &mut Budget,
    judge: &mut Judge,
) -> Option<(EgressFacts, Wall)> {
    let mut facts = None;
    required(judge, Dimension::Egress, &form.egress, |rule, failures, until| {
        if rule.policies.is_empty() {
            failures.push(Failure::EgressNoRule);
        }
        let Some(envelope) = stated(&claims.egress, Field::Egress, failures) else { return };
        let (proxies, end) = match signers(envelope, claims, form, context.now, verifier, budget) {
            Ok(signers) => signers,
            Err(error) => return failures.push(Failure::EgressUntrusted(error)),
        };
        let binding = match EgressBinding::read(envelope.unverified_payload()) {
            Ok(binding) => binding,
            Err(error) => return failures.push(error.into()),
        };
        compare(&binding, rule, claims, context, failures);
        times(&binding, form, context.now, failures);
        let expires = binding.expires.plus(form.times.expiry_skew_ms);
        *until = (*until).min(end).min(expires);
        facts = Some((EgressFacts { proxies, policy: binding.policy }, expires));
    });
    facts
}

/// The proxies that signed and may, and the earliest end of their keys. The payload is of the right type after that.
fn signers(
    envelope: &Envelope,
    claims: &WorkerAttestation,
    form: &AttestationPolicyForm,
    now: Wall,
    verifier: &dyn SignatureVerifier,
    budget: &mut Budget,
) -> Result<(Vec<Sha256Digest>, Wall), DsseError> {
    let candidates = keys::distinct(form, |scoped| scoped.has_role(KeyRole::EgressProxy));
    let signed = envelope.signed_by(&candidates, verifier, budget);
    let scope = |key: &&TrustedKey| {
        let fingerprint = key.fingerprint();
        let worker = claims.worker.stated();
        if keys::is_revoked(form, fingerprint) {
            return None;
        }
        let entry =
            keys::entry(form, fingerprint, KeyRole::EgressProxy, now, |scoped| scoped.covers(worker))?;
        Some((fingerprint, entry.window.end()))
    };
    let usable: Vec<(Sha256Digest, Wall)> = signed.keys.iter().filter_map(scope).collect();
    if usable.is_empty() {
        let spent = signed.keys.is_empty() && !signed.complete;
        return Err(if spent { DsseError::Verifications } else { keys::nobody(&candidates, verifier) });
    }
    if envelope.unverified_type() != EGRESS_PAYLOAD_TYPE {
        let found = Excerpt::of(envelope.unverified_type());
        return Err(DsseError::PayloadType { found, due: Excerpt::of(EGRESS_PAYLOAD_TYPE) });
    }
    let end = usable.iter().map(|(_, end)| *end).min().unwrap_or(Wall::START);
    Ok((usable.into_iter().map(|(key, _)| key).collect(), end))
}

fn compare(
    binding: &EgressBinding,
    rule: &EgressRule,
    claims: &WorkerAttestation,
    context: &EvidenceContext<'_>,
    failures: &mut Vec<Failure>,
) {
    if claims.worker.stated().is_some_and(|worker| *worker != binding.worker) {
        let (found, due) = (binding.worker.clone(), claims.worker.stated().cloned());
        failures.push(Failure::EgressWorker { found, due });
    }
    if binding.audience != *context.audience {
        let (found, due) = (binding.audience.clone(), context.audience.clone());
        failures.push(Failure::EgressAudience { found, due });
    }
    if binding.certificate != context.certificate {
        failures.push(Failure::EgressCertificate { found: binding.certificate, due: context.certificate });
    }
    if binding.nonce != context.nonce {
        failures.push(Failure::EgressNonce);
    }
    if !rule.policies.is_empty() && !rule.policies.contains(&binding.policy) {
        failures.push(Failure::EgressPolicy(binding.policy));
    }
}

fn times(binding: &EgressBinding, form: &AttestationPolicyForm, now: Wall, failures: &mut Vec<Failure>) {
    if binding.issued > now.plus(form.times.future_skew_ms) {
        let (ahead, most) = (binding.issued.since(now), form.times.future_skew_ms);
        failures.push(Failure::EgressFromFuture { ahead, most });
    }
    if binding.expires.plus(form.times.expiry_skew_ms) <= now {
        failures.push(Failure::EgressExpired(binding.expires));
    }
    let lifetime = binding.expires.since(binding.issued);
    if lifetime == Millis::ZERO || lifetime > form.times.max_lifetime_ms {
        let most = form.times.max_lifetime_ms;
        failures.push(Failure::EgressLifetime { lifetime, most });
    }
}
