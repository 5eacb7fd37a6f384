//! Freshness: the nonce, and the four time settings.

use alloc::vec::Vec;

use super::{EvidenceContext, Failure, Field, stated::stated};
use crate::{
    attestation::{evidence::WorkerAttestation, policy::AttestationPolicyForm},
    time::{Millis, Wall},
};

pub(super) fn check(
    claims: &WorkerAttestation,
    form: &AttestationPolicyForm,
    context: &EvidenceContext<'_>,
    failures: &mut Vec<Failure>,
    until: &mut Wall,
) {
    if let Some(nonce) = stated(&claims.nonce, Field::Nonce, failures)
        && nonce != context.nonce
    {
        failures.push(Failure::NonceMismatch);
    }
    let times = &form.times;
    let issued = stated(&claims.issued, Field::Issued, failures).copied();
    let expires = stated(&claims.expires, Field::Expires, failures).copied();
    if let Some(issued) = issued {
        if issued > context.now.plus(times.future_skew_ms) {
            let (ahead, most) = (issued.since(context.now), times.future_skew_ms);
            failures.push(Failure::FromFuture { ahead, most });
        }
        if context.now.since(issued) > times.max_age_ms {
            let (age, most) = (context.now.since(issued), times.max_age_ms);
            failures.push(Failure::TooOld { age, most });
        }
        if issued.plus(times.expiry_skew_ms) < context.nonce_issued {
            failures.push(Failure::PredatesChallenge { issued, challenged: context.nonce_issued });
        }
    }
    if let Some(expires) = expires {
        let end = expires.plus(times.expiry_skew_ms);
        if end <= context.now {
            failures.push(Failure::Expired { at: expires, now: context.now });
        }
        *until = (*until).min(end);
    }
    if let (Some(issued), Some(expires)) = (issued, expires) {
        let lifetime = expires.since(issued);
        if lifetime == Millis::ZERO || lifetime > times.max_lifetime_ms {
            failures.push(Failure::Lifetime { lifetime, most: times.max_lifetime_ms });
        }
    }
}
