//! The worker's process: one thread owns the library's agent, which says what may run, and when it must stop.

use std::{
    collections::VecDeque,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use leasehold::{
    agent::{Agent, AgentAct, AgentConfig, AgentEvent},
    attestation::EvidenceForm,
    lease::Fence,
    protocol::endpoint::{Endpoint, EndpointError, Input, Output},
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
    held_work::{HeldWork, Next, Run},
    link::{Heard, Link},
    process_log::{LogEntry, tell},
    tls,
    work::Made,
};

/// What a run made is sent while fewer bytes than this wait for the connection.
const WINDOW: usize = 1 << 20;
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
    held_work: HeldWork,
    /// What the agent is to be told, in order, as far as the connection takes it.
    waiting: VecDeque<Next>,
}

/// The worker's process.
pub fn run() -> Result<(), Failure> {
    let boot: boot::Worker = child::boot()?;
    let clock = SystemClock::start();
    let config = boot.config_of(&boot.identity)?;
    let route = Route::of(&boot)?;
    let agent = AgentConfig::new(boot.paired.worker.clone(), boot.coordinator.fingerprint, clock.now().wall);
    let (events, heard) = sync_channel(256);
    let orders = events.clone();
    child::orders(move |order| {
        let _ = orders.send(Event::Order(order));
    });
    let agent = Agent::new(agent);
    let worker = Worker {
        held_work: HeldWork::new(boot.paired.clone()),
        waiting: VecDeque::new(),
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
            tell(&LogEntry::Parted { turned_away: self.turned_away });
        }
    }

    fn take(&mut self, event: Event) -> Result<(), Failure> {
        match event {
            // A connection that was given up may still have said something.
            Event::Link(number, _) if number != self.connection || self.link.is_none() => Ok(()),
            Event::Link(_, Heard::Sent(_)) => self.pump(),
            Event::Link(_, Heard::Bytes(bytes)) => self.give(Input::Received(&bytes)),
            Event::Link(_, Heard::Closed) => {
                self.parted();
                self.give(Input::Closed)
            }
            Event::Evidence(nonce, Ok(evidence)) => self.give(Input::Act(AgentAct::Evidence {
                nonce,
                form: EvidenceForm::Dsse,
                evidence,
                attachments: Vec::new(),
            })),
            // Another process of this worker begins from the beginning.
            Event::Evidence(_, Err(failure)) => Err(failure),
            Event::Ran(fence, made) => {
                let next = self.held_work.ran(fence, made)?;
                self.carry_out(next)
            }
            // Who gets no new work is for the coordinator to say.
            Event::Order(_) => Ok(()),
        }
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
                tell(&LogEntry::Serving { worker: self.boot.paired.worker.clone() });
                Ok(())
            }
            AgentEvent::Challenged { nonce, .. } => self.make_evidence(nonce),
            AgentEvent::UploadAgain { fence } => {
                // Everything is given again, from the beginning: the rest of the former upload with it.
                let of_upload = |next: &Next| {
                    matches!(next, Next::Act(
                        AgentAct::Output { fence: of, .. }
                        | AgentAct::Log { fence: of, .. }
                        | AgentAct::Finished { fence: of, .. }
                    ) if *of == fence)
                };
                self.waiting.retain(|next| !of_upload(next));
                let next = self.held_work.event(event)?;
                self.carry_out(next)
            }
            event => {
                let next = self.held_work.event(event)?;
                self.carry_out(next)
            }
        }
    }

    fn carry_out(&mut self, next: Vec<Next>) -> Result<(), Failure> {
        self.waiting.extend(next);
        self.pump()
    }

    /// Tells the agent what waits, while the connection takes what the agent sends. Without one there is nothing to wait for.
    fn pump(&mut self) -> Result<(), Failure> {
        while self.link.as_ref().is_none_or(|link| link.waits() < WINDOW) {
            match self.waiting.pop_front() {
                Some(Next::Act(act)) => self.give(Input::Act(act))?,
                Some(Next::Run(run)) => self.begin(*run)?,
                None => return Ok(()),
            }
        }
        Ok(())
    }

    /// Evidence takes a question to the proxy, so it is made in a thread of its own.
    fn make_evidence(&self, nonce: Vec<u8>) -> Result<(), Failure> {
        let (boot, route, events) = (self.boot.clone(), self.route.clone(), self.events.clone());
        let wall = self.clock.now().wall;
        thread::Builder::new().name("evidence".into()).spawn(move || {
            let make = || {
                let binding = route.as_ref().map(|route| fetch::binding(route, &nonce)).transpose()?;
                evidence::make(&boot, binding, boot.image, &nonce, wall)
            };
            // The proxy may be busy, or may not follow the leases yet.
            let evidence = make().or_else(|_| {
                thread::sleep(AGAIN);
                make()
            });
            let _ = events.send(Event::Evidence(nonce, evidence));
        })?;
        Ok(())
    }

    /// The work may block, so it has a thread of its own.
    fn begin(&self, run: Run) -> Result<(), Failure> {
        let (route, events, fence) = (self.route.clone(), self.events.clone(), run.fence);
        thread::Builder::new().name("run".into()).spawn(move || {
            let made = run.perform(move |url| fetch::get(route.as_ref(), &format!("Lease {fence}"), url));
            let _ = events.send(Event::Ran(fence, made));
        })?;
        Ok(())
    }
}
