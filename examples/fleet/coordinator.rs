//! The coordinator's process: one thread owns the library's coordinator, and nobody else touches it.
//!
//! Connections, the journal and the supervisor have threads of their own, which speak to it through one channel. The
//! journal's thread writes one batch at a time; what is accepted meanwhile shares the next one.

use std::{
    collections::{BTreeMap, VecDeque},
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel},
    thread,
    time::Duration,
};

use leasehold::{
    attestation::signature::DefaultVerifier,
    coordinator::{
        ConnectionId, Coordinator, CoordinatorConfig, CoordinatorInput, CoordinatorOutput, InspectionId,
        LocalAnswer, OperatorCommand, RequestTag, ServiceRequest,
    },
    digest::Sha256Digest,
    fleet::{FleetRecord, FleetState, ManageDevice, Setup, WorkerFleetManager},
    id::{ClientId, DeviceId, WorkerId},
    identity::{DeviceCertificate, DeviceCommand, DeviceKind},
    lease::{Epoch, Inspection, WorkerLease},
    protocol::endpoint::EndpointError,
    shell::{EpochStore, FileEpochStore, FileJournal, Journal, SystemClock},
    time::{Clock, Millis},
};

use crate::{
    Failure, boot,
    child::{self, Order},
    hexed::Bytes,
    link::{Heard, Link},
    note::{Note, tell},
    pairing::{self, Next, Pairing},
    policy, scratch,
    server::{self, Arrival, Seat},
    service::{self, Delivery, Service},
    tls,
};

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
    /// To the journal's thread.
    journal: Sender<(u64, Vec<u8>)>,
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
    stopping: bool,
}

fn setup(coordinator: Sha256Digest) -> Result<Setup, Failure> {
    Ok(Setup::new(tls::entropy()?, coordinator, Box::new(DefaultVerifier)))
}

/// The coordinator's process.
pub fn run() -> Result<(), Failure> {
    let boot: boot::Coordinator = child::boot()?;
    let clock = SystemClock::start();
    let policy = policy::at_start(&boot)?;
    let mut epochs = FileEpochStore::open(boot.state.join("epochs")).map_err(Failure::coded)?;
    let epoch = epochs.next(Epoch(0)).map_err(Failure::coded)?;
    let certificate = boot.identity.fingerprint();
    let manager =
        WorkerFleetManager::found(policy, setup(certificate)?, epoch, clock.now()).map_err(Failure::coded)?;
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
    let path = boot.state.join("journal");
    let (service, notes) = Service::new(boot.jobs, clock.now().mono)?;
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
        journal: journal(&path, events.clone())?,
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
        stopping: false,
    };
    process.settle()?;
    for paired in &boot.devices {
        process.register(paired.device.clone(), DeviceKind::Worker, &paired.certificate)?;
    }
    if let Some(egress) = &boot.egress {
        let proxy = DeviceId::new("egress-proxy").map_err(Failure::coded)?;
        process.register(proxy, DeviceKind::EgressProxy, &egress.proxy)?;
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    let config = match boot.pairing {
        true => tls::pairing_server(&boot.identity)?,
        false => tls::mutual_server(&boot.identity, &boot.clients)?,
    };
    server::listen(listener, config, events, Event::Arrived)?;
    tell(&Note::Listening { port });
    process.serve(&heard)?;
    process.recover(&path, setup(certificate)?, &mut epochs)
}

/// Starts the journal's thread. One batch at a time, each synced before it is called written.
fn journal(path: &Path, events: SyncSender<Event>) -> Result<Sender<(u64, Vec<u8>)>, Failure> {
    let mut journal = FileJournal::open(path)?;
    let (sender, batches) = channel::<(u64, Vec<u8>)>();
    thread::Builder::new().name("journal".into()).spawn(move || {
        while let Ok((last, bytes)) = batches.recv() {
            let written = journal.append(&bytes).is_ok().then_some(last);
            if events.send(Event::Written(written)).is_err() || written.is_none() {
                return;
            }
        }
    })?;
    Ok(sender)
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
            Event::Order(order) => self.order(order),
        }
    }

    fn order(&mut self, order: Order) -> Result<(), Failure> {
        match order {
            Order::Drain => {
                let notes = self.service.drain(self.clock.now().mono);
                notes.iter().for_each(tell);
            }
            Order::Stop => self.stopping = true,
            Order::Submit { job } => tell(&self.service.submit(*job, self.clock.now().mono)?),
            order => {
                if let Some(pairing) = &mut self.pairing {
                    pairing.order(order);
                }
            }
        }
        self.settle()
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
            if let Some(next) = self.pairing.as_mut().and_then(Pairing::next) {
                self.pair(next)?;
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

    fn pair(&mut self, next: Next) -> Result<(), Failure> {
        let (client, sequence) = (ClientId::new(OPERATOR).map_err(Failure::coded)?, None);
        let now = self.clock.now();
        let told = match next {
            Next::Certificate { wanted, certificate } => {
                let input = CoordinatorInput::Certificate { wanted, certificate: certificate.as_deref() };
                self.coordinator.handle(input, now)
            }
            Next::Complete { tag, pairing, certificate } => {
                let input = CoordinatorInput::CompletePairing { tag, pairing, certificate: &certificate };
                self.coordinator.handle(input, now)
            }
            Next::Command { tag, command } => {
                let input = CoordinatorInput::Operator { tag, client, sequence, command };
                self.coordinator.handle(input, now)
            }
        };
        match told {
            // The device has gone meanwhile, and will ask again.
            Ok(()) | Err(EndpointError::NotNow(_)) => Ok(()),
            Err(error) => Err(Failure::coded(error)),
        }
    }

    fn answered(&mut self, tag: RequestTag, answer: LocalAnswer) -> Result<(), Failure> {
        let now = self.clock.now();
        let answer = match &mut self.pairing {
            Some(pairing) => match pairing.answered(tag, answer, now) {
                Ok(note) => {
                    note.iter().for_each(tell);
                    return Ok(());
                }
                Err(answer) => answer,
            },
            None => answer,
        };
        match answer {
            LocalAnswer::Managed(answer) => answer.map(|_| ()).map_err(Failure::coded),
            answer => {
                let notes = self.service.answered(tag, &answer, now.mono);
                notes.iter().for_each(tell);
                Ok(())
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
                    // A journal that is gone has said so.
                    let _ = self.journal.send((batch.last, batch.bytes));
                }
                CoordinatorOutput::Answer { tag, answer } => self.answered(tag, answer)?,
                CoordinatorOutput::ApprovalWanted(ask) => tell(&pairing::asks(&ask)),
                CoordinatorOutput::CertificateWanted { wanted, device, request } => {
                    let now = self.clock.now();
                    if let Some(pairing) = &mut self.pairing {
                        pairing.rotate(wanted, &device, &request, now).iter().for_each(tell);
                    }
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
                self.service.lasting(&record).iter().for_each(tell);
                if let Some(pairing) = &mut self.pairing {
                    pairing.lasting(&record).iter().for_each(tell);
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
        let command = ManageDevice::new(DeviceCommand::Register { device, kind, certificate });
        self.tags += 1;
        self.give(CoordinatorInput::Operator {
            tag: RequestTag(self.tags),
            client: ClientId::new(OPERATOR).map_err(Failure::coded)?,
            sequence: None,
            command: OperatorCommand::ManageDevice(command),
        })
    }

    /// Reads the journal back as a coordinator that takes over would, and compares (invariant 8).
    fn recover(&self, path: &Path, setup: Setup, epochs: &mut FileEpochStore) -> Result<(), Failure> {
        let live = self.coordinator.fleet().state();
        let journal = FileJournal::open(path)?.read().map_err(Failure::coded)?;
        let epoch = epochs.next(live.epoch()).map_err(Failure::coded)?;
        let recovered = WorkerFleetManager::recover(None, &journal, setup, epoch, self.clock.now());
        let recovered = recovered.map_err(Failure::coded)?;
        if recovered.state().last_fence() <= live.last_fence() {
            // Invariant 2.
            tell(&Note::Fault { message: "a recovered coordinator's fences are not larger".into() });
        }
        let (live, replayed) = (picture(live), picture(recovered.state()));
        tell(&Note::Recovered { live, replayed });
        Ok(())
    }
}

/// A digest of everything about a fleet that a change of coordinator does not change.
fn picture(state: &FleetState) -> String {
    let mut runs: Vec<String> = state.runs().map(|run| format!("{run:?}")).collect();
    runs.sort();
    let workers: Vec<String> = state
        .workers()
        .map(|worker| {
            let lease = worker.lease.map(|lease| lease.fence);
            format!("{} {:?} {:?} {lease:?} {:?}", worker.id, worker.handle, worker.quarantined, worker.owes)
        })
        .collect();
    let devices: Vec<String> = state.devices().devices().map(|device| format!("{device:?}")).collect();
    Sha256Digest::of(format!("{runs:?} {workers:?} {devices:?}").as_bytes()).to_string()
}
