//! Every attachment that does not count has its reason: which one, what was found, what was due.

use leasehold::{
    attestation::{
        AttachmentError, Failure, PROVENANCE_PREDICATE, evidence::PAYLOAD_TYPE, policy::Window,
        signature::Ed25519Signer,
    },
    code::Coded as _,
    time::Wall,
};
use serde_json::{Value, json};

use crate::{
    MISSING,
    attestation_support::{Case, NOW, builder, codes, digest},
    builder_key, case, judged,
    published::{Statement, bundle, key_material, seal, sha256},
};

fn sealed(payload: &[u8], payload_type: &str) -> Vec<u8> {
    seal(payload, payload_type, &[(&builder(), json!("builder"))])
}

fn changed(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut value = Statement::default().value();
    change(&mut value);
    sealed(&serde_json::to_vec(&value).unwrap(), PAYLOAD_TYPE)
}

/// One attachment of each kind, its code, and what its message says was found and due. Beside a good one it denies nothing.
#[test]
fn every_attachment_that_does_not_count_says_why() {
    let good = Statement::default().signed(&builder());
    let stranger = Ed25519Signer::from_seed("stranger", &[9; 32]);
    let text = String::from_utf8(good.clone()).unwrap();
    let other = "application/vnd.dev.sigstore.bundle+json;version=9";
    let message =
        json!({"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json", "messageSignature": {}});
    let (found, due) = (digest("image-2").to_string(), digest("image-1").to_string());
    let subjects = ["2 subjects", &found, &due];
    let cases: Vec<(Vec<u8>, &str, &[&str])> = vec![
        (b"junk".to_vec(), "json.not_an_object", &["byte 0"]),
        (b"{}".to_vec(), "json.shape", &["byte 0"]),
        (vec![b' '; 65_537], "json.too_large", &["byte 65536"]),
        (text.replacen('{', r#"{"payload":"","#, 1).into_bytes(), "json.duplicate_key", &["byte "]),
        (text.replace("payload\":\"", "payload\":\"*").into_bytes(), "dsse.base64", &["`payload`", "base64"]),
        (bundle(other, &good, key_material()), "bundle.media_type", &["version=9`", "v0.3"]),
        (message.to_string().into_bytes(), "bundle.no_envelope", &["`dsseEnvelope`"]),
        (Statement::default().signed(&stranger), "dsse.untrusted", &["trusted key"]),
        (sealed(b"{}", "text/plain"), "attestation.payload_type", &["`text/plain`", PAYLOAD_TYPE]),
        (sealed(b"[]", PAYLOAD_TYPE), "json.not_an_object", &["byte 0"]),
        (
            changed(|value| value["_type"] = json!("https://in-toto.io/Statement/v2")),
            "statement.type",
            &["`https://in-toto.io/Statement/v2`", "https://in-toto.io/Statement/v1"],
        ),
        (changed(|value| value["subject"] = json!([])), "statement.subject", &["no subject"]),
        (
            changed(|value| value["subject"][1]["digest"] = json!({})),
            "statement.subject",
            &["subject 1", "no digest"],
        ),
        (
            changed(|value| value["predicateType"] = json!("https://slsa.dev/provenance/v0.1")),
            "statement.predicate_type",
            &["`https://slsa.dev/provenance/v0.1`", PROVENANCE_PREDICATE],
        ),
        (
            changed(|value| {
                drop(value["predicate"]["runDetails"].as_object_mut().unwrap().remove("builder"))
            }),
            "attestation.provenance.builder",
            &["`predicate.runDetails.builder.id`"],
        ),
        (
            Statement { builder: "https://ci.example/other".into(), ..Statement::default() }
                .signed(&builder()),
            "attestation.provenance.builder",
            &["builder", "`https://ci.example/other`", "`https://ci.example/builder@v1`"],
        ),
        (
            Statement::of(&[sha256("image-2"), sha256("x")]).signed(&builder()),
            "attestation.provenance.subject",
            &subjects,
        ),
    ];
    for (attachment, want, facts) in cases {
        let attachments = [Case::default().envelope(), attachment];
        let verdict = case(&attachments).judge();
        assert_eq!(codes(&verdict), [MISSING, "dsse.untrusted", want]);
        let Some(failure @ Failure::Attachment { place, .. }) = verdict.failures().last() else {
            panic!("{want}")
        };
        assert_eq!((place.attachment, place.line), (1, None));
        let message = failure.to_string();
        assert!(message.starts_with("attachment 1: "), "{message}");
        for fact in facts {
            assert!(message.contains(fact), "{want}: {message} does not say {fact}");
        }
        let [junk, attachment] = attachments;
        let passed = case(&[junk, attachment, good.clone()]).judge();
        assert_eq!(codes(&passed), [""; 0], "junk denies nothing");
        // What was passed over is in the record all the same.
        let report = serde_json::to_value(passed.report()).unwrap();
        let found: Vec<_> =
            report["attachments"].as_array().unwrap().iter().map(|row| &row["code"]).collect();
        assert_eq!(found, ["dsse.untrusted", want, "attestation.provenance.vouched"]);
    }
}

/// A builder's key that is not good for this, now: which of the reasons.
#[test]
fn a_builders_key_counts_only_within_its_scope() {
    let with = |change: &dyn Fn(&mut Case)| {
        let mut case = case(&[Statement::default().signed(&builder())]);
        change(&mut case);
        let verdict = case.judge();
        (codes(&verdict), verdict.failures().last().map(ToString::to_string).unwrap_or_default())
    };
    let fingerprint = builder_key().key.fingerprint();
    let (revoked, message) = with(&|case| case.form.revoked.keys = vec![fingerprint]);
    assert_eq!(revoked, [MISSING, "attestation.key.revoked"]);
    assert!(message.contains("builder key builder is revoked"), "{message}");
    for (not_before_ms, not_after_ms) in [(None, Some(Wall(NOW))), (Some(Wall(NOW + 1)), None)] {
        let window = Window { not_before_ms, not_after_ms };
        let (other_time, _) = with(&|case| case.form.keys[2].window = window);
        assert_eq!(other_time, [MISSING, "attestation.key.time"]);
    }
    let (predicate, message) =
        with(&|case| case.form.keys[2].predicates = vec!["https://slsa.dev/provenance/v0.2".into()]);
    assert_eq!(predicate, [MISSING, "statement.predicate_type"]);
    assert!(message.contains("`https://slsa.dev/provenance/v0.2`"), "{message}");
}

/// Nothing that a document says is repeated raw, and not more than a little of it.
#[test]
fn nothing_of_a_document_is_repeated_raw() {
    let hostile = format!("https://x/\u{1b}[31m\u{202e}\n`{}", "y".repeat(400));
    for attachment in [
        Statement { builder: hostile.clone(), ..Statement::default() }.signed(&builder()),
        changed(|value| value["predicateType"] = json!(hostile)),
        changed(|value| value["_type"] = json!(hostile)),
        sealed(b"{}", &hostile[..200]),
        bundle(&hostile, &Statement::default().signed(&builder()), key_material()),
    ] {
        let verdict = case(&[attachment]).judge();
        let message = verdict.failures().last().unwrap().to_string();
        assert!(message.is_ascii() && !message.bytes().any(|byte| byte.is_ascii_control()), "{message:?}");
        assert!(!message.contains(&"y".repeat(120)), "{message}");
        assert!(message.contains(r"\u{1b}") && message.contains(r"\n\u{60}"), "{message}");
    }
    // A list entry that cannot be read is named, and the list is not.
    let mut listed = case(&[]);
    listed.form.accept = vec![leasehold::attestation::EvidenceForm::Json];
    let document = String::from_utf8(listed.claims().to_document()).unwrap();
    for (from, to, want, facts) in [
        (
            "\"tool:hash\"",
            "\"tool:hash\",\"a b\"",
            "attestation.capabilities.malformed",
            ["entry 1,", "`a b`"],
        ),
        (
            "\"tools:hash/run@1.2.5\"",
            "\"tools:hash/run\",\"x\"",
            "attestation.wit.malformed",
            ["entry 0,", "`tools:hash/run`"],
        ),
    ] {
        let text = document.replace(from, to);
        let verdict = listed.judge_bytes(leasehold::attestation::EvidenceForm::Json, text.as_bytes());
        let failure = verdict.failures().iter().find(|failure| failure.code().as_str() == want).unwrap();
        assert!(facts.iter().all(|fact| failure.to_string().contains(fact)), "{failure}");
    }
}

/// More lines than are looked at: the rest is named as that.
#[test]
fn lines_are_counted_over_all_attachments() {
    let line = [b"{}".to_vec(), b"\n".to_vec()].concat();
    let verdict = case(&[line.repeat(20), line.repeat(20)]).judge();
    let last = verdict.failures().last().unwrap();
    let Failure::Attachment { place, reason } = last else { panic!("{last}") };
    assert_eq!((place.attachment, place.line), (1, Some(13)));
    assert!(matches!(reason, AttachmentError::TooMany(32)), "{reason}");
    assert_eq!(verdict.attachments().len(), 33);
    assert_eq!(judged(&[[&line.repeat(31)[..], &Statement::default().signed(&builder())].concat()]), [""; 0]);
}
