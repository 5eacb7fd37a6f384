//! A node of a replicated fleet, and everything that goes with it: its workers, its operator's tool, and the files of them all.
//!
//!     cargo run --release -p leasehold-replicated --bin leasehold-node              # the whole on loopback
//!     leasehold-node init DIR --nodes 3 --workers 4                                 # certificates and files
//!     leasehold-node node --config DIR/node-1/node.toml
//!     leasehold-node worker --config DIR/worker-1/worker.toml
//!     leasehold-node ctl --config DIR/operator/operator.toml status
//!
//! What is the same as in the main job is the same file. Here is what differs:
//!
//! | file | what it does |
//! |---|---|
//! | `config.rs`, `init.rs`, `certificates.rs` | the files: read and judged, made, and what is secret in them |
//! | `peers.rs`, `greeting.rs`, `store_thread.rs` | packets between nodes, the first word to a client, the thread that writes |
//! | `replica.rs`, `control.rs` | the thread that owns a node; what it does while it leads |
//! | `worker.rs`, `ctl.rs` | the other programs |
//! | `cluster.rs`, `drill.rs`, `verify.rs` | the whole on loopback, what is done to it, and the audit of the stores |
//!
//! Exit status: 0 when all was well; 1 when not; 2 for arguments and files that cannot work; 3 where nobody answered, or the
//! answer was a refusal.

// The core may not read clocks, sleep or look at the environment. This is what does that for it.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

mod certificates;
mod cluster;
mod config;
mod control;
mod ctl;
mod drill;
mod greeting;
mod init;
mod notes;
mod operator;
mod peers;
mod replica;
mod store_thread;
mod verify;
mod worker;

macro_rules! of_the_main_job {
    ($($name:ident $path:literal)+) => {$(
        #[path = $path]
        #[allow(dead_code, unused_imports, reason = "the main job uses all of it")]
        mod $name;
    )+};
}

of_the_main_job! {
    audit "../../../../../fleet/audit.rs"
    boot "../../../../../fleet/boot.rs"
    child "../../../../../fleet/child.rs"
    evidence "../../../../../fleet/evidence.rs"
    failure "../../../../../fleet/failure.rs"
    held_work "../../../../../fleet/held_work.rs"
    hexed "../../../../../fleet/hexed.rs"
    jobs "../../../../../fleet/jobs.rs"
    ledger "../../../../../fleet/ledger.rs"
    policy "../../../../../fleet/policy.rs"
    possession "../../../../../fleet/possession.rs"
    process_log "../../../../../fleet/process_log.rs"
    queue "../../../../../fleet/queue.rs"
    request "../../../../../fleet/request.rs"
    run_directory "../../../../../fleet/run_directory.rs"
    scratch "../../../../../fleet/scratch.rs"
    server "../../../../../fleet/server.rs"
    service "../../../../../fleet/service.rs"
    tls "../../../../../fleet/tls.rs"
    transform "../../../../../fleet/transform.rs"
    work "../../../../../fleet/work.rs"
}

#[path = "../../../../../fleet/proxy"]
mod proxy {
    #![allow(dead_code, reason = "the main job uses all of it")]
    pub mod connection_limit;
    pub mod duplex;
    pub mod escape;
    pub mod link;
}

pub use failure::Failure;
use proxy::{duplex, escape, link};

/// A replicated fleet: nodes, workers, the operator's tool, and the whole on loopback where no command is given.
#[derive(Parser)]
#[command(name = "leasehold-node", args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(flatten)]
    show: cluster::Show,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Makes certificates, keys and files for nodes and workers
    Init(init::Init),
    /// Runs a node
    Node(Run),
    /// Runs a worker
    Worker(Run),
    /// Asks a cluster, or has it do something, as its operator
    Ctl(ctl::Ctl),
}

/// A program that runs until it is stopped.
#[derive(clap::Args)]
struct Run {
    /// Its file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Judge the file and what it names, and end
    #[arg(long)]
    check: bool,
    /// End when standard input does: for whoever starts it as a child
    #[arg(long, hide = true)]
    attached: bool,
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse() {
        Arguments { command: None, show } => cluster::run(&show),
        Arguments { command: Some(command), .. } => match command {
            Command::Init(init) => match init::plan(&init) {
                Ok(plan) => plan.make().map(|()| ExitCode::SUCCESS),
                Err(refused) => {
                    eprintln!("leasehold-node: {}", escape::shown(&refused.to_string()));
                    Ok(ExitCode::from(2))
                }
            },
            Command::Node(run) => replica::run(&run.config, run.check, run.attached),
            Command::Worker(run) => worker::run(&run.config, run.check, run.attached),
            Command::Ctl(ctl) => ctl::run(&ctl),
        },
    };
    outcome.unwrap_or_else(|failure| {
        eprintln!("leasehold-node: {}", escape::shown(&failure.to_string()));
        ExitCode::FAILURE
    })
}
