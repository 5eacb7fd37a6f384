//! What a worker holds: its lease, the scratch directory of that, and what was made there.
//!
//! Nothing here waits for anything. Whoever owns the agent passes the agent's events on and carries out, in order, what
//! comes back: on threads here, in a task in `examples/packages/grpc`.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use leasehold::{
    agent::{AgentAct, AgentEvent},
    digest::Sha256Digest,
    fleet::RunOutcome,
    lease::{ArtifactManifest, Fence, WorkerLease},
    protocol::chunk::MAX_CHUNK_BYTES,
};

use crate::{
    Failure,
    boot::Paired,
    process_log::{LogEntry, tell},
    scratch::{self, Scratch},
    work::{self, Fetched, Made, Surroundings, Verdict},
};

/// What is to be done next.
pub enum Next {
    /// The agent is to be told this. What it refuses because things have moved on meanwhile is dropped: it says itself
    /// what is wanted next.
    Act(AgentAct),
    /// This run is to be performed where it may block, and its end is for [`HeldWork::ran`].
    Run(Box<Run>),
}

/// A run that may begin.
pub struct Run {
    /// Under which lease.
    pub fence: Fence,
    directory: Scratch,
    inputs: ArtifactManifest,
    attempt: u32,
    limits: (u64, u64),
    stop: Arc<AtomicBool>,
    doomed: LogEntry,
}

impl Run {
    /// Does the work, with `get` as the way to the network.
    pub fn perform(self, get: impl Fn(&str) -> Result<Fetched, Failure> + Send + 'static) -> Made {
        let Self { directory, inputs, attempt, limits, stop, doomed, .. } = self;
        let doomed = Box::new(move || tell(&doomed));
        work::perform(
            &directory,
            &inputs,
            &Surroundings { get: Box::new(get), attempt, limits, stop, doomed },
        )
    }
}

/// The lease in hand.
struct Held {
    lease: Box<WorkerLease>,
    directory: Option<Scratch>,
    stop: Arc<AtomicBool>,
    runs: bool,
    /// What was made, until the coordinator has it.
    made: Option<Made>,
    /// The agent wants to hear that it has stopped.
    stopping: bool,
}

/// A worker's hand, which holds one lease at the most.
pub struct HeldWork {
    worker: Paired,
    held: Option<Held>,
}

impl HeldWork {
    /// The empty hand of this worker.
    pub fn new(worker: Paired) -> Self {
        Self { worker, held: None }
    }

    /// What follows from what the agent says. Connections and evidence are not its affair.
    pub fn event(&mut self, event: AgentEvent) -> Result<Vec<Next>, Failure> {
        match event {
            AgentEvent::Assigned { lease } => {
                tell(&LogEntry::Holds { run: lease.terms.run.clone(), fence: lease.fence });
                let directory = Scratch::make(self.directory(&lease));
                self.held = Some(Held {
                    lease,
                    // Without a place nothing runs: the inputs have nowhere to go, and the lease is given back.
                    directory: directory.ok(),
                    stop: Arc::new(AtomicBool::new(false)),
                    runs: false,
                    made: None,
                    stopping: false,
                });
            }
            AgentEvent::Input { path, offset, content, .. } => {
                if let Some(directory) = self.held.as_ref().and_then(|held| held.directory.as_ref()) {
                    directory.write(&path, offset, &content)?;
                }
            }
            AgentEvent::Ready { fence } => {
                return Ok(match self.holds(fence).is_some_and(|held| held.directory.is_some()) {
                    true => vec![Next::Act(AgentAct::Start { fence })],
                    false => self.stopped(fence),
                });
            }
            AgentEvent::Run { fence, .. } => return Ok(self.begin(fence)),
            AgentEvent::Stop { fence, .. } | AgentEvent::InputsRefused { fence, .. } => {
                return Ok(self.stop(fence));
            }
            AgentEvent::UploadAgain { fence } => return self.upload(fence),
            AgentEvent::CleanUp { fence, lease } => return Ok(self.clean_up(fence, lease)),
            AgentEvent::Done { fence } => {
                tell(&LogEntry::GaveBack { fence });
                self.held.take_if(|held| held.lease.fence == fence);
            }
            AgentEvent::EvidenceRefused { failures } => {
                let message = format!("evidence refused: {failures:?}");
                tell(&LogEntry::Fault { message });
            }
            _ => {}
        }
        Ok(Vec::new())
    }

    /// The run under this lease has ended.
    pub fn ran(&mut self, fence: Fence, made: Made) -> Result<Vec<Next>, Failure> {
        let Some(held) = self.holds(fence) else { return Ok(Vec::new()) };
        held.runs = false;
        held.made = Some(made);
        if held.stopping { Ok(self.stopped(fence)) } else { self.upload(fence) }
    }

    fn directory(&self, lease: &WorkerLease) -> PathBuf {
        self.worker.scratch.join(lease.terms.workspace.root().as_str())
    }

    fn holds(&mut self, fence: Fence) -> Option<&mut Held> {
        self.held.as_mut().filter(|held| held.lease.fence == fence)
    }

    fn begin(&mut self, fence: Fence) -> Vec<Next> {
        let Some(held) = self.holds(fence) else { return Vec::new() };
        let Some(directory) = held.directory.take() else { return Vec::new() };
        held.runs = true;
        let terms = &held.lease.terms;
        vec![Next::Run(Box::new(Run {
            fence,
            directory,
            inputs: terms.artifacts.inputs.clone(),
            attempt: held.lease.attempt,
            limits: (terms.artifacts.max_output_bytes, terms.artifacts.max_log_bytes),
            stop: Arc::clone(&held.stop),
            doomed: LogEntry::Doomed { run: terms.run.clone(), fence },
        }))]
    }

    /// Outputs and log for the coordinator, and the word that the run is over.
    fn upload(&mut self, fence: Fence) -> Result<Vec<Next>, Failure> {
        let Some(made) = self.holds(fence).and_then(|held| held.made.clone()) else { return Ok(Vec::new()) };
        let claim = made.claim()?;
        let mut acts = Vec::new();
        for (path, content) in &made.outputs {
            // An empty file is one empty piece.
            let pieces = content.chunks(MAX_CHUNK_BYTES).chain(content.is_empty().then_some(&[][..]));
            acts.extend(pieces.map(|piece| AgentAct::Output {
                fence,
                path: path.clone(),
                content: piece.to_vec(),
            }));
        }
        let log = made.log.chunks(MAX_CHUNK_BYTES);
        acts.extend(log.map(|piece| AgentAct::Log { fence, content: piece.to_vec() }));
        let outcome = match made.verdict {
            Verdict::Done => RunOutcome::Succeeded,
            Verdict::Failed(_) | Verdict::Stopped => RunOutcome::Failed,
        };
        acts.push(AgentAct::Finished { fence, outcome, claim });
        Ok(acts.into_iter().map(Next::Act).collect())
    }

    /// Stops what runs. The agent hears of it when it has stopped, and not before.
    fn stop(&mut self, fence: Fence) -> Vec<Next> {
        let Some(held) = self.holds(fence) else { return Vec::new() };
        held.stop.store(true, Ordering::Relaxed);
        held.stopping = true;
        if held.runs { Vec::new() } else { self.stopped(fence) }
    }

    fn stopped(&mut self, fence: Fence) -> Vec<Next> {
        let Some(held) = self.holds(fence) else { return Vec::new() };
        let digest = held.lease.digest();
        let cleanup = self.remove(fence).report(fence, digest);
        self.held = None;
        vec![Next::Act(AgentAct::Stopped { fence, cleanup: Some(cleanup) })]
    }

    fn clean_up(&mut self, fence: Fence, lease: Sha256Digest) -> Vec<Next> {
        let report = self.remove(fence).report(fence, lease);
        vec![Next::Act(AgentAct::Cleaned { report })]
    }

    /// Removes the directory of the lease, or everything where it is a lease of a former process of this worker, and
    /// tells what is really gone.
    fn remove(&mut self, fence: Fence) -> scratch::Cleanup {
        let path = match self.held.as_ref().filter(|held| held.lease.fence == fence) {
            Some(held) => self.directory(&held.lease),
            None => self.worker.scratch.clone(),
        };
        let cleanup = scratch::remove(&path);
        let (removed, remaining) = cleanup.sums();
        tell(&LogEntry::Cleaned { fence, by: self.worker.worker.to_string(), removed, remaining });
        cleanup
    }
}
