//! Lease operations a second through three nodes with stores on disk, against the same engine with an empty machine and entries of
//! the same size, in the same run. One thread does everything, so the three disks' writes come one after the other: what is compared
//! counts, more than the number itself.
//!
//!     cargo bench -p leasehold-replicated
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "it measures time")]

use std::{
    collections::VecDeque,
    path::PathBuf,
    time::{Duration, Instant},
};

use leasehold::{
    attestation::signature::DefaultVerifier,
    digest::Sha256Digest,
    fleet::{Acquire, Principal, Setup, Start, Ticket, WorkerFleetManager, WorkerHandle},
    id::{FleetId, GrantId, IssuerId, ToolId},
    lease::{GrantTerms, WorkerLease, WorkerRunGrant},
    testing::World,
    time::{Millis, Wall},
};
use replicated::*;

const WORKERS: u32 = 256;
const WALL: u64 = 1_764_000_100_000;
/// What an entry and its digest in the store take beside the proposal.
const FRAME: u64 = 21 + 32;
const LONG: Duration = Duration::from_secs(4);

struct Cluster<M: Machine> {
    nodes: Vec<Node<M>>,
    stores: Vec<Store>,
    start: Instant,
    directory: PathBuf,
    written: u64,
}

impl<M: Machine> Cluster<M> {
    /// Three nodes, of which the first one leads.
    fn founded(name: &str, machine: impl Fn() -> M, state: Vec<u8>) -> Self {
        let directory = std::env::temp_dir().join(format!("leasehold-bench-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory");
        let members = Members::founders((1..=3).map(|id| (NodeId(id), Vec::new())));
        let founding = Stored::founding(members, state, 1);
        let start = Instant::now();
        let (mut nodes, mut stores) = (Vec::new(), Vec::new());
        for id in 1..=3_u64 {
            let path = directory.join(format!("{id}.redb"));
            let mut store = Store::open(&path, Sha256Digest::of(b"bench"), NodeId(id)).expect("a store");
            store.found(&founding).expect("an empty store");
            let patience = Some(10 + 3 * id as usize);
            let config = Config { patience, compact_bytes: 1 << 40, ..Config::new(NodeId(id)) };
            let node = Node::start(config, machine(), founding.clone(), 1, local(start)).expect("a node");
            nodes.push(node);
            stores.push(store);
        }
        let mut this = Self { nodes, stores, start, directory, written: 0 };
        for _ in 0..100 {
            for at in 0..3 {
                let local = local(start);
                this.nodes[at].tick(local);
            }
            this.settle();
            if this.nodes[0].leading().is_some() {
                return this;
            }
        }
        panic!("nobody leads");
    }

    /// Until nothing is on its way.
    fn settle(&mut self) {
        let mut wires = VecDeque::new();
        loop {
            let local = local(self.start);
            for (node, store) in self.nodes.iter_mut().zip(&mut self.stores) {
                while let Some(output) = node.poll() {
                    match output {
                        Output::Send(packet) => wires.push_back(packet.encode().expect("a form")),
                        Output::Write(id, write) => {
                            self.written += write
                                .entries
                                .iter()
                                .map(|entry| entry.data.len() as u64 + FRAME)
                                .sum::<u64>();
                            store.write(&write).expect("a write");
                            node.written(id, local);
                        }
                        Output::Event(_) => {}
                    }
                }
            }
            let Some(bytes) = wires.pop_front() else { return };
            let packet = Packet::decode(&bytes, 64 << 20).expect("a packet");
            let (from, to) = (packet.from(), packet.to().0 as usize - 1);
            self.nodes[to].receive(from, packet, local).expect("a member's packet");
        }
    }
}

impl<M: Machine> Drop for Cluster<M> {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn local(start: Instant) -> Local {
    let since = start.elapsed().as_millis() as u64;
    Local { mono: Millis(since), wall: Wall(WALL + since) }
}

/// Where one lane of the load is: each goes round from a lease to its end.
enum Lane {
    Idle,
    Assigned(WorkerHandle, WorkerLease),
    Running(WorkerHandle, WorkerLease),
}

enum Held {
    Acquired(Ticket<leasehold::fleet::Acquired>),
    Started(Ticket<leasehold::fleet::Remaining>, WorkerHandle, WorkerLease),
    Completed(Ticket<leasehold::fleet::Verdict>),
}

fn number(worker: &str) -> u32 {
    worker.rsplit('-').next().and_then(|n| n.parse().ok()).expect("a worker's number")
}

fn grant(n: u32, wall: Wall) -> WorkerRunGrant {
    let terms = GrantTerms {
        id: GrantId::new(&format!("grant-{n}")).expect("an id"),
        fleet: FleetId::new("fleet").expect("an id"),
        issuer: IssuerId::new("service").expect("an id"),
        run: World::run_id(n),
        tool: ToolId::new("tool").expect("an id"),
        capabilities: World::capabilities("a"),
        issued: wall,
        expires: wall.plus(Millis::from_secs(3_600)),
    };
    WorkerRunGrant::mint(terms).expect("a grant")
}

/// Operations a second, and the bytes of a round's proposal.
fn fleet(in_flight: usize) -> (f64, usize, f64) {
    let mut world = World::new(|form| {
        form.liveness.offline_after_ms = Millis::from_secs(3_600);
        form.limits.runs = 10_000_000;
        form.limits.grants = 10_000_000;
    });
    for n in 0..WORKERS {
        world.join(n, "a");
    }
    let state = world.fleet.snapshot().expect("everything is written");
    let setup = || Setup::new([7; 64], Sha256Digest::of(b"coordinator"), Box::new(DefaultVerifier));
    let machine = move || Fleet::new(setup, Millis(0), [3; 16]);
    let mut cluster = Cluster::founded(&format!("fleet-{in_flight}"), machine, state);
    let mut lanes: Vec<Lane> = (0..in_flight).map(|_| Lane::Idle).collect();
    let (mut operations, mut grants, mut proposed) = (0_u64, 0_u32, 0_usize);
    cluster.written = 0;
    let begun = Instant::now();
    let mut rounds = 0_usize;
    while begun.elapsed() < LONG {
        let local = local(cluster.start);
        let node = &mut cluster.nodes[0];
        let now = node.now(local);
        let manager: &mut WorkerFleetManager = node.leader().expect("it leads").manager_mut();
        let first = manager.state().index();
        let mut held = Vec::with_capacity(in_flight);
        for lane in &mut lanes {
            held.push(match std::mem::replace(lane, Lane::Idle) {
                Lane::Idle => {
                    grants += 1;
                    let acquire = Acquire::new(World::request(grant(grants, now.wall)));
                    let prepared = manager.decide(&acquire, &World::service(), None, now).expect("a lease");
                    Held::Acquired(manager.accept(prepared).expect("a fresh decision"))
                }
                Lane::Assigned(worker, lease) => {
                    let start = Start { worker, fence: lease.fence };
                    let by: Principal = World::device(number(lease.worker.as_str()));
                    let prepared = manager.decide(&start, &by, None, now).expect("a start");
                    Held::Started(manager.accept(prepared).expect("a fresh decision"), worker, lease)
                }
                Lane::Running(worker, lease) => {
                    let by = World::device(number(lease.worker.as_str()));
                    let complete = World::completion(worker, &lease);
                    let prepared = manager.decide(&complete, &by, None, now).expect("an end");
                    Held::Completed(manager.accept(prepared).expect("a fresh decision"))
                }
            });
        }
        assert!(manager.state().index() >= first + in_flight as u64);
        node.turn(local);
        cluster.settle();
        let manager = cluster.nodes[0].leading().expect("it leads").manager();
        for (lane, held) in lanes.iter_mut().zip(held) {
            operations += 1;
            *lane = match held {
                Held::Acquired(ticket) => {
                    let acquired = ticket.redeem(manager).expect("it is committed").answer;
                    Lane::Assigned(acquired.worker, acquired.lease)
                }
                Held::Started(ticket, worker, lease) => {
                    ticket.redeem(manager).expect("it is committed");
                    Lane::Running(worker, lease)
                }
                Held::Completed(ticket) => {
                    ticket.redeem(manager).expect("it is committed");
                    Lane::Idle
                }
            };
        }
        rounds += 1;
    }
    proposed += (cluster.written / 3) as usize;
    let seconds = begun.elapsed().as_secs_f64();
    let frames = 3 * FRAME * rounds as u64;
    let overhead = cluster.written as f64 / (cluster.written - frames) as f64;
    (operations as f64 / seconds, proposed / rounds.max(1) - FRAME as usize, overhead)
}

/// Rounds a second with one entry of so many bytes in each.
fn empty(bytes: usize) -> f64 {
    let mut cluster =
        Cluster::founded(&format!("empty-{bytes}"), Empty::default, 0_u64.to_be_bytes().to_vec());
    let begun = Instant::now();
    let mut rounds = 0_u64;
    while begun.elapsed() < LONG {
        cluster.nodes[0].leader().expect("it leads").ask(vec![1; bytes]);
        let local = local(cluster.start);
        cluster.nodes[0].turn(local);
        cluster.settle();
        rounds += 1;
    }
    assert_eq!(cluster.nodes[0].leading().expect("it leads").applied(), rounds);
    rounds as f64 / begun.elapsed().as_secs_f64()
}

fn main() {
    // `cargo test` and `cargo bench` call with arguments; without `--bench` nothing is measured.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    for in_flight in [1, 16, 256] {
        let (operations, bytes, overhead) = fleet(in_flight);
        let alone = empty(bytes) * in_flight as f64;
        println!(
            "{in_flight:>3} in flight: {operations:>8.0} lease operations/s, the engine alone {alone:>8.0}/s, {:.2} of it; \
             {:.0} bytes of proposal an operation, log {overhead:.3} of the journal",
            operations / alone,
            bytes as f64 / in_flight as f64,
        );
    }
}
