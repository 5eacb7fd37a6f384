//! What a crash, a failed journal, a second coordinator and growth without end must not do.

use leasehold::{
    code::{self, Coded},
    digest::Sha256Digest,
    fleet::*,
    id::*,
    lease::*,
    testing::World,
    time::Millis,
};

use crate::fleet_support::*;

/// Invariant 13.
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
    assert_eq!(refused(&mut world, |w| w.attest(3, "a", None)), code::FLEET_FULL);
    world.attest(1, "a", None).unwrap();
    assert_eq!(refused(&mut world, |w| w.attest(2, "a", None)), code::ATTEST_NONCES_FULL);
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

/// Invariants 1, 2 and 8.
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

/// Invariant 2.
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

/// Invariant 8.
#[test]
fn f25_a_journal_in_doubt_stops_everything_until_recovery() {
    let mut world = World::default();
    world.join(1, "a");
    let grant = world.grant(1, "a");
    let acquire = Acquire::new(World::request(grant));
    let prepared = world.fleet.decide(&acquire, &World::service(), None, world.now).unwrap();
    let ticket = world.fleet.accept(prepared).unwrap();
    world.fleet.journal_failed();
    assert_eq!(world.fleet.durable(ticket.id()), Err(DurableError::Halted));
    let ticket = ticket.redeem(&world.fleet).expect_err("no answer and no effect");
    assert_eq!(code_of(world.fleet.decide(&acquire, &World::service(), None, world.now)), code::FLEET_HALTED);
    assert!(world.fleet.take_journal().is_none());
    world.crash();
    assert!(ticket.redeem(&world.fleet).is_err());
    world.ask(&acquire, &World::service()).unwrap();
}
