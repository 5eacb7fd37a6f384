//! The fuzz body of what stands beside evidence: containers, signatures and builders' statements.
//!
//! It takes any bytes, and panics only where a promise is broken.

use alloc::{format, string::ToString as _, vec::Vec};
use std::sync::OnceLock;

use serde_json::{Value, json};

use crate::{
    attestation::{
        Appraisal, Appraiser, AttestationPolicy, EvidenceContext, EvidenceForm, Learned,
        PROVENANCE_PREDICATE, PROVENANCE_PREDICATE_V02, ProtocolRange, ProvenanceMemory, Submission,
        WorkerClaims,
        dsse::{Envelope, EnvelopeLimits, seal},
        evidence::{EVIDENCE_PREDICATE, PAYLOAD_TYPE},
        signature::{DefaultVerifier, Ed25519Signer, Signer as _},
    },
    capability::CapabilitySet,
    code::Coded as _,
    digest::Sha256Digest,
    time::Wall,
};

const NOW: u64 = 1_764_000_000_000;

const BUILDER: &str = "https://ci.example/builder@v1";

/// The longest message of one attachment: what it repeats of a document is cut and escaped.
const LONGEST_MESSAGE: usize = 2_048;

/// The input as an attachment, and as a payload that the builder signed.
///
/// A signed payload vouches only where a second reader over `serde_json` finds the builder and both digests in it; whatever
/// comes beside a good attachment denies nothing; with a memory the verdict is the same; and each attachment has its
/// finding, which names it in one line of printable ASCII.
pub fn attachments(bytes: &[u8]) {
    let fixture = Fixture::shared();
    let signed = seal(PAYLOAD_TYPE, bytes, &[&builder()]).expect("an envelope");
    for (attachment, is_signed) in [(bytes, false), (&signed[..], true)] {
        let alone = fixture.judge(&[attachment], None).0;
        if alone.accepted().is_some() {
            assert!(!is_signed || vouches(bytes), "nobody vouched");
            assert!(is_signed || Fixture::is_known(bytes), "nobody signed it");
        }
        let beside = fixture.judge(&[attachment, &fixture.good, attachment], None).0;
        assert!(beside.accepted().is_some(), "it denies: {:?}", beside.failures());
        for verdict in [&alone, &beside] {
            named(verdict);
        }
        let mut memory = ProvenanceMemory::new();
        memory.learn(fixture.judge(&[attachment, &fixture.good], Some(&memory)).1);
        assert!(memory.len() <= 2);
        let again = fixture.judge(&[attachment], Some(&memory)).0;
        assert_eq!(again.failures(), alone.failures(), "a memory changes no verdict");
        assert_eq!(again.accepted().is_some(), alone.accepted().is_some());
    }
}

/// Every reason names its attachment, and repeats nothing of it raw.
fn named(verdict: &Appraisal) {
    for failure in verdict.failures() {
        let message = failure.to_string();
        assert!(message.len() <= LONGEST_MESSAGE, "{} bytes", message.len());
        assert!(message.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{message:?}");
        assert!(crate::code::Code::parse(failure.code().as_str()).is_some());
    }
    let report = serde_json::to_value(verdict.report()).expect("a report");
    let rows = report.get("attachments").and_then(Value::as_array).expect("a row for each attachment");
    assert!(!rows.is_empty());
    for row in rows {
        let code = row.get("code").and_then(Value::as_str).expect("a code");
        assert!(crate::code::Code::parse(code).is_some(), "{code}");
    }
}

/// Whether a payload is a statement of the builder about image and build, read a second time and without care for what is
/// malformed besides: that it is refused for.
fn vouches(payload: &[u8]) -> bool {
    let Ok(value) = serde_json::from_slice::<Value>(payload) else { return false };
    let text = |path: &str| value.pointer(path).and_then(Value::as_str).unwrap_or_default().to_string();
    let builder = match text("/predicateType").as_str() {
        PROVENANCE_PREDICATE => text("/predicate/runDetails/builder/id"),
        PROVENANCE_PREDICATE_V02 => text("/predicate/builder/id"),
        _ => return false,
    };
    let subjects = value.get("subject").and_then(Value::as_array).cloned().unwrap_or_default();
    let about = |name: &str| {
        let due = digest(name).to_string();
        let is = |subject: &Value| {
            let found = subject.pointer("/digest/sha256").and_then(Value::as_str).unwrap_or_default();
            found.eq_ignore_ascii_case(&due)
        };
        subjects.iter().any(is)
    };
    builder == BUILDER && about("image") && about("build")
}

fn digest(name: &str) -> Sha256Digest {
    Sha256Digest::of(name.as_bytes())
}

fn builder() -> Ed25519Signer {
    Ed25519Signer::from_seed("builder", &[3; 32])
}

fn launcher() -> Ed25519Signer {
    Ed25519Signer::from_seed("launcher", &[1; 32])
}

/// A statement of the builder, in the version of that predicate.
fn statement(predicate: &str) -> Vec<u8> {
    let terms = if predicate == PROVENANCE_PREDICATE {
        json!({"buildDefinition": {"buildType": "https://ci.example/types/image@v1", "externalParameters": {}},
               "runDetails": {"builder": {"id": BUILDER}}})
    } else {
        json!({"builder": {"id": BUILDER}, "buildType": "https://ci.example/types/image@v1",
               "invocation": {"configSource": {"uri": "git+https://git.example/acme/app"}}})
    };
    let subject = |name: &str| json!({"name": name, "digest": {"sha256": digest(name).to_string()}});
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v1", "subject": [subject("image"), subject("build")],
        "predicateType": predicate, "predicate": terms,
    });
    serde_json::to_vec(&statement).expect("JSON")
}

/// One worker whose evidence passes, under a policy that asks one builder for image and build.
struct Fixture {
    policy: AttestationPolicy,
    claims: WorkerClaims,
    evidence: Vec<u8>,
    good: Vec<u8>,
}

impl Fixture {
    fn shared() -> &'static Self {
        static FIXTURE: OnceLock<Fixture> = OnceLock::new();
        FIXTURE.get_or_init(Self::new)
    }

    fn new() -> Self {
        let claims = WorkerClaims {
            worker: "w1".parse().expect("an id"),
            device: "d1".parse().expect("an id"),
            audience: "f1".parse().expect("an id"),
            image: digest("image"),
            build: digest("build"),
            artifact: digest("artifact"),
            protocol: ProtocolRange::new(1, 2).expect("a range"),
            wit: Vec::new(),
            capabilities: CapabilitySet::parse(["tool:hash"]).expect("a set"),
            authority: digest("authority"),
            egress: None,
            nonce: [7; 64].into(),
            issued: Wall(NOW - 1_000),
            expires: Wall(NOW + 60_000),
            certificate: digest("certificate"),
        };
        let key = |signer: &Ed25519Signer| {
            serde_json::to_string(&signer.trusted_key(signer.key_id()).expect("a key")).expect("JSON")
        };
        let values = |name: &str| {
            format!(r#"{{"require":{{"values":[{{"digest":"{}","label":"x"}}]}}}}"#, digest(name))
        };
        let waived = r#"{"waived":{"reason":"a fixture"}}"#;
        let text = format!(
            r#"{{"accept":["dsse"],
            "times":{{"max_age_ms":60000,"max_lifetime_ms":3600000,"future_skew_ms":2000,"expiry_skew_ms":0}},
            "keys":[{{"key":{},"roles":["evidence"],"workers":["*"],"predicates":["{EVIDENCE_PREDICATE}"]}},
                    {{"key":{},"roles":["builder"],"predicates":["{PROVENANCE_PREDICATE}","{PROVENANCE_PREDICATE_V02}"],
                      "builders":["{BUILDER}"]}}],
            "image":{},"build":{},"artifact":{waived},"protocol":{waived},"wit":{waived},
            "capabilities":{{"authorities":[{{"digest":"{}","label":"x","grants":["tool:hash"]}}],"trusted":["tool:hash"]}},
            "egress":{waived},"provenance":{{"threshold":1}}}}"#,
            key(&launcher()),
            key(&builder()),
            values("image"),
            values("build"),
            digest("authority"),
        );
        let policy = AttestationPolicy::from_json(text.as_bytes()).expect("a policy");
        let evidence = claims.seal(&[&launcher()]).expect("an envelope");
        let good = seal(PAYLOAD_TYPE, &statement(PROVENANCE_PREDICATE), &[&builder()]).expect("an envelope");
        Self { policy, claims, evidence, good }
    }

    fn judge(&self, attachments: &[&[u8]], memory: Option<&ProvenanceMemory>) -> (Appraisal, Learned) {
        let context = EvidenceContext {
            now: Wall(NOW),
            nonce: &self.claims.nonce,
            nonce_issued: Wall(NOW - 5_000),
            audience: &self.claims.audience,
            device: &self.claims.device,
            certificate: self.claims.certificate,
        };
        let submission = Submission { form: EvidenceForm::Dsse, bytes: &self.evidence, attachments };
        let mut appraiser = Appraiser::new(&self.policy, &DefaultVerifier);
        appraiser.memory = memory;
        appraiser.appraise(&submission, &context)
    }

    /// Whether a document in it carries one of the payloads that the builder has signed here.
    fn is_known(bytes: &[u8]) -> bool {
        let signed = [PROVENANCE_PREDICATE, PROVENANCE_PREDICATE_V02].map(statement);
        let carries = |document: &[u8]| {
            let Ok(value) = serde_json::from_slice::<Value>(document) else { return false };
            let envelope = value.get("dsseEnvelope").unwrap_or(&value);
            let envelope = serde_json::to_vec(envelope).expect("JSON");
            let read = Envelope::parse(&envelope, &EnvelopeLimits::DEFAULT);
            read.is_ok_and(|envelope| signed.iter().any(|signed| *signed == envelope.unverified_payload()))
        };
        carries(bytes) || bytes.split(|byte| *byte == b'\n').any(carries)
    }
}

/// Inputs to begin with: a good attachment in each container, its payload in each version, and what is next to them.
pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let envelope = |predicate| seal(PAYLOAD_TYPE, &statement(predicate), &[&builder()]).expect("an envelope");
    let (new, old) = (envelope(PROVENANCE_PREDICATE), envelope(PROVENANCE_PREDICATE_V02));
    let bundle = |kind: &str| {
        let envelope: Value = serde_json::from_slice(&new).expect("JSON");
        let material = json!({"publicKey": {"hint": "builder"}, "tlogEntries": []});
        let bundle = json!({"mediaType": kind, "verificationMaterial": material, "dsseEnvelope": envelope});
        serde_json::to_vec(&bundle).expect("JSON")
    };
    let mut stated: Value = serde_json::from_slice(&statement(PROVENANCE_PREDICATE)).expect("JSON");
    stated["_type"] = json!("https://in-toto.io/Statement/v0.1");
    let alien = seal(PAYLOAD_TYPE, &statement(PROVENANCE_PREDICATE), &[&launcher()]).expect("an envelope");
    [
        ("envelope", new.clone()),
        ("envelope-v02", old.clone()),
        ("lines", [&new[..], b"\n", &old, b"\n"].concat()),
        ("bundle-v01", bundle("application/vnd.dev.sigstore.bundle+json;version=0.1")),
        ("bundle-v03", bundle("application/vnd.dev.sigstore.bundle.v0.3+json")),
        ("statement", statement(PROVENANCE_PREDICATE)),
        ("statement-v02", statement(PROVENANCE_PREDICATE_V02)),
        ("statement-v01", serde_json::to_vec(&stated).expect("JSON")),
        ("alien", alien),
        ("empty", Vec::new()),
        ("junk", b"{\"payloadType\":\"\\u202e\",\"payload\":\"\",\"signatures\":[]}".to_vec()),
    ]
    .into()
}
