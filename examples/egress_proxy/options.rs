//! The command line.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand};

/// A forward proxy that lets a worker out under its lease, by the rules of an egress policy, and to nowhere else.
///
/// CONNECT tunnels, absolute-form http and https requests, and the base-URL route /r/RULE/path. A client shows a lease
/// token as the password of the proxy URL, or a certificate and the fence of its lease.
#[derive(Parser)]
#[command(name = "egress_proxy", args_conflicts_with_subcommands = true, after_help = AFTER)]
pub struct Options {
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The egress policy, as JSON. It is read again when it changes and on SIGHUP; a bad one changes nothing
    #[arg(long, value_name = "FILE", required = true)]
    pub policy: Option<PathBuf>,
    /// Where to listen; port 0 is any free one. What is listened on is written to standard output
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:3128")]
    pub listen: Vec<SocketAddr>,
    /// Where the log goes, as JSON lines; standard error without it
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// Log each N-th allowed verdict. Refusals are all logged
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub sample: u64,
    /// Leases from a file that only you can read and write
    #[arg(long, value_name = "FILE", group = "source", required = true)]
    pub leases: Option<PathBuf>,
    /// Leases from the feed of a coordinator, over mutual TLS
    #[arg(long, value_name = "ADDRESS", group = "source", required = true, requires_all = ["coordinator_cert", "cert", "key", "roots"])]
    pub coordinator: Option<SocketAddr>,
    /// The coordinator's certificate, as PEM: no other is believed
    #[arg(long, value_name = "FILE")]
    pub coordinator_cert: Option<PathBuf>,
    /// The name in the coordinator's certificate
    #[arg(long, value_name = "NAME", default_value = "coordinator.fleet.test")]
    pub coordinator_name: String,
    /// The key of lease tokens, 64 hex digits in a file, where leases come from a coordinator
    #[arg(long, value_name = "FILE")]
    pub token_key: Option<PathBuf>,
    /// How old the view of the leases may be, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 5000)]
    pub max_staleness: u64,
    /// This proxy's certificate chain, as PEM: it then listens with TLS
    #[arg(long, value_name = "FILE", requires = "key")]
    pub cert: Option<PathBuf>,
    /// The private key of that certificate, as PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,
    /// Clients must show a certificate of this authority, as PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub client_ca: Option<PathBuf>,
    /// Whose certificate is whose: lines of a SHA-256 in hex, a space, a worker
    #[arg(long, value_name = "FILE", requires = "client_ca")]
    pub workers: Option<PathBuf>,
    /// What https origins and the coordinator are checked against, as PEM; the system's own without it
    #[arg(long, value_name = "FILE")]
    pub roots: Option<PathBuf>,
    /// Secrets by reference, as a JSON object, in a file that only you can read
    #[arg(long, value_name = "FILE")]
    pub secrets: Option<PathBuf>,
    /// Ask this DNS server, and only this one; the system's resolver without it
    #[arg(long, value_name = "ADDRESS")]
    pub dns: Option<SocketAddr>,
    /// What one lease may use up, as JSON: requests, bytes_up, bytes_down, tunnels, destinations
    #[arg(long, value_name = "JSON", default_value = "{}")]
    pub budget: String,
    /// The most bytes of a body where the rule has no limit of its own
    #[arg(long, value_name = "BYTES", default_value_t = 256 << 20)]
    pub max_body: u64,
    /// The most connections at once
    #[arg(long, value_name = "N", default_value_t = 512)]
    pub connections: usize,
    /// How long either side may be silent, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 30_000)]
    pub idle: u64,
    /// How long the head of a request may take, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 10_000)]
    pub head: u64,
    /// The name in Via; one that nobody else has, without it
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
}

const AFTER: &str = "Refusals: 407 where no identity is shown, 403 for policy, 400 for what is malformed, 413, 414 \
and 431 for sizes, 429 for budgets, 502 and 504 for origins. The code is in the field leasehold-code and in the body.

Exit status: 0 after Ctrl-C, 1 when it could not start, 2 for wrong arguments.";

#[derive(Subcommand)]
pub enum Command {
    /// Write a lease into a lease file and print its token: for trying the proxy alone
    Lease(Lease),
}

/// A lease by hand.
#[derive(Args)]
pub struct Lease {
    /// The lease file; it is made where there is none, with a new key
    #[arg(long, value_name = "FILE")]
    pub leases: PathBuf,
    /// Whose lease it is
    #[arg(long, value_name = "WORKER")]
    pub worker: String,
    /// How long it lasts
    #[arg(long, value_name = "MINUTES", default_value_t = 60)]
    pub minutes: u64,
    /// The rules that it may use; all of them without it
    #[arg(long, value_name = "RULE")]
    pub rule: Vec<String>,
    /// The secrets that its requests may use; all of them without it
    #[arg(long, value_name = "REFERENCE")]
    pub secret: Vec<String>,
}
