//! The registry against random commands: replay, snapshots, revocation, uniqueness, bounds.

use alloc::{format, vec, vec::Vec};

use proptest::prelude::*;

use super::{snapshot::DeviceRegistrySnapshot, *};
use crate::{
    code::Coded,
    digest::Sha256Digest,
    id::{DeviceId, OrderId},
    time::{Millis, Now, Wall},
};

const INDEX_KEY: [u8; 16] = [3; 16];

fn limits() -> DeviceLimits {
    DeviceLimits::new(3, 2, Millis(50)).unwrap().with_renewal_grace(Millis(120)).unwrap()
}

fn device(n: u8) -> DeviceId {
    DeviceId::new(&format!("d{n}")).unwrap()
}

/// Certificate `n`: every third one has the key of the one before it.
fn certificate(n: u8) -> DeviceCertificate {
    let key = Sha256Digest::of(&[b'k', n - n % 3 / 2]);
    DeviceCertificate::new(Sha256Digest::of(&[b'c', n]), key, Wall(0), Wall(100 + u64::from(n) * 40)).unwrap()
}

fn subject() -> impl Strategy<Value = RevocationSubject> {
    prop_oneof![
        (0..6_u8).prop_map(|n| RevocationSubject::Device(device(n))),
        (0..9_u8).prop_map(|n| RevocationSubject::Certificate(certificate(n).fingerprint())),
        (0..9_u8).prop_map(|n| RevocationSubject::Key(certificate(n).key())),
    ]
}

fn order() -> impl Strategy<Value = OrderId> {
    prop_oneof![Just(OrderId::new("a").unwrap()), Just(OrderId::new("b").unwrap())]
}

fn terms(names: &str, count: u32, seconds: u64) -> StandingTerms {
    let lasts = Millis::from_secs(seconds);
    StandingTerms::new(names.parse().unwrap(), DeviceKind::Worker, count, lasts).unwrap()
}

fn command() -> impl Strategy<Value = DeviceCommand> {
    let id = || (0..5_u8).prop_map(device);
    let cert = || (0..9_u8).prop_map(certificate);
    let print = || (0..9_u8).prop_map(|n| certificate(n).fingerprint());
    let end = prop_oneof![Just(OverlapEnd::RetireOld), Just(OverlapEnd::AbandonNew)];
    prop_oneof![
        4 => (id(), cert()).prop_map(|(device, certificate)| DeviceCommand::Register {
            device, kind: DeviceKind::Worker, certificate
        }),
        1 => (id(), cert()).prop_map(|(device, certificate)| DeviceCommand::Replace {
            device, kind: DeviceKind::DesktopNode, certificate
        }),
        4 => (id(), cert(), 0..60_u64, end).prop_map(|(device, next, overlap, at_deadline)| {
            DeviceCommand::BeginRotation { device, next, overlap: Millis(overlap), at_deadline }
        }),
        3 => print().prop_map(|fingerprint| DeviceCommand::ConfirmUse { fingerprint }),
        1 => id().prop_map(|device| DeviceCommand::AbandonRotation { device }),
        1 => id().prop_map(|device| DeviceCommand::Settle { device }),
        2 => subject().prop_map(|subject| DeviceCommand::Revoke { subject, reason: RevocationReason::Lost }),
        1 => print().prop_map(|fingerprint| DeviceCommand::RevokeSelf { fingerprint }),
        3 => subject().prop_map(|subject| DeviceCommand::ClearRevocation { subject }),
        1 => id().prop_map(|device| DeviceCommand::Remove { device }),
        2 => (order(), 1..3_u32, 1..5_u64).prop_map(|(order, count, lasts)| DeviceCommand::OrderRenewals {
            order, terms: terms("d*", count, lasts)
        }),
        1 => order().prop_map(|order| DeviceCommand::EndRenewals { order }),
        4 => (print(), cert(), 0..60_u64).prop_map(|(fingerprint, next, overlap)| DeviceCommand::Renew {
            fingerprint, next, overlap: Millis(overlap)
        }),
        1 => print().prop_map(|fingerprint| DeviceCommand::ReportClone { fingerprint }),
    ]
}

fn check_state(registry: &DeviceRegistry, now: Now) {
    // Invariant 13.
    assert!(registry.len() <= 3);
    assert!(registry.revoked().count() <= 3 * 5 + 2);
    let mut owners: Vec<(Sha256Digest, DeviceId)> = Vec::new();
    for record in registry.devices() {
        assert!(record.certificates().count() <= 2 && registry.former(record.device()).len() <= 4);
        for former in registry.former(record.device()) {
            // One that came back to its device is in force again. Until the rotation to it has ended it stays a
            // former one: should that rotation lapse, its use still tells of a clone.
            assert_ne!(record.certificate().fingerprint(), *former);
            let owner = registry.by_former(former).unwrap().device();
            assert!(registry.former(owner).contains(former));
        }
        for certificate in record.certificates() {
            // One certificate and one key belong to one device.
            let (found, _) = registry.by_certificate(&certificate.fingerprint()).unwrap();
            assert_eq!(found, record);
            assert_eq!(registry.by_key(&certificate.key()).unwrap(), record);
            owners.push((certificate.fingerprint(), record.device().clone()));
        }
    }
    for n in 0..9 {
        let certificate = certificate(n);
        let revoked = |subject| registry.revocation(&subject).is_some();
        let owner = owners.iter().find(|(print, _)| *print == certificate.fingerprint());
        match registry.authenticate_fingerprint(certificate.fingerprint(), now) {
            Ok(view) => {
                assert_eq!(Some(view.device()), owner.map(|(_, device)| device));
                assert!(certificate.is_current(now.wall));
                // Invariant 12.
                assert!(!revoked(RevocationSubject::Device(view.device().clone())));
                assert!(!revoked(RevocationSubject::Certificate(certificate.fingerprint())));
                assert!(!revoked(RevocationSubject::Key(certificate.key())));
            }
            Err(AuthError::Unknown(_)) => assert_eq!(owner, None),
            Err(_) => {}
        }
    }
}

proptest! {
    /// Invariants 8, 12, 13: refused commands change nothing, the fold of the stored events is the state, every
    /// event passes recovery's check, the snapshot loads to an equal registry, nothing revoked authenticates.
    #[test]
    fn random_commands_keep_the_invariants(
        commands in prop::collection::vec((command(), 0..20_u64), 0..120),
    ) {
        let mut registry = DeviceRegistry::new(limits(), INDEX_KEY);
        let mut replayed = registry.clone();
        let mut now = Now::new(0, 0);
        for (command, wait) in commands {
            now = now.plus(Millis(wait));
            let before = registry.clone();
            match registry.apply(&command, now) {
                Ok(events) => {
                    for event in events {
                        let ends = !matches!(
                            event,
                            DeviceEvent::DeviceRegistered { .. }
                                | DeviceEvent::RotationBegun { .. }
                                | DeviceEvent::RenewalsOrdered { .. }
                                | DeviceEvent::RenewalGranted { .. }
                        );
                        let stored = postcard::to_allocvec(&event).unwrap();
                        let event = DeviceEvent::from(
                            postcard::from_bytes::<StoredDeviceEvent>(&stored).unwrap(),
                        );
                        prop_assert!(replayed.admits(&event), "{event:?}");
                        let generation = replayed.generation();
                        replayed.evolve(&event);
                        prop_assert_eq!(replayed.generation(), generation + u64::from(ends));
                    }
                }
                Err(error) => {
                    prop_assert_eq!(&registry, &before);
                    // A full set never protects what is registered.
                    if let (DeviceCommand::Revoke { subject, .. }, DeviceError::RevocationsFull(_)) =
                        (&command, &error)
                    {
                        let registered = match subject {
                            RevocationSubject::Device(device) => registry.get(device).is_some(),
                            RevocationSubject::Certificate(print) => registry.by_certificate(print).is_some(),
                            RevocationSubject::Key(key) => registry.by_key(key).is_some(),
                        };
                        prop_assert!(!registered);
                    }
                }
            }
            check_state(&registry, now);
        }
        prop_assert_eq!(&registry, &replayed);
        let stored = postcard::to_allocvec(&registry.snapshot()).unwrap();
        let restored =
            DeviceRegistry::restore(postcard::from_bytes(&stored).unwrap(), limits(), [9; 16]).unwrap();
        prop_assert_eq!(&registry, &restored);
        prop_assert_eq!(registry.snapshot(), restored.snapshot());
        check_state(&restored, now);
        // No shorter prefix loads: no part of the state can be lost unseen.
        for end in (0..stored.len()).step_by(7) {
            prop_assert!(postcard::from_bytes::<DeviceRegistrySnapshot>(&stored[..end]).is_err());
        }
    }
}

fn registered(n: u8) -> DeviceRegistry {
    let mut registry = DeviceRegistry::new(limits(), INDEX_KEY);
    for n in 0..n {
        let command = DeviceCommand::Register {
            device: device(n),
            kind: DeviceKind::Worker,
            certificate: certificate(n * 3),
        };
        registry.apply(&command, Now::new(0, 0)).unwrap();
    }
    registry
}

fn revoke(subject: RevocationSubject) -> DeviceCommand {
    DeviceCommand::Revoke { subject, reason: RevocationReason::KeyCompromise }
}

/// Invariant 12: a snapshot whose revocation set was emptied, exchanged or left out does not load.
#[test]
fn a_registry_without_its_revocation_set_does_not_load() {
    let mut registry = registered(2);
    registry.apply(&revoke(RevocationSubject::Device(device(0))), Now::new(1, 1)).unwrap();
    let json = serde_json::to_value(registry.snapshot()).unwrap();
    let load = |value: serde_json::Value| {
        serde_json::from_value::<DeviceRegistrySnapshot>(value)
            .map(|snapshot| DeviceRegistry::restore(snapshot, limits(), INDEX_KEY))
    };
    assert_eq!(load(json.clone()).unwrap().unwrap(), registry);
    let mut emptied = json.clone();
    emptied["revoked"] = serde_json::json!([]);
    assert_eq!(load(emptied).unwrap(), Err(RestoreError::Revocations));
    let mut missing = json.clone();
    missing.as_object_mut().unwrap().remove("revoked");
    assert!(load(missing).is_err());
    let mut older = json.clone();
    older["generation"] = serde_json::json!(0);
    assert_eq!(load(older).unwrap(), Err(RestoreError::Revocations));
    let mut twice = json.clone();
    let first = twice["devices"][0].clone();
    twice["devices"].as_array_mut().unwrap().push(first);
    assert_eq!(load(twice).unwrap(), Err(RestoreError::Collision(device(0))));
    let mut newer = json;
    newer["version"] = serde_json::json!(2);
    assert_eq!(load(newer).unwrap(), Err(RestoreError::Version(2)));
}

/// Invariant 13: strangers fill what is set aside for strangers; what is registered can still be revoked.
#[test]
fn a_full_revocation_set_never_protects_a_registered_device() {
    let mut registry = registered(3);
    let now = Now::new(1, 1);
    let mut refused = None;
    for n in 0..20_u8 {
        let stranger = RevocationSubject::Key(Sha256Digest::of(&[b's', n]));
        if let Err(error) = registry.apply(&revoke(stranger), now) {
            refused = Some(error.code().as_str());
        }
    }
    assert_eq!(refused, Some("revocation.full"));
    for n in 0..3 {
        registry.apply(&revoke(RevocationSubject::Key(certificate(n * 3).key())), now).unwrap();
        registry
            .apply(&revoke(RevocationSubject::Certificate(certificate(n * 3).fingerprint())), now)
            .unwrap();
        registry.apply(&revoke(RevocationSubject::Device(device(n))), now).unwrap();
    }
}

/// Invariant 13: registering, revoking and forgetting in a loop ends with a refusal, not with growth; and what is
/// registered then can still be revoked whole.
#[test]
fn churn_does_not_outgrow_the_revocation_set() {
    let mut registry = DeviceRegistry::new(limits(), INDEX_KEY);
    let now = Now::new(1, 1);
    for n in 0..=255_u8 {
        let id = DeviceId::new(&format!("churn-{n}")).unwrap();
        let (print, key) = (Sha256Digest::of(&[n, 1]), Sha256Digest::of(&[n, 2]));
        let certificate = DeviceCertificate::new(print, key, Wall(0), Wall(100)).unwrap();
        let kind = DeviceKind::Worker;
        let register = DeviceCommand::Register { device: id.clone(), kind, certificate };
        if let Err(error) = registry.apply(&register, now) {
            assert_eq!(error.code().as_str(), "revocation.full");
            assert!(n > 3, "there is room for a while");
            return;
        }
        for subject in [
            RevocationSubject::Key(key),
            RevocationSubject::Certificate(print),
            RevocationSubject::Device(id.clone()),
        ] {
            registry.apply(&revoke(subject), now).unwrap();
        }
        registry.apply(&DeviceCommand::Remove { device: id }, now).unwrap();
        assert!(registry.revoked().count() <= 3 * 5 + 2);
    }
    panic!("the set grew without end");
}

/// Attack P9: the answer with the new certificate is lost. The old one works until the new one is used, the
/// device may ask again, and asking again does not make the overlap longer (invariant 7).
#[test]
fn p9_a_lost_certificate_answer_does_not_lose_the_device() {
    let mut registry = registered(1);
    let (old, lost, again) = (certificate(0), certificate(3), certificate(6));
    let rotate = |next| DeviceCommand::BeginRotation {
        device: device(0),
        next,
        overlap: Millis(50),
        at_deadline: OverlapEnd::RetireOld,
    };
    registry.apply(&rotate(lost), Now::new(0, 0)).unwrap();
    let view = registry.authenticate_fingerprint(old.fingerprint(), Now::new(10, 10)).unwrap();
    assert_eq!(view.ends(), Some(crate::time::Mono(50)));
    registry.apply(&rotate(again), Now::new(10, 10)).unwrap();
    let gone = registry.authenticate_fingerprint(lost.fingerprint(), Now::new(10, 10));
    assert_eq!(gone, Err(AuthError::Unknown(lost.fingerprint())));
    // The wall clock steps back; the overlap ends on the monotonic line all the same.
    let late = registry.authenticate_fingerprint(old.fingerprint(), Now::new(50, 0));
    assert_eq!(late, Err(AuthError::Retired(old.fingerprint())));
    let now = Now::new(20, 20);
    assert!(registry.authenticate_fingerprint(old.fingerprint(), now).is_ok());
    assert!(registry.authenticate_fingerprint(again.fingerprint(), now).unwrap().confirms_rotation());
    let generation = registry.generation();
    registry.apply(&DeviceCommand::ConfirmUse { fingerprint: again.fingerprint() }, now).unwrap();
    assert!(registry.generation() > generation);
    assert!(registry.authenticate_fingerprint(old.fingerprint(), now).is_err());
    assert!(!registry.authenticate_fingerprint(again.fingerprint(), now).unwrap().confirms_rotation());
}

/// The other end of an overlap: with `AbandonNew`, a device that never saw its new certificate is not lost.
#[test]
fn p9_abandoning_the_new_certificate_keeps_the_old_one() {
    let mut registry = registered(1);
    let command = DeviceCommand::BeginRotation {
        device: device(0),
        next: certificate(3),
        overlap: Millis(50),
        at_deadline: OverlapEnd::AbandonNew,
    };
    registry.apply(&command, Now::new(0, 0)).unwrap();
    let late = Now::new(50, 50);
    assert!(registry.authenticate_fingerprint(certificate(0).fingerprint(), late).is_ok());
    let new = certificate(3).fingerprint();
    assert_eq!(registry.authenticate_fingerprint(new, late), Err(AuthError::Retired(new)));
    let events = registry.apply(&DeviceCommand::Settle { device: device(0) }, late).unwrap();
    assert!(matches!(events[..], [DeviceEvent::RotationEnded { cause: RotationEnd::Deadline, .. }]));
    assert_eq!(registry.authenticate_fingerprint(new, late), Err(AuthError::Retired(new)));
}

/// The deadline of a rotation that retires the old certificate never leaves a device with one that it cannot use: the
/// next one is valid from the start until then, or the rotation does not begin.
#[test]
fn a_rotation_that_would_lock_the_device_out_does_not_begin() {
    let now = Now::new(10, 1_000);
    let next = |from, to| {
        DeviceCertificate::new(Sha256Digest::of(b"n"), Sha256Digest::of(b"nk"), Wall(from), Wall(to)).unwrap()
    };
    let rotate = |next, at_deadline| DeviceCommand::BeginRotation {
        device: device(0),
        next,
        overlap: Millis(50),
        at_deadline,
    };
    let mut registry = DeviceRegistry::new(limits(), INDEX_KEY);
    let first = DeviceCertificate::new(Sha256Digest::of(b"f"), Sha256Digest::of(b"fk"), Wall(0), Wall(9_000))
        .unwrap();
    let register =
        DeviceCommand::Register { device: device(0), kind: DeviceKind::Worker, certificate: first };
    registry.apply(&register, now).unwrap();
    let (retire, abandon) = (OverlapEnd::RetireOld, OverlapEnd::AbandonNew);
    for (next, at_deadline, want) in [
        (next(1_001, 9_000), retire, Some("certificate.not_yet_valid")),
        (next(0, 1_049), retire, Some("rotation.ends_early")),
        (next(1_000, 1_050), retire, None),
        // Where the old one stays, the device loses nothing by a certificate that it never uses.
        (next(1_001, 9_000), abandon, None),
        (next(0, 1_049), abandon, None),
    ] {
        let decided = registry.decide(&rotate(next, at_deadline), now);
        assert_eq!(decided.err().map(|error| error.code().as_str()), want, "{next:?}");
    }
    registry.apply(&revoke(RevocationSubject::Certificate(Sha256Digest::of(b"n"))), now).unwrap();
    let refused = registry.decide(&rotate(next(0, 9_000), retire), now).unwrap_err();
    assert_eq!(refused.code().as_str(), "certificate.revoked");
}

/// A next certificate that is revoked, itself or by its own key, ends its rotation: the one in force stays, whatever
/// the deadline would have done. A key that both have is revoked for both.
#[test]
fn a_revoked_next_certificate_ends_the_rotation() {
    let now = Now::new(0, 0);
    for at_deadline in [OverlapEnd::RetireOld, OverlapEnd::AbandonNew] {
        for by_key in [false, true] {
            let (mut registry, next) = (registered(1), certificate(3));
            let rotate =
                DeviceCommand::BeginRotation { device: device(0), next, overlap: Millis(50), at_deadline };
            registry.apply(&rotate, now).unwrap();
            let subject = if by_key {
                RevocationSubject::Key(next.key())
            } else {
                RevocationSubject::Certificate(next.fingerprint())
            };
            let events = registry.apply(&revoke(subject), now).unwrap();
            let ended = DeviceEvent::RotationEnded {
                device: device(0),
                retired: next.fingerprint(),
                cause: RotationEnd::Revoked,
            };
            assert!(matches!(&events[..], [DeviceEvent::Revoked { .. }, second] if *second == ended));
            let late = Now::new(50, 50);
            assert!(registry.authenticate_fingerprint(certificate(0).fingerprint(), late).is_ok());
            assert!(registry.authenticate_fingerprint(next.fingerprint(), late).is_err());
            assert_eq!((registry.next_deadline(), registry.unsettled(late.mono).count()), (None, 0));
        }
    }
    // Certificates 1 and 2 share a key.
    let mut registry = DeviceRegistry::new(limits(), INDEX_KEY);
    let kind = DeviceKind::Worker;
    let register = DeviceCommand::Register { device: device(0), kind, certificate: certificate(1) };
    registry.apply(&register, now).unwrap();
    let at_deadline = OverlapEnd::RetireOld;
    let (next, overlap) = (certificate(2), Millis(50));
    registry
        .apply(&DeviceCommand::BeginRotation { device: device(0), next, overlap, at_deadline }, now)
        .unwrap();
    let events = registry.apply(&revoke(RevocationSubject::Key(next.key())), now).unwrap();
    assert!(matches!(events[..], [DeviceEvent::Revoked { .. }]));
}

/// The registry says when a rotation has to be settled, and which.
#[test]
fn rotations_that_are_over_are_named_until_they_are_settled() {
    let mut registry = registered(2);
    for (n, overlap) in [(0, 50), (1, 20)] {
        let command = DeviceCommand::BeginRotation {
            device: device(n),
            next: certificate(5 + n * 2),
            overlap: Millis(overlap),
            at_deadline: OverlapEnd::AbandonNew,
        };
        registry.apply(&command, Now::new(0, 0)).unwrap();
    }
    let copy = DeviceRegistry::restore(registry.snapshot(), limits(), INDEX_KEY).unwrap();
    for mut registry in [registry, copy] {
        assert_eq!(registry.next_deadline(), Some(crate::time::Mono(20)));
        let due = |registry: &DeviceRegistry, at| registry.unsettled(at).cloned().collect::<Vec<_>>();
        assert_eq!(due(&registry, crate::time::Mono(19)), []);
        assert_eq!(due(&registry, crate::time::Mono(50)), [device(1), device(0)]);
        registry.apply(&DeviceCommand::Settle { device: device(1) }, Now::new(50, 50)).unwrap();
        assert_eq!(due(&registry, crate::time::Mono(50)), [device(0)]);
        registry.apply(&DeviceCommand::Remove { device: device(0) }, Now::new(50, 50)).unwrap();
        assert_eq!(registry.next_deadline(), None);
    }
}

/// Attack P3, at the registry: another certificate for a known device needs the operator to name the change.
#[test]
fn p3_an_existing_device_takes_another_key_only_by_named_replacement() {
    let mut registry = registered(2);
    let now = Now::new(1, 1);
    let register =
        |certificate| DeviceCommand::Register { device: device(0), kind: DeviceKind::Worker, certificate };
    let code = |result: Result<_, DeviceError>| result.map(|_: Vec<_>| ()).unwrap_err().code().as_str();
    assert_eq!(code(registry.apply(&register(certificate(6)), now)), "device.exists");
    let replace =
        |device, certificate| DeviceCommand::Replace { device, kind: DeviceKind::Worker, certificate };
    assert_eq!(code(registry.apply(&replace(device(0), certificate(3)), now)), "device.certificate_in_use");
    assert_eq!(code(registry.apply(&replace(device(2), certificate(6)), now)), "device.unknown");
    registry.apply(&replace(device(0), certificate(6)), now).unwrap();
    assert!(registry.authenticate_fingerprint(certificate(0).fingerprint(), now).is_err());
    assert!(registry.authenticate_fingerprint(certificate(6).fingerprint(), now).is_ok());
}

/// A look at a device is a look at one cache line, and a million of them are 128 MB.
#[test]
fn a_record_is_two_cache_lines_and_authentication_reads_the_first() {
    use core::mem::{align_of, offset_of, size_of};
    assert_eq!((size_of::<Option<DeviceRecord>>(), align_of::<DeviceRecord>()), (128, 64));
    let offsets = [
        offset_of!(DeviceRecord, rotation),
        offset_of!(DeviceRecord, kind),
        offset_of!(DeviceRecord, id_hash),
        offset_of!(DeviceRecord, current),
    ];
    assert_eq!(offsets, [0, 8, 12, 16]);
}
