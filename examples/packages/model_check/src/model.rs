//! The search: what can happen next, and what must be so in every state.

use leasehold::time::{Millis, Mono};
use stateright::{Model, Property};

use crate::{
    budget::{Act, Budget},
    calm::Calm,
    state::{Hand, Message, State},
};

/// What can happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    Acquire(u8),
    Heartbeat(u8),
    Challenge(u8),
    Attest(u8),
    Switch(u8),
    Restart(u8),
    Renew(u8),
    Complete(u8),
    Clean(u8),
    Deliver(usize),
    /// The message arrives, and its answer does not.
    DeliverInVain(usize),
    /// The message arrives, and will arrive again.
    Double(usize),
    Expire,
    Tick,
    /// What was accepted lasts, and leaves.
    Write,
    /// The coordinator dies. The record that was being written is there afterwards, or not.
    Crash(bool),
    /// The state is kept, as it lasts.
    BackUp,
    Restore,
    Operator(Act, u8),
    Ping,
    Feed,
    CutFeed,
}

/// The model: everything that a budget allows.
pub struct Fleet {
    /// What it allows.
    pub budget: Budget,
    /// What was seen to end well.
    pub calm: Calm,
}

impl State {
    /// The next instant at which anybody has something to do.
    fn next(&self) -> Mono {
        let now = self.world.now.mono;
        let fleet = self.world.fleet.state();
        let rhythm = fleet.policy().lease.renew_every_ms;
        let own = self.workers.iter().flat_map(|worker| match &worker.hand {
            Hand::Running(lease, gone) => vec![*gone, lease.granted.plus(rhythm)],
            _ => Vec::new(),
        });
        let runs = fleet.runs().filter_map(|run| match run.state {
            leasehold::fleet::RunState::Held { until, .. } => Some(until),
            _ => None,
        });
        let gate = self.gate.iter().filter_map(|gate| gate.next_deadline());
        let due = own.chain(runs).chain(gate).chain(self.world.fleet.next_deadline());
        let due = due.chain([fleet.quiet_until()]).filter(|due| now < *due && *due < Mono::NEVER).min();
        due.unwrap_or(now.plus(Millis(1_000)))
    }

    pub fn tick(&mut self) {
        let span = self.next().since(self.world.now.mono);
        self.world.pass(span.0);
        self.stop_overdue();
        let now = self.world.now.mono;
        if let Some(gate) = &mut self.gate {
            gate.lapse(now);
        }
    }

    fn take(&mut self, action: Action) -> Option<()> {
        let left = &mut self.left;
        match action {
            Action::Acquire(run) => {
                left.attempts -= 1;
                self.acquire(run);
            }
            Action::Heartbeat(n) => self.heartbeat(n),
            Action::Challenge(n) => {
                left.evidence -= 1;
                self.challenge(n);
            }
            Action::Attest(n) => self.attest(n),
            Action::Switch(n) => self.switch(n),
            Action::Restart(n) => {
                left.restarts -= 1;
                let worker = &mut self.workers[usize::from(n)];
                (worker.handle, worker.hand) = (None, Hand::Idle);
            }
            Action::Renew(n) => {
                left.calls -= 1;
                let worker = &self.workers[usize::from(n)];
                let (Hand::Running(lease, _), Some(handle)) = (&worker.hand, worker.handle) else {
                    return None;
                };
                self.send(Message::Renew(n, handle, lease.fence, self.world.now.mono));
            }
            Action::Complete(n) => {
                let worker = &mut self.workers[usize::from(n)];
                let (Hand::Running(lease, _), Some(handle)) = (&worker.hand, worker.handle) else {
                    return None;
                };
                let lease = lease.clone();
                worker.hand = Hand::Ending(lease.clone());
                self.send(Message::Complete(n, handle, lease));
            }
            Action::Clean(n) => {
                left.calls -= 1;
                let worker = &self.workers[usize::from(n)];
                let (Some(handle), Some(lease)) = (worker.handle, worker.last.clone()) else { return None };
                self.send(Message::Cleanup(n, handle, lease));
            }
            Action::Deliver(at) => {
                let message = self.net.remove(at);
                self.deliver(message);
            }
            Action::DeliverInVain(at) => {
                left.lost -= 1;
                self.write();
                let message = self.net.remove(at);
                self.deliver(message);
                self.write_unheard(false);
            }
            Action::Double(at) => {
                left.doubled -= 1;
                let message = self.net[at].clone();
                self.deliver(message);
            }
            Action::Expire => self.expire(),
            Action::Tick => {
                left.ticks -= 1;
                self.tick();
            }
            Action::Write => self.write(),
            Action::Crash(kept) => {
                left.crashes -= 1;
                self.crash(kept);
            }
            Action::BackUp => {
                left.backups -= 1;
                self.back_up();
            }
            Action::Restore => {
                left.restores -= 1;
                self.restore();
            }
            Action::Operator(act, n) => {
                left.acts -= 1;
                self.operate(act, n);
            }
            Action::Ping => {
                left.pings -= 1;
                let now = self.world.now.mono;
                self.gate.as_mut()?.ask(now);
            }
            Action::Feed => self.gate.as_mut()?.deliver(),
            Action::CutFeed => {
                left.pings -= 1;
                self.gate.as_mut()?.cut();
            }
        }
        Some(())
    }
}

impl Model for Fleet {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::new(self.budget)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.broken.is_some() {
            return;
        }
        let left = &state.left;
        let some = |budget: u8, action: Action| (budget > 0).then_some(action);
        actions.extend((0..left.runs).filter_map(|run| some(left.attempts, Action::Acquire(run))));
        for n in 0..left.workers {
            let worker = &state.workers[usize::from(n)];
            let runs = matches!(worker.hand, Hand::Running(..));
            if worker.handle.is_some() {
                actions.push(Action::Heartbeat(n));
            }
            if runs {
                actions.push(Action::Complete(n));
                actions.extend(some(left.calls, Action::Renew(n)));
            } else if worker.last.is_some() && worker.handle.is_some() {
                actions.extend(some(left.calls, Action::Clean(n)));
            }
            actions.extend(some(left.evidence, Action::Challenge(n)));
            if worker.nonce.as_ref().is_some_and(|nonce| !nonce.used) {
                actions.push(Action::Attest(n));
            }
            if !worker.next && left.which.contains(&Act::Rotate) {
                actions.push(Action::Switch(n));
            }
            actions.extend(some(left.restarts, Action::Restart(n)));
        }
        for act in left.which {
            let of = match act {
                Act::RevokeRun => left.runs,
                act if act.is_on_worker() => left.workers,
                _ => 1,
            };
            actions.extend((0..of).filter_map(|n| some(left.acts, Action::Operator(*act, n))));
        }
        for at in 0..state.net.len() {
            actions.push(Action::Deliver(at));
            actions.extend(some(left.lost, Action::DeliverInVain(at)));
            actions.extend(some(left.doubled, Action::Double(at)));
        }
        actions.push(Action::Expire);
        actions.extend(some(left.ticks, Action::Tick));
        if state.held.is_empty() {
            actions.extend(some(left.backups, Action::BackUp));
            actions.extend(some(left.crashes, Action::Crash(true)));
        } else {
            actions.push(Action::Write);
            actions
                .extend([true, false].into_iter().filter_map(|kept| some(left.crashes, Action::Crash(kept))));
        }
        actions.extend(some(left.restores, Action::Restore));
        if let Some(gate) = &state.gate {
            actions.extend(some(left.pings, Action::Ping));
            actions.extend(some(left.pings, Action::CutFeed));
            if gate.has_mail() {
                actions.push(Action::Feed);
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        state.take(action)?;
        if state.held.len() > usize::from(state.left.unwritten) {
            state.write();
        }
        state.probe();
        state.settle();
        // What changed nothing is the same state again, or one with a smaller budget.
        (state.shape() != last.shape()).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("no promise is broken", |_, state: &State| state.broken.is_none()),
            Property::always("a calm phase ends well", |model: &Self, state: &State| {
                state.broken.is_some() || model.calm.ends_well(state).is_ok()
            }),
        ]
    }
}
