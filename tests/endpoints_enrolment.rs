//! Enrolment keys over the endpoints: many devices pair with one code, as often and as long as its terms say; nothing is
//! written for who does not have it.

mod endpoints_nodes_support;

use endpoints_nodes_support::*;
use leasehold::{
    agent::*,
    code::{self, Code, Coded as _},
    coordinator::*,
    fleet::*,
    id::*,
    identity::{
        DeviceCommand, DeviceKind, RevocationReason, RevocationSubject, StandingOrder, StandingTerms,
        pairing::{DeviceCode, DevicePairing, DeviceProfile, PairingEnd, PairingTools, VerifiedPairing},
    },
    lease::Epoch,
    shell::OsEntropy,
    time::{Millis, Mono},
};
use rcgen::KeyPair;

const HOUR: u64 = 3_600_000;

fn name(text: &str) -> DeviceId {
    DeviceId::new(text).unwrap()
}

fn order() -> OrderId {
    OrderId::new("rack").unwrap()
}

fn terms(count: u32) -> StandingTerms {
    let names = "press-*".parse().unwrap();
    StandingTerms::new(names, DeviceKind::Worker, count, Millis(HOUR)).unwrap()
}

fn open(world: &mut World, count: u32) -> Result<String, Code> {
    match world.operator(OperatorCommand::OpenEnrolment { order: order(), terms: terms(count) }) {
        LocalAnswer::Enrolment(Ok(offered)) => Ok(offered.code.expose().to_string()),
        LocalAnswer::Enrolment(Err(error)) => Err(error.code()),
        other => panic!("{other:?}"),
    }
}

fn revoke(world: &mut World) -> Result<(), Code> {
    match world.operator(OperatorCommand::RevokeEnrolment { order: order() }) {
        LocalAnswer::Done(done) => done.map_err(|error| error.code()),
        other => panic!("{other:?}"),
    }
}

fn held(world: &World) -> StandingOrder {
    let pairing = world.coordinator.fleet().state().nodes().pairing();
    pairing.enrolments().find(|(held, _)| **held == order()).expect("a key").1.clone()
}

/// A device that has the code and a fresh key.
struct Device {
    peer: Peer<PairingAgent>,
    key: KeyPair,
}

fn device(code: &str, device: &str, kind: DeviceKind) -> Device {
    let (key, request) = csr();
    let profile = DeviceProfile::new(name(device), kind, request).unwrap();
    let mut entropy = OsEntropy::open().unwrap();
    let code = DeviceCode::from_enrolment(code, &mut entropy).unwrap();
    let mut tools = PairingTools::new(&mut entropy);
    let pairing = DevicePairing::begin(code, profile, port(), Mono(100 * HOUR), &mut tools).unwrap();
    Device { peer: Peer::new(PairingAgent::new(pairing, Millis(500))), key }
}

/// Hello and proof. What comes of it is for the issuer, or a code in the log.
fn ask(world: &mut World, device: &mut Device) -> Result<VerifiedPairing, Code> {
    world.refused.clear();
    let connection = world.stranger();
    device.peer.connected(world, connection);
    world.enrolled.pop().ok_or_else(|| *world.refused.last().expect("a reason"))
}

fn finish(world: &mut World, device: &mut Device, pairing: VerifiedPairing) -> Result<DeviceId, Code> {
    let leaf = world.authority.sign(pairing.device(), &device.key);
    world.handle(CoordinatorInput::CompletePairing {
        tag: RequestTag(0),
        pairing: Box::new(pairing),
        certificate: &leaf,
    });
    let Some(LocalAnswer::Paired(paired)) = world.answers.pop() else { panic!("no answer") };
    let paired = paired.map_err(|error| error.code())?;
    world.now = world.now.plus(Millis(500));
    device.peer.handle(world, leasehold::protocol::endpoint::Input::Timeout);
    device.peer.settle(world);
    assert!(matches!(device.peer.seen.last(), Some(PairingProgress::Paired(_))), "{:?}", device.peer.seen);
    let connection = world.connect(&leaf);
    assert_eq!(world.code_of(connection), None, "the device works");
    Ok(paired)
}

fn enrol(world: &mut World, code: &str, device_name: &str) -> Result<DeviceId, Code> {
    let mut device = device(code, device_name, DeviceKind::Worker);
    let pairing = ask(world, &mut device)?;
    finish(world, &mut device, pairing)
}

/// Three devices, one code, nobody who approves; a restart in between. The fourth finds the key used up.
#[test]
fn many_devices_pair_with_one_code() {
    let mut world = World::enrolling();
    let code = open(&mut world, 3).unwrap();
    assert_eq!(enrol(&mut world, &code, "press-1"), Ok(name("press-1")));
    world.restart(port(), Epoch(3));
    assert_eq!(held(&world).left(), 2);
    // Two at once, in turns, and as people type it.
    let typed = code.to_uppercase();
    let (mut two, mut three) =
        (device(&code, "press-2", DeviceKind::Worker), device(&typed, "press-3", DeviceKind::Worker));
    let (second, third) = (ask(&mut world, &mut two).unwrap(), ask(&mut world, &mut three).unwrap());
    assert_eq!(finish(&mut world, &mut three, third), Ok(name("press-3")));
    assert_eq!(finish(&mut world, &mut two, second), Ok(name("press-2")));
    assert_eq!(held(&world).left(), 0);
    assert_eq!(enrol(&mut world, &code, "press-4"), Err(code::ORDER_USED_UP));
    assert!(world.asks.is_empty(), "nobody was asked");
    assert_eq!(world.coordinator.fleet().state().devices().len(), 3);
}

/// Each bound of a key by itself, with its code. What is refused leaves no trace, in the state or in the journal.
#[test]
fn a_key_ends_at_its_bounds_and_strangers_write_nothing() {
    type Change = fn(&mut World);
    let nothing: Change = |_| {};
    let cases: &[(&str, &str, DeviceKind, Change, Code)] = &[
        ("another name", "forge-1", DeviceKind::Worker, nothing, code::ORDER_SCOPE),
        ("another kind", "press-1", DeviceKind::EgressProxy, nothing, code::ORDER_SCOPE),
        (
            "past its time",
            "press-1",
            DeviceKind::Worker,
            |world| world.now = world.now.plus(Millis(HOUR)),
            code::ORDER_EXPIRED,
        ),
        (
            "forgotten",
            "press-1",
            DeviceKind::Worker,
            |world| {
                world.now = world.now.plus(Millis(HOUR));
                world.handle(CoordinatorInput::Timeout);
            },
            code::ORDER_UNKNOWN,
        ),
        ("revoked", "press-1", DeviceKind::Worker, |world| revoke(world).unwrap(), code::ORDER_REVOKED),
        (
            "the name is revoked",
            "press-1",
            DeviceKind::Worker,
            |world| {
                let subject = RevocationSubject::Device(name("press-1"));
                let revoke = DeviceCommand::Revoke { subject, reason: RevocationReason::Lost };
                world.operator(OperatorCommand::ManageDevice(ManageDevice::new(revoke)));
            },
            code::DEVICE_REVOKED,
        ),
        (
            "another seed",
            "press-1",
            DeviceKind::Worker,
            |world| {
                world.seed = Some([9; 32]);
                world.restart(port(), Epoch(3));
            },
            code::PAIRING_SECRET_LOST,
        ),
        (
            "no seed",
            "press-1",
            DeviceKind::Worker,
            |world| {
                world.seed = None;
                world.restart(port(), Epoch(3));
            },
            code::ORDER_NO_SEED,
        ),
    ];
    for (case, device_name, kind, change, expected) in cases {
        let mut world = World::enrolling();
        let code = open(&mut world, 3).unwrap();
        change(&mut world);
        let (index, bytes) = (world.coordinator.fleet().state().index(), world.journal.len());
        let mut device = device(&code, device_name, *kind);
        assert_eq!(ask(&mut world, &mut device).err(), Some(*expected), "{case}");
        assert_eq!(
            (world.coordinator.fleet().state().index(), world.journal.len()),
            (index, bytes),
            "{case}"
        );
    }

    // A wrong secret under a right name, a hundred times: no write, no lock, and the key goes on.
    let mut world = World::enrolling();
    let code = open(&mut world, 1).unwrap();
    let bytes = world.journal.len();
    let mut forged = code.clone();
    let last = if forged.pop() == Some('0') { '1' } else { '0' };
    forged.push(last);
    for n in 0..100 {
        let mut device = device(&forged, &format!("press-{n}"), DeviceKind::Worker);
        let connection = world.stranger();
        device.peer.connected(&mut world, connection);
        assert!(world.enrolled.is_empty());
    }
    assert_eq!(world.journal.len(), bytes);
    assert_eq!(enrol(&mut world, &code, "press-1"), Ok(name("press-1")));
    // A device that is registered is not replaced by who has the key.
    assert_eq!(enrol(&mut world, &code, "press-1").unwrap_err(), code::ORDER_USED_UP);
    world.now = world.now.plus(Millis(HOUR));
    world.handle(CoordinatorInput::Timeout);
    let code = open(&mut world, 5).unwrap();
    assert_eq!(enrol(&mut world, &code, "press-1").unwrap_err(), code::DEVICE_EXISTS);
    assert_eq!(held(&world).left(), 5, "and it costs the key nothing");
}

/// A code of a name that was given out before is another one: what leaked then is worth nothing now.
#[test]
fn a_name_that_is_given_out_again_has_another_code() {
    let mut world = World::enrolling();
    let old = open(&mut world, 3).unwrap();
    assert_eq!(open(&mut world, 3), Err(code::ORDER_EXISTS));
    revoke(&mut world).unwrap();
    assert_eq!(revoke(&mut world), Err(code::ORDER_REVOKED));
    assert_eq!(open(&mut world, 3), Err(code::ORDER_EXISTS), "until its time is over, it stays revoked");
    world.now = world.now.plus(Millis(HOUR));
    world.handle(CoordinatorInput::Timeout);
    let new = open(&mut world, 3).unwrap();
    assert_ne!(old, new);
    let mut device = device(&old, "press-1", DeviceKind::Worker);
    let connection = world.stranger();
    device.peer.connected(&mut world, connection);
    assert!(world.enrolled.is_empty());
    assert_eq!(enrol(&mut world, &new, "press-1"), Ok(name("press-1")));
    // Its text is in no state and no journal: neither is the secret.
    let secret = new.rsplit('/').next().unwrap();
    let state = format!("{:?}", world.coordinator.fleet().state());
    assert!(!state.contains(secret));
    let raw = hex::decode(secret).unwrap();
    assert!(!world.journal.windows(32).any(|window| window == raw));
}

/// A key that is revoked between the proof and the certificate gives no certificate.
#[test]
fn a_key_revoked_on_the_way_pairs_nobody() {
    let mut world = World::enrolling();
    let code = open(&mut world, 3).unwrap();
    let mut late = device(&code, "press-1", DeviceKind::Worker);
    let pairing = ask(&mut world, &mut late).unwrap();
    let session = pairing.session().clone();
    revoke(&mut world).unwrap();
    assert_eq!(finish(&mut world, &mut late, pairing), Err(code::PAIRING_ENDED));
    assert_eq!(world.coordinator.fleet().pairing_end(&session), Some(PairingEnd::Cancelled));
    assert!(world.coordinator.fleet().state().devices().is_empty());
    // An approval that nobody signs in time ends, and was one use.
    let mut world = World::enrolling();
    let code = open(&mut world, 3).unwrap();
    let mut slow = device(&code, "press-1", DeviceKind::Worker);
    let pairing = ask(&mut world, &mut slow).unwrap();
    world.now = world.now.plus(Millis(120_000));
    assert_eq!(finish(&mut world, &mut slow, pairing), Err(code::PAIRING_APPROVAL_EXPIRED));
    assert_eq!(held(&world).left(), 2);
}

/// Keys are bounded, and need a seed and an open desk.
#[test]
fn keys_are_bounded() {
    let mut world = World::enrolling();
    for n in 0..64 {
        let order = OrderId::new(&format!("k{n}")).unwrap();
        let opened = world.operator(OperatorCommand::OpenEnrolment { order, terms: terms(1) });
        assert!(matches!(opened, LocalAnswer::Enrolment(Ok(_))));
    }
    assert_eq!(open(&mut world, 1), Err(code::ORDER_FULL));
    let mut world = World::new(CoordinatorConfig::new(), true);
    assert_eq!(open(&mut world, 1), Err(code::ORDER_NO_SEED));
    let mut world = World::new(CoordinatorConfig::new(), false);
    assert_eq!(open(&mut world, 1), Err(code::PAIRING_CLOSED));
    // A code is read as it was given out, and nothing else is one.
    let mut entropy = OsEntropy::open().unwrap();
    for text in ["", "leasehold-pair-1/a/b/c", "leasehold-enrol-1/rack//00", &"x".repeat(9_000)] {
        assert_eq!(
            DeviceCode::from_enrolment(text, &mut entropy).unwrap_err().code(),
            code::PAIRING_BAD_CODE
        );
    }
}
