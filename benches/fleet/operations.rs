//! What is measured: each operation on random workers, in batches, with its arguments made before the clock starts.

use std::hint::black_box;

use leasehold::{fleet::*, testing::World};

use crate::fixture::{BATCH, Fixture, Meter};

pub struct Operation {
    pub name: &'static str,
    /// How many of it the smallest measurement makes.
    pub least: usize,
    /// How many at most: what lets time pass would pass the ends of leases and evidence.
    pub most: usize,
    run: fn(&mut Fixture, &mut Meter),
}

impl Operation {
    /// Makes at least `count` of it, in whole batches.
    pub fn run(&self, fixture: &mut Fixture, count: usize) -> Meter {
        let mut meter = Meter::default();
        while meter.operations < count.min(self.most) as u64 {
            (self.run)(fixture, &mut meter);
        }
        meter
    }

    pub fn named(name: &str) -> Option<&'static Self> {
        OPERATIONS.iter().find(|operation| operation.name == name)
    }
}

/// Everything that leaves the fleet as large as it was.
pub const OPERATIONS: &[Operation] = &[
    Operation { name: "heartbeat", least: 4_096, most: usize::MAX, run: heartbeat },
    Operation { name: "heartbeat_by_id", least: 4_096, most: usize::MAX, run: heartbeat_by_id },
    Operation { name: "acquire", least: 1_024, most: usize::MAX, run: acquire },
    Operation { name: "complete", least: 1_024, most: usize::MAX, run: complete },
    Operation { name: "renew", least: 4_096, most: usize::MAX, run: renew },
    Operation { name: "acquire_decide", least: 1_024, most: usize::MAX, run: acquire_decide },
    Operation { name: "acquire_accept", least: 1_024, most: usize::MAX, run: acquire_accept },
    Operation { name: "renew_decide", least: 4_096, most: usize::MAX, run: renew_decide },
    Operation { name: "renew_accept", least: 4_096, most: usize::MAX, run: renew_accept },
    Operation { name: "register", least: 64, most: 64, run: register },
    Operation { name: "nothing_due", least: 4_096, most: usize::MAX, run: nothing_due },
    Operation { name: "k_due", least: 128, most: 128, run: k_due },
    Operation { name: "counts", least: 4_096, most: usize::MAX, run: counts },
];

fn heartbeat(f: &mut Fixture, meter: &mut Meter) {
    let messages: Vec<_> = (0..BATCH).map(|_| f.anybody()).collect();
    let (fleet, now) = (&mut f.world.fleet, f.world.now);
    meter.measure(BATCH, || {
        for (handle, principal) in &messages {
            let change = fleet.heartbeat(*handle, principal, now).unwrap();
            assert!(change.is_none());
        }
    });
}

fn heartbeat_by_id(f: &mut Fixture, meter: &mut Meter) {
    let messages: Vec<_> = (0..BATCH)
        .map(|_| {
            let peer = &f.peers[f.random.below(f.peers.len())];
            (peer.id.clone(), peer.principal.clone())
        })
        .collect();
    let (fleet, now) = (&mut f.world.fleet, f.world.now);
    meter.measure(BATCH, || {
        for (id, principal) in &messages {
            let handle = fleet.state().handle_of(id).unwrap();
            let change = fleet.heartbeat(handle, principal, now).unwrap();
            assert!(change.is_none());
        }
    });
}

fn acquire(f: &mut Fixture, meter: &mut Meter) {
    let leases = f.acquire(meter, 900);
    f.complete(&mut Meter::aside(), &leases);
}

fn complete(f: &mut Fixture, meter: &mut Meter) {
    let leases = f.acquire(&mut Meter::aside(), 900);
    f.complete(meter, &leases);
}

fn renew(f: &mut Fixture, meter: &mut Meter) {
    f.world.pass(1);
    let messages: Vec<_> = (0..BATCH).map(|_| f.somebody_busy()).collect();
    let mut tickets = Vec::with_capacity(BATCH);
    let (fleet, now) = (&mut f.world.fleet, f.world.now);
    meter.measure(BATCH, || {
        for (renew, principal) in &messages {
            let prepared = fleet.decide(renew, principal, None, now).unwrap();
            tickets.push(fleet.accept(prepared).unwrap());
        }
    });
    f.drain();
}

fn acquire_decide(f: &mut Fixture, meter: &mut Meter) {
    let asks: Vec<_> = (0..BATCH).map(|_| f.ask(900)).collect();
    let mut prepared = Vec::with_capacity(BATCH);
    let (fleet, now, service) = (&f.world.fleet, f.world.now, World::service());
    meter.measure(BATCH, || {
        for ask in &asks {
            prepared.push(fleet.decide(ask, &service, None, now).unwrap());
        }
    });
}

fn acquire_accept(f: &mut Fixture, meter: &mut Meter) {
    let ask = f.ask(900);
    let prepared = f.world.fleet.decide(&ask, &World::service(), None, f.world.now).unwrap();
    let ticket = meter.measure(1, || f.world.fleet.accept(prepared).unwrap());
    f.drain();
    let acquired = ticket.redeem(&f.world.fleet).unwrap().answer;
    f.complete(&mut Meter::aside(), &[(acquired.worker, acquired.lease)]);
}

fn renew_decide(f: &mut Fixture, meter: &mut Meter) {
    f.world.pass(1);
    let messages: Vec<_> = (0..BATCH).map(|_| f.somebody_busy()).collect();
    let mut prepared = Vec::with_capacity(BATCH);
    let (fleet, now) = (&f.world.fleet, f.world.now);
    meter.measure(BATCH, || {
        for (renew, principal) in &messages {
            prepared.push(fleet.decide(renew, principal, None, now).unwrap());
        }
    });
}

fn renew_accept(f: &mut Fixture, meter: &mut Meter) {
    f.world.pass(1);
    let (renew, principal) = f.somebody_busy();
    let prepared = f.world.fleet.decide(&renew, &principal, None, f.world.now).unwrap();
    drop(black_box(meter.measure(1, || f.world.fleet.accept(prepared).unwrap())));
    f.drain();
}

/// A paired device that no worker runs on brings evidence; afterwards the worker is retired and forgotten.
fn register(f: &mut Fixture, meter: &mut Meter) {
    let now = f.world.now;
    let messages: Vec<_> =
        f.spare.clone().into_iter().map(|n| (n, f.evidence(n, None), crate::fixture::device(n))).collect();
    let mut tickets = Vec::with_capacity(BATCH);
    let fleet = &mut f.world.fleet;
    meter.measure(messages.len(), || {
        for (_, attest, principal) in &messages {
            let prepared = fleet.decide(attest, principal, None, now).unwrap();
            tickets.push(fleet.accept(prepared).unwrap());
        }
    });
    f.drain();
    for (n, ..) in messages {
        let retire = Retire { worker: crate::fixture::worker_id(n) };
        f.world.ask(&retire, &World::operator()).unwrap();
    }
    f.world.pass(2);
    assert_eq!(f.world.expire().len(), BATCH);
    f.drain();
}

fn nothing_due(f: &mut Fixture, meter: &mut Meter) {
    let (fleet, now) = (&mut f.world.fleet, f.world.now);
    meter.measure(BATCH, || {
        for _ in 0..BATCH {
            let prepared = fleet.expire(now).unwrap();
            assert!(prepared.events().is_empty());
        }
    });
}

/// Leases of a second run out all at once; afterwards their workers pay what they owe and are available again.
fn k_due(f: &mut Fixture, meter: &mut Meter) {
    let leases = f.acquire(&mut Meter::aside(), 1);
    for (worker, lease) in &leases {
        f.start(&Acquired { worker: *worker, lease: lease.clone() });
    }
    f.world.pass(1_001);
    let now = f.world.now;
    let fleet = &mut f.world.fleet;
    meter.measure(leases.len(), || {
        let prepared = fleet.expire(now).unwrap();
        assert_eq!(prepared.events().len(), BATCH);
        drop(black_box(fleet.accept(prepared).unwrap()));
    });
    f.drain();
    for (worker, lease) in &leases {
        let at = usize::try_from(worker.slot).unwrap();
        let principal = f.peers[at].principal.clone();
        f.world.ask(&ReportCleanup::new(*worker, World::clean(lease), None), &principal).unwrap();
        let attest = f.evidence(at, Some(*worker));
        f.world.ask(&attest, &principal).unwrap();
        f.beat_at_once(*worker, &principal);
    }
    f.drain();
}

fn counts(f: &mut Fixture, meter: &mut Meter) {
    let state = f.world.fleet.state();
    meter.measure(BATCH, || {
        for _ in 0..BATCH {
            black_box(black_box(state).counts());
        }
    });
}

/// The whole fleet is quarantined: one act, and then steps of a bounded size. Last, since nothing is as it was.
pub struct Sweep {
    pub act: Meter,
    pub calls: usize,
    pub longest: std::time::Duration,
    pub spent: std::time::Duration,
}

pub fn quarantine_all(f: &mut Fixture) -> Sweep {
    let mut act = Meter::default();
    let (fleet, now) = (&mut f.world.fleet, f.world.now);
    act.measure(1, || {
        let prepared = fleet.decide(&QuarantineAll {}, &World::operator(), None, now).unwrap();
        drop(black_box(fleet.accept(prepared).unwrap()));
    });
    f.drain();
    let mut sweep = Sweep { act, calls: 0, longest: Default::default(), spent: Default::default() };
    loop {
        let mut call = Meter::default();
        let fleet = &mut f.world.fleet;
        let more = call.measure(1, || {
            let prepared = fleet.expire(now).unwrap();
            let ticket = fleet.accept(prepared).unwrap();
            fleet.next_deadline().is_some_and(|at| at <= now.mono) && ticket.index() > 0
        });
        f.drain();
        sweep.calls += 1;
        sweep.longest = sweep.longest.max(call.spent);
        sweep.spent += call.spent;
        if !more {
            return sweep;
        }
    }
}
