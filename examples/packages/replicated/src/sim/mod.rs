//! A cluster with its clients in one thread and virtual time: lossy wires, disks that forget, clocks that differ, nodes that die,
//! come and go. The same seed gives the same run.

mod actor;
mod answer;
mod ask;
mod check;
mod disk;
mod happening;
mod host;
mod planted;
mod random;
mod trouble;

use std::collections::{BTreeMap, BTreeSet};

use leasehold::{fleet::LogId, testing::World, time::Millis};

use self::{
    actor::{Actor, Kind},
    ask::{Ask, Asker, Reply},
    check::Check,
    disk::SimDisk,
    host::Host,
    random::Random,
};
pub use self::{
    check::{Audit, Broken},
    planted::{Bug, SimMachine, setup},
};
use crate::{
    members::{Members, NodeId},
    node::{ReadId, WriteId},
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
            hosts.insert(*id, Host::new(SimDisk::holding(stored.clone()), &mut random));
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
