//! The worker's process: it knows all nodes, works for whoever leads, and believes no lower epoch.
//!
//! One thread owns the library's agent. Looking for the leader happens in threads of their own, since a node that is stopped
//! answers nothing, and a lease that runs out meanwhile has to stop its run in time.

use std::{
    collections::VecDeque,
    fs,
    io::{self, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use leasehold::{
    agent::{Agent, AgentAct, AgentConfig, AgentEvent},
    attestation::{EvidenceForm, signature::Ed25519Signer},
    digest::Sha256Digest,
    lease::{Epoch, Fence},
    protocol::endpoint::{Endpoint, EndpointError, Input, Output},
    shell::SystemClock,
    time::{Clock, Millis},
};
use rustls::ClientConfig;

use crate::{
    Failure,
    boot::{self, Paired, Server},
    child::{self, Order},
    config::{self, NodeAddress, bad},
    duplex::Duplex,
    evidence,
    greeting::Greeting,
    held_work::{HeldWork, Next, Run},
    hexed::Bytes,
    link::{Heard, Link},
    notes::{Note, say},
    process_log::{LogEntry, tell},
    tls,
    work::Made,
};

/// What a run made is sent while fewer bytes than this wait for the connection.
const WINDOW: usize = 1 << 20;
/// Between two tries.
const AGAIN: Duration = Duration::from_millis(50);
/// How long a node may take to answer a call and to greet, before another one is tried.
const TRY: Duration = Duration::from_millis(1_000);
/// How long the leader may say nothing.
const SILENCE: Millis = Millis(1_500);
/// The file with the highest epoch that was seen.
const EPOCH: &str = "epoch";

/// What the worker's thread hears of.
enum Event {
    /// The try of that number.
    Tried(u64, Result<(Duplex, Greeting), Failure>),
    /// The connection of that number.
    Link(u64, Heard),
    /// The run under this lease is over.
    Ran(Fence, Made),
    Order(Order),
}

/// A call to a node that has not answered yet.
struct Try {
    number: u64,
    node: usize,
    until: Instant,
}

struct Worker {
    boot: boot::Worker,
    nodes: Vec<NodeAddress>,
    epoch_file: PathBuf,
    clock: SystemClock,
    agent: Agent,
    config: Arc<ClientConfig>,
    events: SyncSender<Event>,
    tries: u64,
    trying: Option<Try>,
    /// The next node to try, and when.
    next: (usize, Instant),
    link: Option<Link>,
    connection: u64,
    held_work: HeldWork,
    /// What the agent is to be told, in order, as far as the connection takes it.
    waiting: VecDeque<Next>,
}

/// The highest epoch that a former process of this worker has seen.
fn seen(file: &Path) -> Result<Epoch, Failure> {
    match fs::read_to_string(file) {
        Ok(text) => match text.trim().parse() {
            Ok(epoch) => Ok(Epoch(epoch)),
            Err(_) => Err(Failure::new(format!("worker.epoch: {}: it is no number", file.display()))),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Epoch(0)),
        Err(error) => Err(error.into()),
    }
}

/// The worker's process.
pub fn run(file: &Path, check: bool, attached: bool) -> Result<ExitCode, Failure> {
    let read = config::Worker::read(file).and_then(|files| {
        let parse =
            |text: &str| bad("config.name", file, format!("`{text}` is no name of a worker or device"));
        let worker = files.worker.parse().map_err(|_| parse(&files.worker))?;
        let device = files.device.parse().map_err(|_| parse(&files.device))?;
        Ok((files, worker, device))
    });
    let (files, worker, device) = match read {
        Ok(read) => read,
        Err(refused) => {
            eprintln!("leasehold-node: {refused}");
            return Ok(ExitCode::from(2));
        }
    };
    if check {
        println!("{}: {worker} is in order", file.display());
        return Ok(ExitCode::SUCCESS);
    }
    let scratch = files.directory.join("scratch");
    fs::create_dir_all(&scratch)?;
    let signer = Ed25519Signer::from_seed(&files.worker, &files.seed);
    let boot = boot::Worker {
        paired: Paired {
            device,
            worker,
            certificate: files.identity.certificate(),
            evidence_key: Bytes(signer.public_key().to_vec()),
            scratch,
        },
        identity: files.identity,
        evidence_seed: Bytes(files.seed.to_vec()),
        image: tls::measure(&fs::read(std::env::current_exe()?)?)?,
        root: None,
        // Every node shows this certificate; where they are is in `nodes`.
        coordinator: Server { port: 0, fingerprint: files.cluster.fleet_certificate },
        network: None,
    };
    let clock = SystemClock::start();
    let epoch_file = files.directory.join(EPOCH);
    let agent = AgentConfig::new(boot.paired.worker.clone(), boot.coordinator.fingerprint, clock.now().wall)
        .seen(seen(&epoch_file)?)
        .patience(SILENCE);
    let (events, heard) = sync_channel(256);
    if attached {
        let orders = events.clone();
        child::orders(move |order| {
            let _ = orders.send(Event::Order(order));
        });
    }
    let worker = Worker {
        config: boot.config_of(&boot.identity)?,
        held_work: HeldWork::new(boot.paired.clone()),
        nodes: files.cluster.nodes,
        epoch_file,
        clock,
        agent: Agent::new(agent),
        events,
        tries: 0,
        trying: None,
        next: (0, Instant::now()),
        link: None,
        connection: 0,
        waiting: VecDeque::new(),
        boot,
    };
    worker.work(&heard).map(|()| ExitCode::SUCCESS)
}

impl Worker {
    fn work(mut self, heard: &Receiver<Event>) -> Result<(), Failure> {
        loop {
            self.look_for_the_leader()?;
            let due = self.agent.next_deadline().map(|due| due.since(self.clock.now().mono));
            let wait = due.map_or(AGAIN, |due| Duration::from_millis(due.0).min(AGAIN));
            match heard.recv_timeout(wait) {
                Ok(Event::Order(Order::Stop)) => {
                    // What is in hand ends with this process; the leader sees it go.
                    self.link = None;
                    return Ok(());
                }
                Ok(event) => self.take(event)?,
                Err(RecvTimeoutError::Timeout) => self.give(Input::Timeout)?,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    }

    /// Calls the next node, where there is no leader and nobody is being called.
    fn look_for_the_leader(&mut self) -> Result<(), Failure> {
        if self.trying.take_if(|trying| Instant::now() >= trying.until).is_some() {
            self.next.0 += 1;
        }
        if self.link.is_some() || self.trying.is_some() || Instant::now() < self.next.1 {
            return Ok(());
        }
        self.tries += 1;
        let (number, node) = (self.tries, self.next.0 % self.nodes.len());
        self.trying = Some(Try { number, node, until: Instant::now() + TRY });
        let address = self.nodes.get(node).map(|node| node.clients.clone()).unwrap_or_default();
        let (config, pinned, events) =
            (Arc::clone(&self.config), self.boot.coordinator.fingerprint, self.events.clone());
        thread::Builder::new().name("call".into()).spawn(move || {
            let _ = events.send(Event::Tried(number, call(&address, config, pinned)));
        })?;
        Ok(())
    }

    /// A node has answered, or has not.
    fn tried(&mut self, number: u64, outcome: Result<(Duplex, Greeting), Failure>) -> Result<(), Failure> {
        // One that was given up may still answer; its connection is dropped.
        let Some(trying) = self.trying.take_if(|trying| trying.number == number) else { return Ok(()) };
        self.next = (trying.node + 1, Instant::now() + AGAIN);
        let Ok((duplex, greeting)) = outcome else { return Ok(()) };
        if !greeting.leads || greeting.term < self.agent.epoch().0 {
            // Whom it names is tried next; a leader of a lower epoch is none.
            let hint = self.nodes.iter().position(|node| node.id == greeting.leader);
            if let Some(hint) = hint.filter(|hint| *hint != trying.node) {
                self.next = (hint, Instant::now());
            }
            duplex.close();
            return Ok(());
        }
        self.next.0 = trying.node;
        let Some(peer) = duplex.peer() else { return Ok(()) };
        self.connection += 1;
        let number = self.connection;
        self.link = Some(Link::start(duplex, self.events.clone(), move |heard| Event::Link(number, heard))?);
        let (worker, node) = (self.boot.paired.worker.to_string(), self.nodes[trying.node].id);
        say(&Note::Found { worker, node, epoch: greeting.term });
        self.give(Input::Connected { peer })
    }

    /// The connection is over, by whosever will: the next node is tried first.
    fn parted(&mut self) {
        if self.link.take().is_some() {
            self.next = (self.next.0 + 1, Instant::now());
        }
    }

    fn take(&mut self, event: Event) -> Result<(), Failure> {
        match event {
            Event::Tried(number, outcome) => self.tried(number, outcome),
            // A connection that was given up may still have said something.
            Event::Link(number, _) if number != self.connection || self.link.is_none() => Ok(()),
            Event::Link(_, Heard::Sent(_)) => self.pump(),
            Event::Link(_, Heard::Bytes(bytes)) => self.give(Input::Received(&bytes)),
            Event::Link(_, Heard::Closed) => {
                self.parted();
                self.give(Input::Closed)
            }
            Event::Ran(fence, made) => {
                let next = self.held_work.ran(fence, made)?;
                self.carry_out(next)
            }
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
            AgentEvent::Welcome { epoch, .. } => self.keep(epoch),
            AgentEvent::Bound { .. } => {
                tell(&LogEntry::Serving { worker: self.boot.paired.worker.clone() });
                Ok(())
            }
            AgentEvent::Challenged { nonce, .. } => {
                let wall = self.clock.now().wall;
                let evidence = evidence::make(&self.boot, None, self.boot.image, &nonce, wall)?;
                let form = EvidenceForm::Dsse;
                self.give(Input::Act(AgentAct::Evidence { nonce, form, evidence, attachments: Vec::new() }))
            }
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

    /// Keeps the highest epoch for the next process of this worker: complete under its name, or as it was.
    fn keep(&self, epoch: Epoch) -> Result<(), Failure> {
        if seen(&self.epoch_file)? >= epoch {
            return Ok(());
        }
        let draft = self.epoch_file.with_extension("draft");
        let mut file = fs::File::create(&draft)?;
        writeln!(file, "{}", epoch.0)?;
        file.sync_all()?;
        Ok(fs::rename(&draft, &self.epoch_file)?)
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

    /// The work may block, so it has a thread of its own.
    fn begin(&self, run: Run) -> Result<(), Failure> {
        let (events, fence) = (self.events.clone(), run.fence);
        thread::Builder::new().name("run".into()).spawn(move || {
            let made = run.perform(|_| Err(Failure::new("there is no way out of this fleet")));
            let _ = events.send(Event::Ran(fence, made));
        })?;
        Ok(())
    }
}

/// Calls a node and hears what it says first.
pub fn call(
    address: &str,
    config: Arc<ClientConfig>,
    pinned: Sha256Digest,
) -> Result<(Duplex, Greeting), Failure> {
    let address = config::resolve(address).ok_or_else(|| Failure::new(format!("{address} leads nowhere")))?;
    let socket = TcpStream::connect_timeout(&address, TRY)?;
    let duplex = Duplex::connect(socket, config, tls::COORDINATOR, Some(pinned))?;
    let greeting = Greeting::read(&duplex, TRY)?;
    duplex.set_timeouts(None, None)?;
    Ok((duplex, greeting))
}
