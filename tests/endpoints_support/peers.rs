//! The workers and the gate of a simulated world: what a driver would do with an endpoint's events.

use leasehold::{
    agent::*,
    attestation::{EvidenceForm, ProtocolRange, WorkerClaims},
    code::Code,
    digest::Sha256Digest,
    fleet::RunOutcome,
    gate::{Gate, GateConfig, GateEvent, ViewRules},
    id::RunId,
    lease::*,
    protocol::endpoint::{Endpoint as _, Input},
    testing::World,
    time::{Millis, Mono, Now, Wall},
};

use super::{Host, Sim, WALL, coordinator_certificate, feed, leaf};

/// A time in which a run was really going on.
#[derive(Clone, Debug)]
pub struct Ran {
    pub run: RunId,
    pub fence: Fence,
    pub from: Mono,
    pub to: Option<Mono>,
}

/// A worker: its agent, and what it does for a living.
pub struct WorkerHost {
    pub n: usize,
    pub agent: Agent,
    pub lease: Option<Box<WorkerLease>>,
    /// The run that is going on, and when it will be over.
    pub doing: Option<(Fence, Mono)>,
    /// The run has been reported over.
    pub reported: bool,
    pub ran: Vec<Ran>,
    pub seen: Vec<AgentEvent>,
    pub takes: u64,
    /// What it sends back as `out/made`, and what it says that it sent.
    pub made: (Vec<u8>, Vec<u8>),
    pub image: Sha256Digest,
    /// Wants a pause before it answers a stop, as a real process would.
    pub got: Vec<u8>,
}

impl WorkerHost {
    pub fn new(n: usize, patience: Option<Millis>) -> Self {
        let worker = World::worker_id(u32::try_from(n).unwrap());
        let config = AgentConfig::new(worker, coordinator_certificate(), Wall(WALL));
        let config = patience.map_or(config.clone(), |patience| config.patience(patience));
        Self {
            n,
            agent: Agent::new(config),
            lease: None,
            doing: None,
            reported: false,
            ran: Vec::new(),
            seen: Vec::new(),
            takes: 2_000,
            made: (b"made".to_vec(), b"made".to_vec()),
            image: Sha256Digest::of(b"image"),
            got: Vec::new(),
        }
    }

    fn evidence(&self, nonce: &[u8], now: Now) -> Vec<u8> {
        let n = u32::try_from(self.n).unwrap();
        let claims = WorkerClaims {
            worker: World::worker_id(n),
            device: World::device_id(n),
            audience: leasehold::id::FleetId::new("fleet").unwrap(),
            image: self.image,
            build: Sha256Digest::of(b"build"),
            artifact: Sha256Digest::of(b"artifact"),
            protocol: ProtocolRange::new(1, 1).unwrap(),
            wit: Vec::new(),
            capabilities: World::capabilities("a"),
            authority: Sha256Digest::of(b"authority"),
            egress: None,
            nonce: nonce.to_vec(),
            issued: now.wall,
            expires: now.wall.plus(Millis::from_secs(600)),
            certificate: Sha256Digest::of(leaf(self.n)),
        };
        claims.to_document()
    }

    fn report(&self, fence: Fence, lease: Sha256Digest) -> WorkerCleanupReport {
        let gone = Removal { removed: 1, remaining: 0 };
        WorkerCleanupReport { fence, lease, workspace: gone, artifacts: gone, logs: gone, scratch: gone }
    }

    /// Gives the agent an input, and does what its events ask for, until nothing more comes.
    pub fn drive(&mut self, input: Input<'_, AgentAct>, now: Now) -> (Vec<u8>, bool) {
        let (mut sent, mut closed) = (Vec::new(), false);
        let (bytes, events, close) = feed(&mut self.agent, input, now);
        sent.extend(bytes);
        closed |= close.is_some();
        let mut queue = std::collections::VecDeque::from(events);
        while let Some(event) = queue.pop_front() {
            self.seen.push(event.clone());
            for act in self.react(event, now) {
                let (bytes, events, close) = feed(&mut self.agent, Input::Act(act), now);
                sent.extend(bytes);
                closed |= close.is_some();
                queue.extend(events);
            }
        }
        (sent, closed)
    }

    fn upload(&self, fence: Fence) -> Vec<AgentAct> {
        let path = RelativePath::new("out/made").unwrap();
        let mut acts = Vec::new();
        for piece in self.made.0.chunks(3) {
            acts.push(AgentAct::Output { fence, path: path.clone(), content: piece.to_vec() });
        }
        acts.push(AgentAct::Log { fence, content: b"log\n".to_vec() });
        acts
    }

    fn finished(&self, fence: Fence) -> AgentAct {
        let made = Artifact::of(RelativePath::new("out/made").unwrap(), &self.made.1);
        let claim =
            OutputClaim { outputs: ArtifactManifest::new([made]).unwrap(), log: Sha256Digest::of(b"log\n") };
        AgentAct::Finished { fence, outcome: RunOutcome::Succeeded, claim }
    }

    fn stop(&mut self, now: Mono) {
        self.doing = None;
        if let Some(ran) = self.ran.last_mut().filter(|ran| ran.to.is_none()) {
            ran.to = Some(now);
        }
    }

    fn react(&mut self, event: AgentEvent, now: Now) -> Vec<AgentAct> {
        match event {
            AgentEvent::Challenged { nonce, .. } => {
                let evidence = self.evidence(&nonce, now);
                vec![AgentAct::Evidence {
                    nonce,
                    form: EvidenceForm::Json,
                    evidence,
                    attachments: Vec::new(),
                }]
            }
            AgentEvent::Assigned { lease } => {
                self.lease = Some(lease);
                self.reported = false;
                self.got.clear();
                Vec::new()
            }
            AgentEvent::Input { content, .. } => {
                self.got.extend(content);
                Vec::new()
            }
            AgentEvent::Ready { fence } => vec![AgentAct::Start { fence }],
            AgentEvent::Run { fence, until } => {
                assert!(until > now.mono && self.doing.is_none());
                let lease = self.lease.as_ref().filter(|lease| lease.fence == fence).unwrap();
                let run = lease.terms.run.clone();
                self.ran.push(Ran { run, fence, from: now.mono, to: None });
                self.doing = Some((fence, now.mono.plus(Millis(self.takes))));
                Vec::new()
            }
            AgentEvent::Stop { fence, .. } => {
                self.stop(now.mono);
                let digest = self.lease.as_ref().filter(|lease| lease.fence == fence).unwrap().digest();
                // Sometimes it has cleaned up by then, sometimes not.
                let cleanup = (fence.counter % 2 == 0).then(|| self.report(fence, digest));
                vec![AgentAct::Stopped { fence, cleanup }]
            }
            AgentEvent::UploadAgain { fence } => {
                let mut acts = Vec::new();
                if self.reported {
                    acts.extend(self.upload(fence));
                    acts.push(self.finished(fence));
                }
                acts
            }
            AgentEvent::CleanUp { fence, lease } => {
                self.stop(now.mono);
                vec![AgentAct::Cleaned { report: self.report(fence, lease) }]
            }
            _ => Vec::new(),
        }
    }

    /// The run that is going on is over: outputs, log, and the word that it is.
    fn work(&mut self, now: Now) -> (Vec<u8>, bool) {
        let (mut sent, mut closed) = (Vec::new(), false);
        if let Some((fence, _)) = self.doing.filter(|(_, end)| now.mono >= *end) {
            self.stop(now.mono);
            self.reported = true;
            let mut acts = self.upload(fence);
            acts.push(self.finished(fence));
            for act in acts {
                let (bytes, close) = self.drive(Input::Act(act), now);
                sent.extend(bytes);
                closed |= close;
            }
        }
        (sent, closed)
    }
}

/// An enforcement point.
pub struct GateHost {
    pub gate: Gate,
    pub seen: Vec<GateEvent>,
}

impl GateHost {
    pub fn new() -> Self {
        let rules = ViewRules::new(Millis(2_000), Millis(500), 100).unwrap();
        Self { gate: Gate::new(GateConfig::new(coordinator_certificate(), rules)), seen: Vec::new() }
    }

    pub fn check(&self, fence: Fence, now: Now) -> Result<(), Code> {
        use leasehold::code::Coded as _;
        self.gate.check(fence, now).map(drop).map_err(|error| error.code())
    }

    fn drive(&mut self, input: Input<'_, leasehold::gate::GateAct>, now: Now) -> (Vec<u8>, bool) {
        let (bytes, events, close) = feed(&mut self.gate, input, now);
        self.seen.extend(events);
        (bytes, close.is_some())
    }
}

impl Default for GateHost {
    fn default() -> Self {
        Self::new()
    }
}

impl Host {
    pub fn connected(&mut self, peer: Sha256Digest, now: Now) -> (Vec<u8>, bool) {
        match self {
            Self::Worker(worker) => worker.drive(Input::Connected { peer }, now),
            Self::Gate(gate) => gate.drive(Input::Connected { peer }, now),
        }
    }

    pub fn give(&mut self, bytes: Option<&[u8]>, now: Now) -> (Vec<u8>, bool) {
        match (self, bytes) {
            (Self::Worker(worker), Some(bytes)) => worker.drive(Input::Received(bytes), now),
            (Self::Worker(worker), None) => worker.drive(Input::Closed, now),
            (Self::Gate(gate), Some(bytes)) => gate.drive(Input::Received(bytes), now),
            (Self::Gate(gate), None) => gate.drive(Input::Closed, now),
        }
    }

    pub fn tick(&mut self, now: Now) -> (Vec<u8>, bool) {
        match self {
            Self::Worker(worker) => {
                let (mut sent, mut closed) = worker.drive(Input::Timeout, now);
                let (more, close) = worker.work(now);
                sent.extend(more);
                closed |= close;
                (sent, closed)
            }
            Self::Gate(gate) => gate.drive(Input::Timeout, now),
        }
    }

    pub fn next_deadline(&self) -> Option<Mono> {
        match self {
            Self::Worker(worker) => {
                let done = worker.doing.map(|(_, end)| end);
                worker.agent.next_deadline().into_iter().chain(done).min()
            }
            Self::Gate(gate) => gate.gate.next_deadline(),
        }
    }
}

impl Sim {
    /// No run was ever going on at two workers at once (invariant 1), by the workers' own account.
    pub fn assert_no_run_twice_at_once(&mut self) {
        let mut ran: Vec<Ran> = Vec::new();
        for host in 0..2 {
            ran.extend(self.worker(host).ran.clone());
        }
        for (at, one) in ran.iter().enumerate() {
            for other in ran.iter().skip(at + 1).filter(|other| other.run == one.run) {
                let (first, second) = if one.fence < other.fence { (one, other) } else { (other, one) };
                assert!(first.to.is_some_and(|to| to <= second.from), "{first:?} and {second:?}");
            }
        }
    }
}
