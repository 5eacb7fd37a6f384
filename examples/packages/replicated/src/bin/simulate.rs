//! Runs seeds of the simulation, and says what it found; `--bugs` has it find each mistake that it knows to make.

use std::{panic, process::ExitCode};

use replicated::sim::{Broken, Bug, Plan, Report, Simulation};

const USAGE: &str = "simulate [--bugs] [--seeds FROM..TO] [--bug NAME]";

fn main() -> ExitCode {
    let mut seeds = 0..200;
    let mut bug = None;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        if argument == "--bugs" {
            return bugs();
        }
        let value = arguments.next().unwrap_or_default();
        match argument.as_str() {
            "--seeds" => match value.split_once("..").map(|(from, to)| (from.parse(), to.parse())) {
                Some((Ok(from), Ok(to))) => seeds = from..to,
                _ => return usage(),
            },
            "--bug" => match Bug::ALL.iter().find(|(name, _)| *name == value) {
                Some((_, found)) => bug = Some(*found),
                None => return usage(),
            },
            _ => return usage(),
        }
    }
    let (mut broken, mut runs) = (0_u64, 0_u64);
    let mut sums = [0_usize; 8];
    for seed in seeds {
        runs += 1;
        match run(seed, bug) {
            Ok(report) => {
                let audit = &report.audit;
                let counts = [
                    audit.entries,
                    audit.turns,
                    audit.leases.len(),
                    audit.ended.len(),
                    audit.lost,
                    report.restored as usize,
                    report.deaths as usize,
                    report.changes as usize,
                ];
                sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
            }
            Err(found) => {
                broken += 1;
                println!("{}", found.0);
            }
        }
    }
    let [entries, turns, leases, ended, lost, restored, deaths, changes] = sums;
    println!(
        "{runs} seeds, {broken} broken: {entries} entries, {turns} turns of leading, {leases} leases, {ended} runs ended, \
         {lost} leases lost, {restored} snapshots loaded, {deaths} deaths, {changes} changes of membership seen"
    );
    if broken == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The engine panics about a store that forgot; that is a finding, too.
fn run(seed: u64, bug: Option<Bug>) -> Result<Report, Broken> {
    let run = panic::catch_unwind(|| Simulation::new(Plan::of(seed, bug)).run());
    run.unwrap_or_else(|_| Err(Broken(format!("seed {seed}: a node panicked"))))
}

/// Has each mistake found by one of the first seeds.
fn bugs() -> ExitCode {
    // What a node says when it panics is expected here.
    panic::set_hook(Box::new(|_| {}));
    let mut missed = 0_u64;
    for (name, bug) in Bug::ALL {
        let found = (0..200_u64).find_map(|seed| run(seed, Some(bug)).err().map(|found| (seed, found)));
        match found {
            Some((seed, found)) => println!("{name}: found by seed {seed}: {}", found.0),
            None => {
                missed += 1;
                println!("{name}: not found");
            }
        }
    }
    if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn usage() -> ExitCode {
    eprintln!("usage: {USAGE}");
    ExitCode::from(2)
}
