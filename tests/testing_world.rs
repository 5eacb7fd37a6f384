//! The world that users test their services with does what its documentation says.

use std::{cell::RefCell, collections::BTreeMap};

use leasehold::{
    code::Coded,
    fleet::{ForceCleanup, Need, Release, Undrain, WorkerFleetManager, WorkerLifecycleState},
    id::WorkerId,
    testing::{
        Stepped, World,
        strategies::{self, FleetStep, NonceChoice},
    },
    time::Millis,
};
use proptest::test_runner::{Config, TestRunner};

/// What 256 sequences come across: every kind of outcome of every kind of step, told by its code.
const REACHED: &[&str] = &[
    "done",
    "idle",
    "fleet.no_worker",
    "run.leased",
    "lease.stale_fence",
    "worker.stale_handle",
    "device.revoked",
];

/// Invariant 8, by the steps that a user's own property test is made of: a refusal and an idle step change nothing, and what
/// the journal holds is the state.
#[test]
fn steps_change_the_fleet_through_its_journal_alone() {
    let seen = RefCell::new(BTreeMap::<String, u32>::new());
    let config = Config { failure_persistence: None, ..Config::default() };
    let cases = config.cases;
    let outcome = TestRunner::new(config).run(&strategies::fleet_steps(40), |steps| {
        let mut world = World::populated(|form| form.limits.window = 4);
        for step in &steps {
            let before = world.fleet.state().clone();
            let what = match world.step(step) {
                Stepped::Done(_) => "done",
                Stepped::Refused(code) => {
                    assert!(*world.fleet.state() == before, "{step:?} was refused and changed something");
                    code.as_str()
                }
                Stepped::Idle => {
                    assert!(*world.fleet.state() == before, "{step:?} was idle and changed something");
                    "idle"
                }
                _ => "another",
            };
            *seen.borrow_mut().entry(what.into()).or_default() += 1;
        }
        let last = world.fleet.state().clone();
        world.crash();
        assert!(world.fleet.state().workers().count() == last.workers().count());
        assert!(world.fleet.state().last_fence() >= last.last_fence());
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
    let seen = seen.into_inner();
    let missed: Vec<_> = REACHED.iter().filter(|what| !seen.contains_key(**what)).collect();
    assert!(cases < 256 || missed.is_empty(), "no step ended with {missed:?}, only with {seen:?}");
}

/// What a diagnosis names frees the worker: done in its order, each step is accepted, and then the worker is available.
/// Invariant 5 from the other side: nothing less does.
#[test]
fn what_a_diagnosis_names_frees_a_worker() {
    let freed = RefCell::new(BTreeMap::<String, u32>::new());
    let config = Config { failure_persistence: None, ..Config::default() };
    let cases = config.cases;
    let outcome = TestRunner::new(config).run(&strategies::fleet_steps(40), |steps| {
        let mut world = World::populated(|form| form.limits.window = 4);
        for step in &steps {
            // A revoked device and another policy are no states of a worker, and nothing that is done to the worker helps.
            if !matches!(step, FleetStep::RevokeDevice(_) | FleetStep::SetPolicy(_)) {
                world.step(step);
            }
        }
        world.expire();
        let stuck: Vec<(WorkerId, Vec<Need>)> = world
            .fleet
            .state()
            .stuck_workers(world.now)
            .map(|stuck| (stuck.worker.clone(), stuck.needs))
            .collect();
        for (worker, needs) in stuck {
            for need in &needs {
                let (state, who) = (world.fleet.state().worker(&worker).unwrap().state, worker.clone());
                assert_ne!(
                    state,
                    WorkerLifecycleState::Available,
                    "{worker} is free before {need}: {needs:?}"
                );
                free(&mut world, who, *need);
                *freed.borrow_mut().entry(need.command().into()).or_default() += 1;
            }
            let state = world.fleet.state().worker(&worker).unwrap().state;
            assert_eq!(state, WorkerLifecycleState::Available, "{worker} after {needs:?}");
        }
        let left = world.fleet.state().stuck_workers(world.now).count();
        assert_eq!(left, 0);
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
    assert!(cases < 256 || freed.borrow().len() == 5, "only {:?} were needed", freed.borrow());
}

/// Does what is needed, as who has to do it.
fn free(world: &mut World, worker: WorkerId, need: Need) {
    let view = world.fleet.state().worker(&worker).unwrap();
    let (handle, device) = (view.handle, view.device.as_str().rsplit('-').next().unwrap().parse().unwrap());
    match need {
        Need::Release => drop(world.ask(&Release { worker }, &World::operator()).unwrap()),
        Need::Undrain => drop(world.ask(&Undrain { worker }, &World::operator()).unwrap()),
        Need::Cleanup { fence } => {
            drop(world.ask(&ForceCleanup { worker, fence }, &World::operator()).unwrap())
        }
        Need::Heartbeat => drop(world.beat(device, handle).unwrap()),
        Need::Evidence => {
            let nonce = world.challenge(device);
            let mut claims = world.claims(device, "a", nonce);
            claims.worker = worker;
            let answer = world.attest_with(device, &claims, Some(handle)).unwrap().answer;
            assert!(answer.failures.is_empty(), "{:?}", answer.failures);
        }
        need => panic!("{need} is not known here"),
    }
}

/// Evidence that ends before the shortest lease would frees nobody, so the diagnosis asks for fresh evidence.
#[test]
fn evidence_too_short_for_a_lease_is_named() {
    let mut world = World::populated(|_| ());
    world.step(&FleetStep::Attest {
        device: 0,
        worker: 0,
        resume: None,
        nonce: NonceChoice::Fresh,
        good: true,
        lifetime: 1500,
        capabilities: "a",
    });
    let needs = |world: &World| -> Vec<Need> {
        let stuck = world.fleet.state().stuck_workers(world.now).next();
        stuck.map(|stuck| stuck.needs).unwrap_or_default()
    };
    assert_eq!(needs(&world), [Need::Heartbeat]);
    world.step(&FleetStep::Pass(501));
    assert_eq!(needs(&world), [Need::Evidence, Need::Heartbeat]);
}

/// The policy of a world may depend on what the test knows.
#[test]
fn rules_may_capture() {
    for seconds in [30, 45] {
        let longest = Millis::from_secs(seconds);
        let world = World::new(|form| (form.lease.ttl_max_ms, form.lease.longest_ms) = (longest, longest));
        assert_eq!(world.fleet.state().policy().lease.longest_ms, longest);
    }
}

/// Every act of a first service is one line, and the fleet that they lead to is in the journal.
#[test]
fn a_life_in_one_line_each() {
    let mut world = World::default();
    let worker = world.join(1, "ab");
    let lease = world.acquire(1, "a").unwrap().answer.lease;
    world.start(&lease).unwrap();
    world.pass(10_000);
    world.beat(1, worker).unwrap();
    world.renew(&lease).unwrap();
    world.complete(&lease).unwrap();
    let second = world.acquire(2, "a").unwrap().answer.lease;
    world.revoke(&second).unwrap();
    world.crash();
    // The worker owes a cleanup for the lease that was taken back, so it is let in and gets no work.
    world.rejoin(1, "ab").unwrap();
    assert_eq!(world.acquire(3, "a").unwrap_err().code().as_str(), "fleet.no_worker");
    assert!(second.fence > lease.fence);
    let _: &WorkerFleetManager = &world.fleet;
}
