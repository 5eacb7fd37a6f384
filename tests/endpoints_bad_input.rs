//! What a peer may do wrong ends in a code and a closed connection, without a panic, without
//! growth, and without an effect on anybody else.

mod endpoints_support;

use endpoints_support::{Host, Sim, coordinator_certificate, feed, leaf, transport};
use leasehold::{
    agent::{Agent, AgentConfig, AgentEvent},
    code::{self, Code},
    coordinator::*,
    digest::Sha256Digest,
    fleet::*,
    id::ClientId,
    identity::{DeviceCertificate, DeviceCommand, DeviceKind},
    lease::*,
    protocol::{
        chunk::{Chunk, Stream},
        endpoint::{EndpointError, Input},
        frame::{FrameKind, VERSION, encode},
        message::*,
    },
    testing::World,
    time::{Millis, Now, Wall},
};
use proptest::prelude::*;

fn frame(kind: FrameKind, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(kind, body, &mut bytes).unwrap();
    bytes
}

fn request(sequence: u64, message: WorkerMessage) -> Vec<u8> {
    let mut bytes = Vec::new();
    WorkerRequest { sequence, message }.write(&mut bytes).unwrap();
    bytes
}

fn hello() -> Vec<u8> {
    request(1, WorkerMessage::Hello { worker: World::worker_id(1), resume: None, epoch: Epoch(0) })
}

/// A world with one honest worker (peer 2) and its gate, in which peer 1 misbehaves.
fn world(config: CoordinatorConfig) -> Sim {
    let mut sim = Sim::with_everybody(1, config);
    sim.cut(0);
    sim.run(500);
    sim.closed.clear();
    assert_eq!(sim.coordinator.fleet().state().counts().available, 1);
    sim
}

/// The honest worker and the gate are as they were, and a run goes through.
fn assert_nobody_else_noticed(sim: &mut Sim) {
    assert!(sim.links.contains_key(&1) && sim.links.contains_key(&2));
    sim.acquire(77, transport(&[]));
    sim.run(3_500);
    assert_eq!(sim.endings(77), 1);
}

fn closed(sim: &Sim, connection: ConnectionId) -> Option<Code> {
    sim.closed.iter().find(|(id, _)| *id == connection).map(|(_, code)| *code)
}

/// Every sentence of "Bad input" that is about bytes, each as a whole and cut into single bytes.
#[test]
fn malformed_oversize_unknown_and_misplaced_input_is_closed_with_a_code() {
    let version = {
        let mut bytes = hello();
        bytes[2] = VERSION + 1;
        bytes
    };
    let former = {
        let mut bytes = hello();
        bytes[2] = 1;
        bytes
    };
    let oversize = [&b"LH\x02\x01"[..], &u32::MAX.to_be_bytes()].concat();
    let climbs = {
        let path = RelativePath::new("aa").unwrap();
        let mut body = Chunk::new(Fence::new(Epoch(1), 1), Stream::Output(path), 0, b"").unwrap().encode();
        body[27..29].copy_from_slice(b"..");
        [hello(), frame(FrameKind::Chunk, &body)].concat()
    };
    let chunk = |stream| Chunk::new(Fence::new(Epoch(1), 1), stream, 0, b"x").unwrap().encode();
    let input = Stream::Input(RelativePath::new("a").unwrap());
    let unknown = br#"{"sequence":1,"message":{"promote":{"worker":"worker-1"}}}"#;
    let operator = br#"{"sequence":1,"message":{"release":{"worker":"worker-1"}}}"#;
    let cases: Vec<(&str, Vec<u8>, Code)> = vec![
        ("another protocol", b"GET / HTTP/1.1\r\n\r\n".to_vec(), code::FRAME_MAGIC),
        ("unknown version", version, code::PROTOCOL_VERSION),
        ("the version before", former, code::PROTOCOL_VERSION),
        ("unknown frame kind", b"LH\x02\x63\0\0\0\0".to_vec(), code::FRAME_KIND),
        ("oversize", oversize, code::FRAME_TOO_LARGE),
        ("unknown message kind", [hello(), frame(FrameKind::Worker, unknown)].concat(), code::JSON_SHAPE),
        ("an operator's act", [hello(), frame(FrameKind::Worker, operator)].concat(), code::JSON_SHAPE),
        ("no JSON", frame(FrameKind::Worker, b"\xff\xfe"), code::JSON_UTF8),
        ("a depth bomb", frame(FrameKind::Worker, "[".repeat(200_000).as_bytes()), code::JSON_NOT_AN_OBJECT),
        ("a coordinator's frame", frame(FrameKind::Coordinator, b"{}"), code::FRAME_DIRECTION),
        ("a gate's frame", frame(FrameKind::Gate, br#"{"ping":{"ping":1}}"#), code::FRAME_DIRECTION),
        ("not first a greeting", request(1, WorkerMessage::Challenge {}), code::MESSAGE_ORDER),
        ("two greetings", [hello(), hello()].concat(), code::MESSAGE_ORDER),
        ("a chunk before the greeting", frame(FrameKind::Chunk, &chunk(Stream::Log)), code::MESSAGE_ORDER),
        (
            "an input from a worker",
            [hello(), frame(FrameKind::Chunk, &chunk(input))].concat(),
            code::FRAME_DIRECTION,
        ),
        ("a malformed chunk", [hello(), frame(FrameKind::Chunk, b"short")].concat(), code::CHUNK_MALFORMED),
        ("a path that climbs", climbs, code::WORKSPACE_ESCAPE),
    ];
    let mut sim = world(CoordinatorConfig::new());
    for (what, bytes, want) in &cases {
        for size in [usize::MAX, 1] {
            let connection = sim.raw(1);
            for piece in bytes.chunks(size.min(bytes.len())) {
                sim.handle(CoordinatorInput::Received { connection, bytes: piece });
                if closed(&sim, connection).is_some() {
                    break;
                }
            }
            assert_eq!(closed(&sim, connection), Some(*want), "{what}");
            // What was on its way when it was closed is nobody's.
            sim.handle(CoordinatorInput::Received { connection, bytes: b"more" });
        }
    }
    sim.settle();
    assert_eq!(sim.coordinator.connections(), 2);
    assert_nobody_else_noticed(&mut sim);
}

/// Half a frame and then silence; a byte at a time; nothing at all; a whole greeting and nothing more.
#[test]
fn half_a_frame_and_then_silence_is_closed() {
    let config = || CoordinatorConfig::new().frame_patience(Millis(3_000)).silence(Millis(6_000));
    let half = hello();
    let half = &half[..half.len() - 1];
    for (bytes, drip, want, within) in [
        (half, false, code::FRAME_STALLED, 3_000),
        (half, true, code::FRAME_STALLED, 3_000),
        (&b""[..], false, code::FRAME_STALLED, 3_000),
        (&hello()[..], false, code::CONNECTION_SILENT, 6_000),
    ] {
        let mut sim = world(config());
        let connection = sim.raw(1);
        let (first, rest) = bytes.split_at(if drip { 9 } else { bytes.len() });
        sim.handle(CoordinatorInput::Received { connection, bytes: first });
        let mut rest = rest.iter();
        let mut passed = 0;
        while closed(&sim, connection).is_none() {
            assert!(passed <= within, "{want}");
            if let Some(byte) = rest.next() {
                sim.handle(CoordinatorInput::Received { connection, bytes: &[*byte] });
            }
            sim.pass(100);
            sim.settle();
            passed += 100;
        }
        assert_eq!(closed(&sim, connection), Some(want));
        assert_nobody_else_noticed(&mut sim);
    }
}

/// A peer that never reads: what waits for it is bounded in bytes and in time.
#[test]
fn a_peer_that_never_reads_is_closed() {
    // In time: it took nothing of what it was handed.
    let mut sim = world(CoordinatorConfig::new().write_patience(Millis(2_000)));
    sim.reads = false;
    let connection = sim.raw(1);
    sim.handle(CoordinatorInput::Received { connection, bytes: &hello() });
    sim.durable();
    sim.reads = true;
    for sequence in 2..30 {
        sim.pass(100);
        // It keeps on asking, which is no excuse for not reading.
        let bytes = request(sequence, WorkerMessage::Challenge {});
        if closed(&sim, connection).is_none() {
            sim.reads = false;
            sim.handle(CoordinatorInput::Received { connection, bytes: &bytes });
            sim.reads = true;
        }
    }
    assert_eq!(closed(&sim, connection), Some(code::CONNECTION_SLOW_READER));

    // In bytes: it asks and asks.
    let mut sim = world(CoordinatorConfig::new().write_patience(Millis(u64::MAX)).silence(Millis(u64::MAX)));
    sim.reads = false;
    let connection = sim.raw(1);
    sim.handle(CoordinatorInput::Received { connection, bytes: &hello() });
    sim.durable();
    let mut handed = 0;
    for sequence in 2..200_000 {
        let bytes = request(sequence, WorkerMessage::Challenge {});
        sim.handle(CoordinatorInput::Received { connection, bytes: &bytes });
        if let Some(pipe) = sim.pipes.get_mut(&connection) {
            handed += pipe.down.drain(..).len();
        }
        if closed(&sim, connection).is_some() {
            break;
        }
    }
    assert_eq!(closed(&sim, connection), Some(code::CONNECTION_SLOW_READER));
    assert!(handed <= 4 << 20, "{handed}");
}

/// A gate that never reads costs its window and its backlog, then it is closed; the fleet goes on.
#[test]
fn an_enforcement_point_that_never_reads_is_closed() {
    let mut sim = world(
        CoordinatorConfig::new().feed_backlog(4).write_patience(Millis(u64::MAX)).silence(Millis(u64::MAX)),
    );
    sim.cut(2);
    sim.reads = false;
    let connection = sim.raw(3);
    let mut bytes = Vec::new();
    GateMessage::Subscribe { ping: 1, epoch: Epoch(0) }.write(&mut bytes).unwrap();
    sim.handle(CoordinatorInput::Received { connection, bytes: &bytes });
    for ping in 2..4_000 {
        bytes.clear();
        GateMessage::Ping { ping }.write(&mut bytes).unwrap();
        sim.handle(CoordinatorInput::Received { connection, bytes: &bytes });
    }
    sim.settle();
    let handed = sim.pipes[&connection].down.len();
    assert!((200 << 10..300 << 10).contains(&handed), "{handed}");
    assert_eq!(closed(&sim, connection), None);
    // Changes that it has no room for pile up in its backlog.
    for run in 1..=3 {
        sim.acquire(run, transport(&[]));
        sim.run(3_500);
        assert_eq!(sim.endings(run), 1);
    }
    assert_eq!(closed(&sim, connection), Some(code::CONNECTION_SLOW_READER));
}

/// More requests than answers are waited for.
#[test]
fn a_peer_that_asks_faster_than_the_journal_writes_is_closed() {
    let mut sim = world(CoordinatorConfig::new().max_in_flight(4));
    let connection = sim.raw(1);
    // Something is on its way to the journal, so every answer waits.
    sim.acquire(5, transport(&[]));
    assert!(sim.writing.is_some());
    let mut bytes = hello();
    for sequence in 2..=4 {
        bytes.extend(request(sequence, WorkerMessage::Challenge {}));
    }
    sim.handle(CoordinatorInput::Received { connection, bytes: &bytes });
    assert_eq!(closed(&sim, connection), None);
    sim.handle(CoordinatorInput::Received { connection, bytes: &request(5, WorkerMessage::Challenge {}) });
    assert_eq!(closed(&sim, connection), Some(code::CONNECTION_TOO_FAST));
    sim.run(3_500);
    assert_nobody_else_noticed(&mut sim);
}

/// Who is nobody, is somebody else, or is a device of another kind does not get in.
#[test]
fn strangers_are_closed_before_they_say_anything() {
    let mut sim = world(CoordinatorConfig::new().max_connections(3));
    let mut trailing = leaf(1).to_vec();
    trailing.push(0);
    for (what, der, want) in [
        ("a stranger", leaf(5), code::CERTIFICATE_UNKNOWN),
        ("trailing bytes", &trailing, code::CERTIFICATE_MALFORMED),
    ] {
        let connection = ConnectionId(900);
        sim.closed.clear();
        sim.handle(CoordinatorInput::Connected { connection, leaf: der });
        assert_eq!(closed(&sim, connection), Some(want), "{what}");
    }
    let certificate = DeviceCertificate::from_der(leaf(4)).unwrap();
    let device = Sim::device(4);
    let command = DeviceCommand::Register { device, kind: DeviceKind::DesktopNode, certificate };
    sim.operator(OperatorCommand::ManageDevice(ManageDevice::new(command)));
    sim.settle();
    // A paired node is let in, and has nothing to say as a worker.
    let connection = sim.raw(4);
    assert_eq!(closed(&sim, connection), None);
    sim.handle(CoordinatorInput::Received { connection, bytes: &hello() });
    assert_eq!(closed(&sim, connection), Some(code::FRAME_DIRECTION));
    // One connection for each device: the newer one counts.
    let (first, second) = (sim.raw(1), sim.raw(1));
    assert_eq!(closed(&sim, first), Some(code::CONNECTION_REPLACED));
    assert_eq!(closed(&sim, second), None);
    let certificate = DeviceCertificate::from_der(leaf(5)).unwrap();
    let command = DeviceCommand::Register { device: Sim::device(5), kind: DeviceKind::Worker, certificate };
    sim.operator(OperatorCommand::ManageDevice(ManageDevice::new(command)));
    sim.settle();
    let connection = sim.raw(5);
    assert_eq!(closed(&sim, connection), Some(code::CONNECTION_TOO_MANY));
    assert_nobody_else_noticed(&mut sim);
}

/// Chunks under somebody else's lease, chunks that skip, chunks without end.
#[test]
fn chunks_are_bounded_and_belong_to_their_holder() {
    let mut sim = world(CoordinatorConfig::new());
    sim.worker(1).takes = 60_000;
    sim.acquire(9, transport(&[]));
    sim.run(500);
    let fence = sim.worker(1).agent.lease().unwrap().fence;
    let connection = sim.raw(1);
    sim.handle(CoordinatorInput::Received { connection, bytes: &hello() });
    sim.settle();
    let log = |offset, content: &[u8]| {
        frame(FrameKind::Chunk, &Chunk::new(fence, Stream::Log, offset, content).unwrap().encode())
    };
    sim.handle(CoordinatorInput::Received { connection, bytes: &log(0, b"not mine") });
    assert!(sim.artifacts.is_empty(), "another worker's lease");
    assert_eq!(closed(&sim, connection), None);
    let holder = sim.links[&1];
    for offset in [0, 600] {
        sim.handle(CoordinatorInput::Received { connection: holder, bytes: &log(offset, &[b'x'; 600]) });
    }
    sim.handle(CoordinatorInput::Received { connection: holder, bytes: &log(1_200, &[b'x'; 900]) });
    // 2000 bytes are allowed in all: what goes beyond them is not taken, and neither is anything after it.
    assert_eq!(sim.artifacts[&fence].len(), 1_200);
    let refused = |event: &&CoordinatorEvent| matches!(event, CoordinatorEvent::ArtifactRefused { code, .. } if *code == code::ARTIFACT_TOO_LARGE);
    assert_eq!(sim.events.iter().filter(refused).count(), 1);
    sim.handle(CoordinatorInput::Received { connection: holder, bytes: &log(1_200, b"y") });
    assert_eq!(sim.artifacts[&fence].len(), 1_200);
}

#[test]
fn a_chunk_that_skips_is_closed() {
    let mut sim = world(CoordinatorConfig::new());
    sim.worker(1).takes = 60_000;
    sim.acquire(9, transport(&[]));
    sim.run(500);
    let fence = sim.worker(1).agent.lease().unwrap().fence;
    let holder = sim.links[&1];
    let body = Chunk::new(fence, Stream::Log, 5, b"late").unwrap().encode();
    sim.handle(CoordinatorInput::Received { connection: holder, bytes: &frame(FrameKind::Chunk, &body) });
    assert_eq!(closed(&sim, holder), Some(code::CHUNK_GAP));
}

/// Invariant 2: the end of a write that a former coordinator began says nothing about this one's, whatever its index is.
#[test]
fn a_late_write_of_a_former_coordinator_makes_nothing_durable() {
    let mut sim = world(CoordinatorConfig::new());
    let tag = sim.operator(OperatorCommand::QuarantineAll(QuarantineAll {}));
    let late = sim.writing.take().unwrap();
    sim.crash();
    let own = sim.writing.as_ref().unwrap().last;
    assert_ne!(own, late.last);
    let taken = sim.coordinator.handle(CoordinatorInput::Durable(late.last), sim.now);
    assert!(matches!(taken, Err(EndpointError::NotNow(_))), "{taken:?}");
    sim.drain();
    assert!(!sim.answers.contains_key(&tag));
    sim.durable();
    assert!(sim.writing.is_none(), "its own word is believed");
}

/// Attack F25: the journal fails, or nobody knows: no answer, no effect; recovery decides.
#[test]
fn f25_nothing_leaves_after_a_failed_write() {
    let mut sim = world(CoordinatorConfig::new());
    let tag = sim.acquire(1, transport(&[]));
    let in_doubt = sim.writing.take().unwrap();
    let before = sim.worker(1).seen.len();
    sim.handle(CoordinatorInput::JournalFailed);
    assert!(!sim.answers.contains_key(&tag));
    assert!(sim.codes().iter().all(|code| *code == code::FLEET_HALTED));
    assert!(sim.worker(1).seen[before..].iter().all(|event| matches!(event, AgentEvent::LinkLost { .. })));
    let connection = sim.raw(1);
    assert_eq!(closed(&sim, connection), Some(code::FLEET_HALTED));
    let late = sim.coordinator.handle(CoordinatorInput::Durable(in_doubt.last), sim.now);
    while !matches!(sim.coordinator.poll(), CoordinatorOutput::Wait(_)) {}
    assert_eq!(late, Ok(()), "the word came late, and changes nothing");
    assert!(!sim.answers.contains_key(&tag));
    // The write had lasted after all: the run is leased, once, and its holder is told when it comes back.
    sim.journal.extend(&in_doubt.bytes);
    sim.crash();
    sim.settle();
    assert!(matches!(sim.run_state(1), Some(RunState::Leased { .. })));
    sim.connect(1);
    sim.run(4_000);
    assert_eq!(sim.endings(1), 1);
}

/// The law of the coordinator is typed.
#[test]
fn misuse_is_a_typed_error() {
    let mut sim = world(CoordinatorConfig::new());
    let now = sim.now;
    let request = ServiceRequest::RevokeRun(RevokeRun::new(World::run_id(1), Fence::new(Epoch(1), 1)));
    let service = |tag| CoordinatorInput::Service {
        tag: RequestTag(tag),
        client: ClientId::new("service").unwrap(),
        sequence: None,
        request: request.clone(),
    };
    sim.coordinator.handle(service(1), now).unwrap();
    assert_eq!(sim.coordinator.handle(service(2), now), Err(EndpointError::NotDrained));
    sim.drain();
    let earlier = Now { mono: now.mono.minus(Millis(1)), ..now };
    assert!(matches!(sim.coordinator.handle(service(3), earlier), Err(EndpointError::TimeBackwards { .. })));
    assert!(matches!(
        sim.coordinator
            .handle(CoordinatorInput::Durable(LogId::new(sim.coordinator.fleet().state().epoch(), 999)), now),
        Err(EndpointError::NotNow(_))
    ));
    sim.drain();
    let connection = sim.links[&1];
    assert_eq!(
        sim.coordinator.handle(CoordinatorInput::Connected { connection, leaf: leaf(2) }, now),
        Err(EndpointError::Connected)
    );
}

/// Endpoints may live on any thread.
#[test]
fn endpoints_can_be_sent() {
    const fn can_be_sent<T: Send>() {}
    can_be_sent::<Coordinator>();
    can_be_sent::<Agent>();
    can_be_sent::<leasehold::gate::Gate>();
}

fn agent() -> Agent {
    Agent::new(
        AgentConfig::new(World::worker_id(1), coordinator_certificate(), Wall(1_000)).patience(Millis(2_000)),
    )
}

/// The agent holds its coordinator to the same: another certificate, nonsense, unasked answers, silence.
#[test]
fn an_agent_leaves_a_coordinator_that_is_wrong() {
    let now = Now::new(1, 1);
    let message = |message: CoordinatorMessage| {
        let mut bytes = Vec::new();
        message.write(&mut bytes).unwrap();
        bytes
    };
    let unasked = message(CoordinatorMessage::Answer {
        sequence: 3,
        answer: WorkerAnswer::Alive(Standing {
            state: WorkerLifecycleState::Available,
            lease: None,
            owes: None,
            evidence_wanted: false,
        }),
    });
    let early =
        message(CoordinatorMessage::Revoke { fence: Fence::new(Epoch(1), 1), reason: LossReason::Operator });
    let wrong =
        message(CoordinatorMessage::Answer { sequence: 1_024_000, answer: WorkerAnswer::Fetching {} });
    let cases = [
        (b"220 smtp ready\r\n".to_vec(), code::FRAME_MAGIC),
        (frame(FrameKind::Worker, b"{}"), code::FRAME_DIRECTION),
        (frame(FrameKind::Coordinator, b"{}"), code::JSON_SHAPE),
        (frame(FrameKind::Chunk, b"x"), code::MESSAGE_ORDER),
        (unasked, code::MESSAGE_UNASKED),
        (early, code::MESSAGE_ORDER),
        (wrong, code::MESSAGE_ORDER),
    ];
    for (bytes, want) in cases {
        let mut agent = agent();
        feed(&mut agent, Input::Connected { peer: coordinator_certificate() }, now);
        let (_, events, closed) = feed(&mut agent, Input::Received(&bytes), now);
        assert_eq!(closed, Some(want));
        assert_eq!(events, [AgentEvent::LinkLost { why: want }]);
    }
    let mut agent = agent();
    let (bytes, _, closed) = feed(&mut agent, Input::Connected { peer: Sha256Digest::of(b"other") }, now);
    assert_eq!((bytes.len(), closed), (0, Some(code::COORDINATOR_OTHER_CERTIFICATE)));
    feed(&mut agent, Input::Connected { peer: coordinator_certificate() }, now);
    feed(&mut agent, Input::Received(b"L"), now);
    let (_, _, closed) = feed(&mut agent, Input::Timeout, now.plus(Millis(2_000)));
    assert!(closed == Some(code::COORDINATOR_SILENT) || closed == Some(code::FRAME_STALLED));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Invariants 8, 11 and 13: noise of any kind, after a greeting or before it, changes nothing in the fleet, and
    /// nobody else's connection ends.
    #[test]
    fn noise_has_no_effect(
        greeted in any::<bool>(), kind in 1..=5_u8, framed in any::<bool>(),
        body in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..300),
            "\\{\"sequence\":[0-9]{1,3},\"message\":\\{\"[a-z_]{4,12}\":\\{\\}\\}\\}".prop_map(String::into_bytes),
        ],
    ) {
        let mut sim = world(CoordinatorConfig::new());
        let before = sim.coordinator.fleet().state().clone();
        let connection = sim.raw(1);
        let mut bytes = if greeted { hello() } else { Vec::new() };
        if framed {
            bytes.extend([b'L', b'H', 1, kind]);
            bytes.extend(u32::try_from(body.len()).unwrap().to_be_bytes());
        }
        bytes.extend(&body);
        sim.handle(CoordinatorInput::Received { connection, bytes: &bytes });
        sim.settle();
        prop_assert_eq!(sim.coordinator.fleet().state(), &before);
        prop_assert!(sim.links.contains_key(&1) && sim.links.contains_key(&2));
        prop_assert!(matches!(sim.hosts[1], Host::Worker(_)));
    }
}

/// A device that connects over and over is refused for the rest of its window, and nobody else is.
#[test]
fn handshakes_of_one_device_are_counted() {
    let mut sim = world(CoordinatorConfig::new());
    let policy = World::policy(|form| form.limits.admission_per_device = 10);
    sim.operator(OperatorCommand::SetPolicy(SetPolicy { policy }));
    sim.settle();
    let refused = |sim: &mut Sim| {
        let connection = sim.raw(1);
        closed(sim, connection) == Some(code::DEVICE_TOO_OFTEN)
    };
    let tries = (0..20).map(|_| refused(&mut sim)).collect::<Vec<_>>();
    assert!(tries.is_sorted() && tries.contains(&true), "once over the allowance, always over it: {tries:?}");
    let other = sim.raw(2);
    assert_eq!(closed(&sim, other), None);
    sim.now = sim.now.plus(Millis(60_000));
    assert!(!refused(&mut sim), "the next window begins anew");
}
