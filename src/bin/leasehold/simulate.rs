//! `leasehold simulate`: fleets in which everything goes wrong, from seeds.

use std::{panic, path::PathBuf, time::Instant};

use clap::Args;
use leasehold::{
    fleet::WorkerFleetPolicy,
    testing::simulation::{Report, Simulation, drawn_policy, total},
};

use super::{
    End, Fault, Outcome,
    document::{self, Kind},
    say,
};

#[derive(Args)]
pub struct Arguments {
    /// A fleet policy, JSON or TOML; left out, each seed draws one of its own. Its section for evidence is not used
    policy: Option<PathBuf>,
    /// The seeds, from the first up to and without the last
    #[arg(long, value_name = "FROM..TO", default_value = "0..100", value_parser = seeds)]
    seeds: std::ops::Range<u64>,
    /// How many things happen before everything is left to converge
    #[arg(long, default_value_t = 3_000)]
    steps: u64,
    /// Print a line for each seed, with the digest of all that happened
    #[arg(long)]
    trace: bool,
}

fn seeds(text: &str) -> Result<std::ops::Range<u64>, String> {
    let parsed = text.split_once("..").map(|(from, to)| (from.parse(), to.parse()));
    match parsed {
        Some((Ok(from), Ok(to))) if from < to => Ok(from..to),
        _ => Err("two numbers, the first one smaller: 0..500".to_owned()),
    }
}

pub fn run(arguments: &Arguments, out: &mut String) -> Outcome {
    let given = match &arguments.policy {
        None => None,
        Some(path) => {
            let document = document::load_sound(path, Kind::Fleet)?;
            let policy = serde_json::from_value::<WorkerFleetPolicy>(document.document);
            Some(policy.map_err(|error| Fault::new(format!("{}: {error}", path.display())))?)
        }
    };
    let (begun, mut reports, mut broken) = (Instant::now(), Vec::new(), 0_u64);
    for seed in arguments.seeds.clone() {
        match simulate(seed, given.clone(), arguments.steps) {
            Ok(report) => {
                if arguments.trace {
                    say(out, format!("seed {seed}: {} ms, {}", report.simulated_ms, report.trace));
                }
                reports.push(report);
            }
            Err(error) => {
                broken = broken.saturating_add(1);
                say(out, error);
            }
        }
    }
    let (simulated, counts) = total(&reports);
    let took = begun.elapsed().as_millis().max(1);
    say(out, format!("{} seeds hold, {broken} do not", reports.len()));
    for (name, count) in counts.each() {
        say(out, format!("  {:<16}{count}", name.replace('_', " ")));
    }
    let hours = simulated / 3_600_000;
    let rate = u128::from(simulated) * 10 / 3_600 / took;
    say(out, format!("{hours} h simulated in {took} ms: {}.{} h a second", rate / 10, rate % 10));
    Ok(if broken == 0 { End::Yes } else { End::No })
}

/// A panic of the fleet is a finding, too.
fn simulate(seed: u64, given: Option<WorkerFleetPolicy>, steps: u64) -> Result<Report, String> {
    let ran = panic::catch_unwind(move || {
        let mut simulation = Simulation::new(seed, given.unwrap_or_else(|| drawn_policy(seed)));
        simulation.run(steps)?;
        simulation.calm()
    });
    match ran {
        Ok(outcome) => outcome.map_err(|broken| broken.to_string()),
        Err(_) => Err(format!("seed {seed}: a panic, see above")),
    }
}
