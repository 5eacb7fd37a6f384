//! Any bytes as what a paired device, its coordinator and a stranger send each other over the endpoints.
//!
//! A finding is a panic: a document with two encodings, a broken invariant, a request that ends twice.
#![allow(clippy::unwrap_used)]

use alloc::{boxed::Box, collections::BTreeMap, vec::Vec};

use super::samples::{leaf, request, text};
use crate::{
    agent::{NodeAct, NodeAgent, NodeAgentConfig, NodeAgentEvent},
    attestation::{AttestationPolicy, signature::DefaultVerifier},
    capability::{CapabilityName, CapabilitySet},
    coordinator::{
        ConnectionId, Coordinator, CoordinatorConfig, CoordinatorInput, CoordinatorOutput, OperatorCommand,
        PairingPort, RequestTag, ServiceRequest,
    },
    digest::{FieldHasher, Sha256Digest},
    dispatch::{
        DeviceMessage, DispatchCommand, EnqueueRequest, Incarnation, MediationStep, Outcome, Payload,
        RequestState, Target,
    },
    fleet::{
        Enqueue, ManageAnchors, ManageDevice, OrderDispatch, Setup, WorkerFleetManager, WorkerFleetPolicy,
        WorkerFleetPolicyForm,
    },
    id::{ClientId, DeviceId, FleetId},
    identity::{
        AnchorCommand, AnchorRole, Announcement, DeviceCertificate, DeviceCommand, DeviceKind,
        PinnedCertificate, RevocationReason, RevocationSubject,
    },
    lease::Epoch,
    protocol::{
        endpoint::{Endpoint, Input, Output},
        frame::{FrameKind, encode},
        message::{Document, NodeMessage, NodeRequest},
    },
    shell::{Entropy, EntropyError},
    time::{Millis, Now, Wall},
};

/// Acts of one input, at most.
const MAX_ACTS: usize = 96;

struct Counter(u64);

impl Entropy for Counter {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        self.0 += 1;
        let block = FieldHasher::new("fuzz.entropy").number(self.0).finish();
        for (to, from) in bytes.iter_mut().zip(block.as_bytes().iter().cycle()) {
            *to = *from;
        }
        Ok(())
    }
}

fn cam() -> CapabilitySet {
    CapabilitySet::parse(["cam", "mic"]).unwrap()
}

struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn bytes(&mut self) -> &'a [u8] {
        let length = usize::from(self.byte()).min(self.0.len());
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        taken
    }
}

struct Story {
    now: Now,
    coordinator: Coordinator,
    agent: NodeAgent,
    incarnation: u64,
    connection: Option<u64>,
    next: u64,
    down: Vec<Vec<u8>>,
    sequence: u64,
    ends: BTreeMap<u64, RequestState>,
}

fn agent(incarnation: u64) -> NodeAgent {
    NodeAgent::new(NodeAgentConfig::new(certificate(), Incarnation(incarnation), cam(), 2))
}

fn certificate() -> Sha256Digest {
    Sha256Digest::of(b"coordinator")
}

impl Story {
    fn new() -> Self {
        let attestation = AttestationPolicy::from_json(
            br#"{"accept": ["dsse"], "times": {"max_age_ms": 60000, "max_lifetime_ms": 3600000,
                "future_skew_ms": 2000, "expiry_skew_ms": 0}}"#,
        );
        let fleet = text(|name| FleetId::new(name).ok(), "fleet");
        let mut form = WorkerFleetPolicyForm::new(fleet, attestation.unwrap());
        form.dispatch.mediated = CapabilitySet::parse(["mic"]).unwrap();
        form.dispatch.max_requests = 5;
        form.dispatch.retention_ms = Millis(5_000);
        form.limits.admission_per_device = u32::MAX;
        let policy = WorkerFleetPolicy::try_from(form).unwrap();
        let now = Now::new(1_000, 1_764_000_000_000);
        let setup = Setup::new([7; 64], certificate(), Box::new(DefaultVerifier));
        let manager = WorkerFleetManager::found(policy, setup, Epoch(1), now).unwrap();
        let coordinator = Coordinator::new(CoordinatorConfig::new(), manager)
            .with_pairing(PairingPort::new(Box::new(Counter(0))));
        let mut story = Self {
            now,
            coordinator,
            agent: agent(1),
            incarnation: 1,
            connection: None,
            next: 0,
            down: Vec::new(),
            sequence: 1_000_000,
            ends: BTreeMap::new(),
        };
        story.drain();
        let certificate = DeviceCertificate::from_der(&leaf()).unwrap();
        let kind = DeviceKind::DesktopNode;
        let register = DeviceCommand::Register { device: Self::device(), kind, certificate };
        story.operator(OperatorCommand::ManageDevice(ManageDevice::new(register)));
        let order = DispatchCommand::Grant { device: Self::device(), capabilities: cam() };
        story.operator(OperatorCommand::OrderDispatch(OrderDispatch { order }));
        story.reconnect();
        story
    }

    fn device() -> DeviceId {
        text(|name| DeviceId::new(name).ok(), "desk")
    }

    fn client(name: &str) -> ClientId {
        text(|name| ClientId::new(name).ok(), name)
    }

    fn handle(&mut self, input: CoordinatorInput<'_>) {
        let _ = self.coordinator.handle(input, self.now);
        self.drain();
    }

    fn drain(&mut self) {
        let (mut lasts, mut sent) = (None, Vec::new());
        loop {
            match self.coordinator.poll() {
                CoordinatorOutput::Send { connection, bytes } => {
                    sent.push((connection, bytes.len()));
                    if self.connection == Some(connection.0) {
                        self.down.push(bytes);
                    }
                }
                CoordinatorOutput::Close { connection, .. } if self.connection == Some(connection.0) => {
                    self.connection = None;
                    self.down.clear();
                    self.tell(Input::Closed);
                }
                CoordinatorOutput::Persist(batch) => lasts = Some(batch.last),
                CoordinatorOutput::Wait(_) => break,
                _ => {}
            }
        }
        for (connection, bytes) in sent {
            self.handle(CoordinatorInput::Sent { connection, bytes });
        }
        if let Some(index) = lasts {
            self.handle(CoordinatorInput::Durable(index));
        }
    }

    fn operator(&mut self, command: OperatorCommand) {
        let (tag, client) = (RequestTag(0), Self::client("operator"));
        self.handle(CoordinatorInput::Operator { tag, client, sequence: None, command });
    }

    fn reconnect(&mut self) {
        if let Some(id) = self.connection.take() {
            self.down.clear();
            self.handle(CoordinatorInput::Closed { connection: ConnectionId(id) });
            self.tell(Input::Closed);
        }
        self.next += 1;
        self.connection = Some(self.next);
        self.handle(CoordinatorInput::Connected { connection: ConnectionId(self.next), leaf: &leaf() });
        if self.connection.is_some() {
            self.tell(Input::Connected { peer: certificate() });
            self.carry();
        }
    }

    /// Gives the agent an input, and the coordinator what comes of it. Half of what is to be executed ends at once.
    fn tell(&mut self, input: Input<'_, NodeAct>) {
        if self.agent.handle(input, self.now).is_err() {
            return;
        }
        let (mut up, mut acts) = (Vec::new(), Vec::new());
        loop {
            match self.agent.poll() {
                Output::Send(bytes) => up.push(bytes),
                Output::Event(NodeAgentEvent::Execute(delivery)) if delivery.number.is_multiple_of(2) => {
                    let outcome = Outcome::Succeeded(delivery.payload);
                    acts.push(NodeAct::Finished { request: delivery.request, outcome });
                }
                Output::Event(NodeAgentEvent::AskPerson(request)) => {
                    acts.push(NodeAct::Mediated { request, approved: true });
                }
                Output::Close(_) => self.hang_up(),
                Output::Event(_) => {}
                Output::Wait(_) => break,
            }
        }
        for bytes in up {
            let Some(id) = self.connection else { break };
            self.handle(CoordinatorInput::Received { connection: ConnectionId(id), bytes: &bytes });
        }
        for act in acts {
            self.tell(Input::Act(act));
        }
    }

    fn hang_up(&mut self) {
        if let Some(id) = self.connection.take() {
            self.down.clear();
            self.handle(CoordinatorInput::Closed { connection: ConnectionId(id) });
        }
    }

    /// Carries what waits to the agent.
    fn carry(&mut self) {
        for _ in 0..32 {
            if self.down.is_empty() {
                return;
            }
            let bytes = core::mem::take(&mut self.down).concat();
            self.tell(Input::Received(&bytes));
        }
    }

    fn raw(&mut self, bytes: &[u8]) {
        if let Some(id) = self.connection {
            self.handle(CoordinatorInput::Received { connection: ConnectionId(id), bytes });
        }
    }

    fn frame(&mut self, kind: FrameKind, body: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode(kind, body, &mut bytes).unwrap();
        bytes
    }

    /// A well-formed message with fields that fit nothing in particular.
    fn plausible(&mut self, script: &mut Script<'_>) {
        let incarnation = Incarnation(u64::from(script.byte() % 4));
        let (request, attempt) = (request(script.byte()), u32::from(script.byte() % 4));
        let message = match script.byte() % 6 {
            0 => DeviceMessage::Heartbeat { incarnation },
            1 => DeviceMessage::Window { incarnation, window: u32::from(script.byte()) },
            2 => DeviceMessage::Connect { incarnation, claims: cam(), window: u32::from(script.byte() % 20) },
            3 => {
                let steps = [MediationStep::Awaiting, MediationStep::Approved, MediationStep::Denied];
                let step = steps[usize::from(script.byte()) % 3];
                DeviceMessage::Mediation { incarnation, request, attempt, step }
            }
            4 => {
                let outcome = [Outcome::Lost, Outcome::Refused, Outcome::TooLarge];
                let outcome = outcome[usize::from(script.byte()) % 3].clone();
                DeviceMessage::Answer { incarnation, request, attempt, outcome }
            }
            _ => {
                let outcome = Outcome::Succeeded(Payload::new(script.bytes()));
                DeviceMessage::Answer { incarnation, request, attempt, outcome }
            }
        };
        self.sequence += 1;
        let mut bytes = Vec::new();
        let request = NodeRequest { sequence: self.sequence, message: NodeMessage::Tell(message) };
        request.write(&mut bytes).unwrap();
        self.raw(&bytes);
    }

    fn enqueue(&mut self, script: &mut Script<'_>) {
        let name = if script.byte().is_multiple_of(3) { "mic" } else { "cam" };
        let ask = EnqueueRequest {
            request: request(script.byte()),
            target: Target::Any,
            capability: text(|name| CapabilityName::new(name).ok(), name),
            payload: Payload::new(script.bytes()),
            result_limit: u32::from(script.byte()),
            ttl_ms: Millis(u64::from(script.byte()) * 50),
        };
        let (tag, client) = (RequestTag(0), Self::client("service"));
        let request = ServiceRequest::Enqueue(Box::new(Enqueue { ask }));
        self.handle(CoordinatorInput::Service { tag, client, sequence: None, request });
    }

    fn order(&mut self, script: &mut Script<'_>) {
        let device = Self::device();
        let subject = RevocationSubject::Device(device.clone());
        let dispatch = |order| OperatorCommand::OrderDispatch(OrderDispatch { order });
        let command = match script.byte() % 8 {
            0 => dispatch(DispatchCommand::Quarantine { device }),
            1 => dispatch(DispatchCommand::Drain { device }),
            2 => dispatch(DispatchCommand::Undrain { device }),
            3 => dispatch(DispatchCommand::Grant { device, capabilities: cam() }),
            4 => OperatorCommand::ManageDevice(ManageDevice::new(DeviceCommand::Revoke {
                subject,
                reason: RevocationReason::Operator,
            })),
            6 => Self::anchors(script),
            _ => {
                self.operator(dispatch(DispatchCommand::Release { device }));
                let clear = DeviceCommand::ClearRevocation { subject };
                OperatorCommand::ManageDevice(ManageDevice::new(clear))
            }
        };
        self.operator(command);
        self.reconnect();
        // Nobody has presented another certificate, so whatever was said, this one is believed.
        assert!(self.agent.anchors().get(&certificate()).is_some());
    }

    /// What an operator says of the certificates that follow.
    fn anchors(script: &mut Script<'_>) -> OperatorCommand {
        let (by, role) = (certificate(), AnchorRole::Coordinator);
        let fingerprint = Sha256Digest::of(&[script.byte() % 3]);
        let command = match script.byte() % 4 {
            0 => AnchorCommand::Pin { role, certificate: PinnedCertificate::Fingerprint(by) },
            1 => AnchorCommand::Withdraw { by, fingerprint },
            2 => AnchorCommand::ConfirmUse { fingerprint },
            _ => {
                let end = Wall(1_764_000_000_000 + u64::from(script.byte()) * 1_000);
                let next = DeviceCertificate::new(fingerprint, by, Wall(0), end).unwrap();
                AnchorCommand::Announce { by, announcement: Announcement { role, succeeds: by, next } }
            }
        };
        OperatorCommand::ManageAnchors(ManageAnchors::new(command))
    }

    fn step(&mut self, script: &mut Script<'_>) {
        match script.byte() % 12 {
            0 => {
                let bytes = script.bytes();
                self.raw(bytes);
            }
            1 => {
                let body = script.bytes();
                let bytes = self.frame(FrameKind::Node, body);
                self.raw(&bytes);
            }
            2 => self.plausible(script),
            3 | 4 => self.enqueue(script),
            5 => {
                self.now = self.now.plus(Millis(u64::from(script.byte()) * 100));
                self.handle(CoordinatorInput::Timeout);
                self.tell(Input::Timeout);
            }
            6 => self.reconnect(),
            7 => {
                self.hang_up();
                self.incarnation += 1;
                self.agent = agent(self.incarnation);
                self.reconnect();
            }
            8 => {
                let bytes = self.frame(FrameKind::Dispatch, script.bytes());
                self.tell(Input::Received(&bytes));
            }
            9 => {
                let request = request(script.byte());
                self.tell(Input::Act(NodeAct::Finished { request, outcome: Outcome::Lost }));
            }
            10 => self.order(script),
            _ => {
                self.next += 1;
                let connection = ConnectionId(self.next);
                self.handle(CoordinatorInput::Stranger { connection });
                let bytes = script.bytes();
                self.handle(CoordinatorInput::Received { connection, bytes });
                let bytes = self.frame(FrameKind::Pairing, bytes);
                self.handle(CoordinatorInput::Received { connection, bytes: &bytes });
                self.handle(CoordinatorInput::Closed { connection });
            }
        }
        if self.connection.is_none() {
            self.reconnect();
        }
        self.carry();
    }

    /// Every invariant, and that what has ended stays as it ended (invariant 14).
    fn check(&mut self) {
        let state = self.coordinator.fleet().state();
        state.check_invariants().unwrap();
        assert!(!self.coordinator.fleet().is_halted());
        for record in state.nodes().dispatch().records() {
            if record.state().is_final() {
                let first = *self.ends.entry(record.number()).or_insert(record.state());
                assert_eq!(first, record.state(), "invariant 14");
            }
        }
    }
}

/// A paired device's connection on which anything is said, in the middle of real traffic.
pub fn dispatch_frames(bytes: &[u8]) {
    super::fuzz_frames::frames(bytes);
    let mut script = Script(bytes);
    let mut story = Story::new();
    for _ in 0..MAX_ACTS {
        if script.0.is_empty() {
            break;
        }
        story.step(&mut script);
        story.check();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The set-up is sound: requests are executed and answered, so that what is damaged was whole before.
    #[test]
    fn the_story_of_the_fuzz_body_comes_to_the_point() {
        let mut story = Story::new();
        assert!(story.agent.is_streaming());
        for (n, name) in [(0, "mic"), (1, "cam"), (2, "mic")] {
            story.enqueue(&mut Script(&[u8::from(name == "cam"), n, 4, 1, 2, 3, 4, 64, 100]));
            story.carry();
        }
        let ended =
            |n| story.coordinator.fleet().state().nodes().dispatch().record(&request(n)).unwrap().state();
        let ends = [ended(0), ended(1), ended(2)];
        assert!(ends.contains(&RequestState::Succeeded), "{ends:?}");
        assert!(ends.contains(&RequestState::Dispatched), "{ends:?}");
    }
}
