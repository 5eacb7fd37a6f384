//! Rules of the fleet that are not a row of `docs/attacks.md`: what each promises, and what it refuses.

mod fleet_support;

use fleet_support::*;
use leasehold::{
    code,
    digest::Sha256Digest,
    fleet::*,
    id::*,
    identity::{
        DeviceCertificate, DeviceCommand, DeviceKind, OverlapEnd, RevocationReason, RevocationSubject,
    },
    lease::*,
    testing::World,
    time::{Millis, Now, Wall},
};

/// Invariant 12.
#[test]
fn a_revoked_device_authorises_nothing_from_that_moment() {
    // Invariant 12.
    let mut world = World::default();
    let handle = world.join(1, "a");
    let acquired = running(&mut world, 1, 1);
    let subject = RevocationSubject::Device(World::device_id(1));
    let command = DeviceCommand::Revoke { subject, reason: RevocationReason::KeyCompromise };
    let revoked = world.ask(&ManageDevice::new(command), &World::operator()).unwrap();
    assert!(revoked.effects.contains(&Effect::Cut { device: World::device_id(1) }));
    assert!(revoked.effects.contains(&Effect::LeaseOver { fence: acquired.lease.fence }));
    assert_eq!(world.fleet.state().live_leases().count(), 0);
    let renew = Renew { worker: handle, fence: acquired.lease.fence };
    assert_eq!(refused(&mut world, |w| w.ask(&renew, &World::device(1))), code::DEVICE_REVOKED);
    assert_eq!(refused(&mut world, |w| w.beat(1, handle)), code::DEVICE_REVOKED);
}

/// What a heartbeat remembers of a certificate ends with anything that could end the certificate (invariant 12).
#[test]
fn a_steady_heartbeat_is_refused_from_the_moment_that_its_certificate_is_worth_nothing() {
    let key = Sha256Digest::of(b"key 1");
    let another = |name: &[u8]| {
        DeviceCertificate::new(Sha256Digest::of(name), Sha256Digest::of(b"new"), Wall(0), Wall::NEVER)
            .unwrap()
    };
    let revoke = |subject| DeviceCommand::Revoke { subject, reason: RevocationReason::Lost };
    let device = World::device_id(1);
    let rotation = DeviceCommand::BeginRotation {
        device: device.clone(),
        next: another(b"next"),
        overlap: Millis(10_000),
        at_deadline: OverlapEnd::RetireOld,
    };
    let replacement = DeviceCommand::Replace {
        device: device.clone(),
        kind: DeviceKind::Worker,
        certificate: another(b"other"),
    };
    for (command, want) in [
        (Some(revoke(RevocationSubject::Device(device.clone()))), code::DEVICE_REVOKED),
        (Some(revoke(RevocationSubject::Certificate(World::certificate(1)))), code::CERTIFICATE_REVOKED),
        (Some(revoke(RevocationSubject::Key(key))), code::KEY_REVOKED),
        (Some(replacement), code::CERTIFICATE_UNKNOWN),
        (Some(rotation), code::CERTIFICATE_RETIRED),
        (None, code::CERTIFICATE_EXPIRED),
    ] {
        let mut world = World::default();
        let ends = world.now.wall.plus(Millis(10_000));
        let not_after = if command.is_none() { ends } else { Wall::NEVER };
        let certificate = DeviceCertificate::new(World::certificate(1), key, Wall(0), not_after).unwrap();
        let register =
            DeviceCommand::Register { device: device.clone(), kind: DeviceKind::Worker, certificate };
        world.ask(&ManageDevice::new(register), &World::operator()).unwrap();
        let worker = world.attest(1, "a", None).unwrap().answer.handle;
        world.beat(1, worker).unwrap();
        for _ in 0..3 {
            assert_eq!(world.beat(1, worker).unwrap(), [], "a heartbeat that changes nothing");
        }
        // The certificate of one device does not speak for another, however well it is known.
        let posed = Principal::Device { device: World::device_id(2), certificate: World::certificate(1) };
        assert!(world.fleet.heartbeat(worker, &posed, world.now).is_err());
        if let Some(command) = command {
            world.ask(&ManageDevice::new(command), &World::operator()).unwrap();
        }
        if want == code::CERTIFICATE_RETIRED || want == code::CERTIFICATE_EXPIRED {
            world.beat(1, worker).unwrap();
            // A certificate is good up to and with the last instant of its validity.
            world.pass(10_001);
        }
        assert_eq!(code_of(world.beat(1, worker)), want);
        let named = World::request(world.grant(1, "a")).on_worker(World::worker_id(1));
        assert!(world.ask(&Acquire::new(named), &World::service()).is_err(), "{want}");
    }
}

#[test]
fn a_repeated_command_gets_the_same_answer_and_does_nothing_more() {
    let mut world = World::default();
    world.join(1, "a");
    world.join(2, "a");
    let grant = world.grant(1, "a");
    let acquire = Acquire::new(World::request(grant));
    let command = CommandId { client: ClientId::new("service-1").unwrap(), sequence: 7 };
    let first = world.ask_as(&acquire, &World::service(), Some(&command)).unwrap();
    world.crash();
    let again = world.ask_as(&acquire, &World::service(), Some(&command)).unwrap();
    assert_eq!(again.answer, first.answer);
    assert!(again.events.is_empty() && again.effects.is_empty());
    let other = world.grant(2, "a");
    let conflict = world.ask_as(&Acquire::new(World::request(other)), &World::service(), Some(&command));
    assert_eq!(code_of(conflict), code::COMMAND_ID_CONFLICT);
}

#[test]
fn the_brake_holds_re_leasing_when_most_fall_silent_at_once() {
    let mut world = World::new(|form| form.liveness.offline_after_ms = Millis(15_000));
    for n in 0..4 {
        world.join(n, "a");
    }
    let first = running(&mut world, 0, 0);
    world.acquire(1, "a").unwrap();
    world.pass(45_000);
    world.expire();
    let fresh = world.attest(3, "a", None).unwrap().answer.handle;
    world.beat(3, fresh).unwrap();
    // Three of four are silent. A run that was lost by silence stays where it is; a new one does not care.
    let brake = world.acquire(0, "a").unwrap_err();
    let until = world.now.mono.plus(world.fleet.state().policy().liveness.brake_hold_ms);
    assert_eq!(brake, AcquireError::Brake { silent: 3, of: 4, until });
    let handle = WorkerHandle { slot: 2, generation: 1 };
    world.beat(2, handle).unwrap();
    world.beat(1, WorkerHandle { slot: 1, generation: 1 }).unwrap();
    let again = world.acquire(0, "a").unwrap().answer;
    assert!(again.lease.fence > first.lease.fence && again.lease.attempt == 2);
}

#[test]
fn an_act_on_the_whole_fleet_is_one_event_and_takes_effect_at_once() {
    let mut world = World::new(|form| form.limits.transitions_per_call = 3);
    for n in 0..10 {
        world.join(n, "a");
    }
    let acquired = running(&mut world, 0, 0);
    let all = world.ask(&QuarantineAll {}, &World::operator()).unwrap();
    assert_eq!(all.events.len(), 1);
    assert_eq!(world.fleet.state().counts().quarantined, 10);
    assert_eq!(refused(&mut world, |w| w.acquire(1, "a")), code::FLEET_NO_WORKER);
    let renew = Renew { worker: acquired.worker, fence: acquired.lease.fence };
    assert_eq!(refused(&mut world, |w| w.ask(&renew, &World::device(0))), code::WORKER_QUARANTINED);
    // The rest follows in bounded steps.
    let prepared = world.fleet.expire(world.now).unwrap();
    assert!(prepared.events().len() <= 4, "{:?}", prepared.events());
    world.finish(prepared);
    world.expire();
    assert_eq!(state(&world, 0), WorkerLifecycleState::Quarantined);
    assert_eq!(world.fleet.state().worker(&World::worker_id(0)).unwrap().stage, Some(LeaseStage::Revoking));
    assert!(world.fleet.state().workers().all(|worker| worker.reasons == [QuarantineReason::Operator]));
}

#[test]
fn a_run_that_loses_its_last_attempt_ends_and_its_report_says_why() {
    let mut world = World::new(|form| form.runs.max_attempts = 1);
    let handle = world.join(1, "a");
    let acquired = running(&mut world, 1, 1);
    world.pass(30_000);
    world.beat(1, handle).unwrap();
    world.expire();
    let run = world.fleet.state().run(&World::run_id(1)).unwrap();
    let want =
        RunState::Ended { fence: acquired.lease.fence, outcome: None, lost: Some(LossReason::Expired) };
    assert_eq!(run.state, want);
    assert_eq!(refused(&mut world, |w| w.acquire(1, "a")), code::RUN_ENDED);
}

/// The same where a stale restore takes the last attempt: without an end the run would be held, and never leased again.
#[test]
fn a_stale_restore_that_takes_the_last_attempt_ends_the_run() {
    let mut world = World::new(|form| form.runs.max_attempts = 1);
    world.join(1, "a");
    let acquired = running(&mut world, 1, 1);
    let snapshot = world.checkpoint();
    world.restore_stale(&snapshot, Epoch(9));
    let run = world.fleet.state().run(&World::run_id(1)).unwrap().state;
    let (fence, lost) = (acquired.lease.fence, Some(LossReason::Restored));
    assert_eq!(run, RunState::Ended { fence, outcome: None, lost });
    world.crash();
    assert_eq!(world.fleet.state().run(&World::run_id(1)).unwrap().state, run);
}

#[test]
fn a_named_worker_gets_the_lease_that_it_would_get_if_it_were_chosen() {
    let mut world = World::default();
    world.join(1, "ab");
    world.join(2, "a");
    let grant = world.grant(1, "a");
    let chosen = Acquire::new(World::request(grant.clone()));
    let named = Acquire::new(World::request(grant).on_worker(World::worker_id(1)));
    let service = World::service();
    let chosen = world.fleet.decide(&chosen, &service, None, world.now).unwrap();
    let named = world.fleet.decide(&named, &service, None, world.now).unwrap();
    assert_eq!(chosen, named);
}

/// Invariant 13, and nothing is written for it.
#[test]
fn a_device_that_asks_too_often_is_refused_before_anything_is_computed() {
    let mut world = World::new(|form| form.limits.admission_per_device = 3);
    world.register(1);
    world.register(2);
    let before = world.fleet.state().clone();
    let device = World::device_id(1);
    for _ in 0..3 {
        world.fleet.admit(&device, world.now).unwrap();
    }
    assert_eq!(code_of(world.fleet.admit(&device, world.now)), code::DEVICE_TOO_OFTEN);
    world.fleet.admit(&World::device_id(2), world.now).unwrap();
    world.pass(60_000);
    world.fleet.admit(&device, world.now).unwrap();
    assert_eq!(*world.fleet.state(), before);
}

#[test]
fn a_policy_that_lets_grants_live_longer_does_not_let_older_ones_run_again() {
    // Invariant 1: a run is remembered for as long as its grants could live under the policy of then.
    let short = |form: &mut WorkerFleetPolicyForm| form.runs.grant_lifetime_max_ms = Millis(60_000);
    let mut world = World::new(short);
    let handle = world.join(1, "a");
    let mut terms = world.grant(1, "a").terms().clone();
    let long = WorkerRunGrant::mint(terms.clone()).unwrap();
    terms.id = GrantId::new("short").unwrap();
    terms.expires = world.now.wall.plus(Millis(50_000));
    let acquired =
        world.ask(&Acquire::new(World::request(WorkerRunGrant::mint(terms).unwrap())), &World::service());
    let acquired = acquired.unwrap().answer;
    start(&mut world, 1, &acquired);
    world.ask(&World::completion(handle, &acquired.lease), &World::device(1)).unwrap();
    let long = Acquire::new(World::request(long));
    assert_eq!(refused(&mut world, |w| w.ask(&long, &World::service())), code::GRANT_TOO_LONG);
    // The run is forgotten, and then grants may live longer.
    world.pass(61_000);
    let policy = World::policy(|_| {});
    world.ask(&SetPolicy { policy }, &World::operator()).unwrap();
    assert_eq!(refused(&mut world, |w| w.ask(&long, &World::service())), code::GRANT_BEFORE_FLOOR);
}

#[test]
fn a_wall_clock_that_was_wrong_for_a_while_bricks_nothing() {
    // Invariant 7. The coordinator started with a clock a year ahead, and then the clock was set right.
    let year = Millis(365 * 86_400_000);
    let mut world = World::default();
    let handle = world.join(1, "a");
    let before = world.grant(1, "a");
    world.now = Now { mono: world.now.mono.plus(year), wall: world.now.wall.plus(year) };
    world.crash();
    let right = Wall(world.now.wall.0 - year.0 + 1_000);
    world.now = Now { mono: world.now.mono.plus(Millis(1_000)), wall: right };
    assert_eq!(refused(&mut world, |w| w.acquire(1, "a")), code::TIME_WALL_LEAP);
    // A restart does not help, and neither device nor service may say what time it is.
    world.crash();
    assert_eq!(refused(&mut world, |w| w.acquire(1, "a")), code::TIME_WALL_LEAP);
    assert_eq!(
        refused(&mut world, |w| w.ask(&AcceptWall {}, &World::service())),
        code::PRINCIPAL_NOT_ALLOWED
    );
    let command = CommandId { client: ClientId::new("operator").unwrap(), sequence: 1 };
    world.ask_as(&AcceptWall {}, &World::operator(), Some(&command)).unwrap();
    assert_eq!(refused(&mut world, |w| w.ask(&AcceptWall {}, &World::operator())), code::TIME_NO_LEAP);
    world.crash();
    // What was valid does not come back: evidence ended on the fleet's own line, and grants of before are refused.
    let stale = Acquire::new(World::request(before));
    assert_eq!(refused(&mut world, |w| w.ask(&stale, &World::service())), code::GRANT_BEFORE_FLOOR);
    assert_eq!(refused(&mut world, |w| w.acquire(1, "a")), code::FLEET_NO_WORKER);
    world.attest(1, "a", Some(handle)).unwrap();
    world.beat(1, handle).unwrap();
    world.acquire(1, "a").unwrap();
}

#[test]
fn a_repeat_is_recognised_by_what_the_worker_said() {
    // F19: a coordinator that was restarted in between looks again, and may see less.
    let mut world = World::default();
    let handle = world.join(1, "a");
    let lease = running(&mut world, 1, 1).lease;
    let mut completion = World::completion(handle, &lease);
    completion.cleanup = None;
    world.ask(&completion, &World::device(1)).unwrap();
    let command = CommandId { client: ClientId::new("device-1").unwrap(), sequence: 9 };
    let seen = ReportCleanup::new(handle, World::clean(&lease), Some(Inspection::found(0)));
    let first = world.ask_as(&seen, &World::device(1), Some(&command)).unwrap();
    let unseen = ReportCleanup::new(handle, World::clean(&lease), None);
    let again = world.ask_as(&unseen, &World::device(1), Some(&command)).unwrap();
    assert_eq!((again.answer, again.events.len()), (first.answer, 0));
}

/// Invariant 13: a full ledger of runs has room again when what it remembers is over, also where nothing happened meanwhile.
#[test]
fn a_full_ledger_of_runs_has_room_when_they_are_over() {
    let mut world = World::new(|form| {
        form.limits.runs = 20;
        form.runs.grant_lifetime_max_ms = Millis::from_secs(7_200);
    });
    let mut worker = world.join(1, "a");
    for n in 0..20 {
        let acquired = running(&mut world, 1, n);
        world.ask(&World::completion(worker, &acquired.lease), &World::device(1)).unwrap();
    }
    assert_eq!(refused(&mut world, |world| world.acquire(99, "a")), code::FLEET_RUNS_FULL);
    world.pass(7_200_000);
    world.expire();
    for n in 100..150 {
        worker = world.attest(1, "a", None).unwrap().answer.handle;
        world.beat(1, worker).unwrap();
        let acquired = running(&mut world, 1, n);
        assert!(world.fleet.state().runs().count() <= 20, "invariant 13");
        world.ask(&World::completion(worker, &acquired.lease), &World::device(1)).unwrap();
        world.pass(400_000);
        world.expire();
    }
    world.fleet.state().check_invariants().unwrap();
}
