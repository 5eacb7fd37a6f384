//! Requests to devices: enqueue, hand over and complete at one thousand and one million devices, each of which has a
//! request in hand already. Devices are visited at random. Decisions and their events are timed, and no journal.
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "a bench looks at the clock")]

use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use leasehold::{
    capability::{CapabilityName, CapabilitySet},
    dispatch::*,
    id::{ClientId, DeviceId, RequestId},
    time::{Millis, Now},
};

/// Requests of one round.
const ROUND: u64 = 1_024;

/// What one round spent on each step.
#[derive(Default)]
struct Spent {
    enqueue: Duration,
    any: Duration,
    dispatch: Duration,
    complete: Duration,
}

struct World {
    state: DispatchState,
    live: DispatchLiveness,
    now: Now,
    size: u64,
    next: u64,
    dice: u64,
    client: ClientId,
    cam: CapabilityName,
}

fn device(n: u64) -> DeviceId {
    DeviceId::new(&format!("device-{n}")).unwrap()
}

fn policy() -> DispatchPolicy {
    DispatchPolicy::try_from(DispatchPolicyDocument {
        max_devices: 2_000_000,
        max_requests: 4_000_000,
        max_total_bytes: 1 << 40,
        longest_ttl_ms: Millis::from_secs(10_000_000),
        retention_ms: Millis(1),
        staleness_ms: Millis::from_secs(100_000_000),
        max_per_call: 4_096,
        ..DispatchPolicyDocument::default()
    })
    .unwrap()
}

impl World {
    fn new(size: u64) -> Self {
        let mut world = Self {
            state: DispatchState::new(policy(), [7; 16]),
            live: DispatchLiveness::new(),
            now: Now::new(1_000, 1_000),
            size,
            next: 0,
            dice: 1,
            client: ClientId::new("service").unwrap(),
            cam: CapabilityName::new("cam").unwrap(),
        };
        let cam = CapabilitySet::parse(["cam"]).unwrap();
        for n in 0..size {
            let order = DispatchCommand::Grant { device: device(n), capabilities: cam.clone() };
            let decision = world.state.decide_operator(world.now, &order).unwrap();
            let _ = world.state.accept(&mut world.live, world.now, decision).unwrap();
            let hello =
                DeviceMessage::Connect { incarnation: Incarnation(1), claims: cam.clone(), window: 16 };
            let decision = world.state.decide_device(world.now, &device(n), &hello).unwrap();
            let _ = world.state.accept(&mut world.live, world.now, decision).unwrap();
            world.enqueue(Target::Device(device(n)), Millis::from_secs(9_000_000));
            world.hand_over();
        }
        world
    }

    fn enqueue(&mut self, target: Target, ttl_ms: Millis) -> (RequestId, DeviceId) {
        self.next += 1;
        let request = RequestId::new(&format!("request-{}", self.next)).unwrap();
        let ask = EnqueueRequest {
            request: request.clone(),
            target,
            capability: self.cam.clone(),
            payload: Payload::new(b"sixteen bytes...."),
            result_limit: 64,
            ttl_ms,
        };
        let decision = self.state.enqueue(&self.live, self.now, &self.client, &ask).unwrap();
        (request, self.state.accept(&mut self.live, self.now, decision).unwrap().answer.device)
    }

    fn hand_over(&mut self) {
        loop {
            let decision = self.state.decide_sends(&self.live, self.now);
            if self.state.accept(&mut self.live, self.now, decision).unwrap().answer == More::Done {
                return;
            }
        }
    }

    fn complete(&mut self, request: RequestId, device: &DeviceId) {
        let outcome = Outcome::Succeeded(Payload::new(b"sixteen bytes...."));
        let answer = DeviceMessage::Answer { incarnation: Incarnation(1), request, attempt: 1, outcome };
        let decision = self.state.decide_device(self.now, device, &answer).unwrap();
        let _ = self.state.accept(&mut self.live, self.now, decision).unwrap();
    }

    fn someone(&mut self) -> DeviceId {
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        device((self.dice >> 20) % self.size)
    }

    fn round(&mut self) -> Spent {
        let mut spent = Spent::default();
        let targets: Vec<Target> = (0..ROUND / 2).map(|_| Target::Device(self.someone())).collect();
        let mut open = Vec::new();
        let start = Instant::now();
        for target in targets {
            open.push(self.enqueue(target, Millis(60_000)));
        }
        spent.enqueue = start.elapsed();
        let start = Instant::now();
        for _ in 0..ROUND / 2 {
            open.push(self.enqueue(Target::Any, Millis(60_000)));
        }
        spent.any = start.elapsed();
        let start = Instant::now();
        self.hand_over();
        spent.dispatch = start.elapsed();
        let start = Instant::now();
        for (request, device) in open {
            self.complete(request, &device);
        }
        spent.complete = start.elapsed();
        // What has ended is forgotten, so that every round finds the same.
        self.now = self.now.plus(Millis(1));
        loop {
            let decision = self.state.decide_due(&self.live, self.now);
            if self.state.accept(&mut self.live, self.now, decision).unwrap().answer == More::Done {
                break;
            }
        }
        assert_eq!(self.state.counts().requests, self.size);
        spent
    }
}

fn dispatch(criterion: &mut Criterion) {
    type Step = fn(&Spent) -> (Duration, u64);
    let steps: [(&str, Step); 4] = [
        ("enqueue", |spent| (spent.enqueue, ROUND / 2)),
        ("enqueue_any", |spent| (spent.any, ROUND / 2)),
        ("dispatch", |spent| (spent.dispatch, ROUND)),
        ("complete", |spent| (spent.complete, ROUND)),
    ];
    let mut group = criterion.benchmark_group("dispatch");
    for size in [1_000, 1_000_000] {
        let mut world = World::new(size);
        for (name, step) in steps {
            group.bench_function(BenchmarkId::new(name, size), |b| {
                b.iter_custom(|iterations| {
                    let (mut spent, mut done) = (Duration::ZERO, 0);
                    while done < iterations {
                        let (more, count) = step(&world.round());
                        (spent, done) = (spent + more, done + count);
                    }
                    spent.mul_f64(iterations as f64 / done as f64)
                });
            });
        }
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10);
    targets = dispatch
}
criterion_main!(benches);
