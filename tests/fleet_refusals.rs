//! What refusals say: each names what ends it, and none says its code twice.

mod fleet_support;

use fleet_support::*;
use leasehold::{
    code::Coded,
    fleet::*,
    lease::{GrantTerms, WorkerRunGrant},
    testing::World,
    time::{Millis, Now, Wall},
};

fn said<T: std::fmt::Debug, E: Coded + std::fmt::Debug>(result: Result<T, E>) -> String {
    let error = result.expect_err("a refusal");
    let (text, code) = (error.to_string(), error.code());
    // Whoever shows a refusal shows its code beside its text.
    assert!(!text.contains(code.as_str()), "`{code}` stands in its own text: {text}");
    text
}

/// A refusal by the transition table says what the condition is and what ends it.
#[test]
fn a_refusal_by_condition_says_what_ends_it() {
    let mut world = World::default();
    let handle = world.join(1, "a");
    let fence = world.fleet.state().last_fence();
    let none = said(world.ask(&Renew { worker: handle, fence }, &World::device(1)));
    assert!(none.contains("holds no lease") && none.contains("available"), "{none}");
    drain(&mut world, 1);
    let draining = said(on_worker(&mut world, 1, 1));
    assert!(draining.contains("undrain"), "{draining}");
}

/// A leap of the wall names the two things that end it.
#[test]
fn a_leap_of_the_wall_names_the_operators_act() {
    let mut world = World::default();
    world.join(1, "a");
    world.now = Now { mono: world.now.mono, wall: Wall(world.now.wall.0 + 86_400_000) };
    let leapt = said(world.acquire(1, "a").map(|it| it.answer));
    assert!(leapt.contains("accept_wall"), "{leapt}");
}

/// A run that has ended says how.
#[test]
fn an_ended_run_says_how_it_ended() {
    let mut world = World::new(|form| form.runs.max_attempts = 1);
    let handle = world.join(1, "a");
    let acquired = running(&mut world, 1, 1);
    world.ask(&World::completion(handle, &acquired.lease), &World::device(1)).unwrap();
    let ended = said(world.acquire(1, "a").map(|it| it.answer));
    assert!(ended.contains("succeeded"), "{ended}");
    running(&mut world, 1, 2);
    world.pass(600_000);
    world.expire();
    let lost = said(world.acquire(2, "a").map(|it| it.answer));
    assert!(lost.contains("silent"), "{lost}");
}

/// A lease that ends before its start was due is over, and not one that nobody started.
#[test]
fn a_grant_that_ended_before_the_start_is_not_reported_as_not_started() {
    for (run, lifetime, reason) in [(1, 5_000, LossReason::Expired), (2, 60_000, LossReason::NotStarted)] {
        let mut world = World::default();
        world.join(1, "a");
        let terms = world.grant(run, "a").terms().clone();
        let expires = world.now.wall.plus(Millis(lifetime));
        let grant = WorkerRunGrant::mint(GrantTerms { expires, ..terms }).unwrap();
        world.ask(&Acquire::new(World::request(grant)), &World::service()).unwrap();
        world.pass(10_000);
        let lost = world.expire();
        let lost = lost.iter().find_map(|event| match event {
            FleetEvent::LeaseLost { reason, .. } => Some(*reason),
            _ => None,
        });
        assert_eq!(lost, Some(reason));
    }
}

/// A fleet that remembers as many runs as it may says which limit that is, and when the next is forgotten.
#[test]
fn a_full_ledger_of_runs_names_its_limit() {
    let mut world = World::new(|form| form.limits.runs = 1);
    let handle = world.join(1, "a");
    let acquired = running(&mut world, 1, 1);
    world.ask(&World::completion(handle, &acquired.lease), &World::device(1)).unwrap();
    let next = world.now.mono.plus(Millis::from_secs(86_400));
    let full = said(world.acquire(2, "a").map(|it| it.answer));
    assert!(full.contains("limits.runs") && full.contains(&next.to_string()), "{full}");
}
