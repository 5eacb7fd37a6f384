//! Certificates as other software makes them: what the registry reads from them, and what it refuses.

use leasehold::{
    code::Coded as _,
    digest::Sha256Digest,
    id::DeviceId,
    identity::{
        AuthError, CertificateError, DerError, DerErrorKind, DeviceCertificate, DeviceCommand, DeviceKind,
        DeviceLimits, DeviceRegistry, OverlapEnd, RevocationReason, RevocationSubject, request_key,
    },
    time::{Millis, Now, Wall},
};
use proptest::prelude::*;
use rcgen::PublicKeyData as _;
use rcgen::{
    CertificateParams, CustomExtension, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519,
};

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

/// Attack P10: one outer SEQUENCE whose length is the input's; anything after it is refused, not a new device.
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
        let AuthError::Certificate(CertificateError::Der(DerError { kind, offset, .. })) = refused else {
            panic!("{refused}")
        };
        assert_eq!((kind, offset), (DerErrorKind::Trailing, leaf.len()));
        assert_eq!(refused.code().as_str(), "certificate.malformed");
        assert!(DeviceCertificate::from_der(&longer).is_err());
        assert!(request_key(&[&request, tail].concat()).is_err());
    }
    for end in 0..leaf.len() {
        assert!(DeviceCertificate::from_der(&leaf[..end]).is_err(), "{end}");
    }
    assert!(DeviceCertificate::from_der(&request).is_err());
    assert!(request_key(&leaf).is_err());
}

/// Attack P8, the registry's part: the question is the same for a new connection, a resumed one, and an open
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

/// The validity is judged on the wall clock; both ends are included (RFC 5280 section 4.1.2.5).
#[test]
fn certificates_count_from_not_before_through_not_after() {
    let (registry, leaf, certificate) = registered();
    let (begin, end) = (certificate.not_before().0, certificate.not_after().0);
    let code =
        |wall| registry.authenticate(&leaf, Now::new(0, wall)).map_err(|error| error.code().as_str()).err();
    assert_eq!(code(begin - 1), Some("certificate.not_yet_valid"));
    assert_eq!((code(begin), code(end)), (None, None));
    assert_eq!(code(end + 1), Some("certificate.expired"));
    assert_eq!(certificate.expires(), Wall(end + 1));

    let mut params = CertificateParams::new(vec![]).unwrap();
    params.not_before = rcgen::date_time_ymd(2025, 11, 24);
    params.not_after = params.not_before;
    let leaf = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
    let read = DeviceCertificate::from_der(leaf.der()).unwrap();
    assert_eq!((read.not_before(), read.not_after()), (Wall(1_763_942_400_000), Wall(1_763_942_400_000)));
    params.not_after = rcgen::date_time_ymd(2025, 11, 23);
    let leaf = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
    assert_eq!(DeviceCertificate::from_der(leaf.der()), Err(CertificateError::Validity));
}

/// How long a certificate may be is for the registry's limits to say (invariant 11): 16 KiB where they say nothing, and
/// more for leaves that carry evidence in an extension.
#[test]
fn the_longest_certificate_is_what_the_limits_say() {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.not_before = rcgen::date_time_ymd(2025, 11, 24);
    let evidence = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 311, 105, 1], vec![7; 20_000]);
    params.custom_extensions.push(evidence);
    let leaf = params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec();
    let bytes = leaf.len();
    let certificate = DeviceCertificate::from_der(&leaf).unwrap();
    let limits = DeviceLimits::new(10, 10, Millis(1_000)).unwrap();
    for (most, fits) in [(None, false), (Some(bytes as u32 - 1), false), (Some(bytes as u32), true)] {
        let limits = most.map_or(limits, |most| limits.with_max_certificate_bytes(most).unwrap());
        let mut registry = DeviceRegistry::new(limits, [1; 16]);
        let device = DeviceId::new("press-1").unwrap();
        let register = DeviceCommand::Register { device, kind: DeviceKind::Worker, certificate };
        registry.apply(&register, NOW).unwrap();
        let limit = most.map_or(16 * 1024, |most| most as usize);
        let refused = AuthError::Certificate(CertificateError::TooLong { bytes, limit });
        assert_eq!(registry.authenticate(&leaf, NOW).err(), (!fits).then_some(refused));
    }
    for bad in [0, 1023, 64 * 1024 + 1] {
        assert_eq!(limits.with_max_certificate_bytes(bad).unwrap_err().code().as_str(), "device.limits");
    }
    let huge = vec![0x30; 70_000];
    let refused = CertificateError::TooLong { bytes: 70_000, limit: 64 * 1024 };
    assert_eq!(DeviceCertificate::from_der(&huge), Err(refused));
    let refused = CertificateError::TooLong { bytes: 70_000, limit: 16 * 1024 };
    assert_eq!(request_key(&huge), Err(refused));
}

/// A certificate whose validity is over is neither registered, nor put in place of another, nor rotated to; the last
/// instant of its validity still counts.
#[test]
fn an_expired_certificate_gets_nobody_in() {
    let (mut registry, _, certificate) = registered();
    let other = |not_after| {
        let digest = |text: &str| Sha256Digest::of(text.as_bytes());
        DeviceCertificate::new(digest("other"), digest("its key"), Wall(0), Wall(not_after)).unwrap()
    };
    let device = |name: &str| DeviceId::new(name).unwrap();
    let ways = |next: DeviceCertificate| {
        let kind = DeviceKind::Worker;
        [
            DeviceCommand::Register { device: device("press-2"), kind, certificate: next },
            DeviceCommand::Replace { device: device("press-1"), kind, certificate: next },
            DeviceCommand::BeginRotation {
                device: device("press-1"),
                next,
                overlap: Millis(1_000),
                at_deadline: OverlapEnd::AbandonNew,
            },
        ]
    };
    for command in ways(other(NOW.wall.0 - 1)) {
        let before = registry.clone();
        let refused = registry.apply(&command, NOW).unwrap_err();
        assert_eq!(refused.code().as_str(), "certificate.expired", "{command:?}");
        assert_eq!(registry, before);
    }
    for command in ways(other(NOW.wall.0)) {
        assert!(registry.decide(&command, NOW).is_ok(), "{command:?}");
    }
    assert!(registry.authenticate_fingerprint(certificate.fingerprint(), NOW).is_ok());
}

/// Certificates and requests as openssl, GnuTLS, node-forge, Python's cryptography and rcgen make them are read alike: the
/// key as openssl names it, and one validity that is written in two digits and in four. `identity_files/make.sh` made them.
#[test]
fn what_five_tools_make_is_read_alike() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/identity_files");
    let table = std::fs::read_to_string(format!("{folder}/table.jsonl")).unwrap();
    let keys: Vec<(String, Sha256Digest)> = table
        .lines()
        .map(|line| {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            (row["key"].as_str().unwrap().into(), row["spki_sha256"].as_str().unwrap().parse().unwrap())
        })
        .collect();
    let (mut certificates, mut requests) = (Vec::new(), Vec::new());
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let Some(name) = name.strip_suffix(".der") else { continue };
        let (tool, kind) = name.split_once('-').unwrap();
        let (_, due) = keys.iter().find(|(key, _)| kind.starts_with(key.as_str())).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        if name.ends_with(".csr") {
            assert_eq!(request_key(&bytes), Ok(*due), "{name}");
            assert!(DeviceCertificate::from_der(&bytes).is_err(), "{name}");
            requests.push(tool.to_owned());
        } else {
            let read = DeviceCertificate::from_der(&bytes).unwrap();
            let due = DeviceCertificate::new(
                Sha256Digest::of(&bytes),
                *due,
                Wall(1_763_942_400_000),
                Wall(2_687_472_000_000),
            );
            assert_eq!(Ok(read), due, "{name}");
            assert!(request_key(&bytes).is_err(), "{name}");
            certificates.push(tool.to_owned());
        }
    }
    for tools in [&mut certificates, &mut requests] {
        tools.sort();
        tools.dedup();
        assert_eq!(**tools, ["cryptography", "forge", "gnutls", "openssl"]);
    }
    // The fifth is `certificates_of_every_key_type_are_read`, whose files rcgen makes as the test runs.
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
