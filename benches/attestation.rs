//! What appraisal costs over what cannot be avoided.
//!
//! * `plain`: strict read and appraisal of an unsigned document, against typed serde_json of the same bytes into the
//!   same members: `typed_serde_json` with members of the types that evidence has, `strings_serde_json` with texts where
//!   those are not looked at. To reach: at most 2 times the former.
//! * `signed`: the whole appraisal of an envelope, against the bare signature check, its decoding (typed serde_json,
//!   then base64), and the unsigned path for as many bytes as the payload has. To reach: at most the check + 1.2 x
//!   (decoding + unsigned path).
//! * Provenance, in `--bars` alone: a submission with four attachments, against 1.05 times the bars of its parts, where an
//!   attachment's is its check + 1.2 x (decoding + typed serde_json); attachments that are remembered, against 0.2 checks;
//!   strict reading of 1 MiB, against 1.2 times serde_json to a value.
//! * `references`: 1, 10 and 1000 reference values. To reach: flat.
//!
//! ```text
//! cargo bench --bench attestation             criterion, each by itself
//! cargo bench --bench attestation -- --bars   what is compared, in turns, and whether the bars are met
//! ```

mod bars;
#[path = "attestation/provenance.rs"]
mod provenance;

use std::{collections::BTreeMap, hint::black_box};

use bars::{least, row, time};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use criterion::{BenchmarkId, Criterion};
use leasehold::{
    attestation::{
        Appraisal, AttestationPolicy, EvidenceContext, EvidenceForm, ProtocolRange, WitInterface,
        WorkerClaims, appraise,
        dsse::{pae, seal},
        evidence::{EVIDENCE_PREDICATE, PAYLOAD_TYPE},
        policy::{
            AttestationPolicyForm, Authority, CapabilityRules, KeyRole, Label, ProtocolRule, ReferenceSet,
            ReferenceValue, Rule, ScopedKey, TimeRules, Window, WitRequirement,
        },
        signature::{DefaultVerifier, Ed25519Signer, SignatureVerifier, Signer, TrustedKey},
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

/// `text` with members under `extensions` until it is `bytes` long, if it is not that already.
fn padded(text: &[u8], at: &str, bytes: usize) -> Vec<u8> {
    // A member is 64 bytes, and its comma.
    const MEMBER: usize = 65;
    let mut value: Value = serde_json::from_slice(text).unwrap();
    let slot = &mut value.pointer_mut(at).unwrap()["extensions"];
    *slot = json!({});
    let room = bytes.saturating_sub(text.len() + r#","extensions":{}"#.len() - 1);
    let count = room / MEMBER;
    // The last one takes what is left.
    let long = |n| if n + 1 == count { room % MEMBER } else { 0 };
    *slot = (0..count).map(|n| (format!("member-{n:04}"), json!("x".repeat(48 + long(n))))).collect();
    serde_json::to_vec(&value).unwrap()
}

/// What everybody does to get from an envelope to what is signed.
#[derive(Deserialize)]
struct TypedEnvelope {
    payload: String,
    #[serde(rename = "payloadType")]
    payload_type: String,
    signatures: Vec<TypedSignature>,
}

#[derive(Deserialize)]
struct TypedSignature {
    keyid: String,
    sig: String,
}

type Decoded = (String, Vec<u8>, Vec<(String, Vec<u8>)>);

fn decoded(envelope: &[u8]) -> Decoded {
    let envelope: TypedEnvelope = serde_json::from_slice(envelope).unwrap();
    let bytes = |text: String| STANDARD.decode(text).unwrap();
    let signatures = envelope.signatures.into_iter().map(|signature| (signature.keyid, bytes(signature.sig)));
    (envelope.payload_type, bytes(envelope.payload), signatures.collect())
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

/// What the plain form of a size is measured on.
struct Plain {
    policy: AttestationPolicy,
    peer: Peer,
    document: Vec<u8>,
}

impl Plain {
    fn new(references: usize, bytes: usize) -> Self {
        let plain = Self {
            policy: policy(EvidenceForm::Json, references),
            peer: Peer::new(),
            document: padded(&claims().to_document(), "", bytes),
        };
        assert!(plain.judge().accepted().is_some(), "{:?}", plain.judge().failures());
        plain
    }

    fn judge(&self) -> Appraisal {
        let context = self.peer.context();
        appraise(EvidenceForm::Json, &self.document, &self.policy, &context, &DefaultVerifier)
    }
}

/// What the signed form of a size is measured on.
struct Signed {
    policy: AttestationPolicy,
    /// The same claims unsigned, filled up to the size of the payload.
    plain: Plain,
    envelope: Vec<u8>,
    message: Vec<u8>,
    signature: Vec<u8>,
    key: TrustedKey,
}

impl Signed {
    fn new(kib: usize) -> Self {
        // The envelope is the payload as base64: four bytes for three.
        let bytes = (kib << 10) * 3 / 4 - 512;
        let statement = padded(&claims().to_statement(), "/predicate", bytes);
        let message = pae(PAYLOAD_TYPE, &statement);
        let signed = Self {
            policy: policy(EvidenceForm::Dsse, 10),
            plain: Plain::new(10, statement.len()),
            envelope: seal(PAYLOAD_TYPE, &statement, &[&signer()]).unwrap(),
            signature: signer().sign(&message).unwrap(),
            message,
            key: signer().trusted_key("node").unwrap(),
        };
        assert!(signed.judge().accepted().is_some(), "{:?}", signed.judge().failures());
        assert_eq!(
            (signed.plain.document.len(), signed.decode().1.len()),
            (statement.len(), statement.len())
        );
        signed
    }

    fn judge(&self) -> Appraisal {
        let context = self.plain.peer.context();
        appraise(EvidenceForm::Dsse, &self.envelope, &self.policy, &context, &DefaultVerifier)
    }

    fn check(&self) -> bool {
        DefaultVerifier.verify(self.key.key(), black_box(&self.message), &self.signature)
    }

    fn decode(&self) -> Decoded {
        decoded(black_box(&self.envelope))
    }
}

const KIBS: [usize; 3] = [1, 8, 64];

fn plain(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("plain");
    for kib in KIBS {
        let plain = Plain::new(10, (kib << 10) - 256);
        let document = &plain.document;
        group.bench_function(BenchmarkId::new("appraise", kib), |b| b.iter(|| plain.judge()));
        group.bench_function(BenchmarkId::new("strict_check", kib), |b| {
            b.iter(|| strict::check(black_box(document), &Limits::DOCUMENT));
        });
        group.bench_function(BenchmarkId::new("typed_serde_json", kib), |b| {
            b.iter(|| serde_json::from_slice::<Typed>(black_box(document)).unwrap());
        });
        group.bench_function(BenchmarkId::new("strings_serde_json", kib), |b| {
            b.iter(|| serde_json::from_slice::<Strings>(black_box(document)).unwrap());
        });
    }
    group.finish();
}

fn signed(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("signed");
    for kib in KIBS {
        let signed = Signed::new(kib);
        group.bench_function(BenchmarkId::new("appraise", kib), |b| b.iter(|| signed.judge()));
        group.bench_function(BenchmarkId::new("bare_check", kib), |b| b.iter(|| signed.check()));
        group.bench_function(BenchmarkId::new("decode", kib), |b| b.iter(|| signed.decode()));
        group.bench_function(BenchmarkId::new("unsigned", kib), |b| b.iter(|| signed.plain.judge()));
    }
    group.finish();
}

fn references_flat(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("references");
    for count in [1, 10, 1000] {
        let plain = Plain::new(count, 0);
        group.bench_function(BenchmarkId::new("appraise", count), |b| b.iter(|| plain.judge()));
    }
    group.finish();
}

fn bars() {
    for kib in KIBS {
        let plain = Plain::new(10, (kib << 10) - 256);
        let [ours, typed] = least([&mut || drop(black_box(plain.judge())), &mut || {
            drop(serde_json::from_slice::<Typed>(black_box(&plain.document)).unwrap())
        }]);
        row(
            &format!("plain, {kib} KiB"),
            ours,
            2.0 * typed,
            &format!("{:.2} x typed serde_json", ours / typed),
        );
    }
    for kib in KIBS {
        let signed = Signed::new(kib);
        // Decoding and judging come after a check here too: they run colder behind it than in a loop of their own.
        let [ours, check, parts] =
            least([&mut || drop(black_box(signed.judge())), &mut || assert!(signed.check()), &mut || {
                assert!(signed.check());
                drop(black_box(signed.decode()));
                drop(black_box(signed.plain.judge()));
            }]);
        let rest = parts - check;
        let parts = format!("check {}, decoding and unsigned {}", time(check), time(rest));
        row(&format!("signed, {kib} KiB"), ours, check + 1.2 * rest, &parts);
    }
    let [one, ten, thousand] = [1, 10, 1000].map(|count| Plain::new(count, 0));
    let [one, ten, thousand] =
        least([&mut || drop(black_box(one.judge())), &mut || drop(black_box(ten.judge())), &mut || {
            drop(black_box(thousand.judge()))
        }]);
    let figures = [("1", one), ("10", ten), ("1000", thousand)];
    println!("references: {}", figures.map(|(count, ns)| format!("{count} in {}", time(ns))).join(", "));
    provenance::bars();
}

fn main() {
    if std::env::args().any(|word| word == "--bars") {
        return bars();
    }
    let mut criterion = Criterion::default().configure_from_args();
    plain(&mut criterion);
    signed(&mut criterion);
    references_flat(&mut criterion);
    criterion.final_summary();
}
