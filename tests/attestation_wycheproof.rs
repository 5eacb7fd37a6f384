//! The signature back ends against Project Wycheproof: each suite of an algorithm that a trusted key can name, vector by
//! vector, over the key as a policy would hold it.
//!
//! What it proves: what a suite calls valid verifies, and what it calls invalid, or acceptable to the lenient, does not.

use leasehold::attestation::signature::{
    Algorithm, DefaultVerifier, KeyError, PublicKey, SignatureVerifier, TrustedKey,
};
use wycheproof::{TestResult, ecdsa, eddsa, mldsa_verify, rsa_pkcs1_verify, rsa_pss_verify};

#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    valid: usize,
    invalid: usize,
    /// Vectors whose key cannot be trusted here: of another size, or in another encoding.
    without_key: usize,
}

impl Seen {
    /// One vector. `key` is what a policy would give; none where it is refused.
    fn see(
        &mut self,
        key: Option<&PublicKey>,
        id: usize,
        message: &[u8],
        signature: &[u8],
        result: TestResult,
    ) {
        let Some(key) = key else {
            self.without_key += 1;
            return;
        };
        let algorithm = key.algorithm();
        let verified = signature.len() <= algorithm.max_signature_bytes()
            && DefaultVerifier.verify(key, message, signature);
        match result {
            TestResult::Valid => assert!(verified, "{algorithm:?} {id} is valid"),
            TestResult::Invalid | TestResult::Acceptable => {
                assert!(!verified, "{algorithm:?} {id} is {result:?}");
            }
        }
        if verified { self.valid += 1 } else { self.invalid += 1 }
    }
}

/// The key that a policy would hold, where it takes it.
fn key(algorithm: Algorithm, bytes: &[u8]) -> Option<PublicKey> {
    let key = PublicKey::new(algorithm, bytes).ok()?;
    DefaultVerifier.check_key(&key).ok().map(|()| key)
}

fn ecdsa_suite(name: ecdsa::TestName, algorithm: Algorithm) -> Seen {
    let mut seen = Seen::default();
    for group in ecdsa::TestSet::load(name).unwrap().test_groups {
        let key = key(algorithm, &group.der);
        for test in group.tests {
            seen.see(key.as_ref(), test.tc_id, &test.msg, &test.sig, test.result);
        }
    }
    seen
}

#[test]
fn ecdsa_verifies_as_wycheproof_says() {
    use ecdsa::TestName::{
        EcdsaSecp256r1Sha256, EcdsaSecp256r1Sha256P1363, EcdsaSecp384r1Sha384, EcdsaSecp384r1Sha384P1363,
    };
    for (name, algorithm) in [
        (EcdsaSecp256r1Sha256, Algorithm::P256Der),
        (EcdsaSecp256r1Sha256P1363, Algorithm::P256P1363),
        (EcdsaSecp384r1Sha384, Algorithm::P384Der),
        (EcdsaSecp384r1Sha384P1363, Algorithm::P384P1363),
    ] {
        let seen = ecdsa_suite(name, algorithm);
        assert!(seen.valid > 100 && seen.invalid > 50 && seen.without_key == 0, "{algorithm:?} {seen:?}");
    }
}

#[test]
fn ed25519_verifies_as_wycheproof_says() {
    let mut seen = Seen::default();
    for group in eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap().test_groups {
        let key = key(Algorithm::Ed25519, &group.key.pk);
        for test in group.tests {
            seen.see(key.as_ref(), test.tc_id, &test.msg, &test.sig, test.result);
        }
    }
    assert!(seen.valid > 50 && seen.invalid > 50 && seen.without_key == 0, "{seen:?}");
}

#[test]
fn rsa_pkcs1_verifies_as_wycheproof_says() {
    use rsa_pkcs1_verify::TestName::{Rsa2048Sha256, Rsa3072Sha256, Rsa4096Sha256};
    for name in [Rsa2048Sha256, Rsa3072Sha256, Rsa4096Sha256] {
        let mut seen = Seen::default();
        for group in rsa_pkcs1_verify::TestSet::load(name).unwrap().test_groups {
            let key = key(Algorithm::RsaPkcs1Sha256, &group.der);
            for test in group.tests {
                seen.see(key.as_ref(), test.tc_id, &test.msg, &test.sig, test.result);
            }
        }
        assert!(seen.valid > 0 && seen.invalid > 100 && seen.without_key == 0, "{name:?} {seen:?}");
    }
}

#[test]
fn rsa_pss_verifies_as_wycheproof_says() {
    use rsa_pss_verify::TestName::{
        RsaPss2048Sha256Mgf1SaltLen32, RsaPss3072Sha256Mgf1SaltLen32, RsaPss4096Sha256Mgf1SaltLen32,
    };
    for name in [RsaPss2048Sha256Mgf1SaltLen32, RsaPss3072Sha256Mgf1SaltLen32, RsaPss4096Sha256Mgf1SaltLen32]
    {
        let mut seen = Seen::default();
        for group in rsa_pss_verify::TestSet::load(name).unwrap().test_groups {
            let key = key(Algorithm::RsaPssSha256, &group.der);
            for test in group.tests {
                seen.see(key.as_ref(), test.tc_id, &test.msg, &test.sig, test.result);
            }
        }
        assert!(seen.valid > 0 && seen.invalid > 30 && seen.without_key == 0, "{name:?} {seen:?}");
    }
    // A salt of another length is another scheme.
    let other =
        rsa_pss_verify::TestSet::load(rsa_pss_verify::TestName::RsaPss2048Sha256Mgf1SaltLen0).unwrap();
    for group in other.test_groups {
        let key = key(Algorithm::RsaPssSha256, &group.der).unwrap();
        let mut valid = group.tests.iter().filter(|test| test.result == TestResult::Valid);
        assert!(valid.all(|test| !DefaultVerifier.verify(&key, &test.msg, &test.sig)));
    }
}

#[test]
fn ml_dsa_65_verifies_as_wycheproof_says() {
    let mut seen = Seen::default();
    for group in mldsa_verify::TestSet::load(mldsa_verify::TestName::MlDsa65Verify).unwrap().test_groups {
        let key = key(Algorithm::MlDsa65, &group.der);
        for test in group.tests {
            // Signatures here have no context.
            let result = match &test.ctx {
                Some(context) if !context.is_empty() => TestResult::Invalid,
                _ => test.result,
            };
            seen.see(key.as_ref(), test.tc_id, &test.msg, &test.sig, result);
        }
    }
    assert!(seen.valid > 10 && seen.invalid > 10, "{seen:?}");
}

/// A trusted key as a policy would state it, in hex or in PEM.
fn stated(algorithm: &str, public_key: &str) -> Result<TrustedKey, serde_json::Error> {
    let document = serde_json::json!({
        "keyid": "k", "algorithm": algorithm, "public_key": public_key, "owner": "o"
    });
    serde_json::from_value(document)
}

/// PEM and hex are one key, written back as hex; what is not exactly one block of a public key is refused, and the refusal
/// says what was due.
#[test]
fn a_key_is_the_same_in_hex_and_in_pem() {
    let ec = ecdsa::TestSet::load(ecdsa::TestName::EcdsaSecp384r1Sha384).unwrap();
    let rsa = rsa_pkcs1_verify::TestSet::load(rsa_pkcs1_verify::TestName::Rsa4096Sha256).unwrap();
    let (ec, rsa) = (&ec.test_groups[0], &rsa.test_groups[0]);
    for (algorithm, der, pem) in [
        ("p384-der", &ec.der, &ec.pem),
        ("p384-p1363", &ec.der, &ec.pem),
        ("rsa-pss-sha256", &rsa.der, &rsa.pem),
        ("rsa-pkcs1-sha256", &rsa.der, &rsa.pem),
    ] {
        let hex: String = der.iter().map(|byte| format!("{byte:02x}")).collect();
        let key = stated(algorithm, &hex).unwrap();
        for spelling in [pem.clone(), format!("{pem}\n"), pem.replace('\n', "\r\n")] {
            let read = stated(algorithm, &spelling).unwrap();
            assert_eq!(read, key);
            assert_eq!(serde_json::to_value(&read).unwrap()["public_key"], hex);
        }
        let twice = format!("{pem}\n{pem}");
        let private = pem.replace("PUBLIC", "PRIVATE");
        let other = pem.replace("PUBLIC KEY", "RSA PUBLIC KEY");
        for bad in [&twice, &private, &other, &pem.replace('\n', "\nx"), &pem.replace("-----END", "----END")]
        {
            let refused = stated(algorithm, bad).unwrap_err().to_string();
            assert!(refused.contains("SubjectPublicKeyInfo") && refused.contains("PEM"), "{refused}");
        }
        assert!(stated("ed25519", pem).is_err() && stated("p256-der", pem).is_err());
    }
    // RFC 8410 section 10.1.
    let pem = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n\
               -----END PUBLIC KEY-----\n";
    let hex = "19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1";
    assert_eq!(stated("ed25519", pem).unwrap(), stated("ed25519", hex).unwrap());
}

/// A DER value with its length in two bytes.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(content.len()).unwrap().to_be_bytes();
    let length: &[u8] = match (high, low) {
        (0, 0..=0x7f) => &[low],
        (0, _) => &[0x81, low],
        _ => &[0x82, high, low],
    };
    [&[tag], length, content].concat()
}

/// An RSA SubjectPublicKeyInfo.
fn rsa(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    let number = |bytes: &[u8]| match bytes[0] {
        0x80.. => der(2, &[&[0], bytes].concat()),
        _ => der(2, bytes),
    };
    let key = der(0x30, &[number(modulus), number(exponent)].concat());
    let algorithm = [0x30, 0x0d, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1, 5, 0];
    der(0x30, &[&algorithm[..], &der(3, &[&[0], &key[..]].concat())].concat())
}

/// RSA keys have 2048 to 4096 bits, an odd modulus, and an exponent that does something.
#[test]
fn rsa_keys_are_neither_short_nor_long_nor_trivial() {
    let modulus = |bytes: usize, first: u8, last: u8| {
        let mut modulus = vec![0x5a; bytes];
        (modulus[0], modulus[bytes - 1]) = (first, last);
        modulus
    };
    let f4 = &[1, 0, 1][..];
    for (modulus, exponent, good) in [
        (modulus(256, 0x80, 1), f4, true),
        (modulus(384, 0xff, 1), f4, true),
        (modulus(512, 0xff, 1), f4, true),
        (modulus(256, 0x80, 1), &[3], true),
        (modulus(256, 0x7f, 1), f4, false),
        (modulus(128, 0xff, 1), f4, false),
        (modulus(513, 0x01, 1), f4, false),
        (modulus(256, 0x80, 2), f4, false),
        (modulus(256, 0x80, 1), &[1], false),
        (modulus(256, 0x80, 1), &[1, 0, 0], false),
        (modulus(256, 0x80, 1), &[1, 0, 0, 0, 1], false),
    ] {
        for algorithm in [Algorithm::RsaPssSha256, Algorithm::RsaPkcs1Sha256] {
            let bytes = rsa(&modulus, exponent);
            let built = PublicKey::new(algorithm, &bytes);
            assert_eq!(built.is_ok(), good, "{} {exponent:?}", modulus.len());
            let longer = PublicKey::new(algorithm, &[&bytes[..], &[0]].concat());
            assert_eq!(longer, Err(KeyError::Malformed(algorithm)));
            if let Ok(key) = built {
                assert_eq!(DefaultVerifier.check_key(&key), Ok(()));
            }
        }
    }
}
