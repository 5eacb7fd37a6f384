//! The end of a lease follows from what is in force now (invariant 3), and what ends a run says whose doing it was.

mod fleet_support;

use fleet_support::*;
use leasehold::{
    attestation::policy::AttestationPolicyForm,
    code,
    digest::Sha256Digest,
    fleet::*,
    identity::{DeviceCertificate, DeviceCommand, OverlapEnd},
    lease::{Artifact, ArtifactManifest, ArtifactReceiver, ArtifactTransport, RelativePath},
    testing::World,
    time::{Millis, Mono, Wall},
};

fn attest_for(world: &mut World, n: u32, span: u64) {
    let handle = world.fleet.state().handle_of(&World::worker_id(n)).unwrap();
    let nonce = world.challenge(n);
    let mut claims = world.claims(n, "a", nonce);
    claims.expires = world.now.wall.plus(Millis(span));
    world.attest_with(n, &claims, Some(handle)).unwrap();
}

fn renew(world: &mut World, n: u32, acquired: &Acquired) -> Result<Mono, LeaseError> {
    let renew = Renew { worker: acquired.worker, fence: acquired.lease.fence };
    let now = world.now.mono;
    world.ask(&renew, &World::device(n)).map(|outcome| now.plus(outcome.answer.remaining))
}

fn expires(world: &World) -> Option<Mono> {
    world.fleet.state().live_leases().next().map(|lease| lease.expires)
}

fn rotation(n: u32, overlap: u64) -> ManageDevice {
    let next = Sha256Digest::of(b"next");
    ManageDevice::new(DeviceCommand::BeginRotation {
        device: World::device_id(n),
        next: DeviceCertificate::new(next, Sha256Digest::of(b"next key"), Wall(0), Wall::NEVER).unwrap(),
        overlap: Millis(overlap),
        at_deadline: OverlapEnd::RetireOld,
    })
}

/// Evidence that took the place of the former ends the lease with it, at once and at every enforcement point; the run is
/// held for as long as its holder was told before.
#[test]
fn a_lease_ends_with_the_evidence_that_is_in_force() {
    let mut world = World::default();
    world.join(1, "a");
    let acquired = running(&mut world, 1, 1);
    let told = acquired.lease.expires;
    let end = world.now.mono.plus(Millis(2_000));
    attest_for(&mut world, 1, 2_000);
    assert_eq!(expires(&world), Some(end));
    assert_eq!(renew(&mut world, 1, &acquired), Ok(end), "its holder is told");
    world.pass(2_000);
    world.expire();
    assert_eq!(expires(&world), None);
    let grace = world.fleet.state().policy().lease.grace_ms;
    match world.fleet.state().run(&World::run_id(1)).unwrap().state {
        RunState::Held { until, .. } => assert_eq!(until, told.plus(grace)),
        ref other => panic!("{other:?}"),
    }
    world.crash();
    world.fleet.state().check_invariants().unwrap();
}

/// Evidence that was renewed under a lease lets the lease live longer, up to what ends first of the rest.
#[test]
fn renewed_evidence_lets_a_lease_live_longer() {
    let mut world = World::new(|form| form.lease.longest_ms = Millis::from_secs(300));
    world.register(1);
    let nonce = world.challenge(1);
    let mut claims = world.claims(1, "a", nonce);
    claims.expires = world.now.wall.plus(Millis::from_secs(40));
    let handle = world.attest_with(1, &claims, None).unwrap().answer.handle;
    world.beat(1, handle).unwrap();
    let acquired = running(&mut world, 1, 1);
    let begun = acquired.lease.granted;
    world.pass(20_000);
    assert_eq!(renew(&mut world, 1, &acquired), Ok(begun.plus(Millis(40_000))));
    attest_for(&mut world, 1, 3_000_000);
    world.pass(10_000);
    assert_eq!(renew(&mut world, 1, &acquired), Ok(begun.plus(Millis(90_000))));
    let live = world.fleet.state().clone();
    world.crash();
    assert_eq!(live.live_leases().next(), world.fleet.state().live_leases().next());
    for _ in 0..5 {
        world.pass(50_000);
        let _ = renew(&mut world, 1, &acquired);
    }
    assert_eq!(expires(&world), Some(begun.plus(Millis(300_000))), "the fleet's longest lease still ends it");
    assert_eq!(code_of(renew(&mut world, 1, &acquired)), code::LEASE_HORIZON);
}

/// A rotation whose overlap ends sooner than the lease ends the lease with the overlap, and no renewal passes that.
#[test]
fn a_lease_ends_with_the_overlap_of_a_rotation() {
    let mut world = World::default();
    world.join(1, "a");
    let acquired = running(&mut world, 1, 1);
    let end = world.now.mono.plus(Millis(10_000));
    world.ask(&rotation(1, 10_000), &World::operator()).unwrap();
    assert_eq!(expires(&world), Some(end));
    world.pass(9_000);
    assert_eq!(renew(&mut world, 1, &acquired), Ok(end), "its holder is told");

    // One that ends later ends nothing, and bounds every renewal from then on.
    let mut world = World::default();
    world.join(1, "a");
    let acquired = running(&mut world, 1, 1);
    let end = world.now.mono.plus(Millis(50_000));
    world.ask(&rotation(1, 50_000), &World::operator()).unwrap();
    assert_eq!(expires(&world), Some(acquired.lease.expires));
    world.pass(9_000);
    assert_eq!(renew(&mut world, 1, &acquired), Ok(end));
}

/// Invariant 13: a worker that renews as often as it can writes no more than one that keeps to the policy's rhythm, and
/// is told the truth each time.
#[test]
fn renewals_are_coalesced() {
    let mut world = World::default();
    world.join(1, "a");
    let acquired = running(&mut world, 1, 1);
    let index = world.fleet.state().index();
    for _ in 0..60_000 / 25 {
        world.pass(25);
        let told = renew(&mut world, 1, &acquired).unwrap();
        assert_eq!(Some(told), expires(&world));
        assert!(
            told.since(world.now.mono) >= Millis::from_secs(30),
            "what is left is enough for two renewals"
        );
    }
    let records = world.fleet.state().index() - index;
    assert!(records <= 7, "{records} records in a minute");
    // What is left to give is given, be it ever so little: the last renewal ends at the horizon.
    attest_for(&mut world, 1, 61_000);
    world.pass(1_000);
    assert_eq!(renew(&mut world, 1, &acquired), Ok(world.now.mono.plus(Millis(60_000))));
}

fn narrower(form: &mut WorkerFleetPolicyForm) {
    let mut attestation = AttestationPolicyForm::from(form.attestation.clone());
    attestation.capabilities.trusted = World::capabilities("bcdefgh");
    form.attestation = attestation.try_into().unwrap();
}

/// Between a change of policy and its sweep, nothing is begun and nothing is done on evidence that does not pass.
#[test]
fn a_completion_before_the_sweep_is_judged_under_the_policy_in_force() {
    let mut world = World::default();
    world.join(1, "a");
    world.join(2, "a");
    let acquired = running(&mut world, 1, 1);
    let assigned = world.acquire(2, "a").unwrap().answer;
    world.ask(&SetPolicy { policy: World::policy(narrower) }, &World::operator()).unwrap();
    let complete = World::completion(acquired.worker, &acquired.lease);
    let done = refused(&mut world, |world| world.ask(&complete, &World::device(1)));
    assert_eq!(done, code::EVIDENCE_NOT_IN_FORCE);
    let start = Start { worker: assigned.worker, fence: assigned.lease.fence };
    let begun = refused(&mut world, |world| world.ask(&start, &World::device(2)));
    assert_eq!(begun, code::EVIDENCE_NOT_IN_FORCE);
    world.expire();
    let done = refused(&mut world, |world| world.ask(&complete, &World::device(1)));
    assert_eq!(done, code::LEASE_REVOKED);
}

fn path(text: &str) -> RelativePath {
    RelativePath::new(text).unwrap()
}

/// What a worker sends, what it claims, and what becomes of its run.
struct Sent {
    what: &'static str,
    files: &'static [(&'static str, &'static [u8])],
    claimed: &'static [(&'static str, &'static [u8])],
    log: (&'static [u8], &'static [u8]),
    verdict: Verdict,
}

const SENT: [Sent; 8] = [
    Sent {
        what: "as allowed",
        files: &[("out/a", b"1")],
        claimed: &[("out/a", b"1")],
        log: (b"l", b"l"),
        verdict: Verdict::CleanupAwaited,
    },
    Sent {
        what: "too many bytes",
        files: &[("out/a", b"12345")],
        claimed: &[("out/a", b"12345")],
        log: (b"", b""),
        verdict: Verdict::OutputExcess,
    },
    Sent {
        what: "a long log",
        files: &[("out/a", b"1")],
        claimed: &[("out/a", b"1")],
        log: (b"log", b"log"),
        verdict: Verdict::OutputExcess,
    },
    Sent {
        what: "another place",
        files: &[("out/a", b"1"), ("b", b"1")],
        claimed: &[("out/a", b"1"), ("b", b"1")],
        log: (b"", b""),
        verdict: Verdict::OutputExcess,
    },
    Sent {
        what: "less than is demanded",
        files: &[],
        claimed: &[],
        log: (b"", b""),
        verdict: Verdict::OutputExcess,
    },
    Sent {
        what: "another content",
        files: &[("out/a", b"1")],
        claimed: &[("out/a", b"2")],
        log: (b"", b""),
        verdict: Verdict::OutputRefused,
    },
    Sent {
        what: "more than is claimed",
        files: &[("out/a", b"1"), ("out/b", b"1")],
        claimed: &[("out/a", b"1")],
        log: (b"", b""),
        verdict: Verdict::OutputRefused,
    },
    Sent {
        what: "a lie beside an excess",
        files: &[("out/a", b"1"), ("b", b"12345")],
        claimed: &[("out/a", b"2"), ("b", b"12345")],
        log: (b"log", b""),
        verdict: Verdict::OutputRefused,
    },
];

/// A lie latches the node. An excess is the job's doing: its run ends as failed and is not tried again, and the worker
/// comes back by cleanup and fresh evidence, without an operator.
#[test]
fn an_excess_ends_the_run_and_a_lie_latches_the_node() {
    for Sent { what, files, claimed, log, verdict } in SENT {
        let mut world = World::default();
        let handle = world.join(1, "a");
        let mut transport = ArtifactTransport::nothing();
        (transport.outputs_within, transport.outputs_required) =
            ([path("out")].into(), [path("out/a")].into());
        (transport.max_output_bytes, transport.max_log_bytes) = (4, 2);
        let request = World::request(world.grant(1, "a")).with_artifacts(transport).unwrap();
        let acquired = world.ask(&Acquire::new(request), &World::service()).unwrap().answer;
        start(&mut world, 1, &acquired);
        let mut receiver = ArtifactReceiver::new(100);
        files.iter().for_each(|(name, bytes)| receiver.output(&path(name), bytes).unwrap());
        receiver.log(log.0).unwrap();
        let mut complete = World::completion(handle, &acquired.lease);
        complete.cleanup = None;
        complete.received = receiver.finish().unwrap();
        let claimed = claimed.iter().map(|(name, bytes)| Artifact::of(path(name), bytes));
        complete.claim.outputs = ArtifactManifest::new(claimed).unwrap();
        complete.claim.log = Sha256Digest::of(log.1);
        assert_eq!(world.ask(&complete, &World::device(1)).unwrap().answer, verdict, "{what}");
        let report = ReportCleanup::new(handle, World::clean(&acquired.lease), None);
        world.ask(&report, &World::device(1)).unwrap();
        world.attest(1, "a", Some(handle)).unwrap();
        world.beat(1, handle).unwrap();
        let lie = verdict == Verdict::OutputRefused;
        let expected = if lie { WorkerLifecycleState::Quarantined } else { WorkerLifecycleState::Available };
        assert_eq!(state(&world, 1), expected, "{what}");
        let run = &world.fleet.state().run(&World::run_id(1)).unwrap().state;
        match (verdict, run) {
            (Verdict::OutputRefused, RunState::Held { reason: Some(LossReason::Output), .. }) => {}
            (Verdict::OutputExcess, RunState::Ended { outcome, lost, .. }) => {
                assert_eq!((outcome, lost), (&Some(RunOutcome::Failed), &Some(LossReason::Output)), "{what}");
            }
            (_, RunState::Ended { outcome: Some(RunOutcome::Succeeded), .. }) => {}
            other => panic!("{what}: {other:?}"),
        }
        assert_eq!(world.acquire(2, "a").is_ok(), !lie, "{what}");
        world.crash();
    }
}
