//! Fuzz bodies of the attestation part: the strict reader, envelope, statement, document, and the whole appraisal.
//!
//! Each takes any bytes, and panics only where a promise is broken.

use alloc::{
    collections::BTreeSet,
    format,
    string::{String, ToString as _},
    vec::Vec,
};
use core::fmt;
use std::sync::OnceLock;

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::Value;

use crate::{
    attestation::{
        AttestationPolicy, EgressBinding, EvidenceContext, EvidenceForm, ProtocolRange, Tier,
        WorkerAttestation, WorkerClaims, appraise,
        dsse::{Envelope, EnvelopeLimits, TrustRoot, pae},
        evidence::{Claim, EVIDENCE_PREDICATE, EvidenceLimits, reference},
        signature::{DefaultVerifier, Ed25519Signer, Signer as _},
        strict::{self, Limits, StrictErrorKind},
    },
    capability::CapabilitySet,
    digest::Sha256Digest,
    time::Wall,
};

/// The strict reader: it accepts only what serde_json accepts, sees every key, and refuses without need only what
/// serde_json forgives.
pub fn strict_reader(bytes: &[u8]) {
    let verdict = strict::check(bytes, &Limits::GENERAL);
    if let Err(error) = &verdict {
        assert!(error.offset <= bytes.len(), "an offset inside the document");
    }
    let counted = serde_json::from_slice::<Count>(bytes);
    match (verdict, counted) {
        (Ok(()), Ok(Count { keys, distinct })) => assert_eq!(keys, distinct, "a duplicate key passed"),
        (Ok(()), Err(error)) => {
            // serde_json rounds numbers next to the largest double the other way; the strict reader is exact there.
            assert!(error.to_string().starts_with("number out of range"), "accepted and not JSON: {error}");
        }
        (Err(error), Ok(Count { keys, distinct })) => {
            let forgiven = match error.kind {
                StrictErrorKind::DuplicateKey => keys > distinct,
                StrictErrorKind::TooDeep | StrictErrorKind::TooLarge => true,
                _ => false,
            };
            assert!(forgiven, "refused without need: {error}");
        }
        (Err(_), Err(_)) => {}
    }
    if let Some(key) = bytes.get(..64.min(bytes.len())).and_then(|key| core::str::from_utf8(key).ok()) {
        spelled_twice(key);
    }
    // A document that passes the tighter limits passes the general ones.
    assert!(strict::check(bytes, &Limits::DOCUMENT).is_err() || verdict.is_ok());
    assert!(strict::check(bytes, &Limits::POLICY).is_err() || verdict.is_ok());
}

/// However a key is spelled, it is the same key the second time.
fn spelled_twice(key: &str) {
    let plain = serde_json::to_string(key).expect("a text");
    let escaped: String = key.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
    for text in [format!("{{{plain}:0,\"{escaped}\":0}}"), format!("{{\"{escaped}\":0,{plain}:0}}")] {
        let verdict = strict::check(text.as_bytes(), &Limits::GENERAL);
        assert_eq!(verdict.map_err(|error| error.kind), Err(StrictErrorKind::DuplicateKey), "{text}");
    }
}

/// How many keys a document has in all, and how many after each object's repeats are taken away.
struct Count {
    keys: usize,
    distinct: usize,
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        macro_rules! nothing {
            ($($method:ident($type:ty);)*) => {$(
                fn $method<E>(self, _: $type) -> Result<Count, E> {
                    Ok(Count { keys: 0, distinct: 0 })
                }
            )*};
        }

        impl<'de> Visitor<'de> for Any {
            type Value = Count;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value")
            }

            nothing! {
                visit_bool(bool);
                visit_i64(i64);
                visit_u64(u64);
                visit_f64(f64);
                visit_str(&str);
            }

            fn visit_unit<E>(self) -> Result<Count, E> {
                Ok(Count { keys: 0, distinct: 0 })
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Count, A::Error> {
                let mut sum = Count { keys: 0, distinct: 0 };
                while let Some(inner) = seq.next_element::<Count>()? {
                    sum.keys += inner.keys;
                    sum.distinct += inner.distinct;
                }
                Ok(sum)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Count, A::Error> {
                let mut sum = Count { keys: 0, distinct: 0 };
                let mut names = BTreeSet::new();
                while let Some((name, inner)) = map.next_entry::<String, Count>()? {
                    sum.keys += 1 + inner.keys;
                    sum.distinct += usize::from(names.insert(name)) + inner.distinct;
                }
                Ok(sum)
            }
        }

        deserializer.deserialize_any(Any)
    }
}

/// Envelopes: refused or read within the limits, and what verifies verifies again by hand.
pub fn envelope(bytes: &[u8]) {
    let Ok(envelope) = Envelope::parse(bytes, &EnvelopeLimits::DEFAULT) else { return };
    assert!(strict::check(bytes, &Limits::DOCUMENT).is_ok());
    assert!(envelope.unverified_payload().len() < bytes.len());
    let key = launcher().trusted_key("node").expect("a key");
    let root = TrustRoot::new([key.clone()], 1).expect("a root");
    let Ok(verified) = root.verify(&envelope, &EnvelopeLimits::DEFAULT, &DefaultVerifier) else { return };
    assert_eq!(verified.signers().len(), 1);
    // Ed25519 has one signature per key and message, so what verified is what the key would sign.
    let message = pae(envelope.unverified_type(), envelope.unverified_payload());
    let signature = launcher().sign(&message).expect("a signature");
    let value: Value = serde_json::from_slice(bytes).expect("JSON");
    let carried = value["signatures"].as_array().expect("signatures").iter().any(|held| {
        let text = held["sig"].as_str().unwrap_or_default();
        crate::attestation::dsse::decode(text).is_some_and(|held| held == signature)
    });
    assert!(carried, "a signature verified that the key did not make");
}

/// Statements: refused or read, only strict JSON is read, and a second reader over serde_json says the same.
pub fn statement(bytes: &[u8]) {
    let claims = WorkerAttestation::from_statement(bytes, &EvidenceLimits::DEFAULT);
    if reference::tells_numbers(bytes) {
        assert_eq!(claims.as_ref().ok(), reference::statement(bytes).as_ref(), "two readers");
    }
    let Ok(claims) = claims else { return };
    assert!(strict::check(bytes, &Limits::DOCUMENT).is_ok());
    round_trip(&claims);
}

/// Plain documents: refused or read, only strict JSON is read, and a second reader over serde_json says the same.
pub fn document(bytes: &[u8]) {
    let claims = WorkerAttestation::from_document(bytes, &EvidenceLimits::DEFAULT);
    if reference::tells_numbers(bytes) {
        assert_eq!(claims.as_ref().ok(), reference::document(bytes).as_ref(), "two readers");
    }
    let Ok(claims) = claims else { return };
    assert!(strict::check(bytes, &Limits::DOCUMENT).is_ok());
    round_trip(&claims);
}

/// Claims that are complete come back from both forms as they went in.
fn round_trip(claims: &WorkerAttestation) {
    let Some(complete) = complete(claims) else { return };
    let claims = WorkerAttestation { egress: Claim::Absent, sha512: None, ..claims.clone() };
    let document = WorkerAttestation::from_document(&complete.to_document(), &EvidenceLimits::DEFAULT)
        .expect("a document of ours");
    let statement = WorkerAttestation::from_statement(&complete.to_statement(), &EvidenceLimits::DEFAULT)
        .expect("a statement of ours");
    assert_eq!((&document, &statement), (&claims, &claims));
}

fn complete(claims: &WorkerAttestation) -> Option<WorkerClaims> {
    Some(WorkerClaims {
        worker: claims.worker.stated()?.clone(),
        device: claims.device.stated()?.clone(),
        audience: claims.audience.stated()?.clone(),
        image: *claims.image.stated()?,
        build: *claims.build.stated()?,
        artifact: *claims.artifact.stated()?,
        protocol: *claims.protocol.stated()?,
        wit: claims.wit.stated()?.clone(),
        capabilities: claims.capabilities.stated()?.clone(),
        authority: *claims.authority.stated()?,
        egress: None,
        nonce: claims.nonce.stated()?.clone(),
        issued: *claims.issued.stated()?,
        expires: *claims.expires.stated()?,
        certificate: *claims.certificate.stated()?,
    })
}

/// The whole appraisal, signed and plain: accepted or refused with reasons, and accepted only for what the one good
/// evidence states.
pub fn appraisal(bytes: &[u8]) {
    let fixture = Fixture::shared();
    changed(fixture, bytes);
    for (form, policy) in [(EvidenceForm::Dsse, &fixture.signed), (EvidenceForm::Json, &fixture.plain)] {
        let verdict = appraise(form, bytes, policy, &fixture.context(), &DefaultVerifier);
        assert_eq!(verdict.accepted().is_some(), verdict.failures().is_empty());
        assert_eq!(verdict.coarse().accepted, verdict.accepted().is_some());
        for failure in verdict.failures() {
            assert_eq!(verdict.trust().tier(failure.dimension()), Tier::Contraindicated);
        }
        assert!(serde_json::to_vec(&verdict.report()).is_ok());
        let Some(accepted) = verdict.accepted() else { continue };
        assert_eq!(accepted.worker(), &fixture.claims.worker);
        assert_eq!(accepted.image(), Some(fixture.claims.image));
        assert!(accepted.capabilities().is_subset_of(&fixture.claims.capabilities));
        assert!(accepted.valid_until() > fixture.context().now);
        if form == EvidenceForm::Dsse {
            let payload = Envelope::parse(bytes, &EnvelopeLimits::DEFAULT).expect("it was accepted");
            assert_eq!(accepted.evidence(), Sha256Digest::of(payload.unverified_payload()));
            assert_eq!(accepted.evidence(), Sha256Digest::of(&fixture.claims.to_statement()));
        }
    }
}

/// A time within a few milliseconds of one where a rule begins or ends, or an hour and a bit to either side of now.
fn time(how: u64) -> Wall {
    const EDGES: [u64; 5] = [NOW - 5_000, NOW - 1_000, NOW, NOW + 2_000, NOW - 1_000 + 3_600_000];
    let (edge, rest) = (how % 8, how / 8);
    let edge = usize::try_from(edge).ok().and_then(|edge| EDGES.get(edge));
    Wall(edge.map_or(NOW - 4_000_000 + rest % 8_000_000, |edge| edge - 3 + rest % 7))
}

/// The good evidence with claims changed as the input says, nine bytes for each: what and how. It is accepted exactly
/// where the rules, written down here a second time, find nothing wrong.
fn changed(fixture: &Fixture, changes: &[u8]) {
    let mut claims = fixture.claims.clone();
    for change in changes.chunks_exact(9).take(4) {
        let (Some(what), Some(how)) = (change.first(), change.last_chunk()) else { return };
        let how = u64::from_le_bytes(*how);
        let digest = Sha256Digest::of(&how.to_le_bytes());
        let time = time(how);
        match what % 12 {
            0 | 1 => claims.issued = time,
            2 | 3 => claims.expires = time,
            4 => claims.nonce = how.to_le_bytes().repeat(8),
            5 => claims.worker = format!("w{how}").parse().expect("an id"),
            6 => claims.device = format!("d{how}").parse().expect("an id"),
            7 => claims.audience = format!("f{how}").parse().expect("an id"),
            8 => claims.certificate = digest,
            9 => claims.image = digest,
            10 => claims.authority = digest,
            _ => {
                let minimum = u32::try_from(1 + how % 6).expect("a small number");
                claims.protocol = ProtocolRange::new(minimum, minimum + 1).expect("a range");
            }
        }
    }
    let (issued, expires) = (claims.issued.0, claims.expires.0);
    let in_time = (NOW - 5_000..=NOW + 2_000).contains(&issued)
        && expires > NOW
        && expires > issued
        && expires - issued <= 3_600_000;
    let spoken = claims.protocol.min() <= 3 && claims.protocol.max() >= 1;
    let good = &fixture.claims;
    let (issued, expires, protocol) = (good.issued, good.expires, good.protocol);
    let same = WorkerClaims { issued, expires, protocol, ..claims.clone() } == *good;
    let sealed = || (EvidenceForm::Dsse, &fixture.signed, claims.seal(&[&launcher()]).expect("an envelope"));
    let plain = || (EvidenceForm::Json, &fixture.plain, claims.to_document());
    let (form, policy, bytes) = if changes.len().is_multiple_of(9) { plain() } else { sealed() };
    let verdict = appraise(form, &bytes, policy, &fixture.context(), &DefaultVerifier);
    let want = in_time && spoken && same;
    assert_eq!(verdict.accepted().is_some(), want, "{changes:?}: {:?}", verdict.failures());
}

fn launcher() -> Ed25519Signer {
    Ed25519Signer::from_seed("launcher", &[1; 32])
}

/// One fleet, one worker, and evidence that passes.
struct Fixture {
    signed: AttestationPolicy,
    plain: AttestationPolicy,
    claims: WorkerClaims,
}

const NOW: u64 = 1_764_000_000_000;

impl Fixture {
    fn shared() -> &'static Self {
        static FIXTURE: OnceLock<Fixture> = OnceLock::new();
        FIXTURE.get_or_init(Self::new)
    }

    fn new() -> Self {
        let proxy = Ed25519Signer::from_seed("proxy", &[2; 32]);
        let digest = |name: &str| Sha256Digest::of(name.as_bytes());
        let claims = WorkerClaims {
            worker: "w1".parse().expect("an id"),
            device: "d1".parse().expect("an id"),
            audience: "f1".parse().expect("an id"),
            image: digest("image"),
            build: digest("build"),
            artifact: digest("artifact"),
            protocol: ProtocolRange::new(1, 2).expect("a range"),
            wit: ["tools:hash/run@1.2.5".parse().expect("an interface")].into(),
            capabilities: CapabilitySet::parse(["tool:hash"]).expect("a set"),
            authority: digest("authority"),
            egress: None,
            nonce: [7; 64].into(),
            issued: Wall(NOW - 1_000),
            expires: Wall(NOW + 60_000),
            certificate: digest("certificate"),
        };
        let binding = EgressBinding {
            worker: claims.worker.clone(),
            audience: claims.audience.clone(),
            certificate: claims.certificate,
            policy: digest("egress"),
            nonce: claims.nonce.clone(),
            issued: claims.issued,
            expires: claims.expires,
        };
        let claims = WorkerClaims { egress: Some(binding.seal(&[&proxy]).expect("an envelope")), ..claims };
        let key = |signer: &Ed25519Signer| {
            serde_json::to_string(&signer.trusted_key(signer.key_id()).expect("a key")).expect("JSON")
        };
        let values = |name: &str| {
            alloc::format!(r#"{{"require":{{"values":[{{"digest":"{}","label":"x"}}]}}}}"#, digest(name))
        };
        let policy = |accept: &str| {
            let text = alloc::format!(
                r#"{{"accept":["{accept}"],
                "times":{{"max_age_ms":60000,"max_lifetime_ms":3600000,"future_skew_ms":2000,"expiry_skew_ms":0}},
                "keys":[{{"key":{},"roles":["evidence"],"workers":["*"],"predicates":["{EVIDENCE_PREDICATE}"]}},
                        {{"key":{},"roles":["egress_proxy"],"workers":["*"]}}],
                "image":{},"build":{},"artifact":{},
                "protocol":{{"require":{{"range":{{"min":1,"max":3}}}}}},
                "wit":{{"require":[{{"minimum":"tools:hash/run@1.2.0"}}]}},
                "capabilities":{{"authorities":[{{"digest":"{}","label":"x","grants":["tool:hash"]}}],
                                 "trusted":["tool:hash"]}},
                "egress":{{"require":{{"policies":["{}"]}}}}}}"#,
                key(&launcher()),
                key(&proxy),
                values("image"),
                values("build"),
                values("artifact"),
                digest("authority"),
                digest("egress"),
            );
            AttestationPolicy::from_json(text.as_bytes()).expect("a policy")
        };
        Self { signed: policy("dsse"), plain: policy("json"), claims }
    }

    fn context(&self) -> EvidenceContext<'_> {
        EvidenceContext {
            now: Wall(NOW),
            nonce: &self.claims.nonce,
            nonce_issued: Wall(NOW - 5_000),
            audience: &self.claims.audience,
            device: &self.claims.device,
            certificate: self.claims.certificate,
        }
    }
}

/// Inputs to begin with: the evidence that passes in every form, and what is next to it.
pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let claims = Fixture::new().claims;
    let envelope = claims.seal(&[&launcher()]).expect("an envelope");
    let binding = claims.egress.clone().unwrap_or_default();
    let bare = WorkerClaims { egress: None, ..claims.clone() };
    [
        ("envelope", envelope),
        ("statement", claims.to_statement()),
        ("document", claims.to_document()),
        ("document-bare", bare.to_document()),
        ("statement-bare", bare.to_statement()),
        ("binding", binding),
        ("empty", Vec::new()),
        ("twins", br#"{"a":1,"\u0062":2,"c\u0064":{"e":0,"\u0065f":0},"ce":[]}"#.to_vec()),
        ("escapes", br#"{"a\u0062":[1,-2.5e+3,"\ud83d\ude00\n"],"c":{"d":null,"e":true}}"#.to_vec()),
        ("wide", br#"{"a":1,"b":2,"c":3,"d":4,"e":5,"f":6,"g":7,"h":8,"i":9,"j":0,"k":1,"l":2,"m":3,"n":4,"o":5,"p":6,"q":7}"#.to_vec()),
        ("deep", [&b"["[..]; 127].concat().into_iter().chain([b']'; 127]).collect()),
        ("edge", b"[1.7976931348623157e308,1e-400,179769313486231570814527423731704356798070e267]".to_vec()),
    ]
    .into()
}
