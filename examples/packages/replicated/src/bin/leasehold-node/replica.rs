//! The node's process: one thread owns the replica, and nobody else touches it.
//!
//! Peers, clients and the store have threads of their own, which speak to it through one channel. After each input it
//! carries out what the replica and, where it leads, the coordinator want done.

use std::{
    collections::BTreeMap,
    net::TcpListener,
    path::Path,
    process::ExitCode,
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    time::{Duration, Instant, SystemTime},
};

use leasehold::{
    attestation::signature::DefaultVerifier,
    coordinator::{ConnectionId, CoordinatorConfig, CoordinatorInput, CoordinatorOutput},
    fleet::{FleetState, Setup},
    time::{Millis, Wall},
};
use replicated::{
    Code, Event as NodeEvent, Fleet, Local, Node, NodeId, Output, ReadId, Served, Store, WriteId,
};

use crate::{
    Failure,
    child::{self, Order},
    config::{self, BadConfig, NodeAddress, bad},
    control::Control,
    escape::shown,
    greeting::Greeting,
    jobs::{self, Job, Ports},
    link::{Heard, Link},
    notes::{Note, say},
    operator::{self, Act, Answer, Ask, Asked},
    peers::{self, Known, Peers, Place},
    server::{self, Arrival, ConnectionSlot},
    store_thread::StoreThread,
    tls,
};

enum Event {
    Peer(peers::Heard),
    Written(Result<WriteId, Code>),
    Arrived(Arrival),
    Link(ConnectionId, Heard),
    Asked(Asked),
    Order(Order),
}

/// A client's link, and its place among the connections.
struct Open {
    link: Link,
    _slot: ConnectionSlot,
}

struct Replica {
    id: NodeId,
    cluster: config::Cluster,
    dial: BTreeMap<NodeId, String>,
    node: Node<Served>,
    store: StoreThread,
    peers: Peers<Event>,
    known: Known,
    events: SyncSender<Event>,
    jobs: Vec<Job>,
    began: Instant,
    open: BTreeMap<ConnectionId, Open>,
    connections: u64,
    /// While it leads.
    control: Option<Control>,
    /// Operators whose answer waits for a quorum.
    tells: BTreeMap<ReadId, Asked>,
    stopped: Option<Code>,
    /// When it ends at the latest, and the write that it waits for.
    closing: (Option<Instant>, Option<WriteId>),
}

/// How long the last write may take.
const FAREWELL: Duration = Duration::from_secs(1);

fn wall() -> Wall {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Wall(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// The jobs in the node's file; a line that is none is refused, since every node has to read the same.
fn jobs(files: &config::Node) -> Result<Vec<Job>, BadConfig> {
    let Some(path) = &files.jobs else { return Ok(Vec::new()) };
    let read = jobs::read(path, Ports { http: 0, https: 0 });
    let read = read.map_err(|failure| bad("config.jobs", path, failure.to_string()))?;
    match read.bad.first() {
        None => Ok(read.jobs),
        Some(line) => Err(bad("config.jobs", path, format!("line {}: {}", line.number, line.reason))),
    }
}

/// The node's store. One that is gone is no new one: what this number has promised was in it.
fn store(files: &config::Node) -> Result<Store, BadConfig> {
    let path = &files.store;
    if !path.exists() {
        let what = format!(
            "there is no store: bring it back, or remove node {} from the cluster and add a new node under a new number",
            files.id.0
        );
        return Err(bad("store.missing", path, what));
    }
    Store::open(path, files.founding, files.id).map_err(|error| bad(error.code().0, path, error.to_string()))
}

/// The node's process.
pub fn run(file: &Path, check: bool, attached: bool) -> Result<ExitCode, Failure> {
    let opened = config::Node::read(file).and_then(|files| {
        let (jobs, store) = (jobs(&files)?, store(&files)?);
        let stored = store.read().map_err(|error| bad(error.code().0, &files.store, error.to_string()))?;
        Ok((files, jobs, store, stored))
    });
    let (files, jobs, store, stored) = match opened {
        Ok(opened) => opened,
        Err(refused) => {
            eprintln!("leasehold-node: {refused}");
            return Ok(ExitCode::from(2));
        }
    };
    let entropy: [u8; 64] = tls::entropy()?;
    let index_key = *entropy.first_chunk().ok_or_else(|| Failure::new("64 bytes are more than 16"))?;
    let certificate = files.fleet.fingerprint();
    let setup = move || {
        // Nonces of another turn are worth nothing: each has a key of its own.
        let mut fresh: [u8; 64] = tls::entropy().unwrap_or(entropy);
        fresh[..16].copy_from_slice(&index_key);
        Setup::new(fresh, certificate, Box::new(DefaultVerifier))
    };
    let serving = CoordinatorConfig::new()
        .max_connections(256)
        .frame_patience(Millis(3_000))
        .silence(Millis(10_000))
        .write_patience(Millis(5_000));
    let machine = Served::new(Fleet::new(setup, Millis(files.hold_ms), index_key), serving);
    let began = Instant::now();
    let local = Local { mono: Millis(0), wall: wall() };
    let life = u64::from_be_bytes(tls::entropy()?);
    let node = match Node::start(files.config, machine, stored, life, local) {
        Ok(node) => node,
        Err(error) => {
            eprintln!("leasehold-node: {}: {}: {error}", error.code(), files.store.display());
            return Ok(ExitCode::from(2));
        }
    };
    if check {
        println!("{}: {} is in order", file.display(), files.id);
        return Ok(ExitCode::SUCCESS);
    }
    let (events, heard) = sync_channel(4096);
    let done = events.clone();
    let known = Known::default();
    let mut replica = Replica {
        id: files.id,
        dial: files.dial,
        store: StoreThread::start(store, move |outcome| done.send(Event::Written(outcome)).is_ok())?,
        peers: Peers::new(tls::pinning_client(Some(&files.identity))?, events.clone(), Event::Peer),
        cluster: files.cluster,
        known: known.clone(),
        node,
        events: events.clone(),
        jobs,
        began,
        open: BTreeMap::new(),
        connections: 0,
        control: None,
        tells: BTreeMap::new(),
        stopped: None,
        closing: (None, None),
    };
    replica.follow_members()?;
    let server = tls::pairing_server(&files.identity)?;
    let bound = |address: &str| {
        TcpListener::bind(address)
            .map_err(|error| Failure::new(format!("config.address: {address}: {error}")))
    };
    let max_snapshot = files.config.max_snapshot;
    peers::listen(bound(&files.listen_peers)?, server, known, max_snapshot, events.clone(), Event::Peer)?;
    let clients = tls::pairing_server(&files.fleet)?;
    server::listen(bound(&files.listen_clients)?, clients, events.clone(), Event::Arrived)?;
    if attached {
        child::orders(move |order| {
            let _ = events.send(Event::Order(order));
        });
    }
    let (id, members, applied) = (replica.id.0, replica.node.members().len(), replica.node.applied());
    say(&Note::Ready { id, members, applied });
    replica.serve(&heard, Duration::from_millis(files.tick_ms))
}

impl Replica {
    fn local(&self) -> Local {
        let mono = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        Local { mono: Millis(mono), wall: wall() }
    }

    fn serve(mut self, heard: &Receiver<Event>, tick: Duration) -> Result<ExitCode, Failure> {
        let mut next = Instant::now() + tick;
        self.settle()?;
        loop {
            if self.closing.0.is_some_and(|until| Instant::now() >= until) {
                return Ok(ExitCode::SUCCESS);
            }
            if let Some(code) = self.stopped {
                eprintln!("leasehold-node: {code}: the node has stopped");
                return Ok(ExitCode::FAILURE);
            }
            match heard.recv_timeout(self.wait(next)) {
                Ok(Event::Order(Order::Stop)) => {
                    // A snapshot carries how far the log is committed, which no store knows to the last entry otherwise.
                    self.node.compact();
                    self.closing.0 = Some(Instant::now() + FAREWELL);
                }
                Ok(event) => self.take(event)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(ExitCode::FAILURE),
            }
            let now = Instant::now();
            if now >= next {
                // A process that stood still does not catch up: its peers have counted on without it.
                next = now + tick;
                self.node.tick(self.local());
            }
            self.timeout()?;
            self.settle()?;
        }
    }

    fn wait(&self, next: Instant) -> Duration {
        let tick = next.saturating_duration_since(Instant::now());
        let leading = self.node.leading().and_then(|serving| serving.coordinator().next_deadline());
        let again = self.control.as_ref().and_then(Control::next_try);
        let now = self.node.now(self.local()).mono;
        let due = [leading, again].into_iter().flatten().min();
        due.map_or(tick, |due| Duration::from_millis(due.since(now).0.max(1)).min(tick))
    }

    /// Deadlines of the coordinator that have passed.
    fn timeout(&mut self) -> Result<(), Failure> {
        let now = self.node.now(self.local());
        match self.node.leader() {
            Some(serving) if serving.coordinator().next_deadline().is_some_and(|due| due <= now.mono) => {
                serving.give(CoordinatorInput::Timeout, now).map_err(Failure::coded)
            }
            _ => Ok(()),
        }
    }

    fn take(&mut self, event: Event) -> Result<(), Failure> {
        let local = self.local();
        match event {
            Event::Peer(peers::Heard::Packet(peer, packet)) => {
                if let Err(error) = self.node.receive(peer, packet, local) {
                    self.turned(peer.to_string(), error.code().0);
                }
                Ok(())
            }
            Event::Peer(peers::Heard::Snapshot(to, arrived)) => {
                self.node.snapshot_sent(to, arrived);
                Ok(())
            }
            Event::Peer(peers::Heard::Turned(peer, code)) => {
                self.turned(peer, &code);
                Ok(())
            }
            Event::Written(Ok(write)) => {
                self.node.written(write, local);
                if self.closing.1 == Some(write) {
                    self.closing.0 = Some(Instant::now());
                }
                Ok(())
            }
            Event::Written(Err(code)) => {
                self.node.write_failed(code);
                Ok(())
            }
            Event::Arrived(Arrival::Connected { leaf, duplex, slot }) => self.arrived(leaf, duplex, slot),
            Event::Arrived(Arrival::Stranger { why }) => {
                self.turned(format!("a client ({})", shown(&why)), "tls.handshake");
                Ok(())
            }
            // What a connection said before it was closed is nobody's.
            Event::Link(connection, _) if !self.open.contains_key(&connection) => Ok(()),
            Event::Link(connection, Heard::Bytes(bytes)) => {
                self.give(CoordinatorInput::Received { connection, bytes: &bytes })
            }
            Event::Link(connection, Heard::Sent(bytes)) => {
                if let Some(control) = &mut self.control {
                    control.sent();
                }
                self.give(CoordinatorInput::Sent { connection, bytes })
            }
            Event::Link(connection, Heard::Closed) => {
                self.open.remove(&connection);
                self.give(CoordinatorInput::Closed { connection })
            }
            Event::Asked(asked) => self.asked(asked),
            Event::Order(_) => Ok(()),
        }
    }

    fn turned(&self, peer: String, code: &str) {
        say(&Note::Turned { id: self.id.0, peer, code: code.to_owned() });
    }

    fn greeting(&self) -> Greeting {
        let leads = self.control.is_some();
        let leader = if leads { Some(self.id) } else { self.node.hint().filter(|hint| *hint != self.id) };
        Greeting { leads, leader: leader.map_or(0, |leader| leader.0), term: self.node.term() }
    }

    /// A client came: an operator, or a device of the fleet, which the coordinator knows where it leads.
    fn arrived(
        &mut self,
        leaf: Option<Vec<u8>>,
        duplex: crate::duplex::Duplex,
        slot: ConnectionSlot,
    ) -> Result<(), Failure> {
        let greeting = self.greeting();
        let Some(leaf) = leaf else {
            self.turned("a client".into(), "connection.certificate");
            duplex.close();
            return Ok(());
        };
        if leasehold::digest::Sha256Digest::of(&leaf) == self.cluster.operator {
            let events = self.events.clone();
            return operator::serve(duplex, greeting, move |asked| {
                let sent = events.send(Event::Asked(asked)).is_ok();
                drop(slot);
                sent
            });
        }
        self.connections += 1;
        let connection = ConnectionId(self.connections);
        let link = Link::start(duplex, self.events.clone(), move |heard| Event::Link(connection, heard))?;
        let greets = greeting.encode();
        let _ = link.send(greets);
        if !greeting.leads {
            link.finish();
            return Ok(());
        }
        self.open.insert(connection, Open { link, _slot: slot });
        self.give(CoordinatorInput::Connected { connection, leaf: &leaf })
    }

    /// One input for the coordinator, where this node leads. Elsewhere its connections are gone.
    fn give(&mut self, input: CoordinatorInput<'_>) -> Result<(), Failure> {
        let now = self.node.now(self.local());
        match self.node.leader() {
            Some(serving) => serving.give(input, now).map_err(Failure::coded),
            None => Ok(()),
        }
    }

    /// Carries out what the replica and the coordinator want done, until nothing is left to do.
    fn settle(&mut self) -> Result<(), Failure> {
        loop {
            self.lead()?;
            let local = self.local();
            self.node.turn(local);
            let mut worked = false;
            while let Some(output) = self.node.poll() {
                worked = true;
                match output {
                    Output::Send(packet) => {
                        if !self.peers.send(&packet) {
                            self.node.snapshot_sent(packet.to(), false);
                        }
                    }
                    Output::Write(id, write) => {
                        if self.closing.0.is_some() && write.snapshot.is_some() {
                            self.closing.1 = Some(id);
                        }
                        self.store.write(id, write);
                    }
                    Output::Event(event) => self.event(event)?,
                }
            }
            if !worked {
                return Ok(());
            }
        }
    }

    fn lead(&mut self) -> Result<(), Failure> {
        let now = self.node.now(self.local());
        let (Some(control), Some(serving)) = (&mut self.control, self.node.leader()) else { return Ok(()) };
        control.work(serving, now)?;
        if control.wants_quorum()
            && let Ok(read) = self.node.read()
        {
            control.asks(read);
        }
        Ok(())
    }

    fn event(&mut self, event: NodeEvent) -> Result<(), Failure> {
        let id = self.id.0;
        match event {
            NodeEvent::Leads { term } => {
                say(&Note::Leads { id, term });
                let now = self.node.now(self.local()).mono;
                if let Some(serving) = self.node.leading() {
                    let state = serving.coordinator().fleet().state();
                    self.control = Some(Control::begin(self.jobs.clone(), state, now)?);
                }
            }
            NodeEvent::Follows => {
                say(&Note::Follows { id });
                self.control = None;
                self.hang_up();
            }
            NodeEvent::Leader(leader) => say(&Note::Leader { id, leader: leader.map(|leader| leader.0) }),
            NodeEvent::Applied(_) => {}
            NodeEvent::Restored { index } => say(&Note::Restored { id, index }),
            NodeEvent::Read(read) => self.confirmed(read),
            NodeEvent::Unread(read) => {
                if self.control.as_mut().is_some_and(|control| control.unconfirmed(read)) {
                    // What waited is lost, so nobody may go on as if it had been said.
                    self.hang_up();
                }
                if let Some(asked) = self.tells.remove(&read) {
                    let _ = asked.reply.send(Answer::Elsewhere { leader: None });
                }
            }
            NodeEvent::Members => {
                let members = self.node.members().iter().map(|(id, member)| (id.0, member.voter)).collect();
                say(&Note::Members { id, members });
                self.follow_members()?;
            }
            NodeEvent::Removed => self.turned(self.id.to_string(), "replica.removed"),
            NodeEvent::NotPromoted(code) => say(&Note::NotPromoted { id, code: code.to_string() }),
            NodeEvent::Stopped(code) => {
                say(&Note::Stopped { id, code: code.to_string() });
                self.stopped = Some(code);
            }
        }
        Ok(())
    }

    /// Every client's connection ends here; they look for the leader.
    fn hang_up(&mut self) {
        let closed: Vec<ConnectionId> = self.open.keys().copied().collect();
        for open in std::mem::take(&mut self.open).into_values() {
            open.link.close();
        }
        for connection in closed {
            // Where it leads no longer, nobody has to know.
            let _ = self.give(CoordinatorInput::Closed { connection });
        }
    }

    fn confirmed(&mut self, read: ReadId) {
        if let Some(asked) = self.tells.remove(&read) {
            let text = self.status(matches!(asked.ask, Ask::Status {}));
            let _ = asked.reply.send(Answer::Done { text });
        }
        let Some(control) = &mut self.control else { return };
        for output in control.confirmed(read) {
            match output {
                CoordinatorOutput::Send { connection, bytes } => {
                    if let Some(open) = self.open.get(&connection) {
                        // One that never reads is cut here, and its reader reports the end.
                        let _ = open.link.send(bytes);
                    }
                }
                CoordinatorOutput::Close { connection, .. } => drop(self.open.remove(&connection)),
                CoordinatorOutput::Answer { tag, answer } => {
                    if let Some(reply) = control.asker(tag) {
                        let _ = reply.send(Answer::of(&answer));
                    }
                }
                // Pairing, devices' requests and inspections are not offered here.
                _ => {}
            }
        }
    }

    fn state(&self) -> Option<&FleetState> {
        match self.node.leading() {
            Some(serving) => Some(serving.coordinator().fleet().state()),
            None => self.node.machine().and_then(Served::state),
        }
    }

    /// How this node stands; with the fleet where `whole` says so.
    fn status(&self, whole: bool) -> String {
        let leader = self.greeting().leader;
        let leads = if self.control.is_some() { "leads".into() } else { format!("follows node {leader}") };
        let mut lines =
            vec![format!("{} {leads}: term {}, applied {}", self.id, self.node.term(), self.node.applied())];
        let progress = self.node.progress();
        for (id, member) in self.node.members().iter() {
            let kind = if member.voter { "voter" } else { "learner" };
            let about: Option<NodeAddress> = serde_json::from_slice(&member.about).ok();
            let at = about.map_or("at an unknown place".into(), |about| format!("at {}", about.peers));
            let known = progress.iter().find(|(of, ..)| *of == id);
            let far = known.map_or(String::new(), |(_, matched, heard)| {
                format!(", has entries to {matched}{}", if *heard { "" } else { ", not heard" })
            });
            lines.push(format!("{id}: {kind} {}{far}", shown(&at)));
        }
        if let Some(state) = self.state().filter(|_| whole) {
            lines.extend(operator::fleet(state));
        }
        if let Some(control) = &self.control {
            let (waiting, leased) = control.jobs();
            lines.push(format!("jobs: {waiting} waiting, {leased} leased"));
        }
        lines.join("\n")
    }

    fn asked(&mut self, asked: Asked) -> Result<(), Failure> {
        let elsewhere =
            Answer::Elsewhere { leader: Some(self.greeting().leader).filter(|leader| *leader != 0) };
        let refused = |code: Code, message: String| Answer::Refused { code: code.to_string(), message };
        let Some(state) = self.state() else {
            let _ = asked.reply.send(elsewhere);
            return Ok(());
        };
        let act = match Act::of(&asked.ask, state) {
            Ok(act) => act,
            Err(answer) => {
                let _ = asked.reply.send(answer);
                return Ok(());
            }
        };
        let now = self.node.now(self.local());
        let answer = match act {
            Act::Compact => {
                self.node.compact();
                Answer::Done { text: format!("{} has a snapshot at {}", self.id, self.node.applied()) }
            }
            // A node that follows says so, and what it knows.
            Act::Tell if self.control.is_none() => Answer::Done { text: self.status(false) },
            Act::Tell => match self.node.read() {
                Ok(read) => {
                    self.tells.insert(read, asked);
                    return Ok(());
                }
                Err(_) => elsewhere,
            },
            Act::Transfer(to) => match self.node.transfer(to) {
                Ok(()) => Answer::Done { text: format!("{to} is asked to lead") },
                Err(replicated::ChangeError::NotLeading) => elsewhere,
                Err(error) => refused(error.code(), error.to_string()),
            },
            Act::Change(change) => match self.node.change(&change) {
                Ok(()) => Answer::Done { text: "proposed: `members` shows when it is committed".into() },
                Err(replicated::ChangeError::NotLeading) => elsewhere,
                Err(error) => refused(error.code(), error.to_string()),
            },
            Act::Command(command) => match (&mut self.control, self.node.leader()) {
                (Some(control), Some(serving)) => {
                    return control.command(serving, *command, asked.reply, now);
                }
                _ => elsewhere,
            },
        };
        let _ = asked.reply.send(answer);
        Ok(())
    }

    /// Who is known, and where the peers are: the cluster's file, and what the members say of themselves since.
    fn follow_members(&mut self) -> Result<(), Failure> {
        let about = |bytes: &[u8]| serde_json::from_slice::<NodeAddress>(bytes).ok();
        let members = self.node.members().iter().filter_map(|(_, member)| about(&member.about));
        let nodes: BTreeMap<NodeId, NodeAddress> = self
            .cluster
            .nodes
            .iter()
            .cloned()
            .chain(members)
            .map(|node| (NodeId(node.id), node))
            .filter(|(id, _)| *id != self.id)
            .collect();
        self.known.set(nodes.iter().map(|(id, node)| (node.certificate, *id)).collect());
        let places = nodes
            .into_iter()
            .map(|(id, node)| {
                let address = self.dial.get(&id).cloned().unwrap_or(node.peers);
                (id, Place { address, certificate: node.certificate })
            })
            .collect();
        self.peers.follow(&places)
    }
}
