//! A coordinator, agents and a gate in virtual time, over connections that are cut anywhere.
#![allow(dead_code, reason = "every test file uses its part")]

mod peers;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::OnceLock,
};

use leasehold::{
    code::Code,
    coordinator::*,
    digest::Sha256Digest,
    fleet::*,
    id::{ClientId, DeviceId, GrantId, IssuerId, RunId, ToolId},
    identity::{DeviceCertificate, DeviceCommand, DeviceKind},
    lease::*,
    protocol::endpoint::{Endpoint, Input, Output},
    testing::World,
    time::{Millis, Now},
};

pub use peers::{GateHost, WorkerHost};

pub const WALL: u64 = 1_764_000_000_000;

/// Real certificates, made once: a coordinator, three devices, strangers, and the coordinator's next ones (6 and 7).
pub fn leaf(n: usize) -> &'static [u8] {
    static LEAVES: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    &LEAVES.get_or_init(|| {
        let make = |n: usize| {
            let name = format!("peer-{n}");
            rcgen::generate_simple_self_signed([name]).unwrap().cert.der().to_vec()
        };
        (0..8).map(make).collect()
    })[n]
}

pub fn coordinator_certificate() -> Sha256Digest {
    Sha256Digest::of(leaf(0))
}

/// A small random number generator: the same seed, the same world.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn roll(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % below.max(1)
    }
}

/// The two directions of a connection, as bytes in flight.
#[derive(Debug, Default)]
pub struct Pipe {
    pub up: VecDeque<u8>,
    pub down: VecDeque<u8>,
}

pub enum Host {
    Worker(Box<WorkerHost>),
    Gate(Box<GateHost>),
}

/// Everybody, and the connections between them.
pub struct Sim {
    pub now: Now,
    pub dice: Dice,
    pub coordinator: Coordinator,
    pub journal: Vec<u8>,
    /// Written, and not yet known to last.
    pub writing: Option<JournalBatch>,
    pub hosts: Vec<Host>,
    /// The connection of each host.
    pub links: BTreeMap<usize, ConnectionId>,
    pub pipes: BTreeMap<ConnectionId, Pipe>,
    /// Connections that take what they are handed at once.
    pub reads: bool,
    pub next_connection: u64,
    pub answers: BTreeMap<u64, LocalAnswer>,
    pub events: Vec<CoordinatorEvent>,
    pub closed: Vec<(ConnectionId, Code)>,
    pub artifacts: BTreeMap<Fence, Vec<u8>>,
    pub records: Vec<FleetRecord>,
    pub inputs: Vec<(RelativePath, Vec<u8>)>,
    /// What the coordinator shows to everybody. Another one counts from its next start on.
    pub shows: Sha256Digest,
    epoch: u64,
    tags: u64,
    grants: u64,
    config: CoordinatorConfig,
    terms: Terms,
}

/// What a world may have otherwise than the others.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Changes of the policy.
    pub policy: fn(&mut WorkerFleetPolicyForm),
    /// How long a lease is asked for.
    pub ttl: Millis,
    /// The patience of the workers' agents; their default where it is left out.
    pub patience: Option<Millis>,
}

impl Default for Terms {
    fn default() -> Self {
        Self { policy: |_| {}, ttl: Millis(10_000), patience: Some(Millis(5_000)) }
    }
}

fn rules(form: &mut WorkerFleetPolicyForm) {
    form.lease.ttl_max_ms = Millis(10_000);
    form.lease.renew_every_ms = Millis(3_000);
    form.lease.grace_ms = Millis(4_000);
    form.lease.clock_budget_ms = Millis(500);
    form.lease.max_staleness_ms = Millis(2_000);
    form.lease.start_ms = Millis(4_000);
    form.lease.acknowledge_ms = Millis(4_000);
    form.liveness.heartbeat_every_ms = Millis(1_000);
    form.liveness.offline_after_ms = Millis(4_000);
    form.runs.max_attempts = 1_000;
    form.limits.admission_per_device = u32::MAX;
}

fn setup(certificate: Sha256Digest) -> Setup {
    let verifier = Box::new(leasehold::attestation::signature::DefaultVerifier);
    Setup::new([7; 64], certificate, verifier)
}

impl Sim {
    /// A coordinator that knows two workers (peers 1 and 2) and an enforcement point (peer 3).
    pub fn new(seed: u64, config: CoordinatorConfig) -> Self {
        Self::under(Terms::default(), seed, config)
    }

    fn under(terms: Terms, seed: u64, config: CoordinatorConfig) -> Self {
        let (now, shows) = (Now::new(1_000, WALL), coordinator_certificate());
        let mut form = WorkerFleetPolicyForm::from(World::policy(rules));
        (terms.policy)(&mut form);
        let policy = WorkerFleetPolicy::try_from(form).unwrap();
        let manager = WorkerFleetManager::found(policy, setup(shows), Epoch(1), now).unwrap();
        let mut sim = Self {
            now,
            dice: Dice::new(seed),
            coordinator: Coordinator::new(config, manager),
            journal: Vec::new(),
            writing: None,
            hosts: Vec::new(),
            links: BTreeMap::new(),
            pipes: BTreeMap::new(),
            reads: true,
            next_connection: 1,
            answers: BTreeMap::new(),
            events: Vec::new(),
            closed: Vec::new(),
            artifacts: BTreeMap::new(),
            records: Vec::new(),
            inputs: Vec::new(),
            shows,
            epoch: 1,
            tags: 0,
            grants: 0,
            config,
            terms,
        };
        sim.drain();
        for (n, kind) in [(1, DeviceKind::Worker), (2, DeviceKind::Worker), (3, DeviceKind::EgressProxy)] {
            let certificate = DeviceCertificate::from_der(leaf(n)).unwrap();
            let command = DeviceCommand::Register { device: Self::device(n), kind, certificate };
            sim.operator(OperatorCommand::ManageDevice(ManageDevice::new(command)));
        }
        sim.settle();
        sim
    }

    /// With two workers and a gate, all of them connected.
    pub fn with_everybody(seed: u64, config: CoordinatorConfig) -> Self {
        Self::with_everybody_under(Terms::default(), seed, config)
    }

    /// The same, on other terms.
    pub fn with_everybody_under(terms: Terms, seed: u64, config: CoordinatorConfig) -> Self {
        let mut sim = Self::under(terms, seed, config);
        sim.hosts = vec![
            Host::Worker(Box::new(WorkerHost::new(1, terms.patience))),
            Host::Worker(Box::new(WorkerHost::new(2, terms.patience))),
            Host::Gate(Box::default()),
        ];
        for host in 0..3 {
            sim.connect(host);
        }
        sim
    }

    pub fn device(n: usize) -> DeviceId {
        World::device_id(u32::try_from(n).unwrap())
    }

    pub fn handle(&mut self, input: CoordinatorInput<'_>) {
        self.coordinator.handle(input, self.now).unwrap();
        self.drain();
    }

    /// Drains the coordinator.
    pub fn drain(&mut self) {
        let (mut sent, mut wanted, mut looks) = (Vec::new(), Vec::new(), Vec::new());
        loop {
            match self.coordinator.poll() {
                CoordinatorOutput::Send { connection, bytes } => {
                    sent.push((connection, bytes.len()));
                    if let Some(pipe) = self.pipes.get_mut(&connection) {
                        pipe.down.extend(bytes);
                    }
                }
                CoordinatorOutput::Close { connection, code } => {
                    self.closed.push((connection, code));
                    self.hang_up(connection);
                }
                CoordinatorOutput::Persist(batch) => {
                    assert!(self.writing.is_none(), "one batch at a time");
                    self.writing = Some(batch);
                }
                CoordinatorOutput::Answer { tag, answer } => {
                    self.answers.insert(tag.0, answer);
                }
                CoordinatorOutput::InputsWanted { fence } => wanted.push(fence),
                CoordinatorOutput::Artifact { fence, content, offset, .. } => {
                    let kept = self.artifacts.entry(fence).or_default();
                    if offset == 0 && content.starts_with(b"made") {
                        kept.clear();
                    }
                    kept.extend(content);
                }
                CoordinatorOutput::Inspect { inspection, .. } => looks.push(inspection),
                CoordinatorOutput::Event(event) => self.events.push(event),
                CoordinatorOutput::Wait(_) => break,
                other => panic!("{other:?}"),
            }
        }
        if self.reads {
            for (connection, bytes) in sent {
                self.handle(CoordinatorInput::Sent { connection, bytes });
            }
        }
        for inspection in looks {
            self.handle(CoordinatorInput::Inspected { inspection, found: Some(Inspection::found(0)) });
        }
        for fence in wanted {
            for (path, content) in self.inputs.clone() {
                for piece in content.chunks(7) {
                    let deliver = CoordinatorInput::Deliver { fence, path: &path, content: piece };
                    if self.coordinator.handle(deliver, self.now).is_err() {
                        break;
                    }
                    self.drain();
                }
            }
        }
    }

    /// The batch on its way lasts.
    pub fn durable(&mut self) {
        if let Some(batch) = self.writing.take() {
            self.journal.extend(&batch.bytes);
            self.records.extend(batch.records);
            self.handle(CoordinatorInput::Durable(batch.last));
        }
    }

    /// The coordinator's process dies, with or without its last write; another one takes over.
    pub fn crash(&mut self) {
        if let Some(batch) = self.writing.take()
            && self.dice.roll(2) == 0
        {
            self.journal.extend(&batch.bytes);
            self.records.extend(batch.records);
        }
        let open: Vec<_> = self.pipes.keys().copied().collect();
        for connection in open {
            self.hang_up(connection);
        }
        self.epoch += 1;
        self.now = self.now.plus(Millis(100));
        let (setup, epoch) = (setup(self.shows), Epoch(self.epoch));
        let manager = WorkerFleetManager::recover(None, &self.journal, setup, epoch, self.now).unwrap();
        self.coordinator = Coordinator::new(self.config, manager);
        self.drain();
    }

    /// The peer's side of a connection learns that it is over.
    fn hang_up(&mut self, connection: ConnectionId) {
        self.pipes.remove(&connection);
        let host = self.links.iter().find(|(_, link)| **link == connection).map(|(host, _)| *host);
        if let Some(host) = host {
            self.links.remove(&host);
            self.give(host, None);
        }
    }

    pub fn connect(&mut self, host: usize) {
        let connection = ConnectionId(self.next_connection);
        self.next_connection += 1;
        self.pipes.insert(connection, Pipe::default());
        self.links.insert(host, connection);
        self.handle(CoordinatorInput::Connected { connection, leaf: leaf(host + 1) });
        if self.links.get(&host) == Some(&connection) {
            let shows = self.shows;
            self.with_host(host, |host, now| host.connected(shows, now));
        }
    }

    /// A raw connection of peer `n`, for tests that speak bytes themselves.
    pub fn raw(&mut self, n: usize) -> ConnectionId {
        let connection = ConnectionId(self.next_connection);
        self.next_connection += 1;
        self.pipes.insert(connection, Pipe::default());
        self.handle(CoordinatorInput::Connected { connection, leaf: leaf(n) });
        connection
    }

    /// Cuts a connection; what is in flight is lost.
    pub fn cut(&mut self, host: usize) {
        if let Some(connection) = self.links.get(&host).copied() {
            self.hang_up(connection);
            self.handle(CoordinatorInput::Closed { connection });
        }
    }

    /// Bytes to a host, or the end of its connection.
    fn give(&mut self, host: usize, bytes: Option<&[u8]>) {
        self.with_host(host, |host, now| host.give(bytes, now));
    }

    fn with_host(&mut self, host: usize, act: impl FnOnce(&mut Host, Now) -> (Vec<u8>, bool)) {
        let Some(it) = self.hosts.get_mut(host) else { return };
        let (bytes, close) = act(it, self.now);
        let Some(connection) = self.links.get(&host).copied() else { return };
        if let Some(pipe) = self.pipes.get_mut(&connection) {
            pipe.up.extend(bytes);
        }
        if close {
            self.links.remove(&host);
            self.pipes.remove(&connection);
            self.handle(CoordinatorInput::Closed { connection });
        }
    }

    /// Moves up to `most` bytes in one direction of one connection.
    pub fn carry(&mut self, host: usize, up: bool, most: usize) -> bool {
        let Some(connection) = self.links.get(&host).copied() else { return false };
        let Some(pipe) = self.pipes.get_mut(&connection) else { return false };
        let queue = if up { &mut pipe.up } else { &mut pipe.down };
        let bytes: Vec<u8> = queue.drain(..most.min(queue.len())).collect();
        if bytes.is_empty() {
            return false;
        }
        if up {
            self.handle(CoordinatorInput::Received { connection, bytes: &bytes });
        } else {
            self.give(host, Some(&bytes));
        }
        true
    }

    /// Everything that can happen at this instant happens.
    pub fn settle(&mut self) {
        for _ in 0..10_000 {
            self.durable();
            let mut moved = false;
            for host in 0..self.hosts.len() {
                moved |= self.carry(host, true, usize::MAX);
                moved |= self.carry(host, false, usize::MAX);
            }
            if !moved && self.writing.is_none() {
                return;
            }
        }
        panic!("the world does not settle");
    }

    /// Time passes for everybody, deadline by deadline.
    pub fn pass(&mut self, span: u64) {
        let until = self.now.plus(Millis(span));
        loop {
            let own = self.coordinator.next_deadline();
            let theirs = self.hosts.iter().filter_map(Host::next_deadline);
            let due = own.into_iter().chain(theirs).min().filter(|due| *due <= until.mono);
            let next = due.map_or(until.mono, |due| due.max(self.now.mono));
            self.now = self.now.plus(next.since(self.now.mono));
            if due.is_none() {
                return;
            }
            if self.coordinator.next_deadline().is_some_and(|due| due <= self.now.mono) {
                self.handle(CoordinatorInput::Timeout);
            }
            for host in 0..self.hosts.len() {
                if self.hosts[host].next_deadline().is_some_and(|due| due <= self.now.mono) {
                    self.with_host(host, |host, now| host.tick(now));
                }
            }
            if self.dice.roll(2) == 0 {
                self.durable();
            }
        }
    }

    /// Lets everything run for `span`, in small steps.
    pub fn run(&mut self, span: u64) {
        let until = self.now.plus(Millis(span));
        while self.now.mono < until.mono {
            self.settle();
            self.pass(50);
        }
        self.settle();
    }

    pub fn operator(&mut self, command: OperatorCommand) -> u64 {
        self.tags += 1;
        let (tag, client) = (RequestTag(self.tags), ClientId::new("operator").unwrap());
        self.handle(CoordinatorInput::Operator { tag, client, sequence: None, command });
        self.tags
    }

    /// Asks for a lease for run `n`, with a grant of its own.
    pub fn acquire(&mut self, n: u32, artifacts: ArtifactTransport) -> u64 {
        self.tags += 1;
        self.grants += 1;
        let grant = WorkerRunGrant::mint(GrantTerms {
            id: GrantId::new(&format!("grant-{}", self.grants)).unwrap(),
            fleet: self.coordinator.fleet().state().policy().fleet.clone(),
            issuer: IssuerId::new("issuer").unwrap(),
            run: RunId::new(&format!("run-{n}")).unwrap(),
            tool: ToolId::new("tool").unwrap(),
            capabilities: World::capabilities("a"),
            issued: self.now.wall,
            expires: self.now.wall.plus(Millis::from_secs(3_600)),
        })
        .unwrap();
        let path = |text: &str| RelativePath::new(text).unwrap();
        let scope = WorkspaceScope::new(path(&format!("run-{n}")), [path("out")]).unwrap();
        let tool = ToolId::new("tool").unwrap();
        let request = WorkerLeaseRequest::new(grant, tool, World::capabilities("a"), self.terms.ttl, scope);
        let request = request.unwrap().with_artifacts(artifacts).unwrap();
        let request = ServiceRequest::Acquire(Box::new(Acquire::new(request)));
        let (tag, client) = (RequestTag(self.tags), ClientId::new("service").unwrap());
        self.handle(CoordinatorInput::Service { tag, client, sequence: None, request });
        self.tags
    }

    pub fn revoke(&mut self, n: u32, fence: Fence) {
        self.operator(OperatorCommand::RevokeRun(RevokeRun::new(World::run_id(n), fence)));
    }

    pub fn worker(&mut self, host: usize) -> &mut WorkerHost {
        match &mut self.hosts[host] {
            Host::Worker(worker) => worker,
            Host::Gate(_) => panic!("host {host} is a gate"),
        }
    }

    pub fn gate(&mut self) -> &mut GateHost {
        match &mut self.hosts[2] {
            Host::Gate(gate) => gate,
            Host::Worker(_) => panic!("host 2 is a worker"),
        }
    }

    pub fn run_state(&self, n: u32) -> Option<RunState> {
        self.coordinator.fleet().state().run(&World::run_id(n)).map(|run| run.state)
    }

    /// How often the run ended, by the journal: once, or the world is broken.
    pub fn endings(&self, n: u32) -> usize {
        let run = World::run_id(n);
        let events = self.records.iter().flat_map(|record| &record.events);
        events
            .filter(|event| matches!(event, FleetEvent::RunEnded { run: ended, .. } if *ended == run))
            .count()
    }

    pub fn codes(&self) -> Vec<Code> {
        self.closed.iter().map(|(_, code)| *code).collect()
    }
}

/// Outputs below `out`, of which `out/made` must come back, and a log.
pub fn transport(inputs: &[(RelativePath, Vec<u8>)]) -> ArtifactTransport {
    let inputs = inputs.iter().map(|(path, content)| Artifact::of(path.clone(), content));
    let mut transport = ArtifactTransport::nothing();
    transport.inputs = ArtifactManifest::new(inputs).unwrap();
    transport.outputs_within = vec![RelativePath::new("out").unwrap()];
    transport.outputs_required = vec![RelativePath::new("out/made").unwrap()];
    transport.max_output_bytes = 1_000;
    transport.max_log_bytes = 1_000;
    transport
}

/// Gives an endpoint one input and drains it.
pub fn feed<E: Endpoint>(
    endpoint: &mut E,
    input: Input<'_, E::Act>,
    now: Now,
) -> (Vec<u8>, Vec<E::Event>, Option<Code>) {
    let (mut bytes, mut events, mut closed) = (Vec::new(), Vec::new(), None);
    endpoint.handle(input, now).unwrap();
    loop {
        match endpoint.poll() {
            Output::Send(more) => bytes.extend(more),
            Output::Event(event) => events.push(event),
            Output::Close(code) => {
                closed = Some(code);
                bytes.clear();
            }
            _ => return (bytes, events, closed),
        }
    }
}
