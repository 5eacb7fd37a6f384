//! Who holds a run, until when, and whose word about it counts.

use leasehold::{code, digest::Sha256Digest, fleet::*, lease::*, testing::World, time::Millis};

use crate::fleet_support::*;

/// Invariant 6.
#[test]
fn f5_the_completion_of_a_former_run_does_not_touch_the_present_one() {
    // Invariant 6.
    let mut world = World::default();
    let handle = world.join(1, "a");
    let first = running(&mut world, 1, 1);
    world.ask(&World::completion(handle, &first.lease), &World::device(1)).unwrap();
    let second = running(&mut world, 1, 2);
    assert!(second.lease.fence > first.lease.fence);
    let late = World::completion(handle, &first.lease);
    assert_eq!(refused(&mut world, |w| w.ask(&late, &World::device(1))), code::LEASE_STALE_FENCE);
    let run = world.fleet.state().run(&World::run_id(2)).unwrap();
    assert!(matches!(run.state, RunState::Leased { .. }));
}

/// Invariants 3 and 6.
#[test]
fn f6_a_completion_after_expiry_is_refused_before_and_after_the_reaper() {
    // Invariants 3 and 6.
    let mut world = World::default();
    let handle = world.join(1, "a");
    let acquired = running(&mut world, 1, 1);
    world.pass(30_000);
    let late = World::completion(handle, &acquired.lease);
    assert_eq!(refused(&mut world, |w| w.ask(&late, &World::device(1))), code::LEASE_EXPIRED);
    world.expire();
    assert_eq!(refused(&mut world, |w| w.ask(&late, &World::device(1))), code::LEASE_NONE);
    let run = world.fleet.state().run(&World::run_id(1)).unwrap();
    assert!(matches!(run.state, RunState::Held { .. }), "the run is not done: {run:?}");
}

/// Invariant 6.
#[test]
fn f7_acts_without_a_lease_are_refused() {
    // Invariant 8.
    let mut world = World::default();
    let handle = world.join(1, "a");
    let other = World::default().join(1, "a");
    assert_eq!(handle, other);
    let mut donor = World::default();
    donor.join(1, "a");
    let acquired = running(&mut donor, 1, 1);
    let device = World::device(1);
    let fence = acquired.lease.fence;
    assert_eq!(
        refused(&mut world, |w| w.ask(&World::completion(handle, &acquired.lease), &device)),
        code::LEASE_NONE
    );
    assert_eq!(refused(&mut world, |w| w.ask(&Renew { worker: handle, fence }, &device)), code::LEASE_NONE);
    assert_eq!(refused(&mut world, |w| w.ask(&Start { worker: handle, fence }, &device)), code::LEASE_NONE);
    let report = ReportCleanup::new(handle, World::clean(&acquired.lease), None);
    assert_eq!(refused(&mut world, |w| w.ask(&report, &device)), code::LEASE_NONE);
    let acknowledge = AcknowledgeRevocation::new(handle, fence, None, None);
    assert_eq!(refused(&mut world, |w| w.ask(&acknowledge, &device)), code::LEASE_NONE);
}

/// Invariant 1.
#[test]
fn f8_one_run_gets_one_lease_and_the_second_asker_is_told_which() {
    // Invariant 1.
    let mut world = World::default();
    world.join(1, "a");
    world.join(2, "a");
    let first = world.acquire(1, "a").unwrap().answer;
    let error = world.acquire(1, "a").unwrap_err();
    assert_eq!(error, AcquireError::RunLeased { worker: World::worker_id(1), fence: first.lease.fence });
    world.crash();
    let error = world.acquire(1, "a").unwrap_err();
    assert_eq!(error, AcquireError::RunLeased { worker: World::worker_id(1), fence: first.lease.fence });
}

/// Invariant 3.
#[test]
fn f10_a_lease_is_clamped_to_whatever_ends_first() {
    // Invariant 3.
    let mut world = World::new(|form| form.lease.ttl_max_ms = Millis(50_000));
    world.join(1, "a");
    let now = world.now;
    let ask = |world: &mut World, ttl: u64, grant_ms: u64| {
        let mut terms = world.grant(1, "a").terms().clone();
        terms.expires = world.now.wall.plus(Millis(grant_ms));
        let grant = WorkerRunGrant::mint(terms).unwrap();
        let request = World::request(grant.clone());
        let terms = request.terms();
        let request = WorkerLeaseRequest::new(
            grant,
            terms.tool.clone(),
            terms.capabilities.clone(),
            Millis(ttl),
            terms.workspace.clone(),
        )
        .unwrap();
        world.fleet.decide(&Acquire::new(request), &World::service(), None, world.now)
    };
    let expiry = |prepared: &Prepared<Acquired>| match prepared.events() {
        [FleetEvent::LeaseGranted { lease, .. }] => (lease.expires, lease.horizon),
        other => panic!("{other:?}"),
    };
    // The policy's cap, the grant, and the evidence (3 000 s in a world) end first, in turn.
    let (expires, _) = expiry(&ask(&mut world, 90_000_000, 7_000_000).unwrap());
    assert_eq!(expires, now.mono.plus(Millis(50_000)));
    let (expires, horizon) = expiry(&ask(&mut world, 40_000, 20_000).unwrap());
    assert_eq!((expires, horizon), (now.mono.plus(Millis(20_000)), now.mono.plus(Millis(20_000))));
    let (_, horizon) = expiry(&ask(&mut world, 40_000, 80_000_000).unwrap());
    assert_eq!(horizon, now.mono.plus(Millis::from_secs(3_000)));
    // Too little left is no lease.
    assert_eq!(code_of(ask(&mut world, 40_000, 900)), code::LEASE_TOO_SHORT);
    assert_eq!(code_of(ask(&mut world, 900, 40_000)), code::LEASE_TOO_SHORT);
}

/// Invariant 8.
#[test]
fn f21_outputs_that_are_not_what_arrived_are_not_done() {
    let mut world = World::default();
    let handle = world.join(1, "a");
    let acquired = running(&mut world, 1, 1);
    let mut complete = World::completion(handle, &acquired.lease);
    complete.claim.log = Sha256Digest::of(b"another log");
    let outcome = world.ask(&complete, &World::device(1)).unwrap();
    assert_eq!(outcome.answer, Verdict::OutputRefused);
    assert_eq!(state(&world, 1), WorkerLifecycleState::Quarantined);
    let run = world.fleet.state().run(&World::run_id(1)).unwrap();
    assert!(matches!(run.state, RunState::Held { reason: Some(LossReason::Output), .. }), "{run:?}");
}

/// Invariant 6.
#[test]
fn f22_messages_of_a_former_incarnation_are_stale() {
    // Invariant 6.
    let mut world = World::default();
    let former = world.join(1, "a");
    let acquired = running(&mut world, 1, 1);
    let rejoined = world.attest(1, "a", None).unwrap();
    assert!(matches!(rejoined.events[0], FleetEvent::LeaseLost { reason: LossReason::Rejoined, .. }));
    assert_eq!(rejoined.answer.owes.expect("a debt").fence, acquired.lease.fence);
    let device = World::device(1);
    assert_eq!(
        refused(&mut world, |w| w.ask(&World::completion(former, &acquired.lease), &device)),
        code::WORKER_STALE_HANDLE
    );
    assert_eq!(refused(&mut world, |w| w.beat(1, former)), code::WORKER_STALE_HANDLE);
    let renew = Renew { worker: former, fence: acquired.lease.fence };
    assert_eq!(refused(&mut world, |w| w.ask(&renew, &device)), code::WORKER_STALE_HANDLE);
}

/// Invariant 6.
#[test]
fn f24_no_decoded_message_names_an_operators_act_and_a_device_may_ask_for_none() {
    let mut world = World::default();
    let handle = world.join(1, "a");
    let device = World::device(1);
    let worker = World::worker_id(1);
    assert_eq!(
        refused(&mut world, |w| w.ask(&Release { worker: worker.clone() }, &device)),
        code::PRINCIPAL_NOT_ALLOWED
    );
    assert_eq!(refused(&mut world, |w| w.ask(&QuarantineAll {}, &device)), code::PRINCIPAL_NOT_ALLOWED);
    let grant = world.grant(1, "a");
    assert_eq!(
        refused(&mut world, |w| w.ask(&Acquire::new(World::request(grant)), &device)),
        code::PRINCIPAL_NOT_ALLOWED
    );
    // Nor does a device speak for another one.
    world.register(2);
    assert_eq!(refused(&mut world, |w| w.beat(2, handle)), code::WORKER_OTHER_DEVICE);
    let mixed = Principal::Device { device: World::device_id(1), certificate: World::certificate(2) };
    assert_eq!(refused(&mut world, |w| w.ask(&Challenge {}, &mixed)), code::PRINCIPAL_NOT_ALLOWED);
}
