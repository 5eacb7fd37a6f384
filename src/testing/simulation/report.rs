//! What a simulation was, and how it failed.

use alloc::string::String;
use core::fmt;

use crate::digest::Sha256Digest;

macro_rules! counts {
    ($($(#[$meta:meta])* $name:ident),+ $(,)?) => {
        /// How often what happened.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Counts { $($(#[$meta])* pub $name: u64,)+ }

        impl Counts {
            /// Each count with its name.
            pub fn each(&self) -> [(&'static str, u64); [$(stringify!($name)),+].len()] {
                [$((stringify!($name), self.$name)),+]
            }

            /// Adds those of another simulation.
            pub const fn add(&mut self, other: &Self) {
                $(self.$name = self.$name.saturating_add(other.$name);)+
            }
        }
    };
}

counts! {
    /// Things that happened: pieces of bytes that arrived, timers, writes, acts, faults.
    steps,
    /// Records that lasted.
    records,
    /// Bytes that arrived at either end of a connection.
    bytes,
    /// Leases that were granted.
    leases,
    /// Runs that ended under a lease.
    completed,
    /// Runs that ended because all their attempts were lost.
    exhausted,
    /// Leases that were lost.
    lost,
    /// Requests that were refused to a service or an operator.
    refused,
    /// Commands that were asked again under their number, and answered as before.
    repeated,
    /// Connections that were made.
    connections,
    /// Connections that were cut with bytes on their way.
    cuts,
    /// Connections on which nothing arrived for a while.
    stalls,
    /// Times in which every byte took long.
    storms,
    /// The coordinator's process died.
    crashes,
    /// It died while a record was being written.
    torn,
    /// Prefixes of a record that was being written, from each of which a coordinator recovered on a copy of the disk.
    prefixes,
    /// A write of the journal failed.
    failed_writes,
    /// The coordinator's process stood still.
    pauses,
    /// Snapshots that replaced what was in the journal.
    snapshots,
    /// A worker's process died.
    worker_deaths,
    /// An enforcement point's process died.
    gate_deaths,
    /// A wall clock jumped.
    wall_jumps,
    /// What hostile workers sent.
    hostile,
    /// Acts of operators.
    acts,
}

/// What a simulation was.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// How much time passed in it, in milliseconds.
    pub simulated_ms: u64,
    /// The digest of everything that happened, in order: the same for the same seed and policy, in every process.
    pub trace: Sha256Digest,
    /// How often what happened.
    pub counts: Counts,
}

/// A promise that was broken. The same seed and policy break it again.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Broken {
    /// The seed.
    pub seed: u64,
    /// What had happened before, counted.
    pub step: u64,
    /// The true time, in milliseconds since the beginning.
    pub at_ms: u64,
    /// The number of the invariant in `ARCHITECTURE.md`; `None` where something does not come to its end.
    pub invariant: Option<u8>,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, step, at_ms, invariant, what } = self;
        write!(f, "seed {seed}, step {step}, {at_ms} ms: ")?;
        if let Some(number) = invariant {
            write!(f, "invariant {number}: ")?;
        }
        f.write_str(what)
    }
}

impl core::error::Error for Broken {}

/// A promise that does not hold, before anybody says where that was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Breach(pub(super) Option<u8>, pub(super) String);

/// A breach of an invariant by its number.
pub(super) fn breach(invariant: u8, what: impl Into<String>) -> Breach {
    Breach(Some(invariant), what.into())
}
