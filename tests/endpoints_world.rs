//! Coordinator, two agents and a gate, end to end in virtual time: one run, inputs and outputs, revocation, silence,
//! and a world in which connections are cut at any byte and the coordinator dies at any point.

mod endpoints_support;

use endpoints_support::{Host, Sim, WorkerHost, leaf, transport};
use leasehold::{
    agent::{AgentEvent, Asked, StopReason},
    code,
    coordinator::*,
    digest::Sha256Digest,
    fleet::*,
    gate::GateEvent,
    identity::{DeviceCommand, RevocationReason, RevocationSubject},
    lease::*,
    testing::World,
};
use proptest::prelude::*;

fn path(text: &str) -> RelativePath {
    RelativePath::new(text).unwrap()
}

fn acquired(sim: &Sim, tag: u64) -> Result<WorkerLease, code::Code> {
    use leasehold::code::Coded as _;
    match sim.answers.get(&tag).expect("an answer") {
        LocalAnswer::Acquired(Ok(acquired)) => Ok(acquired.lease.clone()),
        LocalAnswer::Acquired(Err(error)) => Err(error.code()),
        other => panic!("{other:?}"),
    }
}

/// Everybody, settled: two workers are available and the gate is synced.
fn settled(seed: u64) -> Sim {
    let mut sim = Sim::with_everybody(seed, CoordinatorConfig::new().inspect(true));
    sim.run(500);
    assert_eq!(sim.coordinator.fleet().state().counts().available, 2);
    sim
}

fn host_of(lease: &WorkerLease) -> usize {
    if lease.worker == World::worker_id(1) { 0 } else { 1 }
}

/// The main path: assigned, inputs, start, run, outputs, verdict, cleanup, and available again.
#[test]
fn a_run_goes_from_assignment_to_a_clean_worker() {
    let mut sim = settled(1);
    sim.inputs = vec![(path("in/a"), b"twenty bytes of input".to_vec()), (path("in/b"), b"x".to_vec())];
    let tag = sim.acquire(1, transport(&sim.inputs));
    sim.settle();
    let lease = acquired(&sim, tag).unwrap();
    let host = host_of(&lease);
    let now = sim.now;
    assert_eq!(sim.gate().check(lease.fence, now), Ok(()));
    sim.run(3_500);
    assert!(matches!(sim.run_state(1), Some(RunState::Ended { outcome: Some(RunOutcome::Succeeded), .. })));
    assert_eq!(sim.endings(1), 1);
    assert_eq!(sim.worker(host).got, b"twenty bytes of inputx");
    assert!(sim.artifacts[&lease.fence].starts_with(b"made"));
    assert_eq!(sim.coordinator.fleet().state().counts().available, 2);
    assert!(
        sim.gate().seen.contains(&GateEvent::LeaseEnded { fence: lease.fence, why: code::FEED_LEASE_ENDED })
    );
    let seen = &sim.worker(host).seen;
    assert!(seen.contains(&AgentEvent::Verdict { fence: lease.fence, verdict: Verdict::CleanupAwaited }));
    assert!(seen.contains(&AgentEvent::Done { fence: lease.fence }));
}

/// A run longer than one lease is renewed; the agent's own deadline is never later than the coordinator's.
#[test]
fn a_long_run_renews_and_its_deadline_is_early() {
    let mut sim = settled(2);
    sim.worker(0).takes = 25_000;
    sim.worker(1).takes = 25_000;
    let tag = sim.acquire(1, transport(&[]));
    sim.settle();
    let lease = acquired(&sim, tag).unwrap();
    let host = host_of(&lease);
    for _ in 0..50 {
        sim.run(500);
        let held = sim.coordinator.fleet().state().worker(&lease.worker).unwrap().lease.cloned();
        if let (Some(own), Some(held)) = (sim.worker(host).agent.may_run_until(), held) {
            assert!(own < held.expires);
        }
    }
    sim.run(5_000);
    assert_eq!(sim.endings(1), 1);
    assert_eq!(sim.worker(host).ran.len(), 1);
}

/// The worker stops itself when it is cut off, before the run is leased again; then it owes cleanup and evidence,
/// gives both, and works again. The other worker finishes the run under a higher fence.
#[test]
fn a_worker_that_is_cut_off_stops_before_the_run_goes_on_elsewhere() {
    let mut sim = settled(3);
    sim.worker(0).takes = 60_000;
    sim.worker(1).takes = 60_000;
    let tag = sim.acquire(1, transport(&[]));
    sim.run(1_000);
    let first = acquired(&sim, tag).unwrap();
    let host = host_of(&first);
    sim.cut(host);
    sim.run(11_500);
    let deadline = AgentEvent::Stop { fence: first.fence, reason: StopReason::Deadline };
    assert!(sim.worker(host).seen.contains(&deadline));
    let view = sim.coordinator.fleet().state().worker(&first.worker).unwrap().state;
    assert_eq!(view, WorkerLifecycleState::Orphaned);
    sim.worker(1 - host).takes = 1_000;
    let tag = sim.acquire(1, transport(&[]));
    sim.settle();
    assert_eq!(acquired(&sim, tag), Err(code::RUN_HELD));
    sim.run(3_000);
    let tag = sim.acquire(1, transport(&[]));
    sim.run(2_000);
    let second = acquired(&sim, tag).unwrap();
    assert!(second.fence > first.fence && second.worker != first.worker);
    assert_eq!(sim.endings(1), 1);
    sim.assert_no_run_twice_at_once();
    sim.connect(host);
    sim.run(8_000);
    let counts = sim.coordinator.fleet().state().counts();
    assert_eq!(counts.available, 2, "{:?}", sim.worker(host).seen);
}

/// A revoked run stops, its gate entry ends at once, and the worker that acknowledges with cleanup works again.
#[test]
fn a_revoked_run_stops_and_is_acknowledged() {
    let mut sim = settled(4);
    sim.worker(0).takes = 60_000;
    sim.worker(1).takes = 60_000;
    for run in 1..=2 {
        let tag = sim.acquire(run, transport(&[]));
        sim.run(500);
        let lease = acquired(&sim, tag).unwrap();
        let host = host_of(&lease);
        sim.revoke(run, lease.fence);
        sim.settle();
        let now = sim.now;
        assert!(sim.gate().check(lease.fence, now).is_err());
        let stop = AgentEvent::Stop { fence: lease.fence, reason: StopReason::Revoked(LossReason::Operator) };
        assert!(sim.worker(host).seen.contains(&stop));
        sim.run(6_000);
        assert_eq!(sim.coordinator.fleet().state().counts().available, 2, "{:?}", sim.worker(host).seen);
    }
}

/// Attack F21: what arrives is not what is claimed.
#[test]
fn f21_a_worker_that_claims_what_it_did_not_send_is_quarantined() {
    let mut sim = settled(5);
    sim.worker(0).made.1 = b"something else".to_vec();
    sim.worker(1).made.1 = b"something else".to_vec();
    let tag = sim.acquire(1, transport(&[]));
    sim.run(3_000);
    let lease = acquired(&sim, tag).unwrap();
    let host = host_of(&lease);
    let refused = AgentEvent::Verdict { fence: lease.fence, verdict: Verdict::OutputRefused };
    assert!(sim.worker(host).seen.contains(&refused));
    assert_eq!(sim.coordinator.fleet().state().counts().quarantined, 1);
    assert_eq!(sim.endings(1), 0);
}

/// A worker whose evidence is refused is told which checks failed, and does not join.
#[test]
fn a_wrong_image_does_not_join() {
    let mut sim = Sim::with_everybody(6, CoordinatorConfig::new());
    sim.worker(0).image = Sha256Digest::of(b"another image");
    sim.run(1_000);
    assert_eq!(sim.coordinator.fleet().state().counts().available, 1);
    let refused = |event: &&AgentEvent| matches!(event, AgentEvent::Refused { asked: Asked::Attest, code } if code.is(code::ATTEST_REFUSED));
    assert!(sim.worker(0).seen.iter().any(|event| refused(&event)));
}

/// Attack P8, invariant 12: a revoked device's open connection is cut, and its next one refused.
#[test]
fn p8_a_revoked_device_is_cut_off_at_once() {
    let mut sim = settled(7);
    sim.worker(0).takes = 60_000;
    sim.worker(1).takes = 60_000;
    let tag = sim.acquire(1, transport(&[]));
    sim.run(500);
    let lease = acquired(&sim, tag).unwrap();
    let host = host_of(&lease);
    let subject = RevocationSubject::Device(lease.device.clone());
    let revoke = DeviceCommand::Revoke { subject, reason: RevocationReason::Lost };
    sim.operator(OperatorCommand::ManageDevice(ManageDevice::new(revoke)));
    sim.settle();
    assert_eq!(sim.codes(), [code::DEVICE_REVOKED]);
    let now = sim.now;
    assert!(sim.gate().check(lease.fence, now).is_err());
    sim.connect(host);
    assert_eq!(sim.codes(), [code::DEVICE_REVOKED; 2]);
}

/// An enforcement point whose device is revoked hears nothing more, and its view fails closed.
#[test]
fn e17_a_revoked_enforcement_point_fails_closed() {
    let mut sim = settled(8);
    let tag = sim.acquire(1, transport(&[]));
    sim.settle();
    let lease = acquired(&sim, tag).unwrap();
    let subject = RevocationSubject::Certificate(Sha256Digest::of(leaf(3)));
    let revoke = DeviceCommand::Revoke { subject, reason: RevocationReason::Lost };
    sim.operator(OperatorCommand::ManageDevice(ManageDevice::new(revoke)));
    sim.settle();
    sim.pass(2_001);
    let now = sim.now;
    assert!(sim.gate().check(lease.fence, now).is_err());
}

/// Attacks F19 and F23: the coordinator dies; agents resume under the new epoch and attest again, the lease goes on.
#[test]
fn f19_a_run_outlives_its_coordinator() {
    let mut sim = settled(9);
    sim.worker(0).takes = 8_000;
    sim.worker(1).takes = 8_000;
    let tag = sim.acquire(1, transport(&[]));
    sim.run(1_000);
    let lease = acquired(&sim, tag).unwrap();
    let host = host_of(&lease);
    sim.crash();
    for host in 0..3 {
        sim.connect(host);
    }
    sim.run(12_000);
    assert_eq!(sim.endings(1), 1);
    assert_eq!(sim.worker(host).ran.len(), 1, "the same lease went on");
    assert_eq!(sim.worker(host).agent.epoch(), Epoch(2));
    let bound =
        sim.worker(host).seen.iter().filter(|event| matches!(event, AgentEvent::Bound { .. })).count();
    assert_eq!(bound, 1, "its evidence is still good under the new epoch");
}

/// A coordinator below an epoch that an agent has seen is left, and learns that it was replaced (attack F23).
#[test]
fn f23_a_deposed_coordinator_is_left() {
    let mut newer = Sim::new(10, CoordinatorConfig::new());
    newer.crash();
    newer.crash();
    newer.hosts =
        vec![Host::Worker(Box::new(WorkerHost::new(1, endpoints_support::Terms::default().patience)))];
    newer.connect(0);
    newer.run(300);
    assert_eq!(newer.worker(0).agent.epoch(), Epoch(3));
    newer.cut(0);
    let mut former = Sim::new(11, CoordinatorConfig::new());
    former.hosts = newer.hosts;
    former.now = newer.now;
    former.connect(0);
    former.settle();
    assert!(former.events.contains(&CoordinatorEvent::Deposed { seen: Epoch(3) }));
    assert_eq!(former.codes(), [code::COORDINATOR_LOWER_EPOCH]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// Invariants 1, 2, 6 and 8, attacks F8, F19, F25: connections are cut at any byte, the coordinator dies between
    /// any two steps and with or without its last write; no run is lost, none ends twice, none is ever going on at
    /// two workers at once.
    #[test]
    fn no_run_is_lost_or_doubled_whatever_is_cut(seed in any::<u64>()) {
        let mut sim = Sim::with_everybody(seed, CoordinatorConfig::new().inspect(seed % 2 == 0));
        let runs = 1..=4_u32;
        for host in 0..2 {
            sim.worker(host).takes = 500 + u64::from(seed as u8) * 20;
        }
        let mut chaos = 400;
        for round in 0..4_000_u32 {
            let ended = |n: u32| matches!(sim.run_state(n), Some(RunState::Ended { .. }));
            if runs.clone().all(ended) {
                break;
            }
            prop_assert!(round < 3_999, "{:?}", runs.map(|n| sim.run_state(n)).collect::<Vec<_>>());
            if round % 20 == 0 {
                for n in 1..=4 {
                    let leased = matches!(sim.run_state(n), Some(RunState::Leased { .. } | RunState::Ended { .. }));
                    if !leased {
                        sim.acquire(n, transport(&[]));
                    }
                }
            }
            for host in 0..3 {
                if !sim.links.contains_key(&host) && sim.dice.roll(4) == 0 {
                    sim.connect(host);
                }
            }
            for _ in 0..8 {
                let (host, up, most) = (sim.dice.roll(3) as usize, sim.dice.roll(2) == 0, sim.dice.roll(400) as usize);
                sim.carry(host, up, most + 1);
            }
            if sim.dice.roll(3) > 0 {
                sim.durable();
            }
            let span = sim.dice.roll(120);
            sim.pass(span);
            if chaos > 0 {
                chaos -= 1;
                match sim.dice.roll(60) {
                    0 => sim.crash(),
                    1..=4 => {
                        let host = sim.dice.roll(3) as usize;
                        sim.cut(host);
                    }
                    _ => {}
                }
            } else {
                sim.settle();
            }
            sim.assert_no_run_twice_at_once();
        }
        sim.settle();
        for n in 1..=4 {
            prop_assert_eq!(sim.endings(n), 1);
        }
    }
}
