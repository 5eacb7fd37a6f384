//! Every published shape is read.

use leasehold::attestation::{
    EvidenceForm, Measurement, PROVENANCE_PREDICATE, PROVENANCE_PREDICATE_V02,
    dsse::seal as seal_document,
    evidence::PAYLOAD_TYPE,
    policy::{KeyRole, ProvenanceRule, Rule},
    signature::Ed25519Signer,
};
use serde_json::{Value, json};

use crate::{
    MISSING,
    attestation_support::{builder, codes, digest, launcher, scoped},
    builder_key, case, judged,
    published::{MEDIA_TYPES, Statement, bundle, key_material, long, seal, sha256, sha512, url_safe},
};

fn stranger() -> Ed25519Signer {
    Ed25519Signer::from_seed("stranger", &[9; 32])
}

#[test]
fn every_published_shape_counts() {
    let (builder, stranger) = (builder(), stranger());
    let mut shapes = 0;
    for kind in ["https://in-toto.io/Statement/v0.1", "https://in-toto.io/Statement/v1"] {
        for predicate_type in [PROVENANCE_PREDICATE_V02, PROVENANCE_PREDICATE] {
            let statement = Statement { kind, predicate_type, ..Statement::default() };
            let long_id = "k".repeat(118);
            for keyid in [json!("absent"), json!(null), json!(""), json!("builder"), json!(long_id)] {
                let bytes = statement.bytes();
                let one = seal(&bytes, PAYLOAD_TYPE, &[(&builder, keyid.clone())]);
                let two = seal(&bytes, PAYLOAD_TYPE, &[(&stranger, json!("")), (&builder, keyid)]);
                let mut containers = vec![one.clone(), two, url_safe(&one), [&one[..], b"\n"].concat()];
                containers.extend(MEDIA_TYPES.map(|kind| bundle(kind, &one, key_material())));
                let lines = [&containers[0][..], b"\n", &containers[4], b"\r\n\n", b"junk\n"].concat();
                containers.push(lines);
                for container in containers {
                    assert_eq!(judged(&[container]), [""; 0], "{kind} {predicate_type}");
                    shapes += 1;
                }
            }
        }
    }
    assert_eq!(shapes, 2 * 2 * 5 * 9);
}

/// Statements add up: each measurement counts in any statement of any trusted builder.
#[test]
fn statements_add_up() {
    let (image, build) = (Statement::of(&[sha256("image-1")]), Statement::of(&[sha256("build-1")]));
    let builder = builder();
    assert_eq!(judged(&[image.signed(&builder), build.signed(&builder)]), [""; 0]);
    assert_eq!(judged(&[image.signed(&builder)]), [MISSING]);
    assert_eq!(judged(&[build.signed(&builder)]), [MISSING]);
    let lines = [image.signed(&builder), build.signed(&builder)].join(&b'\n');
    assert_eq!(judged(&[lines]), [""; 0]);
    // Another builder vouches for the rest; each measurement needs the threshold on its own.
    let second = Ed25519Signer::from_seed("second", &[4; 32]);
    let mut two = case(&[image.signed(&builder), build.signed(&second)]);
    two.form.keys.push(leasehold::attestation::policy::ScopedKey {
        builders: builder_key().builders,
        predicates: builder_key().predicates,
        ..scoped(&second, "other", KeyRole::Builder)
    });
    assert_eq!(codes(&two.judge()), [""; 0]);
    two.form.provenance = Some(ProvenanceRule::new(2));
    assert_eq!(codes(&two.judge()), [MISSING]);
    two.attachments.push(Statement::default().signed(&second));
    assert_eq!(codes(&two.judge()), [MISSING], "the build has one owner");
    two.attachments.push(Statement::default().signed(&builder));
    assert_eq!(codes(&two.judge()), [""; 0]);
}

/// What builders must vouch for is what the policy says: what it names, or image and build without what it waives.
#[test]
fn the_policy_says_what_is_vouched_for() {
    let waived =
        || Rule::Waived { reason: leasehold::attestation::policy::Label::new("not recorded").unwrap() };
    let artifact = Statement::of(&[sha256("artifact-1")]).signed(&builder());
    let image = Statement::of(&[sha256("image-1")]).signed(&builder());
    let with = |attachment: &[u8], of: &[Measurement], waive: bool| {
        let mut case = case(&[attachment.to_vec()]);
        case.form.provenance = Some(ProvenanceRule { of: of.to_vec(), ..ProvenanceRule::new(1) });
        if waive {
            case.form.build = waived();
        }
        codes(&case.judge())
    };
    assert_eq!(with(&artifact, &[Measurement::Artifact], false), [""; 0]);
    assert_eq!(with(&image, &[Measurement::Artifact], false), [MISSING, "attestation.provenance.subject"]);
    assert_eq!(with(&image, &[], true), [""; 0], "a waived measurement is not asked for");
    assert_eq!(
        with(&image, &[Measurement::Image, Measurement::Build], true),
        [MISSING],
        "unless it is named"
    );
    let mut both = case(&[image]);
    (both.form.image, both.form.build) = (waived(), waived());
    assert_eq!(codes(&both.judge()), [MISSING], "where both are waived, both are asked for");
}

/// A subject that is named by its SHA-512 alone is what the evidence gives that SHA-512 for, in both forms; a digest that
/// both sides state must be the same.
#[test]
fn subjects_may_be_named_by_sha512() {
    let provenance = |subject: Value| Statement::of(&[subject, sha256("build-1")]).signed(&builder());
    let both = |long: String| json!({"name": "x", "digest": {"sha256": digest("image-1").to_string(), "sha512": long}});
    for (subject, want) in [
        (sha512("image-1"), true),
        (sha512("image-2"), false),
        (both(long("image-1")), true),
        (both(long("image-2")), false),
        (sha256("image-1"), true),
    ] {
        let mut case = case(&[provenance(subject.clone())]);
        let mut statement: Value = serde_json::from_slice(&case.claims().to_statement()).unwrap();
        statement["subject"][0]["digest"]["sha512"] = json!(long("image-1"));
        let statement = serde_json::to_vec(&statement).unwrap();
        let envelope = seal_document(PAYLOAD_TYPE, &statement, &[&launcher()]).unwrap();
        let verdict = case.judge_bytes(EvidenceForm::Dsse, &envelope);
        assert_eq!(verdict.accepted().is_some(), want, "{subject}: {:?}", verdict.failures());
        let mut document: Value = serde_json::from_slice(&case.claims().to_document()).unwrap();
        document["image_sha512"] = json!(long("image-1"));
        case.form.accept = vec![EvidenceForm::Json];
        let verdict = case.judge_bytes(EvidenceForm::Json, &serde_json::to_vec(&document).unwrap());
        assert_eq!(verdict.accepted().is_some(), want, "{subject}: {:?}", verdict.failures());
        // Without the claim nothing says what the SHA-512 is of.
        let bare = case.judge_bytes(EvidenceForm::Json, &case.claims().to_document());
        let short = subject["digest"].get("sha256").is_some();
        assert_eq!(bare.accepted().is_some(), short, "{subject}");
    }
}

/// Protobuf's JSON writes whole numbers as doubles: `1763999999000.0` is whole up to 2^53, and nothing else with a point is.
#[test]
fn whole_numbers_may_be_written_as_doubles() {
    let mut case = case(&[Statement::default().signed(&builder())]);
    case.form.accept = vec![EvidenceForm::Json];
    let document = String::from_utf8(case.claims().to_document()).unwrap();
    let with = |issued: &str| {
        let text =
            document.replace(r#""issued_at_ms":1763999999000"#, &format!(r#""issued_at_ms":{issued}"#));
        assert_ne!(issued == "1763999999000", text != document, "{issued}");
        codes(&case.judge_bytes(EvidenceForm::Json, text.as_bytes()))
    };
    for good in ["1763999999000", "1763999999000.0", "1763999999000.000"] {
        assert_eq!(with(good), [""; 0], "{good}");
    }
    for bad in ["1763999999000.5", "1763999999000.01", "1.763999999e12", "9007199254740994.0", "-1.0", "1e3"]
    {
        assert_eq!(with(bad), ["json.shape"], "{bad}");
    }
    let most = with("9007199254740992.0");
    assert!(most.contains(&"attestation.from_future"), "read, and in the future: {most:?}");
    let range = document.replace(r#""min":1"#, r#""min":1.0"#);
    assert_eq!(codes(&case.judge_bytes(EvidenceForm::Json, range.as_bytes())), [""; 0]);
}

/// How deep evidence may be says nothing about provenance: bundles and predicates are nested deeper than any evidence.
#[test]
fn evidence_that_must_be_flat_leaves_provenance_as_it_is() {
    let mut case = case(&[bundle(MEDIA_TYPES[3], &Statement::default().signed(&builder()), key_material())]);
    case.form.limits.depth = 4;
    assert_eq!(codes(&case.judge()), [""; 0]);
}
