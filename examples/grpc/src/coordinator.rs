//! The coordinator's process: one task owns the library's coordinator, and nobody else touches it.
//!
//! Streams, the journal and the supervisor speak to it through one channel. The journal's thread writes one batch at a time;
//! what is accepted meanwhile shares the next one. The endpoint is the main job's; only who waits for what is another.

use std::{
    collections::{BTreeMap, VecDeque},
    net::Ipv4Addr,
    path::PathBuf,
    sync::mpsc::{SyncSender, sync_channel},
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
    shell::{EpochStore, FileEpochStore, SystemClock},
    time::{Clock, Millis},
};
use tokio::{
    net::TcpListener,
    sync::mpsc::{Receiver, Sender, UnboundedReceiver, channel, unbounded_channel},
};

use crate::{
    Failure, block_on, boot,
    child::{self, Order},
    hexed::Bytes,
    keeper::{Care, Keeper, Keeping},
    note::{Note, tell},
    policy, scratch,
    server::{self, Heard, Open},
    service::{self, Delivery, Service},
    tls,
};

/// The longest that the core's task sleeps.
const LOOK: Duration = Duration::from_millis(100);
/// The tags of requests whose answers nobody waits for begin here; the service counts from 1.
const UNWATCHED: u64 = 1 << 60;

/// What the core's task hears of.
pub enum Event {
    /// Something on a stream.
    Stream(ConnectionId, Heard),
    /// Somebody did not get through the handshake.
    Stranger(String),
    /// The journal lasts up to this index, or nobody knows.
    Written(Option<u64>),
    /// The supervisor.
    Order(Order),
}

struct Process {
    coordinator: Coordinator,
    service: Service,
    clock: SystemClock,
    open: BTreeMap<ConnectionId, Open>,
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
    stopping: bool,
}

fn setup(entropy: [u8; 64], coordinator: Sha256Digest) -> Setup {
    Setup::new(entropy, coordinator, Box::new(DefaultVerifier))
}

/// The coordinator's process.
pub fn run() -> Result<(), Failure> {
    let boot: boot::Coordinator = child::boot()?;
    block_on(coordinate(boot))
}

async fn coordinate(boot: boot::Coordinator) -> Result<(), Failure> {
    let clock = SystemClock::start();
    let policy = policy::fleet_policy(boot.image, &boot.devices)?;
    let certificate = boot.identity.fingerprint();
    let entropy: [u8; 64] = tls::entropy()?;
    let index_key = *entropy.first_chunk().ok_or_else(|| Failure::new("64 bytes are more than 16"))?;
    // The directory is new, so there is nothing to go on from.
    let (keeper, _) = Keeper::open(&boot.state, Care::Plain, index_key)?;
    let mut epochs = FileEpochStore::open(boot.state.join("epochs")).map_err(Failure::coded)?;
    let epoch = epochs.next(Epoch(0)).map_err(Failure::coded)?;
    let manager = WorkerFleetManager::found(policy, setup(entropy, certificate), epoch, clock.now());
    let manager = manager.map_err(Failure::coded)?;
    let config = CoordinatorConfig::new()
        .inspect(true)
        .max_connections(256)
        .frame_patience(Millis(3000))
        .silence(Millis(10_000))
        .write_patience(Millis(5000));
    let (events, heard) = channel(1024);
    let (sent, taken) = unbounded_channel();
    let orders = events.clone();
    child::orders(move |order| {
        let _ = orders.blocking_send(Event::Order(order));
    });
    let ttl = policy::leases().ttl_max_ms;
    let (service, notes) = Service::new(boot.jobs, manager.state(), ttl, clock.now().mono)?;
    notes.iter().for_each(tell);
    let mut process = Process {
        coordinator: Coordinator::new(config, manager),
        service,
        clock,
        open: BTreeMap::new(),
        journal: keeper.start(bridge(events.clone()), Event::Written)?,
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
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let port = listener.local_addr()?.port();
    server::serve(listener, &*tls::mutual_server(&boot.identity, &boot.clients)?, events, sent)?;
    tell(&Note::Listening { port });
    process.serve(heard, taken).await?;
    process.recover(setup(entropy, certificate), index_key, &mut epochs)
}

/// From the journal's thread to the core's task.
fn bridge(events: Sender<Event>) -> SyncSender<Event> {
    let (sender, written) = sync_channel(1);
    thread::spawn(move || {
        while let Ok(event) = written.recv() {
            let _ = events.blocking_send(event);
        }
    });
    sender
}

impl Process {
    async fn serve(
        &mut self,
        mut heard: Receiver<Event>,
        mut taken: UnboundedReceiver<(ConnectionId, usize)>,
    ) -> Result<(), Failure> {
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
            tokio::select! {
                Some(event) = heard.recv() => self.take(event)?,
                Some((connection, bytes)) = taken.recv() => {
                    self.deliveries.append(&mut self.stalled);
                    if self.open.contains_key(&connection) {
                        self.give(CoordinatorInput::Sent { connection, bytes })?;
                    }
                }
                () = tokio::time::sleep(wait) => self.give(CoordinatorInput::Timeout)?,
            }
        }
    }

    fn take(&mut self, event: Event) -> Result<(), Failure> {
        match event {
            Event::Stream(connection, Heard::Connected { leaf, open }) => {
                self.open.insert(connection, open);
                self.give(CoordinatorInput::Connected { connection, leaf: &leaf })
            }
            Event::Stranger(message) => {
                let (peer, act) = ("a stranger".into(), "TLS handshake".into());
                tell(&Note::Refused { peer, act, code: "tls.handshake".into(), message });
                Ok(())
            }
            // What a stream said before it was closed is nobody's.
            Event::Stream(connection, _) if !self.open.contains_key(&connection) => Ok(()),
            Event::Stream(connection, Heard::Bytes(bytes)) => {
                self.give(CoordinatorInput::Received { connection, bytes: &bytes })
            }
            Event::Stream(connection, Heard::Closed) => {
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
            Event::Order(_) => Err(Failure::new("nobody gives such orders here")),
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
                        open.send(bytes);
                    }
                }
                CoordinatorOutput::Close { connection, .. } => drop(self.open.remove(&connection)),
                CoordinatorOutput::Persist(batch) => {
                    self.writing = true;
                    self.unspoken.extend(batch.records);
                    self.journal.append(batch.last, batch.bytes);
                }
                CoordinatorOutput::Answer { answer: LocalAnswer::Managed(answer), .. } => {
                    answer.map_err(Failure::coded)?;
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
                self.service.lasting(&record).iter().for_each(tell);
            }
        }
        Ok(())
    }

    /// Asks for leases, as long as there are jobs and workers for them.
    fn ask(&mut self) -> Result<(), Failure> {
        while !self.stopping && self.coordinator.fleet().state().counts().available > 0 {
            let Some((tag, acquire)) = self.service.ask(self.clock.now())? else { return Ok(()) };
            let client = ClientId::new("grpc-example").map_err(Failure::coded)?;
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
            client: ClientId::new("grpc-example-operator").map_err(Failure::coded)?,
            sequence: None,
            command: OperatorCommand::ManageDevice(command),
        })
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
