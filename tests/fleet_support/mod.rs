//! What the tests of the fleet's rules share: refusals that change nothing, and short ways to act.
#![allow(dead_code, reason = "each test file uses its part")]

use leasehold::{
    code::{Code, Coded},
    fleet::*,
    testing::World,
};

pub fn code_of<T: std::fmt::Debug, E: Coded + std::fmt::Debug>(result: Result<T, E>) -> Code {
    result.expect_err("a refusal").code()
}

/// Asks for a lease on worker `n` by name: what an operator would try to get it working again.
pub fn on_worker(world: &mut World, run: u32, n: u32) -> Result<Acquired, AcquireError> {
    let grant = world.grant(run, "a");
    let request = World::request(grant).on_worker(World::worker_id(n));
    world.ask(&Acquire::new(request), &World::service()).map(|outcome| outcome.answer)
}

pub fn state(world: &World, n: u32) -> WorkerLifecycleState {
    world.fleet.state().worker(&World::worker_id(n)).expect("a known worker").state
}

/// Does `act` and asserts that it changed nothing at all (invariant 8).
pub fn refused<T: std::fmt::Debug, E: Coded + std::fmt::Debug>(
    world: &mut World,
    act: impl FnOnce(&mut World) -> Result<T, E>,
) -> Code {
    let before = world.fleet.state().clone();
    let code = code_of(act(world));
    assert_eq!(*world.fleet.state(), before, "a rejection changed something");
    code
}

pub fn quarantine(world: &mut World, n: u32) {
    world.ask(&QuarantineWorker { worker: World::worker_id(n) }, &World::operator()).unwrap();
}

pub fn drain(world: &mut World, n: u32) {
    world.ask(&Drain { worker: World::worker_id(n) }, &World::operator()).unwrap();
}

pub fn reverify(world: &mut World, n: u32) {
    world.ask(&Reverify { worker: World::worker_id(n) }, &World::operator()).unwrap();
}

pub fn start(world: &mut World, n: u32, acquired: &Acquired) {
    let start = Start { worker: acquired.worker, fence: acquired.lease.fence };
    world.ask(&start, &World::device(n)).unwrap();
}

/// A worker that runs `run`.
pub fn running(world: &mut World, n: u32, run: u32) -> Acquired {
    let acquired = world.acquire(run, "a").expect("a lease").answer;
    start(world, n, &acquired);
    acquired
}
