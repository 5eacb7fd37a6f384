//! Paired devices over the endpoints: a stranger pairs and does nothing else; a device streams, executes once,
//! rotates, and is cut off when it is revoked.

use std::collections::{BTreeMap, VecDeque};

use leasehold::{
    agent::*,
    attestation::{AttestationPolicy, signature::DefaultVerifier},
    capability::{CapabilityName, CapabilitySet},
    code::{self, Code, Coded as _},
    coordinator::*,
    digest::Sha256Digest,
    dispatch::*,
    fleet::*,
    id::*,
    identity::{
        DeviceCommand, DeviceKind, RevocationReason, RevocationSubject,
        pairing::{
            DeviceCode, DevicePairing, DeviceProfile, PairedDevice, PairingMethod, PairingTarget,
            PairingTools, VerifiedPairing,
        },
    },
    lease::Epoch,
    protocol::{
        endpoint::{Endpoint, Input, Output},
        frame::{FrameKind, encode},
    },
    shell::OsEntropy,
    time::{Millis, Mono, Now},
};
use rcgen::{CertificateParams, Issuer, KeyPair};

const WALL: u64 = 1_764_000_000_000;

fn port() -> Sha256Digest {
    Sha256Digest::of(b"coordinator")
}

fn desk() -> DeviceId {
    DeviceId::new("desk").unwrap()
}

fn by() -> ClientId {
    ClientId::new("operator").unwrap()
}

fn cam() -> CapabilitySet {
    CapabilitySet::parse(["cam"]).unwrap()
}

/// A fresh key, and a certificate request for it.
fn csr() -> (KeyPair, Vec<u8>) {
    let key = KeyPair::generate().unwrap();
    let request = CertificateParams::new(vec![]).unwrap().serialize_request(&key).unwrap();
    let request = request.der().to_vec();
    (key, request)
}

struct Authority(Issuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let root = CertificateParams::new(vec!["root".into()]).unwrap();
        Self(Issuer::new(root, KeyPair::generate().unwrap()))
    }

    fn sign(&self, device: &DeviceId, key: &KeyPair) -> Vec<u8> {
        let mut params = CertificateParams::new(vec![device.to_string()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2025, 1, 1);
        params.not_after = rcgen::date_time_ymd(2027, 1, 1);
        params.signed_by(key, &self.0).unwrap().der().to_vec()
    }
}

/// A coordinator with a journal that lasts at once, and the bytes on their way.
struct World {
    now: Now,
    coordinator: Coordinator,
    /// What the coordinator handed over, by connection, and whether it is taken.
    down: BTreeMap<u64, VecDeque<Vec<u8>>>,
    takes: bool,
    closed: Vec<(u64, Code)>,
    answers: Vec<LocalAnswer>,
    asks: Vec<(SessionId, Sha256Digest)>,
    wanted: Vec<(CertificateId, DeviceId, Vec<u8>)>,
    finished: Vec<(RequestId, RequestState)>,
    authority: Authority,
    next: u64,
}

impl World {
    fn new(config: CoordinatorConfig, pairing: bool) -> Self {
        let attestation = AttestationPolicy::from_json(
            br#"{"accept": ["dsse"], "times": {"max_age_ms": 60000, "max_lifetime_ms": 3600000,
                "future_skew_ms": 2000, "expiry_skew_ms": 0}}"#,
        );
        let form = WorkerFleetPolicyForm::new(FleetId::new("shop").unwrap(), attestation.unwrap());
        let policy = WorkerFleetPolicy::try_from(form).unwrap();
        let setup = Setup::new([7; 64], port(), Box::new(DefaultVerifier));
        let now = Now::new(1_000, WALL);
        let fleet = WorkerFleetManager::found(policy, setup, Epoch(1), now).unwrap();
        let mut coordinator = Coordinator::new(config, fleet);
        if pairing {
            let entropy = OsEntropy::open().unwrap();
            coordinator = coordinator.with_pairing(PairingPort::new(Box::new(entropy)));
        }
        let mut world = Self {
            now,
            coordinator,
            down: BTreeMap::new(),
            takes: true,
            closed: Vec::new(),
            answers: Vec::new(),
            asks: Vec::new(),
            wanted: Vec::new(),
            finished: Vec::new(),
            authority: Authority::new(),
            next: 1,
        };
        world.drain();
        world
    }

    fn handle(&mut self, input: CoordinatorInput<'_>) {
        self.coordinator.handle(input, self.now).unwrap();
        self.drain();
    }

    fn drain(&mut self) {
        let (mut sent, mut lasts) = (Vec::new(), None);
        loop {
            match self.coordinator.poll() {
                CoordinatorOutput::Send { connection, bytes } => {
                    sent.push((connection, bytes.len()));
                    self.down.entry(connection.0).or_default().push_back(bytes);
                }
                CoordinatorOutput::Close { connection, code } => {
                    self.closed.push((connection.0, code));
                    self.down.remove(&connection.0);
                }
                CoordinatorOutput::Persist(batch) => lasts = Some(batch.last),
                CoordinatorOutput::Answer { answer, .. } => self.answers.push(answer),
                CoordinatorOutput::ApprovalWanted(ask) => self.asks.push((ask.session, ask.transcript)),
                CoordinatorOutput::CertificateWanted { wanted, device, request } => {
                    self.wanted.push((wanted, device, request));
                }
                CoordinatorOutput::Finished { request, state, .. } => self.finished.push((request, state)),
                CoordinatorOutput::Wait(_) => break,
                _ => {}
            }
        }
        if self.takes {
            for (connection, bytes) in sent {
                self.handle(CoordinatorInput::Sent { connection, bytes });
            }
        }
        if let Some(index) = lasts {
            self.handle(CoordinatorInput::Durable(index));
        }
    }

    fn operator(&mut self, command: OperatorCommand) -> LocalAnswer {
        let (tag, client) = (RequestTag(0), by());
        self.handle(CoordinatorInput::Operator { tag, client, sequence: None, command });
        self.answers.pop().expect("an answer")
    }

    fn service(&mut self, request: ServiceRequest) -> LocalAnswer {
        let (tag, client) = (RequestTag(0), ClientId::new("service").unwrap());
        self.handle(CoordinatorInput::Service { tag, client, sequence: None, request });
        self.answers.pop().expect("an answer")
    }

    fn enqueue(&mut self, name: &str, payload: &[u8]) {
        let ask = EnqueueRequest {
            request: RequestId::new(name).unwrap(),
            target: Target::Device(desk()),
            capability: CapabilityName::new("cam").unwrap(),
            payload: Payload::new(payload),
            result_limit: 64,
            ttl_ms: Millis(60_000),
        };
        let answer = self.service(ServiceRequest::Enqueue(Box::new(Enqueue { ask })));
        assert!(matches!(answer, LocalAnswer::Enqueued(Ok(_))), "{answer:?}");
    }

    fn stranger(&mut self) -> u64 {
        self.next += 1;
        self.handle(CoordinatorInput::Stranger { connection: ConnectionId(self.next) });
        self.next
    }

    fn connect(&mut self, leaf: &[u8]) -> u64 {
        self.next += 1;
        self.handle(CoordinatorInput::Connected { connection: ConnectionId(self.next), leaf });
        self.next
    }

    fn code_of(&self, connection: u64) -> Option<Code> {
        self.closed.iter().find(|(id, _)| *id == connection).map(|(_, code)| *code)
    }

    fn state_of(&self, name: &str) -> RequestState {
        let nodes = self.coordinator.fleet().state().nodes();
        nodes.dispatch().record(&RequestId::new(name).unwrap()).unwrap().state()
    }
}

/// An endpoint of a device, and its connection.
struct Peer<E: Endpoint> {
    endpoint: E,
    connection: Option<u64>,
    seen: Vec<E::Event>,
}

impl<E: Endpoint> Peer<E> {
    fn new(endpoint: E) -> Self {
        Self { endpoint, connection: None, seen: Vec::new() }
    }

    fn handle(&mut self, world: &mut World, input: Input<'_, E::Act>) {
        self.endpoint.handle(input, world.now).unwrap();
        let mut up = Vec::new();
        loop {
            match self.endpoint.poll() {
                Output::Send(bytes) => up.push(bytes),
                Output::Event(event) => self.seen.push(event),
                Output::Close(_) => {
                    if let Some(id) = self.connection.take() {
                        world.handle(CoordinatorInput::Closed { connection: ConnectionId(id) });
                    }
                }
                _ => break,
            }
        }
        for bytes in up {
            let Some(id) = self.connection else { return };
            world.handle(CoordinatorInput::Received { connection: ConnectionId(id), bytes: &bytes });
        }
    }

    fn connected(&mut self, world: &mut World, connection: u64) {
        self.connection = Some(connection);
        self.handle(world, Input::Connected { peer: port() });
        self.settle(world);
    }

    /// Carries bytes down until nothing moves.
    fn settle(&mut self, world: &mut World) {
        while let Some(id) = self.connection {
            if world.code_of(id).is_some() {
                self.connection = None;
                return self.handle(world, Input::Closed);
            }
            let Some(bytes) = world.down.get_mut(&id).and_then(VecDeque::pop_front) else { return };
            self.handle(world, Input::Received(&bytes));
        }
    }

    /// The connection breaks; what is on its way is lost.
    fn cut(&mut self, world: &mut World) {
        if let Some(id) = self.connection.take() {
            world.down.remove(&id);
            world.handle(CoordinatorInput::Closed { connection: ConnectionId(id) });
            self.handle(world, Input::Closed);
        }
    }
}

/// Pairs `desk` over frames, as a person and an operator would.
fn pair(world: &mut World) -> PairedDevice {
    let offer =
        OperatorCommand::OfferPairing { method: PairingMethod::Qr, target: PairingTarget::New(desk()) };
    let LocalAnswer::Offered(Ok(offered)) = world.operator(offer) else { panic!("no offer") };
    let code = DeviceCode::from_qr(offered.code.expose()).unwrap();
    let (key, request) = csr();
    let profile = DeviceProfile::new(desk(), DeviceKind::DesktopNode, request).unwrap();
    let mut entropy = OsEntropy::open().unwrap();
    let mut tools = PairingTools::new(&mut entropy);
    let pairing = DevicePairing::begin(code, profile, port(), Mono(10_000_000), &mut tools).unwrap();
    let mut device = Peer::new(PairingAgent::new(pairing, Millis(500)));
    let connection = world.stranger();
    device.connected(world, connection);
    let (session, transcript) = world.asks.pop().expect("an operator is asked");
    assert!(matches!(device.seen[..], [PairingProgress::Digits(_)]));

    let approve = OperatorCommand::ApprovePairing { session, transcript };
    let LocalAnswer::Approved(Ok(approved)) = world.operator(approve) else { panic!("not approved") };
    let certificate = world.authority.sign(approved.device(), &key);
    complete(world, approved, &certificate);
    // The connection broke meanwhile: the device asks again on another one.
    device.cut(world);
    let connection = world.stranger();
    device.connected(world, connection);
    world.now = world.now.plus(Millis(500));
    device.handle(world, Input::Timeout);
    device.settle(world);
    assert_eq!(device.connection, None, "done, and gone");
    let Some(PairingProgress::Paired(paired)) = device.seen.pop() else { panic!("{:?}", device.seen) };
    *paired
}

fn complete(world: &mut World, pairing: Box<VerifiedPairing>, certificate: &[u8]) {
    world.handle(CoordinatorInput::CompletePairing { tag: RequestTag(0), pairing, certificate });
    assert_eq!(world.answers.pop(), Some(LocalAnswer::Paired(Ok(desk()))));
}

fn agent(life: u64, window: u32) -> Peer<NodeAgent> {
    Peer::new(NodeAgent::new(NodeAgentConfig::new(port(), Incarnation(life), cam(), window)))
}

/// A device that is paired, granted, connected and streaming.
fn streaming(config: CoordinatorConfig, window: u32) -> (World, Peer<NodeAgent>, Vec<u8>) {
    let mut world = World::new(config, true);
    let leaf = pair(&mut world).certificate;
    let grant = DispatchCommand::Grant { device: desk(), capabilities: cam() };
    let granted = world.operator(OperatorCommand::OrderDispatch(OrderDispatch { order: grant }));
    assert_eq!(granted, LocalAnswer::Done(Ok(())));
    let mut device = agent(1, window);
    let connection = world.connect(&leaf);
    device.connected(&mut world, connection);
    assert!(device.endpoint.is_streaming(), "{:?}", device.seen);
    device.seen.clear();
    (world, device, leaf)
}

fn executed(device: &Peer<NodeAgent>) -> Vec<String> {
    let delivered = device.seen.iter().filter_map(|event| match event {
        NodeAgentEvent::Execute(delivery) => Some(delivery.request.to_string()),
        _ => None,
    });
    delivered.collect()
}

fn finish(world: &mut World, device: &mut Peer<NodeAgent>, name: &str) {
    let outcome = Outcome::Succeeded(Payload::new(b"seen"));
    let request = RequestId::new(name).unwrap();
    device.handle(world, Input::Act(NodeAct::Finished { request, outcome }));
    device.settle(world);
}

fn frame(kind: FrameKind, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(kind, body, &mut bytes).unwrap();
    bytes
}

/// ATTACKS P1, and issue text "pairing and nothing else": a peer without a certificate that says anything else is
/// closed at the header of its frame; there are few of them, for a while, and none where nobody pairs.
#[test]
fn a_stranger_can_pair_and_nothing_else() {
    let mut world = World::new(CoordinatorConfig::new(), false);
    let connection = world.stranger();
    assert_eq!(world.code_of(connection), Some(code::PAIRING_CLOSED));

    let config = CoordinatorConfig::new().max_strangers(2).max_pairing_messages(3);
    let mut world = World::new(config.pairing_patience(Millis(5_000)), true);
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

    let (first, second, third) = (world.stranger(), world.stranger(), world.stranger());
    assert_eq!(world.code_of(third), Some(code::CONNECTION_TOO_MANY));
    world.now = world.now.plus(Millis(5_000));
    world.handle(CoordinatorInput::Timeout);
    assert_eq!(world.code_of(first), Some(code::CONNECTION_SILENT));
    assert_eq!(world.code_of(second), Some(code::CONNECTION_SILENT));
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
    assert_eq!(executed(&next), [String::new(); 0]);
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
