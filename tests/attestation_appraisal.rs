//! What evidence must not get away with: every row of ATTACKS.md "Attestation", one change at a time.

mod attestation_support;

use attestation_support::{Case, NOW, after, builder, codes, digest, launcher, proxy, references, scoped};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use leasehold::{
    attestation::{
        Dimension, EvidenceForm, PROVENANCE_PREDICATE, ProtocolRange, Tier, WorkerClaims,
        dsse::{pae, seal},
        evidence::PAYLOAD_TYPE,
        policy::{KeyRole, Label, ProvenanceRule, ReferenceSet, ReferenceValue, Rule, Window},
        reappraise,
        signature::{Ed25519Signer, Signer as _},
    },
    capability::CapabilitySet,
    code,
    time::{Millis, Wall},
};
use serde_json::{Value, json};

fn label(text: &str) -> Label {
    Label::new(text).unwrap()
}

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
    assert_eq!(accepted.evidence(), leasehold::digest::Sha256Digest::of(&case.claims().to_statement()));
    assert_eq!(verdict.skipped().count(), 0);
    assert_eq!(verdict.trust().tier(Dimension::Provenance), Tier::NotAsked);
    assert_eq!(verdict.coarse().code, code::ATTESTATION_ACCEPTED);
}

/// A1: an unsigned document where a signature is wanted, and signatures that are over something else.
#[test]
fn a1_unsigned_or_wrongly_signed_evidence_is_refused() {
    let case = Case::default();
    let verdict = case.judge_bytes(EvidenceForm::Json, &case.claims().to_document());
    assert_eq!(codes(&verdict), ["attestation.form"]);
    assert_eq!(verdict.skipped().count(), Dimension::ALL.len() - 1);
    assert_eq!(verdict.worker(), None);
    let statement = case.claims().to_statement();
    let envelope = |signed: &[u8], kind: &str| {
        let sig = STANDARD.encode(launcher().sign(signed).unwrap());
        let payload = STANDARD.encode(&statement);
        json!({"payload": payload, "payloadType": kind, "signatures": [{"sig": sig}]})
            .to_string()
            .into_bytes()
    };
    let judge = |signed: &[u8], kind| codes(&case.judge_bytes(EvidenceForm::Dsse, &envelope(signed, kind)));
    assert_eq!(judge(&pae(PAYLOAD_TYPE, &statement), PAYLOAD_TYPE), [""; 0]);
    assert_eq!(judge(&statement, PAYLOAD_TYPE), ["dsse.untrusted"]);
    assert_eq!(judge(&pae("text/plain", &statement), "text/plain"), ["attestation.payload_type"]);
}

/// A plain document passes only where the policy says so, and then every other check still counts.
#[test]
fn a_plain_document_passes_only_where_the_policy_says_so() {
    let mut case = Case::default();
    case.form.accept = vec![EvidenceForm::Json];
    let verdict = case.judge_bytes(EvidenceForm::Json, &case.claims().to_document());
    assert_eq!(codes(&verdict), [""; 0]);
    assert_eq!(verdict.trust().tier(Dimension::Authenticity), Tier::Waived);
    assert_eq!(verdict.waived().len(), 1);
    assert_eq!(codes(&case.judge()), ["attestation.form"]);
    case.claims.image = digest("other");
    let verdict = case.judge_bytes(EvidenceForm::Json, &case.claims().to_document());
    assert_eq!(codes(&verdict), ["attestation.image.mismatch"]);
}

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
    let with = |change: fn(&mut leasehold::attestation::EgressBinding)| {
        after(|case| change(case.binding.as_mut().unwrap()))
    };
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

/// A6: a digest for which no reference value is configured is refused, whatever it is.
#[test]
fn a6_no_reference_value_is_never_any() {
    assert_eq!(after(|case| case.form.image = Rule::default()), ["attestation.image.no_reference"]);
    assert_eq!(after(|case| case.form.build = Rule::default()), ["attestation.build.no_reference"]);
    assert_eq!(after(|case| case.form.artifact = Rule::default()), ["attestation.artifact.no_reference"]);
    assert_eq!(after(|case| case.form.protocol = Rule::default()), ["attestation.protocol.no_rule"]);
    assert_eq!(after(|case| case.form.wit = Rule::default()), ["attestation.wit.no_rule"]);
    assert_eq!(after(|case| case.form.keys.truncate(0)), ["dsse.untrusted"]);
    let nothing = leasehold::attestation::policy::CapabilityRules::default();
    assert_eq!(
        after(|case| case.form.capabilities = nothing),
        ["attestation.authority.unknown", "attestation.capabilities.untrusted"]
    );
    // To skip a check the policy says so, and the verdict shows it.
    let mut case = Case::default();
    case.claims.image = digest("anything");
    case.form.image = Rule::Waived { reason: label("no reference values yet") };
    let verdict = case.judge();
    assert_eq!(codes(&verdict), [""; 0]);
    assert_eq!(verdict.waived(), [(Dimension::Image, label("no reference values yet"))]);
    assert_eq!(verdict.trust().tier(Dimension::Image), Tier::Waived);
}

/// A7: digests and ids that are not of their one form are malformed, and one bad claim does not hide the others.
#[test]
fn a7_malformed_claims_are_named() {
    let case = Case::default();
    let plain = |change: &dyn Fn(&mut Value)| {
        let mut case = Case::default();
        case.form.accept = vec![EvidenceForm::Json];
        let mut document: Value = serde_json::from_slice(&case.claims().to_document()).unwrap();
        change(&mut document);
        codes(&case.judge_bytes(EvidenceForm::Json, &serde_json::to_vec(&document).unwrap()))
    };
    let good = digest("image-1").to_string();
    for bad in ["", "00", &good.to_uppercase(), &good[1..], &good.replace('9', "g")] {
        assert_eq!(
            plain(&|document| document["image"] = json!(bad)),
            ["attestation.image.malformed"],
            "{bad}"
        );
    }
    for (member, value, want) in [
        ("worker_id", json!("W 1"), "attestation.worker.malformed"),
        ("device_id", json!(""), "attestation.device.malformed"),
        ("audience", json!("../x"), "attestation.audience.malformed"),
        ("nonce", json!("00"), "attestation.nonce.malformed"),
        ("certificate_sha256", json!("zz"), "attestation.certificate.malformed"),
        ("capability_authority", json!("x"), "attestation.authority.malformed"),
        ("capabilities", json!(["tool:hash", "tool:hash"]), "attestation.capabilities.malformed"),
        ("capabilities", json!(["a b"]), "attestation.capabilities.malformed"),
        ("capabilities", json!(vec!["x"; 65]), "attestation.capabilities.malformed"),
        ("wit", json!(["x"]), "attestation.wit.malformed"),
        ("sdk_protocol", json!({"min": 3, "max": 1}), "attestation.protocol.malformed"),
    ] {
        assert_eq!(plain(&|document| document[member] = value.clone()), [want], "{member}");
        let field = want.replace("malformed", "missing");
        let missing = plain(&|document| drop(document.as_object_mut().unwrap().remove(member)));
        assert_eq!(missing, [field.as_str()], "{member}");
        assert_eq!(plain(&|document| document[member] = Value::Null), [field.as_str()], "{member}");
    }
    for (member, value, want) in [
        ("version", json!(2), "evidence.version"),
        ("unknown", json!(1), "json.shape"),
        ("issued_at_ms", json!("1"), "json.shape"),
        ("issued_at_ms", json!(1.5), "json.shape"),
        ("sdk_protocol", json!([1, 3]), "json.shape"),
        ("extensions", json!([]), "json.shape"),
    ] {
        assert_eq!(plain(&|document| document[member] = value.clone()), [want], "{member}");
    }
    assert_eq!(plain(&|document| document["extensions"] = json!({"x": [1]})), [""; 0]);
    drop(case);
}

/// A8: a statement that is not exactly a Statement v1 with our subjects.
#[test]
fn a8_other_statements_are_refused() {
    let case = Case::default();
    let signed = |payload: &[u8]| {
        codes(&case.judge_bytes(EvidenceForm::Dsse, &seal(PAYLOAD_TYPE, payload, &[&launcher()]).unwrap()))
    };
    let statement = |change: &dyn Fn(&mut Value)| {
        let mut value: Value = serde_json::from_slice(&case.claims().to_statement()).unwrap();
        change(&mut value);
        signed(&serde_json::to_vec(&value).unwrap())
    };
    let text = String::from_utf8(case.claims().to_statement()).unwrap();
    assert_eq!(statement(&|v| v["_type"] = json!("https://in-toto.io/Statement/v0.1")), ["statement.type"]);
    assert_eq!(statement(&|v| v["_type"] = json!("https://in-toto.io/statement/v1")), ["statement.type"]);
    assert_eq!(signed(text.replace("\"_type\"", "\"type\"").as_bytes()), ["json.shape"]);
    assert_eq!(statement(&|v| v["subject"] = json!([])), ["statement.subject"]);
    assert_eq!(statement(&|v| v["subject"][0]["digest"] = json!({})), ["statement.subject"]);
    assert_eq!(
        statement(&|v| v["predicateType"] = json!("https://leasehold.dev/worker-evidence/v2")),
        ["statement.predicate_type"]
    );
    assert_eq!(
        statement(&|v| {
            v["predicateType"] = json!(PROVENANCE_PREDICATE);
            v["predicate"] = json!({"other": "shape"});
        }),
        ["statement.predicate_type"]
    );
    assert_eq!(statement(&|v| drop(v.as_object_mut().unwrap().remove("predicate"))), ["json.shape"]);
    assert_eq!(
        statement(&|v| v["predicate"]["image"] = v["subject"][0]["digest"]["sha256"].clone()),
        ["evidence.repeated"]
    );
    assert_eq!(statement(&|v| v["predicate"]["more"] = json!(1)), ["json.shape"]);
    assert_eq!(statement(&|v| v["subject"][1]["name"] = json!("image")), ["evidence.subjects"]);
    assert_eq!(statement(&|v| v["subject"][1]["name"] = json!("other")), ["evidence.subjects"]);
    assert_eq!(
        statement(&|v| drop(v["subject"].as_array_mut().unwrap().pop())),
        ["attestation.artifact.missing"]
    );
    assert_eq!(
        statement(&|v| v["subject"][0]["digest"] = json!({"sha512": "00"})),
        ["attestation.image.malformed"]
    );
    // Members that in-toto does not know, and digests of other algorithms, are ignored, as it says.
    assert_eq!(statement(&|v| v["more"] = json!({"x": 1})), [""; 0]);
    assert_eq!(statement(&|v| v["subject"][0]["digest"]["sha512"] = json!("00")), [""; 0]);
    // Duplicate keys, an array for an object, a byte order mark, trailing bytes: inside a valid signature too.
    assert_eq!(signed(text.replacen('{', "{\"_type\":\"x\",", 1).as_bytes()), ["json.duplicate_key"]);
    assert_eq!(signed(format!("\u{feff}{text}").as_bytes()), ["json.byte_order_mark"]);
    assert_eq!(signed(format!("{text}{text}").as_bytes()), ["json.trailing"]);
    assert_eq!(signed(format!("[{text}]").as_bytes()), ["json.not_an_object"]);
}

/// A9: a threshold counts owners, not signatures, keys or ids.
#[test]
fn a9_a_threshold_counts_owners() {
    let (one, two) = (launcher(), Ed25519Signer::from_seed("second", &[4; 32]));
    let with = |owner: &str, signers: &[&dyn leasehold::attestation::signature::Signer]| {
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

/// A12: versions that are too old, too new, denied or not there, each with its code.
#[test]
fn a12_versions_outside_their_bounds_are_refused() {
    let protocol = |min, max| after(|case| case.claims.protocol = ProtocolRange::new(min, max).unwrap());
    assert_eq!(protocol(3, 9), [""; 0]);
    assert_eq!(protocol(1, 1), ["attestation.protocol.too_old"]);
    assert_eq!(protocol(5, 9), ["attestation.protocol.too_new"]);
    assert_eq!(protocol(4, 9), ["attestation.protocol.denied"]);
    let wit = |list: &[&str]| {
        after(|case| case.claims.wit = list.iter().map(|text| text.parse().unwrap()).collect())
    };
    assert_eq!(wit(&["tools:hash/run@1.1.9"]), ["attestation.wit.too_old"]);
    assert_eq!(wit(&["tools:hash/run@0.9.0"]), ["attestation.wit.too_old"]);
    assert_eq!(wit(&["tools:hash/run@2.0.0"]), ["attestation.wit.too_new"]);
    assert_eq!(wit(&["tools:hash/run@1.3.0"]), ["attestation.wit.denied"]);
    assert_eq!(wit(&["tools:hash/run@1.4.0-rc.1"]), ["attestation.wit.other_track"]);
    assert_eq!(wit(&["tools:hash/walk@1.2.0"]), ["attestation.wit.absent"]);
    assert_eq!(wit(&[]), ["attestation.wit.absent"]);
    // During a roll-out a worker has both: one that fits is enough.
    assert_eq!(wit(&["tools:hash/run@1.3.0", "tools:hash/run@2.0.0", "tools:hash/run@1.2.0"]), [""; 0]);
}

/// A13: a capability beyond its authority or beyond the fleet's trust is a failure, not trimmed away.
#[test]
fn a13_an_excess_of_capabilities_is_refused() {
    let claim = |names: &[&str]| {
        after(|case| case.claims.capabilities = CapabilitySet::parse(names.iter().copied()).unwrap())
    };
    assert_eq!(claim(&["tool:hash", "os:linux"]), [""; 0]);
    assert_eq!(claim(&["tool:hash", "tool:zip"]), ["attestation.capabilities.untrusted"]);
    assert_eq!(
        claim(&["tool:hash", "tool:root"]),
        ["attestation.capabilities.exceed_authority", "attestation.capabilities.untrusted"]
    );
    assert_eq!(claim(&[]), ["attestation.capabilities.empty"]);
    assert_eq!(after(|case| case.claims.authority = digest("own")), ["attestation.authority.unknown"]);
    let over = Window { not_before_ms: None, not_after_ms: Some(Wall(NOW)) };
    assert_eq!(
        after(|case| case.form.capabilities.authorities[0].window = over),
        ["attestation.authority.outside_window"]
    );
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

/// Reference values have windows, so that roll-outs overlap; the deny list wins over all of them.
#[test]
fn references_overlap_and_denied_wins() {
    let value = |name: &str, from: Option<u64>, to: Option<u64>| ReferenceValue {
        digest: digest("image-1"),
        label: label(name),
        window: Window { not_before_ms: from.map(Wall), not_after_ms: to.map(Wall) },
    };
    let with = |values: Vec<ReferenceValue>, denied: Vec<&str>| {
        let mut case = Case::default();
        let denied = denied.into_iter().map(digest).collect();
        case.form.image = Rule::Require(ReferenceSet::new(values, denied).unwrap());
        case.judge()
    };
    let over = value("old", None, Some(NOW));
    let soon = value("next", Some(NOW + 1), None);
    let brief = value("now", None, Some(NOW + 7));
    assert_eq!(codes(&with(vec![over.clone(), soon.clone()], vec![])), ["attestation.image.outside_window"]);
    let overlap = with(vec![over, soon, brief.clone()], vec![]);
    assert_eq!(overlap.valid_until(), Some(Wall(NOW + 7)));
    assert_eq!(codes(&with(vec![brief], vec!["image-1"])), ["attestation.image.denied"]);
}

/// Invariant 12: what is revoked authorises nothing, whatever else holds.
#[test]
fn revoked_workers_devices_and_certificates_are_refused() {
    assert_eq!(
        after(|case| case.form.revoked.workers = vec!["w1".parse().unwrap()]),
        ["attestation.worker.revoked"]
    );
    assert_eq!(
        after(|case| case.form.revoked.devices = vec!["d1".parse().unwrap()]),
        ["attestation.device.revoked"]
    );
    assert_eq!(
        after(|case| case.form.revoked.certificates = vec![digest("certificate")]),
        ["attestation.certificate.revoked"]
    );
}

fn provenance(claims: &WorkerClaims, builder_id: &str, subjects: &[&str]) -> Vec<u8> {
    let subject: Vec<Value> = subjects
        .iter()
        .map(|name| json!({"name": name, "digest": {"sha256": digest(name).to_string()}}))
        .collect();
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v1", "subject": subject, "predicateType": PROVENANCE_PREDICATE,
        "predicate": {"buildDefinition": {"buildType": "x", "externalParameters": {}},
                      "runDetails": {"builder": {"id": builder_id}}},
    });
    assert_eq!(claims.image, digest("image-1"));
    seal(PAYLOAD_TYPE, &serde_json::to_vec(&statement).unwrap(), &[&builder()]).unwrap()
}

/// Builders vouch in envelopes of their own; junk beside them denies nothing.
#[test]
fn build_provenance_comes_beside_the_evidence() {
    let with = |attachments: Vec<Vec<u8>>| {
        let mut case = Case::default();
        let mut key = scoped(&builder(), "ci", KeyRole::Builder);
        key.predicates = vec![PROVENANCE_PREDICATE.into()];
        key.builders = vec!["https://ci.example/1".into()];
        case.form.keys.push(key);
        case.form.provenance = Some(ProvenanceRule { threshold: 1 });
        case.attachments = attachments;
        codes(&case.judge())
    };
    let claims = Case::default().claims();
    let good = provenance(&claims, "https://ci.example/1", &["image-1", "build-1"]);
    let missing = ["attestation.provenance.missing"];
    assert_eq!(with(vec![]), missing);
    assert_eq!(with(vec![provenance(&claims, "https://ci.example/2", &["image-1", "build-1"])]), missing);
    assert_eq!(with(vec![provenance(&claims, "https://ci.example/1", &["image-1"])]), missing);
    assert_eq!(with(vec![provenance(&claims, "https://ci.example/1", &["image-2", "build-1"])]), missing);
    let junk = [b"junk".to_vec(), b"{}".to_vec(), Case::default().envelope()];
    assert_eq!(with(junk.iter().cloned().chain([good.clone()]).collect()), [""; 0]);
    assert_eq!(with(vec![good; 9]), ["attestation.too_many_attachments"]);
}

/// A policy that changed judges accepted evidence again, without a new challenge.
#[test]
fn accepted_evidence_dies_with_what_it_stood_on() {
    use attestation_support::policy;
    let case = Case::default();
    let accepted = case.judge();
    let facts = accepted.accepted().unwrap().facts();
    let again = |now: u64, change: fn(&mut Case)| {
        let mut case = Case::default();
        change(&mut case);
        let failures = reappraise(facts, &policy(case.form), Wall(now)).err().unwrap_or_default();
        failures.iter().map(|failure| leasehold::code::Coded::code(failure).as_str()).collect::<Vec<_>>()
    };
    assert_eq!(again(NOW, |_| ()), [""; 0]);
    assert_eq!(again(NOW + 120_000, |_| ()), [""; 0], "age is for the first appraisal");
    assert_eq!(again(NOW + 301_000, |_| ()), ["attestation.expired", "attestation.egress.expired"]);
    assert_eq!(again(NOW, |case| case.form.image = references(&["image-2"])), ["attestation.image.mismatch"]);
    assert_eq!(again(NOW, |case| case.form.keys.truncate(1)), ["attestation.egress.untrusted"]);
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
