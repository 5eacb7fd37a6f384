//! What services and operators do of their own accord.

use alloc::vec::Vec;

use super::parts::{Happening, Simulation};
use crate::{
    coordinator::{CoordinatorInput, OperatorCommand, RequestTag, ServiceRequest},
    fleet::{
        AcceptWall, Drain, ForceCleanup, QuarantineAll, QuarantineWorker, Release, Retire, Reverify,
        RevokeRun, RunState, SetPolicy, Undrain, WorkerFleetPolicyForm, WorkerLifecycleState,
    },
    id::{ClientId, WorkerId},
    lease::Fence,
    testing::World,
    time::Millis,
};

impl Simulation {
    fn serve(&mut self, sequence: u64, request: ServiceRequest) {
        let (tag, client) = (RequestTag(sequence), ClientId::new("service").expect("an id"));
        self.note("service", sequence, &[]);
        self.tell(CoordinatorInput::Service { tag, client, sequence: Some(sequence), request });
    }

    /// The service asks for leases for the runs that wait for one; sometimes it asks again, because an answer was lost, and
    /// sometimes with a grant that it has used.
    pub(super) fn ask_for_leases(&mut self) {
        for at in 0..self.requests.runs.len() {
            let wanted = self.requests.runs[at].clone();
            let state = self.run_state(&wanted.run);
            if matches!(state, Some(RunState::Leased { .. } | RunState::Ended { .. })) {
                continue;
            }
            if !self.calm && !self.random.one_in(3) {
                continue;
            }
            let Some(process) = &self.process else { return };
            let now = process.clock.now(self.at);
            let rules = &self.policy.lease;
            let (least, most) = (rules.ttl_min_ms.0, rules.ttl_max_ms.0);
            let ttl = if self.calm { most } else { self.random.between(least, most) };
            let longest = self.policy.runs.grant_lifetime_max_ms.0;
            let short = !self.calm && self.random.one_in(3);
            let lifetime =
                if short { self.random.between(least.min(longest), longest.min(most * 3)) } else { longest };
            let fleet = self.policy.fleet.clone();
            let (sequence, request) =
                self.requests.acquire(&wanted, &fleet, Millis(ttl), Millis(lifetime), now);
            self.serve(sequence, request);
        }
        if !self.calm && self.random.one_in(3) {
            let again = if self.random.one_in(3) {
                self.requests.replayed(&mut self.random)
            } else {
                self.requests.again(&mut self.random)
            };
            if let Some((sequence, request)) = again {
                self.serve(sequence, request);
            }
        }
    }

    /// The next time that services ask.
    pub(super) fn ask_later(&mut self) {
        let after = self.random.between(1, self.beat());
        self.later(after, Happening::Local);
    }

    fn worker_ids(&self) -> Vec<(WorkerId, WorkerLifecycleState, Option<Fence>, bool, bool, bool)> {
        let Some(process) = &self.process else { return Vec::new() };
        let workers = process.coordinator.fleet().state().workers();
        let facts = workers.map(|view| {
            let owes = view.owes.filter(|debt| debt.cleanup).map(|debt| debt.fence);
            (view.id.clone(), view.state, owes, view.quarantined, view.draining, view.set_aside)
        });
        facts.collect()
    }

    /// An operator does something that makes trouble.
    pub(super) fn meddle(&mut self) {
        let workers = self.worker_ids();
        let Some((worker, ..)) = workers.get(self.random.index(workers.len())).cloned() else { return };
        self.counts.acts += 1;
        let what = self.random.below(12);
        self.note("operator", what, worker.as_str().as_bytes());
        let command = match what {
            0 => OperatorCommand::QuarantineWorker(QuarantineWorker { worker }),
            1 => OperatorCommand::Release(Release { worker }),
            2 => OperatorCommand::Drain(Drain { worker }),
            3 => OperatorCommand::Undrain(Undrain { worker }),
            4 => OperatorCommand::Reverify(Reverify { worker }),
            5 if self.random.one_in(4) => OperatorCommand::QuarantineAll(QuarantineAll {}),
            // The first worker can do everything, and stays.
            6 if self.random.one_in(3) && worker != World::worker_id(0) => {
                OperatorCommand::Retire(Retire { worker })
            }
            7 => OperatorCommand::AcceptWall(AcceptWall {}),
            8 | 9 => return self.revoke_a_run(),
            10 => return self.set_another_policy(),
            _ => OperatorCommand::Undrain(Undrain { worker }),
        };
        self.operate(command);
    }

    fn revoke_a_run(&mut self) {
        let leased: Vec<_> = self
            .requests
            .runs
            .iter()
            .filter_map(|wanted| match self.run_state(&wanted.run) {
                Some(RunState::Leased { fence, .. } | RunState::Held { fence, .. }) => {
                    Some((wanted.run.clone(), fence))
                }
                _ => None,
            })
            .collect();
        if let Some((run, fence)) = leased.get(self.random.index(leased.len())).cloned() {
            self.operate(OperatorCommand::RevokeRun(RevokeRun::new(run, fence)));
        }
    }

    /// Another policy comes into force, and most times the first one again.
    fn set_another_policy(&mut self) {
        let mut form = WorkerFleetPolicyForm::from(self.policy.clone());
        if self.random.one_in(2) {
            form.lease.ttl_max_ms = form.lease.ttl_max_ms.plus(Millis(self.random.below(500)));
            form.lease.longest_ms = form.lease.longest_ms.max(form.lease.ttl_max_ms);
            form.challenge_ttl_ms = Millis(self.random.between(10_000, 120_000));
        }
        let Ok(policy) = form.try_into() else { return };
        self.operate(OperatorCommand::SetPolicy(SetPolicy { policy }));
    }

    /// In the calm phase an operator undoes what an operator did, and vouches for what nobody remembers.
    pub(super) fn mend(&mut self) {
        let leapt = self.process.as_ref().is_some_and(|process| {
            let (last, now) = (process.coordinator.fleet().state().last(), process.clock.now(self.at));
            let expected = last.wall.plus(now.mono.since(last.mono));
            expected.0.abs_diff(now.wall.0) > 1_000
        });
        if leapt {
            self.operate(OperatorCommand::AcceptWall(AcceptWall {}));
        }
        let policy = self.policy.clone();
        let in_force =
            self.process.as_ref().map(|process| process.coordinator.fleet().state().policy().clone());
        if in_force.is_some_and(|in_force| in_force != policy) {
            self.operate(OperatorCommand::SetPolicy(SetPolicy { policy }));
        }
        for (worker, state, owes, quarantined, draining, set_aside) in self.worker_ids() {
            if state == WorkerLifecycleState::Retired {
                continue;
            }
            if let Some(fence) = owes {
                self.operate(OperatorCommand::ForceCleanup(ForceCleanup { worker: worker.clone(), fence }));
            }
            if quarantined {
                self.operate(OperatorCommand::Release(Release { worker: worker.clone() }));
            }
            if draining || set_aside {
                self.operate(OperatorCommand::Undrain(Undrain { worker }));
            }
        }
    }
}
