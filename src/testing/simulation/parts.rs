//! What a simulation is made of, and how its parties reach each other.

use alloc::{
    boxed::Box,
    collections::{BTreeMap, VecDeque},
    format,
    string::String,
    vec::Vec,
};

use super::{
    clocks::{LocalClock, largest_drift},
    disk::SimDisk,
    enforcement::Enforcement,
    network::{Network, direction},
    process::{Process, Reckoning, read},
    random::Random,
    report::{Breach, Counts, breach},
    requests::Requests,
    terms,
    watch::Watch,
    worker::{Habits, Outcome, Worker},
};
use crate::{
    coordinator::{
        ConnectionId, CoordinatorConfig, CoordinatorEvent, CoordinatorInput, CoordinatorOutput, InspectionId,
        LocalAnswer, OperatorCommand, RequestTag,
    },
    digest::{FieldHasher, Sha256Digest},
    fleet::{ManageDevice, WorkerFleetPolicy},
    id::{ClientId, RunId},
    identity::{DeviceCertificate, DeviceCommand, DeviceKind},
    lease::{Epoch, Fence},
    protocol::endpoint::Input,
    testing::World,
    time::{Millis, Mono},
};

/// Something that will happen.
#[derive(Debug)]
pub(super) enum Happening {
    /// A timer of the coordinator, where it is still the one of this number.
    CoordinatorDue(u64),
    /// A timer of a peer.
    PeerDue(usize, u64),
    /// Bytes arrive.
    Bytes { wire: ConnectionId, up: bool, bytes: Vec<u8> },
    /// One end of a connection learns that it is over.
    Ended { wire: ConnectionId, up: bool },
    /// A peer connects.
    Connect(usize),
    /// The batch on its way in this epoch is on the disk.
    Written(u64),
    /// Somebody has looked at what a worker cleaned up.
    Inspected(u64, InspectionId),
    /// The coordinator's process goes on.
    Resume(u64),
    /// Another process of the coordinator begins.
    Restart,
    /// Services and operators ask.
    Local,
    /// Something goes wrong.
    Strike,
    /// The network is as usual again.
    Calm,
}

/// Who is at the other end of a connection.
#[derive(Debug)]
pub(super) enum Peer {
    Worker(Box<Worker>),
    Enforcement(Box<Enforcement>),
}

impl Peer {
    pub(super) fn number(&self) -> u32 {
        match self {
            Self::Worker(worker) => worker.n,
            Self::Enforcement(point) => point.n,
        }
    }

    pub(super) fn clock(&mut self) -> &mut LocalClock {
        match self {
            Self::Worker(worker) => &mut worker.clock,
            Self::Enforcement(point) => &mut point.clock,
        }
    }

    fn deadline(&self) -> Option<(Mono, &LocalClock)> {
        use crate::protocol::endpoint::Endpoint as _;
        match self {
            Self::Worker(worker) => Some((worker.next_deadline()?, &worker.clock)),
            Self::Enforcement(point) => Some((point.gate.next_deadline()?, &point.clock)),
        }
    }
}

/// A fleet with everybody who talks to it, in one thread and virtual time. See the module page.
#[derive(Debug)]
pub struct Simulation {
    pub(super) seed: u64,
    pub(super) random: Random,
    /// True time.
    pub(super) at: u64,
    pub(super) policy: WorkerFleetPolicy,
    queue: BTreeMap<(u64, u64), Happening>,
    queued: u64,
    pub(super) network: Network,
    pub(super) peers: Vec<Peer>,
    /// The number of each peer's timer.
    due: Vec<u64>,
    pub(super) disk: SimDisk,
    pub(super) process: Option<Process>,
    pub(super) epoch: u64,
    config: CoordinatorConfig,
    coordinator_due: u64,
    /// The coordinator's process stands still, and this waits for it.
    pub(super) paused: Option<VecDeque<Happening>>,
    /// By how much the wall clock of the coordinator's machine is ahead.
    pub(super) ahead: i64,
    pub(super) drift: u64,
    /// When the coordinator's process ended.
    pub(super) down_since: u64,
    pub(super) requests: Requests,
    pub(super) hostile: Option<usize>,
    pub(super) sent_by_hostile: Vec<Vec<u8>>,
    pub(super) watch: Watch,
    pub(super) counts: Counts,
    pub(super) trace: Sha256Digest,
    /// Chaos is over: nothing goes wrong any more.
    pub(super) calm: bool,
    /// The largest clock error so far, which can hold things back for as long.
    pub(super) largest_jump: u64,
    /// What broke in the middle of something.
    pub(super) broken: Option<Breach>,
}

const LETTERS: [&str; 5] = ["a", "ab", "ab", "b", "abc"];

impl Simulation {
    /// A fleet under `policy` that is about to begin, with as many workers, enforcement points and runs as the seed says.
    ///
    /// The section of the policy for evidence is replaced by one that takes what simulated workers bring. Everything else
    /// is in force as it is.
    ///
    /// # Panics
    /// Where the policy has no room for a handful of workers and devices.
    pub fn new(seed: u64, policy: WorkerFleetPolicy) -> Self {
        let mut random = Random::new(seed);
        let policy = terms::adapted(policy);
        let lease = &policy.lease;
        let drift = largest_drift(lease.clock_budget_ms, lease.ttl_max_ms);
        let beat = policy.liveness.heartbeat_every_ms.0;
        let habits = Habits {
            longest_job: Millis(lease.ttl_max_ms.0.saturating_mul(2)),
            longest_death: Millis(lease.grace_ms.0 / 2),
            evidence: Millis((lease.ttl_max_ms.0.saturating_mul(10)).min(3_000_000)),
            bad: if random.one_in(2) { 0 } else { random.between(3, 12) },
        };
        let workers = u32::try_from(random.between(2, 5)).unwrap_or(2);
        let points = u32::try_from(random.between(1, 2)).unwrap_or(1);
        let mut peers = Vec::new();
        for n in 0..workers {
            let clock = clock(0, drift, &mut random);
            let letters = LETTERS[random.index(LETTERS.len())];
            // Somebody can do everything that is asked for.
            let letters = if n == 0 { "ab" } else { letters };
            let worker = Worker::new(n, letters, policy.fleet.clone(), clock, habits);
            peers.push(Peer::Worker(Box::new(worker)));
        }
        for n in workers..workers + points {
            let clock = clock(0, drift, &mut random);
            peers.push(Peer::Enforcement(Box::new(Enforcement::new(n, &policy, clock))));
        }
        let hostile = random.one_in(2).then(|| workers as usize - 1).filter(|at| *at > 0);
        let runs = u32::try_from(random.between(3, 10)).unwrap_or(3);
        let inspected = policy.lease.cleanup == crate::lease::CleanupRule::Inspected;
        let config = CoordinatorConfig::new().inspect(inspected || random.one_in(2));
        let due = peers.iter().map(|_| 0).collect();
        let mut network = Network::default();
        network.delay = (beat / 10).max(1);
        let mut this = Self {
            seed,
            at: 0,
            queue: BTreeMap::new(),
            queued: 0,
            network,
            due,
            disk: SimDisk::default(),
            process: None,
            epoch: 0,
            config,
            coordinator_due: 0,
            paused: None,
            ahead: 0,
            drift,
            down_since: 0,
            requests: Requests::new(runs),
            hostile,
            sent_by_hostile: Vec::new(),
            watch: Watch::new(&policy),
            counts: Counts::default(),
            trace: FieldHasher::new("simulation.trace").number(seed).finish(),
            calm: false,
            largest_jump: 0,
            broken: None,
            random,
            policy,
            peers,
        };
        this.later(0, Happening::Restart);
        this.later(1, Happening::Local);
        this.later(beat, Happening::Strike);
        for peer in 0..this.peers.len() {
            let after = this.random.between(1, beat);
            this.later(after, Happening::Connect(peer));
        }
        this
    }

    /// Something happens after this many milliseconds.
    pub(super) fn later(&mut self, after: u64, happening: Happening) {
        self.at_time(self.at.saturating_add(after), happening);
    }

    /// Something happens then. What was planned first happens first.
    pub(super) fn at_time(&mut self, at: u64, happening: Happening) {
        self.queued += 1;
        self.queue.insert((at.max(self.at), self.queued), happening);
    }

    /// What happens next; time goes there.
    pub(super) fn next(&mut self) -> Option<Happening> {
        let ((at, _), happening) = self.queue.pop_first()?;
        self.at = at;
        Some(happening)
    }

    /// How long the rhythm of the fleet is.
    pub(super) fn beat(&self) -> u64 {
        self.policy.liveness.heartbeat_every_ms.0
    }

    /// Puts something into the digest of what happened.
    pub(super) fn note(&mut self, kind: &str, fact: u64, bytes: &[u8]) {
        let hasher = FieldHasher::new("simulation.trace").field(self.trace.as_bytes());
        self.trace = hasher.number(self.at).field(kind.as_bytes()).number(fact).field(bytes).finish();
    }

    /// Remembers the first promise that was broken.
    pub(super) fn hold(&mut self, outcome: Result<(), Breach>) {
        if let Err(breach) = outcome {
            self.broken.get_or_insert(breach);
        }
    }

    /// A process of the coordinator begins.
    pub(super) fn begin_process(&mut self) -> Result<(), Breach> {
        self.epoch += 1;
        // A boot clock says how long it was down, unless the machine was restarted as well.
        let down = self.random.one_in(2).then(|| Millis(self.at - self.down_since));
        let ppm = drift(self.drift, &mut self.random);
        let reckoning = Reckoning { down, ahead: self.ahead, ppm };
        let (process, recovered) =
            Process::begin(&self.disk, self.config, &self.policy, Epoch(self.epoch), self.at, reckoning)?;
        let first = recovered.last.is_none();
        self.note("begin", recovered.last.map_or(0, |(index, _)| index), &[]);
        self.watch.recovered(recovered.last, self.at)?;
        self.watch.began(process.clock.now(self.at));
        self.process = Some(process);
        self.paused = None;
        self.drain();
        if first {
            self.register();
        }
        Ok(())
    }

    /// The operator registers everybody's device.
    fn register(&mut self) {
        for at in 0..self.peers.len() {
            let n = self.peers[at].number();
            let kind = match self.peers[at] {
                Peer::Worker(_) => DeviceKind::Worker,
                Peer::Enforcement(_) => DeviceKind::EgressProxy,
            };
            let certificate = DeviceCertificate::from_der(&terms::leaf(n, 0)).expect("a certificate");
            let device = World::device_id(n);
            let command = ManageDevice::new(DeviceCommand::Register { device, kind, certificate });
            self.operate(OperatorCommand::ManageDevice(command));
        }
    }

    /// An operator asks.
    pub(super) fn operate(&mut self, command: OperatorCommand) {
        let (tag, client) = (RequestTag(0), ClientId::new("operator").expect("an id"));
        self.tell(CoordinatorInput::Operator { tag, client, sequence: None, command });
    }

    /// Whether the coordinator's process runs and does not stand still.
    pub(super) const fn is_up(&self) -> bool {
        self.process.is_some() && self.paused.is_none()
    }

    /// Gives the coordinator an input, where it is up, and carries out what it wants.
    pub(super) fn tell(&mut self, input: CoordinatorInput<'_>) {
        let at = self.at;
        let Some(process) = self.process.as_mut() else { return };
        let now = process.clock.now(at);
        if let Err(error) = process.coordinator.handle(input, now) {
            // What came too late for a connection, an inspection or a delivery that is gone.
            if matches!(
                error,
                crate::protocol::endpoint::EndpointError::NotDrained
                    | crate::protocol::endpoint::EndpointError::TimeBackwards { .. }
            ) {
                self.broken.get_or_insert(breach(7, format!("the coordinator refuses an input: {error}")));
            }
            return;
        }
        self.drain();
    }

    /// Carries out what the coordinator wants.
    pub(super) fn drain(&mut self) {
        let mut wanted = Vec::new();
        while let Some(process) = self.process.as_mut() {
            match process.coordinator.poll() {
                CoordinatorOutput::Send { connection, bytes } => self.send(connection, false, bytes),
                CoordinatorOutput::Close { connection, .. } => self.close(connection, true),
                CoordinatorOutput::Persist(batch) => {
                    let state = process.coordinator.fleet().state();
                    let decided = self.watch.decided(&batch, state);
                    process.writing = Some(batch);
                    self.hold(decided);
                    let slow = if self.random.one_in(20) { self.beat() } else { 20 };
                    let after = self.random.between(1, slow);
                    self.later(after, Happening::Written(self.epoch));
                }
                CoordinatorOutput::Answer { tag, answer } => self.answered(tag, &answer),
                CoordinatorOutput::InputsWanted { fence } => wanted.push(fence),
                CoordinatorOutput::Inspect { inspection, .. } => {
                    let after = self.random.between(1, self.beat());
                    self.later(after, Happening::Inspected(self.epoch, inspection));
                }
                CoordinatorOutput::Event(CoordinatorEvent::Halted) => self.note("halted", 0, &[]),
                CoordinatorOutput::Wait(deadline) => {
                    if let Some(deadline) = deadline {
                        self.coordinator_due += 1;
                        let due = Happening::CoordinatorDue(self.coordinator_due);
                        let at = process.clock.when(deadline);
                        self.at_time(at, due);
                    }
                    break;
                }
                _ => {}
            }
        }
        for fence in wanted {
            self.deliver(fence);
        }
        if let Some(process) = &self.process {
            let state = process.coordinator.fleet().state();
            let sound = state.check_invariants().map_err(|what| Breach(None, String::from(what)));
            self.hold(sound);
        }
    }

    fn answered(&mut self, tag: RequestTag, answer: &LocalAnswer) {
        let outcome = self.requests.answered(tag, answer, &mut self.counts);
        self.hold(outcome);
    }

    fn deliver(&mut self, fence: Fence) {
        let (path, content) = Requests::input();
        self.tell(CoordinatorInput::Deliver { fence, path: &path, content: &content });
    }

    /// Whether this is the coordinator's timer.
    pub(super) const fn is_due(&self, number: u64) -> bool {
        self.coordinator_due == number
    }

    /// Whether this is the peer's timer.
    pub(super) fn is_peer_due(&self, peer: usize, number: u64) -> bool {
        self.due.get(peer) == Some(&number)
    }

    /// Sends bytes over a connection.
    pub(super) fn send(&mut self, id: ConnectionId, up: bool, bytes: Vec<u8>) {
        if up && self.network.wires.get(&id).map(|wire| wire.peer) == self.hostile && self.hostile.is_some() {
            self.sent_by_hostile.push(bytes.clone());
            if self.sent_by_hostile.len() > 32 {
                self.sent_by_hostile.remove(0);
            }
        }
        for (at, bytes) in self.network.carry(id, up, bytes, self.at, &mut self.random) {
            self.at_time(at, Happening::Bytes { wire: id, up, bytes });
        }
    }

    /// One end closes a connection; the other one learns of it later.
    pub(super) fn close(&mut self, id: ConnectionId, by_coordinator: bool) {
        let at = self.network.end_arrives(id, !by_coordinator, self.at, &mut self.random);
        if let Some(wire) = self.network.wires.get_mut(&id) {
            let other = if by_coordinator {
                wire.open_at_coordinator = false;
                wire.open_at_peer
            } else {
                wire.open_at_peer = false;
                wire.open_at_coordinator
            };
            if other {
                self.at_time(at, Happening::Ended { wire: id, up: !by_coordinator });
            }
        }
        self.network.sweep(id);
    }

    /// Cuts a connection. What is on its way may be lost, in both directions; each end learns of it in its own time.
    pub(super) fn cut(&mut self, id: ConnectionId) {
        let lost = [self.random.one_in(2), self.random.one_in(2)];
        for up in [true, false] {
            let mut at = self.network.end_arrives(id, up, self.at, &mut self.random);
            // An end that hears nothing finds out by itself, or is told much later.
            if self.random.one_in(3) {
                at += self.random.below(self.beat() * 4);
            }
            self.at_time(at, Happening::Ended { wire: id, up });
        }
        if let Some(wire) = self.network.wires.get_mut(&id) {
            (wire.cut, wire.lost) = (true, lost);
        }
    }

    /// Whether bytes that arrive now still have somewhere to go.
    pub(super) fn arrives(&self, id: ConnectionId, up: bool) -> bool {
        self.network.wires.get(&id).is_some_and(|wire| {
            let open = if up { wire.open_at_coordinator } else { wire.open_at_peer };
            open && !wire.lost[direction(up)]
        })
    }

    /// Gives a peer something to do, and carries out what it wants.
    pub(super) fn drive(&mut self, at: usize, input: PeerInput<'_>) {
        let time = self.at;
        let Some(peer) = self.peers.get_mut(at) else { return };
        let random = &mut self.random;
        let outcome = match peer {
            Peer::Worker(worker) => {
                let now = worker.clock.now(time);
                let mut outcome = worker.drive(input.into_input(), now, random);
                let more = worker.work(now, random);
                outcome.sent.extend(more.sent);
                outcome.closed |= more.closed;
                outcome
            }
            Peer::Enforcement(point) => point.drive(input.into_input(), point.clock.now(time)),
        };
        self.carry_out(at, outcome);
    }

    fn carry_out(&mut self, at: usize, outcome: Outcome) {
        if let Some(id) = self.network.of_peer(at) {
            if !outcome.sent.is_empty() {
                self.send(id, true, outcome.sent);
            }
            if outcome.closed {
                self.close(id, false);
                self.reconnect(at);
            }
        }
        let Some((deadline, clock)) = self.peers.get(at).and_then(Peer::deadline) else { return };
        let when = clock.when(deadline);
        self.due[at] += 1;
        // A deadline that has passed is looked at a moment later: an endpoint may ask for that again and again.
        let when = when.max(self.at + 1);
        self.at_time(when, Happening::PeerDue(at, self.due[at]));
    }

    /// A peer without a connection makes another one after a while.
    pub(super) fn reconnect(&mut self, at: usize) {
        let after = self.random.between(1, self.beat());
        self.later(after, Happening::Connect(at));
    }

    /// What the disk would give to a process that begins now, with this much of what was not synced.
    pub(super) fn try_prefix(&mut self, kept: usize) -> Result<(), Breach> {
        let copy = self.disk.copy();
        copy.restart(kept);
        self.counts.prefixes += 1;
        self.watch.check_found(read(&copy)?.last)
    }

    /// The state of a run, where a coordinator is there to be asked.
    pub(super) fn run_state(&self, run: &RunId) -> Option<crate::fleet::RunState> {
        Some(self.process.as_ref()?.coordinator.fleet().state().run(run)?.state)
    }
}

/// An input that fits every endpoint.
#[derive(Debug)]
pub(super) enum PeerInput<'a> {
    Connected,
    Received(&'a [u8]),
    Closed,
    Timeout,
}

impl<'a> PeerInput<'a> {
    fn into_input<A>(self) -> Input<'a, A> {
        match self {
            Self::Connected => Input::Connected { peer: terms::coordinator() },
            Self::Received(bytes) => Input::Received(bytes),
            Self::Closed => Input::Closed,
            Self::Timeout => Input::Timeout,
        }
    }
}

/// A rate within the bounds, in parts per million.
fn drift(bound: u64, random: &mut Random) -> i64 {
    let bound = i64::try_from(bound).unwrap_or(0);
    i64::try_from(random.below(2 * bound.unsigned_abs() + 1)).unwrap_or(0) - bound
}

/// A clock of a process that begins now.
pub(super) fn clock(at: u64, bound: u64, random: &mut Random) -> LocalClock {
    let base = Mono(random.between(1, 1 << 40));
    let ppm = drift(bound, random);
    let ahead = i64::try_from(random.below(400)).unwrap_or(0) - 200;
    LocalClock::new(at, base, ppm, ahead)
}
