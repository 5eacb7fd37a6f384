//! Bad input: whatever is refused, the reason says which part, which byte or member, and repeats nothing of it raw.

mod attestation_support;

use attestation_support::{Case, builder, form, launcher, scoped};
use leasehold::{
    attestation::{
        AttestationPolicy, EvidenceForm, PROVENANCE_PREDICATE,
        dsse::seal,
        evidence::PAYLOAD_TYPE,
        policy::{KeyRole, ProvenanceRule, ScopedKey},
    },
    code::{Code, Coded as _},
    identity::{DeviceCertificate, request_key},
};
use proptest::{prelude::*, sample::Index};
use serde_json::{Value, json};

/// What must not come back as it is: a line break, a control that turns text around, an escape of terminals, a tag, and
/// more of anything than an excerpt shows.
const HOSTILE: [&str; 5] = ["a\nb", "\u{202e}txt", "\u{1b}[31m", "`<b>`", "x"];

/// The most that a message has: 96 characters of a text, each escaped, and what is said about it.
const LONGEST: usize = 2_048;

fn is_plain(message: &str) {
    assert!(message.len() <= LONGEST, "{} bytes: {message}", message.len());
    assert!(message.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{message:?}");
    assert!(!message.contains(&"x".repeat(200)), "{message}");
}

/// Whether a message names a place: a byte, a member, an attachment, a key, or the part of the evidence that it is about.
fn is_placed(message: &str, code: Code) {
    const PARTS: [&str; 22] = [
        "byte ",
        "bytes",
        "`",
        "attachment",
        "key",
        "worker",
        "device",
        "certificate",
        "nonce",
        "expir",
        "issued",
        "subject",
        "signature",
        "image",
        "build",
        "artifact",
        "egress",
        "capabilit",
        "wit",
        "interface",
        "protocol",
        "audience",
    ];
    assert!(PARTS.iter().any(|part| message.contains(part)), "{code}: {message} names no place");
}

/// The texts and numbers of a document, by pointer.
fn leaves(value: &Value, at: String, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let name = name.replace('~', "~0").replace('/', "~1");
                leaves(member, format!("{at}/{name}"), found);
            }
        }
        Value::Array(items) => {
            for (n, item) in items.iter().enumerate() {
                leaves(item, format!("{at}/{n}"), found);
            }
        }
        _ => found.push(at),
    }
}

/// A document with one value in another's place, one that is missing, one too many, or with bytes changed.
fn mutate(document: &[u8], at: Index, how: u8, hostile: usize) -> Vec<u8> {
    let mut value: Value = serde_json::from_slice(document).unwrap();
    let mut found = Vec::new();
    leaves(&value, String::new(), &mut found);
    let pointer = at.get(&found).clone();
    let bad = if hostile == 4 { "x".repeat(3_000) } else { HOSTILE[hostile].to_string() };
    match how % 6 {
        0 => *value.pointer_mut(&pointer).unwrap() = json!(bad),
        1 => *value.pointer_mut(&pointer).unwrap() = json!({ bad: 1 }),
        2 => *value.pointer_mut(&pointer).unwrap() = json!(-1.5),
        3 => {
            let (parent, _) = pointer.rsplit_once('/').unwrap();
            match value.pointer_mut(parent).unwrap() {
                Value::Object(members) => drop(members.insert(bad, json!(null))),
                Value::Array(items) => items.push(json!(bad)),
                _ => {}
            }
        }
        4 => {
            let mut bytes = document.to_vec();
            bytes.truncate(at.index(bytes.len()));
            return bytes;
        }
        _ => {
            let mut bytes = document.to_vec();
            let at = at.index(bytes.len());
            bytes.splice(at..at, bad.into_bytes());
            return bytes;
        }
    }
    serde_json::to_vec(&value).unwrap()
}

fn with_builder(attachments: Vec<Vec<u8>>) -> Case {
    let mut case = Case { attachments, ..Case::default() };
    let key = ScopedKey {
        predicates: vec![PROVENANCE_PREDICATE.into()],
        builders: vec!["https://ci.example/builder@v1".into()],
        ..scoped(&builder(), "ci", KeyRole::Builder)
    };
    case.form.keys.push(key);
    case.form.provenance = Some(ProvenanceRule::new(1));
    case
}

fn provenance() -> Vec<u8> {
    let subject = |name: &str| json!({"name": name, "digest": {"sha256": attestation_support::digest(name).to_string()}});
    serde_json::to_vec(&json!({
        "_type": "https://in-toto.io/Statement/v1", "subject": [subject("image-1"), subject("build-1")],
        "predicateType": PROVENANCE_PREDICATE,
        "predicate": {
            "buildDefinition": {"buildType": "https://ci.example/types/image@v1", "externalParameters": {"ref": "main"}},
            "runDetails": {"builder": {"id": "https://ci.example/builder@v1"}},
        },
    }))
    .unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    /// Evidence in both forms, the envelope around it, a builder's statement and its envelope, each changed in one place.
    #[test]
    fn refused_evidence_is_placed_and_never_repeated_raw(
        which in 0..5_u8, at in any::<Index>(), how in any::<u8>(), hostile in 0..HOSTILE.len(),
    ) {
        let case = Case::default();
        let verdict = match which {
            0 => case.judge_bytes(EvidenceForm::Json, &mutate(&case.claims().to_document(), at, how, hostile)),
            1 => {
                let payload = mutate(&case.claims().to_statement(), at, how, hostile);
                case.judge_bytes(EvidenceForm::Dsse, &seal(PAYLOAD_TYPE, &payload, &[&launcher()]).unwrap())
            }
            2 => case.judge_bytes(EvidenceForm::Dsse, &mutate(&case.envelope(), at, how, hostile)),
            3 => {
                let payload = mutate(&provenance(), at, how, hostile);
                with_builder(vec![seal(PAYLOAD_TYPE, &payload, &[&builder()]).unwrap()]).judge()
            }
            _ => {
                let good = seal(PAYLOAD_TYPE, &provenance(), &[&builder()]).unwrap();
                with_builder(vec![mutate(&good, at, how, hostile)]).judge()
            }
        };
        for failure in verdict.failures() {
            let message = failure.to_string();
            is_plain(&message);
            is_placed(&message, failure.code());
        }
        // The record of it repeats nothing raw either, and the peer's rendering says no more than yes or no.
        is_plain(&serde_json::to_string(&verdict.report()).unwrap().chars().take(LONGEST).collect::<String>());
    }

    /// Policies, changed in one place.
    #[test]
    fn refused_policies_are_placed_and_never_repeated_raw(
        at in any::<Index>(), how in any::<u8>(), hostile in 0..HOSTILE.len(),
    ) {
        let policy = serde_json::to_vec(&form()).unwrap();
        if let Err(error) = AttestationPolicy::from_json(&mutate(&policy, at, how, hostile)) {
            let message = error.to_string();
            is_plain(&message);
            is_placed(&message, error.code());
        }
    }

    /// Certificates and requests: the message names the byte, or the part that is wrong.
    #[test]
    fn refused_certificates_are_placed(at in any::<Index>(), byte in any::<u8>(), cut in any::<bool>()) {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["d1".into()]).unwrap();
        let request = params.serialize_request(&key).unwrap().der().to_vec();
        let leaf = params.self_signed(&key).unwrap().der().to_vec();
        for (mut der, is_leaf) in [(leaf, true), (request, false)] {
            let at = at.index(der.len());
            if cut { der.truncate(at) } else { der[at] ^= byte }
            let refused = if is_leaf {
                DeviceCertificate::from_der(&der).err()
            } else {
                request_key(&der).err()
            };
            if let Some(error) = refused {
                is_plain(&error.to_string());
                is_placed(&error.to_string(), error.code());
            }
        }
    }
}
