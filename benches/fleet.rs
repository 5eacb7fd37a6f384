//! The fleet at one thousand to one million workers, and the model of maps and scans beside it.
//!
//! `cargo bench --bench fleet`. One million workers where `LEASEHOLD_BENCH_MILLION` is set; the model stops at 100
//! thousand. Nine of ten workers run something; there are 32 capability classes; workers are visited at random, so
//! that no operation finds its worker in a cache. Decisions and their events are timed, and the journal is not.
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "a bench looks at the clock")]

mod naive;

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use leasehold::{
    fleet::*,
    id::{GrantId, IssuerId, ToolId},
    lease::{Fence, GrantTerms, RelativePath, WorkerLeaseRequest, WorkerRunGrant, WorkspaceScope},
    testing::World,
    time::Millis,
};
use naive::{Ask, Model, Sender};

/// Operations between two looks at the clock; fewer than the smallest fleet has idle workers.
const BATCH: u64 = 32;

fn rules(form: &mut WorkerFleetPolicyForm) {
    form.lease.ttl_max_ms = Millis::from_secs(2_000);
    form.lease.start_ms = Millis::from_secs(2_000);
    form.liveness.offline_after_ms = Millis::from_secs(2_900);
    let limits = &mut form.limits;
    (limits.workers, limits.devices, limits.nonces) = (2_000_000, 2_000_000, 2_000_000);
    (limits.runs, limits.grants) = (64_000_000, 64_000_000);
}

/// A capability set of the 32 that hold `a`.
fn letters(n: u32) -> String {
    let rest = "bcdef".chars().enumerate().filter(|(bit, _)| n >> bit & 1 == 1).map(|(_, letter)| letter);
    ["a"].into_iter().map(String::from).chain(rest.map(String::from)).collect()
}

fn bits(letters: &str) -> u8 {
    letters.bytes().fold(0, |set, letter| set | 1 << (letter - b'a'))
}

/// xorshift64*: the same workers in the same order in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).unwrap() % n
    }
}

/// A worker as its connection knows it.
struct Peer {
    handle: WorkerHandle,
    principal: Principal,
    lease: Option<Fence>,
}

struct Fixture {
    world: World,
    peers: Vec<Peer>,
    busy: Vec<usize>,
    terms: GrantTerms,
    workspace: WorkspaceScope,
    random: Random,
    runs: u32,
}

impl Fixture {
    fn new(size: u32) -> Self {
        let mut world = World::new(rules);
        let terms = world.grant(0, "a").terms().clone();
        let path = |text| RelativePath::new(text).unwrap();
        let workspace = WorkspaceScope::new(path("run"), [path("out")]).unwrap();
        let mut peers = Vec::new();
        for n in 0..size {
            let handle = world.join(n, &letters(n));
            peers.push(Peer { handle, principal: World::device(n), lease: None });
            // The journal is not what is measured, and would fill the memory.
            world.journal.clear();
        }
        let random = Random(0x9e37_79b9_7f4a_7c15);
        let mut fixture = Self { world, peers, busy: Vec::new(), terms, workspace, random, runs: 0 };
        for _ in 0..u64::from(size) * 9 / 10 {
            let ask = fixture.ask();
            let acquired = fixture.world.ask(&ask, &World::service()).unwrap().answer;
            fixture.start(&acquired);
            let slot = usize::try_from(acquired.worker.slot).unwrap();
            fixture.peers[slot].lease = Some(acquired.lease.fence);
            fixture.busy.push(slot);
            fixture.world.journal.clear();
        }
        fixture.world.pass(1);
        for at in 0..fixture.busy.len() {
            fixture.renew(fixture.busy[at]);
        }
        fixture.drain();
        fixture.world.expire();
        fixture
    }

    /// What was accepted goes to the journal, where nobody looks at it.
    fn drain(&mut self) {
        self.world.write();
        self.world.journal.clear();
    }

    /// A request for a run of its own, with the capabilities of one class.
    fn ask(&mut self) -> Acquire {
        self.runs += 1;
        let capabilities = World::capabilities(&letters(u32::try_from(self.random.below(32)).unwrap()));
        let terms = GrantTerms {
            id: GrantId::new(&format!("bench-{}", self.runs)).unwrap(),
            issuer: IssuerId::new("bench").unwrap(),
            run: World::run_id(self.runs),
            tool: ToolId::new("tool").unwrap(),
            capabilities: World::capabilities("a"),
            ..self.terms.clone()
        };
        // Few idle workers have everything: the narrow half of the requests finds somebody for sure.
        let capabilities = if self.world.fleet.state().counts().available > 64 * 32 {
            capabilities
        } else {
            terms.capabilities.clone()
        };
        let terms = GrantTerms { capabilities: capabilities.clone(), ..terms };
        let tool = terms.tool.clone();
        let grant = WorkerRunGrant::mint(terms).unwrap();
        let ttl = Millis::from_secs(1_000);
        Acquire::new(WorkerLeaseRequest::new(grant, tool, capabilities, ttl, self.workspace.clone()).unwrap())
    }

    fn start(&mut self, acquired: &Acquired) {
        let peer = &self.peers[usize::try_from(acquired.worker.slot).unwrap()];
        let start = Start { worker: acquired.worker, fence: acquired.lease.fence };
        self.world.ask(&start, &peer.principal).unwrap();
    }

    /// Decides and accepts, and leaves the journal for later.
    fn renew(&mut self, slot: usize) {
        let peer = &self.peers[slot];
        let renew = Renew { worker: peer.handle, fence: peer.lease.unwrap() };
        let world = &mut self.world;
        let prepared = world.fleet.decide(&renew, &peer.principal, None, world.now).unwrap();
        drop(black_box(world.fleet.accept(prepared).unwrap()));
    }

    fn beat(&mut self, slot: usize) {
        let peer = &self.peers[slot];
        let changes = self.world.fleet.heartbeat(peer.handle, &peer.principal, self.world.now).unwrap();
        black_box(changes.is_none());
    }

    /// Acquires and completes `BATCH` runs; gives how long each half took.
    fn churn(&mut self) -> [Duration; 2] {
        let service = World::service();
        let asks: Vec<_> = (0..BATCH).map(|_| self.ask()).collect();
        let (fleet, now) = (&mut self.world.fleet, self.world.now);
        let began = Instant::now();
        let tickets: Vec<_> = asks
            .iter()
            .map(|ask| {
                let prepared = fleet.decide(ask, &service, None, now).unwrap();
                fleet.accept(prepared).unwrap()
            })
            .collect();
        let acquiring = began.elapsed();
        self.drain();
        let mut completions = Vec::new();
        for ticket in tickets {
            let acquired = ticket.redeem(&self.world.fleet).unwrap().answer;
            self.start(&acquired);
            completions.push((acquired.worker.slot, World::completion(acquired.worker, &acquired.lease)));
        }
        let (fleet, peers) = (&mut self.world.fleet, &self.peers);
        let began = Instant::now();
        for (slot, completion) in &completions {
            let principal = &peers[usize::try_from(*slot).unwrap()].principal;
            let prepared = fleet.decide(completion, principal, None, now).unwrap();
            drop(black_box(fleet.accept(prepared).unwrap()));
        }
        let completing = began.elapsed();
        self.drain();
        [acquiring, completing]
    }
}

/// The model at the same size, with the same share at work.
struct Baseline {
    model: Model,
    peers: Vec<Sender>,
    busy: Vec<usize>,
    random: Random,
    runs: u32,
}

impl Baseline {
    fn new(size: u32) -> Self {
        let mut model = Model::new(1_000, 1, World::policy(rules).into());
        let mut peers = Vec::new();
        for n in 0..size {
            peers.push(model.enlist(n, bits(&letters(n)), n % 10 != 0));
        }
        let busy = (0..peers.len()).filter(|n| n % 10 != 0).collect();
        Self { model, peers, busy, random: Random(0x9e37_79b9_7f4a_7c15), runs: size }
    }

    fn churn(&mut self) -> [Duration; 2] {
        self.runs += 1;
        let capabilities = bits(&letters(0));
        let (run, grant) = (self.runs, u64::from(self.runs));
        let ask = Ask { run, grant, grant_ends: 10_000_000, capabilities, ttl: 1_000_000, on: None };
        let began = Instant::now();
        let (worker, lease) = self.model.acquire(&ask).unwrap();
        let acquiring = began.elapsed();
        let from = self.peers[usize::try_from(worker).unwrap()];
        self.model.start(from, lease.fence).unwrap();
        let began = Instant::now();
        self.model.complete(from, lease.fence, RunOutcome::Succeeded, true, Some(Ok(()))).unwrap();
        [acquiring, began.elapsed()]
    }
}

fn sizes() -> Vec<u32> {
    // As a smoke test, the smallest will do.
    if std::env::args().any(|argument| argument == "--test") {
        return vec![1_000];
    }
    let mut sizes = vec![1_000, 10_000, 100_000];
    sizes.extend(std::env::var_os("LEASEHOLD_BENCH_MILLION").map(|_| 1_000_000));
    sizes
}

/// Times `act` in batches; `after` what each batch leaves behind is not timed.
fn batches<T>(
    fixture: &mut T,
    iterations: u64,
    mut act: impl FnMut(&mut T),
    mut after: impl FnMut(&mut T),
) -> Duration {
    let mut total = Duration::ZERO;
    let mut left = iterations;
    while left > 0 {
        let batch = left.min(BATCH);
        let began = Instant::now();
        for _ in 0..batch {
            act(fixture);
        }
        total += began.elapsed();
        after(fixture);
        left -= batch;
    }
    total
}

fn fleet(criterion: &mut Criterion) {
    for size in sizes() {
        let mut fixture = Fixture::new(size);
        let mut group = criterion.benchmark_group("fleet");
        let fixture = &mut fixture;
        group.bench_function(BenchmarkId::new("heartbeat", size), |b| {
            b.iter_custom(|iterations| {
                let beat = |f: &mut Fixture| {
                    let slot = f.random.below(f.peers.len());
                    f.beat(slot);
                };
                batches(fixture, iterations, beat, |_| {})
            });
        });
        group.bench_function(BenchmarkId::new("renew", size), |b| {
            b.iter_custom(|iterations| {
                let renew = |f: &mut Fixture| {
                    let slot = f.busy[f.random.below(f.busy.len())];
                    f.renew(slot);
                };
                batches(fixture, iterations, renew, |f| {
                    f.drain();
                    f.world.pass(1);
                })
            });
        });
        for (half, name) in [(0, "acquire"), (1, "complete")] {
            group.bench_function(BenchmarkId::new(name, size), |b| {
                b.iter_custom(|iterations| {
                    let rounds = iterations.div_ceil(BATCH);
                    let spent: Duration = (0..rounds).map(|_| fixture.churn()[half]).sum();
                    spent.mul_f64(iterations as f64 / (rounds * BATCH) as f64)
                });
            });
        }
        group.bench_function(BenchmarkId::new("nothing_due", size), |b| {
            b.iter(|| black_box(fixture.world.fleet.expire(fixture.world.now).unwrap().events().len()));
        });
        group.bench_function(BenchmarkId::new("counts", size), |b| {
            b.iter(|| black_box(black_box(fixture.world.fleet.state()).counts()));
        });
        group.finish();
    }
}

fn model(criterion: &mut Criterion) {
    for size in sizes().into_iter().filter(|size| *size <= 100_000) {
        let mut baseline = Baseline::new(size);
        let mut group = criterion.benchmark_group("model");
        let baseline = &mut baseline;
        group.bench_function(BenchmarkId::new("heartbeat", size), |b| {
            b.iter(|| {
                let at = baseline.random.below(baseline.peers.len());
                baseline.model.heartbeat(baseline.peers[at]).unwrap();
            });
        });
        group.bench_function(BenchmarkId::new("renew", size), |b| {
            b.iter(|| {
                baseline.model.now += 1;
                let from = baseline.peers[baseline.busy[baseline.random.below(baseline.busy.len())]];
                let fence = baseline.model.workers[&from.worker].lease.as_ref().unwrap().fence;
                black_box(baseline.model.renew(from, fence)).ok()
            });
        });
        baseline.model.now = 1_000;
        for (half, name) in [(0, "acquire"), (1, "complete")] {
            group.bench_function(BenchmarkId::new(name, size), |b| {
                b.iter_custom(|iterations| (0..iterations).map(|_| baseline.churn()[half]).sum());
            });
        }
        group.bench_function(BenchmarkId::new("nothing_due", size), |b| {
            b.iter(|| black_box(baseline.model.is_due()));
        });
        group.bench_function(BenchmarkId::new("counts", size), |b| {
            b.iter(|| black_box(baseline.model.counts()));
        });
        group.finish();
    }
}

fn configuration() -> Criterion {
    Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .without_plots()
}

criterion_group! { name = all; config = configuration(); targets = fleet, model }
criterion_main!(all);
