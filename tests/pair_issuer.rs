//! The authority of the examples, which signs certificates for paired devices.
//!
//! What it proves: a certificate request counts for its public key and for nothing else, and only where its sender has
//! shown that it holds the private key.

#[path = "../examples/fleet/issuer.rs"]
mod issuer;

use std::time::Duration;

use issuer::{DeviceAuthority, evidence_key};
use leasehold::{
    id::DeviceId,
    identity::{DeviceCertificate, pairing::IssueError, request_key},
    time::{Now, Wall},
};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PublicKeyData, SignatureAlgorithm,
};

const NOW: Now = Now::new(0, 1_764_000_000_000);
const DAY: Duration = Duration::from_secs(24 * 3600);

fn authority() -> DeviceAuthority {
    DeviceAuthority::new("devices", DAY).unwrap()
}

fn device() -> DeviceId {
    DeviceId::new("press-1").unwrap()
}

fn key(algorithm: &'static SignatureAlgorithm) -> KeyPair {
    KeyPair::generate_for(algorithm).unwrap()
}

fn request(key: &KeyPair) -> Vec<u8> {
    CertificateParams::new(vec![]).unwrap().serialize_request(key).unwrap().der().to_vec()
}

/// What the authority signed: the first element of the outer SEQUENCE, here with a length of one byte.
fn signed_part(leaf: &[u8]) -> &[u8] {
    assert_eq!((&leaf[..2], &leaf[4..6]), (&[0x30, 0x82][..], &[0x30, 0x81][..]));
    &leaf[4..7 + usize::from(leaf[6])]
}

/// The serial number in what was signed, and everything after it.
fn split_serial(signed: &[u8]) -> (&[u8], &[u8]) {
    // SEQUENCE with a length of one byte, version, INTEGER.
    assert_eq!((&signed[..2], &signed[3..9]), (&[0x30, 0x81][..], &[0xa0, 3, 2, 1, 2, 2][..]));
    signed[10..].split_at(usize::from(signed[9]))
}

#[test]
fn a_device_gets_a_certificate_for_its_own_key() {
    for algorithm in [&PKCS_ED25519, &PKCS_ECDSA_P256_SHA256] {
        let key = key(algorithm);
        let request = request(&key);
        let leaf = authority().sign(&device(), &request, NOW).unwrap();
        let certificate = DeviceCertificate::from_der(&leaf).unwrap();
        assert_eq!(certificate.key(), request_key(&request).unwrap());
        assert_eq!(certificate.not_after(), Wall(NOW.wall.0 + 24 * 3600 * 1000));
        assert!(certificate.not_before() < NOW.wall);
        let ed25519 = *algorithm == PKCS_ED25519;
        let evidence = evidence_key(&request);
        assert_eq!(evidence, if ed25519 { Ok(key.der_bytes().to_vec()) } else { Err(IssueError::Request) });
    }
}

/// A request over somebody else's key: one whose signature is not of the key in it.
#[test]
fn a_request_that_does_not_prove_its_key_is_not_signed() {
    let (own, stolen) = (key(&PKCS_ED25519), key(&PKCS_ED25519));
    let honest = request(&own);
    let at = honest.windows(32).position(|bytes| bytes == own.der_bytes()).unwrap();
    let mut forged = honest.clone();
    forged[at..at + 32].copy_from_slice(stolen.der_bytes());
    assert!(request_key(&forged).is_ok(), "well-formed, so that it is the signature that is judged");
    let mut cut = honest.clone();
    cut.pop();
    let longer = [honest.as_slice(), &[0]].concat();
    for bad in [&forged, &cut, &longer, &Vec::new()] {
        assert_eq!(authority().sign(&device(), bad, NOW), Err(IssueError::Request));
        assert_eq!(evidence_key(bad), Err(IssueError::Request));
    }
    assert!(authority().sign(&device(), &honest, NOW).is_ok());
}

/// What the authority cannot check is refused with a reason of its own: a key of another kind, and a request for a
/// P-256 key that is signed with SHA-512, which is as valid as one with SHA-256.
#[test]
fn a_request_in_another_algorithm_is_refused_as_such() {
    let other_kind = request(&key(&PKCS_ECDSA_P384_SHA384));
    let other_hash = include_bytes!("identity_files/openssl-p256-sha512.csr.der");
    for bad in [&other_kind[..], other_hash] {
        assert!(request_key(bad).is_ok());
        assert_eq!(authority().sign(&device(), bad, NOW), Err(IssueError::Algorithm));
        assert_eq!(evidence_key(bad), Err(IssueError::Algorithm));
    }
}

/// RFC 5280 section 4.1.2.2: no two certificates of an authority have one serial number, not for one key either.
#[test]
fn every_certificate_has_a_serial_number_of_its_own() {
    let (authority, request) = (authority(), request(&key(&PKCS_ED25519)));
    let serial = || {
        let leaf = authority.sign(&device(), &request, NOW).unwrap();
        let (serial, _) = split_serial(signed_part(&leaf));
        assert!(serial.len() == 16 && serial[0] < 0x80, "positive, and at most 20 bytes: {serial:?}");
        serial.to_vec()
    };
    assert_ne!(serial(), serial());
}

/// A request that asks to be an authority, a server and another device gets a device's certificate.
#[test]
fn nothing_but_the_key_is_taken_from_a_request() {
    let key = key(&PKCS_ED25519);
    let mut greedy = CertificateParams::new(vec!["coordinator.fleet.test".to_owned()]).unwrap();
    greedy.distinguished_name.push(DnType::CommonName, "press-2");
    greedy.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    greedy.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    greedy.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let greedy = greedy.serialize_request(&key).unwrap().der().to_vec();
    let authority = authority();
    let (modest, greedy) = (
        authority.sign(&device(), &request(&key), NOW).unwrap(),
        authority.sign(&device(), &greedy, NOW).unwrap(),
    );
    assert_eq!(split_serial(signed_part(&modest)).1, split_serial(signed_part(&greedy)).1);
}
