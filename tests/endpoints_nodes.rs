//! Paired devices over the endpoints: a stranger pairs and does nothing else; a device streams, executes once,
//! rotates, and is cut off when it is revoked.

mod endpoints_nodes_support;

use std::collections::VecDeque;

use endpoints_nodes_support::*;
use leasehold::{
    agent::*,
    code::{self, Coded as _},
    coordinator::*,
    dispatch::*,
    fleet::*,
    id::*,
    identity::{DeviceCommand, RevocationReason, RevocationSubject},
    protocol::{endpoint::Input, frame::FrameKind},
    time::Millis,
};

/// Attack P1: a peer without a certificate that says anything else is
/// closed at the header of its frame; there are few of them, for a while, and none where nobody pairs.
#[test]
fn a_stranger_can_pair_and_nothing_else() {
    let mut world = World::new(CoordinatorConfig::new(), false);
    let connection = world.stranger();
    assert_eq!(world.code_of(connection), Some(code::PAIRING_CLOSED));

    let config = CoordinatorConfig::new().max_strangers(2).max_pairing_messages(3);
    let mut world = World::new(config.pairing_patience(Millis(5_000)).frame_patience(Millis(4_000)), true);
    for kind in FrameKind::ALL.into_iter().filter(|kind| *kind != FrameKind::Pairing) {
        let connection = world.stranger();
        let header = &frame(kind, b"{}")[..4];
        world.handle(CoordinatorInput::Received { connection: ConnectionId(connection), bytes: header });
        assert_eq!(world.code_of(connection), Some(code::FRAME_DIRECTION), "{kind:?}");
    }
    let junk = world.stranger();
    let bytes = frame(FrameKind::Pairing, b"LP junk");
    world.handle(CoordinatorInput::Received { connection: ConnectionId(junk), bytes: &bytes });
    assert_eq!(world.code_of(junk), Some(code::PAIRING_MALFORMED));

    // A session that does not exist is refused without a reason, and only so often.
    let fast = world.stranger();
    let fetch = [&b"LP\x04\0\x06absent"[..], &[7; 32]].concat();
    let bytes = frame(FrameKind::Pairing, &fetch);
    for _ in 0..3 {
        world.handle(CoordinatorInput::Received { connection: ConnectionId(fast), bytes: &bytes });
        assert_eq!(world.code_of(fast), None);
    }
    assert_eq!(world.down[&fast].len(), 3);
    world.handle(CoordinatorInput::Received { connection: ConnectionId(fast), bytes: &bytes });
    assert_eq!(world.code_of(fast), Some(code::CONNECTION_TOO_FAST));

    // One that has begun no pairing makes room for who comes, and who says nothing does not stay.
    let (first, second, third) = (world.stranger(), world.stranger(), world.stranger());
    assert_eq!(world.code_of(first), Some(code::CONNECTION_TOO_MANY));
    world.handle(CoordinatorInput::Received { connection: ConnectionId(third), bytes: &bytes });
    world.now = world.now.plus(Millis(5_000));
    world.handle(CoordinatorInput::Timeout);
    assert_eq!(world.code_of(second), Some(code::FRAME_STALLED));
    assert_eq!(world.code_of(third), Some(code::CONNECTION_SILENT));
    assert_eq!(
        world.coordinator.fleet().state().nodes().pairing().sessions().len(),
        0,
        "nothing was written"
    );
}

/// From the code to the answer, over frames. A connection that breaks makes nothing run twice.
#[test]
fn a_device_pairs_streams_and_executes_once() {
    let (mut world, mut device, leaf) = streaming(CoordinatorConfig::new(), 4);
    world.enqueue("one", b"look");
    device.settle(&mut world);
    assert_eq!(executed(&device), ["one"]);
    // The stream breaks while it runs; the same request comes again under its id, and is not executed again.
    device.cut(&mut world);
    finish(&mut world, &mut device, "one");
    assert_eq!(world.state_of("one"), RequestState::Dispatched);
    let connection = world.connect(&leaf);
    device.connected(&mut world, connection);
    assert_eq!(executed(&device), ["one"]);
    assert_eq!(world.state_of("one"), RequestState::Succeeded);
    assert_eq!(world.finished, [(RequestId::new("one").unwrap(), RequestState::Succeeded)]);

    // The agent dies with a request in hand: only that life could know, so it is lost.
    world.enqueue("two", b"look");
    device.settle(&mut world);
    device.cut(&mut world);
    let mut next = agent(2, 4);
    let connection = world.connect(&leaf);
    next.connected(&mut world, connection);
    assert!(executed(&next).is_empty());
    assert_eq!(world.state_of("two"), RequestState::Failed(FailReason::Lost));
}

/// Credit: no more is handed over than the window, none while it is zero, and none to a connection that does not take
/// what went before.
#[test]
fn requests_wait_for_credit_and_for_the_connection() {
    let (mut world, mut device, _) = streaming(CoordinatorConfig::new(), 1);
    world.enqueue("one", b"look");
    world.enqueue("two", b"look");
    device.settle(&mut world);
    assert_eq!(executed(&device), ["one"]);
    finish(&mut world, &mut device, "one");
    assert_eq!(executed(&device), ["one", "two"]);
    device.handle(&mut world, Input::Act(NodeAct::Window(0)));
    finish(&mut world, &mut device, "two");
    world.enqueue("three", b"look");
    device.settle(&mut world);
    assert_eq!(executed(&device).len(), 2);
    device.handle(&mut world, Input::Act(NodeAct::Window(16)));
    device.settle(&mut world);
    assert_eq!(executed(&device).len(), 3);
    finish(&mut world, &mut device, "three");

    // Large ones, and nobody reads: they wait inside the bound instead of closing the connection.
    world.takes = false;
    let before = world.down.get(&device.connection.unwrap()).map_or(0, VecDeque::len);
    assert_eq!(before, 0);
    let policy = world.coordinator.fleet().state().policy().clone();
    let most = usize::try_from(policy.dispatch.max_request_bytes).unwrap();
    let mut names: Vec<String> = (0..16).map(|n| format!("big-{n:02}")).collect();
    for name in &names {
        world.enqueue(name, &vec![7; most]);
    }
    assert_eq!(world.code_of(device.connection.unwrap()), None);
    let waiting: usize = world.down[&device.connection.unwrap()].iter().map(Vec::len).sum();
    assert!(waiting <= 4 << 20, "{waiting}");
    world.takes = true;
    let handed = world.down[&device.connection.unwrap()].iter().map(Vec::len).sum();
    let connection = ConnectionId(device.connection.unwrap());
    world.handle(CoordinatorInput::Sent { connection, bytes: handed });
    device.settle(&mut world);
    let mut all = executed(&device).split_off(3);
    all.sort();
    names.sort();
    assert_eq!(all, names);
}

/// Make before break: the device asks over its stream, and its first connection with the next certificate ends the
/// rotation in the journal. The former certificate is refused from then on.
#[test]
fn a_device_rotates_its_certificate_over_its_stream() {
    let (mut world, mut device, old) = streaming(CoordinatorConfig::new(), 4);
    world.enqueue("one", b"look");
    device.settle(&mut world);
    let (key, request) = csr();
    device.handle(&mut world, Input::Act(NodeAct::Rotate { request: request.clone() }));
    let (wanted, named, asked) = world.wanted.pop().expect("a certificate is wanted");
    assert_eq!((&named, asked), (&desk(), request));
    let next = world.authority.sign(&named, &key);
    world.handle(CoordinatorInput::Certificate { wanted, certificate: Some(&next) });
    device.settle(&mut world);
    let certificate = NodeAgentEvent::Certificate { certificate: next.clone() };
    assert!(device.seen.contains(&certificate));
    let rotating = |world: &World| {
        world.coordinator.fleet().state().devices().get(&desk()).unwrap().rotation().is_some()
    };
    assert!(rotating(&world) && device.endpoint.is_streaming(), "both are accepted");

    device.cut(&mut world);
    let connection = world.connect(&next);
    device.connected(&mut world, connection);
    assert!(!rotating(&world), "the first use ended it");
    assert!(device.endpoint.is_streaming());
    let refused = world.connect(&old);
    assert_eq!(world.code_of(refused), Some(code::CERTIFICATE_UNKNOWN));
    finish(&mut world, &mut device, "one");
    assert_eq!(world.state_of("one"), RequestState::Succeeded);

    // An issuer that refuses, or signs another key, changes nothing.
    for certificate in [None, Some(&old[..])] {
        device.handle(&mut world, Input::Act(NodeAct::Rotate { request: csr().1 }));
        let (wanted, ..) = world.wanted.pop().unwrap();
        world.handle(CoordinatorInput::Certificate { wanted, certificate });
        device.settle(&mut world);
    }
    let refused =
        |event: &&NodeAgentEvent| matches!(event, NodeAgentEvent::Refused { asked: NodeAsked::Rotate, .. });
    assert_eq!(device.seen.iter().filter(refused).count(), 1);
}

/// Invariant 12: in the middle of an open stream, and on the next connection; by an operator and by the device itself.
#[test]
fn a_revoked_device_is_cut_off_at_once() {
    for own_will in [false, true] {
        let (mut world, mut device, leaf) = streaming(CoordinatorConfig::new(), 4);
        world.enqueue("one", b"look");
        device.settle(&mut world);
        let connection = device.connection.unwrap();
        if own_will {
            device.handle(&mut world, Input::Act(NodeAct::RevokeSelf));
        } else {
            let subject = RevocationSubject::Device(desk());
            let command = DeviceCommand::Revoke { subject, reason: RevocationReason::Lost };
            world.operator(OperatorCommand::ManageDevice(ManageDevice::new(command)));
        }
        assert_eq!(world.code_of(connection), Some(code::DEVICE_REVOKED));
        assert_eq!(world.state_of("one"), RequestState::Rejected(RejectReason::DeviceRevoked));
        let again = world.connect(&leaf);
        assert_eq!(world.code_of(again), Some(code::DEVICE_REVOKED));
        device.settle(&mut world);
        assert!(
            device.seen.contains(&NodeAgentEvent::LinkLost { why: code::CONNECTION_CLOSED }),
            "{:?}",
            device.seen
        );
    }
}

/// A device that says nothing loses its stream; what it had in hand waits for it until the deadline.
#[test]
fn a_silent_device_loses_its_stream_and_keeps_its_request() {
    let (mut world, mut device, leaf) = streaming(CoordinatorConfig::new(), 4);
    world.enqueue("one", b"look");
    device.settle(&mut world);
    let connection = device.connection.unwrap();
    for _ in 0..40 {
        world.now = world.now.plus(Millis(1_000));
        world.handle(CoordinatorInput::Timeout);
    }
    assert_eq!(world.code_of(connection), Some(code::CONNECTION_SILENT));
    device.settle(&mut world);
    finish(&mut world, &mut device, "one");
    let again = world.connect(&leaf);
    device.connected(&mut world, again);
    assert_eq!(world.state_of("one"), RequestState::Succeeded);
    world.now = world.now.plus(Millis(60_000));
    world.handle(CoordinatorInput::Timeout);
    assert_eq!(world.state_of("one"), RequestState::Succeeded, "invariant 14");
    let refused = world
        .service(ServiceRequest::CancelRequest(CancelRequest { request: RequestId::new("one").unwrap() }));
    let LocalAnswer::Done(Err(error)) = refused else { panic!("{refused:?}") };
    assert_eq!(error.code(), code::DISPATCH_REQUEST_FINAL);
}
