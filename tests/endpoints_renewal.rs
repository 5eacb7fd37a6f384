//! Certificates that do not authenticate any more: one that expired is renewed within the policy's grace, under an
//! operator's standing order; one that was rotated away shows that a device's identity is in two places.

mod endpoints_nodes_support;

use std::time::Duration;

use endpoints_nodes_support::*;
use leasehold::{
    agent::*,
    code::{self, Code, Coded as _},
    coordinator::*,
    fleet::*,
    id::*,
    identity::{
        DeviceCommand, DeviceKind, NamePattern, RevocationReason, RevocationSubject, StandingOrder,
        StandingTerms,
    },
    lease::Epoch,
    protocol::{endpoint::Input, frame::FrameKind},
    time::Millis,
};
use rcgen::{CertificateParams, KeyPair};

const DAY: u64 = 86_400_000;

/// A certificate of `device` from 2025-11-01 through 2025-12-01.
fn short(world: &World, device: &DeviceId, key: &KeyPair) -> Vec<u8> {
    let mut params = CertificateParams::new(vec![device.to_string()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2025, 11, 1);
    params.not_after = rcgen::date_time_ymd(2025, 12, 1);
    params.signed_by(key, &world.authority.0).unwrap().der().to_vec()
}

fn manage(world: &mut World, command: DeviceCommand) -> Result<(), Code> {
    let order = OperatorCommand::ManageDevice(ManageDevice::new(command));
    match world.operator(order) {
        LocalAnswer::Managed(Ok(_)) => Ok(()),
        LocalAnswer::Managed(Err(error)) => Err(error.code()),
        other => panic!("{other:?}"),
    }
}

fn grace(world: &mut World, days: u64) {
    rules(world, days, CloneRule::Notice);
}

fn rules(world: &mut World, days: u64, clones: CloneRule) {
    let mut form = WorkerFleetPolicyForm::from(world.coordinator.fleet().state().policy().clone());
    form.identity.renewal_grace_ms = Millis(days * DAY);
    form.identity.clones = clones;
    let set = SetPolicy { policy: WorkerFleetPolicy::try_from(form).unwrap() };
    assert!(matches!(world.operator(OperatorCommand::SetPolicy(set)), LocalAnswer::Managed(Ok(_))));
}

fn device(name: &str) -> DeviceId {
    DeviceId::new(name).unwrap()
}

fn order_id() -> OrderId {
    OrderId::new("winter").unwrap()
}

fn order(names: &str, kind: DeviceKind, count: u32, days: u64) -> DeviceCommand {
    let names: NamePattern = names.parse().unwrap();
    let terms = StandingTerms::new(names, kind, count, Millis(days * DAY)).unwrap();
    DeviceCommand::OrderRenewals { order: order_id(), terms }
}

/// A device with a short certificate.
fn register(world: &mut World, name: &str) -> Vec<u8> {
    let leaf = short(world, &device(name), &KeyPair::generate().unwrap());
    let certificate = world.coordinator.fleet().state().devices().read(&leaf).unwrap();
    let kind = DeviceKind::DesktopNode;
    manage(world, DeviceCommand::Register { device: device(name), kind, certificate }).unwrap();
    leaf
}

/// Ten days after the short certificates ended.
fn winter(world: &mut World) {
    let end = 1_764_547_200_000;
    world.now = world.now.plus(Millis(end + 10 * DAY - world.now.wall.0));
    world.handle(CoordinatorInput::Timeout);
}

/// A connection that is let in for a renewal.
fn renewing(world: &mut World, leaf: &[u8]) -> Peer<NodeAgent> {
    let mut peer = agent(7, 1);
    let connection = world.connect(leaf);
    peer.connected(world, connection);
    peer
}

/// Asks for the next certificate and has it signed.
fn renew(world: &mut World, peer: &mut Peer<NodeAgent>) -> Option<Vec<u8>> {
    let (key, request) = csr();
    peer.handle(world, Input::Act(NodeAct::Rotate { request }));
    peer.settle(world);
    let (wanted, named, _) = world.wanted.pop()?;
    let next = world.authority.sign(&named, &key);
    world.handle(CoordinatorInput::Certificate { wanted, certificate: Some(&next) });
    peer.settle(world);
    peer.seen.contains(&NodeAgentEvent::Certificate { certificate: next.clone() }).then_some(next)
}

fn held(world: &World) -> StandingOrder {
    let devices = world.coordinator.fleet().state().devices();
    devices.renewals().find(|(name, _)| **name == order_id()).expect("an order").1.clone()
}

/// Within the grace and under an order, who proves the expired certificate's key gets the next one, and nothing else.
#[test]
fn an_expired_certificate_is_good_for_the_next_one_and_nothing_else() {
    let mut world = World::new(CoordinatorConfig::new(), false);
    grace(&mut world, 30);
    let leaf = register(&mut world, "desk");
    manage(&mut world, order("desk", DeviceKind::DesktopNode, 1, 90)).unwrap();
    winter(&mut world);

    let mut peer = renewing(&mut world, &leaf);
    let connection = peer.connection.expect("let in");
    let refused = |asked| NodeAgentEvent::Refused { asked, code: code::CERTIFICATE_EXPIRED.into() };
    assert!(!peer.endpoint.is_streaming());
    assert!(peer.seen.iter().any(|event| *event == refused(NodeAsked::Connect)), "{:?}", peer.seen);
    peer.handle(&mut world, Input::Act(NodeAct::RevokeSelf));
    peer.settle(&mut world);
    assert!(world.coordinator.fleet().state().devices().revoked().next().is_none());

    // The answer is lost: the device asks again, and the order is used once.
    renew(&mut world, &mut peer).expect("renewed");
    assert_eq!(held(&world).left(), 0);
    peer.cut(&mut world);
    let mut peer = renewing(&mut world, &leaf);
    let next = renew(&mut world, &mut peer).expect("renewed again");
    assert_ne!(peer.connection, Some(connection));

    // What lasts is in the journal, and the first use ends the former certificate.
    world.restart(port(), Epoch(2));
    let mut peer = renewing(&mut world, &next);
    assert_eq!(world.code_of(peer.connection.unwrap()), None);
    peer.cut(&mut world);
    let devices = world.coordinator.fleet().state().devices();
    assert!(devices.get(&device("desk")).unwrap().rotation().is_none());
    assert_eq!(devices.former(&device("desk")).len(), 1);
    assert_eq!(held(&world).left(), 0);

    // A frame of another kind closes the connection at its header.
    for (n, kind) in FrameKind::ALL.into_iter().filter(|kind| *kind != FrameKind::Node).enumerate() {
        let mut world = World::new(CoordinatorConfig::new(), false);
        grace(&mut world, 30);
        let leaf = register(&mut world, &format!("desk-{n}"));
        manage(&mut world, order("desk-*", DeviceKind::DesktopNode, 1, 90)).unwrap();
        winter(&mut world);
        let connection = world.connect(&leaf);
        let bytes = &frame(kind, b"{}")[..4];
        world.handle(CoordinatorInput::Received { connection: ConnectionId(connection), bytes });
        assert_eq!(world.code_of(connection), Some(code::FRAME_DIRECTION), "{kind:?}");
    }
}

/// Each thing that a renewal needs, missing by itself. The code names it, and the peer is told nothing.
#[test]
fn a_renewal_needs_grace_order_scope_count_time_and_standing() {
    type Change = fn(&mut World);
    let node = DeviceKind::DesktopNode;
    let ordered = move |world: &mut World| manage(world, order("rack-*", node, 1, 90)).unwrap();
    let cases: &[(&str, u64, Change, Code)] = &[
        (
            "no grace",
            0,
            |world| manage(world, order("rack-*", DeviceKind::DesktopNode, 1, 90)).unwrap(),
            code::CERTIFICATE_EXPIRED,
        ),
        (
            "too late",
            9,
            |world| manage(world, order("rack-*", DeviceKind::DesktopNode, 1, 90)).unwrap(),
            code::DEVICE_RENEWAL_LATE,
        ),
        ("no order", 30, |_| {}, code::DEVICE_RENEWAL_UNORDERED),
        (
            "other names",
            30,
            |world| manage(world, order("rack-1*", DeviceKind::DesktopNode, 1, 90)).unwrap(),
            code::DEVICE_RENEWAL_UNORDERED,
        ),
        (
            "another kind",
            30,
            |world| manage(world, order("rack-*", DeviceKind::Worker, 1, 90)).unwrap(),
            code::DEVICE_RENEWAL_UNORDERED,
        ),
        (
            "past its time",
            30,
            |world| manage(world, order("rack-*", DeviceKind::DesktopNode, 1, 3)).unwrap(),
            code::DEVICE_RENEWAL_UNORDERED,
        ),
        (
            "taken back",
            30,
            |world| {
                manage(world, order("rack-*", DeviceKind::DesktopNode, 1, 90)).unwrap();
                manage(world, DeviceCommand::EndRenewals { order: order_id() }).unwrap();
            },
            code::DEVICE_RENEWAL_UNORDERED,
        ),
        (
            "revoked",
            30,
            |world| {
                manage(world, order("rack-*", DeviceKind::DesktopNode, 1, 90)).unwrap();
                let subject = RevocationSubject::Device(device("rack-2"));
                manage(world, DeviceCommand::Revoke { subject, reason: RevocationReason::Lost }).unwrap();
            },
            code::DEVICE_REVOKED,
        ),
    ];
    for (case, days, change, expected) in cases {
        let mut world = World::new(CoordinatorConfig::new(), false);
        grace(&mut world, *days);
        let leaf = register(&mut world, "rack-2");
        change(&mut world);
        winter(&mut world);
        let connection = world.connect(&leaf);
        assert_eq!(world.code_of(connection), Some(*expected), "{case}");
    }
    // Used up: the second device of two finds nothing left.
    let mut world = World::new(CoordinatorConfig::new(), false);
    grace(&mut world, 30);
    let (first, second) = (register(&mut world, "rack-1"), register(&mut world, "rack-2"));
    ordered(&mut world);
    winter(&mut world);
    let (mut one, mut two) = (renewing(&mut world, &first), renewing(&mut world, &second));
    renew(&mut world, &mut one).expect("renewed");
    assert_eq!(renew(&mut world, &mut two), None);
    let refused =
        NodeAgentEvent::Refused { asked: NodeAsked::Rotate, code: code::DEVICE_RENEWAL_UNORDERED.into() };
    assert!(two.seen.contains(&refused), "{:?}", two.seen);
    // An order that ends while a connection is open ends what it allowed.
    manage(&mut world, DeviceCommand::EndRenewals { order: order_id() }).unwrap();
    world.handle(CoordinatorInput::Timeout);
    assert_eq!(world.code_of(two.connection.unwrap()), Some(code::DEVICE_RENEWAL_UNORDERED));
}

/// Orders are bounded in number and in what they say, and named once.
#[test]
fn standing_orders_are_bounded() {
    let mut world = World::new(CoordinatorConfig::new(), false);
    let named = |n: u32, count, seconds| {
        let terms =
            StandingTerms::new("*".parse().unwrap(), DeviceKind::Worker, count, Millis::from_secs(seconds));
        terms.map(|terms| DeviceCommand::OrderRenewals {
            order: OrderId::new(&format!("o{n}")).unwrap(),
            terms,
        })
    };
    for (count, seconds) in [(0, 60), (65_537, 60), (1, 0), (1, 367 * 86_400)] {
        assert_eq!(named(0, count, seconds).unwrap_err().code(), code::ORDER_TERMS);
    }
    for n in 0..64 {
        manage(&mut world, named(n, 1, 60).unwrap()).unwrap();
    }
    assert_eq!(manage(&mut world, named(64, 1, 60).unwrap()), Err(code::ORDER_FULL));
    assert_eq!(manage(&mut world, named(3, 1, 60).unwrap()), Err(code::ORDER_EXISTS));
    let unknown = DeviceCommand::EndRenewals { order: OrderId::new("other").unwrap() };
    assert_eq!(manage(&mut world, unknown), Err(code::ORDER_UNKNOWN));
    // Those whose time is over make room.
    world.now = world.now.plus(Millis(60_000));
    manage(&mut world, named(64, 1, 60).unwrap()).unwrap();
    assert_eq!(world.coordinator.fleet().state().devices().renewals().len(), 1);
}

/// RFC 9700 section 4.14.2, for certificates: a thief rotates first, and the device comes with the certificate that was
/// rotated away; or the device does, and the thief comes. That is refused and noticed; where the policy latches, neither
/// of the two goes on, whether the certificate has expired or not.
#[test]
fn a_certificate_that_was_rotated_away_shows_a_clone() {
    for (expired, latches) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut world = World::new(CoordinatorConfig::new(), false);
        rules(&mut world, 30, if latches { CloneRule::Latch } else { CloneRule::Notice });
        let leaf = register(&mut world, "desk");
        let mut first = renewing(&mut world, &leaf);
        let next = renew(&mut world, &mut first).expect("rotated");
        first.cut(&mut world);
        let mut first = renewing(&mut world, &next);
        if expired {
            manage(&mut world, order("desk", DeviceKind::DesktopNode, 5, 90)).unwrap();
            winter(&mut world);
            first.cut(&mut world);
            first = renewing(&mut world, &next);
        }
        assert!(first.connection.is_some() && world.noticed.is_empty());

        let second = world.connect(&leaf);
        assert_eq!(world.code_of(second), Some(code::CERTIFICATE_UNKNOWN));
        assert_eq!(world.noticed, [(device("desk"), latches)]);
        first.settle(&mut world);
        assert_eq!(first.connection.is_none(), latches, "the device is disturbed where the policy says so");
        if !latches {
            continue;
        }
        let subject = RevocationSubject::Device(device("desk"));
        let devices = world.coordinator.fleet().state().devices();
        assert_eq!(devices.revocation(&subject).unwrap().reason, RevocationReason::Cloned);
        // It lasts, and more of the same changes nothing.
        world.restart(port(), Epoch(2));
        let index = world.coordinator.fleet().state().index();
        for leaf in [&leaf, &next] {
            let connection = world.connect(leaf);
            assert_eq!(world.code_of(connection), Some(code::DEVICE_REVOKED));
        }
        assert_eq!(world.coordinator.fleet().state().index(), index);

        // An operator clears it and pairs the device anew; old copies are strangers from then on.
        manage(&mut world, DeviceCommand::ClearRevocation { subject }).unwrap();
        let again = world.authority.sign(&device("desk"), &KeyPair::generate().unwrap());
        let certificate = world.coordinator.fleet().state().devices().read(&again).unwrap();
        let kind = DeviceKind::DesktopNode;
        manage(&mut world, DeviceCommand::Replace { device: device("desk"), kind, certificate }).unwrap();
        for leaf in [&leaf, &next] {
            let connection = world.connect(leaf);
            assert_eq!(world.code_of(connection), Some(code::CERTIFICATE_UNKNOWN));
        }
        let connection = world.connect(&again);
        assert_eq!(world.code_of(connection), None);
        assert_eq!(world.noticed.len(), 1);
    }
}

/// What a shell does as ACME clients do: it asks for the next certificate at two thirds of the lifetime, and again every
/// day until it has it. The certificate never expires, whatever days the issuer is away.
#[test]
fn a_shell_renews_at_two_thirds_of_the_lifetime() {
    let mut world = World::new(CoordinatorConfig::new(), false);
    let mut leaf = register(&mut world, "desk");
    let mut renewals = 0;
    for day in 0..400_u64 {
        let certificate = world.coordinator.fleet().state().devices().read(&leaf).unwrap();
        assert!(world.now.wall < certificate.not_after(), "day {day}");
        if world.now.wall >= certificate.renew_at() {
            let mut peer = renewing(&mut world, &leaf);
            peer.handle(&mut world, Input::Act(NodeAct::Rotate { request: csr().1 }));
            let (wanted, named, _) = world.wanted.pop().expect("asked");
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new(vec![named.to_string()]).unwrap();
            let since = Duration::from_millis(world.now.wall.0 - WALL);
            params.not_before = rcgen::date_time_ymd(2025, 11, 24) + since;
            params.not_after = params.not_before + Duration::from_secs(30 * 86_400);
            let next = params.signed_by(&key, &world.authority.0).unwrap().der().to_vec();
            let away = day % 7 < 3;
            let certificate = (!away).then_some(&next[..]);
            world.handle(CoordinatorInput::Certificate { wanted, certificate });
            peer.settle(&mut world);
            peer.cut(&mut world);
            if !away {
                // The next connection is made with it, which ends the rotation.
                renewing(&mut world, &next).cut(&mut world);
                (leaf, renewals) = (next, renewals + 1);
            }
        }
        world.now = world.now.plus(Millis(DAY));
        world.handle(CoordinatorInput::Timeout);
    }
    assert!((14..=20).contains(&renewals), "{renewals}");
}
