//! The simulator finds nothing wrong with the fleet, does the same from the same seed, and makes go wrong what it says.

use std::process::Command;

use leasehold::testing::simulation::{Broken, Report, Simulation, drawn_policy, total};

fn simulate(seed: u64, steps: u64) -> Result<Report, Broken> {
    let mut simulation = Simulation::new(seed, drawn_policy(seed));
    simulation.run(steps)?;
    simulation.calm()
}

/// Every invariant that a running fleet can show, under chaos and in the calm after it. What is to go wrong does.
#[test]
fn every_promise_holds_from_the_first_seeds() {
    let (reports, broken): (Vec<_>, Vec<_>) =
        (0..24).map(|seed| simulate(seed, 1_500)).partition(Result::is_ok);
    let broken: Vec<_> = broken.into_iter().filter_map(Result::err).map(|it| it.to_string()).collect();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    let reports: Vec<_> = reports.into_iter().flatten().collect();
    let (simulated, counts) = total(&reports);
    for (name, count) in counts.each() {
        assert!(count > 0, "nothing of {name} in {simulated} ms");
    }
}

/// The same seed and policy give the same simulation, in this process and in another one; another seed gives another one.
#[test]
fn a_seed_is_the_same_simulation_everywhere() {
    let own = simulate(7, 400).unwrap();
    assert_eq!(simulate(7, 400).unwrap(), own);
    assert_ne!(simulate(8, 400).unwrap().trace, own.trace);
    let mut other = Command::new(env!("CARGO_BIN_EXE_leasehold"));
    let other = other.args(["simulate", "--seeds", "7..8", "--steps", "400", "--trace"]).output().unwrap();
    let said = String::from_utf8(other.stdout).unwrap();
    let line = format!("seed 7: {} ms, {}\n", own.simulated_ms, own.trace);
    assert!(said.starts_with(&line), "{said} is not {line}");
}
