//! Policies: what does not build, what is warned about, and that a policy is one value.

mod attestation_support;

use attestation_support::{Case, NOW, codes, digest, form, launcher, policy, proxy, references, scoped};
use leasehold::{
    attestation::{
        AttestationPolicy, EvidenceForm, ProtocolRange,
        evidence::EvidenceLimits,
        policy::{
            AttestationPolicyForm, KeyRole, Label, ProtocolRule, ProvenanceRule, ReferenceSet, Rule, Window,
            WorkerPattern,
        },
        signature::{DefaultVerifier, Ed25519Signer},
        strict::StrictErrorKind,
    },
    capability::CapabilitySet,
    code::Coded as _,
    time::{Millis, Wall},
};
use serde_json::{Value, json};

type Change = fn(&mut AttestationPolicyForm);

#[test]
fn a_policy_that_contradicts_itself_does_not_build() {
    let cases: &[(&str, Change)] = &[
        ("no form", |form| form.accept = Vec::new()),
        ("a form twice", |form| form.accept = vec![EvidenceForm::Dsse; 2]),
        ("no signatures at all", |form| form.limits.signatures = 0),
        ("longer ids than there are", |form| form.limits.id_bytes = 129),
        ("larger envelopes than are read", |form| form.limits.bytes = (64 << 10) + 1),
        ("deeper than is read", |form| form.limits.depth = 33),
        ("more capabilities than there are", |form| form.limits.capabilities = 65),
        ("no age", |form| form.times.max_age_ms = Millis::ZERO),
        ("no lifetime", |form| form.times.max_lifetime_ms = Millis::ZERO),
        ("skew over lifetime", |form| form.times.future_skew_ms = form.times.max_lifetime_ms),
        ("expiry skew over lifetime", |form| form.times.expiry_skew_ms = form.times.max_lifetime_ms),
        ("threshold 0", |form| form.threshold = 0),
        ("threshold beyond its owners", |form| form.threshold = 3),
        ("one key, two owners", |form| form.keys.push(scoped(&launcher(), "thief", KeyRole::Builder))),
        ("a key without a role", |form| form.keys[0].roles = Vec::new()),
        ("a key that ends before it begins", |form| {
            form.keys[0].window = Window { not_before_ms: Some(Wall(2)), not_after_ms: Some(Wall(2)) };
        }),
        ("too many keys", |form| form.keys = vec![form.keys[0].clone(); 129]),
        ("provenance without builders", |form| form.provenance = Some(ProvenanceRule::new(1))),
        ("provenance of nobody", |form| form.provenance = Some(ProvenanceRule::new(0))),
    ];
    for (name, change) in cases {
        let mut changed = form();
        change(&mut changed);
        let error = AttestationPolicy::try_from(changed).expect_err(name);
        assert_eq!(error.code().as_str(), "attestation.policy.invalid", "{name}");
    }
}

#[test]
fn a_policy_file_is_read_strictly() {
    let good = serde_json::to_value(policy(form())).unwrap();
    let read = |value: &Value| AttestationPolicy::from_json(&serde_json::to_vec(value).unwrap());
    assert_eq!(read(&good).unwrap(), policy(form()));
    let text = serde_json::to_string(&good).unwrap();
    let twice = text.replacen('{', "{\"accept\":[\"json\"],", 1);
    assert_eq!(
        AttestationPolicy::from_json(twice.as_bytes()).unwrap_err().kind,
        StrictErrorKind::DuplicateKey
    );
    for (path, value) in [
        ("/unknown", json!(1)),
        ("/times/unknown", json!(1)),
        ("/accept/0", json!("plain")),
        ("/keys/0/roles/0", json!("root")),
        ("/keys/0/workers/0", json!("a*b")),
        ("/keys/0/key/algorithm", json!("none")),
        ("/image/require/values/0/label", json!("")),
        ("/image", json!({"waived": {}})),
        ("/image", json!({"waived": {"reason": ""}})),
        ("/image", json!("any")),
        ("/times", json!([60000, 3600000, 2000, 1000])),
        ("/wit/require/0/minimum", json!("tools:hash/run")),
    ] {
        let mut changed = good.clone();
        match changed.pointer_mut(path) {
            Some(slot) => *slot = value,
            None => {
                let (parent, name) = path.rsplit_once('/').unwrap();
                changed.pointer_mut(parent).unwrap()[name] = value;
            }
        }
        assert_eq!(read(&changed).expect_err(path).kind, StrictErrorKind::Shape, "{path}");
    }
}

/// The digest is the policy: equal for equal content in any order of references, different for any change.
#[test]
fn the_digest_is_the_policy() {
    let of = |form| policy(form).digest();
    assert_eq!(of(form()), of(form()));
    let mut turned = form();
    turned.image = references(&["image-2", "image-1"]);
    assert_eq!(of(turned), of(form()));
    let mut revoked = form();
    revoked.revoked.keys.push(digest("key"));
    assert_ne!(of(revoked), of(form()));
    let bytes = postcard::to_allocvec(&policy(form())).unwrap();
    assert_eq!(postcard::from_bytes::<AttestationPolicy>(&bytes).unwrap(), policy(form()));
}

#[test]
fn the_linter_names_what_is_useless_or_dangerous() {
    let lint = |change: Change| {
        let mut form = form();
        change(&mut form);
        let warnings = policy(form).lint(Wall(NOW));
        warnings.iter().map(|warning| warning.code().as_str()).collect::<Vec<_>>()
    };
    assert_eq!(lint(|_| ()), [""; 0]);
    let cases: &[(&str, Change)] = &[
        ("attestation.lint.unsigned", |form| form.accept.push(EvidenceForm::Json)),
        ("attestation.lint.lifetime", |form| form.times.max_lifetime_ms = Millis::from_secs(700_000)),
        ("attestation.lint.skew", |form| form.times.future_skew_ms = Millis::from_secs(301)),
        ("attestation.lint.waived", |form| form.wit = Rule::Waived { reason: Label::new("x").unwrap() }),
        ("attestation.lint.no_reference", |form| form.image = Rule::default()),
        ("attestation.lint.no_reference", |form| form.protocol = Rule::default()),
        ("attestation.lint.no_reference", |form| form.wit = Rule::default()),
        ("attestation.lint.no_reference", |form| form.egress = Rule::default()),
        ("attestation.lint.unreachable", |form| form.keys[0].workers = Vec::new()),
        ("attestation.lint.unreachable", |form| form.keys[0].predicates = Vec::new()),
        ("attestation.lint.unreachable", |form| {
            let range = ProtocolRange::new(2, 3).unwrap();
            form.protocol = Rule::Require(Some(ProtocolRule { range, denied: vec![2, 3] }));
        }),
        ("attestation.lint.allowed_and_denied", |form| {
            let Rule::Require(set) = references(&["image-1"]) else { return };
            let values = set.values().to_vec();
            form.image = Rule::Require(ReferenceSet::new(values, vec![digest("image-1")]).unwrap());
        }),
        ("attestation.lint.allowed_and_denied", |form| {
            form.revoked.keys.push(launcher().trusted_key("node").unwrap().fingerprint());
        }),
        ("attestation.lint.expired", |form| form.keys[0].window.not_after_ms = Some(Wall(NOW))),
        ("attestation.lint.roles", |form| form.keys[0].roles.push(KeyRole::EgressProxy)),
    ];
    for (want, change) in cases {
        assert!(lint(*change).contains(want), "{want}: {:?}", lint(*change));
    }
}

/// Every size is refused one above its limit and taken at it, with the limits where a policy puts them.
#[test]
fn a_policy_lowers_the_sizes_of_evidence() {
    let mut case = Case::default();
    case.claims.capabilities = CapabilitySet::parse(["tool:hash", "os:linux"]).unwrap();
    let (second, third) = (Ed25519Signer::from_seed("x", &[8; 32]), Ed25519Signer::from_seed("y", &[9; 32]));
    let envelope = case.claims().seal(&[&case.signer, &second, &third]).unwrap();
    let mut judge = |limits| {
        case.form.limits = limits;
        codes(&case.judge_bytes(EvidenceForm::Dsse, &envelope))
    };
    type Limit = fn(&mut EvidenceLimits) -> &mut u32;
    let bytes = u32::try_from(envelope.len()).unwrap();
    let cases: &[(&str, Limit, u32, &[&str])] = &[
        ("bytes", |limits| &mut limits.bytes, bytes, &["json.too_large"]),
        // Statement, subjects, subject, digest.
        ("depth", |limits| &mut limits.depth, 4, &["json.too_deep"]),
        ("signatures", |limits| &mut limits.signatures, 3, &["dsse.too_many_signatures"]),
        ("capabilities", |limits| &mut limits.capabilities, 2, &["attestation.capabilities.malformed"]),
        (
            "ids",
            |limits| &mut limits.id_bytes,
            2,
            &[
                "attestation.worker.malformed",
                "attestation.device.malformed",
                "attestation.audience.malformed",
            ],
        ),
    ];
    for (name, limit, most, refusal) in cases {
        let mut limits = EvidenceLimits::DEFAULT;
        *limit(&mut limits) = *most;
        assert_eq!(judge(limits), Vec::<&str>::new(), "{name}");
        *limit(&mut limits) = most - 1;
        assert_eq!(judge(limits), *refusal, "{name}");
    }
}

#[test]
fn keys_are_checked_against_the_back_end_when_a_policy_is_loaded() {
    assert_eq!(policy(form()).check_keys(&DefaultVerifier), Ok(()));
    // Half of all coordinates belong to no point: find one, and see that it is found.
    let bad = (3u8..).find_map(|low| {
        let mut bytes = [0; 32];
        bytes[0] = low;
        let key = leasehold::attestation::signature::TrustedKey::new(
            "bad",
            leasehold::attestation::signature::Algorithm::Ed25519,
            &bytes,
            "node",
        );
        let mut form = form();
        form.keys[0].key = key.ok()?;
        policy(form).check_keys(&DefaultVerifier).err()
    });
    assert_eq!(bad.unwrap().code().as_str(), "signature.key.malformed");
    assert_eq!(Ed25519Signer::from_seed("x", &[2; 32]).public_key(), proxy().public_key());
}

#[test]
fn a_worker_pattern_has_its_star_at_the_end_only() {
    for bad in ["", "**", "*a", "a*b", "A*", "a b"] {
        assert!(bad.parse::<WorkerPattern>().is_err(), "{bad}");
    }
    let pattern: WorkerPattern = "w1".parse().unwrap();
    assert!(pattern.matches(&"w1".parse().unwrap()) && !pattern.matches(&"w12".parse().unwrap()));
}
