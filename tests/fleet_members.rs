//! Members of the policy that change what happens to workers and runs: each is off by default, and what it does is in the
//! journal like everything else (invariant 8: every test ends with a recovery that gives the same state).

mod fleet_support;

use fleet_support::*;
use leasehold::{code, fleet::*, lease::Fence, testing::World, time::Millis};

/// The run of `acquired` ends with `outcome`, and its worker is clean.
fn end(world: &mut World, n: u32, acquired: &Acquired, outcome: RunOutcome) -> Verdict {
    let mut complete = World::completion(acquired.worker, &acquired.lease);
    complete.outcome = outcome;
    world.ask(&complete, &World::device(n)).unwrap().answer
}

/// Worker 1 runs `run` from beginning to end.
fn run(world: &mut World, run: u32, outcome: RunOutcome) {
    let acquired = running(world, 1, run);
    assert_eq!(end(world, 1, &acquired, outcome), Verdict::Clean);
}

fn probe(world: &mut World, run: u32, outcome: RunOutcome) {
    let request = World::request(world.grant(run, "a")).as_probe_of(World::worker_id(1));
    let acquired = world.ask(&Acquire::new(request), &World::service()).unwrap().answer;
    start(world, 1, &acquired);
    end(world, 1, &acquired, outcome);
}

/// An operator takes the lease back, and the worker stops and is clean.
fn revoked(world: &mut World, n: u32, acquired: &Acquired) {
    let fence = acquired.lease.fence;
    world.ask(&RevokeRun::new(acquired.lease.terms.run.clone(), fence), &World::operator()).unwrap();
    acknowledged(world, n, acquired);
}

fn acknowledged(world: &mut World, n: u32, acquired: &Acquired) {
    let cleanup = Some(World::clean(&acquired.lease));
    let stopped = AcknowledgeRevocation::new(acquired.worker, acquired.lease.fence, cleanup, None);
    world.ask(&stopped, &World::device(n)).unwrap();
}

fn recovers(mut world: World) {
    world.fleet.state().check_invariants().unwrap();
    world.crash();
    let snapshot = world.checkpoint();
    assert!(!snapshot.is_empty());
    world.crash();
    world.fleet.state().check_invariants().unwrap();
}

fn view(world: &World, n: u32) -> WorkerView<'_> {
    world.fleet.state().worker(&World::worker_id(n)).unwrap()
}

#[test]
fn a_worker_on_which_runs_end_badly_in_a_row_is_set_aside_until_a_probe_ends_well() {
    let mut world = World::new(|form| form.workers.set_aside_after = 2);
    world.join(1, "a");
    run(&mut world, 1, RunOutcome::Failed);
    run(&mut world, 2, RunOutcome::Succeeded);
    run(&mut world, 3, RunOutcome::Failed);
    // What is taken back says nothing about the worker.
    let acquired = running(&mut world, 1, 4);
    revoked(&mut world, 1, &acquired);
    assert_eq!((view(&world, 1).bad_in_a_row, view(&world, 1).set_aside), (1, false));
    run(&mut world, 5, RunOutcome::Failed);

    let refusals = |world: &mut World| {
        let seen = view(world, 1);
        assert!(seen.set_aside && !seen.quarantined && !seen.draining);
        assert_eq!(seen.state, WorkerLifecycleState::Draining, "it is not wanted");
        assert_eq!(refused(world, |world| world.acquire(6, "a")), code::FLEET_NO_WORKER);
        assert_eq!(refused(world, |world| on_worker(world, 6, 1)), code::WORKER_SET_ASIDE);
    };
    refusals(&mut world);
    world.crash();
    world.checkpoint();
    world.crash();
    refusals(&mut world);

    probe(&mut world, 7, RunOutcome::Failed);
    refusals(&mut world);
    // A probe that is taken back has shown nothing.
    let request = World::request(world.grant(8, "a")).as_probe_of(World::worker_id(1));
    let acquired = world.ask(&Acquire::new(request), &World::service()).unwrap().answer;
    revoked(&mut world, 1, &acquired);
    refusals(&mut world);
    probe(&mut world, 9, RunOutcome::Succeeded);
    assert_eq!(state(&world, 1), WorkerLifecycleState::Available);
    assert_eq!(view(&world, 1).bad_in_a_row, 0);
    run(&mut world, 10, RunOutcome::Failed);
    recovers(world);
}

#[test]
fn an_operator_brings_back_a_worker_that_is_set_aside_and_lost_leases_count() {
    let mut world = World::new(|form| form.workers.set_aside_after = 1);
    let handle = world.join(1, "a");
    let lost = running(&mut world, 1, 1);
    world.pass(30_001);
    world.expire();
    world.beat(1, handle).unwrap();
    let report = ReportCleanup::new(handle, World::clean(&lost.lease), None);
    world.ask(&report, &World::device(1)).unwrap();
    world.attest(1, "a", Some(handle)).unwrap();
    world.beat(1, handle).unwrap();
    assert_eq!(refused(&mut world, |world| on_worker(world, 2, 1)), code::WORKER_SET_ASIDE);
    // Draining and being set aside are two things, and an operator who wants the worker again ends both.
    drain(&mut world, 1);
    assert_eq!(refused(&mut world, |world| on_worker(world, 2, 1)), code::WORKER_DRAINING);
    let back = Undrain { worker: World::worker_id(1) };
    let answer = world.ask(&back, &World::operator()).unwrap().answer;
    assert_eq!(answer.state, Some(WorkerLifecycleState::Available));
    running(&mut world, 1, 2);
    assert_eq!(refused(&mut world, |world| world.ask(&back, &World::operator())), code::WORKER_NOT_DRAINING);
    recovers(world);
}

#[test]
fn attempts_that_were_not_the_jobs_fault_have_a_budget_of_their_own() {
    for spared in 0..3_u32 {
        let rules: fn(&mut WorkerFleetPolicyForm) = match spared {
            0 => |form| form.runs.max_attempts = 1,
            1 => |form| (form.runs.max_attempts, form.runs.max_spared) = (1, 1),
            _ => |form| (form.runs.max_attempts, form.runs.max_spared) = (1, 2),
        };
        let mut world = World::new(rules);
        world.join(1, "a");
        for attempt in 0..=spared {
            let acquired = running(&mut world, 1, 1);
            assert_eq!(acquired.lease.attempt, attempt + 1);
            revoked(&mut world, 1, &acquired);
        }
        assert_eq!(refused(&mut world, |world| world.acquire(1, "a")), code::RUN_ENDED, "after {spared}");
        let known = world.fleet.state().run(&World::run_id(1)).unwrap();
        assert!(matches!(
            known.state,
            RunState::Ended { outcome: None, lost: Some(LossReason::Operator), .. }
        ));
        recovers(world);
    }
    // What the job did itself counts as before.
    let mut world = World::new(|form| (form.runs.max_attempts, form.runs.max_spared) = (1, 9));
    world.join(1, "a");
    running(&mut world, 1, 1);
    world.pass(30_001);
    world.expire();
    assert_eq!(refused(&mut world, |world| world.acquire(1, "a")), code::RUN_ENDED);
}

#[test]
fn a_retry_prefers_another_worker() {
    for (elsewhere, second) in [(false, 1), (true, 2)] {
        let rules: fn(&mut WorkerFleetPolicyForm) =
            if elsewhere { |form| form.runs.retry_elsewhere = true } else { |_| {} };
        let mut world = World::new(rules);
        world.join(1, "a");
        world.join(2, "a");
        let first = running(&mut world, 1, 1);
        revoked(&mut world, 1, &first);
        let other = running(&mut world, 2, 2);
        end(&mut world, 2, &other, RunOutcome::Succeeded);
        // Worker 1 was used longest ago.
        let retried = world.acquire(1, "a").unwrap().answer;
        assert_eq!(retried.lease.worker, World::worker_id(second));
        start(&mut world, second, &retried);
        revoked(&mut world, second, &retried);
        // Where nobody else can, the same worker gets it again.
        drain(&mut world, 3 - second);
        let again = world.acquire(1, "a").unwrap().answer;
        assert_eq!(again.lease.worker, World::worker_id(second));
        recovers(world);
    }
}

#[test]
fn a_drain_has_a_reason_and_a_deadline_at_which_the_lease_is_taken_back() {
    let mut world = World::new(|form| form.runs.max_spared = 1);
    world.join(1, "a");
    let acquired = running(&mut world, 1, 1);
    let within_ms = Some(Millis(5_000));
    let drain = DrainFor { worker: World::worker_id(1), reason: DrainReason::Upgrade, within_ms };
    world.ask(&drain, &World::operator()).unwrap();
    let until = world.now.mono.plus(Millis(5_000));
    let plan = view(&world, 1).drain.unwrap();
    assert_eq!((plan.reason, plan.until), (DrainReason::Upgrade, Some(until)));
    assert!(world.fleet.next_deadline().unwrap() <= until);
    world.pass(4_999);
    assert!(world.expire().is_empty());
    world.crash();
    world.pass(1);
    let events = world.expire();
    let taken =
        |event: &FleetEvent| matches!(event, FleetEvent::LeaseRevoked { reason: LossReason::Drained, .. });
    assert!(events.iter().any(taken), "{events:?}");
    acknowledged(&mut world, 1, &acquired);
    assert_eq!(state(&world, 1), WorkerLifecycleState::Draining);
    assert_eq!(world.fleet.state().run(&World::run_id(1)).unwrap().spared, 1);
    world.ask(&Undrain { worker: World::worker_id(1) }, &World::operator()).unwrap();
    assert_eq!(view(&world, 1).drain, None);
    assert_eq!(state(&world, 1), WorkerLifecycleState::Available);
    recovers(world);
}

#[test]
fn the_place_of_a_retired_worker_is_free_at_once() {
    for reuse in [false, true] {
        let rules: fn(&mut WorkerFleetPolicyForm) = if reuse {
            |form| (form.limits.workers, form.workers.reuse_retired) = (2, true)
        } else {
            |form| form.limits.workers = 2
        };
        let mut world = World::new(rules);
        let former = world.join(1, "a");
        world.join(2, "a");
        world.ask(&Retire { worker: World::worker_id(1) }, &World::operator()).unwrap();
        world.register(3);
        if !reuse {
            assert_eq!(refused(&mut world, |world| world.attest(3, "a", None)), code::FLEET_FULL);
            continue;
        }
        // The incarnation that is over goes on in nobody's name, least of all in its own place.
        assert_eq!(refused(&mut world, |world| world.attest(1, "a", Some(former))), code::WORKER_RETIRED);
        let nonce = world.challenge(1);
        let mut claims = world.claims(1, "a", nonce);
        claims.worker = World::worker_id(9);
        let other = refused(&mut world, |world| world.attest_with(1, &claims, Some(former)));
        assert_eq!(other, code::WORKER_STALE_HANDLE);
        let handle = world.attest(3, "a", None).unwrap().answer.handle;
        assert!(handle.slot == former.slot && handle.generation > former.generation);
        world.beat(3, handle).unwrap();
        assert_eq!(state(&world, 3), WorkerLifecycleState::Available);
        assert_eq!(refused(&mut world, |world| world.beat(1, former)), code::WORKER_STALE_HANDLE);
        assert!(world.fleet.state().worker(&World::worker_id(1)).is_none());
        world.register(4);
        assert_eq!(refused(&mut world, |world| world.attest(4, "a", None)), code::FLEET_FULL);
        recovers(world);
    }
}

#[test]
fn a_worker_that_is_used_once_is_retired_when_it_owes_nothing() {
    let mut world = World::new(|form| {
        let name = World::capabilities("b").iter().next().cloned().unwrap();
        form.workers.used_once = UsedOnce::Capability(name);
    });
    world.join(1, "a");
    run(&mut world, 1, RunOutcome::Succeeded);
    assert_eq!(state(&world, 1), WorkerLifecycleState::Available, "it does not say that it is used once");
    drain(&mut world, 1);

    let acquired = {
        world.join(2, "ab");
        running(&mut world, 2, 2)
    };
    assert_eq!(end(&mut world, 2, &acquired, RunOutcome::Failed), Verdict::Clean);
    assert_eq!(state(&world, 2), WorkerLifecycleState::Retired);

    let handle = world.join(3, "ab");
    let lost = running(&mut world, 3, 3);
    world.pass(30_001);
    world.expire();
    assert_eq!(state(&world, 3), WorkerLifecycleState::Orphaned);
    let report = ReportCleanup::new(handle, World::clean(&lost.lease), None);
    world.ask(&report, &World::device(3)).unwrap();
    assert_eq!(state(&world, 3), WorkerLifecycleState::Retired);

    // Invariant 5: a closed latch is not passed by retiring, and the worker is not used again when it opens.
    let handle = world.join(4, "ab");
    let acquired = running(&mut world, 4, 4);
    quarantine(&mut world, 4);
    acknowledged(&mut world, 4, &acquired);
    assert_eq!(state(&world, 4), WorkerLifecycleState::Quarantined);
    world.ask(&Release { worker: World::worker_id(4) }, &World::operator()).unwrap();
    world.attest(4, "ab", Some(handle)).unwrap();
    world.beat(4, handle).unwrap();
    assert_eq!(state(&world, 4), WorkerLifecycleState::Draining);
    recovers(world);
}

/// A world in which worker 1 has lost the lease of run 1, and is heard again.
fn lost(late: bool, revoke: bool) -> (World, Acquired) {
    let rules: fn(&mut WorkerFleetPolicyForm) =
        if late { |form| form.lease.complete_late = true } else { |_| {} };
    let mut world = World::new(rules);
    let handle = world.join(1, "a");
    let acquired = running(&mut world, 1, 1);
    if revoke {
        let back = RevokeRun::new(World::run_id(1), acquired.lease.fence);
        world.ask(&back, &World::service()).unwrap();
    }
    world.pass(30_001);
    world.expire();
    world.beat(1, handle).unwrap();
    (world, acquired)
}

fn late(acquired: &Acquired) -> Complete {
    let mut complete = World::completion(acquired.worker, &acquired.lease);
    complete.cleanup = None;
    complete
}

#[test]
fn the_completion_of_an_expired_lease_is_taken_and_revives_nothing() {
    let (mut world, acquired) = lost(true, false);
    let fence = acquired.lease.fence;
    let mut stale = late(&acquired);
    stale.fence = Fence::new(fence.epoch, fence.counter + 1);
    assert_eq!(refused(&mut world, |world| world.ask(&stale, &World::device(1))), code::LEASE_NONE);
    let answer = world.ask(&late(&acquired), &World::device(1)).unwrap();
    assert_eq!(answer.answer, Verdict::CleanupAwaited);
    assert!(answer.effects.is_empty(), "no permit is told: {:?}", answer.effects);
    let known = world.fleet.state().run(&World::run_id(1)).unwrap();
    assert!(matches!(known.state, RunState::Ended { outcome: Some(RunOutcome::Succeeded), .. }));
    assert_eq!(world.fleet.state().live_leases().count(), 0);
    let owes = view(&world, 1).owes.unwrap();
    assert!(owes.cleanup && owes.evidence_since.is_some(), "cleanup and evidence are owed as before");
    assert!(world.ask(&late(&acquired), &World::device(1)).is_err(), "a final state stays final");
    recovers(world);

    // With its cleanup, what remains owed is the evidence.
    let (mut world, acquired) = lost(true, false);
    world.crash();
    let complete = World::completion(acquired.worker, &acquired.lease);
    assert_eq!(world.ask(&complete, &World::device(1)).unwrap().answer, Verdict::Clean);
    let owes = view(&world, 1).owes.unwrap();
    assert!(!owes.cleanup && owes.evidence_since.is_some());
    recovers(world);
}

#[test]
fn no_completion_is_late_but_of_an_expired_lease_whose_run_is_nobody_elses() {
    // Without the policy's leave.
    let (mut world, acquired) = lost(false, false);
    assert_eq!(refused(&mut world, |world| world.ask(&late(&acquired), &World::device(1))), code::LEASE_NONE);
    // A lease that was taken back.
    let (mut world, acquired) = lost(true, true);
    assert!(view(&world, 1).owes.is_some());
    assert_eq!(refused(&mut world, |world| world.ask(&late(&acquired), &World::device(1))), code::LEASE_NONE);
    // A run that is another's.
    let (mut world, acquired) = lost(true, false);
    world.join(2, "a");
    world.pass(10_000);
    world.acquire(1, "a").unwrap();
    assert_eq!(refused(&mut world, |world| world.ask(&late(&acquired), &World::device(1))), code::LEASE_NONE);
    // A worker whose latch is closed, and one whose evidence is no longer in force.
    let (mut world, acquired) = lost(true, false);
    quarantine(&mut world, 1);
    let answer = refused(&mut world, |world| world.ask(&late(&acquired), &World::device(1)));
    assert_eq!(answer, code::WORKER_QUARANTINED);
    let (mut world, acquired) = lost(true, false);
    reverify(&mut world, 1);
    let answer = refused(&mut world, |world| world.ask(&late(&acquired), &World::device(1)));
    assert_eq!(answer, code::EVIDENCE_NOT_IN_FORCE);
    // Another incarnation has nothing of it in hand.
    let (mut world, acquired) = lost(true, false);
    let mut complete = late(&acquired);
    complete.worker = world.attest(1, "a", None).unwrap().answer.handle;
    assert!(world.ask(&complete, &World::device(1)).is_err());
}

#[test]
fn two_places_that_use_one_identity_in_turn_are_latched() {
    let mut world = World::new(|form| form.workers.latch_displaced_after = 2);
    let rejoin = |world: &mut World| world.attest(1, "a", None).unwrap().answer.handle;
    let back =
        |world: &mut World, worker| world.ask(&Displaced { worker }, &World::device(1)).unwrap().events.len();
    let here = world.join(1, "a");
    assert_eq!(back(&mut world, here), 0, "the present incarnation was not displaced");
    let there = rejoin(&mut world);
    assert_eq!(back(&mut world, here), 1);
    assert!(!view(&world, 1).quarantined, "once may be a message that was on its way");
    let here = rejoin(&mut world);
    world.beat(1, here).unwrap();
    let acquired = running(&mut world, 1, 1);
    world.crash();
    assert_eq!(back(&mut world, there), 3, "counted, its lease taken back, latched");
    assert_eq!(view(&world, 1).reasons, [QuarantineReason::TwoPlaces]);
    assert_eq!(back(&mut world, there), 0, "nothing new");
    acknowledged(&mut world, 1, &acquired);
    // Invariant 5: evidence alone, which both places have, does not open the latch.
    world.attest(1, "a", Some(here)).unwrap();
    assert_eq!(state(&world, 1), WorkerLifecycleState::Quarantined);
    world.ask(&Release { worker: World::worker_id(1) }, &World::operator()).unwrap();
    world.beat(1, here).unwrap();
    assert_eq!(state(&world, 1), WorkerLifecycleState::Available);
    assert_eq!(back(&mut world, there), 1, "counting begins anew");
    recovers(world);

    let mut world = World::default();
    let here = world.join(1, "a");
    rejoin(&mut world);
    assert_eq!(back(&mut world, here), 0, "nobody asked");
}

#[test]
fn a_coordinator_that_stood_still_counts_that_time_for_nobodys_silence() {
    let rules: fn(&mut WorkerFleetPolicyForm) = |form| {
        form.liveness.excuse_standstill = true;
        (form.runs.max_attempts, form.runs.max_spared) = (1, 1);
    };
    let silent =
        |events: &[FleetEvent]| events.iter().any(|event| matches!(event, FleetEvent::WorkerSilent { .. }));
    // Where it is called as often as it asks, 20 s of silence are 20 s.
    let mut world = World::new(rules);
    world.join(1, "a");
    for step in 1..=8 {
        assert!(world.fleet.next_deadline().unwrap() <= world.now.mono.plus(Millis(2_500)));
        world.pass(2_500);
        assert_eq!(silent(&world.expire()), step == 8);
    }

    // A minute in which nobody looked counts for nothing, also for who asks for a lease first.
    let mut world = World::new(rules);
    world.join(1, "a");
    world.pass(60_000);
    assert!(on_worker(&mut world, 9, 1).is_ok());
    let mut world = World::new(rules);
    world.join(1, "a");
    world.pass(60_000);
    assert!(!silent(&world.expire()));
    assert_eq!(state(&world, 1), WorkerLifecycleState::Available);
    for _ in 0..9 {
        world.pass(2_222);
        assert!(!silent(&world.expire()));
    }
    world.pass(2_222);
    assert!(silent(&world.expire()), "its own silence counts");

    // A lease that ran out meanwhile could not be renewed: the attempt is spared.
    let mut world = World::new(rules);
    world.join(1, "a");
    running(&mut world, 1, 1);
    world.pass(40_000);
    let events = world.expire();
    let lost =
        |event: &FleetEvent| matches!(event, FleetEvent::LeaseLost { reason: LossReason::Standstill, .. });
    assert!(events.iter().any(lost), "{events:?}");
    assert_eq!(world.fleet.state().run(&World::run_id(1)).unwrap().spared, 1);

    let mut world = World::default();
    world.join(1, "a");
    world.pass(60_000);
    assert!(silent(&world.expire()), "nobody asked");
}

/// The members are read from JSON, and without them the policy is what it was.
#[test]
fn the_members_are_read_and_are_off_by_default() {
    let policy = World::policy(|_| {});
    let form = WorkerFleetPolicyForm::from(policy.clone());
    assert_eq!((form.workers.clone(), form.runs.max_spared), (WorkerRules::default(), 0));
    assert!(!form.runs.retry_elsewhere && !form.lease.complete_late && !form.liveness.excuse_standstill);
    let mut text: serde_json::Value = serde_json::from_str(&policy.to_json()).unwrap();
    text["workers"] = serde_json::json!({
        "set_aside_after": 3, "latch_displaced_after": 2, "used_once": {"capability": "b"}, "reuse_retired": true,
    });
    text["runs"]["max_spared"] = 4.into();
    let form = WorkerFleetPolicyForm::from_json(text.to_string().as_bytes()).unwrap();
    let rules = &form.workers;
    assert_eq!((rules.set_aside_after, rules.latch_displaced_after, rules.reuse_retired), (3, 2, true));
    assert!(matches!(&rules.used_once, UsedOnce::Capability(name) if name.as_str() == "b"));
    let again = WorkerFleetPolicy::try_from(form.clone()).unwrap();
    assert_eq!(WorkerFleetPolicyForm::from_json(again.to_json().as_bytes()).unwrap(), form);
    text["workers"]["used_twice"] = true.into();
    assert!(WorkerFleetPolicyForm::from_json(text.to_string().as_bytes()).is_err());
}
