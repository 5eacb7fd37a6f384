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

#[test]
fn a_summary_that_does_not_hold_is_refused() {
    let verdict = Case::default().judge();
    let bytes = seal_summary(verdict.accepted().unwrap(), VERIFIER, Wall(NOW), &[&fleet_key()]).unwrap();
    let payload: Value = {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        let envelope: Value = serde_json::from_slice(&bytes).unwrap();
        serde_json::from_slice(&STANDARD.decode(envelope["payload"].as_str().unwrap()).unwrap()).unwrap()
    };
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
