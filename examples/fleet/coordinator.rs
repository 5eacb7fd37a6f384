//! The coordinator's process: one thread owns the library's coordinator, and nobody else touches it.
//!
//! Connections, the journal and the supervisor have threads of their own, which speak to it through one channel. The
//! journal's thread writes one batch at a time; what is accepted meanwhile shares the next one.

use std::{
    collections::{BTreeMap, VecDeque},
    net::{Ipv4Addr, TcpListener},
    path::PathBuf,
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    time::Duration,
};

use leasehold::{
    attestation::signature::DefaultVerifier,
    code::Coded,
    coordinator::{
        ConnectionId, Coordinator, CoordinatorConfig, CoordinatorInput, CoordinatorOutput, InspectionId,
        LocalAnswer, OperatorCommand, RequestTag, ServiceRequest,
    },
    digest::Sha256Digest,
    fleet::{
        FleetRecord, ManageDevice, QuarantineWorker, Replay, SetPolicy, Setup, WorkerFleetManager,
        WorkerFleetPolicy,
    },
    id::{ClientId, DeviceId, WorkerId},
    identity::{DeviceCertificate, DeviceCommand, DeviceKind, RevocationReason, RevocationSubject},
    lease::{Epoch, Inspection, WorkerLease},
    protocol::endpoint::EndpointError,
    shell::{ClockMark, EpochStore, FileEpochStore, SystemClock},
    time::{Clock, Millis},
};

use crate::{
    Failure, boot,
    child::{self, Order},
    hexed::Bytes,
    keeper::{Care, Keeper, Keeping, picture},
    link::{Heard, Link},
    note::{Note, tell},
    pairing::{self, Pairing},
    policy, scratch,
    server::{self, Arrival, Seat},
    service::{self, Delivery, Service},
    tls,
};

mod authorities;
mod pairs;

/// The longest that the core's thread sleeps.
const LOOK: Duration = Duration::from_millis(100);
/// The tags of requests whose answers nobody waits for begin here; the service counts from 1.
const UNWATCHED: u64 = 1 << 60;
/// And those of pairing here.
const PAIRING: u64 = 1 << 61;
/// Who gives the operator's commands.
const OPERATOR: &str = "fleet-example-operator";

enum Event {
    Arrived(Arrival),
    Link(ConnectionId, Heard),
    /// The journal lasts up to this index, or nobody knows.
    Written(Option<u64>),
    Order(Order),
}

/// A connection's link, and its place among the connections.
struct Open {
    link: Link,
    _seat: Seat,
}

struct Process {
    coordinator: Coordinator,
    service: Service,
    /// Where devices may pair.
    pairing: Option<Pairing>,
    clock: SystemClock,
    events: SyncSender<Event>,
    open: BTreeMap<ConnectionId, Open>,
    connections: u64,
    /// The journal's thread.
    journal: Keeping,
    /// Records on their way to the journal.
    unspoken: VecDeque<FleetRecord>,
    writing: bool,
    deliveries: VecDeque<Delivery>,
    /// Deliveries whose connection has to take something first.
    stalled: VecDeque<Delivery>,
    /// What was found, to be told.
    looks: VecDeque<(InspectionId, Option<Inspection>)>,
    /// Where each worker's scratch directories are.
    scratch: BTreeMap<WorkerId, PathBuf>,
    tags: u64,
    /// Comes into force when the first job has ended, while others run.
    roll_out: Option<WorkerFleetPolicy>,
    /// What the supervisor ordered, until it is answered.
    ordered: BTreeMap<RequestTag, Order>,
    stopping: bool,
}

fn setup(entropy: [u8; 64], coordinator: Sha256Digest) -> Setup {
    Setup::new(entropy, coordinator, Box::new(DefaultVerifier))
}

/// Goes on from what is kept, or founds a fleet.
fn begin(
    replay: Replay,
    epochs: &mut FileEpochStore,
    policy: &WorkerFleetPolicy,
    setup: Setup,
) -> Result<(SystemClock, WorkerFleetManager), Failure> {
    let Some(state) = replay.state() else {
        let (clock, epoch) = (SystemClock::start(), epochs.next(Epoch(0)).map_err(Failure::coded)?);
        let manager = WorkerFleetManager::found(policy.clone(), setup, epoch, clock.now());
        return Ok((clock, manager.map_err(Failure::coded)?));
    };
    let epoch = epochs.next(state.epoch()).map_err(Failure::coded)?;
    let clock = SystemClock::resume(ClockMark::of(state.last()));
    let manager = replay.recover(setup, epoch, clock.now()).map_err(Failure::coded)?;
    Ok((clock, manager))
}

/// The coordinator's process.
pub fn run() -> Result<(), Failure> {
    let boot: boot::Coordinator = child::boot()?;
    let policy = policy::at_start(&boot)?;
    let policy = if boot.drill { policy::patient(policy)? } else { policy };
    let roll_out = Some(policy::roll_out(&policy)?);
    let ttl = policy::longest_ttl(&policy);
    let certificate = boot.identity.fingerprint();
    let entropy: [u8; 64] = tls::entropy()?;
    let index_key = *entropy.first_chunk().ok_or_else(|| Failure::new("64 bytes are more than 16"))?;
    let care = if boot.drill { Care::Drill } else { Care::Plain };
    let (keeper, replay) = Keeper::open(&boot.state, care, index_key)?;
    let mut epochs = FileEpochStore::open(boot.state.join("epochs")).map_err(Failure::coded)?;
    let (clock, manager) = begin(replay, &mut epochs, &policy, setup(entropy, certificate))?;
    let config = CoordinatorConfig::new()
        .inspect(boot.egress.is_some())
        .max_connections(256)
        .frame_patience(Millis(3000))
        .silence(Millis(10_000))
        .write_patience(Millis(5000));
    let (events, heard) = sync_channel(1024);
    let orders = events.clone();
    child::orders(move |order| {
        let _ = orders.send(Event::Order(order));
    });
    let (service, notes) = Service::new(boot.jobs, manager.state(), ttl, clock.now().mono)?;
    notes.iter().for_each(tell);
    let mut coordinator = Coordinator::new(config, manager);
    let mut pairing = None;
    if boot.pairing {
        coordinator = coordinator.with_pairing(Pairing::port()?);
        pairing = Some(Pairing::new(boot.image, PAIRING)?);
    }
    let mut process = Process {
        coordinator,
        service,
        pairing,
        clock,
        journal: keeper.start(events.clone(), Event::Written)?,
        events: events.clone(),
        open: BTreeMap::new(),
        connections: 0,
        unspoken: VecDeque::new(),
        writing: false,
        deliveries: VecDeque::new(),
        stalled: VecDeque::new(),
        looks: VecDeque::new(),
        scratch: boot.devices.iter().map(|paired| (paired.worker.clone(), paired.scratch.clone())).collect(),
        tags: UNWATCHED,
        roll_out,
        ordered: BTreeMap::new(),
        stopping: false,
    };
    process.settle()?;
    if process.coordinator.fleet().state().policy() != &policy {
        // Kept by an earlier start: the executable or the origin is another one now.
        process.command(OperatorCommand::SetPolicy(SetPolicy { policy }))?;
    }
    for paired in &boot.devices {
        process.register(paired.device.clone(), DeviceKind::Worker, &paired.certificate)?;
    }
    if let Some(egress) = &boot.egress {
        let proxy = DeviceId::new("egress-proxy").map_err(Failure::coded)?;
        process.register(proxy, DeviceKind::EgressProxy, &egress.proxy)?;
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, boot.port.unwrap_or(0)))?;
    let port = listener.local_addr()?.port();
    let config = match boot.pairing {
        true => tls::pairing_server(&boot.identity)?,
        false => process.port(&boot.identity, std::slice::from_ref(&boot.clients))?,
    };
    server::listen(listener, config, events, Event::Arrived)?;
    tell(&Note::Listening { port });
    process.serve(&heard)?;
    process.recover(setup(entropy, certificate), index_key, &mut epochs)
}

impl Process {
    fn serve(&mut self, heard: &Receiver<Event>) -> Result<(), Failure> {
        loop {
            self.ask()?;
            if self.service.is_over() {
                tell(&Note::AllEnded);
            }
            if self.stopping && !self.writing {
                return Ok(());
            }
            let now = self.clock.now().mono;
            let due = [self.coordinator.next_deadline(), self.service.next_try()].into_iter().flatten().min();
            let wait = due.map_or(LOOK, |due| {
                Duration::from_millis(due.since(now).0).clamp(Duration::from_millis(1), LOOK)
            });
            match heard.recv_timeout(wait) {
                Ok(event) => self.take(event)?,
                Err(RecvTimeoutError::Timeout) => self.give(CoordinatorInput::Timeout)?,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    }

    fn take(&mut self, event: Event) -> Result<(), Failure> {
        match event {
            Event::Arrived(Arrival::Connected { leaf, duplex, seat }) => {
                self.connections += 1;
                let connection = ConnectionId(self.connections);
                let link =
                    Link::start(duplex, self.events.clone(), move |heard| Event::Link(connection, heard))?;
                self.open.insert(connection, Open { link, _seat: seat });
                match &leaf {
                    Some(leaf) => self.give(CoordinatorInput::Connected { connection, leaf }),
                    None => self.give(CoordinatorInput::Stranger { connection }),
                }
            }
            Event::Arrived(Arrival::Stranger { why }) => {
                let (peer, act) = ("a stranger".into(), "TLS handshake".into());
                tell(&Note::Refused { peer, act, code: "tls.handshake".into(), message: why });
                Ok(())
            }
            // What a connection said before it was closed is nobody's.
            Event::Link(connection, _) if !self.open.contains_key(&connection) => Ok(()),
            Event::Link(connection, Heard::Bytes(bytes)) => {
                self.give(CoordinatorInput::Received { connection, bytes: &bytes })
            }
            Event::Link(connection, Heard::Sent(bytes)) => {
                self.deliveries.append(&mut self.stalled);
                self.give(CoordinatorInput::Sent { connection, bytes })
            }
            Event::Link(connection, Heard::Closed) => {
                self.open.remove(&connection);
                self.give(CoordinatorInput::Closed { connection })
            }
            Event::Written(Some(index)) => self.written(index),
            Event::Written(None) => {
                self.writing = false;
                self.stopping = true;
                self.give(CoordinatorInput::JournalFailed)
            }
            Event::Order(Order::Drain) => {
                let notes = self.service.drain(self.clock.now().mono);
                notes.iter().for_each(tell);
                Ok(())
            }
            Event::Order(Order::Stop) => {
                self.stopping = true;
                Ok(())
            }
            Event::Order(order) => self.order(order),
        }
    }

    /// One input, and everything that it leads to.
    fn give(&mut self, input: CoordinatorInput<'_>) -> Result<(), Failure> {
        self.coordinator.handle(input, self.clock.now()).map_err(Failure::coded)?;
        self.settle()
    }

    /// Drains the endpoint, gives what its outputs ask for, and drains again, until nothing is left to do.
    fn settle(&mut self) -> Result<(), Failure> {
        loop {
            self.drain()?;
            if let Some((inspection, found)) = self.looks.pop_front() {
                let input = CoordinatorInput::Inspected { inspection, found };
                self.coordinator.handle(input, self.clock.now()).map_err(Failure::coded)?;
                continue;
            }
            if self.pairs()? {
                continue;
            }
            let Some(mut delivery) = self.deliveries.pop_front() else { return Ok(()) };
            let Some((path, content)) = delivery.piece() else { continue };
            let input = CoordinatorInput::Deliver { fence: delivery.fence, path, content };
            match self.coordinator.handle(input, self.clock.now()) {
                Ok(()) => {
                    delivery.taken();
                    self.deliveries.push_front(delivery);
                }
                // Goes on when a connection has taken some of what waits.
                Err(EndpointError::Full) => self.stalled.push_back(delivery),
                // The lease is over, or its holder is gone and will ask again.
                Err(EndpointError::NotNow(_)) => {}
                Err(error) => return Err(Failure::coded(error)),
            }
        }
    }

    /// Carries out what the endpoint wants done, until it waits.
    fn drain(&mut self) -> Result<(), Failure> {
        loop {
            match self.coordinator.poll() {
                CoordinatorOutput::Send { connection, bytes } => {
                    if let Some(open) = self.open.get(&connection) {
                        // One that never reads is cut here, and its reader reports the end.
                        let _ = open.link.send(bytes);
                    }
                }
                CoordinatorOutput::Close { connection, .. } => drop(self.open.remove(&connection)),
                CoordinatorOutput::Persist(batch) => {
                    self.writing = true;
                    self.unspoken.extend(batch.records);
                    self.journal.append(batch.last, batch.bytes);
                }
                CoordinatorOutput::Answer { tag, answer } if tag.0 > PAIRING => {
                    self.pairing_answered(tag, answer);
                }
                CoordinatorOutput::ApprovalWanted(ask) => tell(&pairing::asks(&ask)),
                CoordinatorOutput::CertificateWanted { wanted, device, request } => {
                    self.certificate_wanted(wanted, &device, &request);
                }
                CoordinatorOutput::Answer { tag, answer } if tag.0 > UNWATCHED => {
                    self.managed(tag, &answer)?;
                }
                CoordinatorOutput::Answer { tag, answer } => {
                    let notes = self.service.answered(tag, &answer, self.clock.now().mono);
                    notes.iter().for_each(tell);
                }
                CoordinatorOutput::InputsWanted { fence } => {
                    self.deliveries.retain(|delivery| delivery.fence != fence);
                    self.stalled.retain(|delivery| delivery.fence != fence);
                    self.deliveries.extend(self.service.deliver(fence));
                }
                CoordinatorOutput::Artifact { fence, stream, offset, content } => {
                    self.service.artifact(fence, stream, offset, &content);
                }
                CoordinatorOutput::Inspect { inspection, lease } => {
                    self.looks.push_back((inspection, self.look(lease.as_deref())));
                }
                CoordinatorOutput::Event(event) => {
                    if let Some(note) = service::note_of(event) {
                        tell(&note);
                    }
                }
                CoordinatorOutput::Wait(_) => return Ok(()),
                other => return Err(Failure::new(format!("an output that is not known: {other:?}"))),
            }
        }
    }

    /// Looks at what is left of a lease, with this process's own eyes.
    fn look(&self, lease: Option<&WorkerLease>) -> Option<Inspection> {
        let lease = lease?;
        let root = self.scratch.get(&lease.worker)?;
        let remaining = scratch::entries(&root.join(lease.terms.workspace.root().as_str()));
        tell(&Note::Cleaned { fence: lease.fence, by: "coordinator".into(), removed: 0, remaining });
        Some(Inspection::found(remaining.into()))
    }

    /// The journal lasts up to `index`: what waited for that leaves, and is said.
    fn written(&mut self, index: u64) -> Result<(), Failure> {
        self.writing = false;
        self.give(CoordinatorInput::Durable(index))?;
        while self.unspoken.front().is_some_and(|record| record.index <= index) {
            if let Some(record) = self.unspoken.pop_front() {
                let notes = self.service.lasting(&record);
                notes.iter().for_each(tell);
                if let Some(pairing) = &mut self.pairing {
                    pairing.lasting(&record).iter().for_each(tell);
                }
                // A roll-out belongs to the job that shows it; a fleet that pairs sets its own policies.
                let ended = notes.iter().any(|note| matches!(note, Note::Ended { .. }));
                if ended && let Some(policy) = self.roll_out.take_if(|_| self.pairing.is_none()) {
                    self.command(OperatorCommand::SetPolicy(SetPolicy { policy }))?;
                }
            }
        }
        self.settle()
    }

    /// Asks for leases, as long as there are jobs and workers for them.
    fn ask(&mut self) -> Result<(), Failure> {
        while !self.stopping && self.coordinator.fleet().state().counts().available > 0 {
            let Some((tag, acquire)) = self.service.ask(self.clock.now())? else { return Ok(()) };
            let client = ClientId::new("fleet-example").map_err(Failure::coded)?;
            let request = ServiceRequest::Acquire(Box::new(acquire));
            self.give(CoordinatorInput::Service { tag, client, sequence: None, request })?;
        }
        Ok(())
    }

    fn register(&mut self, device: DeviceId, kind: DeviceKind, certificate: &Bytes) -> Result<(), Failure> {
        let certificate = DeviceCertificate::from_der(&certificate.0).map_err(Failure::coded)?;
        let known = self.coordinator.fleet().state().devices().get(&device);
        let same = |other: &DeviceCertificate| other.fingerprint() == certificate.fingerprint();
        if known.is_some_and(|known| known.certificates().any(same)) {
            return Ok(());
        }
        let command = DeviceCommand::Register { device, kind, certificate };
        self.command(OperatorCommand::ManageDevice(ManageDevice::new(command)))
    }

    /// An operator's command whose answer nobody waits for.
    fn command(&mut self, command: OperatorCommand) -> Result<(), Failure> {
        self.tags += 1;
        self.give(CoordinatorInput::Operator {
            tag: RequestTag(self.tags),
            client: ClientId::new(OPERATOR).map_err(Failure::coded)?,
            sequence: None,
            command,
        })
    }

    /// What the supervisor wants of a coordinator that it kills now and then.
    fn order(&mut self, order: Order) -> Result<(), Failure> {
        if matches!(order, Order::Quarantine(_) | Order::Revoke(_) | Order::SpendAgain(_)) {
            self.ordered.insert(RequestTag(self.tags + 1), order.clone());
        }
        match order {
            Order::Quarantine(worker) => {
                self.command(OperatorCommand::QuarantineWorker(QuarantineWorker { worker }))
            }
            Order::Revoke(device) => {
                let (subject, reason) = (RevocationSubject::Device(device), RevocationReason::Lost);
                let command = ManageDevice::new(DeviceCommand::Revoke { subject, reason });
                self.command(OperatorCommand::ManageDevice(command))
            }
            Order::SpendAgain(grant) => {
                self.tags += 1;
                let request = self.service.with_grant(&grant, self.tags, self.clock.now())?;
                let client = ClientId::new("fleet-example").map_err(Failure::coded)?;
                let request = ServiceRequest::Acquire(Box::new(request));
                let tag = RequestTag(self.tags);
                self.give(CoordinatorInput::Service { tag, client, sequence: None, request })
            }
            Order::Submit { job } => {
                tell(&self.service.submit(*job, self.clock.now().mono)?);
                Ok(())
            }
            order => {
                if let Some(pairing) = &mut self.pairing {
                    pairing.order(order);
                }
                self.settle()
            }
        }
    }

    /// An answer to what the supervisor ordered is told; a command of this process has to succeed.
    fn managed(&mut self, tag: RequestTag, answer: &LocalAnswer) -> Result<(), Failure> {
        let code = match answer {
            LocalAnswer::Managed(Err(error)) => Some(error.code()),
            LocalAnswer::Acquired(Err(error)) => Some(error.code()),
            _ => None,
        };
        match (self.ordered.remove(&tag), code) {
            (Some(order), code) => {
                tell(&Note::Obeyed { order, code: code.map(|code| code.to_string()) });
                Ok(())
            }
            (None, Some(code)) => Err(Failure::new(format!("{code}: a command of this process"))),
            (None, None) => Ok(()),
        }
    }

    /// Reads the journal back as a coordinator that takes over would, and compares (invariant 8).
    fn recover(self, setup: Setup, index_key: [u8; 16], epochs: &mut FileEpochStore) -> Result<(), Failure> {
        let live = self.coordinator.fleet().state();
        let replay = self.journal.end(index_key)?.replay()?;
        let epoch = epochs.next(live.epoch()).map_err(Failure::coded)?;
        let recovered = replay.recover(setup, epoch, self.clock.now()).map_err(Failure::coded)?;
        if recovered.state().last_fence() <= live.last_fence() {
            // Invariant 2.
            tell(&Note::Fault { message: "a recovered coordinator's fences are not larger".into() });
        }
        let (live, replayed) = (picture(live), picture(recovered.state()));
        tell(&Note::Recovered { live, replayed });
        Ok(())
    }
}
