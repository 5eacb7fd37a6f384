//! A forward proxy that lets a worker out under its lease, by the rules of an egress policy, and to nowhere else.
//!
//!     cargo run --example egress_proxy -- lease --leases leases.json --worker me
//!     cargo run --example egress_proxy -- --policy examples/egress_proxy/policy.json --leases leases.json
//!
//! See `examples/egress_proxy/README.md`. Exit status: 0 after Ctrl-C, 1 when it could not start, 2 for wrong
//! arguments.

#![forbid(unsafe_code)]
// The core may not read clocks or files. This is what does that for it.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

use std::process::ExitCode;

use clap::Parser as _;

mod dns;
mod leases;
mod log;
mod options;
mod owned;
mod pem;
mod policy;
#[allow(dead_code, reason = "shared with the fleet example, which uses some of it alone")]
mod proxy;
mod run;
mod secrets;

fn main() -> ExitCode {
    let options = options::Options::parse();
    let outcome = match &options.command {
        Some(options::Command::Lease(wanted)) => leases::write(wanted),
        None => run::run(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("egress_proxy: {}", proxy::escape::shown(&why));
            ExitCode::FAILURE
        }
    }
}
