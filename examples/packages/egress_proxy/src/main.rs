//! A forward proxy that lets a worker out under its lease, by the rules of an egress policy, and to nowhere else.
//!
//!     cargo run -p egress_proxy -- lease --leases leases.json --worker me
//!     cargo run -p egress_proxy -- --policy egress_proxy/policy.json --leases leases.json
//!
//! See the README. Exit status: 0 after SIGTERM or Ctrl-C, 1 when it could not start, 2 for wrong arguments.

#![forbid(unsafe_code)]
// The core may not read clocks or files, nor depend on the order of a hash map. This is what does that for it.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

use std::process::ExitCode;

use clap::Parser as _;

mod admin;
mod draft;
// The proxy of the main job has the same file.
#[path = "../../../fleet/proxy/escape.rs"]
mod escape;
mod feed;
mod files;
mod leases;
mod log;
mod metrics;
mod names;
mod options;
mod policy;
mod proxy;
mod run;
mod secrets;
mod tls;

fn main() -> ExitCode {
    let options = options::Options::parse();
    let outcome = match &options.command {
        Some(options::Command::Lease(wanted)) => leases::write(wanted),
        Some(options::Command::Draft(wanted)) => draft::write(&wanted.from),
        None => run::run(options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("egress_proxy: {}", escape::shown(&why));
            ExitCode::FAILURE
        }
    }
}
