//! A coordinator in virtual time, and the endpoints of a device that pairs and streams.
#![allow(dead_code, reason = "every test file uses its part")]

use std::collections::{BTreeMap, VecDeque};

use leasehold::{
    agent::*,
    attestation::{AttestationPolicy, signature::DefaultVerifier},
    capability::{CapabilityName, CapabilitySet},
    code::Code,
    coordinator::*,
    digest::Sha256Digest,
    dispatch::*,
    fleet::*,
    id::*,
    identity::{
        DeviceKind,
        pairing::{
            DeviceCode, DevicePairing, DeviceProfile, EnrolmentSeed, PairedDevice, PairingMethod,
            PairingTarget, PairingTools, VerifiedPairing,
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

pub const WALL: u64 = 1_764_000_000_000;

pub fn port() -> Sha256Digest {
    Sha256Digest::of(b"coordinator")
}

pub fn desk() -> DeviceId {
    DeviceId::new("desk").unwrap()
}

pub fn by() -> ClientId {
    ClientId::new("operator").unwrap()
}

pub fn cam() -> CapabilitySet {
    CapabilitySet::parse(["cam"]).unwrap()
}

/// A fresh key, and a certificate request for it.
pub fn csr() -> (KeyPair, Vec<u8>) {
    let key = KeyPair::generate().unwrap();
    let request = CertificateParams::new(vec![]).unwrap().serialize_request(&key).unwrap();
    let request = request.der().to_vec();
    (key, request)
}

pub struct Authority(pub Issuer<'static, KeyPair>);

impl Authority {
    pub fn new() -> Self {
        let root = CertificateParams::new(vec!["root".into()]).unwrap();
        Self(Issuer::new(root, KeyPair::generate().unwrap()))
    }

    pub fn sign(&self, device: &DeviceId, key: &KeyPair) -> Vec<u8> {
        let mut params = CertificateParams::new(vec![device.to_string()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2025, 1, 1);
        params.not_after = rcgen::date_time_ymd(2027, 1, 1);
        params.signed_by(key, &self.0).unwrap().der().to_vec()
    }
}

/// A coordinator with a journal that lasts at once, and the bytes on their way.
pub struct World {
    pub now: Now,
    pub coordinator: Coordinator,
    /// What the coordinator handed over, by connection, and whether it is taken.
    pub down: BTreeMap<u64, VecDeque<Vec<u8>>>,
    pub takes: bool,
    pub closed: Vec<(u64, Code)>,
    pub answers: Vec<LocalAnswer>,
    pub asks: Vec<(SessionId, Sha256Digest)>,
    pub wanted: Vec<(CertificateId, DeviceId, Vec<u8>)>,
    pub finished: Vec<(RequestId, RequestState)>,
    /// The devices that may be in two places, and whether they were revoked for it.
    pub noticed: Vec<(DeviceId, bool)>,
    /// What was proved with an enrolment key, and why pairing was refused.
    pub enrolled: Vec<VerifiedPairing>,
    pub refused: Vec<Code>,
    /// The seed of enrolment keys, which the host keeps.
    pub seed: Option<[u8; 32]>,
    pub authority: Authority,
    pub next: u64,
    pub journal: Vec<u8>,
    /// What the coordinator shows to everybody.
    pub shows: Sha256Digest,
    config: CoordinatorConfig,
}

impl World {
    pub fn new(config: CoordinatorConfig, pairing: bool) -> Self {
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
            noticed: Vec::new(),
            enrolled: Vec::new(),
            refused: Vec::new(),
            seed: None,
            authority: Authority::new(),
            next: 1,
            journal: Vec::new(),
            shows: port(),
            config,
        };
        world.drain();
        world
    }

    /// A world whose coordinator gives out enrolment keys.
    pub fn enrolling() -> Self {
        let mut world = Self::new(CoordinatorConfig::new(), false);
        world.seed = Some([5; 32]);
        world.restart(port(), Epoch(2));
        world
    }

    fn port(&self) -> PairingPort {
        let entropy = PairingPort::new(Box::new(OsEntropy::open().unwrap()));
        match self.seed {
            Some(seed) => entropy.with_enrolment(EnrolmentSeed::new(seed)),
            None => entropy,
        }
    }

    /// The coordinator's process dies, and another one goes on from the journal, showing this certificate.
    pub fn restart(&mut self, shows: Sha256Digest, epoch: Epoch) {
        let setup = Setup::new([7; 64], shows, Box::new(DefaultVerifier));
        let fleet = WorkerFleetManager::recover(None, &self.journal, setup, epoch, self.now).unwrap();
        self.coordinator = Coordinator::new(self.config, fleet).with_pairing(self.port());
        self.shows = shows;
        self.down.clear();
        self.drain();
    }

    pub fn handle(&mut self, input: CoordinatorInput<'_>) {
        self.coordinator.handle(input, self.now).unwrap();
        self.drain();
    }

    pub fn drain(&mut self) {
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
                CoordinatorOutput::Persist(batch) => {
                    self.journal.extend(&batch.bytes);
                    lasts = Some(batch.last);
                }
                CoordinatorOutput::Answer { answer, .. } => self.answers.push(answer),
                CoordinatorOutput::ApprovalWanted(ask) => self.asks.push((ask.session, ask.transcript)),
                CoordinatorOutput::CertificateWanted { wanted, device, request } => {
                    self.wanted.push((wanted, device, request));
                }
                CoordinatorOutput::Finished { request, state, .. } => self.finished.push((request, state)),
                CoordinatorOutput::Event(CoordinatorEvent::CloneNoticed { device, latches, .. }) => {
                    self.noticed.push((device, latches));
                }
                CoordinatorOutput::Event(CoordinatorEvent::PairingRefused { code, .. }) => {
                    self.refused.push(code)
                }
                CoordinatorOutput::Enrolled(pairing) => self.enrolled.push(*pairing),
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

    pub fn operator(&mut self, command: OperatorCommand) -> LocalAnswer {
        let (tag, client) = (RequestTag(0), by());
        self.handle(CoordinatorInput::Operator { tag, client, sequence: None, command });
        self.answers.pop().expect("an answer")
    }

    pub fn service(&mut self, request: ServiceRequest) -> LocalAnswer {
        let (tag, client) = (RequestTag(0), ClientId::new("service").unwrap());
        self.handle(CoordinatorInput::Service { tag, client, sequence: None, request });
        self.answers.pop().expect("an answer")
    }

    pub fn enqueue(&mut self, name: &str, payload: &[u8]) {
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

    pub fn stranger(&mut self) -> u64 {
        self.next += 1;
        self.handle(CoordinatorInput::Stranger { connection: ConnectionId(self.next) });
        self.next
    }

    pub fn connect(&mut self, leaf: &[u8]) -> u64 {
        self.next += 1;
        self.handle(CoordinatorInput::Connected { connection: ConnectionId(self.next), leaf });
        self.next
    }

    pub fn code_of(&self, connection: u64) -> Option<Code> {
        self.closed.iter().find(|(id, _)| *id == connection).map(|(_, code)| *code)
    }

    pub fn state_of(&self, name: &str) -> RequestState {
        let nodes = self.coordinator.fleet().state().nodes();
        nodes.dispatch().record(&RequestId::new(name).unwrap()).unwrap().state()
    }
}

/// An endpoint of a device, and its connection.
pub struct Peer<E: Endpoint> {
    pub endpoint: E,
    pub connection: Option<u64>,
    pub seen: Vec<E::Event>,
}

impl<E: Endpoint> Peer<E> {
    pub fn new(endpoint: E) -> Self {
        Self { endpoint, connection: None, seen: Vec::new() }
    }

    pub fn handle(&mut self, world: &mut World, input: Input<'_, E::Act>) {
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

    pub fn connected(&mut self, world: &mut World, connection: u64) {
        self.connection = Some(connection);
        self.handle(world, Input::Connected { peer: world.shows });
        self.settle(world);
    }

    /// Carries bytes down until nothing moves.
    pub fn settle(&mut self, world: &mut World) {
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
    pub fn cut(&mut self, world: &mut World) {
        if let Some(id) = self.connection.take() {
            world.down.remove(&id);
            world.handle(CoordinatorInput::Closed { connection: ConnectionId(id) });
            self.handle(world, Input::Closed);
        }
    }
}

/// Pairs `desk` over frames, as a person and an operator would.
pub fn pair(world: &mut World) -> PairedDevice {
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

pub fn complete(world: &mut World, pairing: Box<VerifiedPairing>, certificate: &[u8]) {
    world.handle(CoordinatorInput::CompletePairing { tag: RequestTag(0), pairing, certificate });
    assert_eq!(world.answers.pop(), Some(LocalAnswer::Paired(Ok(desk()))));
}

pub fn agent(life: u64, window: u32) -> Peer<NodeAgent> {
    Peer::new(NodeAgent::new(NodeAgentConfig::new(port(), Incarnation(life), cam(), window)))
}

/// A device that is paired, granted, connected and streaming.
pub fn streaming(config: CoordinatorConfig, window: u32) -> (World, Peer<NodeAgent>, Vec<u8>) {
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

pub fn executed(device: &Peer<NodeAgent>) -> Vec<String> {
    let delivered = device.seen.iter().filter_map(|event| match event {
        NodeAgentEvent::Execute(delivery) => Some(delivery.request.to_string()),
        _ => None,
    });
    delivered.collect()
}

pub fn finish(world: &mut World, device: &mut Peer<NodeAgent>, name: &str) {
    let outcome = Outcome::Succeeded(Payload::new(b"seen"));
    let request = RequestId::new(name).unwrap();
    device.handle(world, Input::Act(NodeAct::Finished { request, outcome }));
    device.settle(world);
}

pub fn frame(kind: FrameKind, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(kind, body, &mut bytes).unwrap();
    bytes
}
