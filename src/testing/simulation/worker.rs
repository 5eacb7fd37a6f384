//! A worker: the real agent, and what a driver does with its events. Jobs take time, and time to die.

use alloc::{boxed::Box, collections::VecDeque, vec::Vec};

use super::{clocks::LocalClock, random::Random, terms};
use crate::{
    agent::{Agent, AgentAct, AgentConfig, AgentEvent},
    attestation::EvidenceForm,
    digest::Sha256Digest,
    fleet::RunOutcome,
    id::{FleetId, RunId},
    lease::{
        Artifact, ArtifactManifest, Epoch, Fence, OutputClaim, RelativePath, Removal, WorkerCleanupReport,
        WorkerLease,
    },
    protocol::endpoint::{Endpoint as _, Input, Output},
    testing::World,
    time::{Millis, Mono, Now},
};

/// What a worker's jobs are like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Habits {
    /// The longest that a job takes.
    pub(super) longest_job: Millis,
    /// The longest that a job goes on after it was told to stop.
    pub(super) longest_death: Millis,
    /// The longest that evidence is good for.
    pub(super) evidence: Millis,
    /// One job in so many fails, leaves something behind, or sends back something else than it says. 0: none.
    pub(super) bad: u64,
}

/// A run that really goes on.
#[derive(Clone, Debug)]
pub(super) struct Acting {
    pub(super) run: RunId,
    pub(super) fence: Fence,
    /// On the worker's own line: when it has made its output, or when it has died.
    ends: Mono,
    /// It was told to stop.
    dying: bool,
}

/// What came of one input.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) sent: Vec<u8>,
    pub(super) closed: bool,
}

/// A worker with its device.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) n: u32,
    pub(super) letters: &'static str,
    pub(super) clock: LocalClock,
    /// How many certificates its device had before this one.
    pub(super) turn: u8,
    pub(super) habits: Habits,
    pub(super) agent: Agent,
    pub(super) acting: Option<Acting>,
    fleet: FleetId,
    lease: Option<Box<WorkerLease>>,
    /// What was made and said of the lease in hand, for another connection.
    reported: Option<(RunOutcome, bool)>,
    processes: u64,
}

fn agent(n: u32, processes: u64, seen: Epoch) -> Agent {
    let config = AgentConfig::new(World::worker_id(n), terms::coordinator(), crate::time::Wall(0));
    // Numbers of requests only grow, whatever the wall clock shows when the process starts.
    Agent::new(config.numbered_from(1 + processes * 1_000_000).seen(seen))
}

impl Worker {
    pub(super) fn new(
        n: u32,
        letters: &'static str,
        fleet: FleetId,
        clock: LocalClock,
        habits: Habits,
    ) -> Self {
        let agent = agent(n, 0, Epoch(0));
        let (lease, reported, acting) = (None, None, None);
        Self { n, letters, clock, turn: 0, habits, agent, acting, fleet, lease, reported, processes: 0 }
    }

    /// Its process dies, and its jobs with it; another one begins, which knows the epoch and nothing else.
    pub(super) fn restart(&mut self, clock: LocalClock) {
        self.processes += 1;
        self.agent = agent(self.n, self.processes, self.agent.epoch());
        (self.acting, self.lease, self.reported, self.clock) = (None, None, None, clock);
    }

    pub(super) fn next_deadline(&self) -> Option<Mono> {
        let ends = self.acting.as_ref().map(|acting| acting.ends);
        self.agent.next_deadline().into_iter().chain(ends).min()
    }

    /// Gives the agent an input, and does what its events ask for until nothing more comes.
    pub(super) fn drive(&mut self, input: Input<'_, AgentAct>, now: Now, random: &mut Random) -> Outcome {
        let mut outcome = Outcome::default();
        let mut events = self.feed(input, now, &mut outcome);
        while let Some(event) = events.pop_front() {
            for act in self.react(event, now, random) {
                events.extend(self.feed(Input::Act(act), now, &mut outcome));
            }
        }
        outcome
    }

    /// What time has brought to the job.
    pub(super) fn work(&mut self, now: Now, random: &mut Random) -> Outcome {
        let mut outcome = Outcome::default();
        let Some(acting) = self.acting.take_if(|acting| acting.ends <= now.mono) else { return outcome };
        let fence = acting.fence;
        let acts = if acting.dying {
            Vec::from([AgentAct::Stopped { fence, cleanup: self.report(fence, random) }])
        } else {
            let bad = self.is_bad(random);
            let run = if bad && random.one_in(2) { RunOutcome::Failed } else { RunOutcome::Succeeded };
            self.reported = Some((run, bad && random.one_in(3)));
            self.finish(fence)
        };
        for act in acts {
            let next = self.drive(Input::Act(act), now, random);
            outcome.sent.extend(next.sent);
            outcome.closed |= next.closed;
        }
        outcome
    }

    fn feed(&mut self, input: Input<'_, AgentAct>, now: Now, outcome: &mut Outcome) -> VecDeque<AgentEvent> {
        let mut events = VecDeque::new();
        // An act that comes too late for its lease is refused, and changes nothing.
        if self.agent.handle(input, now).is_err() {
            return events;
        }
        loop {
            match self.agent.poll() {
                Output::Send(bytes) => outcome.sent.extend(bytes),
                Output::Event(event) => events.push_back(event),
                Output::Close(_) => outcome.closed = true,
                Output::Wait(_) => return events,
            }
        }
    }

    fn is_bad(&self, random: &mut Random) -> bool {
        self.habits.bad > 0 && random.one_in(self.habits.bad)
    }

    fn clean(&self, fence: Fence, lease: Sha256Digest, random: &mut Random) -> WorkerCleanupReport {
        let gone = Removal { removed: 1, remaining: 0 };
        let left = Removal { removed: 0, remaining: u32::from(self.is_bad(random)) };
        WorkerCleanupReport { fence, lease, workspace: gone, artifacts: gone, logs: gone, scratch: left }
    }

    /// What is cleaned up when a job has died: sometimes that comes later.
    fn report(&self, fence: Fence, random: &mut Random) -> Option<WorkerCleanupReport> {
        let lease = self.lease.as_ref().filter(|lease| lease.fence == fence)?.digest();
        random.one_in(2).then(|| self.clean(fence, lease, random))
    }

    fn finish(&self, fence: Fence) -> Vec<AgentAct> {
        let Some((outcome, lie)) = self.reported else { return Vec::new() };
        let path = RelativePath::new("out/made").expect("a path");
        let said: &[u8] = if lie { b"something else" } else { b"made" };
        let made = Artifact::of(path.clone(), said);
        let outputs = ArtifactManifest::new([made]).expect("one output");
        let claim = OutputClaim { outputs, log: Sha256Digest::of(b"log") };
        Vec::from([
            AgentAct::Output { fence, path: path.clone(), content: b"ma".to_vec() },
            AgentAct::Output { fence, path, content: b"de".to_vec() },
            AgentAct::Log { fence, content: b"log".to_vec() },
            AgentAct::Finished { fence, outcome, claim },
        ])
    }

    fn react(&mut self, event: AgentEvent, now: Now, random: &mut Random) -> Vec<AgentAct> {
        match event {
            AgentEvent::Challenged { nonce, .. } => {
                let whole = self.habits.evidence.0;
                let lifetime = if random.one_in(3) { random.between(whole / 20, whole) } else { whole };
                let claims = terms::claims(
                    self.n,
                    self.turn,
                    self.letters,
                    &self.fleet,
                    nonce.clone(),
                    now,
                    Millis(lifetime),
                );
                let (form, evidence) = (EvidenceForm::Json, claims.to_document());
                Vec::from([AgentAct::Evidence { nonce, form, evidence, attachments: Vec::new() }])
            }
            AgentEvent::Assigned { lease } => {
                (self.lease, self.reported) = (Some(lease), None);
                Vec::new()
            }
            AgentEvent::Ready { fence } => Vec::from([AgentAct::Start { fence }]),
            AgentEvent::Run { fence, .. } => {
                if let Some(lease) = self.lease.as_ref().filter(|lease| lease.fence == fence) {
                    let ends = now.mono.plus(Millis(random.between(1, self.habits.longest_job.0)));
                    let run = lease.terms.run.clone();
                    self.acting = Some(Acting { run, fence, ends, dying: false });
                }
                Vec::new()
            }
            AgentEvent::Stop { fence, .. } => match &mut self.acting {
                Some(acting) if acting.fence == fence => {
                    acting.ends = now.mono.plus(Millis(random.below(self.habits.longest_death.0)));
                    acting.dying = true;
                    Vec::new()
                }
                _ => Vec::from([AgentAct::Stopped { fence, cleanup: self.report(fence, random) }]),
            },
            AgentEvent::UploadAgain { fence } => self.finish(fence),
            AgentEvent::CleanUp { fence, lease } => {
                self.acting.take_if(|acting| acting.fence == fence);
                Vec::from([AgentAct::Cleaned { report: self.clean(fence, lease, random) }])
            }
            _ => Vec::new(),
        }
    }
}
