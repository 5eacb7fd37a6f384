//! An enforcement point: the real gate, which nobody asks but the simulation.

use super::{clocks::LocalClock, terms};
use crate::{
    fleet::WorkerFleetPolicy,
    gate::{Gate, GateAct, GateConfig, ViewRules},
    protocol::endpoint::{Endpoint as _, Input, Output},
    time::Now,
};

use super::worker::Outcome;

/// An enforcement point with its device.
#[derive(Debug)]
pub(super) struct Enforcement {
    pub(super) n: u32,
    pub(super) clock: LocalClock,
    pub(super) gate: Gate,
    rules: ViewRules,
}

impl Enforcement {
    pub(super) fn new(n: u32, policy: &WorkerFleetPolicy, clock: LocalClock) -> Self {
        let (staleness, budget) = (policy.lease.max_staleness_ms, policy.lease.clock_budget_ms);
        let rules = ViewRules::new(staleness, budget, 10_000).expect("a policy with a bound on staleness");
        Self { n, clock, gate: gate(rules), rules }
    }

    /// Its process dies; another one begins, whose view is empty.
    pub(super) fn restart(&mut self, clock: LocalClock) {
        (self.gate, self.clock) = (gate(self.rules), clock);
    }

    pub(super) fn drive(&mut self, input: Input<'_, GateAct>, now: Now) -> Outcome {
        let mut outcome = Outcome::default();
        if self.gate.handle(input, now).is_err() {
            return outcome;
        }
        loop {
            match self.gate.poll() {
                Output::Send(bytes) => outcome.sent.extend(bytes),
                Output::Close(_) => outcome.closed = true,
                Output::Event(_) => {}
                Output::Wait(_) => return outcome,
            }
        }
    }
}

fn gate(rules: ViewRules) -> Gate {
    Gate::new(GateConfig::new(terms::coordinator(), rules))
}
