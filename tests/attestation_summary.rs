//! The portable verdict: written, read back, and refused where any step of its verification does not hold.

mod attestation_support;

use attestation_support::{Case, NOW, digest};
use leasehold::{
    attestation::{
        SUMMARY_LEVEL, SummaryError, SummaryTrust, VerificationSummary,
        dsse::{TrustRoot, seal},
        evidence::PAYLOAD_TYPE,
        policy::{Label, Rule},
        seal_summary,
        signature::{DefaultVerifier, Ed25519Signer},
    },
    code::Coded as _,
    time::Wall,
};
use serde_json::{Value, json};

const VERIFIER: &str = "https://fleet.example/leasehold";

fn fleet_key() -> Ed25519Signer {
    Ed25519Signer::from_seed("fleet", &[6; 32])
}

fn open(bytes: &[u8], worker: &str, now: u64) -> Result<VerificationSummary, SummaryError> {
    let root = TrustRoot::new([fleet_key().trusted_key("fleet").unwrap()], 1).unwrap();
    let trust = SummaryTrust { root: &root, verifier: VERIFIER, signatures: &DefaultVerifier };
    trust.open(bytes, &"f1".parse().unwrap(), &worker.parse().unwrap(), Wall(now))
}

#[test]
fn a_summary_says_what_was_accepted() {
    let verdict = Case::default().judge();
    let accepted = verdict.accepted().unwrap();
    let bytes = seal_summary(accepted, VERIFIER, Wall(NOW), &[&fleet_key()]).unwrap();
    let summary = open(&bytes, "w1", NOW).unwrap();
    assert_eq!((summary.verified, summary.valid_until), (Wall(NOW), accepted.valid_until()));
    assert_eq!((summary.policy, summary.evidence), (accepted.policy(), accepted.evidence()));
    let names = ["image", "build", "artifact"].map(|name| (name.to_owned(), digest(&format!("{name}-1"))));
    assert_eq!(summary.subjects, names);
    assert_eq!(open(&bytes, "w2", NOW).unwrap_err().code().as_str(), "summary.resource");
    let end = accepted.valid_until();
    assert_eq!(open(&bytes, "w1", end.0), Err(SummaryError::Expired(end)));
}

/// What a summary's envelope holds.
fn payload(bytes: &[u8]) -> Value {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let envelope: Value = serde_json::from_slice(bytes).unwrap();
    serde_json::from_slice(&STANDARD.decode(envelope["payload"].as_str().unwrap()).unwrap()).unwrap()
}

/// Member by member what slsa.dev/spec/v1.0/verification_summary asks for, and no member besides but extensions by URI.
#[test]
fn a_summary_has_the_members_of_the_specification() {
    let verdict = Case::default().judge();
    let accepted = verdict.accepted().unwrap();
    let statement = payload(&seal_summary(accepted, VERIFIER, Wall(NOW), &[&fleet_key()]).unwrap());
    assert_eq!(statement["_type"], "https://in-toto.io/Statement/v1");
    assert_eq!(statement["predicateType"], "https://slsa.dev/verification_summary/v1");
    let subjects = statement["subject"].as_array().unwrap();
    assert!(!subjects.is_empty() && subjects.iter().all(|subject| subject["digest"]["sha256"].is_string()));
    let uri = |value: &Value| {
        let (scheme, rest) = value.as_str().unwrap().split_once(':').expect("a scheme");
        assert!(scheme.starts_with(|first: char| first.is_ascii_lowercase()) && !rest.is_empty(), "{value}");
    };
    let digest =
        |value: &Value| assert_eq!(value["digest"]["sha256"].as_str().map(str::len), Some(64), "{value}");
    for (name, value) in statement["predicate"].as_object().unwrap() {
        match name.as_str() {
            "verifier" => uri(&value["id"]),
            "timeVerified" => assert_eq!(value, "2025-11-24T16:00:00.000Z"),
            "resourceUri" => uri(value),
            "policy" => {
                uri(&value["uri"]);
                digest(value);
            }
            "inputAttestations" => value.as_array().unwrap().iter().for_each(digest),
            "verificationResult" => assert_eq!(value, "PASSED"),
            "verifiedLevels" => {
                assert!(
                    value
                        .as_array()
                        .unwrap()
                        .iter()
                        .all(|level| !level.as_str().unwrap().starts_with("SLSA_"))
                );
            }
            "slsaVersion" => assert_eq!(value, "1.0"),
            extension => uri(&json!(extension)),
        }
    }
    let predicate = statement["predicate"].as_object().unwrap();
    for required in
        ["verifier", "timeVerified", "resourceUri", "policy", "verificationResult", "verifiedLevels"]
    {
        assert!(predicate.contains_key(required), "{required}");
    }
    for verifier in ["", "fleet", "https://a b", ":x", "1https://x"] {
        let refused = seal_summary(accepted, verifier, Wall(NOW), &[&fleet_key()]).unwrap_err();
        assert_eq!(
            (refused.clone(), refused.code().as_str()),
            (SummaryError::VerifierUri, "summary.verifier")
        );
    }
}

/// Every attestation that was used is an input: the evidence, which its egress binding is a part of, and the statements of
/// builders that count.
#[test]
fn a_summary_names_every_attestation_that_was_used() {
    let builder = Ed25519Signer::from_seed("builder", &[3; 32]);
    let statement = |name: &str| {
        serde_json::to_vec(&json!({
            "_type": "https://in-toto.io/Statement/v1", "predicateType": "https://slsa.dev/provenance/v1",
            "subject": [{"digest": {"sha256": digest(name).to_string()}}],
            "predicate": {"runDetails": {"builder": {"id": "https://ci.example/1"}}},
        }))
        .unwrap()
    };
    let payloads = ["image-1", "build-1", "other", "image-1"].map(statement);
    let mut case = Case::default();
    let mut key =
        attestation_support::scoped(&builder, "ci", leasehold::attestation::policy::KeyRole::Builder);
    key.predicates = vec!["https://slsa.dev/provenance/v1".into()];
    key.builders = vec!["https://ci.example/1".into()];
    case.form.keys.push(key);
    case.form.provenance = Some(leasehold::attestation::policy::ProvenanceRule::new(1));
    case.attachments =
        payloads.iter().map(|payload| seal(PAYLOAD_TYPE, payload, &[&builder]).unwrap()).collect();
    let verdict = case.judge();
    let bytes = seal_summary(verdict.accepted().unwrap(), VERIFIER, Wall(NOW), &[&fleet_key()]).unwrap();
    let summary = open(&bytes, "w1", NOW).unwrap();
    let [image, build, ..] = payloads;
    assert_eq!(
        summary.statements,
        [image, build].map(|payload| leasehold::digest::Sha256Digest::of(&payload))
    );
    assert_eq!(payload(&bytes)["predicate"]["inputAttestations"].as_array().unwrap().len(), 3);
}

#[test]
fn a_summary_that_does_not_hold_is_refused() {
    let verdict = Case::default().judge();
    let bytes = seal_summary(verdict.accepted().unwrap(), VERIFIER, Wall(NOW), &[&fleet_key()]).unwrap();
    let payload = payload(&bytes);
    let with = |change: &dyn Fn(&mut Value)| {
        let mut payload = payload.clone();
        change(&mut payload);
        let bytes = seal(PAYLOAD_TYPE, &serde_json::to_vec(&payload).unwrap(), &[&fleet_key()]).unwrap();
        open(&bytes, "w1", NOW).map_or_else(|error| error.code().as_str(), |_| "")
    };
    assert_eq!(with(&|_| ()), "");
    assert_eq!(with(&|v| v["predicate"]["unknown"] = json!(1)), "");
    assert_eq!(
        with(&|v| v["predicate"]["verifier"]["id"] = json!("https://other.example")),
        "summary.verifier"
    );
    assert_eq!(with(&|v| v["predicate"]["verificationResult"] = json!("FAILED")), "summary.not_passed");
    assert_eq!(with(&|v| v["predicate"]["verificationResult"] = json!("passed")), "summary.not_passed");
    assert_eq!(
        with(&|v| v["predicate"]["verifiedLevels"] = json!(["SLSA_BUILD_LEVEL_3"])),
        "summary.not_passed"
    );
    assert_eq!(with(&|v| v["predicate"]["timeVerified"] = json!("2025-02-30T00:00:00Z")), "summary.time");
    assert_eq!(with(&|v| v["predicate"]["policy"]["digest"] = json!({})), "summary.digest");
    assert_eq!(with(&|v| v["predicate"]["inputAttestations"] = json!([])), "summary.digest");
    for uri in [Value::Null, json!(""), json!("no-scheme"), json!("a b:c")] {
        assert_eq!(with(&|v| v["predicate"]["policy"]["uri"] = uri.clone()), "summary.policy");
    }
    assert_eq!(
        with(&|v| v["predicateType"] = json!("https://slsa.dev/provenance/v1")),
        "statement.predicate_type"
    );
    assert_eq!(with(&|v| v["subject"][0]["digest"]["sha256"] = json!("AA")), "summary.digest");
    let stranger = Ed25519Signer::from_seed("fleet", &[9; 32]);
    let forged = seal(PAYLOAD_TYPE, &serde_json::to_vec(&payload).unwrap(), &[&stranger]).unwrap();
    assert_eq!(open(&forged, "w1", NOW).unwrap_err().code().as_str(), "dsse.untrusted");
    assert!(String::from_utf8(serde_json::to_vec(&payload).unwrap()).unwrap().contains(SUMMARY_LEVEL));
}

#[test]
fn nothing_measured_makes_no_summary() {
    let mut case = Case::default();
    let waived = || Rule::Waived { reason: Label::new("development").unwrap() };
    case.form.accept = vec![leasehold::attestation::EvidenceForm::Json];
    (case.form.image, case.form.build, case.form.artifact) = (waived(), waived(), waived());
    let mut document: Value = serde_json::from_slice(&case.claims().to_document()).unwrap();
    for name in ["image", "build", "artifact"] {
        document.as_object_mut().unwrap().remove(name);
    }
    let bytes = serde_json::to_vec(&document).unwrap();
    let verdict = case.judge_bytes(leasehold::attestation::EvidenceForm::Json, &bytes);
    let accepted = verdict.accepted().unwrap();
    assert_eq!(accepted.image(), None);
    let summary = seal_summary(accepted, VERIFIER, Wall(NOW), &[&fleet_key()]);
    assert_eq!(summary, Err(SummaryError::NoSubject));
}
