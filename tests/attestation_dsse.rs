//! Envelopes: the worked vector of the DSSE specification, and every way in which a signature must not count.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use leasehold::{
    attestation::{
        dsse::{DsseError, Envelope, EnvelopeLimits, RootError, TrustRoot, pae, seal},
        signature::{
            Algorithm, DefaultVerifier, Ed25519Signer, KeyError, PublicKey, SignatureVerifier, Signer,
            SignerError, TrustedKey,
        },
    },
    code::Coded as _,
    digest::Sha256Digest,
};
use proptest::prelude::*;
use serde_json::{Value, json};

const TYPE: &str = "text/plain";
const LIMITS: EnvelopeLimits = EnvelopeLimits::DEFAULT;

fn signer(name: &str, seed: u8) -> Ed25519Signer {
    Ed25519Signer::from_seed(name, &[seed; 32])
}

fn root(keys: &[(&Ed25519Signer, &str)], threshold: u32) -> TrustRoot {
    TrustRoot::new(keys.iter().map(|(key, owner)| key.trusted_key(owner).unwrap()), threshold).unwrap()
}

fn open(root: &TrustRoot, bytes: &[u8]) -> Result<Vec<u8>, DsseError> {
    root.open(bytes, TYPE, &LIMITS, &DefaultVerifier).map(|opened| opened.payload().to_vec())
}

fn edit(envelope: &[u8], change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut value = serde_json::from_slice(envelope).unwrap();
    change(&mut value);
    serde_json::to_vec(&value).unwrap()
}

/// The vector of the DSSE specification: P-256, r and s as 64 bytes.
#[test]
fn the_worked_vector_of_the_specification_verifies() {
    let kind = "http://example.com/HelloWorld";
    let message = pae(kind, b"hello world");
    assert_eq!(message.len(), 54);
    assert_eq!(
        Sha256Digest::of(&message).to_string(),
        "217751fac2c4f14edb2c9297fbc34abcb016ba88e74757e875ec4ac16fb6b6a1"
    );
    let spki = hex::decode(concat!(
        "3059301306072a8648ce3d020106082a8648ce3d03010703420004",
        "67cd390f77aa359cb08c2235f652270493a9ed832b0abcc01f70954c0390d238",
        "0c782bd54e269125a44f4433aff1432ce94e12bca73aa67ac80cea12608ddf74"
    ))
    .unwrap();
    let text = concat!(
        "{\"payload\": \"aGVsbG8gd29ybGQ=\", \"payloadType\": \"http://example.com/HelloWorld\", ",
        "\"signatures\": [{\"sig\": ",
        "\"A3JqsQGtVsJ2O2xqrI5IcnXip5GToJ3F+FnZ+O88SjtR6rDAajabZKciJTfUiHqJPcIAriEGAHTVeCUjW2JIZA==\"}]}"
    );
    let with = |algorithm| {
        let key = TrustedKey::new("hello", algorithm, &spki, "spec").unwrap();
        assert_eq!(DefaultVerifier.check_key(key.key()), Ok(()));
        TrustRoot::new([key], 1).unwrap().open(text.as_bytes(), kind, &LIMITS, &DefaultVerifier)
    };
    assert_eq!(with(Algorithm::P256P1363).unwrap().payload(), b"hello world");
    // The encoding belongs to the key: the same signature is not tried as DER, nor the same in DER as r and s.
    assert_eq!(with(Algorithm::P256Der), Err(DsseError::Untrusted));
    let raw = STANDARD.decode(&text[text.find("A3Jq").unwrap()..text.len() - 4]).unwrap();
    let der = [&[0x30, 0x44, 2, 0x20], &raw[..32], &[2, 0x20], &raw[32..]].concat();
    let verifies = |algorithm, signature: &[u8]| {
        let key = PublicKey::new(algorithm, &spki).unwrap();
        DefaultVerifier.verify(&key, &message, signature)
    };
    assert!(verifies(Algorithm::P256Der, &der) && verifies(Algorithm::P256P1363, &raw));
    assert!(!verifies(Algorithm::P256P1363, &der));
    // A key may be listed for both encodings; it is one key all the same.
    let both = [Algorithm::P256Der, Algorithm::P256P1363]
        .map(|algorithm| TrustedKey::new("hello", algorithm, &spki, "spec"));
    let both = both.map(Result::unwrap);
    assert!(
        TrustRoot::new(both.clone(), 1)
            .unwrap()
            .open(text.as_bytes(), kind, &LIMITS, &DefaultVerifier)
            .is_ok()
    );
    assert_eq!(TrustRoot::new(both, 2), Err(RootError::Threshold { threshold: 2, owners: 1 }));
    assert!(!verifies(Algorithm::P256Der, &[&der[..], &[0]].concat()), "bytes after the DER");
}

#[test]
fn a_length_counts_bytes_and_not_characters() {
    assert_eq!(pae("\u{e9}", "\u{e9}\u{e9}".as_bytes()), "DSSEv1 2 \u{e9} 4 \u{e9}\u{e9}".as_bytes());
    assert_eq!(pae("", b""), b"DSSEv1 0  0 ");
}

/// Attack A1: a signature over the payload, or over its base64 text, is not one over the encoding.
#[test]
fn a1_only_the_pre_authentication_encoding_counts() {
    let key = signer("k", 1);
    let root = root(&[(&key, "o")], 1);
    let envelope = |signed: &[u8]| {
        let sig = STANDARD.encode(key.sign(signed).unwrap());
        json!({"payload": STANDARD.encode(b"hi"), "payloadType": TYPE, "signatures": [{"sig": sig}]})
            .to_string()
            .into_bytes()
    };
    assert_eq!(open(&root, &envelope(&pae(TYPE, b"hi"))).unwrap(), b"hi");
    let text = STANDARD.encode(b"hi");
    for wrong in [&b"hi"[..], text.as_bytes(), &pae(TYPE, text.as_bytes()), &pae("text/html", b"hi")] {
        assert_eq!(open(&root, &envelope(wrong)), Err(DsseError::Untrusted));
    }
}

/// Attack A9: distinct keys and distinct owners count; ids do not.
#[test]
fn a9_a_threshold_counts_keys_and_owners() {
    let (a, b, c) = (signer("a", 1), signer("b", 2), signer("c", 3));
    let again = signer("alias", 1);
    let two = root(&[(&a, "x"), (&b, "x"), (&c, "y")], 2);
    let sealed = |signers: &[&dyn Signer]| seal(TYPE, b"p", signers).unwrap();
    let have = |have| Err(DsseError::Threshold { have, need: 2 });
    assert_eq!(open(&two, &sealed(&[&a, &c])), Ok(b"p".to_vec()));
    assert_eq!(open(&two, &sealed(&[&a, &b])), have(1), "two keys of one owner");
    assert_eq!(open(&two, &sealed(&[&a, &a])), have(1), "one signature twice");
    assert_eq!(open(&two, &sealed(&[&a, &again])), have(1), "one key under two ids");
    assert_eq!(open(&two, &sealed(&[])), Err(DsseError::NoSignatures));
    let keys = |owners: [&str; 2]| [a.trusted_key(owners[0]).unwrap(), again.trusted_key(owners[1]).unwrap()];
    assert_eq!(TrustRoot::new(keys(["x", "x"]), 2), Err(RootError::Threshold { threshold: 2, owners: 1 }));
    assert_eq!(TrustRoot::new(keys(["x", "y"]), 2), Err(RootError::Conflict));
    assert_eq!(TrustRoot::new(keys(["x", "x"]), 0), Err(RootError::Threshold { threshold: 0, owners: 1 }));
    assert_eq!(TrustRoot::new([], 1), Err(RootError::Empty));
}

/// A wrong, missing or misleading key id neither denies nor grants.
#[test]
fn a_key_id_never_decides() {
    let (a, b, stranger) = (signer("a", 1), signer("b", 2), signer("a", 9));
    let root = root(&[(&a, "x"), (&b, "y")], 1);
    let honest = seal(TYPE, b"p", &[&a]).unwrap();
    for keyid in [json!("b"), json!("unknown"), json!("")] {
        let changed = edit(&honest, |value| value["signatures"][0]["keyid"] = keyid.clone());
        assert_eq!(open(&root, &changed), Ok(b"p".to_vec()), "{keyid}");
    }
    let missing =
        edit(&honest, |value| drop(value["signatures"][0].as_object_mut().unwrap().remove("keyid")));
    assert_eq!(open(&root, &missing), Ok(b"p".to_vec()));
    assert_eq!(open(&root, &seal(TYPE, b"p", &[&stranger]).unwrap()), Err(DsseError::Untrusted));
    // Junk before the honest signature costs attempts, not the verdict.
    let crowd: Vec<Ed25519Signer> = (20..35).map(|seed| signer("a", seed)).collect();
    let mut signers: Vec<&dyn Signer> = crowd.iter().map(|key| key as &dyn Signer).collect();
    signers.push(&a);
    assert_eq!(open(&root, &seal(TYPE, b"p", &signers).unwrap()), Ok(b"p".to_vec()));
}

/// Protobuf's JSON writes a key id that is not there as null: the same as an empty one, and as none.
#[test]
fn a_key_id_may_be_null_empty_or_absent() {
    let key = signer("k", 1);
    let good = seal(TYPE, b"p", &[&key]).unwrap();
    let change = |keyid: Option<Value>| {
        edit(&good, |envelope| {
            let signature = envelope["signatures"][0].as_object_mut().unwrap();
            signature.remove("keyid");
            signature.extend(keyid.map(|keyid| ("keyid".to_owned(), keyid)));
        })
    };
    for keyid in [None, Some(Value::Null), Some(json!("")), Some(json!("another"))] {
        assert_eq!(open(&root(&[(&key, "o")], 1), &change(keyid)), Ok(b"p".to_vec()));
    }
}

/// Counts what it is asked, and says what the default verifier says.
struct Counting(std::cell::Cell<usize>);

impl SignatureVerifier for Counting {
    fn supports(&self, algorithm: Algorithm) -> bool {
        DefaultVerifier.supports(algorithm)
    }
    fn check_key(&self, key: &PublicKey) -> Result<(), KeyError> {
        DefaultVerifier.check_key(key)
    }
    fn verify(&self, key: &PublicKey, message: &[u8], signature: &[u8]) -> bool {
        self.0.set(self.0.get() + 1);
        DefaultVerifier.verify(key, message, signature)
    }
}

/// The number of verifications is bounded, whatever the message asks for, and the end of it has a code of its own. Without
/// key ids the order of signatures and keys decides nothing within the bound.
#[test]
fn verifications_are_bounded() {
    let keys: Vec<Ed25519Signer> = (0..64).map(|seed| signer("k", seed)).collect();
    let root = TrustRoot::new(keys.iter().map(|key| key.trusted_key("o").unwrap()), 1).unwrap();
    let strangers: Vec<Ed25519Signer> = (100..116).map(|seed| signer("k", seed)).collect();
    let sealed = |signers: &[&Ed25519Signer], keyid: &str| {
        let signers: Vec<&dyn Signer> = signers.iter().map(|signer| *signer as &dyn Signer).collect();
        edit(&seal(TYPE, b"p", &signers).unwrap(), |envelope| {
            for signature in envelope["signatures"].as_array_mut().unwrap() {
                signature["keyid"] = json!(keyid);
            }
        })
    };
    let crowd: Vec<&Ed25519Signer> = strangers.iter().collect();
    for (keyid, limits, want) in [
        ("k", LIMITS, 128),
        ("stranger", LIMITS, 128),
        ("", LIMITS, 256),
        ("", LIMITS.verifications(5), 5),
        ("k", LIMITS.verifications(5), 5),
        ("", LIMITS.verifications(1 << 20), 256),
    ] {
        let verifier = Counting(std::cell::Cell::new(0));
        let refused = root.open(&sealed(&crowd, keyid), TYPE, &limits, &verifier).unwrap_err();
        assert_eq!((refused.code().as_str(), verifier.0.get()), ("dsse.verifications", want), "{keyid}");
    }
    // Three signatures without key ids, of which one is good, by whichever key.
    for (place, key) in [(0, 0), (2, 0), (0, 63), (2, 63), (1, 31)] {
        let mut signers = vec![&strangers[0], &strangers[1]];
        signers.insert(place, &keys[key]);
        assert_eq!(open(&root, &sealed(&signers, "")), Ok(b"p".to_vec()), "{place} by {key}");
    }
    // Every signature tried with every key: nobody is trusted, and nothing was left out.
    let refused = open(&root, &sealed(&crowd[..2], "")).unwrap_err();
    assert_eq!(refused, DsseError::Untrusted);
}

/// Attack A8, invariant 11: an envelope that is not exactly one is refused before any signature is looked at.
#[test]
fn a8_malformed_envelopes_are_refused_with_a_code() {
    let key = signer("k", 1);
    let root = root(&[(&key, "o")], 1);
    let good = seal(TYPE, b"p", &[&key]).unwrap();
    let text = String::from_utf8(good.clone()).unwrap();
    let sig = serde_json::from_slice::<Value>(&good).unwrap()["signatures"][0].clone();
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (b"[]".to_vec(), "json.not_an_object"),
        (format!("{text} ").replace("} ", "}}").into_bytes(), "json.trailing"),
        (text.replacen('{', "{\"payload\":\"\",", 1).into_bytes(), "json.duplicate_key"),
        (text.replace("\"payload\"", "\"body\"").into_bytes(), "json.shape"),
        (edit(&good, |v| v["payload"] = json!(["cA=="])), "json.shape"),
        (edit(&good, |v| v["signatures"] = json!({})), "json.shape"),
        (edit(&good, |v| v["signatures"][0] = json!(["k", sig["sig"]])), "json.shape"),
        (edit(&good, |v| v["signatures"][0]["keyid"] = json!(7)), "json.shape"),
        (edit(&good, |v| v["signatures"] = json!([])), "dsse.no_signatures"),
        (edit(&good, |v| v["signatures"] = json!(vec![sig.clone(); 17])), "dsse.too_many_signatures"),
        (edit(&good, |v| v["payload"] = json!("cA")), "dsse.base64"),
        (edit(&good, |v| v["payload"] = json!("cB==")), "dsse.base64"),
        (edit(&good, |v| v["signatures"][0]["sig"] = json!("deadbeef0")), "dsse.base64"),
        (edit(&good, |v| v["payloadType"] = json!("t".repeat(257))), "dsse.payload_type"),
        (edit(&good, |v| v["x"] = json!("y".repeat(64 << 10))), "json.too_large"),
        (edit(&good, |v| v["payloadType"] = json!("text/html")), "dsse.untrusted"),
    ];
    for (bytes, want) in cases {
        assert_eq!(
            open(&root, &bytes).unwrap_err().code().as_str(),
            want,
            "{}",
            String::from_utf8_lossy(&bytes)
        );
    }
    // Members that DSSE does not know are ignored, as it says; a validly signed other type is not what was asked for.
    let foreign = edit(&good, |v| v["extra"] = json!({"a": [1.5]}));
    assert_eq!(open(&root, &foreign), Ok(b"p".to_vec()));
    let other = root.open(&good, "text/html", &LIMITS, &DefaultVerifier);
    assert_eq!(other.unwrap_err().code().as_str(), "dsse.payload_type");
    assert!(Envelope::parse(&good, &LIMITS.bytes(16)).is_err());
}

/// Attack A11: who signs again, or changes a signature that stays valid, has not made other evidence.
#[test]
fn a11_the_identity_is_the_payload_and_not_the_signature() {
    let (a, b) = (signer("a", 1), signer("b", 2));
    let root = root(&[(&a, "x"), (&b, "y")], 1);
    let digest = |bytes: &[u8]| root.open(bytes, TYPE, &LIMITS, &DefaultVerifier).unwrap().payload_digest();
    let one = seal(TYPE, b"p", &[&a]).unwrap();
    let two = seal(TYPE, b"p", &[&b, &a]).unwrap();
    assert_ne!(one, two);
    assert_eq!(digest(&one), digest(&two));
    let url_safe = edit(&one, |v| {
        let sig = v["signatures"][0]["sig"].as_str().unwrap().replace('+', "-").replace('/', "_");
        v["signatures"][0]["sig"] = json!(sig);
    });
    assert_eq!(digest(&one), digest(&url_safe));
}

/// Attack A11: s plus the group order is the same point and another text; strict verification refuses it.
#[test]
fn a11_a_malleable_ed25519_signature_is_refused() {
    let key = signer("k", 1);
    let trusted = key.trusted_key("o").unwrap();
    let mut signature = key.sign(b"m").unwrap();
    assert!(DefaultVerifier.verify(trusted.key(), b"m", &signature));
    let order = hex::decode("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010").unwrap();
    let mut carry = 0u16;
    for (byte, add) in signature[32..].iter_mut().zip(order) {
        carry += u16::from(*byte) + u16::from(add);
        *byte = carry as u8;
        carry >>= 8;
    }
    assert!(!DefaultVerifier.verify(trusted.key(), b"m", &signature));
}

/// No back end is a refusal with its own code, never a pass.
#[test]
fn an_algorithm_without_a_back_end_is_refused() {
    struct None;
    impl SignatureVerifier for None {
        fn supports(&self, _: Algorithm) -> bool {
            false
        }
        fn check_key(&self, key: &PublicKey) -> Result<(), KeyError> {
            Err(KeyError::Unsupported(key.algorithm()))
        }
        fn verify(&self, _: &PublicKey, _: &[u8], _: &[u8]) -> bool {
            false
        }
    }
    let key = signer("k", 1);
    let root = root(&[(&key, "o")], 1);
    let bytes = seal(TYPE, b"p", &[&key]).unwrap();
    let error = root.open(&bytes, TYPE, &LIMITS, &None).unwrap_err();
    assert_eq!(error.code().as_str(), "signature.unsupported_algorithm");
    assert_eq!(root.check_keys(&None), Err(KeyError::Unsupported(Algorithm::Ed25519)));
}

#[test]
fn a_signer_that_fails_makes_no_envelope() {
    struct Gone;
    impl Signer for Gone {
        fn algorithm(&self) -> Algorithm {
            Algorithm::Ed25519
        }
        fn key_id(&self) -> &str {
            "gone"
        }
        fn sign(&self, _: &[u8]) -> Result<Vec<u8>, SignerError> {
            Err(SignerError)
        }
    }
    assert_eq!(seal(TYPE, b"p", &[&Gone]), Err(SignerError));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// One byte changed anywhere: the payload that comes out, if any does, is the one that was signed.
    #[test]
    fn no_mutation_yields_another_payload(payload in prop::collection::vec(any::<u8>(), 0..40),
                                          at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let key = signer("k", 1);
        let root = root(&[(&key, "o")], 1);
        let mut bytes = seal(TYPE, &payload, &[&key]).unwrap();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(opened) = open(&root, &bytes) {
            prop_assert_eq!(opened, payload);
        }
    }
}
