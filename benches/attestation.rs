//! What appraisal costs over what cannot be avoided.
//!
//! * `plain`: strict read and appraisal of an unsigned document, against typed serde_json of the same bytes into the
//!   same members: `typed_serde_json` with members of the types that evidence has, `strings_serde_json` with texts where
//!   those are not looked at. To reach: at most 2 times the former.
//! * `signed`: the whole appraisal of an envelope, against the bare signature check, the decoding of the payload, and
//!   the unsigned path. To reach: at most the check + 1.2 x (decoding + unsigned path).
//! * `references`: 1, 10 and 1000 reference values. To reach: flat.
#![allow(missing_docs)]

use std::{collections::BTreeMap, hint::black_box};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use leasehold::{
    attestation::{
        AttestationPolicy, EvidenceContext, EvidenceForm, ProtocolRange, WitInterface, WorkerClaims,
        appraise,
        dsse::{pae, seal},
        evidence::{EVIDENCE_PREDICATE, PAYLOAD_TYPE},
        policy::{
            AttestationPolicyForm, Authority, CapabilityRules, KeyRole, Label, ProtocolRule, ReferenceSet,
            ReferenceValue, Rule, ScopedKey, TimeRules, Window, WitRequirement,
        },
        signature::{DefaultVerifier, Ed25519Signer, SignatureVerifier, Signer},
        strict::{self, Limits},
    },
    capability::CapabilitySet,
    digest::Sha256Digest,
    id::{DeviceId, FleetId, WorkerId},
    time::{Millis, Wall},
};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Value, json};

const NOW: u64 = 1_764_000_000_000;

/// The members of the plain document with the types that they have as evidence.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct Typed {
    version: u32,
    worker_id: WorkerId,
    device_id: DeviceId,
    audience: FleetId,
    image: Sha256Digest,
    build: Sha256Digest,
    artifact: Sha256Digest,
    certificate_sha256: Sha256Digest,
    nonce: Nonce,
    issued_at_ms: Wall,
    expires_at_ms: Wall,
    sdk_protocol: ProtocolRange,
    wit: Vec<WitInterface>,
    capabilities: CapabilitySet,
    capability_authority: Sha256Digest,
    extensions: Option<BTreeMap<String, IgnoredAny>>,
}

#[derive(Deserialize)]
#[serde(try_from = "&str")]
#[allow(dead_code)]
struct Nonce(Vec<u8>);

impl TryFrom<&str> for Nonce {
    type Error = hex::FromHexError;

    fn try_from(text: &str) -> Result<Self, Self::Error> {
        hex::decode(text).map(Self)
    }
}

/// The same members as texts, none of which is looked at.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct Strings {
    version: u32,
    worker_id: String,
    device_id: String,
    audience: String,
    image: String,
    build: String,
    artifact: String,
    certificate_sha256: String,
    nonce: String,
    issued_at_ms: u64,
    expires_at_ms: u64,
    sdk_protocol: Range,
    wit: Vec<String>,
    capabilities: Vec<String>,
    capability_authority: String,
    extensions: Option<BTreeMap<String, IgnoredAny>>,
}

#[derive(Deserialize)]
#[allow(dead_code)]
struct Range {
    min: u32,
    max: u32,
}

fn digest(text: &str) -> Sha256Digest {
    Sha256Digest::of(text.as_bytes())
}

fn signer() -> Ed25519Signer {
    Ed25519Signer::from_seed("launcher", &[1; 32])
}

fn references(name: &str, count: usize) -> Rule<ReferenceSet> {
    let value = |n: usize| ReferenceValue {
        digest: if n == 0 { digest(name) } else { digest(&format!("{name}-{n}")) },
        label: Label::new("x").unwrap(),
        window: Window::default(),
    };
    Rule::Require(ReferenceSet::new((0..count).map(value).collect(), Vec::new()).unwrap())
}

fn policy(form: EvidenceForm, count: usize) -> AttestationPolicy {
    let mut policy = AttestationPolicyForm::new(TimeRules {
        max_age_ms: Millis::from_secs(60),
        max_lifetime_ms: Millis::from_secs(3600),
        future_skew_ms: Millis::ZERO,
        expiry_skew_ms: Millis::ZERO,
    });
    policy.accept = vec![form];
    policy.keys = vec![ScopedKey {
        key: signer().trusted_key("node").unwrap(),
        roles: vec![KeyRole::Evidence],
        workers: vec!["*".parse().unwrap()],
        predicates: vec![EVIDENCE_PREDICATE.into()],
        builders: Vec::new(),
        window: Window::default(),
    }];
    policy.image = references("image", count);
    policy.build = references("build", count);
    policy.artifact = references("artifact", count);
    policy.protocol =
        Rule::Require(Some(ProtocolRule { range: ProtocolRange::new(1, 3).unwrap(), denied: Vec::new() }));
    policy.wit = Rule::Require(vec![WitRequirement {
        minimum: "tools:hash/run@1.2.0".parse().unwrap(),
        denied: Vec::new(),
    }]);
    let names = CapabilitySet::parse(["tool:hash", "os:linux"]).unwrap();
    policy.capabilities = CapabilityRules {
        authorities: vec![Authority {
            digest: digest("authority"),
            label: Label::new("x").unwrap(),
            grants: names.clone(),
            window: Window::default(),
        }],
        trusted: names,
    };
    policy.egress = Rule::Waived { reason: Label::new("measured on its own").unwrap() };
    AttestationPolicy::try_from(policy).unwrap()
}

fn claims() -> WorkerClaims {
    WorkerClaims {
        worker: "worker-0001".parse().unwrap(),
        device: "device-0001".parse().unwrap(),
        audience: "fleet-a".parse().unwrap(),
        image: digest("image"),
        build: digest("build"),
        artifact: digest("artifact"),
        protocol: ProtocolRange::new(1, 3).unwrap(),
        wit: vec!["tools:hash/run@1.2.5".parse().unwrap()],
        capabilities: CapabilitySet::parse(["tool:hash", "os:linux"]).unwrap(),
        authority: digest("authority"),
        egress: None,
        nonce: vec![7; 64],
        issued: Wall(NOW - 1_000),
        expires: Wall(NOW + 60_000),
        certificate: digest("certificate"),
    }
}

/// `text` with members under `extensions` until it is about `bytes` long.
fn padded(text: &[u8], at: &str, bytes: usize) -> Vec<u8> {
    let mut value: Value = serde_json::from_slice(text).unwrap();
    let slot = value.pointer_mut(at).unwrap();
    // A member is 65 bytes with its comma; a few are left for the brackets.
    let room = bytes.saturating_sub(text.len() + 64) / 65;
    let members = (0..room).map(|n| (format!("member-{n:04}"), json!("x".repeat(48))));
    slot["extensions"] = members.collect();
    serde_json::to_vec(&value).unwrap()
}

struct Peer {
    audience: FleetId,
    device: DeviceId,
}

impl Peer {
    fn new() -> Self {
        Self { audience: "fleet-a".parse().unwrap(), device: "device-0001".parse().unwrap() }
    }

    fn context(&self) -> EvidenceContext<'_> {
        EvidenceContext {
            now: Wall(NOW),
            nonce: &[7; 64],
            nonce_issued: Wall(NOW - 2_000),
            audience: &self.audience,
            device: &self.device,
            certificate: digest("certificate"),
        }
    }
}

fn plain(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("plain");
    let (policy, peer) = (policy(EvidenceForm::Json, 10), Peer::new());
    for kib in [1usize, 8, 64] {
        let document = padded(&claims().to_document(), "", (kib << 10) - 256);
        let context = peer.context();
        let judge = || appraise(EvidenceForm::Json, &document, &policy, &context, &DefaultVerifier);
        assert!(judge().accepted().is_some(), "{:?}", judge().failures());
        group
            .bench_function(BenchmarkId::new("appraise", kib), |bencher| bencher.iter(|| black_box(judge())));
        group.bench_function(BenchmarkId::new("strict_check", kib), |bencher| {
            bencher.iter(|| strict::check(black_box(&document), &Limits::DOCUMENT));
        });
        group.bench_function(BenchmarkId::new("typed_serde_json", kib), |bencher| {
            bencher.iter(|| serde_json::from_slice::<Typed>(black_box(&document)).unwrap());
        });
        group.bench_function(BenchmarkId::new("strings_serde_json", kib), |bencher| {
            bencher.iter(|| serde_json::from_slice::<Strings>(black_box(&document)).unwrap());
        });
    }
    group.finish();
}

fn signed(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("signed");
    let (signed, unsigned) = (policy(EvidenceForm::Dsse, 10), policy(EvidenceForm::Json, 10));
    let peer = Peer::new();
    for kib in [1usize, 8, 64] {
        // The envelope is the payload as base64: four bytes for three.
        let bytes = (kib << 10) * 3 / 4 - 512;
        let statement = padded(&claims().to_statement(), "/predicate", bytes);
        let document = padded(&claims().to_document(), "", bytes);
        let envelope = seal(PAYLOAD_TYPE, &statement, &[&signer()]).unwrap();
        let context = peer.context();
        let judge = || appraise(EvidenceForm::Dsse, &envelope, &signed, &context, &DefaultVerifier);
        assert!(judge().accepted().is_some(), "{:?}", judge().failures());
        group
            .bench_function(BenchmarkId::new("appraise", kib), |bencher| bencher.iter(|| black_box(judge())));
        let message = pae(PAYLOAD_TYPE, &statement);
        let signature = signer().sign(&message).unwrap();
        let key = signer().trusted_key("node").unwrap();
        group.bench_function(BenchmarkId::new("bare_check", kib), |bencher| {
            bencher.iter(|| DefaultVerifier.verify(key.key(), black_box(&message), &signature));
        });
        let text = STANDARD.encode(&statement);
        group.bench_function(BenchmarkId::new("decode", kib), |bencher| {
            bencher.iter(|| STANDARD.decode(black_box(&text)).unwrap());
        });
        group.bench_function(BenchmarkId::new("unsigned", kib), |bencher| {
            bencher.iter(|| {
                black_box(appraise(EvidenceForm::Json, &document, &unsigned, &context, &DefaultVerifier))
            });
        });
    }
    group.finish();
}

fn references_flat(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("references");
    let peer = Peer::new();
    let document = claims().to_document();
    for count in [1usize, 10, 1000] {
        let policy = policy(EvidenceForm::Json, count);
        let context = peer.context();
        group.bench_function(BenchmarkId::new("appraise", count), |bencher| {
            bencher.iter(|| {
                black_box(appraise(EvidenceForm::Json, &document, &policy, &context, &DefaultVerifier))
            });
        });
    }
    group.finish();
}

criterion_group!(benches, plain, signed, references_flat);
criterion_main!(benches);
