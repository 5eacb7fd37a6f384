//! What a verdict says, to whom, and for how long.

use leasehold::{
    attestation::{Dimension, EvidenceForm, ProtocolRange, Tier, reappraise},
    capability::CapabilitySet,
    code::{self, Coded as _},
    digest::Sha256Digest,
    time::{Millis, Wall},
};

use crate::attestation_support::{Case, NOW, after, codes, digest, launcher, policy, proxy, references};

#[test]
fn evidence_that_holds_is_accepted_with_everything_that_it_establishes() {
    let case = Case::default();
    let verdict = case.judge();
    assert_eq!(codes(&verdict), [""; 0]);
    let accepted = verdict.accepted().unwrap();
    assert_eq!(accepted.worker().as_str(), "w1");
    assert_eq!(accepted.image(), Some(digest("image-1")));
    assert_eq!(*accepted.capabilities(), CapabilitySet::parse(["tool:hash"]).unwrap());
    // The egress binding ends first, one second of expiry skew included.
    assert_eq!(accepted.valid_until(), Wall(NOW + 301_000));
    assert_eq!(accepted.evidence(), Sha256Digest::of(&case.claims().to_statement()));
    assert_eq!(verdict.skipped().count(), 0);
    assert_eq!(verdict.trust().tier(Dimension::Provenance), Tier::NotAsked);
    assert_eq!(verdict.coarse().code, code::ATTESTATION_ACCEPTED);
}

/// A14: every failure is listed, over all dimensions.
#[test]
fn a14_every_failure_is_listed() {
    let all = after(|case| {
        case.claims.image = digest("other");
        case.claims.build = digest("other");
        case.claims.protocol = ProtocolRange::new(1, 1).unwrap();
        case.device = "d2".parse().unwrap();
        case.binding.as_mut().unwrap().policy = digest("other");
    });
    assert_eq!(
        all,
        [
            "attestation.device.mismatch",
            "attestation.image.mismatch",
            "attestation.build.mismatch",
            "attestation.protocol.too_old",
            "attestation.egress.policy",
        ]
    );
}

/// A policy that changed judges accepted evidence again, without a new challenge.
#[test]
fn accepted_evidence_dies_with_what_it_stood_on() {
    let case = Case::default();
    let accepted = case.judge();
    let facts = accepted.accepted().unwrap().facts();
    let again = |now: u64, change: fn(&mut Case)| {
        let mut case = Case::default();
        change(&mut case);
        let failures = reappraise(facts, &policy(case.form), Wall(now)).err().unwrap_or_default();
        failures.iter().map(|failure| failure.code().as_str()).collect::<Vec<_>>()
    };
    assert_eq!(again(NOW, |_| ()), [""; 0]);
    assert_eq!(again(NOW + 120_000, |_| ()), [""; 0], "age is for the first appraisal");
    assert_eq!(again(NOW + 301_000, |_| ()), ["attestation.expired", "attestation.egress.expired"]);
    assert_eq!(again(NOW, |case| case.form.image = references(&["image-2"])), ["attestation.image.mismatch"]);
    assert_eq!(again(NOW, |case| case.form.keys.truncate(1)), ["attestation.egress.untrusted"]);
    assert_eq!(
        again(NOW, |case| case.form.keys[1].workers = vec!["v*".parse().unwrap()]),
        ["attestation.egress.untrusted"],
        "a proxy's key that was narrowed"
    );
    assert_eq!(
        again(NOW, |case| case.form.revoked.keys =
            vec![proxy().trusted_key("network").unwrap().fingerprint()]),
        ["attestation.egress.untrusted"]
    );
    assert_eq!(again(NOW, |case| drop(case.form.keys.remove(0))), ["dsse.threshold"]);
    assert_eq!(again(NOW, |case| case.form.accept = vec![EvidenceForm::Json]), ["attestation.form"]);
    assert_eq!(
        again(NOW, |case| case.form.revoked.devices = vec!["d1".parse().unwrap()]),
        ["attestation.device.revoked"]
    );
    assert_eq!(
        again(NOW, |case| case.form.revoked.keys =
            vec![launcher().trusted_key("node").unwrap().fingerprint()]),
        ["attestation.key.revoked", "dsse.threshold"]
    );
    assert_eq!(
        again(NOW, |case| case.form.times.max_lifetime_ms = Millis::from_secs(10)),
        ["attestation.lifetime"]
    );
    assert_eq!(
        again(NOW, |case| case.form.capabilities.trusted = CapabilitySet::default()),
        ["attestation.capabilities.untrusted"]
    );
}

/// The full rendering names everything; the coarse one is no oracle.
#[test]
fn the_peer_learns_next_to_nothing() {
    let mut case = Case::default();
    case.claims.image = digest("other");
    let verdict = case.judge();
    let full = serde_json::to_string(&verdict.report()).unwrap();
    assert!(full.contains("attestation.image.mismatch") && full.contains(&digest("other").to_string()));
    let coarse = serde_json::to_string(&verdict.coarse()).unwrap();
    assert_eq!(coarse, r#"{"accepted":false,"code":"attestation.refused"}"#);
}
