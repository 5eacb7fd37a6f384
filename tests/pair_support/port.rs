//! The port: a listener, a thread that owns the library's coordinator, and a journal in memory.

use std::{
    collections::{BTreeMap, VecDeque},
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, Sender, SyncSender, channel, sync_channel},
    },
    thread,
    time::Duration,
};

use leasehold::{
    attestation::{AttestationPolicy, signature::DefaultVerifier},
    code::Code,
    coordinator::{
        CertificateId, ConnectionId, Coordinator, CoordinatorConfig, CoordinatorEvent, CoordinatorInput,
        CoordinatorOutput, LocalAnswer, OperatorCommand, PairingPort, RequestTag,
    },
    digest::Sha256Digest,
    fleet::{
        LogId, ManageAnchors, ManageDevice, Replay, Setup, WorkerFleetManager, WorkerFleetPolicy,
        WorkerFleetPolicyForm,
    },
    id::{ClientId, DeviceId},
    identity::{
        AnchorCommand, DeviceCertificate, DeviceCommand, DeviceKind,
        pairing::{
            ApprovalRequest, CertificateIssuer as _, DeviceCode, DevicePairing, DeviceProfile, DeviceStep,
            Offered, PairingMethod, PairingTarget, PairingTools,
        },
    },
    lease::Epoch,
    shell::{ClockMark, OsEntropy, SystemClock},
    time::{Clock as _, Mono},
};
use rustls::{
    HandshakeKind, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    server::ServerSessionMemoryCache,
};

use super::{
    Protocol,
    caller::{Caller, Credentials},
    device_id,
    fleet::{
        duplex::Duplex,
        issuer::DeviceAuthority,
        link::{Heard, Link},
        possession,
    },
};

const POLICY: &[u8] = br#"{"accept": ["dsse"], "times":
    {"max_age_ms": 60000, "max_lifetime_ms": 3600000, "future_skew_ms": 2000, "expiry_skew_ms": 0}}"#;

/// How long the test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(30);

type Closed = (Option<DeviceId>, Code);

enum Event {
    Came(Duplex),
    Link(ConnectionId, Heard),
    Do(Box<dyn FnOnce(&mut Core) + Send>),
}

/// What a coordinator shows: a certificate that it signed itself, and the key.
pub struct Shown {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Shown {
    pub fn new() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(vec!["coordinator.test".to_owned()]).unwrap();
        let certificate = certificate.self_signed(&key).unwrap().der().to_vec();
        Self { certificate, key: key.serialize_der() }
    }

    fn setup(&self) -> Setup {
        Setup::new([7; 64], self.fingerprint(), Box::new(DefaultVerifier))
    }

    pub fn facts(&self) -> DeviceCertificate {
        DeviceCertificate::from_der(&self.certificate).unwrap()
    }

    pub fn fingerprint(&self) -> Sha256Digest {
        Sha256Digest::of(&self.certificate)
    }

    /// A server that shows this, and whose sessions can be resumed.
    pub fn server(&self, protocol: Protocol) -> ServerConfig {
        let shown = (
            vec![CertificateDer::from(self.certificate.clone())],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.clone())),
        );
        let mut config = possession::server(shown, protocol.versions()).unwrap();
        config.session_storage = ServerSessionMemoryCache::new(256);
        config.send_tls13_tickets = 4;
        config
    }
}

/// A coordinator behind TLS of one version, whose sessions can be resumed.
pub struct Port {
    pub protocol: Protocol,
    pub address: SocketAddr,
    pub certificate: Sha256Digest,
    events: SyncSender<Event>,
    closed: Receiver<Closed>,
    handshakes: Receiver<Option<HandshakeKind>>,
    came: Arc<AtomicUsize>,
}

/// What the core's thread owns.
struct Core {
    coordinator: Coordinator,
    authority: DeviceAuthority,
    clock: SystemClock,
    events: SyncSender<Event>,
    open: BTreeMap<ConnectionId, Link>,
    connections: u64,
    durable: Option<LogId>,
    answers: VecDeque<LocalAnswer>,
    asks: VecDeque<ApprovalRequest>,
    wanted: VecDeque<(CertificateId, DeviceId, Vec<u8>)>,
    journal: Vec<u8>,
    /// The process has died: whoever comes is not answered.
    dead: bool,
    closed: Sender<Closed>,
    handshakes: Sender<Option<HandshakeKind>>,
}

impl Port {
    pub fn open(protocol: Protocol) -> Self {
        Self::found(protocol, &Shown::new())
    }

    /// A new fleet.
    pub fn found(protocol: Protocol, shown: &Shown) -> Self {
        let attestation = AttestationPolicy::from_json(POLICY).unwrap();
        let form = WorkerFleetPolicyForm::new("press-fleet".parse().unwrap(), attestation);
        let policy = WorkerFleetPolicy::try_from(form).unwrap();
        let clock = SystemClock::start();
        let fleet = WorkerFleetManager::found(policy, shown.setup(), Epoch(1), clock.now()).unwrap();
        Self::serve(protocol, shown, clock, fleet, Vec::new())
    }

    /// The fleet of `journal` goes on, in another process as it were.
    pub fn recover(protocol: Protocol, shown: &Shown, journal: Vec<u8>, epoch: Epoch) -> Self {
        let mut replay = Replay::new([7; 16]);
        replay.journal(&journal).unwrap();
        let clock = SystemClock::resume(ClockMark::of(replay.state().unwrap().last()));
        let fleet = replay.recover(shown.setup(), epoch, clock.now()).unwrap();
        Self::serve(protocol, shown, clock, fleet, journal)
    }

    fn serve(
        protocol: Protocol,
        shown: &Shown,
        clock: SystemClock,
        fleet: WorkerFleetManager,
        journal: Vec<u8>,
    ) -> Self {
        let (config, fingerprint) = (shown.server(protocol), shown.fingerprint());
        let coordinator = Coordinator::new(CoordinatorConfig::new(), fleet)
            .with_pairing(PairingPort::new(Box::new(OsEntropy::open().unwrap())));

        let (events, heard) = sync_channel(256);
        let (closes, closed) = channel();
        let (kinds, handshakes) = channel();
        let came = Arc::new(AtomicUsize::new(0));
        let address = listen(config, events.clone(), Arc::clone(&came));
        let mut core = Core {
            coordinator,
            authority: DeviceAuthority::new("devices", Duration::from_secs(3600)).unwrap(),
            clock,
            events: events.clone(),
            open: BTreeMap::new(),
            connections: 0,
            durable: None,
            answers: VecDeque::new(),
            asks: VecDeque::new(),
            wanted: VecDeque::new(),
            journal,
            dead: false,
            closed: closes,
            handshakes: kinds,
        };
        thread::spawn(move || {
            core.settle();
            while let Ok(event) = heard.recv() {
                core.take(event);
            }
        });
        Self { protocol, address, certificate: fingerprint, events, closed, handshakes, came }
    }

    /// The next connection that the coordinator closed, and why.
    pub fn closed(&self) -> Closed {
        self.closed.recv_timeout(PATIENCE).expect("no connection was closed")
    }

    /// How the server saw the next handshake.
    pub fn handshake(&self) -> Option<HandshakeKind> {
        self.handshakes.recv_timeout(PATIENCE).expect("nobody came")
    }

    /// Forgets what was closed and who came so far. All of that was before the last answer that a caller has heard.
    pub fn forget_events(&self) {
        while self.closed.try_recv().is_ok() {}
        while self.handshakes.try_recv().is_ok() {}
    }

    /// How many peers have come through their handshake.
    pub fn came(&self) -> usize {
        self.came.load(Ordering::SeqCst)
    }

    fn ask<T: Send + 'static>(&self, act: impl FnOnce(&mut Core) -> T + Send + 'static) -> T {
        let (tell, told) = channel();
        let act = Box::new(move |core: &mut Core| drop(tell.send(act(core))));
        self.events.send(Event::Do(act)).unwrap();
        told.recv_timeout(PATIENCE).unwrap()
    }

    /// An operator's order about devices, carried out when this returns.
    pub fn order(&self, command: DeviceCommand) {
        let command = OperatorCommand::ManageDevice(ManageDevice::new(command));
        let answer = self.ask(|core| core.operator(command));
        assert!(matches!(answer, LocalAnswer::Managed(Ok(_))), "{answer:?}");
    }

    /// An operator's order about what follows the coordinator's certificate.
    pub fn anchors(&self, command: AnchorCommand) {
        let command = OperatorCommand::ManageAnchors(ManageAnchors::new(command));
        let answer = self.ask(|core| core.operator(command));
        assert!(matches!(answer, LocalAnswer::Managed(Ok(_))), "{answer:?}");
    }

    /// The coordinator's process dies: every connection is cut, and what it leaves is its journal.
    pub fn crash(&self) -> Vec<u8> {
        self.ask(|core| {
            core.dead = true;
            core.open.clear();
            core.journal.clone()
        })
    }

    /// Pairs a device over the socket, by QR code.
    pub fn pair(&self) -> Credentials {
        let offered = self.ask(Core::offer);
        let (wanted, request) = Credentials::wanted();
        let profile = DeviceProfile::new(device_id(), DeviceKind::Worker, request.0).unwrap();
        let code = DeviceCode::from_qr(offered.code.expose()).unwrap();
        let mut entropy = OsEntropy::open().unwrap();
        let mut tools = PairingTools::new(&mut entropy);
        let channel = self.certificate;
        let mut device = DevicePairing::begin(code, profile, channel, Mono(600_000), &mut tools).unwrap();
        let clock = SystemClock::start();
        let mut caller = Caller::call(self, None).unwrap();
        let reply = caller.pairing(device.message());
        let Ok(DeviceStep::Confirm { message, digits, .. }) = device.receive(&channel, &reply, clock.now())
        else {
            panic!("no confirmation");
        };
        let reply = caller.pairing(&message);
        assert_eq!(device.receive(&channel, &reply, clock.now()), Ok(DeviceStep::Waiting));
        let shown = self.ask(Core::approve);
        assert_eq!(shown, digits.to_string());
        let reply = caller.pairing(&device.fetch());
        assert_eq!(device.receive(&channel, &reply, clock.now()), Ok(DeviceStep::Paired));
        self.forget_events();
        wanted.with(device.paired().unwrap().certificate.clone())
    }
}

/// Takes connections, each with its handshake in a thread of its own.
fn listen(config: ServerConfig, events: SyncSender<Event>, came: Arc<AtomicUsize>) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let config = Arc::new(config);
    thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            let (config, events, came) = (Arc::clone(&config), events.clone(), Arc::clone(&came));
            thread::spawn(move || {
                if let Ok(duplex) = Duplex::accept(socket, config) {
                    came.fetch_add(1, Ordering::SeqCst);
                    let _ = events.send(Event::Came(duplex));
                }
            });
        }
    });
    address
}

impl Core {
    fn take(&mut self, event: Event) {
        match event {
            Event::Came(_) if self.dead => {}
            Event::Came(duplex) => {
                self.connections += 1;
                let connection = ConnectionId(self.connections);
                self.handshakes.send(duplex.handshake()).unwrap();
                // Also on a resumed session: the certificate of the handshake that it goes back to.
                let leaf = duplex.leaf().map(<[u8]>::to_vec);
                let wrap = move |heard| Event::Link(connection, heard);
                self.open.insert(connection, Link::start(duplex, self.events.clone(), wrap).unwrap());
                self.give(match &leaf {
                    Some(leaf) => CoordinatorInput::Connected { connection, leaf },
                    None => CoordinatorInput::Stranger { connection },
                });
            }
            Event::Link(connection, _) if !self.open.contains_key(&connection) => {}
            Event::Link(connection, Heard::Bytes(bytes)) => {
                self.give(CoordinatorInput::Received { connection, bytes: &bytes });
            }
            Event::Link(connection, Heard::Sent(bytes)) => {
                self.give(CoordinatorInput::Sent { connection, bytes });
            }
            Event::Link(connection, Heard::Closed) => {
                self.open.remove(&connection);
                self.give(CoordinatorInput::Closed { connection });
            }
            Event::Do(act) => act(self),
        }
    }

    fn give(&mut self, input: CoordinatorInput<'_>) {
        self.coordinator.handle(input, self.clock.now()).unwrap();
        self.settle();
    }

    /// Carries out what the endpoint wants, and tells it what came of that, until it waits.
    fn settle(&mut self) {
        loop {
            self.drain();
            let now = self.clock.now();
            if let Some(index) = self.durable.take() {
                self.coordinator.handle(CoordinatorInput::Durable(index), now).unwrap();
            } else if let Some((wanted, device, request)) = self.wanted.pop_front() {
                let signed = self.authority.sign(&device, &request, now).ok();
                let certificate = signed.as_deref();
                self.coordinator.handle(CoordinatorInput::Certificate { wanted, certificate }, now).unwrap();
            } else {
                return;
            }
        }
    }

    fn drain(&mut self) {
        loop {
            match self.coordinator.poll() {
                CoordinatorOutput::Send { connection, bytes } => {
                    if let Some(link) = self.open.get(&connection) {
                        let _ = link.send(bytes);
                    }
                }
                CoordinatorOutput::Close { connection, .. } => drop(self.open.remove(&connection)),
                CoordinatorOutput::Persist(batch) => {
                    self.journal.extend(&batch.bytes);
                    self.durable = Some(batch.last);
                }
                CoordinatorOutput::Answer { answer, .. } => self.answers.push_back(answer),
                CoordinatorOutput::ApprovalWanted(ask) => self.asks.push_back(*ask),
                CoordinatorOutput::CertificateWanted { wanted, device, request } => {
                    self.wanted.push_back((wanted, device, request));
                }
                CoordinatorOutput::Event(CoordinatorEvent::Closed { device, code, .. }) => {
                    let _ = self.closed.send((device, code));
                }
                CoordinatorOutput::Wait(_) => return,
                _ => {}
            }
        }
    }

    fn operator(&mut self, command: OperatorCommand) -> LocalAnswer {
        let client = ClientId::new("operator").unwrap();
        self.give(CoordinatorInput::Operator { tag: RequestTag(1), client, sequence: None, command });
        self.answers.pop_front().unwrap()
    }

    fn offer(&mut self) -> Box<Offered> {
        let (method, target) = (PairingMethod::Qr, PairingTarget::AnyNew);
        match self.operator(OperatorCommand::OfferPairing { method, target }) {
            LocalAnswer::Offered(Ok(offered)) => offered,
            other => panic!("{other:?}"),
        }
    }

    /// Approves what is asked, and has it signed. The digits that the operator sees.
    fn approve(&mut self) -> String {
        let ask = self.asks.pop_front().unwrap();
        let (session, transcript) = (ask.session, ask.transcript);
        let answer = self.operator(OperatorCommand::ApprovePairing { session, transcript });
        let LocalAnswer::Approved(Ok(pairing)) = answer else { panic!("{answer:?}") };
        let certificate = self.authority.issue(&pairing, self.clock.now()).unwrap();
        let tag = RequestTag(2);
        self.give(CoordinatorInput::CompletePairing { tag, pairing, certificate: &certificate });
        let answer = self.answers.pop_front().unwrap();
        assert!(matches!(answer, LocalAnswer::Paired(Ok(_))), "{answer:?}");
        ask.digits.to_string()
    }
}
