//! The worker's process: owns the library's agent, runs what it says may run, and stops when it says stop.

use std::{
    collections::VecDeque,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use leasehold::{
    agent::{Agent, AgentAct, AgentConfig, AgentEvent},
    attestation::EvidenceForm,
    digest::Sha256Digest,
    fleet::RunOutcome,
    lease::{Fence, WorkerLease},
    protocol::{
        chunk::MAX_CHUNK_BYTES,
        endpoint::{Endpoint, EndpointError, Input, Output},
    },
    shell::SystemClock,
    time::Clock,
};
use rustls::ClientConfig;

use crate::{
    Failure, boot,
    child::{self, Order},
    duplex::Duplex,
    evidence,
    fetch::{self, Route},
    link::{Heard, Link},
    note::{Note, tell},
    scratch::{self, Scratch},
    tls,
    work::{self, Made, Surroundings, Verdict},
};

/// How long a worker waits before it connects again.
const AGAIN: Duration = Duration::from_millis(100);
/// And how long where it was turned away without a word: a certificate does not get better by itself.
const LATER: Duration = Duration::from_secs(1);

/// What the worker's thread hears of.
enum Event {
    /// The connection of that number.
    Link(u64, Heard),
    /// Evidence over a nonce, or why there is none.
    Evidence(Vec<u8>, Result<Vec<u8>, Failure>),
    /// The run under this lease is over.
    Ran(Fence, Made),
    /// The supervisor.
    Order(Order),
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
    config: Arc<ClientConfig>,
    route: Option<Route>,
    events: SyncSender<Event>,
    link: Option<Link>,
    connection: u64,
    /// Somebody answered on this connection.
    welcomed: bool,
    /// Nobody answered on the one before.
    turned_away: bool,
    held: Option<Held>,
}

/// The worker's process.
pub fn run() -> Result<(), Failure> {
    let boot: boot::Worker = child::boot()?;
    let clock = SystemClock::start();
    let config = boot.config_of(&boot.identity)?;
    let route = boot.route()?;
    let agent = AgentConfig::new(boot.paired.worker.clone(), boot.coordinator.fingerprint, clock.now().wall);
    let (events, heard) = sync_channel(256);
    let orders = events.clone();
    child::orders(move |order| {
        let _ = orders.send(Event::Order(order));
    });
    let agent = Agent::new(agent);
    let worker = Worker {
        boot,
        clock,
        agent,
        config,
        route,
        events,
        link: None,
        connection: 0,
        welcomed: false,
        turned_away: false,
        held: None,
    };
    worker.work(&heard)
}

impl Worker {
    fn work(mut self, heard: &Receiver<Event>) -> Result<(), Failure> {
        let mut connect_at = Instant::now();
        loop {
            if self.link.is_none() && Instant::now() >= connect_at {
                connect_at = Instant::now() + if self.turned_away { LATER } else { AGAIN };
                self.connect()?;
            }
            let due = self.agent.next_deadline().map(|due| due.since(self.clock.now().mono));
            let wait = due.map_or(AGAIN, |due| Duration::from_millis(due.0).min(AGAIN));
            match heard.recv_timeout(wait) {
                Ok(Event::Order(Order::Stop)) => {
                    // What is in hand ends with this process; the coordinator sees it go.
                    self.link = None;
                    return Ok(());
                }
                Ok(event) => self.take(event)?,
                Err(RecvTimeoutError::Timeout) => self.give(Input::Timeout)?,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    }

    /// One try. A coordinator that is not there is asked again later.
    fn connect(&mut self) -> Result<(), Failure> {
        let server = self.boot.coordinator;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, server.port));
        let Ok(socket) = TcpStream::connect_timeout(&address, Duration::from_secs(1)) else { return Ok(()) };
        let config = Arc::clone(&self.config);
        let Ok(duplex) = Duplex::connect(socket, config, tls::COORDINATOR, Some(server.fingerprint)) else {
            return Ok(());
        };
        let Some(peer) = duplex.peer() else { return Ok(()) };
        self.connection += 1;
        let number = self.connection;
        let link = Link::start(duplex, self.events.clone(), move |heard| Event::Link(number, heard))?;
        self.link = Some(link);
        self.give(Input::Connected { peer })
    }

    /// The connection is over, by whosever will.
    fn parted(&mut self) {
        if self.link.take().is_some() {
            self.turned_away = !std::mem::take(&mut self.welcomed);
            tell(&Note::Parted { turned_away: self.turned_away });
        }
    }

    fn take(&mut self, event: Event) -> Result<(), Failure> {
        match event {
            // A connection that was given up may still have said something.
            Event::Link(number, _) if number != self.connection || self.link.is_none() => Ok(()),
            // The agent bounds what waits by itself.
            Event::Link(_, Heard::Sent(_)) => Ok(()),
            Event::Link(_, Heard::Bytes(bytes)) => self.give(Input::Received(&bytes)),
            Event::Link(_, Heard::Closed) => {
                self.parted();
                self.give(Input::Closed)
            }
            Event::Evidence(nonce, Ok(evidence)) => self.act(AgentAct::Evidence {
                nonce,
                form: EvidenceForm::Dsse,
                evidence,
                attachments: Vec::new(),
            }),
            // Another process of this worker begins from the beginning.
            Event::Evidence(_, Err(failure)) => Err(failure),
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
                    if let Some(link) = &self.link
                        && link.send(bytes).is_err()
                    {
                        // The reader reports the end of the connection.
                        link.close();
                    }
                }
                Output::Close(_) => self.parted(),
                Output::Event(event) => events.push_back(event),
                Output::Wait(_) => break,
                other => return Err(Failure::new(format!("an output that is not known: {other:?}"))),
            }
        }
        events.into_iter().try_for_each(|event| self.event(event))
    }

    fn event(&mut self, event: AgentEvent) -> Result<(), Failure> {
        match event {
            AgentEvent::Welcome { .. } => {
                self.welcomed = true;
                Ok(())
            }
            AgentEvent::Bound { .. } => {
                tell(&Note::Serving { worker: self.boot.paired.worker.clone() });
                Ok(())
            }
            AgentEvent::Challenged { nonce, .. } => self.make_evidence(nonce),
            AgentEvent::Assigned { lease } => {
                tell(&Note::Holds { run: lease.terms.run.clone(), fence: lease.fence });
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
                tell(&Note::GaveBack { fence });
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

    /// Evidence takes a question to the proxy, so it is made in a thread of its own.
    fn make_evidence(&self, nonce: Vec<u8>) -> Result<(), Failure> {
        let (boot, route, events) = (self.boot.clone(), self.route.clone(), self.events.clone());
        let wall = self.clock.now().wall;
        thread::Builder::new().name("evidence".into()).spawn(move || {
            let make = || evidence::make(&boot, route.as_ref(), boot.image, &nonce, wall);
            // The proxy may be busy, or may not follow the leases yet.
            let evidence = make().or_else(|_| {
                thread::sleep(AGAIN);
                make()
            });
            let _ = events.send(Event::Evidence(nonce, evidence));
        })?;
        Ok(())
    }

    fn begin(&mut self, fence: Fence) -> Result<(), Failure> {
        let (route, events) = (self.route.clone(), self.events.clone());
        let Some(held) = self.holds(fence) else { return Ok(()) };
        let Some(place) = held.place.take() else { return Ok(()) };
        held.runs = true;
        let run = held.lease.terms.run.clone();
        let around = Surroundings {
            get: Box::new(move |url| fetch::get(route.as_ref(), &format!("Lease {fence}"), url)),
            attempt: held.lease.attempt,
            stop: Arc::clone(&held.stop),
            doomed: Box::new(move || tell(&Note::Doomed { run: run.clone(), fence })),
        };
        let inputs = held.lease.terms.artifacts.inputs.clone();
        thread::Builder::new().name("run".into()).spawn(move || {
            let made = work::perform(&place, &inputs, &around);
            let _ = events.send(Event::Ran(fence, made));
        })?;
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
