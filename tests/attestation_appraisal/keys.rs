//! Who may vouch: thresholds, the scope of a key, the node's own key (invariant 4).

use leasehold::{
    attestation::{
        EvidenceForm, PROVENANCE_PREDICATE,
        policy::{KeyRole, Window},
        signature::{Ed25519Signer, Signer},
    },
    time::Wall,
};

use crate::attestation_support::{Case, NOW, after, codes, launcher, proxy, scoped};

/// A9: a threshold counts owners, not signatures, keys or ids.
#[test]
fn a9_a_threshold_counts_owners() {
    let (one, two) = (launcher(), Ed25519Signer::from_seed("second", &[4; 32]));
    let with = |owner: &str, signers: &[&dyn Signer]| {
        let mut case = Case::default();
        case.form.keys.push(scoped(&two, owner, KeyRole::Evidence));
        case.form.threshold = 2;
        codes(&case.judge_bytes(EvidenceForm::Dsse, &case.claims().seal(signers).unwrap()))
    };
    let again = Ed25519Signer::from_seed("another-name", &[1; 32]);
    assert_eq!(with("other", &[&one, &two]), [""; 0]);
    assert_eq!(with("other", &[&one]), ["dsse.threshold"]);
    assert_eq!(with("other", &[&one, &again]), ["dsse.threshold"]);
    assert_eq!(with("node", &[&one, &two]), ["dsse.threshold"]);
}

/// A10: a key that is good for another role, another worker, another predicate or another time.
#[test]
fn a10_a_key_counts_only_within_its_scope() {
    assert_eq!(after(|case| case.signer = proxy()), ["attestation.key.role"]);
    assert_eq!(
        after(|case| case.form.keys[0].workers = vec!["v*".parse().unwrap()]),
        ["attestation.key.worker", "dsse.threshold"]
    );
    assert_eq!(
        after(|case| case.form.keys[0].predicates = vec![PROVENANCE_PREDICATE.into()]),
        ["attestation.key.predicate", "dsse.threshold"]
    );
    for (not_before_ms, not_after_ms) in [(None, Some(Wall(NOW))), (Some(Wall(NOW + 1)), None)] {
        let window = Window { not_before_ms, not_after_ms };
        assert_eq!(
            after(|case| case.form.keys[0].window = window),
            ["attestation.key.time", "dsse.threshold"]
        );
    }
    let fingerprint = launcher().trusted_key("node").unwrap().fingerprint();
    assert_eq!(
        after(|case| case.form.revoked.keys = vec![fingerprint]),
        ["attestation.key.revoked", "dsse.threshold"]
    );
    // The key's end is the evidence's end.
    let mut case = Case::default();
    case.form.keys[0].window.not_after_ms = Some(Wall(NOW + 5));
    assert_eq!(case.judge().valid_until(), Some(Wall(NOW + 5)));
}

/// The paired node's own key needs no entry in the policy; it can be revoked like any other.
#[test]
fn a_paired_nodes_key_may_sign() {
    let node = Ed25519Signer::from_seed("node", &[5; 32]);
    let mut case = Case { signer: node, ..Case::default() };
    assert_eq!(codes(&case.judge()), ["dsse.untrusted"]);
    case.paired = vec![case.signer.trusted_key("d1").unwrap()];
    assert_eq!(codes(&case.judge()), [""; 0]);
    case.form.revoked.keys = vec![case.paired[0].fingerprint()];
    assert_eq!(codes(&case.judge()), ["attestation.key.revoked", "dsse.threshold"]);
}

/// A11: who signs again has not made other evidence.
#[test]
fn a11_the_identity_of_evidence_is_its_payload() {
    let mut case = Case::default();
    let other = Ed25519Signer::from_seed("second", &[4; 32]);
    case.form.keys.push(scoped(&other, "other", KeyRole::Evidence));
    let claims = case.claims();
    let one = case.judge_bytes(EvidenceForm::Dsse, &claims.seal(&[&launcher()]).unwrap());
    let two = case.judge_bytes(EvidenceForm::Dsse, &claims.seal(&[&other, &launcher()]).unwrap());
    assert_eq!(one.accepted().unwrap().evidence(), two.accepted().unwrap().evidence());
}

/// A10, invariant 12: an egress proxy's key counts within its scope alone, and not once it is revoked.
#[test]
fn a10_a_proxys_key_counts_only_within_its_scope() {
    let untrusted = ["attestation.egress.untrusted"];
    let fingerprint = proxy().trusted_key("network").unwrap().fingerprint();
    assert_eq!(after(|case| case.form.revoked.keys = vec![fingerprint]), untrusted);
    assert_eq!(after(|case| case.form.keys[1].workers = vec!["v*".parse().unwrap()]), untrusted);
    assert_eq!(after(|case| case.form.keys[1].window.not_after_ms = Some(Wall(NOW))), untrusted);
}
