//! The fleet of the main job behind a gRPC stream: a coordinator and workers, each its own process, on tokio.
//!
//!     cargo run --manifest-path examples/packages/Cargo.toml -p leasehold-grpc
//!     cargo run --manifest-path examples/packages/Cargo.toml -p leasehold-grpc -- examples/fleet/small.jsonl
//!
//! What is the same as in the main job is the same file. Here is what differs: how bytes travel (`wire.rs`, `server.rs`,
//! `client.rs`), the two tasks that own an endpoint (`coordinator.rs`, `worker.rs`), and a smaller supervisor.
//!
//! Exit status: 0 when every job has exactly one terminal record and every invariant held; 1 when not.

// The core may not read clocks, sleep or look at the environment. This is what does that for it.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

use std::{path::PathBuf, process::ExitCode};

mod client;
mod coordinator;
mod server;
mod supervise;
mod wire;
mod worker;

macro_rules! of_the_main_job {
    ($($name:ident $path:literal)+) => {$(
        #[path = $path]
        #[allow(dead_code, reason = "the main job uses all of it")]
        mod $name;
    )+};
}

of_the_main_job! {
    audit "../../../fleet/audit.rs"
    boot "../../../fleet/boot.rs"
    child "../../../fleet/child.rs"
    escape "../../../fleet/proxy/escape.rs"
    evidence "../../../fleet/evidence.rs"
    failure "../../../fleet/failure.rs"
    held_work "../../../fleet/held_work.rs"
    hexed "../../../fleet/hexed.rs"
    jobs "../../../fleet/jobs.rs"
    journal_thread "../../../fleet/journal_thread.rs"
    keys "../../../fleet/keys.rs"
    ledger "../../../fleet/ledger.rs"
    process_log "../../../fleet/process_log.rs"
    control "../../../fleet/control.rs"
    run_directory "../../../fleet/run_directory.rs"
    policy "../../../fleet/policy.rs"
    possession "../../../fleet/possession.rs"
    queue "../../../fleet/queue.rs"
    request "../../../fleet/request.rs"
    scratch "../../../fleet/scratch.rs"
    service "../../../fleet/service.rs"
    tls "../../../fleet/tls.rs"
    transform "../../../fleet/transform.rs"
    work "../../../fleet/work.rs"
}

pub use failure::Failure;

/// The schema's messages and services.
pub mod proto {
    tonic::include_proto!("leasehold.fleet.v1");
}

fn main() -> ExitCode {
    let argument = std::env::args_os().nth(1);
    let outcome = match argument.as_ref().and_then(|argument| argument.to_str()) {
        Some("coordinator") => coordinator::run().map(|()| ExitCode::SUCCESS),
        Some("worker") => worker::run().map(|()| ExitCode::SUCCESS),
        _ => supervise::run(&argument.map_or_else(default_jobs, PathBuf::from)),
    };
    outcome.unwrap_or_else(|failure| {
        eprintln!("grpc: {}", escape::shown(&failure.to_string()));
        ExitCode::FAILURE
    })
}

fn default_jobs() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fleet/small.jsonl")
}

/// Runs what a process does on a thread of its own until it is over.
fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future)
}
