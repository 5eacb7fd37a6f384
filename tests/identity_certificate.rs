//! Certificates as other software makes them: what the registry reads from them, and what it refuses.

use leasehold::{
    code::Coded as _,
    digest::Sha256Digest,
    id::DeviceId,
    identity::{
        AuthError, CertificateError, DerError, DeviceCertificate, DeviceCommand, DeviceKind, DeviceLimits,
        DeviceRegistry, RevocationReason, RevocationSubject, request_key,
    },
    time::{Millis, Now, Wall},
};
use proptest::prelude::*;
use rcgen::PublicKeyData as _;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};

/// A leaf and a request for `key`, with names and extensions as certificates have them.
fn made(key: &KeyPair) -> (Vec<u8>, Vec<u8>) {
    let mut params = CertificateParams::new(vec!["press-1.example".into()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2025, 11, 24);
    params.not_after = rcgen::date_time_ymd(2055, 3, 1);
    let request = params.serialize_request(key).unwrap().der().to_vec();
    (params.self_signed(key).unwrap().der().to_vec(), request)
}

fn registry() -> DeviceRegistry {
    DeviceRegistry::new(DeviceLimits::new(10, 10, Millis(1_000)).unwrap(), [1; 16])
}

const NOW: Now = Now::new(0, 1_764_100_000_000);

/// A registry with one device, that device's leaf, and what was read of it.
fn registered() -> (DeviceRegistry, Vec<u8>, DeviceCertificate) {
    let (leaf, _) = made(&KeyPair::generate().unwrap());
    let certificate = DeviceCertificate::from_der(&leaf).unwrap();
    let mut registry = registry();
    let device = DeviceId::new("press-1").unwrap();
    let register = DeviceCommand::Register { device, kind: DeviceKind::Worker, certificate };
    registry.apply(&register, NOW).unwrap();
    (registry, leaf, certificate)
}

#[test]
fn certificates_of_every_key_type_are_read() {
    for algorithm in [&PKCS_ED25519, &PKCS_ECDSA_P256_SHA256, &PKCS_ECDSA_P384_SHA384] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let (leaf, request) = made(&key);
        let read = DeviceCertificate::from_der(&leaf).unwrap();
        assert_eq!(read.fingerprint(), Sha256Digest::of(&leaf));
        let info = Sha256Digest::of(&key.subject_public_key_info());
        assert_eq!(read.key(), info);
        assert_eq!(request_key(&request), Ok(info));
        // 2025-11-24 in two digits, 2055-03-01 in four.
        assert_eq!((read.not_before(), read.not_after()), (Wall(1_763_942_400_000), Wall(2_687_472_000_000)));
    }
}

/// ATTACKS P10: one outer SEQUENCE whose length is the input's; anything after it is refused, not a new device.
#[test]
fn p10_trailing_bytes_are_refused_and_not_a_new_device() {
    let (leaf, request) = made(&KeyPair::generate().unwrap());
    let mut registry = registry();
    let register = DeviceCommand::Register {
        device: DeviceId::new("press-1").unwrap(),
        kind: DeviceKind::Worker,
        certificate: DeviceCertificate::from_der(&leaf).unwrap(),
    };
    registry.apply(&register, NOW).unwrap();
    assert!(registry.authenticate(&leaf, NOW).is_ok());
    for tail in [&[0_u8][..], &[0, 0], b"\n", &leaf] {
        let longer = [&leaf, tail].concat();
        let refused = registry.authenticate(&longer, NOW).unwrap_err();
        assert_eq!(refused, AuthError::Certificate(CertificateError::Der(DerError::Trailing)));
        assert_eq!(refused.code().as_str(), "certificate.malformed");
        assert!(DeviceCertificate::from_der(&longer).is_err());
        assert!(request_key(&[&request, tail].concat()).is_err());
    }
    for end in 0..leaf.len() {
        assert!(DeviceCertificate::from_der(&leaf[..end]).is_err(), "{end}");
    }
    let huge = vec![0x30; 20_000];
    assert_eq!(DeviceCertificate::from_der(&huge), Err(CertificateError::TooLong(20_000)));
    assert!(DeviceCertificate::from_der(&request).is_err());
    assert!(request_key(&leaf).is_err());
}

/// ATTACKS P8, the registry's part: the question is the same for a new connection, a resumed one, and an open
/// stream, and after a revocation so is the answer, at once (invariant 12).
#[test]
fn p8_nothing_revoked_authenticates_and_the_generation_says_so() {
    let key = KeyPair::generate().unwrap();
    let (leaf, _) = made(&key);
    let certificate = DeviceCertificate::from_der(&leaf).unwrap();
    let device = DeviceId::new("press-1").unwrap();
    let subjects = [
        (RevocationSubject::Device(device.clone()), "device.revoked"),
        (RevocationSubject::Certificate(certificate.fingerprint()), "certificate.revoked"),
        (RevocationSubject::Key(certificate.key()), "key.revoked"),
    ];
    for (subject, code) in subjects {
        let mut registry = registry();
        let register =
            DeviceCommand::Register { device: device.clone(), kind: DeviceKind::Worker, certificate };
        registry.apply(&register, NOW).unwrap();
        let seen = registry.authenticate(&leaf, NOW).unwrap().generation();
        let revoke = DeviceCommand::Revoke { subject: subject.clone(), reason: RevocationReason::Lost };
        registry.apply(&revoke, NOW).unwrap();
        assert!(registry.generation() > seen);
        assert_eq!(registry.authenticate(&leaf, NOW).unwrap_err().code().as_str(), code);
        let by_print = registry.authenticate_fingerprint(certificate.fingerprint(), NOW);
        assert_eq!(by_print.unwrap_err().code().as_str(), code);
        // Nothing but the explicit command takes it back: not forgetting the device and registering it anew.
        registry.apply(&DeviceCommand::Remove { device: device.clone() }, NOW).unwrap();
        assert_eq!(registry.apply(&register, NOW).unwrap_err().code().as_str(), code);
        registry.apply(&DeviceCommand::ClearRevocation { subject }, NOW).unwrap();
        registry.apply(&register, NOW).unwrap();
        assert!(registry.authenticate(&leaf, NOW).is_ok());
    }
}

/// A device may take itself out, and needs no operator for it; nobody can do it without its certificate.
#[test]
fn a_device_revokes_itself() {
    let (mut registry, leaf, certificate) = registered();
    let stranger = DeviceCommand::RevokeSelf { fingerprint: Sha256Digest::of(b"other") };
    assert_eq!(registry.apply(&stranger, NOW).unwrap_err().code().as_str(), "certificate.unknown");
    let itself = DeviceCommand::RevokeSelf { fingerprint: certificate.fingerprint() };
    registry.apply(&itself, NOW).unwrap();
    assert_eq!(registry.authenticate(&leaf, NOW).unwrap_err().code().as_str(), "device.revoked");
}

/// The validity is judged on the wall clock, both ends.
#[test]
fn certificates_count_from_not_before_until_before_not_after() {
    let (registry, leaf, certificate) = registered();
    let (begin, end) = (certificate.not_before().0, certificate.not_after().0);
    let code =
        |wall| registry.authenticate(&leaf, Now::new(0, wall)).map_err(|error| error.code().as_str()).err();
    assert_eq!(code(begin - 1), Some("certificate.not_yet_valid"));
    assert_eq!((code(begin), code(end - 1)), (None, None));
    assert_eq!(code(end), Some("certificate.expired"));
}

proptest! {
    /// Invariant 11: no bytes make the reader panic, and one changed byte never leaves the fingerprint the same.
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = DeviceCertificate::from_der(&bytes);
        let _ = request_key(&bytes);
    }

    #[test]
    fn a_changed_certificate_is_another_certificate(at in any::<prop::sample::Index>(), with in 1..=255_u8) {
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let (leaf, _) = made(&key);
        let mut changed = leaf.clone();
        let at = at.index(changed.len());
        changed[at] ^= with;
        if let Ok(read) = DeviceCertificate::from_der(&changed) {
            prop_assert_ne!(read.fingerprint(), Sha256Digest::of(&leaf));
        }
    }
}
