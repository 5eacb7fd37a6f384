//! Builders that are identities: what a verifier establishes is matched with the policy, and nothing is assumed without one.

use std::cell::Cell;

use leasehold::{
    attestation::{
        Appraisal, Appraiser, BuilderSigner, EvidenceForm, Submission,
        keyless::{BuilderIdentity, IdentityError, IdentityVerifier, KeylessBundle, VerifiedIdentity},
        policy::{ScopedIdentity, Window},
        reappraise,
        signature::{DefaultVerifier, Ed25519Signer},
    },
    code::Coded as _,
    digest::Sha256Digest,
    time::Wall,
};
use serde_json::Value;

use crate::{
    MISSING,
    attestation_support::{Case, NOW, codes, policy},
    case,
    published::{MEDIA_TYPES, Statement, bundle, certificate_material, key_material},
};

const ISSUER: &str = "https://token.actions.githubusercontent.com";
const WORKFLOW: &str = "https://github.com/acme/app/.github/workflows/release.yml@refs/tags/v1.2.3";

fn identity() -> BuilderIdentity {
    let identity = BuilderIdentity::new(ISSUER, WORKFLOW).unwrap();
    let identity = identity.with_repository("https://github.com/acme/app").unwrap();
    identity.with_workflow(WORKFLOW).unwrap().with_reference("refs/tags/v1.2.3").unwrap()
}

/// Says of every bundle what it was told to, about the payload that it finds there or another.
struct Says {
    answer: Result<BuilderIdentity, IdentityError>,
    same_payload: bool,
    asked: Cell<usize>,
}

impl Says {
    fn new(answer: Result<BuilderIdentity, IdentityError>) -> Self {
        Self { answer, same_payload: true, asked: Cell::new(0) }
    }
}

impl IdentityVerifier for Says {
    fn verify(&self, bundle: &KeylessBundle<'_>) -> Result<VerifiedIdentity, IdentityError> {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        self.asked.set(self.asked.get() + 1);
        assert_eq!(bundle.now, Wall(NOW));
        let value: Value = serde_json::from_slice(bundle.bytes).unwrap();
        let payload = STANDARD.decode(value["dsseEnvelope"]["payload"].as_str().unwrap()).unwrap();
        let payload = if self.same_payload { payload } else { b"another".to_vec() };
        self.answer.clone().map(|identity| VerifiedIdentity { identity, payload: Sha256Digest::of(&payload) })
    }
}

fn scoped() -> ScopedIdentity {
    ScopedIdentity {
        issuer: ISSUER.into(),
        owner: "release".into(),
        subjects: Vec::new(),
        repositories: vec!["https://github.com/acme/app".into()],
        workflows: vec!["https://github.com/acme/app/.github/workflows/release.yml@*".into()],
        refs: vec!["refs/tags/*".into()],
        predicates: vec!["https://slsa.dev/provenance/v1".into()],
        builders: vec!["https://ci.example/builder@*".into()],
        window: Window::default(),
    }
}

fn keyless() -> Case {
    let nobody = Ed25519Signer::from_seed("short-lived", &[77; 32]);
    let envelope = Statement::default().signed(&nobody);
    let mut case = case(&[bundle(MEDIA_TYPES[3], &envelope, certificate_material())]);
    case.form.keys.pop();
    case.form.identities = vec![scoped()];
    case
}

fn judge(case: &Case, verifier: Option<&Says>) -> Appraisal {
    let attachments: Vec<&[u8]> = case.attachments.iter().map(Vec::as_slice).collect();
    let bytes = case.envelope();
    let submission = Submission { form: EvidenceForm::Dsse, bytes: &bytes, attachments: &attachments };
    let policy = policy(case.form.clone());
    let mut appraiser = Appraiser::new(&policy, &DefaultVerifier);
    appraiser.identities = verifier.map(|verifier| verifier as &dyn IdentityVerifier);
    appraiser.appraise(&submission, &case.context()).0
}

#[test]
fn an_identity_of_the_policy_is_a_builder() {
    let says = Says::new(Ok(identity()));
    let verdict = judge(&keyless(), Some(&says));
    assert_eq!((codes(&verdict), says.asked.get()), (vec![], 1));
    let facts = verdict.accepted().unwrap().facts().clone();
    assert_eq!(facts.profile.builders[0].by, BuilderSigner::Identity(identity()));
    // It is judged again with the policy, without the bundle.
    let again = |change: fn(&mut Case)| {
        let mut case = keyless();
        change(&mut case);
        reappraise(&facts, &policy(case.form), Wall(NOW)).is_ok()
    };
    assert!(again(|_| ()));
    assert!(!again(|case| case.form.identities[0].refs = vec!["refs/heads/main".into()]));
    assert!(!again(|case| case.form.identities[0].builders = vec!["https://ci.example/2".into()]));
    assert!(!again(|case| case.form.identities[0].window.not_after_ms = Some(Wall(NOW))));
    // What is stored comes back as it was.
    let bytes = postcard::to_allocvec(&facts).unwrap();
    assert_eq!(postcard::from_bytes::<leasehold::attestation::EvidenceFacts>(&bytes).unwrap(), facts);
}

#[test]
fn an_identity_counts_only_within_its_scope() {
    let with = |change: &dyn Fn(&mut Case)| {
        let mut case = keyless();
        change(&mut case);
        codes(&judge(&case, Some(&Says::new(Ok(identity())))))
    };
    let scope = |change: &dyn Fn(&mut ScopedIdentity)| with(&|case| change(&mut case.form.identities[0]));
    let unknown = [MISSING, "keyless.identity.unknown"];
    assert_eq!(scope(&|scope| scope.issuer = "https://other.example".into()), unknown);
    assert_eq!(scope(&|scope| scope.subjects = vec!["https://github.com/acme/other/*".into()]), unknown);
    assert_eq!(scope(&|scope| scope.repositories = vec!["https://github.com/acme/other".into()]), unknown);
    assert_eq!(scope(&|scope| scope.workflows = vec![WORKFLOW.replace("v1.2.3", "v2")]), unknown);
    assert_eq!(scope(&|scope| scope.refs = vec!["refs/heads/*".into()]), unknown);
    assert_eq!(
        scope(&|scope| scope.window.not_after_ms = Some(Wall(NOW))),
        [MISSING, "keyless.identity.time"]
    );
    assert_eq!(
        scope(&|scope| scope.builders = vec!["https://ci.example/2".into()]),
        [MISSING, "attestation.provenance.builder"]
    );
    assert_eq!(
        scope(&|scope| scope.predicates = vec!["https://slsa.dev/provenance/v0.2".into()]),
        [MISSING, "statement.predicate_type"]
    );
}

/// Every refusal of a verifier is the attachment's reason; without one, or without a certificate, nothing is believed.
#[test]
fn nothing_is_assumed_without_a_verified_identity() {
    for (error, want) in [
        (IdentityError::RootMissing, "keyless.root.missing"),
        (IdentityError::RootExpired, "keyless.root.expired"),
        (IdentityError::UnknownLog, "keyless.log.unknown"),
        (IdentityError::Signature("x".into()), "keyless.signature"),
        (IdentityError::Malformed("subject"), "keyless.identity.malformed"),
    ] {
        assert_eq!(error.code().as_str(), want);
        assert_eq!(codes(&judge(&keyless(), Some(&Says::new(Err(error))))), [MISSING, want]);
    }
    assert_eq!(codes(&judge(&keyless(), None)), [MISSING, "keyless.no_verifier"]);
    let lies = Says { same_payload: false, ..Says::new(Ok(identity())) };
    assert_eq!(codes(&judge(&keyless(), Some(&lies))), [MISSING, "keyless.other_payload"]);
    // A bundle without a certificate, a bare envelope, and a policy without identities never ask.
    let says = Says::new(Ok(identity()));
    let mut case = keyless();
    let envelope: Value = serde_json::from_slice(&case.attachments[0]).unwrap();
    let envelope = serde_json::to_vec(&envelope["dsseEnvelope"]).unwrap();
    case.attachments = vec![bundle(MEDIA_TYPES[3], &envelope, key_material()), envelope];
    assert_eq!(codes(&judge(&case, Some(&says))), [MISSING, "dsse.untrusted", "dsse.untrusted"]);
    let mut case = keyless();
    case.form.keys.push(crate::builder_key());
    case.form.identities.clear();
    assert_eq!(codes(&judge(&case, Some(&says))), [MISSING, "dsse.untrusted"]);
    assert_eq!(says.asked.get(), 0);
    assert!(BuilderIdentity::new("", "x").is_err() && BuilderIdentity::new(&"x".repeat(1025), "x").is_err());
}

/// The verification of an identity counts as eight signature checks of the submission's budget.
#[test]
fn identities_are_charged_to_the_submission() {
    let mut case = keyless();
    let line = [&case.attachments[0][..], b"\n"].concat();
    case.attachments = vec![line.repeat(32)];
    case.form.provenance.as_mut().unwrap().max_bytes = Some(1 << 20);
    let says = Says::new(Ok(identity()));
    let verdict = judge(&case, Some(&says));
    assert_eq!(codes(&verdict), [""; 0]);
    assert_eq!(says.asked.get(), 31, "256 less the two of evidence and binding, by eight");
    let last = verdict.attachments().last().unwrap().outcome.as_ref().unwrap_err();
    assert_eq!(last.code().as_str(), "dsse.verifications");
}
