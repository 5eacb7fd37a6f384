//! Whether the fleet and the model are one.

use super::{walk::*, *};

impl Walk {
    /// The two fleets are one, and every invariant holds.
    pub(super) fn compare(&self) {
        let state = self.world.fleet.state();
        assert_eq!(state.check_invariants(), Ok(()));
        assert_eq!(state.counts(), self.model.counts());
        for n in 0..WORKERS {
            let (real, model) = (state.worker(&World::worker_id(n)), self.model.workers.get(&n));
            let (Some(real), Some(model)) = (&real, model) else {
                assert_eq!(real.is_some(), model.is_some(), "worker {n}");
                continue;
            };
            let lease = real.lease.map(|lease| (plain(lease.fence), lease.expires.0));
            let owes = real.owes.map(|debt| (plain(debt.fence), debt.cleanup, debt.evidence_since.is_some()));
            assert_eq!(
                (real.state, real.draining, real.quarantined, lease, owes),
                (
                    self.model.view(n),
                    model.draining,
                    self.model.quarantined(n),
                    model.lease.as_ref().map(|lease| (lease.fence, lease.expires)),
                    model.debt.as_ref().map(|debt| (debt.fence, debt.cleanup, debt.evidence.is_some())),
                ),
                "worker {n}: {model:?}"
            );
            assert_eq!(real.reasons.to_vec(), model.latch.reasons.iter().copied().collect::<Vec<_>>());
        }
        for n in 0..RUNS {
            let name =
                |slot| state.workers().find(|view| view.handle.slot == slot).expect("a holder").id.clone();
            let real = state.run(&World::run_id(n)).map(|run| match run.state {
                RunState::Leased { slot, fence } => (run.attempts, Err((name(slot), plain(fence)))),
                RunState::Held { until, reason, .. } => {
                    (run.attempts, Ok(Run::Held { until: until.0, reason }))
                }
                RunState::Ended { outcome, .. } => (run.attempts, Ok(Run::Ended(outcome))),
                ref other => panic!("{other:?}"),
            });
            let model = self.model.runs.get(&n).map(|(attempts, run)| match run {
                Run::Leased { worker, fence } => (*attempts, Err((World::worker_id(*worker), *fence))),
                other => (*attempts, Ok(other.clone())),
            });
            assert_eq!(real, model, "run {n}");
        }
        // Invariant 1: at most one live lease for each run and worker.
        let (mut runs, mut workers) = (BTreeSet::new(), BTreeSet::new());
        for lease in state.live_leases() {
            assert!(
                runs.insert(&lease.terms.run) && workers.insert(&lease.worker),
                "{lease:?} is the second"
            );
        }
        // What is due is never found late.
        let due = self.model.is_due();
        let next = self.world.fleet.next_deadline();
        assert!(!due || next.is_some_and(|at| at <= self.world.now.mono), "due now, but next is {next:?}");
    }
}
