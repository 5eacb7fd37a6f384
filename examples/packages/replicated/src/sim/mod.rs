//! A cluster with its clients in one thread and virtual time: lossy wires, disks that forget, clocks that differ, nodes that die,
//! come and go. The same seed gives the same run.

mod actor;
mod ask;
mod check;
mod disk;
mod planted;
mod random;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use leasehold::{
    fleet::LogId,
    testing::World,
    time::{Millis, Wall},
};

use self::{
    actor::{Actor, Around, Kind, Open},
    ask::{Ask, Asker, Held, Outcome, Reply},
    check::Check,
    disk::SimDisk,
    random::Random,
};
pub use self::{
    check::{Audit, Broken},
    planted::{Bug, SimMachine, setup},
};
use crate::{
    config::Config,
    members::{Change, Members, NodeId},
    node::{Event, Local, Node, Output, ReadId, WriteId},
    packet::Packet,
    stored::Stored,
};

/// Milliseconds of virtual time between ticks.
const TICK: u64 = 50;
/// When chaos ends, everything is healed, and nothing new is begun.
const CHAOS: u64 = 90_000;
/// When everything must have been answered.
const END: u64 = 150_000;
/// A question is asked again after so long.
const PATIENCE: u64 = 300;
const WORKERS: u32 = 6;
/// See [`leasehold::fleet::Term::hold`].
const HOLD: Millis = Millis(4_000);

/// What a run is like.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Decides everything that chance decides.
    pub seed: u64,
    /// How many nodes found the cluster.
    pub nodes: u64,
    /// Whether nodes are added and removed.
    pub changes: bool,
    /// A mistake to find.
    pub bug: Option<Bug>,
}

impl Plan {
    /// The plan of a seed: three or five nodes, half of the runs with changes of membership.
    pub const fn of(seed: u64, bug: Option<Bug>) -> Self {
        let nodes = if seed.is_multiple_of(2) { 3 } else { 5 };
        Self { seed, nodes, changes: (seed / 2).is_multiple_of(2), bug }
    }
}

/// What a run was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What the audit of the log counted.
    pub audit: Audit,
    /// How many packets were delivered.
    pub packets: u64,
    /// How often a node died.
    pub deaths: u64,
    /// How often a snapshot replaced a state.
    pub restored: u64,
    /// Committed changes of membership, counted at every member.
    pub changes: u64,
    /// Words about writes of a former life.
    pub stale: u64,
}

enum Happening {
    Tick(NodeId, u64),
    Packet(NodeId, NodeId, Vec<u8>),
    Asked(NodeId, usize, u64, Ask),
    Replied(usize, u64, Back),
    Disk(NodeId, u64),
    Written(NodeId, WriteId),
    Sent(NodeId, NodeId, bool),
    Actor(usize),
    Chaos,
    Restart(NodeId),
    Blackout(NodeId, bool),
    Heal,
}

#[derive(Clone)]
enum Back {
    Reply(Reply),
    Elsewhere(Option<NodeId>),
}

/// A refusal that waits until a quorum has confirmed the lead.
struct Refusal {
    to: (usize, u64),
    reply: Reply,
    read: ReadId,
    confirmed: bool,
    behind: LogId,
}

struct Host {
    node: Option<Node<SimMachine>>,
    disk: SimDisk,
    life: u64,
    /// Milliseconds by which its monotonic clock is ahead, parts per million by which it is fast, and its wall clock's error.
    clock: (u64, i64, i64),
    held: VecDeque<Held>,
    refusals: Vec<Refusal>,
    reads: BTreeMap<ReadId, (usize, u64)>,
    patience: usize,
    /// Nothing happens in its process before then, and everything that came meanwhile happens after that.
    paused: u64,
    gone: bool,
}

impl Host {
    fn local(&self, now: u64) -> Local {
        let (ahead, ppm, wall) = self.clock;
        let drift = i64::try_from(now).unwrap_or(0) * ppm / 1_000_000;
        Local {
            mono: Millis(now.saturating_add(ahead).saturating_add_signed(drift)),
            wall: Wall(WALL.saturating_add(now).saturating_add_signed(wall)),
        }
    }
}

const WALL: u64 = 1_764_000_100_000;

/// A run under way.
pub struct Simulation {
    plan: Plan,
    random: Random,
    now: u64,
    counter: u64,
    queue: BTreeMap<(u64, u64), Happening>,
    hosts: BTreeMap<NodeId, Host>,
    cut: BTreeSet<(NodeId, NodeId)>,
    actors: Vec<Actor>,
    world: World,
    founding: Vec<u8>,
    check: Check,
    runs: u32,
    next_node: u64,
    report: Report,
}

impl Simulation {
    /// A cluster that is founded as `plan` says.
    pub fn new(plan: Plan) -> Self {
        let mut random = Random::new(plan.seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(11));
        let world = founded();
        let founding = world.fleet.snapshot().expect("everything is written");
        let ids: Vec<NodeId> = (1..=plan.nodes).map(NodeId).collect();
        let members = Members::founders(ids.iter().map(|id| (*id, Vec::new())));
        let stored = Stored::founding(members, founding.clone(), 1);
        let mut hosts = BTreeMap::new();
        for id in &ids {
            hosts.insert(*id, host(SimDisk::holding(stored.clone()), &mut random));
        }
        let mut actors = Vec::new();
        for n in 0..WORKERS {
            let kind = Kind::Worker { handle: None, lease: None, left: 0 };
            actors.push((Some(n), kind));
        }
        for _ in 0..3 {
            actors.push((None, Kind::Service { run: None, tries: 0, grants: 0, spent: None }));
        }
        actors.push((None, Kind::Operator));
        for _ in 0..3 {
            actors.push((None, Kind::Reader));
        }
        let actors = actors
            .into_iter()
            .enumerate()
            .map(|(actor, (worker, kind))| Actor::new(Asker { actor, worker }, kind))
            .collect();
        let report =
            Report { audit: Audit::default(), packets: 0, deaths: 0, restored: 0, changes: 0, stale: 0 };
        Self {
            plan,
            random,
            now: 0,
            counter: 0,
            queue: BTreeMap::new(),
            hosts,
            cut: BTreeSet::new(),
            actors,
            world,
            founding,
            check: Check::default(),
            runs: 0,
            next_node: plan.nodes + 1,
            report,
        }
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// [`Broken`]: what does not hold, and when.
    pub fn run(mut self) -> Result<Report, Broken> {
        let plan = self.plan;
        self.steps().map_err(|Broken(what)| {
            Broken(format!("seed {} ({} nodes), at {} ms: {what}", plan.seed, plan.nodes, self.now))
        })?;
        Ok(self.report)
    }

    fn steps(&mut self) -> Result<(), Broken> {
        let ids: Vec<NodeId> = self.hosts.keys().copied().collect();
        for id in ids {
            self.start(id)?;
        }
        for actor in 0..self.actors.len() {
            let at = self.random.below(500);
            self.at(at, Happening::Actor(actor));
        }
        self.at(2_000, Happening::Chaos);
        self.at(CHAOS, Happening::Heal);
        while let Some(((at, _), happening)) = self.queue.pop_first() {
            self.now = at;
            if self.now > CHAOS + 5_000 && self.is_settled() {
                return self.finish();
            }
            if self.now > END {
                let open: Vec<String> = self
                    .actors
                    .iter()
                    .filter_map(|actor| Some(format!("{:?} {:?}", actor.asker, actor.open.as_ref()?.ask)))
                    .collect();
                return Err(Broken(format!("no end: open {open:?}, {:?}", self.places())));
            }
            self.happen(happening)?;
        }
        Err(Broken("nothing more happens".into()))
    }

    fn at(&mut self, delay: u64, happening: Happening) {
        self.counter += 1;
        self.queue.insert((self.now + delay, self.counter), happening);
    }

    fn places(&self) -> Vec<(NodeId, u64, u64)> {
        let nodes = self.hosts.iter().filter_map(|(id, host)| Some((*id, host.node.as_ref()?)));
        nodes.map(|(id, node)| (id, node.applied(), node.term())).collect()
    }

    fn leader(&self) -> Option<NodeId> {
        let leads = |(id, host): (&NodeId, &Host)| {
            let node = host.node.as_ref()?;
            node.leading().map(|_| (node.term(), *id))
        };
        self.hosts.iter().filter_map(leads).max().map(|(_, id)| id)
    }

    /// Everybody was answered, and all members hold the same.
    fn is_settled(&self) -> bool {
        let Some(leader) = self.leader() else { return false };
        let Some(node) = self.hosts.get(&leader).and_then(|host| host.node.as_ref()) else { return false };
        self.actors.iter().all(Actor::is_idle)
            && node.members().iter().all(|(id, _)| {
                let other = self.hosts.get(&id).and_then(|host| host.node.as_ref());
                other.is_some_and(|other| other.applied() == node.applied())
            })
    }

    fn finish(&mut self) -> Result<(), Broken> {
        let leader = self.leader().ok_or_else(|| Broken("nobody leads at the end".into()))?;
        let members: Vec<NodeId> = match self.hosts.get(&leader).and_then(|host| host.node.as_ref()) {
            Some(node) => node.members().iter().map(|(id, _)| id).collect(),
            None => Vec::new(),
        };
        let mut digest = None;
        let mut last = 0;
        for id in members {
            let Some(node) = self.hosts.get(&id).and_then(|host| host.node.as_ref()) else { continue };
            let follower = match (node.machine(), node.leading()) {
                (Some(machine), _) => machine.follower(),
                (None, Some(leader)) => leader.manager().follower().expect("a leader keeps one"),
                _ => return Err(Broken(format!("{id} has no state"))),
            };
            let state = follower.state().ok_or_else(|| Broken(format!("{id} has no state")))?;
            self.check.stands(id, node.applied(), follower.at(), state)?;
            last = node.applied();
            let own = state.digest();
            if *digest.get_or_insert(own) != own {
                return Err(Broken(format!("{id} is at the same entry and holds another state")));
            }
        }
        self.report.audit = self.check.audit(&self.founding, last)?;
        Ok(())
    }

    fn start(&mut self, id: NodeId) -> Result<(), Broken> {
        let now = self.now;
        let Some(host) = self.hosts.get_mut(&id) else { return Ok(()) };
        if host.node.is_some() || host.gone {
            return Ok(());
        }
        host.life += 1;
        let config =
            Config { patience: Some(host.patience), compact_bytes: 24 << 10, keep: 20, ..Config::new(id) };
        let alone = id == NodeId(2);
        let machine = SimMachine::new(HOLD, u8::try_from(id.0).unwrap_or(0), self.plan.bug, alone);
        let (life, local) = (host.life, host.local(now));
        let node = Node::start(config, machine, host.disk.stored(), life, local)
            .map_err(|error| Broken(format!("{id} does not start: {error}")))?;
        host.node = Some(node);
        self.at(TICK, Happening::Tick(id, life));
        Ok(())
    }

    fn stop(&mut self, id: NodeId) {
        let Some(host) = self.hosts.get_mut(&id) else { return };
        host.node = None;
        host.paused = 0;
        host.held.clear();
        host.refusals.clear();
        host.reads.clear();
    }

    /// The node is out for a while, and comes back with what its disk holds.
    fn die(&mut self, id: NodeId, power: bool) {
        if self.hosts.get(&id).is_none_or(|host| host.node.is_none()) {
            return;
        }
        self.report.deaths += 1;
        self.stop(id);
        let Some(host) = self.hosts.get_mut(&id) else { return };
        match power {
            true if self.plan.bug == Some(Bug::LosesDisk) => host.disk.lose(),
            true => host.disk.power_loss(&mut self.random),
            false => host.disk.kill(),
        }
        host.patience = usize::try_from(self.random.range(10, 30)).unwrap_or(10);
        let out = self.random.range(100, 4_000);
        self.at(out, Happening::Restart(id));
    }

    /// Wires are bad for ten seconds, and good for ten.
    fn is_lossy(&self) -> bool {
        self.now < CHAOS && (self.now / 10_000).is_multiple_of(2)
    }

    /// Puts something on a wire: late, twice, out of order, or never.
    fn wire(&mut self, make: impl Fn() -> Happening) {
        if self.is_lossy() && self.random.percent(25) {
            return;
        }
        let copies = if self.is_lossy() && self.random.percent(8) { 2 } else { 1 };
        for _ in 0..copies {
            let late = self.is_lossy() && self.random.percent(10);
            let delay = if late { self.random.range(30, 900) } else { self.random.range(1, 20) };
            self.at(delay, make());
        }
    }

    fn happen(&mut self, happening: Happening) -> Result<(), Broken> {
        let at = match &happening {
            Happening::Tick(id, _)
            | Happening::Packet(_, id, _)
            | Happening::Asked(id, ..)
            | Happening::Disk(id, _)
            | Happening::Written(id, _)
            | Happening::Sent(id, ..) => self.hosts.get(id).map_or(0, |host| host.paused),
            _ => 0,
        };
        if at > self.now {
            self.at(at - self.now, happening);
            return Ok(());
        }
        match happening {
            Happening::Tick(id, life) => {
                let now = self.now;
                let Some(host) = self.hosts.get_mut(&id) else { return Ok(()) };
                let local = host.local(now);
                let (true, Some(node)) = (host.life == life, host.node.as_mut()) else { return Ok(()) };
                node.tick(local);
                expire(node, local);
                self.at(TICK, Happening::Tick(id, life));
                self.drain(id)
            }
            Happening::Packet(from, to, bytes) => {
                if self.cut.contains(&(from, to)) {
                    return Ok(());
                }
                let now = self.now;
                let Some(host) = self.hosts.get_mut(&to) else { return Ok(()) };
                let local = host.local(now);
                let Some(node) = host.node.as_mut() else { return Ok(()) };
                let packet = Packet::decode(&bytes, 1 << 20)
                    .map_err(|error| Broken(format!("a packet of {from} does not read: {error}")))?;
                self.report.packets += 1;
                let snapshot = packet.is_snapshot();
                let taken = node.receive(from, packet, local).is_ok();
                if snapshot {
                    self.wire(|| Happening::Sent(from, to, taken));
                }
                self.drain(to)
            }
            Happening::Sent(from, to, arrived) => {
                if let Some(node) = self.hosts.get_mut(&from).and_then(|host| host.node.as_mut()) {
                    node.snapshot_sent(to, arrived);
                }
                Ok(())
            }
            Happening::Disk(id, life) => {
                let now = self.now;
                let Some(host) = self.hosts.get_mut(&id) else { return Ok(()) };
                if host.life != life {
                    return Ok(());
                }
                let local = host.local(now);
                let finished = host.disk.finish(now);
                for write in finished {
                    if let Some(node) = host.node.as_mut() {
                        node.written(write, local);
                    }
                }
                self.drain(id)
            }
            Happening::Written(id, write) => {
                let now = self.now;
                let Some(host) = self.hosts.get_mut(&id) else { return Ok(()) };
                let local = host.local(now);
                if let Some(node) = host.node.as_mut() {
                    self.report.stale += 1;
                    node.written(write, local);
                }
                self.drain(id)
            }
            Happening::Asked(id, actor, sequence, ask) => self.asked(id, actor, sequence, &ask),
            Happening::Replied(actor, sequence, back) => self.replied(actor, sequence, back),
            Happening::Actor(actor) => {
                self.act(actor);
                self.at(50, Happening::Actor(actor));
                Ok(())
            }
            Happening::Chaos => self.chaos(),
            Happening::Restart(id) => self.start(id),
            Happening::Blackout(id, all) => {
                let ids: Vec<NodeId> =
                    self.hosts.keys().copied().filter(|other| all || *other == id).collect();
                ids.into_iter().for_each(|id| self.die(id, true));
                Ok(())
            }
            Happening::Heal => {
                self.cut.clear();
                let ids: Vec<NodeId> = self.hosts.keys().copied().collect();
                ids.into_iter().try_for_each(|id| self.start(id))
            }
        }
    }

    /// Does what a node wants done.
    fn drain(&mut self, id: NodeId) -> Result<(), Broken> {
        let mut moved = false;
        loop {
            let Some(host) = self.hosts.get_mut(&id) else { return Ok(()) };
            let local = host.local(self.now);
            let Some(node) = host.node.as_mut() else { return Ok(()) };
            let Some(output) = node.poll() else { break };
            match output {
                Output::Send(packet) => {
                    let to = packet.to();
                    let bytes = packet.encode().ok_or_else(|| Broken("a packet has no form".into()))?;
                    self.wire(|| Happening::Packet(id, to, bytes.clone()));
                }
                Output::Write(write, what) => {
                    let slow = self.random.percent(2);
                    let delay = if slow { self.random.range(20, 1_500) } else { self.random.range(1, 12) };
                    let (life, at) = (host.life, self.now + delay);
                    host.disk.begin(at, write, what);
                    if self.plan.bug == Some(Bug::SpeaksEarly) {
                        node.written(write, local);
                    }
                    self.at(delay, Happening::Disk(id, life));
                    // Power goes in the middle of a write, of one node or of the whole site.
                    if self.now < CHAOS && self.random.percent(1) {
                        let all = self.random.percent(30);
                        let soon = self.random.below(delay + 1);
                        self.at(soon, Happening::Blackout(id, all));
                    }
                    if self.random.percent(20) {
                        let later = self.random.range(1, 4_000);
                        self.at(delay + later, Happening::Written(id, write));
                    }
                }
                Output::Event(event) => {
                    moved |= matches!(event, Event::Applied(_) | Event::Restored { .. });
                    self.event(id, event)?;
                }
            }
        }
        if moved {
            self.stands(id)?;
        }
        self.answer(id)
    }

    fn stands(&mut self, id: NodeId) -> Result<(), Broken> {
        let Some(node) = self.hosts.get(&id).and_then(|host| host.node.as_ref()) else { return Ok(()) };
        let follower = match (node.machine(), node.leading()) {
            (Some(machine), _) => Some(machine.follower()),
            (None, leading) => leading.and_then(|leading| leading.manager().follower()),
        };
        let Some(follower) = follower else { return Ok(()) };
        match follower.state() {
            Some(state) => self.check.stands(id, node.applied(), follower.at(), state),
            None => Ok(()),
        }
    }

    fn event(&mut self, id: NodeId, event: Event) -> Result<(), Broken> {
        let Some(host) = self.hosts.get_mut(&id) else { return Ok(()) };
        match event {
            Event::Leads { term } => self.check.leads(term, id),
            Event::Follows => {
                // Whoever waits asks again.
                host.held.clear();
                host.refusals.clear();
                host.reads.clear();
                Ok(())
            }
            Event::Applied(entry) => self.check.applied(id, entry),
            Event::Restored { .. } => {
                self.report.restored += 1;
                Ok(())
            }
            Event::Read(read) => {
                let at = host.node.as_ref().and_then(Node::leading);
                let at = at.and_then(|leader| leader.manager().follower()).map_or(0, |at| at.at().index);
                for refusal in host.refusals.iter_mut().filter(|refusal| refusal.read == read) {
                    refusal.confirmed = true;
                }
                if let Some((actor, sequence)) = host.reads.remove(&read) {
                    self.reply(actor, sequence, Back::Reply(Reply::At(at)));
                }
                Ok(())
            }
            Event::Unread(read) => {
                host.refusals.retain(|refusal| refusal.read != read);
                host.reads.remove(&read);
                Ok(())
            }
            Event::Members => {
                self.report.changes += 1;
                Ok(())
            }
            Event::Stopped(code) => Err(Broken(format!("{id} stopped: {code}"))),
            Event::Leader(_) | Event::Removed | Event::NotPromoted(_) => Ok(()),
        }
    }

    fn reply(&mut self, actor: usize, sequence: u64, back: Back) {
        self.wire(|| Happening::Replied(actor, sequence, back.clone()));
    }

    /// Gives the answers whose time has come.
    fn answer(&mut self, id: NodeId) -> Result<(), Broken> {
        loop {
            let Some(host) = self.hosts.get_mut(&id) else { return Ok(()) };
            let Some(leader) = host.node.as_ref().and_then(Node::leading) else { return Ok(()) };
            let manager = leader.manager();
            let committed = manager.follower().map_or(0, |follower| follower.at().index);
            if host.held.front().is_some_and(|held| held.id.index <= committed) {
                let Some(held) = host.held.pop_front() else { break };
                let (to, record) = (held.to, held.id);
                if let Some(reply) = held.redeem(manager) {
                    let reply = self.spoilt(id, reply);
                    self.check.told(record);
                    self.reply(to.0, to.1, Back::Reply(reply));
                }
                continue;
            }
            let ready = host
                .refusals
                .iter()
                .position(|refusal| refusal.confirmed && refusal.behind.index <= committed);
            let Some(ready) = ready else { break };
            let refusal = host.refusals.remove(ready);
            self.reply(refusal.to.0, refusal.to.1, Back::Reply(refusal.reply));
        }
        Ok(())
    }

    fn spoilt(&self, id: NodeId, reply: Reply) -> Reply {
        match reply {
            Reply::Acquired(acquired, mut fence) if self.plan.bug == Some(Bug::OwnFence) => {
                fence.counter += id.0;
                Reply::Acquired(acquired, fence)
            }
            reply => reply,
        }
    }

    fn asked(&mut self, id: NodeId, actor: usize, sequence: u64, ask: &Ask) -> Result<(), Broken> {
        let now = self.now;
        let Some(asker) = self.actors.get(actor).map(|actor| actor.asker.clone()) else { return Ok(()) };
        let Some(host) = self.hosts.get_mut(&id) else { return Ok(()) };
        let local = host.local(now);
        let Some(node) = host.node.as_mut() else { return Ok(()) };
        let (hint, clock) = (node.hint(), node.now(local));
        let Some(leader) = node.leader() else {
            self.reply(actor, sequence, Back::Elsewhere(hint));
            return Ok(());
        };
        if matches!(ask, Ask::Read) && self.plan.bug == Some(Bug::ReadsAlone) {
            let at = leader.manager().follower().map_or(0, |at| at.at().index);
            self.reply(actor, sequence, Back::Reply(Reply::At(at)));
            return Ok(());
        }
        let outcome = ask::decide(leader.manager_mut(), &asker, sequence, ask, clock);
        let behind = {
            let state = leader.manager().state();
            LogId::new(state.epoch(), state.index())
        };
        match outcome {
            Outcome::Held(held) => host.held.push_back(held),
            Outcome::Now(reply) => self.reply(actor, sequence, Back::Reply(reply)),
            Outcome::Refused(code) => {
                if let Ok(read) = node.read() {
                    if matches!(ask, Ask::Read) {
                        host.reads.insert(read, (actor, sequence));
                    } else {
                        let (to, reply) = ((actor, sequence), Reply::Refused(code));
                        host.refusals.push(Refusal { to, reply, read, confirmed: false, behind });
                    }
                }
            }
        }
        if let Some(node) = self.hosts.get_mut(&id).and_then(|host| host.node.as_mut()) {
            node.turn(local);
        }
        self.drain(id)
    }

    fn replied(&mut self, actor: usize, sequence: u64, back: Back) -> Result<(), Broken> {
        let now = self.now;
        let ids: Vec<NodeId> = self.hosts.keys().copied().collect();
        let Some(this) = self.actors.get_mut(actor) else { return Ok(()) };
        if this.open.as_ref().is_none_or(|open| open.sequence != sequence) {
            return Ok(());
        }
        let reply = match back {
            Back::Reply(reply) => reply,
            Back::Elsewhere(hint) => {
                // Soon again, there or anywhere.
                this.leader = hint.or_else(|| self.random.pick(&ids).copied()).unwrap_or(NodeId(1));
                if let Some(open) = &mut this.open {
                    open.asked = now.saturating_sub(PATIENCE - 60);
                }
                return Ok(());
            }
        };
        let Some(open) = this.open.take() else { return Ok(()) };
        match &reply {
            Reply::At(at) => self.check.read(open.floor, *at)?,
            Reply::Acquired(acquired, fence) => {
                self.check.fences.push(*fence);
                self.check.leases.push(acquired.lease.clone());
            }
            _ => {}
        }
        let around = Around {
            world: &self.world,
            leases: &self.check.leases,
            runs: &mut self.runs,
            wall: Wall(WALL + now),
            workers: WORKERS,
        };
        this.hear(now, &open.ask, &reply, &mut self.random, &around);
        Ok(())
    }

    fn act(&mut self, actor: usize) {
        let (now, floor) = (self.now, self.check.floor);
        let winding = now >= CHAOS;
        let ids: Vec<NodeId> = self.hosts.iter().filter(|(_, host)| !host.gone).map(|(id, _)| *id).collect();
        let Some(this) = self.actors.get_mut(actor) else { return };
        if let Some(open) = &mut this.open {
            if now < open.asked + PATIENCE {
                return;
            }
            // One who only looks stays where it is for longer.
            let stays = if matches!(this.kind, Kind::Reader) { 80 } else { 40 };
            if !self.random.percent(stays) {
                this.leader = self.random.pick(&ids).copied().unwrap_or(NodeId(1));
            }
            open.asked = now;
        } else {
            let around = &mut Around {
                world: &self.world,
                leases: &self.check.leases,
                runs: &mut self.runs,
                wall: Wall(WALL + now),
                workers: WORKERS,
            };
            let Some(ask) = this.ask(now, winding, &mut self.random, around) else { return };
            this.sequence += 1;
            this.open = Some(Open { sequence: this.sequence, ask, floor, asked: now });
        }
        if let Some(open) = this.open.clone() {
            let to = this.leader;
            self.wire(|| Happening::Asked(to, actor, open.sequence, open.ask.clone()));
        }
    }

    fn chaos(&mut self) -> Result<(), Broken> {
        if self.now >= CHAOS {
            return Ok(());
        }
        let next = self.random.range(300, 4_000);
        self.at(next, Happening::Chaos);
        let ids: Vec<NodeId> =
            self.hosts.iter().filter(|(_, host)| host.node.is_some()).map(|(id, _)| *id).collect();
        let Some(any) = self.random.pick(&ids).copied() else { return Ok(()) };
        let leader = self.leader();
        let one = if self.random.percent(50) { leader.unwrap_or(any) } else { any };
        match self.random.below(13) {
            12 => {
                let pause = self.random.range(200, 5_000);
                if let Some(host) = self.hosts.get_mut(&one) {
                    host.paused = self.now + pause;
                }
            }
            0 | 1 => self.die(one, false),
            2 | 3 => self.die(one, true),
            // The whole site.
            4 if self.random.percent(40) => {
                for id in ids {
                    self.die(id, true);
                }
            }
            // Cut off, in one direction or both.
            5 | 6 => {
                let both = self.random.percent(60);
                for other in ids.iter().filter(|other| **other != one) {
                    self.cut.insert((one, *other));
                    if both {
                        self.cut.insert((*other, one));
                    }
                }
            }
            7 | 8 => self.cut.clear(),
            9 => {
                if let Some(node) = self.hosts.get_mut(&one).and_then(|host| host.node.as_mut()) {
                    node.compact();
                }
            }
            10 => {
                if let Some(node) = leader.and_then(|id| self.hosts.get_mut(&id)?.node.as_mut()) {
                    let _ = node.transfer(any);
                }
            }
            _ if self.plan.changes => self.change()?,
            _ => {}
        }
        if let Some(leader) = leader {
            self.drain(leader)?;
        }
        self.drain(one)
    }

    /// Has the leader change the membership, by what it is now.
    fn change(&mut self) -> Result<(), Broken> {
        let Some(leader) = self.leader() else { return Ok(()) };
        let nodes = self.plan.nodes;
        let Some(node) = self.hosts.get_mut(&leader).and_then(|host| host.node.as_mut()) else {
            return Ok(());
        };
        let members: Vec<(NodeId, bool)> =
            node.members().iter().map(|(id, member)| (id, member.voter)).collect();
        // Whoever left is switched off, sooner or later: when everybody runs, and nobody else counts it in any more.
        let counted = |id: NodeId| {
            self.hosts
                .iter()
                .filter(|(other, host)| **other != id && !host.gone)
                .any(|(_, host)| host.node.as_ref().is_none_or(|node| node.members().get(id).is_some()))
        };
        let left: Vec<NodeId> = self.hosts.keys().copied().filter(|id| !counted(*id)).collect();
        let learner = members.iter().find(|(_, voter)| !voter).map(|(id, _)| *id);
        let change = match learner {
            Some(id) => Change::Promote(id),
            None if members.len() as u64 > nodes || self.random.percent(30) => {
                let (id, _) = *self.random.pick(&members).unwrap_or(&(NodeId(1), true));
                Change::Remove(id)
            }
            None => Change::Add(NodeId(self.next_node), b"newcomer".to_vec()),
        };
        let Some(node) = self.hosts.get_mut(&leader).and_then(|host| host.node.as_mut()) else {
            return Ok(());
        };
        if node.change(&change).is_ok()
            && let Change::Add(id, _) = change
        {
            self.next_node += 1;
            self.hosts.insert(id, host(SimDisk::default(), &mut self.random));
            self.start(id)?;
        }
        // A newcomer whose addition was not committed stays until the next one is.
        if learner.is_none() {
            let newest = self.next_node - 1;
            for id in left.into_iter().filter(|id| id.0 < newest) {
                self.stop(id);
                if let Some(host) = self.hosts.get_mut(&id) {
                    host.gone = true;
                }
            }
        }
        Ok(())
    }
}

fn host(disk: SimDisk, random: &mut Random) -> Host {
    let signed = |random: &mut Random, most: u64| {
        i64::try_from(random.below(2 * most + 1)).unwrap_or(0) - i64::try_from(most).unwrap_or(0)
    };
    Host {
        node: None,
        disk,
        life: 0,
        clock: (random.below(1_000_000), signed(random, 5_000), signed(random, 400)),
        held: VecDeque::new(),
        refusals: Vec::new(),
        reads: BTreeMap::new(),
        patience: usize::try_from(random.range(10, 30)).unwrap_or(10),
        paused: 0,
        gone: false,
    }
}

/// Lets deadlines that have passed take effect, at whoever leads.
fn expire(node: &mut Node<SimMachine>, local: Local) {
    let now = node.now(local);
    let Some(leader) = node.leader() else { return };
    let manager = leader.manager_mut();
    for _ in 0..4 {
        if manager.next_deadline().is_none_or(|due| due > now.mono) {
            break;
        }
        let Ok(prepared) = manager.expire(now) else { break };
        if manager.accept(prepared).is_err() {
            break;
        }
    }
    node.turn(local);
}

/// A fleet with workers that are registered and have joined once.
fn founded() -> World {
    let mut world = World::new(|form| {
        form.lease.ttl_max_ms = Millis(8_000);
        form.lease.renew_every_ms = Millis(2_000);
        form.lease.start_ms = Millis(5_000);
        form.lease.acknowledge_ms = Millis(5_000);
        form.lease.clock_budget_ms = Millis(500);
        form.lease.max_staleness_ms = Millis(1_000);
        form.lease.grace_ms = Millis(3_000);
        form.liveness.heartbeat_every_ms = Millis(1_000);
        form.liveness.offline_after_ms = Millis(6_000);
        form.liveness.brake_percent = 100;
    });
    for n in 0..WORKERS {
        world.join(n, "a");
    }
    world
}
