//! Workers that must get no work, or no more than their share.

use leasehold::{code, fleet::*, testing::World};

use crate::fleet_support::*;

/// Invariant 5.
#[test]
fn f1_nothing_but_release_and_fresh_evidence_frees_a_quarantined_worker() {
    // Invariant 5.
    let mut world = World::default();
    let handle = world.join(1, "a");
    let old_nonce = world.challenge(1);
    quarantine(&mut world, 1);
    assert_eq!(refused(&mut world, |w| on_worker(w, 1, 1)), code::WORKER_QUARANTINED);
    drain(&mut world, 1);
    assert_eq!(refused(&mut world, |w| on_worker(w, 1, 1)), code::WORKER_QUARANTINED);
    reverify(&mut world, 1);
    world.beat(1, handle).unwrap();
    assert_eq!(refused(&mut world, |w| on_worker(w, 1, 1)), code::WORKER_QUARANTINED);
    world.ask(&Undrain { worker: World::worker_id(1) }, &World::operator()).unwrap();
    assert_eq!(refused(&mut world, |w| on_worker(w, 1, 1)), code::WORKER_QUARANTINED);
    // Evidence over a nonce from before does not count, even though it is accepted.
    let claims = world.claims(1, "a", old_nonce);
    world.attest_with(1, &claims, Some(handle)).unwrap();
    world.ask(&Release { worker: World::worker_id(1) }, &World::operator()).unwrap();
    assert_eq!(state(&world, 1), WorkerLifecycleState::Quarantined);
    // Evidence over a nonce from afterwards does.
    world.attest(1, "a", Some(handle)).unwrap();
    world.beat(1, handle).unwrap();
    assert_eq!(state(&world, 1), WorkerLifecycleState::Available);
    on_worker(&mut world, 1, 1).unwrap();
}

/// Invariant 5.
#[test]
fn f2_a_good_cleanup_does_not_end_quarantine_or_draining() {
    // Invariant 5.
    let mut world = World::default();
    let handle = world.join(1, "a");
    let acquired = running(&mut world, 1, 1);
    let mut complete = World::completion(handle, &acquired.lease);
    complete.cleanup = None;
    assert_eq!(world.ask(&complete, &World::device(1)).unwrap().answer, Verdict::CleanupAwaited);
    quarantine(&mut world, 1);
    drain(&mut world, 1);
    let report = ReportCleanup::new(handle, World::clean(&acquired.lease), None);
    assert_eq!(world.ask(&report, &World::device(1)).unwrap().answer, Verdict::Clean);
    assert_eq!(state(&world, 1), WorkerLifecycleState::Quarantined);
    assert_eq!(refused(&mut world, |w| on_worker(w, 2, 1)), code::WORKER_QUARANTINED);
    assert!(world.fleet.state().worker(&World::worker_id(1)).unwrap().draining);
}

/// Invariant 5.
#[test]
fn f3_a_reaped_worker_stays_orphaned_until_cleanup_and_fresh_evidence() {
    // Invariant 5.
    let mut world = World::default();
    let handle = world.join(1, "a");
    let acquired = running(&mut world, 1, 1);
    world.pass(31_000);
    world.beat(1, handle).unwrap();
    let reaped = world.expire();
    assert!(matches!(reaped[..], [FleetEvent::LeaseLost { reason: LossReason::Expired, .. }]), "{reaped:?}");
    assert_eq!(state(&world, 1), WorkerLifecycleState::Orphaned);
    drain(&mut world, 1);
    reverify(&mut world, 1);
    assert_eq!(refused(&mut world, |w| on_worker(w, 2, 1)), code::WORKER_ORPHANED);
    world.attest(1, "a", Some(handle)).unwrap();
    assert_eq!(refused(&mut world, |w| on_worker(w, 2, 1)), code::WORKER_ORPHANED);
    let report = ReportCleanup::new(handle, World::clean(&acquired.lease), None);
    world.ask(&report, &World::device(1)).unwrap();
    world.ask(&Undrain { worker: World::worker_id(1) }, &World::operator()).unwrap();
    world.beat(1, handle).unwrap();
    assert_eq!(state(&world, 1), WorkerLifecycleState::Available);
}

/// Invariant 5.
#[test]
fn f4_a_worker_drained_while_leased_ends_idle_and_draining() {
    // Invariant 5.
    let mut world = World::default();
    let handle = world.join(1, "a");
    let acquired = running(&mut world, 1, 1);
    drain(&mut world, 1);
    let done = world.ask(&World::completion(handle, &acquired.lease), &World::device(1)).unwrap();
    assert_eq!(done.answer, Verdict::Clean);
    assert_eq!(state(&world, 1), WorkerLifecycleState::Draining);
    assert_eq!(refused(&mut world, |w| on_worker(w, 2, 1)), code::WORKER_DRAINING);
    assert_eq!(refused(&mut world, |w| w.acquire(2, "a")), code::FLEET_NO_WORKER);
}

/// Invariant 13.
#[test]
fn f16_a_name_that_sorts_first_gets_its_fair_share_only() {
    let mut world = World::default();
    let handles: Vec<_> = (0..4).map(|n| world.join(n, "a")).collect();
    let mut served = [0; 4];
    for run in 0..40 {
        let acquired = world.acquire(run, "a").unwrap().answer;
        let n = acquired.worker.slot;
        served[n as usize] += 1;
        start(&mut world, n, &acquired);
        world.ask(&World::completion(handles[n as usize], &acquired.lease), &World::device(n)).unwrap();
    }
    assert_eq!(served, [10; 4]);
}

/// Invariants 5 and 8.
#[test]
fn f20_a_quarantine_survives_restart_and_old_evidence() {
    // Invariant 5.
    let mut world = World::default();
    world.join(1, "a");
    let nonce = world.challenge(1);
    let claims = world.claims(1, "a", nonce);
    quarantine(&mut world, 1);
    world.crash();
    assert_eq!(state(&world, 1), WorkerLifecycleState::Quarantined);
    // The nonce is of the former epoch.
    assert_eq!(code_of(world.attest_with(1, &claims, None)), code::NONCE_EPOCH);
    world.attest(1, "a", None).unwrap();
    assert_eq!(state(&world, 1), WorkerLifecycleState::Quarantined, "an operator's release is owed");
}
