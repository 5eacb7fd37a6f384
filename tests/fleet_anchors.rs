//! The fleet's own trust anchors: an operator's acts like all others, journaled, snapshotted and replayed.

use leasehold::{
    attestation::signature::DefaultVerifier,
    code::{self, Code, Coded as _},
    digest::Sha256Digest,
    fleet::*,
    id::ClientId,
    identity::*,
    lease::Epoch,
    testing::World,
    time::Wall,
};

const COORDINATOR: AnchorRole = AnchorRole::Coordinator;
const AUTHORITY: AnchorRole = AnchorRole::Authority;

/// The certificate that worlds show.
fn own() -> Sha256Digest {
    Sha256Digest::of(b"coordinator")
}

fn certificate(name: &str) -> DeviceCertificate {
    let (leaf, key) =
        (Sha256Digest::of(name.as_bytes()), Sha256Digest::of(&[name.as_bytes(), b"!"].concat()));
    DeviceCertificate::new(leaf, key, Wall(0), Wall::NEVER).unwrap()
}

fn print(name: &str) -> Sha256Digest {
    certificate(name).fingerprint()
}

fn pin_own() -> AnchorCommand {
    AnchorCommand::Pin { role: COORDINATOR, certificate: PinnedCertificate::Fingerprint(own()) }
}

fn announcement(next: &str) -> Announcement {
    Announcement { role: COORDINATOR, succeeds: own(), next: certificate(next) }
}

fn announce(next: &str) -> AnchorCommand {
    AnchorCommand::Announce { by: own(), announcement: announcement(next) }
}

fn revoke(fingerprint: Sha256Digest) -> AnchorCommand {
    AnchorCommand::Revoke { fingerprint, reason: RevocationReason::KeyCompromise }
}

fn does(world: &mut World, command: AnchorCommand) -> Result<Vec<FleetEvent>, Code> {
    let asked = world.ask(&ManageAnchors::new(command), &World::operator());
    asked.map(|outcome| outcome.events).map_err(|error| error.code())
}

fn open(world: &World) -> Vec<Announcement> {
    world.fleet.state().nodes().anchors().announced().collect()
}

fn setup(certificate: Sha256Digest) -> Setup {
    Setup::new([3; 64], certificate, Box::new(DefaultVerifier))
}

/// A fleet with an open announcement for its coordinator and for an authority, and with one that was taken back.
fn announced() -> World {
    let mut world = World::default();
    world.join(1, "a");
    let authority = Announcement { role: AUTHORITY, succeeds: print("ca"), next: certificate("next ca") };
    for command in [
        pin_own(),
        AnchorCommand::Pin { role: AUTHORITY, certificate: certificate("ca").into() },
        announce("stolen"),
        AnchorCommand::Withdraw { by: own(), fingerprint: print("stolen") },
        announce("next"),
        AnchorCommand::Announce { by: own(), announcement: authority },
    ] {
        does(&mut world, command).unwrap();
    }
    world
}

/// Invariant 8, with what is revoked and the generation: from the journal, from a snapshot, from both, and beside the
/// serving state; and a coordinator that dies in the middle has its announcement still open.
#[test]
fn what_is_announced_and_revoked_survives_in_the_journal_and_in_snapshots() {
    let mut world = announced();
    let before = world.fleet.state().nodes().anchors().clone();
    assert_eq!((before.announced().count(), before.revoked().count(), before.generation()), (2, 1, 1));
    let mut follower = Replay::new([3; 16]);
    follower.journal(&world.journal).unwrap();
    assert_eq!(follower.state().map(FleetState::digest), Some(world.fleet.state().digest()));

    world.crash();
    assert_eq!(world.fleet.state().nodes().anchors(), &before, "from the journal alone");
    world.checkpoint();
    world.crash();
    assert_eq!(world.fleet.state().nodes().anchors(), &before, "from a snapshot");
    does(&mut world, AnchorCommand::ConfirmUse { fingerprint: print("next ca") }).unwrap();
    let digest = world.fleet.state().nodes().anchors().clone();
    world.crash();
    assert_eq!(world.fleet.state().nodes().anchors(), &digest, "from a snapshot and what came after");
    assert!(before != digest);
    let accepted: Vec<_> = digest.of(AUTHORITY).map(|anchor| anchor.certificate.fingerprint()).collect();
    assert_eq!(accepted, [print("next ca")], "the former authority is retired");
}

/// An operator's act, in the name of the certificate that this coordinator presents; a command that is repeated does
/// nothing more.
#[test]
fn only_an_operator_announces_and_only_what_follows_the_certificate_that_is_presented() {
    let mut world = World::default();
    world.join(1, "a");
    for principal in [World::device(1), World::service(), Principal::Core] {
        let asked = world.ask(&ManageAnchors::new(pin_own()), &principal);
        assert_eq!(asked.unwrap_err().code(), code::PRINCIPAL_NOT_ALLOWED);
    }
    assert_eq!(does(&mut world, announce("next")), Err(code::CERTIFICATE_UNKNOWN), "not pinned yet");
    does(&mut world, pin_own()).unwrap();
    let other = AnchorCommand::Pin { role: COORDINATOR, certificate: certificate("other").into() };
    does(&mut world, other).unwrap();
    let by = print("other");
    let for_other = Announcement { role: COORDINATOR, succeeds: by, next: certificate("next") };
    let table = [
        AnchorCommand::Announce { by, announcement: for_other },
        AnchorCommand::Announce { by: own(), announcement: for_other },
        AnchorCommand::Withdraw { by, fingerprint: own() },
    ];
    for command in table {
        assert_eq!(does(&mut world, command.clone()), Err(code::ANCHOR_SUCCESSION), "{command:?}");
    }
    let digest = world.fleet.state().digest();
    assert_eq!(does(&mut world, pin_own()), Err(code::ANCHOR_EXISTS));
    assert_eq!(world.fleet.state().digest(), digest, "invariant 8");

    let id = CommandId { client: ClientId::new("operator").unwrap(), sequence: 1 };
    let operation = ManageAnchors::new(announce("next"));
    for events in [2, 0] {
        let done = world.ask_as(&operation, &World::operator(), Some(&id)).unwrap();
        assert_eq!(done.events.len(), events, "{:?}", done.events);
    }
    assert_eq!(open(&world), [announcement("next")]);
    assert_eq!(does(&mut world, announce("second")), Err(code::ANCHOR_SUCCESSION));
}

/// Invariant 12: a fleet does not come back behind a certificate that it has revoked, and what was announced by one
/// that is revoked is not announced any more.
#[test]
fn a_coordinator_does_not_present_what_its_own_fleet_has_revoked() {
    let mut world = announced();
    does(&mut world, revoke(own())).unwrap();
    assert!(open(&world).is_empty());
    let recover = |certificate| {
        let recovered =
            WorkerFleetManager::recover(None, &world.journal, setup(certificate), Epoch(9), world.now);
        recovered.map(drop).map_err(|error| error.code())
    };
    for revoked in [own(), print("stolen")] {
        assert_eq!(recover(revoked), Err(code::CERTIFICATE_REVOKED));
    }
    assert_eq!(recover(print("fresh")), Ok(()));
}

/// Where later events are lost, so may be the word that an announcement was taken back: it is not repeated. What was
/// revoked by then stays so.
#[test]
fn a_stale_restore_forgets_announcements_and_no_revocation() {
    let mut world = announced();
    let snapshot = world.checkpoint();
    does(&mut world, AnchorCommand::Withdraw { by: own(), fingerprint: print("next") }).unwrap();
    let mut restored = World::default();
    restored.now = world.now;
    restored.restore_stale(&snapshot, Epoch(9));
    assert!(open(&restored).is_empty());
    let anchors = restored.fleet.state().nodes().anchors();
    assert!(anchors.revocation(&print("stolen")).is_some());
    assert!(anchors.get(&own()).is_some() && anchors.get(&print("ca")).is_some());
    restored.crash();
    assert!(open(&restored).is_empty());
}
