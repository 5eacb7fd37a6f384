//! A fleet on one machine: a coordinator, an egress proxy and workers, each its own process, over mutual TLS.
//!
//!     cargo run --release --example fleet
//!     cargo run --release --example fleet -- --workers 8 --chaos --seed 7 --events events.jsonl
//!     cargo run --release --example fleet -- --jobs my-jobs.jsonl
//!     cargo run --release --example fleet -- --report run.html
//!     cargo run --release --example fleet -- report events.jsonl --out run.html
//!
//! The process that you start only supervises: it makes certificates, starts this executable again in each role,
//! kills workers where a job or chaos wants it, and checks the invariants on what everybody reports.
//!
//! Exit status: 0 when every job has exactly one terminal record and every invariant held; 1 when not; 2 for wrong
//! arguments; 3 when all was well but lines of the job file were not jobs; 130 after Ctrl-C.

#![forbid(unsafe_code)]
// The core may not read clocks, sleep or look at the environment. This is what does that for it.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

mod audit;
mod boot;
mod chaos;
mod child;
mod console;
mod control;
mod coordinator;
#[cfg(test)]
mod duplex_tests;
mod evidence;
mod failure;
mod fetch;
mod gatekeeper;
mod held_work;
mod hexed;
mod hostile;
mod issuer;
mod jobs;
mod journal_thread;
mod keys;
mod ledger;
mod origin;
mod pairing;
mod policy;
mod possession;
mod process_log;
#[path = "proxy/mod.rs"]
#[allow(dead_code, reason = "pairing and the gRPC service use other parts of it than a fleet does")]
mod proxy;
#[cfg(test)]
mod proxy_tests;
mod queue;
mod report;
mod request;
mod run_directory;
mod scratch;
mod server;
mod service;
mod supervise;
mod timeline;
mod tls;
mod transform;
mod work;
mod worker;

pub use failure::Failure;
use proxy::{duplex, escape, link};

/// Runs a fleet: a coordinator, an egress proxy and workers, each its own process, over mutual TLS on loopback.
#[derive(Parser)]
#[command(name = "fleet", args_conflicts_with_subcommands = true, after_help = EXIT)]
struct Arguments {
    #[command(flatten)]
    show: Show,
    #[command(subcommand)]
    role: Option<Role>,
}

const EXIT: &str =
    "Exit status: 0 when every job has exactly one terminal record and every invariant held, 1 when not,
2 for wrong arguments, 3 when lines of the job file were no jobs, 130 after Ctrl-C.";

/// What the user chooses.
#[derive(clap::Args)]
pub struct Show {
    /// How many workers
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    workers: u32,
    /// The jobs, one JSON object per line; the default ones ship with the example
    #[arg(long, value_name = "FILE", default_value_os_t = default_jobs(), hide_default_value = true)]
    jobs: PathBuf,
    /// Where the event log goes, as JSON lines
    #[arg(long, value_name = "FILE")]
    events: Option<PathBuf>,
    /// Where a page with the run as lanes over time goes: one HTML file that needs no network
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Decides whom chaos kills, and when
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the coordinator's state is kept, so that a later start goes on from there
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Kill the coordinator so many times while jobs of the drill's own run, and audit what it leaves
    #[arg(long, default_value_t = 0, conflicts_with_all = ["chaos", "jobs"])]
    kills: u32,
    /// Kill random workers while the jobs run
    #[arg(long)]
    chaos: bool,
}

fn default_jobs() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples/fleet/jobs.jsonl")
}

/// What else this executable does: for people, and where another of its processes started it.
#[derive(Subcommand)]
enum Role {
    /// Asks the coordinator of a fleet that runs with `--state DIR` for what only an operator may
    #[command(after_help = console::EXIT)]
    Operator(console::Operator),
    /// Makes the page of an event log
    Report {
        /// The event log, as `--events` wrote it
        events: PathBuf,
        /// Where the page goes
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    #[command(hide = true)]
    Coordinator,
    #[command(hide = true)]
    EgressProxy,
    #[command(hide = true)]
    Worker,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match arguments.role {
        None => supervise::run(&arguments.show),
        Some(Role::Operator(operator)) => Ok(console::run(&operator)),
        Some(Role::Report { events, out }) => timeline::make(&events, &out).map(|()| ExitCode::SUCCESS),
        Some(Role::EgressProxy) => gatekeeper::run().map(|()| ExitCode::SUCCESS),
        Some(Role::Worker) => worker::run().map(|()| ExitCode::SUCCESS),
        Some(Role::Coordinator) => coordinator::run().map(|()| ExitCode::SUCCESS),
    };
    outcome.unwrap_or_else(|failure| {
        eprintln!("fleet: {}", escape::shown(&failure.to_string()));
        ExitCode::FAILURE
    })
}
