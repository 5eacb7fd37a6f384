//! What evidence is for: this challenge, device, certificate, coordinator and time, and this way out (invariant 4).

use leasehold::{
    attestation::{
        EgressBinding, EvidenceForm, dsse::seal, evidence::PAYLOAD_TYPE, policy::Rule,
        signature::Ed25519Signer,
    },
    code,
    time::Wall,
};
use serde_json::{Value, json};

use crate::attestation_support::{Case, NOW, after, codes, digest, launcher, proxy};

/// A2, A3: evidence for another challenge, device, certificate or coordinator, each with its code.
#[test]
fn a2_a3_replayed_or_diverted_evidence_is_refused() {
    assert_eq!(
        after(|case| case.nonce = vec![8; 64]),
        ["attestation.nonce.mismatch", "attestation.egress.nonce"]
    );
    assert_eq!(after(|case| case.device = "d2".parse().unwrap()), ["attestation.device.mismatch"]);
    assert_eq!(
        after(|case| case.certificate = digest("other")),
        ["attestation.certificate.mismatch", "attestation.egress.certificate"]
    );
    assert_eq!(
        after(|case| case.audience = "f2".parse().unwrap()),
        ["attestation.audience.mismatch", "attestation.egress.audience"]
    );
    // Issued before the challenge that it claims to answer, beyond the skew.
    assert_eq!(after(|case| case.nonce_issued = NOW), [""; 0]);
    assert_eq!(after(|case| case.nonce_issued = NOW + 1), ["attestation.predates_challenge"]);
}

/// A4: a boolean proves nothing, and no other word of the worker's own does.
#[test]
fn a4_a_workers_own_word_for_its_egress_is_malformed() {
    let case = Case::default();
    let signed = |egress: Value| {
        let mut statement: Value = serde_json::from_slice(&case.claims().to_statement()).unwrap();
        statement["predicate"]["egress"] = egress;
        let payload = serde_json::to_vec(&statement).unwrap();
        codes(&case.judge_bytes(EvidenceForm::Dsse, &seal(PAYLOAD_TYPE, &payload, &[&launcher()]).unwrap()))
    };
    let said = json!({"attested": true});
    for word in [json!(true), json!(1), json!(-1), json!(0.5), json!("yes!"), json!([]), json!([true]), said]
    {
        assert_eq!(signed(word.clone()), ["attestation.egress.malformed"], "{word}");
    }
    assert_eq!(signed(Value::Null), ["attestation.egress.missing"]);
    // The envelope may also stand there as an object.
    let envelope = case.binding.as_ref().unwrap().seal(&[&proxy()]).unwrap();
    assert_eq!(signed(serde_json::from_slice(&envelope).unwrap()), [""; 0]);
}

/// A5: a binding by an unknown key, for another worker, under another policy, expired.
#[test]
fn a5_an_egress_binding_that_does_not_hold_is_refused() {
    let with = |change: fn(&mut EgressBinding)| after(|case| change(case.binding.as_mut().unwrap()));
    assert_eq!(after(|case| case.proxy = launcher()), ["attestation.egress.untrusted"]);
    assert_eq!(
        after(|case| case.proxy = Ed25519Signer::from_seed("proxy", &[9; 32])),
        ["attestation.egress.untrusted"]
    );
    assert_eq!(after(|case| case.binding = None), ["attestation.egress.missing"]);
    assert_eq!(with(|binding| binding.worker = "w2".parse().unwrap()), ["attestation.egress.worker"]);
    assert_eq!(with(|binding| binding.audience = "f2".parse().unwrap()), ["attestation.egress.audience"]);
    assert_eq!(with(|binding| binding.policy = digest("other")), ["attestation.egress.policy"]);
    assert_eq!(with(|binding| binding.certificate = digest("other")), ["attestation.egress.certificate"]);
    assert_eq!(with(|binding| binding.nonce = vec![8; 64]), ["attestation.egress.nonce"]);
    assert_eq!(with(|binding| binding.nonce = vec![8; 7]), ["attestation.egress.malformed"]);
    assert_eq!(with(|binding| binding.expires = Wall(NOW - 1_000)), ["attestation.egress.expired"]);
    assert_eq!(with(|binding| binding.issued = Wall(NOW + 2_001)), ["attestation.egress.from_future"]);
    assert_eq!(with(|binding| binding.issued = Wall(0)), ["attestation.egress.lifetime"]);
    // An envelope that the proxy signed for another purpose.
    let other = |case: &mut Case| {
        case.binding = None;
        case.claims.egress = Some(seal("text/plain", b"{}", &[&proxy()]).unwrap());
    };
    assert_eq!(after(other), ["attestation.egress.untrusted"]);
    assert_eq!(
        after(|case| case.form.keys[1].workers = vec!["x-*".parse().unwrap()]),
        ["attestation.egress.untrusted"]
    );
    assert_eq!(after(|case| case.form.egress = Rule::default()), ["attestation.egress.no_rule"]);
}

/// F14, invariant 7: the four time settings, at their edges.
#[test]
fn each_time_setting_has_its_own_edge() {
    let times = |issued: u64, expires: u64| {
        after(|case| {
            (case.claims.issued, case.claims.expires) = (Wall(issued), Wall(expires));
            case.nonce_issued = 0;
        })
    };
    assert_eq!(times(NOW - 60_000, NOW + 1), [""; 0]);
    assert_eq!(times(NOW - 60_001, NOW + 1), ["attestation.too_old"]);
    assert_eq!(times(NOW + 2_000, NOW + 3_000), [""; 0]);
    assert_eq!(times(NOW + 2_001, NOW + 3_000), ["attestation.from_future"]);
    assert_eq!(times(NOW - 5_000, NOW - 999), [""; 0]);
    assert_eq!(times(NOW - 5_000, NOW - 1_000), ["attestation.expired"]);
    assert_eq!(times(NOW, NOW + 3_600_000), [""; 0]);
    assert_eq!(times(NOW, NOW + 3_600_001), ["attestation.lifetime"]);
    assert_eq!(times(NOW, NOW), ["attestation.lifetime"]);
    assert_eq!(times(0, u64::MAX >> 12), ["attestation.too_old", "attestation.lifetime"]);
    let stale = Case { now: NOW + 70_000, ..Case::default() }.judge();
    assert_eq!(codes(&stale), ["attestation.too_old"]);
    assert_eq!(stale.coarse().code, code::ATTESTATION_STALE);
}
