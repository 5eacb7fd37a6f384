use alloc::{string::String, vec, vec::Vec};

use proptest::prelude::*;

use super::*;
use crate::{
    code::Coded as _,
    identity::{certificate::DeviceCertificate, revocation::RevocationReason},
    time::Wall,
};

const NOW: Now = Now::new(0, 10);
const COORDINATOR: AnchorRole = AnchorRole::Coordinator;
const AUTHORITY: AnchorRole = AnchorRole::Authority;

fn certificate(n: u8, end: u64) -> DeviceCertificate {
    DeviceCertificate::new(print(n), Sha256Digest::of(&[n, n]), Wall(0), Wall(end)).unwrap()
}

fn print(n: u8) -> Sha256Digest {
    Sha256Digest::of(&[n])
}

fn pin(role: AnchorRole, n: u8) -> AnchorCommand {
    AnchorCommand::Pin { role, certificate: certificate(n, 100).into() }
}

fn announce(by: u8, role: AnchorRole, succeeds: u8, next: u8) -> AnchorCommand {
    let announcement = Announcement { role, succeeds: print(succeeds), next: certificate(next, 200) };
    AnchorCommand::Announce { by: print(by), announcement }
}

fn withdraw(by: u8, n: u8) -> AnchorCommand {
    AnchorCommand::Withdraw { by: print(by), fingerprint: print(n) }
}

fn used(n: u8) -> AnchorCommand {
    AnchorCommand::ConfirmUse { fingerprint: print(n) }
}

fn revoke(n: u8) -> AnchorCommand {
    AnchorCommand::Revoke { fingerprint: print(n), reason: RevocationReason::KeyCompromise }
}

fn accepts(anchors: &TrustAnchors, n: u8) -> &'static str {
    let judged = anchors.authenticate_fingerprint(COORDINATOR, print(n), NOW);
    judged.map_or_else(|error| error.code().as_str(), |_| "ok")
}

fn does(anchors: &mut TrustAnchors, command: &AnchorCommand) -> &'static str {
    anchors.apply(command, NOW).map_or_else(|error| error.code().as_str(), |_| "ok")
}

/// Coordinators 1 and 5, and authority 8, each pinned.
fn pinned() -> TrustAnchors {
    let mut anchors = TrustAnchors::new();
    for command in [pin(COORDINATOR, 1), pin(COORDINATOR, 5), pin(AUTHORITY, 8)] {
        assert_eq!(does(&mut anchors, &command), "ok");
    }
    anchors
}

/// Make before break, in the direction from device to coordinator.
#[test]
fn a_coordinator_rotates_with_overlap_until_the_first_use() {
    let mut anchors = TrustAnchors::of_coordinator(print(1));
    assert_eq!(accepts(&anchors, 2), "certificate.unknown");
    assert_eq!(does(&mut anchors, &announce(1, COORDINATOR, 1, 2)), "ok");
    assert_eq!((accepts(&anchors, 1), accepts(&anchors, 2)), ("ok", "ok"));
    assert_eq!(does(&mut anchors, &used(1)), "ok", "the present one goes on");
    assert_eq!((accepts(&anchors, 1), accepts(&anchors, 2)), ("ok", "ok"));
    assert_eq!(does(&mut anchors, &used(2)), "ok");
    assert_eq!((accepts(&anchors, 1), accepts(&anchors, 2)), ("certificate.unknown", "ok"));
    assert_eq!(anchors.generation(), 1);
    assert_eq!(anchors.apply(&used(2), NOW), Ok(vec![]));
}

/// Every announcement that is refused, and why; a refusal changes nothing (invariant 8).
#[test]
fn only_an_accepted_coordinator_announces_and_only_for_itself_or_an_authority() {
    let mut open = pinned();
    for command in [announce(1, COORDINATOR, 1, 2), announce(1, AUTHORITY, 8, 9)] {
        assert_eq!(does(&mut open, &command), "ok");
    }
    let mut over = pinned();
    let short = certificate(6, 11).into();
    let pin_short = AnchorCommand::Pin { role: AUTHORITY, certificate: short };
    assert_eq!(does(&mut over, &pin_short), "ok");
    let expired = Announcement { role: COORDINATOR, succeeds: print(1), next: certificate(2, 10) };
    let expired = AnchorCommand::Announce { by: print(1), announcement: expired };
    let mut banned = pinned();
    for n in [1, 2] {
        assert_eq!(does(&mut banned, &revoke(n)), "ok");
    }
    let table: [(&TrustAnchors, AnchorCommand, &str); 14] = [
        (&pinned(), announce(7, COORDINATOR, 7, 2), "certificate.unknown"),
        (&pinned(), announce(8, AUTHORITY, 8, 9), "certificate.unknown"),
        (&banned, announce(1, COORDINATOR, 1, 3), "certificate.revoked"),
        (&banned, announce(5, COORDINATOR, 5, 2), "certificate.revoked"),
        (&pinned(), announce(1, COORDINATOR, 5, 2), "anchor.succession"),
        (&pinned(), announce(1, COORDINATOR, 8, 2), "anchor.succession"),
        (&pinned(), announce(1, AUTHORITY, 5, 9), "anchor.succession"),
        (&pinned(), announce(1, AUTHORITY, 7, 9), "anchor.succession"),
        (&open, announce(1, COORDINATOR, 1, 3), "anchor.succession"),
        (&open, announce(5, AUTHORITY, 8, 3), "anchor.succession"),
        (&pinned(), announce(1, COORDINATOR, 1, 5), "anchor.exists"),
        (&pinned(), announce(1, COORDINATOR, 1, 1), "anchor.exists"),
        (&pinned(), expired, "certificate.expired"),
        (&open, withdraw(5, 2), "anchor.succession"),
    ];
    for (before, command, code) in table {
        let mut anchors = before.clone();
        assert_eq!(does(&mut anchors, &command), code, "{command:?}");
        assert_eq!(&anchors, before);
    }
    // An authority that has run out is not taken over from: what follows it is pinned.
    let late = over.apply(&announce(1, AUTHORITY, 6, 9), Now::new(0, 11));
    assert_eq!(late.map_err(|error| error.code().as_str()), Err("certificate.expired"));
    // An authority is no coordinator.
    assert_eq!(accepts(&pinned(), 8), "certificate.unknown");
}

/// What was taken back is never accepted again, and makes room for another announcement; what was used is not taken
/// back by a word.
#[test]
fn a_withdrawn_announcement_is_revoked_and_another_one_takes_its_place() {
    let mut anchors = pinned();
    assert_eq!(anchors.apply(&withdraw(1, 2), NOW), Ok(vec![]), "never heard of");
    for command in [announce(1, COORDINATOR, 1, 2), withdraw(1, 2)] {
        assert_eq!(does(&mut anchors, &command), "ok");
    }
    assert_eq!((accepts(&anchors, 1), accepts(&anchors, 2)), ("ok", "certificate.revoked"));
    assert_eq!(does(&mut anchors, &announce(1, COORDINATOR, 1, 2)), "certificate.revoked");
    for command in [announce(1, COORDINATOR, 1, 3), used(3)] {
        assert_eq!(does(&mut anchors, &command), "ok");
    }
    assert_eq!(does(&mut anchors, &withdraw(5, 3)), "anchor.succession");
    assert_eq!(does(&mut anchors, &withdraw(1, 3)), "certificate.unknown");
    assert_eq!(accepts(&anchors, 3), "ok");
}

/// Invariants 12 and 13.
#[test]
fn a_revoked_anchor_takes_its_announcement_with_it_and_the_sets_are_bounded() {
    let mut anchors = TrustAnchors::new();
    let script = [
        pin(COORDINATOR, 1),
        announce(1, COORDINATOR, 1, 2),
        pin(AUTHORITY, 8),
        announce(1, AUTHORITY, 8, 9),
        revoke(1),
    ];
    for command in &script {
        assert_eq!(does(&mut anchors, command), "ok");
    }
    assert_eq!((accepts(&anchors, 1), accepts(&anchors, 2)), ("certificate.revoked", "certificate.unknown"));
    assert_eq!(anchors.of(AUTHORITY).count(), 1);
    assert_eq!(does(&mut anchors, &revoke(1)), "certificate.revoked");
    assert_eq!(does(&mut anchors, &pin(COORDINATOR, 1)), "certificate.revoked");
    for n in 10..30 {
        let expected = if n < 18 { "ok" } else { "anchor.full" };
        assert_eq!(does(&mut anchors, &pin(COORDINATOR, n)), expected);
    }
    for n in 100..200 {
        does(&mut anchors, &revoke(n));
    }
    assert_eq!(anchors.revoked.len() + anchors.anchors.len(), MAX_REVOKED);
    for n in 10..18 {
        assert_eq!(does(&mut anchors, &revoke(n)), "ok", "a full set protects no anchor");
    }
    assert_eq!(anchors.of(COORDINATOR).count(), 0);
}

/// Invariant 12: stored anchors whose revocation set was emptied, exchanged or left out do not load, nor do any that
/// no events lead to.
#[test]
fn anchors_without_their_revocation_set_do_not_load() {
    let mut anchors = pinned();
    for command in [announce(1, COORDINATOR, 1, 2), withdraw(1, 2), announce(1, COORDINATOR, 1, 3)] {
        assert_eq!(does(&mut anchors, &command), "ok");
    }
    let json = serde_json::to_value(&anchors).unwrap();
    let load = |json: serde_json::Value| {
        serde_json::from_value::<TrustAnchors>(json).map_err(|error| alloc::format!("{error}"))
    };
    assert_eq!(load(json.clone()), Ok(anchors.clone()));
    let entry = json["revoked"][0].clone();
    let of = |n: u8| {
        json["anchors"].as_array().unwrap().iter().position(|it| {
            serde_json::from_value::<Anchor>((*it).clone()).unwrap().certificate.fingerprint() == print(n)
        })
    };
    let (one, three) = (of(1).unwrap(), of(3).unwrap());
    let spoil: [(&str, &dyn Fn(&mut serde_json::Value)); 12] = [
        ("emptied", &|it| it["revoked"] = serde_json::json!([])),
        ("left out", &|it| drop(it.as_object_mut().unwrap().remove("revoked"))),
        ("older", &|it| it["generation"] = serde_json::json!(0)),
        ("newer form", &|it| it["version"] = serde_json::json!(2)),
        ("unknown member", &|it| it["more"] = serde_json::json!(1)),
        ("twice revoked", &|it| it["revoked"].as_array_mut().unwrap().push(entry.clone())),
        ("twice pinned", &|it| {
            let first = it["anchors"][0].clone();
            it["anchors"].as_array_mut().unwrap().push(first);
        }),
        ("pinned and revoked", &|it| {
            it["anchors"][one]["certificate"] = serde_json::json!({"fingerprint": print(2)});
        }),
        ("successor of nothing", &|it| it["anchors"][three]["succeeds"] = serde_json::json!(print(9))),
        ("successor of another role", &|it| it["anchors"][three]["succeeds"] = serde_json::json!(print(8))),
        ("announced by nobody", &|it| it["anchors"][three]["announced_by"] = serde_json::json!(null)),
        ("too many", &|it| {
            for n in 30..40_u8 {
                let anchor = serde_json::json!({"role": "authority", "succeeds": null, "announced_by": null,
                    "certificate": {"fingerprint": print(n)}});
                it["anchors"].as_array_mut().unwrap().push(anchor);
            }
        }),
    ];
    for (what, spoil) in spoil {
        let mut spoilt = json.clone();
        spoil(&mut spoilt);
        assert!(load(spoilt).is_err(), "{what}");
    }
    // No shorter prefix of the binary form loads: no part can be lost unseen.
    let stored = postcard::to_allocvec(&anchors).unwrap();
    assert_eq!(postcard::from_bytes::<TrustAnchors>(&stored), Ok(anchors));
    for end in 0..stored.len() {
        assert!(postcard::from_bytes::<TrustAnchors>(&stored[..end]).is_err());
    }
}

fn commands() -> impl Strategy<Value = AnchorCommand> {
    let n = || 0..10_u8;
    let role = || prop_oneof![3 => Just(COORDINATOR), 1 => Just(AUTHORITY)];
    prop_oneof![
        3 => (role(), n(), 5..60_u64).prop_map(|(role, n, end)| {
            AnchorCommand::Pin { role, certificate: certificate(n, end).into() }
        }),
        1 => (role(), n()).prop_map(|(role, n)| {
            AnchorCommand::Pin { role, certificate: PinnedCertificate::Fingerprint(print(n)) }
        }),
        6 => (n(), role(), n(), n(), 5..60_u64, any::<bool>()).prop_map(|(by, role, succeeds, next, end, own)| {
            let succeeds = print(if own { by } else { succeeds });
            let announcement = Announcement { role, succeeds, next: certificate(next, end) };
            AnchorCommand::Announce { by: print(by), announcement }
        }),
        3 => n().prop_map(used),
        2 => (n(), n()).prop_map(|(by, n)| withdraw(by, n)),
        1 => n().prop_map(revoke),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is asked: a refusal changes nothing; every event is possible where it happens, and folding those that
    /// were stored gives the same anchors, which load as what they are (invariant 8); what is revoked is accepted by
    /// nobody (invariant 12); an announcement never puts in force what the announcer may not name.
    #[test]
    fn events_fold_to_the_same_anchors_and_a_refusal_changes_nothing(
        script in prop::collection::vec((commands(), 0..4_u64), 1..80)
    ) {
        let (mut anchors, mut replayed) = (TrustAnchors::new(), TrustAnchors::new());
        let mut now = Now::new(0, 0);
        for (command, later) in script {
            now = Now::new(now.mono.0 + later, now.wall.0 + later);
            let before = anchors.clone();
            match anchors.apply(&command, now) {
                Err(error) => {
                    prop_assert_eq!(&anchors, &before, "{:?}: {}", command, error);
                }
                Ok(events) => {
                    if let AnchorCommand::Announce { by, announcement } = &command {
                        let Announcement { role, succeeds, .. } = announcement;
                        prop_assert!(before.authenticate_fingerprint(COORDINATOR, *by, now).is_ok());
                        prop_assert!(before.authenticate_fingerprint(*role, *succeeds, now).is_ok());
                        prop_assert!(*role == AUTHORITY || by == succeeds);
                        prop_assert!(before.announced().all(|open| open.succeeds != *succeeds));
                    }
                    for event in events {
                        prop_assert!(replayed.admits(&event), "{:?}", event);
                        let stored = postcard::to_allocvec(&event).unwrap();
                        let event: AnchorEvent =
                            postcard::from_bytes::<StoredAnchorEvent>(&stored).unwrap().into();
                        replayed.evolve(&event);
                    }
                }
            }
            prop_assert_eq!(&anchors, &replayed);
            let kept: String = serde_json::to_string(&anchors).unwrap();
            prop_assert_eq!(&serde_json::from_str::<TrustAnchors>(&kept).unwrap(), &anchors);
            for role in [COORDINATOR, AUTHORITY] {
                prop_assert!(anchors.of(role).count() <= MAX_ANCHORS);
                for (fingerprint, _) in anchors.revoked() {
                    prop_assert!(anchors.authenticate_fingerprint(role, *fingerprint, now).is_err());
                }
            }
            let open: Vec<_> = anchors.announced().map(|open| open.succeeds).collect();
            for (at, succeeds) in open.iter().enumerate() {
                prop_assert!(anchors.get(succeeds).is_some() && !open[at + 1..].contains(succeeds));
            }
        }
    }
}
