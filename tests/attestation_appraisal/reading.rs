//! What evidence is read from: which form, which statement, which claims (invariant 4).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use leasehold::attestation::{
    Dimension, EvidenceForm, PROVENANCE_PREDICATE, Tier,
    dsse::{pae, seal},
    evidence::PAYLOAD_TYPE,
    signature::Signer as _,
};
use serde_json::{Value, json};

use crate::attestation_support::{Case, codes, digest, launcher};

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
