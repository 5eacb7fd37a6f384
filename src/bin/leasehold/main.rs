//! The command line of leasehold: policies checked, formatted and compared, single decisions tried, scenario files
//! replayed, codes looked up. It needs no network, and it decides with the same code as a service that links the crate.
//!
//!     cargo run --features cli -- policy lint policy.json
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "the command line reads the clock")]

use std::{fmt::Write as _, process::ExitCode};

use clap::{CommandFactory as _, Parser, Subcommand};

#[path = "../../../examples/explain/answer/mod.rs"]
mod answer;
mod attacks;
mod attest;
mod cases;
mod codes;
mod compare;
mod document;
mod egress;
mod policy;
mod simulate;

/// How a command ends. The exit status is its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Yes: valid, allowed, accepted, equal, all as expected.
    Yes = 0,
    /// No: invalid, warned of, refused, different, not as expected.
    No = 1,
}

/// The question could not be asked: a file, an option or a case is at fault. Exit status 2.
#[derive(Debug)]
struct Fault(String);

impl Fault {
    fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

type Outcome = Result<End, Fault>;

/// Try leasehold's policies and decisions without a service.
#[derive(Parser)]
#[command(
    name = "leasehold",
    version,
    after_help = "\
Exit status, the same for every command:
  0  yes: valid, allowed, accepted, equal, every case as expected
  1  no: invalid, warned of, refused, different, a case not as expected
  2  the question could not be asked: a file, an option or a case is at fault

First steps:
  leasehold policy lint policy.json
  leasehold egress test policy.json --url https://api.example.com/v1/ --dns api.example.com=93.184.215.14
  leasehold test examples/scenarios
  leasehold attacks policy.json
  leasehold codes egress.address"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check, lint, format and compare policy files (JSON or TOML)
    #[command(subcommand)]
    Policy(policy::Command),
    /// Ask an egress policy about a request
    #[command(subcommand)]
    Egress(egress::Command),
    /// Ask an attestation policy about evidence
    #[command(subcommand)]
    Attest(attest::Command),
    /// Replay scenario files, such as your own policies' cases in your CI
    Test(cases::Arguments),
    /// Put the attack catalogue to an egress policy: what gets through? Also to another program's answers
    Attacks(attacks::Arguments),
    /// Let everything go wrong for a simulated fleet under a fleet policy, by seeds: does every promise hold?
    Simulate(simulate::Arguments),
    /// List the stable codes: what each means and what to do about it
    Codes(codes::Arguments),
    /// Write completions for a shell to standard output
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

fn main() -> ExitCode {
    let mut out = String::new();
    let outcome = match Cli::parse().command {
        Command::Policy(command) => policy::run(&command, &mut out),
        Command::Egress(command) => egress::run(&command, &mut out),
        Command::Attest(command) => attest::run(&command, &mut out),
        Command::Test(arguments) => cases::run(&arguments, &mut out),
        Command::Attacks(arguments) => attacks::run(&arguments, &mut out),
        Command::Simulate(arguments) => simulate::run(&arguments, &mut out),
        Command::Codes(arguments) => codes::run(&arguments, &mut out),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "leasehold", &mut script);
            out = String::from_utf8_lossy(&script).into_owned();
            Ok(End::Yes)
        }
    };
    if let Err(error) = write(&out) {
        eprintln!("leasehold: standard output: {error}");
        return ExitCode::from(2);
    }
    match outcome {
        Ok(end) => ExitCode::from(end as u8),
        Err(Fault(message)) => {
            eprintln!("leasehold: {message}");
            ExitCode::from(2)
        }
    }
}

/// A reader that has gone away, such as `head`, has seen what it wanted; the status still says what was decided.
fn write(out: &str) -> std::io::Result<()> {
    use std::io::{ErrorKind, Write as _};
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(out.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// One line of output.
fn say(out: &mut String, line: impl std::fmt::Display) {
    // Writing to a string cannot fail.
    let _ = writeln!(out, "{line}");
}
