//! The calm phase: everybody does what is right, nothing is lost, and an operator undoes what an operator did. However bad the state
//! was, every worker that is left works again, every run ends, and whoever asks for a run that some worker can serve gets it.
#![allow(clippy::disallowed_types, reason = "only membership is asked; no order is")]

use std::{collections::HashSet, sync::Mutex};

use leasehold::{fleet::*, testing::World};

use crate::{
    budget::Act,
    state::{Hand, Message, State},
};

/// The most rounds of a calm phase, a second each: the longest lease, its grace, and three attempts fit several times.
const ROUNDS: usize = 200;
const STRIPES: usize = 64;

/// Calm phases, with the states from which one was seen to end well. A calm phase is a function of the shape.
pub struct Calm {
    well: Vec<Mutex<HashSet<[u64; 2]>>>,
}

impl Default for Calm {
    fn default() -> Self {
        Self::new()
    }
}

impl Calm {
    pub fn new() -> Self {
        Self { well: (0..STRIPES).map(|_| Mutex::default()).collect() }
    }

    fn stripe(&self, shape: [u64; 2]) -> std::sync::MutexGuard<'_, HashSet<[u64; 2]>> {
        let at = usize::try_from(shape[0] % STRIPES as u64).unwrap_or_default();
        self.well[at].lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Whether a calm phase from `state` ends well, and what is wrong where not. Everything happens on a copy.
    pub fn ends_well(&self, state: &State) -> Result<(), String> {
        let mut state = state.clone();
        state.write();
        state.net.clear();
        state.gate = None;
        state.promises.gate = false;
        state.left.restores = 0;
        let mut passed = Vec::new();
        for _ in 0..ROUNDS {
            state.settle();
            if is_well(&state) || self.stripe(state.shape()).contains(&state.shape()) {
                for shape in passed {
                    self.stripe(shape).insert(shape);
                }
                return Ok(());
            }
            passed.push(state.shape());
            round(&mut state);
            if let Some(broken) = &state.broken {
                return Err(format!("in the calm phase: {broken}"));
            }
        }
        Err(format!("no way out: {state:?} {:?}", state.world.fleet.state().runs().collect::<Vec<_>>()))
    }
}

/// Every worker that is left is available, and every run has ended, or nobody is left to run it.
fn is_well(state: &State) -> bool {
    let fleet = state.world.fleet.state();
    let mut left = (0..state.left.workers).filter(|n| !is_gone(state, *n)).peekable();
    if left.peek().is_none() {
        return true;
    }
    let ended = |run: u8| {
        let run = fleet.run(&World::run_id(u32::from(run) + 1));
        matches!(run.map(|run| run.state), Some(RunState::Ended { .. }))
    };
    (0..state.left.runs).all(ended)
        && left.all(|n| state.view(n).is_some_and(|view| view.state == WorkerLifecycleState::Available))
}

/// Retired, or its device is revoked: for good.
fn is_gone(state: &State, n: u8) -> bool {
    let revoked = state
        .world
        .fleet
        .state()
        .devices()
        .revocation(&leasehold::identity::RevocationSubject::Device(World::device_id(n.into())))
        .is_some();
    revoked || state.view(n).is_none_or(|view| view.state == WorkerLifecycleState::Retired)
}

fn round(state: &mut State) {
    state.expire();
    state.write();
    for n in 0..state.left.workers {
        operator(state, n);
        worker(state, n);
        state.heartbeat(n);
        state.write();
    }
    for run in 0..state.left.runs {
        let known = state.world.fleet.state().run(&World::run_id(u32::from(run) + 1)).map(|run| run.state);
        let now = state.world.now.mono;
        let fleet = state.world.fleet.state();
        let free = match known {
            None => true,
            // A run that was silent may wait for the brake, and one of a former coordinator for longer than it says.
            Some(RunState::Held { until, reason, .. }) => {
                until <= now && reason != Some(LossReason::Silent) && fleet.epoch().0 == 1
            }
            _ => false,
        };
        let ready = fleet.counts().available > 0 && fleet.quiet_until() <= now;
        if !matches!(known, Some(RunState::Ended { .. } | RunState::Leased { .. })) {
            let granted = state.acquire(run);
            state.write();
            if free && ready && !granted {
                state.break_promise("a request is refused that an available worker can serve");
            }
        }
        while let Some(message) = state.net.pop() {
            state.deliver(message);
            state.write();
        }
        (0..state.left.workers).for_each(|n| finish(state, n));
    }
    state.world.pass(1_000);
    state.stop_overdue();
    for n in 0..state.left.workers {
        state.heartbeat(n);
        state.write();
    }
}

fn operator(state: &mut State, n: u8) {
    let Some(view) = state.view(n) else { return };
    let (quarantined, draining) = (view.quarantined, view.draining);
    if quarantined {
        state.operate(Act::Release, n);
    }
    if draining {
        state.operate(Act::Undrain, n);
    }
    state.write();
}

/// A worker looks at how it stands with the fleet, as it does after each reconnection.
fn worker(state: &mut State, n: u8) {
    if is_gone(state, n) {
        return;
    }
    let at = usize::from(n);
    if !state.workers[at].next {
        state.switch(n);
        state.write();
    }
    let standing = |state: &State| {
        let view = state.view(n)?;
        Some((
            view.handle,
            view.lease.cloned().zip(view.stage),
            view.owes,
            view.quarantined,
            view.evidence.is_some(),
        ))
    };
    let Some((handle, held, owes, ..)) = standing(state) else { return };
    if state.workers[at].handle.is_some_and(|own| own != handle) {
        state.workers[at].handle = None;
    }
    if let (Some((lease, stage)), Some(own)) = (held, state.workers[at].handle) {
        let fence = lease.fence;
        let runs = matches!(&state.workers[at].hand, Hand::Running(own, _) if own.fence == fence);
        let message = match stage {
            LeaseStage::Assigned => Message::Start(n, own, fence, state.world.now.mono),
            LeaseStage::Running if runs => return,
            LeaseStage::Running => Message::Complete(n, own, lease.clone()),
            LeaseStage::CleaningUp => Message::Cleanup(n, own, lease.clone()),
            _ => Message::Acknowledge(n, own, lease.clone()),
        };
        if !runs || stage != LeaseStage::Running {
            state.workers[at].hand = match stage {
                LeaseStage::Assigned => Hand::Starting(lease.clone()),
                _ => Hand::Ending(lease.clone()),
            };
            state.workers[at].last = Some(lease);
        }
        state.deliver(message);
        state.write();
        return;
    }
    if !matches!(state.workers[at].hand, Hand::Running(..)) {
        state.workers[at].hand = Hand::Idle;
    }
    let clean = |state: &mut State, owes: Option<Debt>| {
        // What a worker does not remember, an operator vouches for.
        let Some(debt) = owes.filter(|debt| debt.cleanup) else { return };
        let last = state.workers[at].last.clone().filter(|last| last.fence == debt.fence);
        match (state.workers[at].handle, last) {
            (Some(own), Some(last)) => state.deliver(Message::Cleanup(n, own, last)),
            _ => {
                state.operate(Act::ForceCleanup, n);
            }
        }
        state.write();
    };
    clean(state, owes);
    let Some((handle, held, owes, quarantined, evidence)) = standing(state) else { return };
    let bound = state.workers[at].handle == Some(handle);
    if held.is_none() && (!bound || quarantined || !evidence || owes.is_some()) {
        state.challenge(n);
        state.attest(n);
        state.write();
        let owes = standing(state).and_then(|(_, _, owes, ..)| owes);
        clean(state, owes);
    }
}

/// Who runs completes.
fn finish(state: &mut State, n: u8) {
    let worker = &state.workers[usize::from(n)];
    if let (Hand::Running(lease, _), Some(handle)) = (&worker.hand, worker.handle) {
        let lease = lease.clone();
        state.workers[usize::from(n)].hand = Hand::Ending(lease.clone());
        state.deliver(Message::Complete(n, handle, lease));
        state.write();
    }
}
