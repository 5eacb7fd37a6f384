//! What a coordinator's process does whatever its connections are: the library's coordinator, the service that uses the
//! fleet, the journal, deliveries and inspections.
//!
//! Nothing here waits for anything. Whoever owns the connections gives inputs, and after each carries out what
//! [`ControlPlane::next`] leaves to it: on a thread here, in a task in `examples/packages/grpc`.

use std::{
    collections::{BTreeMap, VecDeque},
    path::PathBuf,
    time::Duration,
};

use leasehold::{
    attestation::signature::DefaultVerifier,
    coordinator::{
        Coordinator, CoordinatorConfig, CoordinatorInput, CoordinatorOutput, InspectionId, OperatorCommand,
        PairingPort, RequestTag, ServiceRequest,
    },
    digest::Sha256Digest,
    fleet::{
        Acquire, FleetRecord, LogId, ManageDevice, Replay, Setup, WorkerFleetManager, WorkerFleetPolicy,
        WorkerFleetPolicyForm,
    },
    id::{ClientId, DeviceId, WorkerId},
    identity::{DeviceCertificate, DeviceCommand, DeviceKind},
    lease::{CleanupRule, Epoch, Inspection, WorkerLease},
    protocol::endpoint::EndpointError,
    shell::{ClockMark, EpochStore, FileEpochStore, SystemClock},
    time::{Clock, Millis, Now},
};

use crate::{
    Failure, boot,
    hexed::Bytes,
    journal_thread::{Care, EPOCHS, JournalThread, Keeping, picture},
    process_log::{LogEntry, tell},
    scratch,
    service::{self, Delivery, Service},
    tls,
};

/// The longest that a process sleeps.
const LOOK: Duration = Duration::from_millis(100);
/// The tags of requests that are not the service's begin here; the service counts from 1.
const UNWATCHED: u64 = 1 << 60;
/// Who gives the operator's commands.
pub const OPERATOR: &str = "fleet-example-operator";

/// The coordinator, and everything around it that is no connection.
pub struct ControlPlane {
    /// The library's.
    pub coordinator: Coordinator,
    /// Who uses the fleet.
    pub service: Service,
    clock: SystemClock,
    epochs: FileEpochStore,
    entropy: [u8; 64],
    certificate: Sha256Digest,
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
}

fn setup(entropy: [u8; 64], coordinator: Sha256Digest) -> Setup {
    Setup::new(entropy, coordinator, Box::new(DefaultVerifier))
}

fn index_key(entropy: &[u8; 64]) -> Result<[u8; 16], Failure> {
    Ok(*entropy.first_chunk().ok_or_else(|| Failure::new("64 bytes are more than 16"))?)
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

impl ControlPlane {
    /// A control plane that goes on from what is kept, with `policy` where nothing is. The journal's thread says how far it
    /// lasts by `written`, which is false when nobody hears that any more; what it says is for [`Self::written`].
    pub fn open(
        boot: &boot::Coordinator,
        policy: &WorkerFleetPolicy,
        pairing: Option<PairingPort>,
        written: impl FnMut(Option<LogId>) -> bool + Send + 'static,
    ) -> Result<Self, Failure> {
        let certificate = boot.identity.fingerprint();
        let entropy: [u8; 64] = tls::entropy()?;
        let care = if boot.drill { Care::Drill } else { Care::Plain };
        let (journal_thread, replay) = JournalThread::open(&boot.state, care, index_key(&entropy)?)?;
        let mut epochs = FileEpochStore::open(boot.state.join(EPOCHS)).map_err(Failure::coded)?;
        let (clock, manager) = begin(replay, &mut epochs, policy, setup(entropy, certificate))?;
        let rules = WorkerFleetPolicyForm::from(policy.clone()).lease;
        let config = CoordinatorConfig::new()
            .inspect(rules.cleanup == CleanupRule::Inspected)
            .max_connections(256)
            .frame_patience(Millis(3000))
            .silence(Millis(10_000))
            .write_patience(Millis(5000));
        let (jobs, now) = (boot.jobs.clone(), clock.now().mono);
        let (service, entries) = Service::new(jobs, manager.state(), rules.ttl_max_ms, now)?;
        entries.iter().for_each(tell);
        let coordinator = Coordinator::new(config, manager);
        let scratch = |paired: &boot::Paired| (paired.worker.clone(), paired.scratch.clone());
        Ok(Self {
            coordinator: match pairing {
                Some(port) => coordinator.with_pairing(port),
                None => coordinator,
            },
            service,
            clock,
            epochs,
            entropy,
            certificate,
            journal: journal_thread.start(written)?,
            unspoken: VecDeque::new(),
            writing: false,
            deliveries: VecDeque::new(),
            stalled: VecDeque::new(),
            looks: VecDeque::new(),
            scratch: boot.devices.iter().map(scratch).collect(),
            tags: UNWATCHED,
        })
    }

    /// The time.
    pub fn now(&self) -> Now {
        self.clock.now()
    }

    /// How long the owner may wait for an input before it gives [`CoordinatorInput::Timeout`].
    pub fn wait(&self) -> Duration {
        let due = [self.coordinator.next_deadline(), self.service.next_try()].into_iter().flatten().min();
        due.map_or(LOOK, |due| {
            Duration::from_millis(due.since(self.now().mono).0).clamp(Duration::from_millis(1), LOOK)
        })
    }

    /// Whether a batch is on its way to the journal.
    pub fn is_writing(&self) -> bool {
        self.writing
    }

    /// One input.
    pub fn give(&mut self, input: CoordinatorInput<'_>) -> Result<(), Failure> {
        self.coordinator.handle(input, self.clock.now()).map_err(Failure::coded)
    }

    /// The next output that is for the owner of the connections, after everything else that can be done now was done.
    /// `None`: nothing is left to do until the next input.
    pub fn next(&mut self) -> Result<Option<CoordinatorOutput>, Failure> {
        loop {
            match self.coordinator.poll() {
                CoordinatorOutput::Persist(batch) => {
                    self.writing = true;
                    self.unspoken.extend(batch.records);
                    self.journal.append(batch.last, batch.bytes);
                }
                CoordinatorOutput::Answer { tag, answer } if tag.0 <= UNWATCHED => {
                    let entries = self.service.answered(tag, &answer, self.clock.now().mono);
                    entries.iter().for_each(tell);
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
                CoordinatorOutput::Event(event) => service::note_of(event).iter().for_each(tell),
                CoordinatorOutput::Wait(_) if self.follow_up()? => {}
                CoordinatorOutput::Wait(_) => return Ok(None),
                output => return Ok(Some(output)),
            }
        }
    }

    /// Gives what former outputs asked for. False: nothing was left.
    fn follow_up(&mut self) -> Result<bool, Failure> {
        if let Some((inspection, found)) = self.looks.pop_front() {
            self.give(CoordinatorInput::Inspected { inspection, found })?;
            return Ok(true);
        }
        let Some(mut delivery) = self.deliveries.pop_front() else { return Ok(false) };
        let Some((path, content)) = delivery.piece() else { return Ok(true) };
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
        Ok(true)
    }

    /// A connection has taken some of what waited: what was stalled goes on.
    pub fn sent(&mut self) {
        self.deliveries.append(&mut self.stalled);
    }

    /// Looks at what is left of a lease, with this process's own eyes.
    fn look(&self, lease: Option<&WorkerLease>) -> Option<Inspection> {
        let lease = lease?;
        let root = self.scratch.get(&lease.worker)?;
        let remaining = scratch::entries(&root.join(lease.terms.workspace.root().as_str()));
        tell(&LogEntry::Cleaned { fence: lease.fence, by: "coordinator".into(), removed: 0, remaining });
        Some(Inspection::found(remaining.into()))
    }

    /// The journal lasts up to this record, or nobody knows how far.
    pub fn written(&mut self, last: Option<LogId>) -> Result<(), Failure> {
        self.writing = false;
        self.give(last.map_or(CoordinatorInput::JournalFailed, CoordinatorInput::Durable))
    }

    /// The next record that lasts, with what the service says of it, which is told already.
    pub fn lasting(&mut self, index: u64) -> Option<(FleetRecord, Vec<LogEntry>)> {
        self.unspoken.front().filter(|record| record.index <= index)?;
        let record = self.unspoken.pop_front()?;
        let entries = self.service.lasting(&record);
        entries.iter().for_each(tell);
        Some((record, entries))
    }

    /// Asks for a lease, where there are a job and a worker for it. False: there are not.
    pub fn ask(&mut self) -> Result<bool, Failure> {
        if self.coordinator.fleet().state().counts().available == 0 {
            return Ok(false);
        }
        let Some((tag, acquire)) = self.service.ask(self.clock.now())? else { return Ok(false) };
        self.acquire(tag, acquire).map(|()| true)
    }

    fn acquire(&mut self, tag: RequestTag, acquire: Acquire) -> Result<(), Failure> {
        let client = ClientId::new("fleet-example").map_err(Failure::coded)?;
        let request = ServiceRequest::Acquire(Box::new(acquire));
        self.give(CoordinatorInput::Service { tag, client, sequence: None, request })
    }

    /// A request of the service outside of its turn. The answer is for the owner.
    pub fn request(
        &mut self,
        acquire: impl FnOnce(&Service, RequestTag, Now) -> Result<Acquire, Failure>,
    ) -> Result<RequestTag, Failure> {
        let tag = self.tag();
        let acquire = acquire(&self.service, tag, self.clock.now())?;
        self.acquire(tag, acquire).map(|()| tag)
    }

    /// An operator's command. The answer is for the owner.
    pub fn command(&mut self, command: OperatorCommand) -> Result<RequestTag, Failure> {
        let tag = self.tag();
        let client = ClientId::new(OPERATOR).map_err(Failure::coded)?;
        self.give(CoordinatorInput::Operator { tag, client, sequence: None, command }).map(|()| tag)
    }

    fn tag(&mut self) -> RequestTag {
        self.tags += 1;
        RequestTag(self.tags)
    }

    /// Registers a device by its certificate, unless it is registered.
    pub fn register(
        &mut self,
        device: DeviceId,
        kind: DeviceKind,
        certificate: &Bytes,
    ) -> Result<(), Failure> {
        let certificate = DeviceCertificate::from_der(&certificate.0).map_err(Failure::coded)?;
        let known = self.coordinator.fleet().state().devices().get(&device);
        let same = |other: &DeviceCertificate| other.fingerprint() == certificate.fingerprint();
        if known.is_some_and(|known| known.certificates().any(same)) {
            return Ok(());
        }
        let command = DeviceCommand::Register { device, kind, certificate };
        self.command(OperatorCommand::ManageDevice(ManageDevice::new(command))).map(drop)
    }

    /// Takes no more jobs; what runs is finished.
    pub fn drain(&mut self) {
        self.service.drain(self.clock.now().mono).iter().for_each(tell);
    }

    /// Reads the journal back as a coordinator that takes over would, and compares (invariant 8).
    pub fn close(mut self) -> Result<(), Failure> {
        let live = self.coordinator.fleet().state();
        let replay = self.journal.end(index_key(&self.entropy)?)?.replay()?;
        let epoch = self.epochs.next(live.epoch()).map_err(Failure::coded)?;
        let setup = setup(self.entropy, self.certificate);
        let recovered = replay.recover(setup, epoch, self.clock.now()).map_err(Failure::coded)?;
        if recovered.state().last_fence() <= live.last_fence() {
            // Invariant 2.
            tell(&LogEntry::Fault { message: "a recovered coordinator's fences are not larger".into() });
        }
        let (live, replayed) = (picture(live), picture(recovered.state()));
        tell(&LogEntry::Recovered { live, replayed });
        Ok(())
    }
}
