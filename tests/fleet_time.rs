//! Time has two bounds: what authorises ends by the earliest time that can be true, what is leased or used again waits for
//! the latest (invariants 1, 5 and 7). What is remembered to be spent is remembered by a line that nothing moves back.

mod fleet_support;

use fleet_support::*;
use leasehold::{
    code,
    fleet::*,
    lease::{Epoch, GrantTerms, WorkerRunGrant},
    testing::World,
    time::{Millis, Mono, Now, Wall},
};

fn attest_again(world: &mut World, n: u32) {
    let handle = world.fleet.state().handle_of(&World::worker_id(n)).unwrap();
    world.attest(n, "a", Some(handle)).unwrap();
    world.beat(n, handle).unwrap();
}

fn set_wall(world: &mut World, wall: u64) {
    world.now = Now { mono: world.now.mono, wall: Wall(wall) };
    world.ask(&AcceptWall {}, &World::operator()).unwrap();
}

/// A challenge that was used is used, however long the policy lets challenges live from now on; one that was not is asked
/// for again.
#[test]
fn a_longer_life_of_challenges_revives_no_spent_nonce() {
    let mut world = World::default();
    world.register(1);
    let nonce = world.challenge(1);
    let claims = world.claims(1, "a", nonce);
    let handle = world.attest_with(1, &claims, None).unwrap().answer.handle;
    for n in 2..12 {
        world.pass(20_000);
        world.join(n, "a");
    }
    let policy = World::policy(|form| form.challenge_ttl_ms = Millis::from_secs(3_600));
    world.ask(&SetPolicy { policy }, &World::operator()).unwrap();
    let mut again = world.claims(1, "a", claims.nonce.clone());
    again.expires = world.now.wall.plus(Millis(60_000));
    let code = refused(&mut world, |world| world.attest_with(1, &again, Some(handle)).map(|it| it.answer));
    assert_eq!(code, code::NONCE_EXPIRED);
    world.crash();
    attest_again(&mut world, 1);
}

/// A run that was leased when the coordinator went down is held by the latest time that can be true, be it that the line
/// has leapt by far more than has passed; its permits ended by the earliest.
#[test]
fn a_leap_over_a_restart_frees_no_run_that_may_go_on() {
    for down in [1_000, 60_000, 3_600_000] {
        let mut world = World::default();
        world.join(1, "a");
        let first = running(&mut world, 1, 1);
        world.join(2, "a");
        let died = world.now.mono;
        world.now = world.now.plus(Millis(down));
        world.crash();
        attest_again(&mut world, 2);
        world.expire();
        let over = world.now.mono < first.lease.expires;
        assert_eq!(world.fleet.state().live_leases().count(), usize::from(over), "permits end by the line");
        // In truth a second has passed: its holder goes on for the rest of what it was told.
        let mut granted = None;
        for _ in 0..200 {
            if let Ok(outcome) = world.acquire(1, "a") {
                granted = Some(outcome.answer.lease);
                break;
            }
            world.pass(1_000);
            attest_again(&mut world, 2);
            world.expire();
        }
        let granted = granted.expect("it is leased again in the end").granted;
        let told = first.lease.expires.since(died);
        let waited = granted.since(died.plus(Millis(down)));
        assert!(told.plus(Millis(10_000)) <= waited, "down {down}: {waited} after, of {told} and grace");
        assert!(waited <= told.plus(Millis(15_000)), "and no longer than that: {waited}");
    }
}

/// What was acknowledged after a restart is free at once: only what nobody has said anything about is waited for.
#[test]
fn what_a_worker_gave_back_after_a_restart_waits_for_nothing() {
    let mut world = World::default();
    let handle = world.join(1, "a");
    let acquired = running(&mut world, 1, 1);
    world.now = world.now.plus(Millis(5_000));
    world.crash();
    world.ask(&RevokeRun::new(World::run_id(1), acquired.lease.fence), &World::service()).unwrap();
    let (fence, report) = (acquired.lease.fence, World::clean(&acquired.lease));
    let acknowledge = AcknowledgeRevocation::new(handle, fence, Some(report), None);
    world.ask(&acknowledge, &World::device(1)).unwrap();
    world.acquire(1, "a").unwrap();
}

fn grant_for(world: &mut World, run: u32, issued: u64, lifetime: u64) -> WorkerRunGrant {
    let terms = world.grant(run, "a").terms().clone();
    let (issued, expires) = (Wall(issued), Wall(issued + lifetime));
    WorkerRunGrant::mint(GrantTerms { issued, expires, ..terms }).unwrap()
}

/// A grant is spent once and an ended run runs no more, wherever operators set the wall in between.
#[test]
fn a_wall_that_is_set_ahead_and_back_revives_no_grant_and_no_run() {
    let day = 86_400_000;
    let mut world = World::new(|form| {
        form.liveness.offline_after_ms = Millis(10 * 86_400_000);
        form.runs.grant_lifetime_max_ms = Millis(3_600_000);
    });
    let handle = world.join(1, "a");
    let wall = world.now.wall.0;
    let spent = grant_for(&mut world, 1, wall, 3_600_000);
    let unspent = grant_for(&mut world, 1, wall, 3_600_000);
    let acquired = world.ask(&Acquire::new(World::request(spent.clone())), &World::service()).unwrap().answer;
    start(&mut world, 1, &acquired);
    world.ask(&World::completion(handle, &acquired.lease), &World::device(1)).unwrap();
    set_wall(&mut world, wall + day);
    // Everything that is over by the wall may be forgotten now, and much is asked, so that it would be.
    for run in 100..120 {
        world.pass(1_000);
        attest_again(&mut world, 1);
        let now = world.now.wall.0;
        let grant = grant_for(&mut world, run, now, 60_000);
        let acquired = world.ask(&Acquire::new(World::request(grant)), &World::service()).unwrap().answer;
        start(&mut world, 1, &acquired);
        world.ask(&World::completion(handle, &acquired.lease), &World::device(1)).unwrap();
    }
    // Back to before the grants were issued: nothing of before is refused for its date.
    set_wall(&mut world, wall - 3_600_000);
    for _ in 0..30 {
        world.pass(300_000);
        world.expire();
        attest_again(&mut world, 1);
        let run = 200 + u32::try_from(world.now.mono.0 / 1_000).unwrap();
        let now = world.now.wall.0;
        let grant = grant_for(&mut world, run, now, 600_000);
        let other = world.ask(&Acquire::new(World::request(grant)), &World::service()).unwrap().answer;
        start(&mut world, 1, &other);
        world.ask(&World::completion(handle, &other.lease), &World::device(1)).unwrap();
        for grant in [&spent, &unspent] {
            let again = world.ask(&Acquire::new(World::request(grant.clone())), &World::service());
            assert!(again.is_err(), "at {}: {:?}", world.now.wall, again.unwrap().answer);
        }
    }
    assert!(world.now.wall.0 > wall + 3_600_000, "they were good again for an hour, by the wall");
}

/// The brake holds what fell silent together, and lets go by itself: those that died one after the other hold nothing,
/// nor do those that died long ago, and a refusal says when it ends.
#[test]
fn the_brake_lets_go_by_itself() {
    let beat = |world: &mut World, workers: &[u32]| {
        for n in workers {
            let handle = world.fleet.state().handle_of(&World::worker_id(*n)).unwrap();
            world.beat(*n, handle).unwrap();
        }
    };
    let mut world = World::default();
    (0..6).for_each(|n| {
        world.join(n, "a");
    });
    running(&mut world, 0, 1);
    // Four of six fall silent together, one of them with a lease.
    for _ in 0..6 {
        world.pass(8_000);
        beat(&mut world, &[4, 5]);
        world.expire();
    }
    world.pass(3_000);
    beat(&mut world, &[4, 5]);
    match world.acquire(1, "a").unwrap_err() {
        AcquireError::Brake { silent, of, until } => {
            assert_eq!((silent, of), (4, 6));
            assert!(until > world.now.mono);
            let text = AcquireError::Brake { silent, of, until }.to_string();
            assert!(text.contains(&until.to_string()), "{text}");
            while world.now.mono < until {
                world.pass(8_000);
                beat(&mut world, &[4, 5]);
                world.expire();
            }
        }
        other => panic!("{other}"),
    }
    world.acquire(1, "a").expect("it lets go by itself");
    // The next that dies, dies alone.
    let holder = world.fleet.state().live_leases().next().unwrap().worker.clone();
    let other = if holder == World::worker_id(4) { 5 } else { 4 };
    for _ in 0..8 {
        world.pass(8_000);
        beat(&mut world, &[other]);
        world.expire();
    }
    world.acquire(1, "a").expect("nothing fell silent together with it");
}

/// Invariant 13: a stale restore writes one bounded record, however many workers and leases there are.
#[test]
fn the_record_of_a_stale_restore_does_not_grow_with_the_fleet() {
    let mut sizes = Vec::new();
    for workers in [10_u32, 100] {
        let mut world = World::default();
        for n in 0..workers {
            world.join(n, "a");
            world.acquire(n, "a").unwrap();
        }
        let snapshot = world.checkpoint();
        world.restore_stale(&snapshot, Epoch(1 << 20));
        sizes.push(world.journal.len());
        let counts = world.fleet.state().counts();
        assert_eq!((counts.orphaned, counts.total), (workers.into(), workers.into()));
        for n in 0..workers {
            let worker = world.fleet.state().worker(&World::worker_id(n)).unwrap();
            assert_eq!(worker.owes.unwrap().reason, LossReason::Restored);
            assert!(worker.evidence.is_none());
        }
        let quiet = world.fleet.state().quiet_until();
        assert!(world.fleet.state().runs().all(
            |run| matches!(run.state, RunState::Held { until, .. } if until == quiet && quiet > Mono::START)
        ));
        world.fleet.state().check_invariants().unwrap();
        world.crash();
    }
    // But for the length of a number or two.
    assert!(sizes[0].abs_diff(sizes[1]) < 16, "{sizes:?}");
}
