//! What runs there: digests against reference values, versions against ranges, capabilities against authorities.

use alloc::vec::Vec;

use super::{Dimension, Failure, Field, Measurement, failure::few, stated::stated, verdict::Judge};
use crate::{
    attestation::{
        evidence::{Claim, WorkerAttestation},
        policy::{
            AttestationPolicyForm, Authority, ProtocolRule, ReferenceSet, Rule, Standing, WitRequirement,
        },
        version::{Compatibility, ProtocolRange, WitInterface},
    },
    digest::Sha256Digest,
    time::Wall,
};

/// Judges the dimensions that depend on claims, policy and time alone.
pub(super) fn all(claims: &WorkerAttestation, form: &AttestationPolicyForm, now: Wall, judge: &mut Judge) {
    let measurements = [
        (Measurement::Image, &claims.image, &form.image),
        (Measurement::Build, &claims.build, &form.build),
        (Measurement::Artifact, &claims.artifact, &form.artifact),
    ];
    for (what, claim, rule) in measurements {
        required(judge, what.dimension(), rule, |set, failures, until| {
            reference(what, claim, set, now, failures, until);
        });
    }
    required(judge, Dimension::Protocol, &form.protocol, |rule, failures, _| {
        protocol(&claims.protocol, rule.as_ref(), failures);
    });
    required(judge, Dimension::Wit, &form.wit, |rules, failures, _| wit(&claims.wit, rules, failures));
    judge.check(Dimension::Capabilities, |failures, until| capabilities(claims, form, now, failures, until));
}

/// Makes a check that the policy requires, or notes that it is waived.
pub(super) fn required<T>(
    judge: &mut Judge,
    dimension: Dimension,
    rule: &Rule<T>,
    check: impl FnOnce(&T, &mut Vec<Failure>, &mut Wall),
) {
    match rule {
        Rule::Waived { reason } => judge.waive(dimension, reason),
        Rule::Require(rule) => judge.check(dimension, |failures, until| check(rule, failures, until)),
    }
}

fn reference(
    what: Measurement,
    claim: &Claim<Sha256Digest>,
    set: &ReferenceSet,
    now: Wall,
    failures: &mut Vec<Failure>,
    until: &mut Wall,
) {
    if set.values().is_empty() {
        failures.push(Failure::NoReference(what));
    }
    let Some(digest) = stated(claim, what.field(), failures).copied() else { return };
    match set.standing(digest, now) {
        Standing::Trusted(value) => *until = (*until).min(value.window.end()),
        Standing::Denied => failures.push(Failure::Denied { what, digest }),
        Standing::Unknown => {
            let (due, of) = (few(set.values().iter().map(|value| &value.label)), set.values().len());
            failures.push(Failure::Mismatch { what, digest, due, of });
        }
        Standing::OutsideWindow(value) => {
            failures.push(Failure::OutsideWindow { what, label: value.label.clone() });
        }
        Standing::NoReference => {}
    }
}

fn protocol(claim: &Claim<ProtocolRange>, rule: Option<&ProtocolRule>, failures: &mut Vec<Failure>) {
    let claimed = stated(claim, Field::Protocol, failures).copied();
    let Some(rule) = rule else {
        failures.push(Failure::ProtocolNoRule);
        return;
    };
    let Some(claimed) = claimed else { return };
    if claimed.max() < rule.range.min() {
        failures.push(Failure::ProtocolTooOld { found: claimed, due: rule.range });
    } else if claimed.min() > rule.range.max() {
        failures.push(Failure::ProtocolTooNew { found: claimed, due: rule.range });
    } else if claimed.highest_common(&rule.range, &rule.denied).is_none() {
        failures.push(Failure::ProtocolDenied { found: claimed, due: rule.range });
    }
}

fn wit(claim: &Claim<Vec<WitInterface>>, rules: &[WitRequirement], failures: &mut Vec<Failure>) {
    if rules.is_empty() {
        failures.push(Failure::WitNoRule);
    }
    let Some(claimed) = stated(claim, Field::Wit, failures) else { return };
    failures.extend(rules.iter().filter_map(|rule| interface(claimed, rule)));
}

/// Any version that is compatible and not denied will do; otherwise the highest one says what is wrong.
fn interface(claimed: &[WitInterface], rule: &WitRequirement) -> Option<Failure> {
    let same = || claimed.iter().filter(|wit| wit.name() == rule.minimum.name());
    let fits =
        |wit: &&WitInterface| wit.version().compare(rule.minimum.version()) == Compatibility::Compatible;
    let denied = |wit: &WitInterface| rule.denied.iter().any(|denied| denied.is_same(wit.version()));
    if same().filter(fits).any(|wit| !denied(wit)) {
        return None;
    }
    if let Some(wit) = same().find(fits) {
        return Some(Failure::WitDenied(wit.clone()));
    }
    let Some(highest) = same().max_by_key(|wit| wit.version()) else {
        return Some(Failure::WitAbsent(rule.minimum.name().clone()));
    };
    let (found, due) = (highest.clone(), rule.minimum.clone());
    Some(match highest.version().compare(rule.minimum.version()) {
        Compatibility::TooNew => Failure::WitTooNew { found, due },
        Compatibility::TooOld => Failure::WitTooOld { found, due },
        Compatibility::OtherTrack | Compatibility::Compatible => Failure::WitOtherTrack { found, due },
    })
}

/// Claimed within granted within trusted. An excess is a failure: it is never trimmed away in silence.
fn capabilities(
    claims: &WorkerAttestation,
    form: &AttestationPolicyForm,
    now: Wall,
    failures: &mut Vec<Failure>,
    until: &mut Wall,
) {
    let rules = &form.capabilities;
    let claimed = stated(&claims.capabilities, Field::Capabilities, failures);
    let authority = stated(&claims.authority, Field::Authority, failures)
        .and_then(|digest| known(&rules.authorities, *digest, now, failures));
    if let Some(authority) = authority {
        *until = (*until).min(authority.window.end());
    }
    let Some(claimed) = claimed else { return };
    if claimed.is_empty() {
        failures.push(Failure::CapabilitiesEmpty);
    }
    if let Some(authority) = authority
        && !claimed.is_subset_of(&authority.grants)
    {
        let excess = claimed.excess_over(&authority.grants).cloned().collect();
        failures.push(Failure::CapabilitiesExceedAuthority(excess));
    }
    if !claimed.is_subset_of(&rules.trusted) {
        failures.push(Failure::CapabilitiesUntrusted(claimed.excess_over(&rules.trusted).cloned().collect()));
    }
}

fn known<'p>(
    authorities: &'p [Authority],
    digest: Sha256Digest,
    now: Wall,
    failures: &mut Vec<Failure>,
) -> Option<&'p Authority> {
    let same = || authorities.iter().filter(|authority| authority.digest == digest);
    let current =
        same().filter(|authority| authority.window.contains(now)).max_by_key(|held| held.window.end());
    if current.is_none() {
        failures.push(match same().next() {
            Some(held) => Failure::AuthorityOutsideWindow(held.label.clone()),
            None => Failure::AuthorityUnknown {
                found: digest,
                due: few(authorities.iter().map(|authority| &authority.label)),
                of: authorities.len(),
            },
        });
    }
    current
}
