//! ATTACKS, "Fleet and lease": each row as a test, named after it.

mod fleet_support;

use fleet_support::*;
use leasehold::{
    capability::CapabilitySet,
    code::{self, Coded},
    digest::Sha256Digest,
    fleet::*,
    id::*,
    lease::*,
    testing::World,
    time::{Millis, Mono, Now, Wall},
};

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

#[test]
fn f9_a_grant_is_spent_once_in_parallel_and_in_sequence() {
    // Invariant 1.
    let mut world = World::default();
    let one = world.join(1, "a");
    world.join(2, "a");
    let grant = world.grant(1, "a");
    let acquire = Acquire::new(World::request(grant));
    // In parallel: two decisions on one state, and only one of them is accepted.
    let a = world.fleet.decide(&acquire, &World::service(), None, world.now).unwrap();
    let b = world.fleet.decide(&acquire, &World::service(), None, world.now).unwrap();
    let acquired = world.finish(a).answer;
    assert_eq!(world.fleet.accept(b).unwrap_err(), AcceptError::Stale);
    // In sequence, also when the run has been given back.
    world.ask(&RevokeRun::new(World::run_id(1), acquired.lease.fence), &World::service()).unwrap();
    let acknowledge =
        AcknowledgeRevocation::new(one, acquired.lease.fence, Some(World::clean(&acquired.lease)), None);
    world.ask(&acknowledge, &World::device(1)).unwrap();
    assert_eq!(refused(&mut world, |w| w.ask(&acquire, &World::service())), code::GRANT_SPENT);
    world.crash();
    assert_eq!(refused(&mut world, |w| w.ask(&acquire, &World::service())), code::GRANT_SPENT);
    assert_eq!(world.acquire(1, "a").unwrap().answer.lease.attempt, 2);
}

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

#[test]
fn f11_a_grant_binds_tool_and_capabilities() {
    let mut world = World::default();
    world.join(1, "ab");
    let grant = world.grant(1, "a");
    let request = World::request(grant.clone());
    let workspace = request.terms().workspace.clone();
    let build = |tool: &str, capabilities| {
        let tool = ToolId::new(tool).unwrap();
        WorkerLeaseRequest::new(grant.clone(), tool, capabilities, Millis(1), workspace.clone())
    };
    assert_eq!(code_of(build("other", World::capabilities("a"))), code::GRANT_OTHER_TOOL);
    assert_eq!(code_of(build("tool", World::capabilities("ab"))), code::GRANT_CAPABILITIES);
    assert_eq!(code_of(build("tool", CapabilitySet::default())), code::GRANT_NO_CAPABILITIES);
    let mut terms = grant.terms().clone();
    terms.capabilities = CapabilitySet::default();
    assert_eq!(code_of(WorkerRunGrant::mint(terms)), code::GRANT_NO_CAPABILITIES);
}

#[test]
fn f12_only_the_cores_clock_says_when_a_worker_was_heard() {
    // Invariant 7. A heartbeat carries no time at all: there is nothing in it that could claim the future.
    let mut world = World::default();
    let handle = world.join(1, "a");
    world.pass(20_001);
    assert_eq!(refused(&mut world, |w| w.acquire(1, "a")), code::FLEET_NO_WORKER);
    let silent = world.expire();
    assert!(matches!(silent[..], [FleetEvent::WorkerSilent { slot: 0, .. }]), "{silent:?}");
    assert_eq!(state(&world, 1), WorkerLifecycleState::Offline);
    world.beat(1, handle).unwrap();
    assert_eq!(state(&world, 1), WorkerLifecycleState::Available);
}

#[test]
fn f13_a_wall_clock_that_leaps_extends_revives_and_bricks_nothing() {
    // Invariant 7.
    let mut world = World::default();
    let handle = world.join(1, "a");
    world.join(2, "a");
    let acquired = running(&mut world, 1, 1);
    let year = 365 * 86_400_000;
    for leap in [world.now.wall.0 + year, world.now.wall.0 - year] {
        let leapt = Now { mono: world.now.mono, wall: Wall(leap) };
        let grant = world.grant(2, "a");
        let acquire = Acquire::new(World::request(grant));
        assert_eq!(
            code_of(world.fleet.decide(&acquire, &World::service(), None, leapt)),
            code::TIME_WALL_LEAP
        );
        // What runs on the fleet's own line goes on, and no further than before.
        let renew = Renew { worker: handle, fence: acquired.lease.fence };
        let prepared = world.fleet.decide(&renew, &World::device(1), None, leapt).unwrap();
        let [FleetEvent::LeaseRenewed { expires, .. }] = prepared.events() else { panic!("{prepared:?}") };
        assert!(*expires <= acquired.lease.horizon);
    }
    // Back on its line, everything works as before.
    world.pass(1_000);
    world.acquire(2, "a").unwrap();
    // The monotonic line never goes back.
    let back = Now { mono: Mono(0), wall: world.now.wall };
    let renew = Renew { worker: handle, fence: acquired.lease.fence };
    assert_eq!(code_of(world.fleet.decide(&renew, &World::device(1), None, back)), code::TIME_BACKWARDS);
}

#[test]
fn f14_evidence_without_end_is_refused() {
    let mut world = World::default();
    world.register(1);
    let nonce = world.challenge(1);
    let mut claims = world.claims(1, "a", nonce);
    claims.issued = Wall(1);
    claims.expires = Wall(9_007_199_254_740_991);
    let error = world.attest_with(1, &claims, None).unwrap_err();
    assert!(matches!(error, AttestError::Refused { .. }), "{error:?}");
    assert!(world.fleet.state().worker(&World::worker_id(1)).is_none());
}

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

#[test]
fn f17_everything_is_bounded_and_refused_with_a_code() {
    // Invariant 13.
    let mut world = World::new(|form| {
        form.limits.workers = 2;
        form.limits.runs = 2;
        form.limits.grants = 3;
        form.limits.nonces = 3;
        form.limits.sessions = 1;
    });
    for n in 1..=2 {
        world.join(n, "a");
    }
    world.register(3);
    assert_eq!(
        refused(&mut world, |w| {
            let nonce = w.challenge(3);
            let claims = w.claims(3, "a", nonce);
            w.attest_with(3, &claims, None)
        }),
        code::FLEET_FULL
    );
    world.attest(1, "a", None).unwrap();
    assert_eq!(
        refused(&mut world, |w| {
            let nonce = w.challenge(2);
            let claims = w.claims(2, "a", nonce);
            w.attest_with(2, &claims, None)
        }),
        code::ATTEST_NONCES_FULL
    );
    let handle = world.fleet.state().worker(&World::worker_id(1)).unwrap().handle;
    world.beat(1, handle).unwrap();
    world.acquire(1, "a").unwrap();
    world.acquire(2, "a").unwrap();
    assert_eq!(refused(&mut world, |w| w.acquire(3, "a")), code::FLEET_RUNS_FULL);
    let command = |client: &str| CommandId { client: ClientId::new(client).unwrap(), sequence: 1 };
    let operator = World::operator();
    world.ask_as(&Drain { worker: World::worker_id(1) }, &operator, Some(&command("one"))).unwrap();
    let other = Drain { worker: World::worker_id(2) };
    assert_eq!(
        refused(&mut world, |w| w.ask_as(&other, &operator, Some(&command("two")))),
        code::COMMAND_SESSIONS_FULL
    );
}

#[test]
fn f19_a_crash_at_any_point_loses_and_doubles_nothing() {
    // Invariants 1, 2 and 8. Between decision, journal and answer: before the journal has it, it has not happened;
    // once the journal has it, it has, whether or not anybody was told.
    for written in [false, true] {
        let mut world = World::default();
        world.join(1, "a");
        let grant = world.grant(1, "a");
        let acquire = Acquire::new(World::request(grant));
        let prepared = world.fleet.decide(&acquire, &World::service(), None, world.now).unwrap();
        let ticket = world.fleet.accept(prepared).unwrap();
        let fence = world.fleet.state().last_fence();
        let ticket = ticket.redeem(&world.fleet).expect_err("nothing is handed out before it lasts");
        if written {
            world.write();
        }
        world.crash();
        assert!(ticket.redeem(&world.fleet).is_err(), "a ticket of before the crash");
        let again = world.ask(&acquire, &World::service());
        if written {
            assert_eq!(code_of(again), code::GRANT_SPENT);
            assert_eq!(world.fleet.state().live_leases().count(), 1);
        } else {
            assert!(again.unwrap().answer.lease.fence > fence);
        }
        world.fleet.state().check_invariants().unwrap();
    }
}

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

#[test]
fn f23_a_snapshot_restored_twice_gives_fences_that_differ() {
    // Invariant 2.
    let mut world = World::new(|form| {
        form.lease.longest_ms = Millis(60_000);
        form.lease.ttl_max_ms = Millis(30_000);
    });
    world.join(1, "a");
    let snapshot = world.checkpoint();
    let before = world.acquire(1, "a").unwrap().answer.lease.fence;
    let mut fences = vec![before];
    for epoch in [2, 3] {
        let mut restored = World::default();
        restored.now = world.now;
        restored.restore_stale(&snapshot, Epoch(epoch));
        assert_eq!(refused(&mut restored, |w| w.acquire(1, "a")), code::FLEET_QUIET);
        // Everybody attests again, and the quiet period passes.
        restored.pass(70_001);
        let error = restored.acquire(1, "a").unwrap_err();
        assert_eq!(error.code(), code::FLEET_NO_WORKER);
        let handle = restored.attest(1, "a", None).unwrap().answer.handle;
        restored.beat(1, handle).unwrap();
        fences.push(restored.acquire(1, "a").unwrap().answer.lease.fence);
    }
    assert!(fences.is_sorted() && fences[0] < fences[1] && fences[1] < fences[2], "{fences:?}");
    // An epoch that does not grow is refused.
    let grant = WorkerFleetManager::restore_stale(
        &snapshot,
        Setup::new(
            [0; 64],
            Sha256Digest::of(b"c"),
            Box::new(leasehold::attestation::signature::DefaultVerifier),
        ),
        Epoch(1),
        0,
        world.now,
    );
    assert_eq!(grant.expect_err("a refusal").code(), code::EPOCH_NOT_LARGER);
}

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

#[test]
fn f25_a_journal_in_doubt_stops_everything_until_recovery() {
    let mut world = World::default();
    world.join(1, "a");
    let grant = world.grant(1, "a");
    let acquire = Acquire::new(World::request(grant));
    let prepared = world.fleet.decide(&acquire, &World::service(), None, world.now).unwrap();
    let ticket = world.fleet.accept(prepared).unwrap();
    world.fleet.journal_failed();
    world.fleet.durable(ticket.index());
    let ticket = ticket.redeem(&world.fleet).expect_err("no answer and no effect");
    assert_eq!(code_of(world.fleet.decide(&acquire, &World::service(), None, world.now)), code::FLEET_HALTED);
    assert!(world.fleet.take_journal().is_none());
    world.crash();
    assert!(ticket.redeem(&world.fleet).is_err());
    world.ask(&acquire, &World::service()).unwrap();
}

#[test]
fn f26_a_grant_for_another_fleet_is_refused() {
    let mut world = World::default();
    world.join(1, "a");
    let mut terms = world.grant(1, "a").terms().clone();
    terms.fleet = FleetId::new("another").unwrap();
    let acquire = Acquire::new(World::request(WorkerRunGrant::mint(terms).unwrap()));
    assert_eq!(refused(&mut world, |w| w.ask(&acquire, &World::service())), code::GRANT_OTHER_FLEET);
}

#[test]
fn f26_a_grant_that_its_issuer_did_not_make_is_refused() {
    use leasehold::attestation::signature::{DefaultVerifier, Ed25519Signer};
    let signer = Ed25519Signer::from_seed("issuer", &[1; 32]);
    let other = Ed25519Signer::from_seed("issuer", &[2; 32]);
    let issuers =
        GrantIssuers::new([signer.trusted_key("issuer").unwrap(), other.trusted_key("somebody").unwrap()]);
    let mut world = World::default();
    let policy_of = |issuers: &GrantIssuers, world: &World| {
        let mut form = WorkerFleetPolicyForm::from(world.fleet.state().policy().clone());
        form.runs.issuers = issuers.clone();
        WorkerFleetPolicy::try_from(form).unwrap()
    };
    let policy = policy_of(&issuers, &world);
    world.ask(&SetPolicy { policy }, &World::operator()).unwrap();
    world.join(1, "a");
    let mut terms = world.grant(1, "a").terms().clone();
    terms.issuer = IssuerId::new("issuer").unwrap();
    let sealed = seal_grant(&terms, &signer).unwrap();
    // Signed by a key that is trusted for another issuer, by nobody, or changed afterwards.
    let foreign = seal_grant(&terms, &other).unwrap();
    assert_eq!(code_of(issuers.open(&foreign, &DefaultVerifier)), code::GRANT_NOT_TRUSTED);
    assert_eq!(code_of(GrantIssuers::default().open(&sealed, &DefaultVerifier)), code::GRANT_NOT_TRUSTED);
    for at in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[at] ^= 1;
        let opened = issuers.open(&changed, &DefaultVerifier);
        assert!(opened.is_err() || opened.unwrap().terms() == &terms, "byte {at}");
    }
    let grant = issuers.open(&sealed, &DefaultVerifier).unwrap();
    let acquire = Acquire::new(World::request(grant));
    // The issuer is no longer trusted when the grant is used.
    let stranger = policy_of(&GrantIssuers::default(), &world);
    world.ask(&SetPolicy { policy: stranger }, &World::operator()).unwrap();
    assert_eq!(refused(&mut world, |w| w.ask(&acquire, &World::service())), code::GRANT_NOT_TRUSTED);
    // Trusted again, it is good once.
    let policy = policy_of(&issuers, &world);
    world.ask(&SetPolicy { policy }, &World::operator()).unwrap();
    let handle = world.attest(1, "a", None).unwrap().answer.handle;
    world.beat(1, handle).unwrap();
    world.ask(&acquire, &World::service()).unwrap();
}
