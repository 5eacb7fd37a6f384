//! Model checking of the real core: every order in which the messages of workers, a service and an operator can arrive, be lost or
//! come twice, with crashes of the coordinator, time that passes, and workers that die, within a stated budget of each.
//!
//! `leasehold-model-check small|wide|NAME` searches a set of budgets, or one; exits with 1 where a promise is broken or a search was
//! cut short.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "how long a search took is for people"
)]

use std::{process::ExitCode, time::Instant};

use leasehold_model_check::{Budget, Calm, Fleet, budgets};
use stateright::{Checker as _, Model as _};

/// Searches everything within `budget`. Whether all of it holds.
fn check(name: &str, budget: Budget) -> bool {
    let began = Instant::now();
    let model = Fleet { budget, calm: Calm::new() };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    // Depth first: what waits to be visited are a path's neighbours, and not a whole frontier.
    let checker = model.checker().threads(threads).spawn_dfs().join();
    let states = checker.unique_state_count();
    let depth = checker.max_depth();
    println!("{name}: {states} states, depth {depth}, {:.1} s", began.elapsed().as_secs_f32());
    let mut holds = true;
    for (property, path) in checker.discoveries() {
        holds = false;
        println!("{name}: NOT SO: {property}");
        let last = path.last_state().clone();
        for action in path.into_actions() {
            println!("    {action:?}");
        }
        println!("    {:?}", last.broken);
        if last.broken.is_none() {
            println!("    {:?}", checker.model().calm.ends_well(&last));
        }
    }
    if holds && !checker.is_done() {
        println!("{name}: CUT SHORT");
        holds = false;
    }
    // A model whose actions are all refused has no states to speak of.
    if holds && states < 200 {
        println!("{name}: {states} states are no search");
        holds = false;
    }
    holds
}

fn main() -> ExitCode {
    let wanted = std::env::args().nth(1).unwrap_or_else(|| "small".into());
    let mut found = false;
    let mut holds = true;
    for (name, set, budget) in budgets::ALL {
        if wanted == *name || wanted == *set {
            found = true;
            holds &= check(name, *budget);
        }
    }
    if !found {
        eprintln!("small, wide, or one of:");
        budgets::ALL.iter().for_each(|(name, set, _)| eprintln!("  {name} ({set})"));
        return ExitCode::from(2);
    }
    if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
