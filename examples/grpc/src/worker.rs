//! The worker's process: owns the library's agent, runs what it says may run, and stops when it says stop.
//!
//! One task owns the agent. What blocks, which is the work itself, has threads of its own.

use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use leasehold::{
    agent::{Agent, AgentAct, AgentConfig, AgentEvent},
    attestation::{EvidenceForm, WorkerClaims, signature::Ed25519Signer},
    digest::Sha256Digest,
    fleet::RunOutcome,
    lease::{Fence, WorkerLease},
    protocol::{
        chunk::MAX_CHUNK_BYTES,
        endpoint::{Endpoint, EndpointError, Input, Output},
    },
    shell::SystemClock,
    time::{Clock, Millis},
};
use tokio::{
    sync::mpsc::{Receiver, Sender, UnboundedSender, channel, unbounded_channel},
    task::AbortHandle,
};

use crate::{
    Failure, block_on, boot,
    child::{self, Order},
    client,
    note::{Note, tell},
    policy,
    scratch::{self, Scratch},
    tls,
    work::{self, Made, Surroundings, Verdict},
};

/// How long a worker waits before it connects again.
const AGAIN: Duration = Duration::from_millis(100);
/// How long evidence claims to be good for.
const LIFETIME: Millis = Millis::from_secs(1800);

/// What the worker's task hears of.
enum Event {
    /// Bytes of the stream of that number; `None`: it is over.
    Stream(u64, Option<Vec<u8>>),
    /// The run under this lease is over.
    Ran(Fence, Made),
    /// The supervisor.
    Order(Order),
}

/// This side of a stream. Dropped, it ends.
struct Link {
    say: UnboundedSender<Vec<u8>>,
    reader: AbortHandle,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// The lease in hand.
struct Held {
    lease: Box<WorkerLease>,
    place: Option<Scratch>,
    stop: Arc<AtomicBool>,
    runs: bool,
    /// What was made, until the coordinator has it.
    made: Option<Made>,
    /// The agent wants to hear that it has stopped.
    stopping: bool,
}

struct Worker {
    boot: boot::Worker,
    clock: SystemClock,
    agent: Agent,
    config: Arc<rustls::ClientConfig>,
    events: Sender<Event>,
    link: Option<Link>,
    connection: u64,
    held: Option<Held>,
}

/// The worker's process.
pub fn run() -> Result<(), Failure> {
    let boot: boot::Worker = child::boot()?;
    let clock = SystemClock::start();
    let config = tls::client(Some(&boot.identity), &boot.root)?;
    let agent = AgentConfig::new(boot.paired.worker.clone(), boot.coordinator, clock.now().wall);
    let (events, heard) = channel(256);
    let orders = events.clone();
    child::orders(move |order| {
        let _ = orders.blocking_send(Event::Order(order));
    });
    let agent = Agent::new(agent);
    let worker = Worker { boot, clock, agent, config, events, link: None, connection: 0, held: None };
    block_on(worker.work(heard))
}

impl Worker {
    async fn work(mut self, mut heard: Receiver<Event>) -> Result<(), Failure> {
        let mut connect_at = tokio::time::Instant::now();
        loop {
            if self.link.is_none() && tokio::time::Instant::now() >= connect_at {
                connect_at = tokio::time::Instant::now() + AGAIN;
                self.connect().await?;
            }
            let due = self.agent.next_deadline().map(|due| due.since(self.clock.now().mono));
            let wait = due.map_or(AGAIN, |due| Duration::from_millis(due.0).min(AGAIN));
            match tokio::time::timeout(wait, heard.recv()).await {
                Ok(None | Some(Event::Order(Order::Stop))) => {
                    // What is in hand ends with this process; the coordinator sees it go.
                    self.link = None;
                    return Ok(());
                }
                Ok(Some(event)) => self.take(event)?,
                Err(_) => self.give(Input::Timeout)?,
            }
        }
    }

    /// One try. A coordinator that is not there is asked again later.
    async fn connect(&mut self) -> Result<(), Failure> {
        let (say, queue) = unbounded_channel();
        // Whoever is no device of the fleet hears a refusal or nothing, and tries again.
        let Ok((peer, mut said)) = client::connect(self.boot.port, &self.config, queue).await else {
            return Ok(());
        };
        self.connection += 1;
        let (number, events) = (self.connection, self.events.clone());
        let reader = tokio::spawn(async move {
            while let Ok(Some(piece)) = said.message().await {
                let _ = events.send(Event::Stream(number, Some(piece.frames))).await;
            }
            let _ = events.send(Event::Stream(number, None)).await;
        });
        self.link = Some(Link { say, reader: reader.abort_handle() });
        self.give(Input::Connected { peer })
    }

    fn take(&mut self, event: Event) -> Result<(), Failure> {
        match event {
            // A stream that was given up may still have said something.
            Event::Stream(number, _) if number != self.connection || self.link.is_none() => Ok(()),
            Event::Stream(_, Some(bytes)) => self.give(Input::Received(&bytes)),
            Event::Stream(_, None) => {
                self.link = None;
                self.give(Input::Closed)
            }
            Event::Ran(fence, made) => self.ran(fence, made),
            // Who gets no new work is for the coordinator to say.
            Event::Order(_) => Ok(()),
        }
    }

    /// Tells the agent. What it refuses because things have moved on meanwhile is dropped: it says itself what is
    /// wanted next.
    fn act(&mut self, act: AgentAct) -> Result<(), Failure> {
        self.give(Input::Act(act))
    }

    /// One input, its drain, and what the drain's events lead to.
    fn give(&mut self, input: Input<'_, AgentAct>) -> Result<(), Failure> {
        match Endpoint::handle(&mut self.agent, input, self.clock.now()) {
            Ok(()) | Err(EndpointError::NotNow(_)) => {}
            Err(error) => return Err(Failure::coded(error)),
        }
        let mut events = VecDeque::new();
        loop {
            match self.agent.poll() {
                Output::Send(bytes) => {
                    if let Some(link) = &self.link {
                        // A stream that is gone is reported by its reader.
                        let _ = link.say.send(bytes);
                    }
                }
                Output::Close(_) => self.link = None,
                Output::Event(event) => events.push_back(event),
                Output::Wait(_) => break,
                other => return Err(Failure::new(format!("an output that is not known: {other:?}"))),
            }
        }
        events.into_iter().try_for_each(|event| self.event(event))
    }

    fn event(&mut self, event: AgentEvent) -> Result<(), Failure> {
        match event {
            AgentEvent::Challenged { nonce, .. } => self.make_evidence(nonce),
            AgentEvent::Assigned { lease } => {
                let place = Scratch::make(self.directory(&lease));
                self.held = Some(Held {
                    lease,
                    // Without a place nothing runs: the inputs have nowhere to go, and the lease is given back.
                    place: place.ok(),
                    stop: Arc::new(AtomicBool::new(false)),
                    runs: false,
                    made: None,
                    stopping: false,
                });
                Ok(())
            }
            AgentEvent::Input { path, offset, content, .. } => {
                match self.held.as_ref().and_then(|held| held.place.as_ref()) {
                    Some(place) => place.write(&path, offset, &content),
                    None => Ok(()),
                }
            }
            AgentEvent::Ready { fence } => match self.holds(fence).is_some_and(|held| held.place.is_some()) {
                true => self.act(AgentAct::Start { fence }),
                false => self.stopped(fence),
            },
            AgentEvent::Run { fence, .. } => self.begin(fence),
            AgentEvent::Stop { fence, .. } | AgentEvent::InputsRefused { fence, .. } => self.stop(fence),
            AgentEvent::UploadAgain { fence } => self.upload(fence),
            AgentEvent::CleanUp { fence, lease } => self.clean_up(fence, lease),
            AgentEvent::Done { fence } => {
                self.held.take_if(|held| held.lease.fence == fence);
                Ok(())
            }
            AgentEvent::EvidenceRefused { failures } => {
                let message = format!("evidence refused: {failures:?}");
                tell(&Note::Fault { message });
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn directory(&self, lease: &WorkerLease) -> PathBuf {
        self.boot.paired.scratch.join(lease.terms.workspace.root().as_str())
    }

    fn holds(&mut self, fence: Fence) -> Option<&mut Held> {
        self.held.as_mut().filter(|held| held.lease.fence == fence)
    }

    /// Signed evidence of what runs here, over the coordinator's nonce.
    fn make_evidence(&mut self, nonce: Vec<u8>) -> Result<(), Failure> {
        let boot = &self.boot;
        let seed = boot.evidence_seed.0.as_slice().try_into();
        let seed = seed.map_err(|_| Failure::new("a seed has 32 bytes"))?;
        let now = self.clock.now().wall;
        let claims = WorkerClaims {
            worker: boot.paired.worker.clone(),
            device: boot.paired.device.clone(),
            audience: policy::fleet()?,
            image: boot.image,
            build: policy::build(),
            artifact: boot.image,
            protocol: policy::protocol()?,
            wit: vec![policy::wit()?],
            capabilities: policy::capabilities()?,
            authority: policy::authority(),
            egress: None,
            nonce: nonce.clone(),
            issued: now,
            expires: now.plus(LIFETIME),
            certificate: boot.identity.fingerprint(),
        };
        let signer = Ed25519Signer::from_seed(boot.paired.worker.as_str(), seed);
        let evidence = claims.seal(&[&signer]).map_err(|error| Failure::new(error.to_string()))?;
        self.act(AgentAct::Evidence { nonce, form: EvidenceForm::Dsse, evidence, attachments: Vec::new() })
    }

    fn begin(&mut self, fence: Fence) -> Result<(), Failure> {
        let events = self.events.clone();
        let Some(held) = self.holds(fence) else { return Ok(()) };
        let Some(place) = held.place.take() else { return Ok(()) };
        held.runs = true;
        let run = held.lease.terms.run.clone();
        let around = Surroundings {
            get: Box::new(|_| Err(Failure::new("there is no way out of this fleet"))),
            attempt: held.lease.attempt,
            stop: Arc::clone(&held.stop),
            doomed: Box::new(move || tell(&Note::Doomed { run: run.clone(), fence })),
        };
        let inputs = held.lease.terms.artifacts.inputs.clone();
        tokio::task::spawn_blocking(move || {
            let made = work::perform(&place, &inputs, &around);
            let _ = events.blocking_send(Event::Ran(fence, made));
        });
        Ok(())
    }

    fn ran(&mut self, fence: Fence, made: Made) -> Result<(), Failure> {
        let Some(held) = self.holds(fence) else { return Ok(()) };
        held.runs = false;
        held.made = Some(made);
        if held.stopping { self.stopped(fence) } else { self.upload(fence) }
    }

    /// Gives outputs and log to the coordinator, and says that the run is over.
    fn upload(&mut self, fence: Fence) -> Result<(), Failure> {
        let Some(made) = self.holds(fence).and_then(|held| held.made.clone()) else { return Ok(()) };
        let claim = made.claim()?;
        for (path, content) in &made.outputs {
            // An empty file is one empty piece.
            let pieces = content.chunks(MAX_CHUNK_BYTES).chain(content.is_empty().then_some(&[][..]));
            for piece in pieces {
                self.act(AgentAct::Output { fence, path: path.clone(), content: piece.to_vec() })?;
            }
        }
        for piece in made.log.chunks(MAX_CHUNK_BYTES) {
            self.act(AgentAct::Log { fence, content: piece.to_vec() })?;
        }
        let outcome = match made.verdict {
            Verdict::Done => RunOutcome::Succeeded,
            Verdict::Failed(_) | Verdict::Stopped => RunOutcome::Failed,
        };
        self.act(AgentAct::Finished { fence, outcome, claim })
    }

    /// Stops what runs. The agent hears of it when it has stopped, and not before.
    fn stop(&mut self, fence: Fence) -> Result<(), Failure> {
        let Some(held) = self.holds(fence) else { return Ok(()) };
        held.stop.store(true, Ordering::Relaxed);
        held.stopping = true;
        if held.runs { Ok(()) } else { self.stopped(fence) }
    }

    fn stopped(&mut self, fence: Fence) -> Result<(), Failure> {
        let Some(held) = self.holds(fence) else { return Ok(()) };
        let digest = held.lease.digest();
        let cleanup = self.remove(fence).report(fence, digest);
        self.held = None;
        self.act(AgentAct::Stopped { fence, cleanup: Some(cleanup) })
    }

    fn clean_up(&mut self, fence: Fence, lease: Sha256Digest) -> Result<(), Failure> {
        let report = self.remove(fence).report(fence, lease);
        self.act(AgentAct::Cleaned { report })
    }

    /// Removes the directory of the lease, or everything where it is a lease of a former process of this worker, and
    /// tells what is really gone.
    fn remove(&mut self, fence: Fence) -> scratch::Cleanup {
        let path = match self.held.as_ref().filter(|held| held.lease.fence == fence) {
            Some(held) => self.directory(&held.lease),
            None => self.boot.paired.scratch.clone(),
        };
        let cleanup = scratch::remove(&path);
        let (removed, remaining) = cleanup.sums();
        tell(&Note::Cleaned { fence, by: self.boot.paired.worker.to_string(), removed, remaining });
        cleanup
    }
}
