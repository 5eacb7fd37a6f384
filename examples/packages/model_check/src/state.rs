//! One state of everything: the real fleet, its journal, workers with what they were told, and messages on their way.

use std::{
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use leasehold::{
    fleet::*,
    lease::{Fence, WorkerLease, WorkerRunGrant},
    testing::{Shape, World},
    time::{Millis, Mono},
};
use serde::Serialize;

use crate::{budget::Budget, gate::Enforcement, promises::Promises};

/// What a worker does, by what it was told.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Hand {
    Idle,
    /// It has a lease and has asked to start.
    Starting(WorkerLease),
    /// It runs, and nothing of that run acts any more at this instant.
    Running(WorkerLease, Mono),
    /// The run has ended or was stopped.
    Ending(WorkerLease),
}

/// A nonce, and what decides what it is good for.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Nonce {
    #[serde(skip)]
    pub bytes: Vec<u8>,
    /// The version of the state when it was issued.
    pub version: u64,
    pub at: Mono,
    /// Under the next certificate.
    pub next: bool,
    pub used: bool,
}

/// A worker's process, and what it has on its disk.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Worker {
    pub handle: Option<WorkerHandle>,
    pub hand: Hand,
    /// The lease that it was given last: what it can report the cleanup of.
    pub last: Option<WorkerLease>,
    pub nonce: Option<Nonce>,
    /// It presents its next certificate.
    pub next: bool,
}

/// A message on its way. Those to the fleet carry when they were sent, where that matters.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Message {
    Assign(u8, WorkerLease),
    Revoke(u8, Fence),
    Start(u8, WorkerHandle, Fence, Mono),
    Renew(u8, WorkerHandle, Fence, Mono),
    /// The answer to either: what was left when it was given, and when it was asked for.
    Told(u8, Fence, Millis, Mono),
    Complete(u8, WorkerHandle, WorkerLease),
    Acknowledge(u8, WorkerHandle, WorkerLease),
    Cleanup(u8, WorkerHandle, WorkerLease),
}

/// What was accepted and does not last yet: nothing of it has left.
#[derive(Clone, Debug)]
pub enum Held {
    Acquired(Ticket<Acquired>),
    Attested(u8, Ticket<Attested>),
    Remaining(u8, Mono, Ticket<Remaining>),
    Verdict(u8, Fence, Ticket<Verdict>),
    Managed(Ticket<Managed>),
    Revoked(Ticket<Revoked>),
    Expired(Ticket<Expired>),
    Nothing(Ticket<()>),
}

/// What a restore goes back to.
#[derive(Debug)]
pub struct Backup {
    pub snapshot: Vec<u8>,
    pub promises: Promises,
    /// What tells backups apart: the shape of the state then, and when that was.
    pub shape: [u64; 2],
    pub at: Mono,
}

/// One state of everything.
#[derive(Clone)]
pub struct State {
    pub world: World,
    pub workers: Vec<Worker>,
    pub net: Vec<Message>,
    pub held: Vec<Held>,
    pub gate: Option<Enforcement>,
    pub left: Budget,
    pub promises: Promises,
    /// The same, as they stood when everything lasted.
    pub lasting: Promises,
    /// The last grant of each run that was spent.
    pub grants: Vec<Option<WorkerRunGrant>>,
    pub backup: Arc<Backup>,
    /// The first promise that was seen to be broken.
    pub broken: Option<String>,
    /// Without what is left of the budget.
    shape: [u64; 2],
}

impl Hash for State {
    fn hash<H: Hasher>(&self, into: &mut H) {
        self.shape.hash(into);
        self.left.hash(into);
    }
}

/// States are told apart by what the search tells them apart by.
impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        (self.shape, self.left) == (other.shape, other.left)
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let views: Vec<_> = self.world.fleet.state().workers().map(|view| (view.state, view.owes)).collect();
        f.debug_struct("State")
            .field("now", &self.world.now.mono)
            .field("workers", &views)
            .field("net", &self.net)
            .field("broken", &self.broken)
            .finish_non_exhaustive()
    }
}

pub fn rules(form: &mut WorkerFleetPolicyForm) {
    form.lease.ttl_min_ms = Millis(2_000);
    form.lease.ttl_max_ms = Millis(10_000);
    form.lease.longest_ms = Millis(25_000);
    form.lease.renew_every_ms = Millis(3_000);
    form.lease.grace_ms = Millis(4_000);
    form.lease.clock_budget_ms = Millis(500);
    form.lease.max_staleness_ms = Millis(2_000);
    form.lease.start_ms = Millis(4_500);
    form.lease.acknowledge_ms = Millis(3_500);
    form.liveness.heartbeat_every_ms = Millis(1_000);
    form.liveness.offline_after_ms = Millis(5_000);
    form.liveness.brake_min_workers = 2;
    form.liveness.brake_hold_ms = Millis(20_000);
    form.runs.max_attempts = 2;
}

impl State {
    pub fn new(budget: Budget) -> Self {
        let mut world = World::new(rules);
        let workers = (0..budget.workers)
            .map(|n| {
                let handle = Some(world.join(u32::from(n), "a"));
                Worker { handle, hand: Hand::Idle, last: None, nonce: None, next: false }
            })
            .collect();
        let promises = Promises::new(budget.workers, budget.runs, budget.pings > 0);
        let backup = Arc::new(Backup {
            snapshot: world.checkpoint(),
            promises: promises.clone(),
            shape: [0; 2],
            at: world.now.mono,
        });
        let gate = (budget.pings > 0).then(|| Enforcement::new(&world));
        let mut state = Self {
            world,
            workers,
            net: Vec::new(),
            held: Vec::new(),
            gate,
            left: budget,
            lasting: promises.clone(),
            promises,
            grants: vec![None; budget.runs.into()],
            backup,
            broken: None,
            shape: [0; 2],
        };
        state.settle();
        state
    }

    /// What tells states apart, whatever is left of the budget.
    pub fn shape(&self) -> [u64; 2] {
        self.shape
    }

    /// Keeps the state as it is.
    pub fn back_up(&mut self) {
        let (snapshot, promises) = (self.world.checkpoint(), self.promises.clone());
        self.backup = Arc::new(Backup { snapshot, promises, shape: self.shape, at: self.world.now.mono });
    }

    /// Computes the shape after a change. Messages have no order.
    pub fn settle(&mut self) {
        let mut shape = Shape::new(self.world.now);
        shape.fleet(&self.world.fleet);
        shape.add(&self.workers);
        shape.add(&self.promises);
        shape.add(&(self.held.len(), self.broken.is_some()));
        if !self.held.is_empty() {
            shape.add(&self.lasting);
        }
        if let Some(gate) = &self.gate {
            gate.shape(&mut shape);
        }
        if self.left.restores > 0 {
            shape.add(&(self.backup.shape, self.backup.at));
        }
        shape.add(&self.net);
        let words = shape.finish();
        let half = |seed: u64| {
            words.iter().fold(seed, |hash, word| {
                let hash = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                hash ^ hash >> 29
            })
        };
        self.shape = [half(1), half(0x5851_f42d_4c95_7f2d)];
    }

    pub fn break_promise(&mut self, what: &str) {
        self.broken.get_or_insert_with(|| what.to_owned());
    }

    /// The certificate that worker `n` presents, under which it is known to the fleet.
    pub fn device(&self, n: u8) -> Principal {
        let next = self.workers[usize::from(n)].next;
        Principal::Device { device: World::device_id(n.into()), certificate: certificate(n, next) }
    }

    pub fn worker_of(&self, handle: WorkerHandle) -> u8 {
        // Workers joined in the order of their numbers, and none is forgotten within a search.
        u8::try_from(handle.slot).unwrap_or(u8::MAX)
    }

    pub fn view(&self, n: u8) -> Option<WorkerView<'_>> {
        self.world.fleet.state().worker(&World::worker_id(n.into()))
    }

    /// Puts a message on its way; one like it on its way already is enough.
    pub fn send(&mut self, message: Message) {
        if !self.net.contains(&message) {
            self.net.push(message);
        }
    }
}

/// The certificate of device `n`: the one that it was registered with, or the next one.
pub fn certificate(n: u8, next: bool) -> leasehold::digest::Sha256Digest {
    if next {
        leasehold::digest::Sha256Digest::of(format!("next certificate {n}").as_bytes())
    } else {
        World::certificate(n.into())
    }
}
