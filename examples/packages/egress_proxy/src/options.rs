//! The command line.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand};

use crate::names::Source;

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
    /// Ask this DNS server and only this one, as ADDRESS:PORT, or `system` for the system's own resolver; without it the
    /// servers of the system's configuration are asked
    #[arg(long, value_name = "ADDRESS|system")]
    pub dns: Option<Source>,
    /// Reach origins through this proxy, `http://[USER:PASSWORD@]HOST:PORT` or `https://`. It is asked for tunnels to the
    /// pinned addresses
    #[arg(long, value_name = "URL")]
    pub parent: Option<String>,
    /// Where /healthz and /metrics are answered. Nobody is asked who it is there: keep it to yourself
    #[arg(long, value_name = "ADDRESS")]
    pub admin: Option<SocketAddr>,
    /// What one lease may use up, as JSON: requests, bytes_up, bytes_down, tunnels, destinations
    #[arg(long, value_name = "JSON", default_value = "{}")]
    pub budget: String,
    /// The most bytes of a body where the rule has no limit of its own. Tunnels have the rule's limits only
    #[arg(long, value_name = "BYTES", default_value_t = 256 << 20)]
    pub max_body: u64,
    /// The most bytes of a body that a signature covers: it is held in memory as a whole before the request is sent
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 20)]
    pub max_signed_body: u64,
    /// The most connections at once; without it as many as the limit of descriptors allows, and 16384 at most
    #[arg(long, value_name = "N")]
    pub connections: Option<usize>,
    /// The most connections at once that have not shown an identity; without it a quarter of all
    #[arg(long, value_name = "N")]
    pub unproven: Option<usize>,
    /// The most requests and tunnels of one lease at once
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub per_lease: usize,
    /// The most connections to origins that wait to be used again
    #[arg(long, value_name = "N", default_value_t = 1024)]
    pub pool: usize,
    /// How long the head of a request, and the hello in a tunnel, may take, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 10_000)]
    pub head: u64,
    /// How long connecting to an origin may take over all of its addresses, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 10_000)]
    pub connect: u64,
    /// How long the first byte of an answer may take from the end of the request, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 300_000)]
    pub first_byte: u64,
    /// How long both sides of an exchange may be silent, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 30_000)]
    pub idle: u64,
    /// How long both sides of a tunnel may be silent, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 600_000)]
    pub tunnel_idle: u64,
    /// How long a whole exchange may take, in milliseconds. A tunnel lasts as long as its lease
    #[arg(long, value_name = "MS", default_value_t = 3_600_000)]
    pub exchange: u64,
    /// How long a client's connection may wait for its next request, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 60_000)]
    pub keep_alive: u64,
    /// How long a connection to an origin waits to be used again, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 15_000)]
    pub pool_idle: u64,
    /// How long what a new policy refuses may go on, in milliseconds: then it ends, tunnels included
    #[arg(long, value_name = "MS", default_value_t = 5000)]
    pub policy_grace: u64,
    /// How long what is under way may go on after SIGTERM, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 30_000)]
    pub drain: u64,
    /// The name in Via; one that nobody else has, without it
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
}

const AFTER: &str = "Refusals: 407 where no identity is shown, and 401 on a route; 403 for policy, 400 and 408 for what is \
malformed or stalls, 413, 414 and 431 for sizes, 429 for budgets, 502 and 504 for origins, 503 where every place is \
taken. The code is the reason phrase, and stands in the field leasehold-code and in the body.

Signals: SIGHUP reads every file again, SIGTERM and SIGINT drain.

Exit status: 0 after SIGTERM or Ctrl-C, 1 when it could not start, 2 for wrong arguments.";

#[derive(Subcommand)]
pub enum Command {
    /// Write the smallest policy that the requests in a log need, best taken in observe mode
    Draft(Draft),
    /// Write a lease into a lease file and print its token: for trying the proxy alone
    Lease(Lease),
}

/// A policy from a log.
#[derive(Args)]
pub struct Draft {
    /// The log, as the proxy writes it
    #[arg(long, value_name = "LOG")]
    pub from: PathBuf,
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
