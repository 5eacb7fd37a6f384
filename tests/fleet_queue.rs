//! A worker stands in a ready queue exactly while it can be leased, and a request that some worker can serve is served
//! (invariant 4).

mod fleet_support;

use fleet_support::*;
use leasehold::{
    attestation::policy::AttestationPolicyForm,
    code::{self, Coded},
    digest::Sha256Digest,
    fleet::*,
    identity::{DeviceCertificate, DeviceCommand, OverlapEnd, RevocationReason, RevocationSubject},
    lease::WorkerLease,
    testing::World,
    time::{Millis, Wall},
};

/// A worker whose evidence is good for `span`.
fn join_for(world: &mut World, n: u32, letters: &str, span: u64) {
    world.register(n);
    let nonce = world.challenge(n);
    let mut claims = world.claims(n, letters, nonce);
    claims.expires = world.now.wall.plus(Millis(span));
    let handle = world.attest_with(n, &claims, None).unwrap().answer.handle;
    world.beat(n, handle).unwrap();
}

fn attest_for(world: &mut World, n: u32, span: u64) {
    let handle = world.fleet.state().handle_of(&World::worker_id(n)).unwrap();
    let nonce = world.challenge(n);
    let mut claims = world.claims(n, "a", nonce);
    claims.expires = world.now.wall.plus(Millis(span));
    world.attest_with(n, &claims, Some(handle)).unwrap();
}

fn manage(world: &mut World, command: DeviceCommand) {
    world.ask(&ManageDevice::new(command), &World::operator()).unwrap();
}

fn rotate(world: &mut World, n: u32) {
    let certificate = Sha256Digest::of(format!("next certificate {n}").as_bytes());
    let key = Sha256Digest::of(format!("next key {n}").as_bytes());
    let next = DeviceCertificate::new(certificate, key, Wall(0), Wall::NEVER).unwrap();
    let (device, overlap) = (World::device_id(n), Millis::from_secs(3_600));
    manage(
        world,
        DeviceCommand::BeginRotation { device, next, overlap, at_deadline: OverlapEnd::AbandonNew },
    );
    world.ask(&ConfirmUse {}, &Principal::Device { device: World::device_id(n), certificate }).unwrap();
}

fn revoke(world: &mut World, subject: RevocationSubject) {
    manage(world, DeviceCommand::Revoke { subject, reason: RevocationReason::KeyCompromise });
}

fn lease(world: &mut World, run: u32) -> Result<WorkerLease, AcquireError> {
    world.acquire(run, "a").map(|outcome| outcome.answer.lease)
}

/// What makes workers unfit for a lease: its name, and the act on one of them.
const CAUSES: [(&str, fn(&mut World, u32)); 7] = [
    ("evidence too short for any lease", |world, n| attest_for(world, n, 15_000)),
    ("a revoked device", |world, n| revoke(world, RevocationSubject::Device(World::device_id(n)))),
    ("a revoked certificate", |world, n| {
        revoke(world, RevocationSubject::Certificate(World::certificate(n)))
    }),
    ("a rotation that was used", rotate),
    ("fresh evidence demanded", |world, n| reverify(world, n)),
    ("draining", |world, n| drain(world, n)),
    ("quarantine", |world, n| quarantine(world, n)),
];

/// Whatever ends it takes a worker out of the queue at that moment, and it hides nobody who stands behind it.
#[test]
fn whatever_makes_workers_unfit_takes_them_out_at_once() {
    for (cause, act) in CAUSES {
        let mut world = World::new(|form| form.lease.ttl_min_ms = Millis::from_secs(20));
        (0..41).for_each(|n| {
            world.join(n, "a");
        });
        (0..40).for_each(|n| act(&mut world, n));
        assert_eq!(world.fleet.state().counts().available, 1, "{cause}");
        let lease = lease(&mut world, 1).unwrap_or_else(|error| panic!("{cause}: {error}"));
        assert_eq!(lease.worker, World::worker_id(40), "{cause}");
        world.fleet.state().check_invariants().unwrap();
    }
}

/// Evidence that is bound to a certificate that was rotated away is asked for again, and then the worker works again.
#[test]
fn a_worker_that_rotated_is_asked_for_evidence_and_works_again() {
    let mut world = World::default();
    let handle = world.join(1, "a");
    rotate(&mut world, 1);
    assert_eq!(state(&world, 1), WorkerLifecycleState::Registered);
    let certificate = Sha256Digest::of(b"next certificate 1");
    let device = Principal::Device { device: World::device_id(1), certificate };
    let nonce = world.ask(&Challenge {}, &device).unwrap().answer.nonce;
    let mut claims = world.claims(1, "a", nonce.clone());
    claims.certificate = certificate;
    let (form, evidence) = (leasehold::attestation::EvidenceForm::Json, claims.to_document());
    let attest = Attest { nonce, form, evidence, attachments: Vec::new(), resume: Some(handle) };
    world.ask(&attest, &device).unwrap();
    let heard = world.fleet.heartbeat(handle, &device, world.now).unwrap().expect("it is available again");
    world.finish(heard);
    assert!(lease(&mut world, 1).is_ok());
}

/// What time has ended hides nobody either, where nobody has called `expire` since; those that are passed over leave
/// the queue in the same record.
#[test]
fn what_time_has_ended_is_taken_out_by_the_decision_that_sees_it() {
    let mut world = World::default();
    for n in 0..20 {
        join_for(&mut world, n, "a", if n % 2 == 0 { 12_000 } else { 3_000_000 });
    }
    world.pass(11_500);
    join_for(&mut world, 20, "a", 3_000_000);
    // Half of them are left with half a second of evidence, less than any lease.
    assert_eq!(lease(&mut world, 1).unwrap().worker, World::worker_id(1));
    world.pass(8_500);
    // The others have been silent for twenty seconds.
    let acquired = world.acquire(2, "a").unwrap();
    assert_eq!(acquired.answer.lease.worker, World::worker_id(20));
    let silent = |event: &&FleetEvent| matches!(event, FleetEvent::WorkerSilent { .. });
    assert_eq!(acquired.events.iter().filter(silent).count(), 18, "{:?}", acquired.events);
    world.fleet.state().check_invariants().unwrap();
}

fn narrower(form: &mut WorkerFleetPolicyForm) {
    form.limits.transitions_per_call = 8;
    let mut attestation = AttestationPolicyForm::from(form.attestation.clone());
    attestation.capabilities.trusted = World::capabilities("acdefgh");
    form.attestation = attestation.try_into().unwrap();
}

/// Until the sweep of an act has come by, a request judges the heads itself, as many as one call may change, and says
/// that it has not seen all of them: `fleet.no_worker` would be untrue.
#[test]
fn a_request_during_a_sweep_judges_a_bounded_number_and_says_so() {
    let mut world = World::new(|form| form.limits.transitions_per_call = 8);
    (0..7).for_each(|n| {
        world.join(n, "ab");
    });
    world.join(7, "a");
    world.ask(&SetPolicy { policy: World::policy(narrower) }, &World::operator()).unwrap();
    let acquired = world.acquire(1, "a").unwrap();
    assert_eq!(acquired.answer.lease.worker, World::worker_id(7));
    assert_eq!(state(&world, 0), WorkerLifecycleState::Registered, "it left the queue with that record");

    let mut world = World::new(|form| form.limits.transitions_per_call = 8);
    (0..20).for_each(|n| {
        world.join(n, "ab");
    });
    world.join(20, "a");
    world.ask(&SetPolicy { policy: World::policy(narrower) }, &World::operator()).unwrap();
    assert_eq!(refused(&mut world, |world| lease(world, 1)), code::FLEET_SWEEPING);
    world.expire();
    assert_eq!(lease(&mut world, 1).unwrap().worker, World::worker_id(20));
    let nobody = lease(&mut world, 2).unwrap_err();
    assert_eq!(nobody.code(), code::FLEET_NO_WORKER);
}

/// A quarantine of the whole fleet empties the queues at that moment, and who joins afterwards waits behind nobody.
#[test]
fn a_quarantine_of_the_fleet_empties_the_queues_at_once() {
    let mut world = World::new(|form| form.limits.transitions_per_call = 8);
    (0..100).for_each(|n| {
        world.join(n, "a");
    });
    world.ask(&QuarantineAll {}, &World::operator()).unwrap();
    world.fleet.state().check_invariants().unwrap();
    let nobody = lease(&mut world, 1).unwrap_err();
    assert!(nobody.to_string().contains("100 are quarantined"), "{nobody}");
    world.join(100, "a");
    let live = world.fleet.state().clone();
    world.crash();
    assert_eq!(live.counts(), world.fleet.state().counts());
    assert_eq!(lease(&mut world, 2).unwrap().worker, World::worker_id(100));
}

fn for_at_least(world: &mut World, run: u32, span: u64) -> Result<WorkerLease, AcquireError> {
    let request = World::request(world.grant(run, "a")).for_at_least(Millis(span));
    world.ask(&Acquire::new(request), &World::service()).map(|outcome| outcome.answer.lease)
}

/// Who wants a worker for long gets the one of those that was used longest ago, whoever stands before it, and where
/// nobody can be had for so long, the refusal names the longest.
#[test]
fn a_request_for_a_long_lease_finds_whoever_can_be_leased_for_it() {
    let mut world = World::new(|form| {
        form.lease.longest_ms = Millis::from_secs(3_000);
        form.limits.transitions_per_call = 8;
    });
    for n in 0..1_200 {
        join_for(&mut world, n, "a", 60_000 + u64::from(n) * 10);
    }
    join_for(&mut world, 1_200, "ab", 1_000_000);
    join_for(&mut world, 1_201, "a", 2_000_000);
    join_for(&mut world, 1_202, "a", 1_000_000);
    let holder = |lease: Result<WorkerLease, AcquireError>| lease.unwrap().worker.clone();
    assert_eq!(holder(for_at_least(&mut world, 1, 1_500_000)), World::worker_id(1_201));
    assert_eq!(holder(for_at_least(&mut world, 2, 900_000)), World::worker_id(1_200));
    assert_eq!(holder(for_at_least(&mut world, 3, 0)), World::worker_id(0));
    match for_at_least(&mut world, 4, 1_000_001) {
        Err(AcquireError::TooShort { left, wanted }) => {
            assert_eq!((left, wanted), (Millis(1_000_000), Millis(1_000_001)));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(holder(for_at_least(&mut world, 5, 1_000_000)), World::worker_id(1_202));
    // Neither the policy nor the grant may be asked for more than they give.
    let most = refused(&mut world, |world| for_at_least(world, 6, 3_000_001));
    assert_eq!(most, code::LEASE_TOO_SHORT);
}

/// A refusal says how many workers are out for which reason, and names a capability that nobody has.
#[test]
fn a_shortage_says_who_is_out_for_which_reason() {
    fn joined(world: &mut World) {
        world.join(0, "a");
    }
    let cases: [(&str, fn(&mut World)); 8] = [
        ("no worker has joined", |_| {}),
        ("capability `a`", |world| {
            world.join(0, "b");
        }),
        ("1 hold a lease", |world| {
            joined(world);
            running(world, 0, 99);
        }),
        ("1 are draining", |world| {
            joined(world);
            drain(world, 0);
        }),
        ("1 are quarantined", |world| {
            joined(world);
            quarantine(world, 0);
        }),
        ("1 are silent", |world| {
            joined(world);
            world.pass(60_000);
            world.expire();
        }),
        ("1 wait for evidence or a heartbeat", |world| {
            joined(world);
            reverify(world, 0);
        }),
        ("1 owe cleanup", |world| {
            joined(world);
            running(world, 0, 99);
            world.pass(40_000);
            world.expire();
        }),
    ];
    for (text, act) in cases {
        let mut world = World::default();
        act(&mut world);
        let error = lease(&mut world, 1).unwrap_err();
        assert_eq!(error.code(), code::FLEET_NO_WORKER);
        assert!(error.to_string().contains(text), "{error}");
    }
    let mut world = World::default();
    world.join(0, "a");
    world.join(1, "b");
    let error = world.acquire(1, "ab").unwrap_err().to_string();
    assert!(error.contains("no worker has all of the capabilities together"), "{error}");
}
