//! What a coordinator does in one call, and what it holds, is bounded, however many peers there are and whatever they do
//! (invariant 13).

mod endpoints_support;

use endpoints_support::*;
use leasehold::{
    agent::AgentAct,
    attestation::signature::DefaultVerifier,
    code::{self, Code},
    coordinator::*,
    fleet::*,
    id::ClientId,
    identity::{DeviceCertificate, DeviceCommand, DeviceKind, RevocationReason, RevocationSubject},
    lease::{Epoch, RelativePath},
    protocol::{
        endpoint::{Endpoint as _, EndpointError, Input, Output},
        frame::{FrameKind, encode},
    },
    shell::OsEntropy,
    testing::World,
    time::{Millis, Now},
};

/// A coordinator that knows `leaves`, each of a device of one kind.
struct Many {
    coordinator: Coordinator,
    now: Now,
    leaves: Vec<Vec<u8>>,
    closed: Vec<(ConnectionId, Code)>,
}

impl Many {
    fn new(config: CoordinatorConfig, kind: DeviceKind, count: u32) -> Self {
        let now = Now::new(1_000, WALL);
        let setup = Setup::new([7; 64], coordinator_certificate(), Box::new(DefaultVerifier));
        let fleet = WorkerFleetManager::found(World::policy(|_| {}), setup, Epoch(1), now).unwrap();
        let coordinator = Coordinator::new(config, fleet);
        let mut many = Self { coordinator, now, leaves: Vec::new(), closed: Vec::new() };
        many.drain();
        for n in 0..count {
            let leaf = rcgen::generate_simple_self_signed([format!("peer-{n}")]).unwrap().cert.der().to_vec();
            let certificate = DeviceCertificate::from_der(&leaf).unwrap();
            many.manage(DeviceCommand::Register { device: World::device_id(n), kind, certificate });
            many.leaves.push(leaf);
        }
        for n in 0..count {
            let leaf = many.leaves[n as usize].clone();
            many.handle(CoordinatorInput::Connected { connection: ConnectionId(n.into()), leaf: &leaf });
        }
        assert_eq!(many.coordinator.connections(), count as usize);
        many
    }

    fn manage(&mut self, command: DeviceCommand) {
        let command = OperatorCommand::ManageDevice(ManageDevice::new(command));
        let client = ClientId::new("operator").unwrap();
        self.handle(CoordinatorInput::Operator { tag: RequestTag(1), client, sequence: None, command });
    }

    /// One input; how many connections it closed before the journal was written.
    fn handle(&mut self, input: CoordinatorInput<'_>) -> usize {
        let before = self.closed.len();
        self.coordinator.handle(input, self.now).unwrap();
        self.drain();
        self.closed.len() - before
    }

    fn drain(&mut self) {
        let mut writing = None;
        loop {
            match self.coordinator.poll() {
                CoordinatorOutput::Persist(batch) => writing = Some(batch.last),
                CoordinatorOutput::Close { connection, code } => self.closed.push((connection, code)),
                CoordinatorOutput::Wait(_) => break,
                _ => {}
            }
        }
        if let Some(last) = writing {
            self.handle(CoordinatorInput::Durable(last));
        }
    }

    /// Gives time until nothing is due at once; the most connections that one call closed.
    fn settle(&mut self) -> usize {
        let mut most = 0;
        while self.coordinator.next_deadline().is_some_and(|due| due <= self.now.mono) {
            most = most.max(self.handle(CoordinatorInput::Timeout));
        }
        most
    }
}

/// A network that was down, and a registry that revokes many at once, end many connections: some in each call, all of them
/// before time goes on.
#[test]
fn many_connections_end_a_few_in_each_call() {
    let mut many = Many::new(CoordinatorConfig::new(), DeviceKind::Worker, 700);
    many.now = many.now.plus(Millis::from_secs(61));
    let most = many.settle();
    assert!((1..=256).contains(&most), "{most}");
    assert_eq!((many.closed.len(), many.coordinator.connections()), (700, 0));
}

/// Invariant 12: a certificate that stands for nothing any more is used for nothing, also before a call has come by that
/// looks at every connection.
#[test]
fn a_revoked_certificate_is_of_no_use_whenever_its_connection_is_visited() {
    let mut many = Many::new(CoordinatorConfig::new(), DeviceKind::EgressProxy, 300);
    let last = DeviceCertificate::from_der(&many.leaves[299]).unwrap().fingerprint();
    let subject = RevocationSubject::Certificate(last);
    many.manage(DeviceCommand::Revoke { subject, reason: RevocationReason::Lost });
    let mut bytes = Vec::new();
    encode(FrameKind::Gate, br#"{"subscribe":{"ping":1,"epoch":1}}"#, &mut bytes).unwrap();
    many.handle(CoordinatorInput::Received { connection: ConnectionId(299), bytes: &bytes });
    many.settle();
    assert_eq!(many.closed.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [ConnectionId(299)]);
}

/// Bytes of all connections together: the one that has held some for longest goes, not the one that comes last.
#[test]
fn all_connections_together_hold_so_many_bytes() {
    let mut many = Many::new(CoordinatorConfig::new().max_bytes(16 << 20), DeviceKind::Worker, 20);
    let mut begun = Vec::new();
    encode(FrameKind::Node, &vec![b' '; 1 << 20], &mut begun).unwrap();
    begun.pop();
    for n in 0..20 {
        many.now = many.now.plus(Millis(1));
        many.handle(CoordinatorInput::Received { connection: ConnectionId(n), bytes: &begun });
    }
    let gone: Vec<_> = (0..4).map(|n| (ConnectionId(n), code::CONNECTION_BUDGET)).collect();
    assert_eq!(many.closed, gone);
}

/// Peers that say nothing, or not the rest of a message, keep nobody from pairing, and one that is pairing keeps its place.
#[test]
fn silent_strangers_do_not_keep_others_from_pairing() {
    let mut many = Many::new(CoordinatorConfig::new().max_strangers(8), DeviceKind::Worker, 0);
    many.coordinator = many.coordinator.with_pairing(PairingPort::new(Box::new(OsEntropy::open().unwrap())));
    for n in 0..50 {
        many.now = many.now.plus(Millis(10));
        let connection = ConnectionId(n);
        many.handle(CoordinatorInput::Stranger { connection });
        let begun: &[u8] = if n % 2 == 0 { b"" } else { b"LH\x02\x06" };
        many.handle(CoordinatorInput::Received { connection, bytes: begun });
        assert!(many.closed.iter().all(|(id, _)| *id != connection), "{n} is let in");
    }
    assert_eq!(many.closed.len(), 42);
    assert!(many.closed.iter().all(|(_, code)| *code == code::CONNECTION_TOO_MANY));
    // The rest of a message, or the first one, is waited with as with any other peer's.
    many.now = many.now.plus(Millis::from_secs(10));
    many.settle();
    assert_eq!(many.closed.len(), 50);
    assert!(many.closed[42..].iter().all(|(_, code)| *code == code::FRAME_STALLED));
}

/// What is remembered of a device goes when it owes nothing any more.
#[test]
fn the_last_lease_of_a_device_is_forgotten_with_what_it_owes() {
    let mut sim = Sim::with_everybody(1, CoordinatorConfig::new());
    sim.run(2_000);
    sim.acquire(1, transport(&[]));
    sim.run(500);
    let remembers = |sim: &Sim| !format!("{:?}", sim.coordinator).contains("last_lease: {}");
    assert!(remembers(&sim));
    sim.run(6_000);
    assert_eq!((sim.endings(1), remembers(&sim)), (1, false));
    // One that never comes back owes until it is retired.
    sim.acquire(2, transport(&[]));
    sim.run(500);
    let holder = (0..2).find(|host| sim.worker(*host).doing.is_some()).unwrap();
    sim.hosts.swap(holder, 2);
    sim.hosts.truncate(2);
    sim.cut(holder);
    sim.run(20_000);
    assert!(remembers(&sim));
    let n = u32::try_from(holder).unwrap() + 1;
    sim.operator(OperatorCommand::Retire(Retire { worker: World::worker_id(n) }));
    sim.operator(OperatorCommand::ManageDevice(ManageDevice::new(DeviceCommand::Remove {
        device: World::device_id(n),
    })));
    sim.run(1_000);
    assert!(!remembers(&sim));
}

/// Another policy's rhythm is told to those who are connected: nobody is taken for gone who kept to the former one.
#[test]
fn another_rhythm_is_told_at_once() {
    let slow = |form: &mut WorkerFleetPolicyForm| {
        form.liveness.heartbeat_every_ms = Millis::from_secs(20);
        form.liveness.offline_after_ms = Millis::from_secs(60);
    };
    let mut sim = Sim::with_everybody_under(
        Terms { policy: slow, patience: None, ..Terms::default() },
        1,
        CoordinatorConfig::new(),
    );
    sim.run(25_000);
    let mut form = WorkerFleetPolicyForm::from(sim.coordinator.fleet().state().policy().clone());
    form.liveness.heartbeat_every_ms = Millis::from_secs(1);
    form.liveness.offline_after_ms = Millis::from_secs(4);
    let policy = WorkerFleetPolicy::try_from(form).unwrap();
    sim.operator(OperatorCommand::SetPolicy(SetPolicy { policy }));
    sim.run(30_000);
    assert_eq!(sim.coordinator.fleet().state().counts().available, 2);
    assert_eq!(sim.codes(), []);
    let tag = sim.acquire(1, transport(&[]));
    sim.run(6_000);
    assert!(matches!(sim.answers.get(&tag), Some(LocalAnswer::Acquired(Ok(_)))));
}

/// What the lease does not allow is not sent, to the byte: an excess is the run's failure, and no lie of the worker's.
#[test]
fn an_agent_sends_no_more_than_its_lease_allows() {
    let mut sim = Sim::with_everybody(1, CoordinatorConfig::new());
    sim.run(2_000);
    sim.acquire(1, transport(&[]));
    sim.run(500);
    let now = sim.now;
    let holder = (0..2).find(|host| sim.worker(*host).doing.is_some()).unwrap();
    let worker = sim.worker(holder);
    let fence = worker.lease.as_ref().unwrap().fence;
    let path = |name: &str| RelativePath::new(name).unwrap();
    let mut act = |act| {
        let outcome = worker.agent.handle(Input::Act(act), now);
        while !matches!(worker.agent.poll(), Output::Wait(_)) {}
        outcome
    };
    let output = |name, bytes| AgentAct::Output { fence, path: path(name), content: vec![0; bytes] };
    assert_eq!(act(output("out/made", 600)), Ok(()));
    assert_eq!(act(output("out/more", 401)), Err(EndpointError::OverLimit { limit: 1_000 }));
    assert_eq!(act(output("out/more", 400)), Ok(()));
    assert_eq!(act(output("out/made", 1)), Err(EndpointError::OverLimit { limit: 1_000 }));
    let log = |bytes| AgentAct::Log { fence, content: vec![0; bytes] };
    assert_eq!((act(log(1_000)), act(log(1))), (Ok(()), Err(EndpointError::OverLimit { limit: 1_000 })));
}
