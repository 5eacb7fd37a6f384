//! What a coordinator is made of, and what every part of it does alike: events, bytes on their way out, the end of a
//! connection.

use alloc::{
    boxed::Box,
    collections::{BTreeMap, VecDeque},
    vec::Vec,
};

use super::{
    config::CoordinatorConfig,
    connection::Peer,
    connections::Connections,
    io::{CertificateId, ConnectionId, CoordinatorEvent, CoordinatorOutput, InspectionId},
    leases::LastLeases,
    port::PairingPort,
    replies::{Pending, To},
    report::Report,
    round::Round,
    subscribers::Subscribers,
};
use crate::{
    code::{self, Code, Coded as _},
    dispatch::Incarnation,
    fleet::{LeaseStage, LogId, WorkerFleetManager},
    id::DeviceId,
    protocol::{
        ProtocolError,
        frame::{self, FrameKind},
        message::{AnchorNotice, Document, Rhythm},
    },
    time::{Millis, Mono, Now},
};

/// An output on its way to be polled.
#[derive(Debug)]
pub(super) enum Out {
    Whole(Box<CoordinatorOutput>),
    /// The next bytes of a connection, if it is still there.
    Bytes(ConnectionId),
}

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
    pub(super) connections: Connections,
    pub(super) round: Round,
    pub(super) pending: VecDeque<Pending>,
    pub(super) out: VecDeque<Out>,
    pub(super) drained: bool,
    pub(super) subscribers: Subscribers,
    pub(super) leases: LastLeases,
    pub(super) inspections: BTreeMap<InspectionId, (To, Report)>,
    pub(super) next_inspection: u64,
    /// What devices are told of the certificates that follow, and its number. What it says lasts.
    pub(super) notice: (Option<AnchorNotice>, u64),
    pub(super) pairing: Option<PairingPort>,
    pub(super) ended_streams: VecDeque<(DeviceId, Incarnation)>,
    pub(super) certificates: BTreeMap<CertificateId, To>,
    pub(super) next_certificate: u64,
    /// Everything up to this index lasts.
    pub(super) durable: u64,
    /// The batch that is on its way to the journal.
    pub(super) persisting: Option<LogId>,
    pub(super) expire_at_once: bool,
    /// Deadlines could not be looked at: not before this instant again.
    pub(super) expire_not_before: Mono,
    pub(super) halted: bool,
    pub(super) last: Mono,
}

impl Coordinator {
    /// A coordinator over `manager`, which was just founded or recovered. Poll it first: its epoch has to last.
    pub fn new(config: CoordinatorConfig, manager: WorkerFleetManager) -> Self {
        let state = manager.state();
        let authorising = |stage| matches!(stage, Some(LeaseStage::Assigned | LeaseStage::Running));
        let leases: Vec<_> =
            state.workers().filter_map(|view| Some((view.lease?, authorising(view.stage)))).collect();
        let live = leases.iter().filter_map(|(lease, live)| live.then_some(*lease));
        let subscribers = Subscribers::new(state.epoch(), live, config.feed_backlog);
        let leases = LastLeases::new(leases.iter().map(|(lease, _)| *lease));
        let notice = (AnchorNotice::of(state.nodes().anchors(), manager.certificate()), 1);
        let mut this = Self {
            config,
            connections: Connections::new(&config),
            round: Round::new(state.devices().generation()),
            pending: VecDeque::new(),
            out: VecDeque::new(),
            drained: true,
            subscribers,
            leases,
            inspections: BTreeMap::new(),
            next_inspection: 0,
            notice,
            pairing: None,
            ended_streams: VecDeque::new(),
            certificates: BTreeMap::new(),
            next_certificate: 0,
            durable: 0,
            persisting: None,
            expire_at_once: false,
            expire_not_before: Mono::START,
            halted: false,
            last: Mono::START,
            manager,
        };
        this.follow_policy();
        this.persist();
        this
    }

    /// The fleet.
    pub const fn fleet(&self) -> &WorkerFleetManager {
        &self.manager
    }

    /// Ends the coordinator, and gives the fleet back, to [step down](WorkerFleetManager::step_down) as a replica. What it
    /// held for its peers is dropped: nothing of that lasts, or it is told again when it is asked for again.
    pub fn into_fleet(self) -> WorkerFleetManager {
        self.manager
    }

    /// How many connections of authenticated devices stand.
    pub fn connections(&self) -> usize {
        self.connections.devices()
    }

    /// The rhythm that workers keep to under the policy in force.
    pub(super) fn rhythm(&self) -> Rhythm {
        let policy = self.manager.state().policy();
        Rhythm {
            heartbeat_every: policy.liveness.heartbeat_every_ms,
            renew_every: policy.lease.renew_every_ms,
            clock_budget: policy.lease.clock_budget_ms,
            start_within: policy.lease.start_ms,
        }
    }

    /// The policy may be another one: a device may say nothing for three of the heartbeats that it has devices send at
    /// least, or for two of the questions of an enforcement point.
    pub(super) fn follow_policy(&mut self) {
        let rhythm = self.rhythm();
        if self.round.rhythm != Some(rhythm) {
            let heartbeats = Millis(rhythm.heartbeat_every.0.saturating_mul(3));
            let staleness = self.manager.state().policy().lease.max_staleness_ms;
            let questions = Millis(staleness.0.saturating_mul(2));
            self.connections.set_silence(self.config.silence.max(heartbeats).max(questions));
            self.round.rhythm = Some(rhythm);
            self.round.begin();
        }
    }

    pub(super) fn persist(&mut self) {
        if self.persisting.is_none()
            && let Some(batch) = self.manager.take_journal()
        {
            self.persisting = Some(batch.last);
            self.push(CoordinatorOutput::Persist(batch));
        }
    }

    pub(super) fn push(&mut self, output: CoordinatorOutput) {
        self.drained = false;
        self.out.push_back(Out::Whole(Box::new(output)));
    }

    pub(super) fn event(&mut self, event: CoordinatorEvent) {
        self.push(CoordinatorOutput::Event(event));
    }

    pub(super) fn send<D: Document>(&mut self, id: ConnectionId, document: &D, now: Now) {
        let mut bytes = Vec::new();
        match document.write(&mut bytes) {
            Ok(()) => self.send_bytes(id, bytes, now),
            Err(error) => self.close(id, error.code()),
        }
    }

    pub(super) fn send_frame(&mut self, id: ConnectionId, kind: FrameKind, body: &[u8], now: Now) {
        let mut bytes = Vec::new();
        match frame::encode(kind, body, &mut bytes).map_err(ProtocolError::from) {
            Ok(()) => self.send_bytes(id, bytes, now),
            Err(error) => self.close(id, error.code()),
        }
    }

    fn send_bytes(&mut self, id: ConnectionId, bytes: Vec<u8>, now: Now) {
        if !self.connections.contains(id) {
            return;
        }
        match self.connections.queue(id, bytes, now.mono) {
            Ok(()) => {
                self.drained = false;
                self.out.push_back(Out::Bytes(id));
                self.keep_budget();
            }
            Err(code) => self.close(id, code),
        }
    }

    /// Closes connections that have held something for longest while all of them hold more than they may.
    pub(super) fn keep_budget(&mut self) {
        while let Some(id) = self.connections.over_budget() {
            self.close(id, code::CONNECTION_BUDGET);
        }
    }

    /// Forgets a connection. Nothing for it leaves any more.
    pub(super) fn forget(&mut self, id: ConnectionId) -> Option<Peer> {
        let peer = self.connections.remove(id)?;
        if let Peer::Device(device) = &peer {
            if let Some(incarnation) = device.node.stream {
                self.ended_streams.push_back((device.device.clone(), incarnation));
            }
            if let Some(wanted) = device.node.rotating {
                self.certificates.remove(&wanted);
            }
            for inspection in &device.inspections {
                self.inspections.remove(inspection);
            }
            self.subscribers.unsubscribe(id);
            self.forget_lease(&device.device);
        }
        Some(peer)
    }

    /// Closes a connection from this side.
    pub(super) fn close(&mut self, id: ConnectionId, code: Code) {
        if let Some(peer) = self.forget(id) {
            let device = match peer {
                Peer::Device(peer) => Some(peer.device),
                Peer::Stranger(_) => None,
            };
            self.push(CoordinatorOutput::Close { connection: id, code });
            self.event(CoordinatorEvent::Closed { connection: id, device, code });
        }
    }

    /// Counts a request that is going to be answered. False: too many wait, and the connection is closed.
    pub(super) fn count_request(&mut self, id: ConnectionId) -> bool {
        let full =
            self.pending.len() >= self.config.max_held || self.inspections.len() >= self.config.max_held;
        let most = self.config.max_in_flight;
        let Some(connection) = self.connections.get_mut(id) else { return false };
        if full || connection.in_flight >= most {
            self.close(id, code::CONNECTION_TOO_FAST);
            return false;
        }
        connection.in_flight = connection.in_flight.saturating_add(1);
        true
    }

    /// Refuses a connection that was never taken in.
    pub(super) fn refuse_connection(&mut self, connection: ConnectionId, code: Code) {
        self.push(CoordinatorOutput::Close { connection, code });
        self.event(CoordinatorEvent::Closed { connection, device: None, code });
    }

    /// The last lease of a device is of no more use where its worker holds nothing and owes nothing.
    pub(super) fn forget_lease(&mut self, device: &DeviceId) {
        let view = self.manager.state().worker_of(device);
        if view.is_none_or(|view| view.lease.is_none() && view.owes.is_none()) {
            self.leases.forget(device);
        }
    }
}
