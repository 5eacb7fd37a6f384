//! Devices whose coordinator changes its certificate, over the endpoints in memory: workers and an enforcement point, a
//! device that streams, and a coordinator that says what it must not.

mod endpoints_nodes_support;
mod endpoints_support;

use endpoints_nodes_support::{Peer, World, agent, desk, port, streaming};
use endpoints_support::{Sim, coordinator_certificate, feed, leaf, transport};
use leasehold::{
    agent::*,
    code::{self, Code},
    coordinator::*,
    digest::Sha256Digest,
    dispatch::Incarnation,
    fleet::*,
    gate::GateEvent,
    identity::*,
    lease::Epoch,
    protocol::{
        endpoint::Input,
        message::{AnchorNotice, Document as _, NodeAnswer, NodeWord},
    },
    time::{Millis, Now, Wall},
};

const ROLE: AnchorRole = AnchorRole::Coordinator;

fn certificate(name: &str) -> DeviceCertificate {
    let (leaf, key) =
        (Sha256Digest::of(name.as_bytes()), Sha256Digest::of(&[name.as_bytes(), b"!"].concat()));
    DeviceCertificate::new(leaf, key, Wall(0), Wall::NEVER).unwrap()
}

fn print(name: &str) -> Sha256Digest {
    certificate(name).fingerprint()
}

fn order(command: AnchorCommand) -> OperatorCommand {
    OperatorCommand::ManageAnchors(ManageAnchors::new(command))
}

fn pin(fingerprint: Sha256Digest) -> OperatorCommand {
    order(AnchorCommand::Pin { role: ROLE, certificate: PinnedCertificate::Fingerprint(fingerprint) })
}

fn announce(by: Sha256Digest, next: DeviceCertificate) -> OperatorCommand {
    let announcement = Announcement { role: ROLE, succeeds: by, next };
    order(AnchorCommand::Announce { by, announcement })
}

fn ordered(world: &mut World, command: OperatorCommand) {
    let answer = world.operator(command);
    assert!(matches!(answer, LocalAnswer::Managed(Ok(_))), "{answer:?}");
}

fn accepts(anchors: &TrustAnchors) -> Vec<Sha256Digest> {
    anchors.of(ROLE).map(|anchor| anchor.certificate.fingerprint()).collect()
}

fn sorted<const N: usize>(mut all: [Sha256Digest; N]) -> Vec<Sha256Digest> {
    all.sort();
    all.to_vec()
}

/// What the device was told to keep, oldest first.
fn kept(device: &Peer<NodeAgent>) -> Vec<TrustAnchors> {
    let changes = device.seen.iter().filter_map(|event| match event {
        NodeAgentEvent::AnchorsChanged { anchors } => Some((**anchors).clone()),
        _ => None,
    });
    changes.collect()
}

fn reconnect(world: &mut World, device: &mut Peer<NodeAgent>, leaf: &[u8]) {
    device.cut(world);
    let connection = world.connect(leaf);
    device.connected(world, connection);
}

/// Why the device gives up a peer that shows this.
fn refused(device: &mut Peer<NodeAgent>, world: &mut World, peer: Sha256Digest) -> Option<Code> {
    let before = device.seen.len();
    device.handle(world, Input::Connected { peer });
    match device.seen[before..] {
        [NodeAgentEvent::LinkLost { why }] => Some(why),
        _ => None,
    }
}

/// Attack P9 in the other direction: told while connected, the device goes on with the next certificate, and with the
/// former one no more. Its epoch and its requests are what they were.
#[test]
fn p9_a_device_that_streams_follows_its_coordinator_over_reconnects() {
    let (mut world, mut device, leaf) = streaming(CoordinatorConfig::new(), 4);
    ordered(&mut world, pin(port()));
    device.settle(&mut world);
    assert!(kept(&device).is_empty(), "nothing to follow yet");
    ordered(&mut world, announce(port(), certificate("next")));
    device.settle(&mut world);
    assert!(device.endpoint.is_streaming(), "nothing is cut");
    assert_eq!(accepts(device.endpoint.anchors()), sorted([port(), print("next")]));
    assert_eq!(kept(&device), [device.endpoint.anchors().clone()], "told once");

    // The same over the same certificate again: nothing is new; then from the other side of a crash.
    reconnect(&mut world, &mut device, &leaf);
    device.cut(&mut world);
    world.restart(port(), Epoch(2));
    reconnect(&mut world, &mut device, &leaf);
    assert!(device.endpoint.is_streaming());
    assert_eq!(kept(&device).len(), 1);
    device.cut(&mut world);
    assert_eq!(refused(&mut agent(9, 1), &mut world, print("next")), Some(OTHER), "it has not been told");
    assert_eq!(refused(&mut device, &mut world, print("somebody")), Some(OTHER));

    // The coordinator comes back with the next one: its first use retires the former.
    world.restart(print("next"), Epoch(3));
    reconnect(&mut world, &mut device, &leaf);
    assert!(device.endpoint.is_streaming());
    assert_eq!(accepts(device.endpoint.anchors()), [print("next")]);
    let all = kept(&device);
    assert_eq!(all.len(), 2);
    device.cut(&mut world);
    for stranger in [port(), print("somebody")] {
        assert_eq!(refused(&mut device, &mut world, stranger), Some(OTHER));
    }
    // Another life of the device, with what it has kept.
    let config = NodeAgentConfig::new(port(), Incarnation(2), Default::default(), 1);
    let mut next_life = Peer::new(NodeAgent::new(config.trusting(all[1].clone()).seen(Epoch(3))));
    assert_eq!(refused(&mut next_life, &mut world, port()), Some(OTHER));
    let connection = world.connect(&leaf);
    next_life.connected(&mut world, connection);
    assert!(next_life.seen.contains(&NodeAgentEvent::Welcome { epoch: Epoch(3) }), "{:?}", next_life.seen);
}

const OTHER: Code = code::COORDINATOR_OTHER_CERTIFICATE;

/// What was announced is withdrawn by revoking it, also for a device that was away both when that was said and when
/// another one was announced instead.
#[test]
fn a_withdrawn_certificate_is_never_followed_and_another_takes_its_place() {
    let (mut world, mut there, leaf) = streaming(CoordinatorConfig::new(), 4);
    ordered(&mut world, pin(port()));
    ordered(&mut world, announce(port(), certificate("stolen")));
    there.settle(&mut world);
    assert_eq!(accepts(there.endpoint.anchors()), sorted([port(), print("stolen")]));
    there.cut(&mut world);
    let reason = RevocationReason::KeyCompromise;
    ordered(&mut world, order(AnchorCommand::Revoke { fingerprint: print("stolen"), reason }));
    ordered(&mut world, announce(port(), certificate("next")));
    reconnect(&mut world, &mut there, &leaf);
    assert_eq!(accepts(there.endpoint.anchors()), sorted([port(), print("next")]));
    there.cut(&mut world);
    assert_eq!(refused(&mut there, &mut world, print("stolen")), Some(code::CERTIFICATE_REVOKED));
    // One that never heard of the first hears of the second only, and holds no grudge.
    let mut late = agent(7, 4);
    let connection = world.connect(&leaf);
    late.connected(&mut world, connection);
    assert_eq!(accepts(late.endpoint.anchors()), sorted([port(), print("next")]));
    assert_eq!(late.endpoint.anchors().revoked().count(), 0);
    // While it listens, the second is taken back as well.
    ordered(&mut world, order(AnchorCommand::Withdraw { by: port(), fingerprint: print("next") }));
    late.settle(&mut world);
    assert_eq!(accepts(late.endpoint.anchors()), [port()]);
    assert!(late.endpoint.is_streaming());
}

fn notice(announced: &[Announcement], withdrawn: &[Sha256Digest]) -> AnchorNotice {
    AnchorNotice { announced: announced.to_vec(), withdrawn: withdrawn.to_vec() }
}

fn bytes(word: NodeWord) -> Vec<u8> {
    let mut bytes = Vec::new();
    word.write(&mut bytes).unwrap();
    bytes
}

fn welcome(epoch: u64) -> Vec<u8> {
    let (fleet, heartbeat_every) = ("shop".parse().unwrap(), Millis(1_000));
    bytes(NodeWord::Answer {
        sequence: 0,
        answer: NodeAnswer::Welcome { fleet, epoch: Epoch(epoch), heartbeat_every },
    })
}

const NOW: Now = Now::new(10, 1_000);

/// A device that pins `mine` and `other` and has a session over the first, and what it makes of `notice`.
fn hears(anchors: &TrustAnchors, notice: AnchorNotice) -> (Vec<NodeAgentEvent>, TrustAnchors, Option<Code>) {
    let config = NodeAgentConfig::new(port(), Incarnation(1), Default::default(), 1);
    let mut device = NodeAgent::new(config.trusting(anchors.clone()));
    let (_, events, closed) = feed(&mut device, Input::Connected { peer: print("mine") }, NOW);
    assert!(events.is_empty() && closed.is_none());
    feed(&mut device, Input::Received(&welcome(1)), NOW);
    let word = bytes(NodeWord::Anchors(notice));
    let (_, events, closed) = feed(&mut device, Input::Received(&word), NOW);
    (events, device.anchors().clone(), closed)
}

/// Everything else that a coordinator might say is refused with a code, changes nothing, and costs no connection: the
/// channel is good, the word is not.
#[test]
fn a_word_that_does_not_fit_what_is_pinned_is_refused_and_changes_nothing() {
    let pinned = |names: &[&str]| {
        let mut anchors = TrustAnchors::new();
        for name in names {
            let certificate = PinnedCertificate::Fingerprint(print(name));
            anchors.apply(&AnchorCommand::Pin { role: ROLE, certificate }, NOW).unwrap();
        }
        anchors
    };
    let told = |succeeds: &str, next| Announcement { role: ROLE, succeeds: print(succeeds), next };
    let over = DeviceCertificate::new(print("over"), print("key"), Wall(0), Wall(1_000)).unwrap();
    let two = pinned(&["mine", "other"]);
    let mut waiting = two.clone();
    let announcement = told("mine", certificate("next"));
    waiting.apply(&AnchorCommand::Announce { by: print("mine"), announcement }, NOW).unwrap();
    let mut banned = two.clone();
    let reason = RevocationReason::Operator;
    banned.apply(&AnchorCommand::Revoke { fingerprint: print("next"), reason }, NOW).unwrap();
    let many: Vec<_> = (0..65).map(|n| print(&format!("{n}"))).collect();
    let table = [
        (
            "a second successor",
            &waiting,
            notice(&[told("mine", certificate("second"))], &[]),
            code::ANCHOR_SUCCESSION,
        ),
        (
            "for another coordinator",
            &two,
            notice(&[told("other", certificate("next"))], &[]),
            code::ANCHOR_SUCCESSION,
        ),
        (
            "for a stranger",
            &two,
            notice(&[told("nobody", certificate("next"))], &[]),
            code::ANCHOR_SUCCESSION,
        ),
        ("past its validity", &two, notice(&[told("mine", over)], &[]), code::CERTIFICATE_EXPIRED),
        (
            "one that is revoked",
            &banned,
            notice(&[told("mine", certificate("next"))], &[]),
            code::CERTIFICATE_REVOKED,
        ),
        ("another's anchor taken back", &two, notice(&[], &[print("other")]), code::ANCHOR_SUCCESSION),
        ("its own taken back", &two, notice(&[], &[print("mine")]), code::ANCHOR_SUCCESSION),
        ("more than there can be", &two, notice(&[], &many), code::ANCHOR_FULL),
    ];
    for (what, anchors, notice, code) in table {
        let (events, after, closed) = hears(anchors, notice);
        assert_eq!(events, [NodeAgentEvent::AnnouncementRefused { code }], "{what}");
        assert_eq!((&after, closed), (anchors, None), "{what}");
    }
    // Said before, about an authority that nobody pins here, or taken back unheard: no news, and no refusal.
    let next = certificate("next");
    let foreign =
        Announcement { role: AnchorRole::Authority, succeeds: print("ca"), next: certificate("ca 2") };
    let nothing = hears(&waiting, notice(&[told("mine", next), foreign], &[print("unheard")]));
    assert_eq!(nothing, (vec![], waiting.clone(), None));

    // A revoked or expired coordinator says nothing at all, and one that was not asked says nothing yet.
    let mut revoked = two.clone();
    revoked.apply(&AnchorCommand::Revoke { fingerprint: print("mine"), reason }, NOW).unwrap();
    let mut expired = pinned(&[]);
    let short = DeviceCertificate::new(print("mine"), print("key"), Wall(0), Wall(1_000)).unwrap().into();
    let early = Now::new(0, 0);
    expired.apply(&AnchorCommand::Pin { role: ROLE, certificate: short }, early).unwrap();
    for (anchors, code) in [(revoked, code::CERTIFICATE_REVOKED), (expired, code::CERTIFICATE_EXPIRED)] {
        let config = NodeAgentConfig::new(port(), Incarnation(1), Default::default(), 1);
        let mut device = NodeAgent::new(config.trusting(anchors));
        let (sent, _, closed) = feed(&mut device, Input::Connected { peer: print("mine") }, NOW);
        assert_eq!((sent, closed), (vec![], Some(code)));
    }
    let config = NodeAgentConfig::new(port(), Incarnation(1), Default::default(), 1);
    let mut device = NodeAgent::new(config.trusting(two.clone()));
    feed(&mut device, Input::Connected { peer: print("mine") }, NOW);
    let word = bytes(NodeWord::Anchors(notice(&[told("mine", next)], &[])));
    let (_, _, closed) = feed(&mut device, Input::Received(&word), NOW);
    assert_eq!((closed, device.anchors()), (Some(code::MESSAGE_ORDER), &two), "before the welcome");
}

/// The fence against a lower epoch stands beside the certificate, and a coordinator that is behind it has not been used.
#[test]
fn the_next_certificate_under_a_lower_epoch_is_not_a_first_use() {
    let mut anchors = TrustAnchors::of_coordinator(print("mine"));
    let announcement = Announcement { role: ROLE, succeeds: print("mine"), next: certificate("next") };
    anchors.apply(&AnchorCommand::Announce { by: print("mine"), announcement }, NOW).unwrap();
    for (epoch, lost, left) in [(6, true, 2), (7, false, 1)] {
        let config = NodeAgentConfig::new(port(), Incarnation(1), Default::default(), 1).seen(Epoch(7));
        let mut device = NodeAgent::new(config.trusting(anchors.clone()));
        feed(&mut device, Input::Connected { peer: print("next") }, NOW);
        let (_, _, closed) = feed(&mut device, Input::Received(&welcome(epoch)), NOW);
        assert_eq!(closed, lost.then_some(code::COORDINATOR_LOWER_EPOCH));
        assert_eq!(accepts(device.anchors()).len(), left);
    }
}

/// Workers and the enforcement point hear it too, at once or when they come; none of them is told what might not last,
/// and a coordinator that dies in the middle has told nobody, or comes back with it.
#[test]
fn workers_and_the_gate_follow_and_nothing_is_said_before_it_lasts() {
    let next = DeviceCertificate::from_der(leaf(6)).unwrap();
    for lost in [true, false] {
        let mut sim = Sim::with_everybody(7, CoordinatorConfig::new().inspect(true));
        sim.run(500);
        sim.cut(1);
        sim.operator(pin(coordinator_certificate()));
        sim.settle();
        sim.operator(announce(coordinator_certificate(), next));
        for host in [0, 2] {
            while sim.carry(host, false, usize::MAX) {}
        }
        assert_eq!(accepts(sim.worker(0).agent.anchors()).len(), 1, "not before it lasts");
        if lost {
            // The process dies with what it was writing.
            sim.writing = None;
            sim.crash();
            for host in 0..3 {
                sim.connect(host);
            }
            sim.run(500);
            assert_eq!(accepts(sim.worker(0).agent.anchors()).len(), 1);
            assert_eq!(accepts(sim.gate().gate.anchors()).len(), 1);
            sim.operator(announce(coordinator_certificate(), next));
        }
        sim.settle();
        let both = sorted([coordinator_certificate(), next.fingerprint()]);
        assert_eq!(accepts(sim.worker(0).agent.anchors()), both);
        assert_eq!(accepts(sim.gate().gate.anchors()), both);
        if !lost {
            assert_eq!(accepts(sim.worker(1).agent.anchors()).len(), 1, "away");
            sim.connect(1);
            sim.settle();
        }
        assert_eq!(accepts(sim.worker(1).agent.anchors()), both);

        // A run is under way when the certificate changes; it ends where it began.
        let tag = sim.acquire(1, transport(&[]));
        sim.run(500);
        assert!(matches!(sim.answers.get(&tag), Some(LocalAnswer::Acquired(Ok(_)))));
        sim.shows = next.fingerprint();
        sim.crash();
        for host in 0..3 {
            sim.connect(host);
        }
        sim.run(6_000);
        assert_eq!(sim.endings(1), 1);
        for host in 0..2 {
            assert_eq!(accepts(sim.worker(host).agent.anchors()), [next.fingerprint()]);
            let told = |event: &&AgentEvent| matches!(event, AgentEvent::AnchorsChanged { .. });
            assert_eq!(sim.worker(host).seen.iter().filter(told).count(), 2, "announced, used");
        }
        assert_eq!(accepts(sim.gate().gate.anchors()), [next.fingerprint()]);
        assert!(sim.gate().seen.iter().any(|event| matches!(event, GateEvent::AnchorsChanged { .. })));
        // The former certificate again, under an epoch of its own: nobody comes.
        sim.shows = coordinator_certificate();
        sim.crash();
        for host in 0..3 {
            sim.connect(host);
            assert!(!sim.links.contains_key(&host), "host {host} believes the former certificate");
        }
        let lost = AgentEvent::LinkLost { why: OTHER };
        assert!(sim.worker(0).seen.contains(&lost) && sim.worker(1).seen.contains(&lost));
    }
}

/// Invariant 12: the overlap of a rotation ends by its deadline, and with it the connection that stands on the former
/// certificate: without a message, and at the instant that the coordinator has asked to be woken at.
#[test]
fn an_open_connection_ends_with_the_overlap_that_its_certificate_was_good_for() {
    for (abandoned, says_something) in [(false, false), (false, true), (true, false)] {
        let (mut world, mut device, _) = streaming(CoordinatorConfig::new(), 4);
        let connection = device.connection.unwrap();
        let (next, overlap) = (certificate("next leaf"), Millis(5_000));
        let rotate =
            |at_deadline| DeviceCommand::BeginRotation { device: desk(), next, overlap, at_deadline };
        let manage = |command| OperatorCommand::ManageDevice(ManageDevice::new(command));
        ordered(&mut world, manage(rotate(OverlapEnd::RetireOld)));
        let ends = world.now.mono.plus(overlap);
        assert!(world.coordinator.next_deadline().is_some_and(|due| due <= ends));
        if abandoned {
            ordered(&mut world, manage(DeviceCommand::AbandonRotation { device: desk() }));
        }
        while world.now.mono < ends {
            assert_eq!(world.code_of(connection), None, "before its time");
            let due = world.coordinator.next_deadline().unwrap().clamp(world.now.mono, ends);
            world.now = world.now.plus(due.since(world.now.mono).max(Millis(1)));
            if says_something && world.now.mono == ends {
                // What comes at that very instant is refused as well: it changes nothing.
                device.handle(&mut world, Input::Act(NodeAct::RevokeSelf));
            } else {
                world.handle(CoordinatorInput::Timeout);
            }
        }
        let cut = (!abandoned).then_some(code::CERTIFICATE_RETIRED);
        assert_eq!(world.code_of(connection), cut);
        let revoked = RevocationSubject::Device(desk());
        assert_eq!(world.coordinator.fleet().state().devices().revocation(&revoked), None);
    }
}

/// The same for a certificate that runs out while its connection is open.
#[test]
fn an_open_connection_ends_with_the_validity_of_its_certificate() {
    let day = Millis::from_secs(86_400);
    let config = CoordinatorConfig::new().silence(day).frame_patience(day);
    let mut world = World::new(config, false);
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["desk".into()]).unwrap();
    // 2025-11-25 begins eight hours after the world does.
    (params.not_before, params.not_after) =
        (rcgen::date_time_ymd(2025, 1, 1), rcgen::date_time_ymd(2025, 11, 25));
    let leaf = params.self_signed(&key).unwrap().der().to_vec();
    let certificate = DeviceCertificate::from_der(&leaf).unwrap();
    let register = DeviceCommand::Register { device: desk(), kind: DeviceKind::DesktopNode, certificate };
    ordered(&mut world, OperatorCommand::ManageDevice(ManageDevice::new(register)));
    let connection = world.connect(&leaf);
    let ends = world.now.mono.plus(certificate.expires().since(world.now.wall));
    world.handle(CoordinatorInput::Timeout);
    assert_eq!(world.coordinator.next_deadline(), Some(ends));
    world.now = world.now.plus(Millis(ends.0 - 1 - world.now.mono.0));
    world.handle(CoordinatorInput::Timeout);
    assert_eq!(world.code_of(connection), None);
    world.now = world.now.plus(Millis(1));
    world.handle(CoordinatorInput::Timeout);
    assert_eq!(world.code_of(connection), Some(code::CERTIFICATE_EXPIRED));
}
