//! Requests to devices: enqueue, hand over and complete at one thousand and one million devices, each of which has a
//! request in hand already. Devices are visited at random. Decisions and their events are timed, and no journal.
//!
//! ```text
//! cargo bench --bench dispatch             criterion, each size by itself
//! cargo bench --bench dispatch -- --bars   both sizes in turns, and whether they cost the same
//! dispatch --instructions STEP SIZE COUNT  for callgrind
//! ```
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "a bench looks at the clock")]

#[allow(dead_code, reason = "worlds time themselves here")]
mod bars;
mod flat;

use criterion::Criterion;
use flat::Meter;
use leasehold::{
    capability::{CapabilityName, CapabilitySet},
    dispatch::*,
    id::{ClientId, DeviceId, RequestId},
    time::{Millis, Now},
};

/// Requests of one round: so few that hardly two of them are for one of a thousand devices, as of a million.
const ROUND: u64 = 32;

/// Rounds of each world with `--bars`.
const ROUNDS: usize = 5_000;

const STEPS: [&str; 4] = ["enqueue", "enqueue_any", "dispatch", "complete"];

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
            let ask = world.ask(Target::Device(device(n)), Millis::from_secs(9_000_000));
            world.enqueue(&ask);
            world.hand_over();
        }
        world
    }

    fn ask(&mut self, target: Target, ttl_ms: Millis) -> EnqueueRequest {
        self.next += 1;
        EnqueueRequest {
            request: RequestId::new(&format!("request-{}", self.next)).unwrap(),
            target,
            capability: self.cam.clone(),
            payload: Payload::new(b"sixteen bytes...."),
            result_limit: 64,
            ttl_ms,
        }
    }

    fn enqueue(&mut self, ask: &EnqueueRequest) -> DeviceId {
        let decision = self.state.enqueue(&self.live, self.now, &self.client, ask).unwrap();
        self.state.accept(&mut self.live, self.now, decision).unwrap().answer.device
    }

    fn hand_over(&mut self) {
        loop {
            let decision = self.state.decide_sends(&self.live, self.now);
            if self.state.accept(&mut self.live, self.now, decision).unwrap().answer == More::Done {
                return;
            }
        }
    }

    fn complete(&mut self, device: &DeviceId, answer: &DeviceMessage) {
        let decision = self.state.decide_device(self.now, device, answer).unwrap();
        let _ = self.state.accept(&mut self.live, self.now, decision).unwrap();
    }

    fn someone(&mut self) -> DeviceId {
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        device((self.dice >> 20) % self.size)
    }

    /// Every step of as many requests. What a client or a device says is there before the clock starts.
    fn round(&mut self, meter: &mut Meter) {
        let ttl = Millis(60_000);
        let asks = |world: &mut Self, target: fn(&mut Self) -> Target| -> Vec<EnqueueRequest> {
            (0..ROUND / 2)
                .map(|_| {
                    let target = target(world);
                    world.ask(target, ttl)
                })
                .collect()
        };
        let named = asks(self, |world| Target::Device(world.someone()));
        let any = asks(self, |_| Target::Any);
        let mut devices = Vec::with_capacity(named.len() + any.len());
        meter.measure(0, ROUND / 2, || devices.extend(named.iter().map(|ask| self.enqueue(ask))));
        meter.measure(1, ROUND / 2, || devices.extend(any.iter().map(|ask| self.enqueue(ask))));
        meter.measure(2, ROUND, || self.hand_over());
        let answer = |ask: EnqueueRequest| DeviceMessage::Answer {
            incarnation: Incarnation(1),
            request: ask.request,
            attempt: 1,
            outcome: Outcome::Succeeded(Payload::new(b"sixteen bytes....")),
        };
        let answers: Vec<DeviceMessage> = named.into_iter().chain(any).map(answer).collect();
        meter.measure(3, ROUND, || {
            for (device, answer) in devices.iter().zip(&answers) {
                self.complete(device, answer);
            }
        });
        // What has ended is forgotten, so that every round finds the same.
        self.now = self.now.plus(Millis(1));
        loop {
            let decision = self.state.decide_due(&self.live, self.now);
            if self.state.accept(&mut self.live, self.now, decision).unwrap().answer == More::Done {
                break;
            }
        }
        assert_eq!(self.state.counts().requests, self.size);
    }
}

fn main() {
    if flat::asked_for(&STEPS, ROUNDS, World::new, World::round) {
        return;
    }
    let mut criterion = Criterion::default().sample_size(10).configure_from_args();
    flat::each(&mut criterion, "dispatch", &STEPS, World::new, World::round);
    criterion.final_summary();
}
