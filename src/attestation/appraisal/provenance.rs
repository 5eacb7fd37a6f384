//! Build provenance: envelopes beside the evidence in which builders vouch for its image and build.
//!
//! A builder's statement is SLSA provenance v1. It counts where its key is a builder's, current and not revoked, may
//! sign this predicate for this `builder.id`, and its subjects have the digests of both image and build. Its
//! parameters are not judged here. Whatever does not count is passed over.

use alloc::{string::String, vec::Vec};

use serde::Deserialize;

use super::{BuilderFacts, Dimension, Failure, keys, verdict::Judge};
use crate::{
    attestation::{
        dsse::{Envelope, owners},
        evidence::{PAYLOAD_TYPE, WorkerAttestation, statement::StatementForm},
        policy::{AttestationPolicyForm, KeyRole},
        signature::{SignatureVerifier, TrustedKey},
    },
    time::Wall,
};

/// The predicate type of SLSA provenance (slsa.dev/spec/v1.0/provenance).
pub const PROVENANCE_PREDICATE: &str = "https://slsa.dev/provenance/v1";

/// The most envelopes that may come with evidence.
pub const MAX_ATTACHMENTS: usize = 8;

#[derive(Deserialize)]
struct Predicate {
    #[serde(rename = "runDetails")]
    run_details: RunDetails,
}

#[derive(Deserialize)]
struct RunDetails {
    builder: Builder,
}

#[derive(Deserialize)]
struct Builder {
    id: String,
}

pub(super) fn check(
    attachments: &[&[u8]],
    claims: &WorkerAttestation,
    form: &AttestationPolicyForm,
    now: Wall,
    verifier: &dyn SignatureVerifier,
    judge: &mut Judge,
) -> Vec<BuilderFacts> {
    let mut builders: Vec<Voucher<'_>> = Vec::new();
    let Some(rule) = form.provenance else {
        judge.not_asked(Dimension::Provenance);
        return Vec::new();
    };
    judge.check(Dimension::Provenance, |failures, until| {
        for bytes in attachments {
            for voucher in vouchers(bytes, claims, form, now, verifier) {
                let held = |held: &Voucher<'_>| {
                    held.key.fingerprint() == voucher.key.fingerprint() && held.builder == voucher.builder
                };
                if !builders.iter().any(held) {
                    builders.push(voucher);
                }
            }
        }
        let have = owners(builders.iter().map(|voucher| voucher.key));
        let need = usize::try_from(rule.threshold).unwrap_or(usize::MAX);
        if have < need {
            failures.push(Failure::Provenance { have, need });
        }
        *until = builders.iter().map(|voucher| voucher.end).fold(*until, Wall::min);
    });
    builders
        .into_iter()
        .map(|voucher| BuilderFacts { key: voucher.key.fingerprint(), id: voucher.builder })
        .collect()
}

/// A key that vouches, the builder that it speaks for, and until when the policy lets it.
struct Voucher<'p> {
    key: &'p TrustedKey,
    builder: String,
    end: Wall,
}

/// The keys that vouch for the claims in this envelope.
fn vouchers<'p>(
    bytes: &[u8],
    claims: &WorkerAttestation,
    form: &'p AttestationPolicyForm,
    now: Wall,
    verifier: &dyn SignatureVerifier,
) -> Vec<Voucher<'p>> {
    let limits = form.limits.envelope();
    let Ok(envelope) = Envelope::parse(bytes, &limits) else { return Vec::new() };
    let candidates = keys::distinct(form, |scoped| scoped.has_role(KeyRole::Builder));
    let signed = envelope.signed_by(&candidates, verifier, &limits);
    if signed.is_empty() || envelope.unverified_type() != PAYLOAD_TYPE {
        return Vec::new();
    }
    let payload = envelope.unverified_payload();
    let Ok(statement) = StatementForm::<Predicate>::read(payload, PROVENANCE_PREDICATE) else {
        return Vec::new();
    };
    let subjects: Vec<_> = statement.subject.iter().map(|subject| subject.sha256()).collect();
    let named =
        |claim| matches!(claim, &crate::attestation::evidence::Claim::Stated(_)) && subjects.contains(claim);
    if !named(&claims.image) || !named(&claims.build) {
        return Vec::new();
    }
    let builder = &statement.predicate.run_details.builder.id;
    let scope = |key: &'p TrustedKey| {
        let fingerprint = key.fingerprint();
        if keys::is_revoked(form, fingerprint) {
            return None;
        }
        let entry = keys::entry(form, fingerprint, KeyRole::Builder, now, |scoped| {
            scoped.allows_predicate(PROVENANCE_PREDICATE) && scoped.builders.contains(builder)
        })?;
        Some(Voucher { key, builder: builder.clone(), end: entry.window.end() })
    };
    signed.into_iter().filter_map(scope).collect()
}
