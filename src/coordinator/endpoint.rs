//! The coordinator: one enum in, one enum out, one drain.

use alloc::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    vec::Vec,
};

use super::{
    config::CoordinatorConfig,
    connection::Connection,
    held::{Held, To},
    inspect::Report,
    io::{CertificateId, ConnectionId, CoordinatorEvent, CoordinatorInput, CoordinatorOutput, InspectionId},
    pairing::{PairingPort, Stranger},
    worker::client_of,
};
use crate::{
    code::{self, Code, Coded as _},
    dispatch::Incarnation,
    fleet::{LeaseStage, Principal, WorkerFleetManager},
    gate::LeaseFeed,
    id::DeviceId,
    identity::DeviceKind,
    lease::{Fence, RelativePath, WorkerLease},
    protocol::{
        ProtocolError,
        chunk::{Chunk, Stream},
        endpoint::EndpointError,
        frame::FrameKind,
        message::{AnchorNotice, Document as _, GateMessage, NodeRequest, WorkerRequest},
    },
    time::{Millis, Mono, Now},
};

/// The server's endpoint. See the module page for its law.
///
/// A driver's loop, with a journal in memory and nobody connected yet:
///
/// ```
/// use leasehold::{
///     attestation::{AttestationPolicy, signature::DefaultVerifier},
///     coordinator::{Coordinator, CoordinatorConfig, CoordinatorInput, CoordinatorOutput},
///     digest::Sha256Digest,
///     fleet::{Setup, WorkerFleetManager, WorkerFleetPolicy, WorkerFleetPolicyForm},
///     lease::Epoch,
///     time::Now,
/// };
/// # let attestation = AttestationPolicy::from_json(br#"{"accept": ["dsse"], "times":
/// #     {"max_age_ms": 60000, "max_lifetime_ms": 3600000, "future_skew_ms": 2000, "expiry_skew_ms": 0}}"#)?;
/// # let policy = WorkerFleetPolicy::try_from(WorkerFleetPolicyForm::new("prod".parse()?, attestation))?;
/// # let setup = Setup::new([7; 64], Sha256Digest::of(b"certificate"), Box::new(DefaultVerifier));
/// let now = Now::new(0, 1_764_000_000_000);
/// let fleet = WorkerFleetManager::found(policy, setup, Epoch(1), now)?;
/// let mut coordinator = Coordinator::new(CoordinatorConfig::new(), fleet);
/// let mut journal = Vec::new();
/// loop {
///     match coordinator.poll() {
///         // Append, sync, and say so; outputs that rest on it come after.
///         CoordinatorOutput::Persist(batch) => {
///             journal.extend_from_slice(&batch.bytes);
///             let lasts = batch.last;
///             while !matches!(coordinator.poll(), CoordinatorOutput::Wait(_)) {}
///             coordinator.handle(CoordinatorInput::Durable(lasts), now)?;
///         }
///         // Nothing more: sleep until an input comes, or this deadline.
///         CoordinatorOutput::Wait(_deadline) => break,
///         // Send, Close, Answer, Artifact, Inspect, Event: carry them out.
///         _ => {}
///     }
/// }
/// assert!(!journal.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Coordinator {
    pub(super) config: CoordinatorConfig,
    pub(super) manager: WorkerFleetManager,
    pub(super) connections: BTreeMap<ConnectionId, Connection>,
    pub(super) by_device: BTreeMap<DeviceId, ConnectionId>,
    pub(super) timers: BTreeSet<(Mono, ConnectionId)>,
    pub(super) held: VecDeque<Held>,
    pub(super) out: VecDeque<CoordinatorOutput>,
    pub(super) drained: bool,
    pub(super) feed: LeaseFeed<ConnectionId>,
    /// Enforcement points that have fallen too far behind.
    pub(super) behind: Vec<ConnectionId>,
    pub(super) last_lease: BTreeMap<DeviceId, WorkerLease>,
    pub(super) holders: BTreeMap<Fence, DeviceId>,
    pub(super) inspections: BTreeMap<InspectionId, (To, Report)>,
    pub(super) next_inspection: u64,
    /// What devices are told of the certificates that follow. What it says lasts.
    pub(super) notice: Option<AnchorNotice>,
    pub(super) pairing: Option<PairingPort>,
    pub(super) strangers: BTreeMap<ConnectionId, Stranger>,
    pub(super) ended_streams: Vec<(DeviceId, Incarnation)>,
    pub(super) certificates: BTreeMap<CertificateId, To>,
    pub(super) next_certificate: u64,
    /// Everything up to this index lasts.
    pub(super) durable: u64,
    /// The batch that is on its way to the journal.
    persisting: Option<u64>,
    /// The registry's generation under which every connection was authenticated.
    pub(super) generation: u64,
    expire_at_once: bool,
    /// Deadlines could not be looked at: not before this instant again.
    expire_not_before: Mono,
    halted: bool,
    last: Mono,
}

impl Coordinator {
    /// A coordinator over `manager`, which was just founded or recovered. Poll it first: its epoch has to last.
    pub fn new(config: CoordinatorConfig, manager: WorkerFleetManager) -> Self {
        let state = manager.state();
        let authorising = |stage| matches!(stage, Some(LeaseStage::Assigned | LeaseStage::Running));
        let leases: Vec<_> =
            state.workers().filter_map(|view| Some((view.lease?, authorising(view.stage)))).collect();
        let live = leases.iter().filter_map(|(lease, live)| live.then_some(*lease));
        let feed = LeaseFeed::new(state.epoch(), live, config.feed_backlog);
        let last_lease = leases.iter().map(|(lease, _)| (lease.device.clone(), (*lease).clone())).collect();
        let holders = leases.iter().map(|(lease, _)| (lease.fence, lease.device.clone())).collect();
        let generation = state.devices().generation();
        let notice = AnchorNotice::of(state.nodes().anchors(), manager.certificate());
        let mut this = Self {
            config,
            connections: BTreeMap::new(),
            by_device: BTreeMap::new(),
            timers: BTreeSet::new(),
            held: VecDeque::new(),
            out: VecDeque::new(),
            drained: true,
            feed,
            behind: Vec::new(),
            last_lease,
            holders,
            inspections: BTreeMap::new(),
            next_inspection: 0,
            notice,
            pairing: None,
            strangers: BTreeMap::new(),
            ended_streams: Vec::new(),
            certificates: BTreeMap::new(),
            next_certificate: 0,
            durable: 0,
            persisting: None,
            generation,
            expire_at_once: false,
            expire_not_before: Mono::START,
            halted: false,
            last: Mono::START,
            manager,
        };
        this.persist();
        this
    }

    /// The fleet.
    pub const fn fleet(&self) -> &WorkerFleetManager {
        &self.manager
    }

    /// How many connections stand.
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// Takes one input. Work is bounded by the size of the input, and by the policy for deadlines; where the device
    /// registry has changed, by the number of connections.
    ///
    /// # Errors
    /// [`EndpointError`] where the law was broken; nothing has changed then. What a *peer* does wrong is no error
    /// here: it becomes [`CoordinatorOutput::Close`] with a code.
    pub fn handle(&mut self, input: CoordinatorInput<'_>, now: Now) -> Result<(), EndpointError> {
        if !self.drained {
            return Err(EndpointError::NotDrained);
        }
        if now.mono < self.last {
            return Err(EndpointError::TimeBackwards { last: self.last, now: now.mono });
        }
        self.last = now.mono;
        let outcome = self.take(input, now);
        self.turn(now);
        outcome
    }

    /// The next output. [`CoordinatorOutput::Wait`] ends the drain.
    pub fn poll(&mut self) -> CoordinatorOutput {
        match self.out.pop_front() {
            Some(output) => output,
            None => {
                self.drained = true;
                CoordinatorOutput::Wait(self.next_deadline())
            }
        }
    }

    /// When [`CoordinatorInput::Timeout`] is due. Changes with every `handle`.
    pub fn next_deadline(&self) -> Option<Mono> {
        if self.halted {
            return None;
        }
        if self.expire_at_once {
            return Some(self.last);
        }
        let timer = self.timers.first().map(|(at, _)| *at);
        let due = self.manager.next_deadline().map(|at| at.max(self.expire_not_before));
        [timer, due].into_iter().flatten().min()
    }

    fn take(&mut self, input: CoordinatorInput<'_>, now: Now) -> Result<(), EndpointError> {
        match input {
            CoordinatorInput::Connected { connection, leaf } => return self.connected(connection, leaf, now),
            CoordinatorInput::Stranger { connection } => return self.stranger(connection, now),
            CoordinatorInput::Received { connection, bytes } if self.strangers.contains_key(&connection) => {
                self.stranger_received(connection, bytes, now);
            }
            CoordinatorInput::Received { connection, bytes } => self.received(connection, bytes, now),
            CoordinatorInput::Sent { connection, bytes } => self.sent(connection, bytes, now),
            CoordinatorInput::Closed { connection } => {
                if !self.forget_stranger(connection) {
                    self.forget(connection);
                }
            }
            CoordinatorInput::Service { .. }
            | CoordinatorInput::Operator { .. }
            | CoordinatorInput::CompletePairing { .. }
                if self.held.len() >= self.config.max_held =>
            {
                return Err(EndpointError::Full);
            }
            CoordinatorInput::Service { tag, client, sequence, request } => {
                self.service(tag, client, sequence, request, now);
            }
            CoordinatorInput::Operator { tag, client, sequence, command } => {
                self.operator(tag, client, sequence, command, now);
            }
            CoordinatorInput::CompletePairing { tag, pairing, certificate } => {
                self.complete_pairing(tag, *pairing, certificate, now);
            }
            CoordinatorInput::Certificate { wanted, certificate } => {
                return self.certificate(wanted, certificate, now);
            }
            CoordinatorInput::Deliver { fence, path, content } => {
                return self.deliver(fence, path, content, now);
            }
            CoordinatorInput::Inspected { inspection, found } => {
                self.inspected(inspection, found, now);
            }
            CoordinatorInput::Durable(index) => {
                if self.persisting != Some(index) {
                    return Err(EndpointError::NotNow("no batch that ends with this index is on its way"));
                }
                self.persisting = None;
                self.durable = self.durable.max(index);
                self.manager.durable(index);
            }
            CoordinatorInput::JournalFailed => self.manager.journal_failed(),
            CoordinatorInput::Timeout => self.expire(now),
        }
        Ok(())
    }

    /// What every input is followed by: what lasts is handed out, what changed is persisted, told and checked.
    fn turn(&mut self, now: Now) {
        if self.manager.is_halted() {
            self.halt();
            return;
        }
        self.release(now);
        self.close_overdue(now);
        self.authenticate_again(now);
        self.end_streams(now);
        self.hand_over(now);
        self.pump(now);
        self.persist();
    }

    fn persist(&mut self) {
        if self.persisting.is_none()
            && let Some(batch) = self.manager.take_journal()
        {
            self.persisting = Some(batch.last);
            self.push(CoordinatorOutput::Persist(batch));
        }
    }

    /// Only recovery goes on: what is held is dropped, and every connection with it.
    fn halt(&mut self) {
        if self.halted {
            return;
        }
        self.halted = true;
        self.held.clear();
        self.out.retain(|output| !matches!(output, CoordinatorOutput::Answer { .. }));
        let open: Vec<_> = self.connections.keys().copied().collect();
        for id in open {
            self.close(id, code::FLEET_HALTED);
        }
        let strangers: Vec<_> = self.strangers.keys().copied().collect();
        for id in strangers {
            self.close_stranger(id, code::FLEET_HALTED);
        }
        self.ended_streams.clear();
        self.event(CoordinatorEvent::Halted);
    }

    fn expire(&mut self, now: Now) {
        self.expire_at_once = false;
        let due = self.manager.next_deadline().is_some_and(|at| at <= now.mono);
        if !due {
            return;
        }
        let Ok(prepared) = self.manager.expire(now) else {
            // A clock that cannot be believed stops deadlines and everything else alike. Try again, but not at once.
            self.expire_not_before = now.mono.plus(Millis(100));
            return;
        };
        let changes = !prepared.events().is_empty();
        if let Ok(ticket) = self.manager.accept(prepared) {
            self.held.push_back(Held::Expired(ticket));
        }
        self.expire_at_once = changes && self.manager.next_deadline().is_some_and(|at| at <= now.mono);
    }

    /// Requests that a device has credit for are handed over at once, not at the next timeout.
    fn hand_over(&mut self, now: Now) {
        if self.manager.state().nodes().dispatch().waits_to_be_sent() {
            self.expire(now);
        }
    }

    pub(super) const fn is_halted(&self) -> bool {
        self.halted
    }

    pub(super) fn refuse_connection(&mut self, connection: ConnectionId, code: Code) {
        self.push(CoordinatorOutput::Close { connection, code });
        self.event(CoordinatorEvent::Closed { connection, device: None, code });
    }

    fn connected(&mut self, id: ConnectionId, leaf: &[u8], now: Now) -> Result<(), EndpointError> {
        if self.connections.contains_key(&id) || self.strangers.contains_key(&id) {
            return Err(EndpointError::Connected);
        }
        if self.halted {
            self.refuse_connection(id, code::FLEET_HALTED);
            return Ok(());
        }
        let authenticated = match self.manager.authenticate(leaf, now) {
            Ok(authenticated) => authenticated,
            Err(error) => {
                self.refuse_connection(id, error.code());
                return Ok(());
            }
        };
        let (device, kind) = (authenticated.device().clone(), authenticated.record().kind());
        let certificate = authenticated.certificate().fingerprint();
        let rotated = authenticated.confirms_rotation();
        let Some(client) = client_of(&device) else {
            self.refuse_connection(id, code::CONNECTION_KIND);
            return Ok(());
        };
        // A handshake counts against the same allowance as challenges and evidence do.
        if let Err(error) = self.manager.admit(&device, now) {
            self.refuse_connection(id, error.code());
            return Ok(());
        }
        if let Some(former) = self.by_device.get(&device).copied() {
            self.close(former, code::CONNECTION_REPLACED);
        }
        if self.connections.len() >= self.config.max_connections {
            self.refuse_connection(id, code::CONNECTION_TOO_MANY);
            return Ok(());
        }
        self.by_device.insert(device.clone(), id);
        self.connections.insert(id, Connection::new(device.clone(), kind, certificate, client, now.mono));
        self.watch_certificate(id, now);
        if rotated {
            let principal = Principal::Device { device: device.clone(), certificate };
            self.confirm_use(&principal, now);
            self.event(CoordinatorEvent::RotationUsed { device: device.clone() });
        }
        self.event(CoordinatorEvent::Opened { connection: id, device, kind });
        Ok(())
    }

    fn received(&mut self, id: ConnectionId, mut bytes: &[u8], now: Now) {
        loop {
            // Bytes of a connection that was closed meanwhile are nobody's.
            let Some(connection) = self.connections.get_mut(&id) else { return };
            let frame = match connection.decoder.decode(&mut bytes) {
                Ok(Some(frame)) => frame,
                Ok(None) => {
                    if connection.decoder.is_partial() && connection.partial_since.is_none() {
                        connection.partial_since = Some(now.mono);
                    }
                    self.arm(id);
                    return;
                }
                Err(error) => return self.close(id, error.code()),
            };
            connection.heard = now.mono;
            connection.partial_since = None;
            let outcome =
                match (frame.kind, connection.kind) {
                    (FrameKind::Worker, DeviceKind::Worker) => WorkerRequest::read(&frame.body)
                        .and_then(|request| self.worker_request(id, request, now)),
                    (FrameKind::Chunk, DeviceKind::Worker) => Chunk::decode(&frame.body)
                        .map_err(ProtocolError::from)
                        .and_then(|chunk| self.chunk(id, chunk)),
                    (FrameKind::Node, DeviceKind::Worker | DeviceKind::DesktopNode) => {
                        NodeRequest::read(&frame.body).and_then(|request| self.node_request(id, request, now))
                    }
                    (FrameKind::Gate, DeviceKind::EgressProxy) => GateMessage::read(&frame.body)
                        .and_then(|message| self.gate_message(id, &message, now)),
                    _ => Err(ProtocolError::Direction),
                };
            if let Err(error) = outcome {
                return self.close(id, error.code());
            }
        }
    }

    fn sent(&mut self, id: ConnectionId, bytes: usize, now: Now) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.unsent = connection.unsent.saturating_sub(bytes);
            if bytes > 0 {
                connection.took = now.mono;
            }
            self.pump_deliveries(id, now);
        } else {
            self.stranger_sent(id, bytes);
        }
    }

    fn deliver(
        &mut self,
        fence: Fence,
        path: &RelativePath,
        content: &[u8],
        now: Now,
    ) -> Result<(), EndpointError> {
        const GONE: EndpointError = EndpointError::NotNow("nobody fetches the inputs of this lease");
        let id =
            self.holders.get(&fence).and_then(|device| self.by_device.get(device)).copied().ok_or(GONE)?;
        let connection = self.connections.get_mut(&id).ok_or(GONE)?;
        let (_, offsets) = connection.fetching.as_mut().filter(|(wanted, _)| *wanted == fence).ok_or(GONE)?;
        // Half of the bound stays for answers.
        if connection.unsent > self.config.max_unsent / 2 {
            return Err(EndpointError::Full);
        }
        let at = offsets.entry(path.clone()).or_default();
        let chunk = Chunk::new(fence, Stream::Input(path.clone()), *at, content)
            .map_err(|_| EndpointError::NotNow("a piece has at most MAX_CHUNK_BYTES"))?;
        *at = at.saturating_add(content.len() as u64);
        self.send_frame(id, FrameKind::Chunk, &chunk.encode(), now);
        Ok(())
    }
}
