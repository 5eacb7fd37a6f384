//! Pairing in two terminals: an operator shows a code, a device proves it, the operator approves, and the device works
//! for the fleet of the `fleet` example with the certificate that it got, until it is revoked.
//!
//!     cargo run --release --example pair
//!     cargo run --release --example pair -- device PORT
//!     cargo run --release --example pair -- --script
//!
//! The first is the operator's terminal; it starts a coordinator, which is that of the `fleet` example, as a process of
//! its own. The second is the device's terminal, with the port that the operator's shows. The third is both without a
//! person: a script types what people would and looks at what they would see.
//!
//! Exit status: 0 when all was well, and for `--script` only when every step was seen from outside; 1 when not, and on a
//! device that was refused; 2 for wrong arguments.

#![forbid(unsafe_code)]
// The core may not read clocks, sleep or look at the environment. This is what does that for it.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use leasehold::id::DeviceId;

mod device;
mod device_client;
mod key;
mod operator;
mod qr;
mod script;
mod terminal;

/// The fleet that devices join: the modules of that example, as they are.
#[path = "../fleet"]
#[allow(dead_code, unreachable_pub, reason = "the fleet example uses all of it")]
mod fleet {
    pub mod boot;
    pub mod child;
    pub mod console;
    pub mod control;
    pub mod coordinator;
    pub mod evidence;
    pub mod failure;
    pub mod fetch;
    pub mod gatekeeper;
    pub mod held_work;
    pub mod hexed;
    pub mod issuer;
    pub mod jobs;
    pub mod journal_thread;
    pub mod ledger;
    pub mod origin;
    pub mod pairing;
    pub mod policy;
    pub mod possession;
    pub mod process_log;
    #[path = "../fleet/proxy/mod.rs"]
    pub mod proxy;
    pub mod queue;
    pub mod request;
    pub mod run_directory;
    pub mod scratch;
    pub mod server;
    pub mod service;
    pub mod tls;
    pub mod transform;
    pub mod work;
    pub mod worker;
}

use fleet::{
    boot, child, console, control, coordinator, evidence,
    failure::{self, Failure},
    fetch, gatekeeper, held_work, hexed, issuer, jobs, journal_thread, ledger, pairing, policy, possession,
    process_log, proxy,
    proxy::{duplex, escape, link},
    queue, request, run_directory, scratch, server, service, tls, transform, work, worker,
};

/// Pairs a device with a fleet: an operator's terminal, and with `device` the device's.
#[derive(Parser)]
#[command(name = "pair", args_conflicts_with_subcommands = true, after_help = EXIT)]
struct Arguments {
    /// Run both terminals without a person: every way, or only this one
    #[arg(long, value_name = "WAY", num_args = 0..=1, require_equals = false)]
    script: Option<Option<script::Way>>,
    #[command(subcommand)]
    role: Option<Role>,
}

const EXIT: &str =
    "Exit status: 0 when all was well, and for --script only when every step was seen from outside;
1 when not, and on a device that was refused; 2 for wrong arguments.";

/// What this process is.
#[derive(Subcommand)]
enum Role {
    /// The device's terminal
    Device {
        /// The port on this machine that the operator's terminal shows
        port: u16,
        /// What the device is called
        #[arg(long, default_value = "press-1")]
        name: DeviceId,
    },
    /// The operator's terminal, as without a command
    Operator,
    #[command(hide = true)]
    Coordinator,
    #[command(hide = true)]
    Worker,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match (arguments.script, arguments.role) {
        (Some(way), _) => script::run(way),
        (None, None | Some(Role::Operator)) => operator::run(),
        (None, Some(Role::Device { port, name })) => device::run(port, name),
        (None, Some(Role::Coordinator)) => coordinator::run().map(|()| ExitCode::SUCCESS),
        (None, Some(Role::Worker)) => worker::run().map(|()| ExitCode::SUCCESS),
    };
    outcome.unwrap_or_else(|failure| {
        eprintln!("pair: {}", escape::shown(&failure.to_string()));
        ExitCode::FAILURE
    })
}
