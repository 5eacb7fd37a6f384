//! The exact events and effects of one worker's life, step by step: the content of its journal.

use alloc::{vec, vec::Vec};

use super::{
    Acquire, Complete, Effect, FleetEvent, LossReason, QuarantineReason, QuarantineWorker, RevokeRun,
    RunOutcome, Start,
};
use crate::{
    digest::Sha256Digest,
    lease::{ArtifactManifest, Epoch, Fence},
    testing::World,
    time::{Millis, Mono},
};

const MEMORY: Millis = Millis::from_secs(86_400);

fn fence(counter: u64) -> Fence {
    Fence::new(Epoch(1), counter)
}

fn at(world: &World, millis: u64) -> Mono {
    world.now.mono.plus(Millis(millis))
}

#[test]
fn joining_is_registration_incarnation_and_evidence() {
    let mut world = World::default();
    world.register(1);
    let joined = world.attest(1, "a", None).unwrap();
    let [
        FleetEvent::WorkerRegistered { slot: 0, worker, device },
        FleetEvent::IncarnationBegan { slot: 0, incarnation: 1 },
        FleetEvent::EvidenceAccepted { slot: 0, evidence, capabilities, .. },
    ] = &joined.events[..]
    else {
        panic!("{:?}", joined.events)
    };
    assert_eq!((worker, device), (&World::worker_id(1), &World::device_id(1)));
    assert_eq!((evidence.generation, evidence.certificate), (1, World::certificate(1)));
    assert_eq!(*capabilities, World::capabilities("a"));
    assert_eq!(world.beat(1, joined.answer.handle).unwrap(), [FleetEvent::WorkerHeard { slot: 0 }]);
    // An ordinary heartbeat writes nothing.
    assert_eq!(world.beat(1, joined.answer.handle).unwrap(), []);
    // Fresh evidence for the same incarnation is one event.
    let again = world.attest(1, "a", Some(joined.answer.handle)).unwrap();
    assert!(matches!(again.events[..], [FleetEvent::EvidenceAccepted { slot: 0, .. }]), "{:?}", again.events);
}

#[test]
fn a_lease_is_granted_started_and_given_back() {
    let mut world = World::default();
    let worker = world.join(1, "a");
    let grant = world.grant(7, "a");
    let acquired = world.ask(&Acquire::new(World::request(grant)), &World::service()).unwrap();
    let lease = acquired.answer.lease;
    assert_eq!(acquired.events, [FleetEvent::LeaseGranted { slot: 0, lease: lease.clone() }]);
    let told = [Effect::LeaseLive { lease: lease.clone() }, Effect::Assign { worker, lease: lease.clone() }];
    assert_eq!(acquired.effects, told);
    let started = world.ask(&Start { worker, fence: fence(1) }, &World::device(1)).unwrap();
    assert_eq!(started.events, [FleetEvent::RunStarted { slot: 0, fence: fence(1) }]);
    assert_eq!((started.answer.remaining, started.effects), (Millis(30_000), vec![]));
    let done = world.ask(&World::completion(worker, &lease), &World::device(1)).unwrap();
    let ended = FleetEvent::RunEnded {
        run: World::run_id(7),
        fence: fence(1),
        outcome: Some(RunOutcome::Succeeded),
        lost: None,
        outputs: Some(ArtifactManifest::default().digest()),
        remembered_until: world.now.mono.plus(MEMORY),
    };
    assert_eq!(done.events, [ended, FleetEvent::LeaseReturned { slot: 0, fence: fence(1) }]);
    assert_eq!(done.effects, [Effect::LeaseOver { fence: fence(1) }]);
}

#[test]
fn quarantine_takes_a_running_lease_back_and_silence_about_it_is_another_reason() {
    let mut world = World::default();
    let worker = world.join(1, "a");
    let lease = world.acquire(7, "a").unwrap().answer.lease;
    let quarantined =
        world.ask(&QuarantineWorker { worker: World::worker_id(1) }, &World::operator()).unwrap();
    let reason = LossReason::Quarantined;
    let revoked =
        FleetEvent::LeaseRevoked { slot: 0, fence: fence(1), reason, acknowledge_by: at(&world, 10_000) };
    let latched = FleetEvent::Quarantined { slot: 0, reason: QuarantineReason::Operator };
    assert_eq!(quarantined.events, [revoked, latched]);
    let told = [Effect::LeaseOver { fence: fence(1) }, Effect::Revoke { worker, lease, reason }];
    assert_eq!(quarantined.effects, told);
    let held = at(&world, 30_000 + 10_000);
    world.pass(10_000);
    let lost = FleetEvent::LeaseLost {
        slot: 0,
        fence: fence(1),
        reason: LossReason::NotAcknowledged,
        run_held_until: held,
    };
    let latched = FleetEvent::Quarantined { slot: 0, reason: QuarantineReason::NotAcknowledged };
    assert_eq!(world.expire(), [lost, latched]);
    assert_eq!(world.expire(), Vec::<FleetEvent>::new());
}

#[test]
fn a_refused_output_loses_the_lease_and_closes_the_latch() {
    let mut world = World::default();
    let worker = world.join(1, "a");
    let lease = world.acquire(7, "a").unwrap().answer.lease;
    world.ask(&Start { worker, fence: fence(1) }, &World::device(1)).unwrap();
    let mut complete: Complete = World::completion(worker, &lease);
    complete.claim.log = Sha256Digest::of(b"another");
    let done = world.ask(&complete, &World::device(1)).unwrap();
    let lost = FleetEvent::LeaseLost {
        slot: 0,
        fence: fence(1),
        reason: LossReason::Output,
        run_held_until: at(&world, 30_000 + 10_000),
    };
    let latched = FleetEvent::Quarantined { slot: 0, reason: QuarantineReason::FailedOutput };
    assert_eq!(done.events, [lost, latched]);
    assert_eq!(done.effects, [Effect::LeaseOver { fence: fence(1) }]);
}

#[test]
fn a_service_takes_its_own_lease_back() {
    let mut world = World::default();
    let worker = world.join(1, "a");
    world.acquire(7, "a").unwrap();
    let revoked = world.ask(&RevokeRun::new(World::run_id(7), fence(1)), &World::service()).unwrap();
    let reason = LossReason::Service;
    let event =
        FleetEvent::LeaseRevoked { slot: 0, fence: fence(1), reason, acknowledge_by: at(&world, 10_000) };
    assert_eq!(revoked.events, [event]);
    assert_eq!((revoked.answer.worker, revoked.answer.fence), (worker, fence(1)));
}

/// The size of what every operation moves, and of what every worker takes, is bounded.
#[test]
fn what_is_moved_about_stays_small() {
    use core::mem::size_of;
    assert!(size_of::<FleetEvent>() <= 96, "{}", size_of::<FleetEvent>());
    assert!(size_of::<super::Effects>() <= 88, "{}", size_of::<super::Effects>());
    assert!(size_of::<super::roster::Place>() <= 256, "{}", size_of::<super::roster::Place>());
}
