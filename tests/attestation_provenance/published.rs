//! Provenance in the shapes in which it is published. The counts behind the choice of shapes are those of public conformance
//! suites and test data (slsa-verifier aaf98fd, sigstore-conformance a73de49, sigstore-go 4594ab4, sigstore-js 769a53d,
//! cli 44ee177, witness 4c63283); the documents are made here.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use leasehold::attestation::{
    PROVENANCE_PREDICATE, PROVENANCE_PREDICATE_V02,
    dsse::pae,
    evidence::PAYLOAD_TYPE,
    signature::{Ed25519Signer, Signer as _},
};
use serde_json::{Value, json};

use crate::attestation_support::digest;

pub const BUILDER: &str = "https://ci.example/builder@v1";

/// A statement under construction: change a member, then [`Statement::json`].
#[derive(Clone)]
pub struct Statement {
    pub kind: &'static str,
    pub predicate_type: &'static str,
    pub builder: String,
    pub subjects: Vec<Value>,
    pub external: Value,
}

pub fn sha256(name: &str) -> Value {
    json!({"name": name, "digest": {"sha256": digest(name).to_string()}})
}

/// What stands for the SHA-512 of something here: nobody computes one.
pub fn long(name: &str) -> String {
    let half = digest(name).to_string();
    format!("{half}{half}")
}

pub fn sha512(name: &str) -> Value {
    json!({"name": name, "digest": {"sha512": long(name)}})
}

impl Default for Statement {
    fn default() -> Self {
        Self {
            kind: "https://in-toto.io/Statement/v1",
            predicate_type: PROVENANCE_PREDICATE,
            builder: BUILDER.into(),
            subjects: vec![sha256("image-1"), sha256("build-1")],
            external: json!({"workflow": {"repository": "https://git.example/acme/app", "ref": "refs/tags/v1.2.3"}}),
        }
    }
}

impl Statement {
    pub fn of(subjects: &[Value]) -> Self {
        Self { subjects: subjects.to_vec(), ..Self::default() }
    }

    pub fn value(&self) -> Value {
        let predicate = if self.predicate_type == PROVENANCE_PREDICATE_V02 {
            json!({
                "builder": {"id": self.builder}, "buildType": "https://ci.example/types/image@v1",
                "invocation": {
                    "configSource": {"uri": "git+https://git.example/acme/app@refs/tags/v1.2.3",
                                     "digest": {"sha1": "da39a3ee5e6b4b0d3255bfef95601890afd80709"},
                                     "entryPoint": ".ci/release.yml"},
                    "parameters": self.external, "environment": {"runner_attempt": 1},
                },
                "metadata": {"buildStartedOn": "2024-01-01T00:00:00Z",
                             "completeness": {"parameters": true, "environment": false, "materials": false}},
                "materials": [{"uri": "git+https://git.example/acme/app@refs/tags/v1.2.3"}],
            })
        } else {
            json!({
                "buildDefinition": {
                    "buildType": "https://ci.example/types/image@v1",
                    "externalParameters": self.external,
                    "internalParameters": {"runner": {"id": 1_763_999_999_000_u64}},
                    "resolvedDependencies": [{"uri": "git+https://git.example/acme/app@refs/tags/v1.2.3",
                        "digest": {"gitCommit": "da39a3ee5e6b4b0d3255bfef95601890afd80709"}}],
                },
                "runDetails": {"builder": {"id": self.builder},
                               "metadata": {"invocationId": "i", "startedOn": "2024-01-01T00:00:00.123456789+00:00"}},
            })
        };
        json!({"_type": self.kind, "subject": self.subjects, "predicateType": self.predicate_type, "predicate": predicate})
    }

    pub fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(&self.value()).unwrap()
    }

    /// In an envelope that `signer` signed, with its key id.
    pub fn signed(&self, signer: &Ed25519Signer) -> Vec<u8> {
        seal(&self.bytes(), PAYLOAD_TYPE, &[(signer, json!(signer.key_id()))])
    }
}

/// An envelope with signatures that carry these key ids, or none where that is null in quotes.
pub fn seal(payload: &[u8], payload_type: &str, signers: &[(&Ed25519Signer, Value)]) -> Vec<u8> {
    let message = pae(payload_type, payload);
    let sign = |(signer, keyid): &(&Ed25519Signer, Value)| {
        let sig = STANDARD.encode(signer.sign(&message).unwrap());
        if *keyid == json!("absent") { json!({"sig": sig}) } else { json!({"keyid": keyid, "sig": sig}) }
    };
    let signatures: Vec<Value> = signers.iter().map(sign).collect();
    let envelope =
        json!({"payload": STANDARD.encode(payload), "payloadType": payload_type, "signatures": signatures});
    serde_json::to_vec(&envelope).unwrap()
}

/// Signatures in the URL-safe alphabet beside a payload in the standard one: so Google Cloud Build publishes.
pub fn url_safe(envelope: &[u8]) -> Vec<u8> {
    let mut value: Value = serde_json::from_slice(envelope).unwrap();
    for signature in value["signatures"].as_array_mut().unwrap() {
        let text = signature["sig"].as_str().unwrap().replace('+', "-").replace('/', "_");
        signature["sig"] = json!(text);
        signature["cert"] = json!("a member that DSSE does not know");
    }
    serde_json::to_vec(&value).unwrap()
}

pub fn bundle(media_type: &str, envelope: &[u8], material: Value) -> Vec<u8> {
    let envelope: Value = serde_json::from_slice(envelope).unwrap();
    let bundle = json!({"mediaType": media_type, "verificationMaterial": material, "dsseEnvelope": envelope});
    serde_json::to_vec(&bundle).unwrap()
}

pub const MEDIA_TYPES: [&str; 4] = [
    "application/vnd.dev.sigstore.bundle+json;version=0.1",
    "application/vnd.dev.sigstore.bundle+json;version=0.2",
    "application/vnd.dev.sigstore.bundle+json;version=0.3",
    "application/vnd.dev.sigstore.bundle.v0.3+json",
];

/// What stands beside an envelope whose signer has a key, and one whose signer has a certificate.
pub fn key_material() -> Value {
    json!({"publicKey": {"hint": "builder"}, "tlogEntries": [{"logIndex": "1", "integratedTime": "1700000000"}]})
}

pub fn certificate_material() -> Value {
    json!({"certificate": {"rawBytes": "MAA="}, "tlogEntries": [{"logIndex": "1"}]})
}
