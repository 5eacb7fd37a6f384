//! A few seeds of the simulation; `simulate` runs hundreds. Replicas agree at every step and at the end, whatever the wires, the
//! disks, the clocks and the power do (invariants 1, 2, 5, 6 and 8 across changes of leader).

use replicated::sim::{Bug, Plan, Simulation};

#[test]
fn seeds_hold_and_repeat() {
    for seed in 0..4 {
        let run = || Simulation::new(Plan::of(seed, None)).run();
        let first = run().unwrap_or_else(|broken| panic!("{}", broken.0));
        assert!(first.deaths > 0 && first.stale > 0 && !first.audit.leases.is_empty());
        assert_eq!(run(), Ok(first), "a seed repeats");
    }
}

/// The check is checked: mistakes that break in the first seconds. `simulate --bugs` has all of them found.
#[test]
fn mistakes_are_found() {
    for bug in [Bug::OwnFence, Bug::DecidesAlone, Bug::ForgetsGrants, Bug::AnswersEarly] {
        let found = (0..6).any(|seed| Simulation::new(Plan::of(seed, Some(bug))).run().is_err());
        assert!(found, "{bug:?}");
    }
}
