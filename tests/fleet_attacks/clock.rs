//! Times that somebody else says, or that leap.

use leasehold::{
    code,
    fleet::*,
    testing::World,
    time::{Mono, Now, Wall},
};

use crate::fleet_support::*;

/// Invariants 4 and 7.
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

/// Invariants 3 and 7.
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

/// Invariant 3.
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
