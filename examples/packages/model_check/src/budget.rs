//! How much may happen. A search visits every state that a budget allows, or fails.

use serde::Serialize;

/// An operator's act on the fleet, on a worker, or on its device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum Act {
    Quarantine,
    Release,
    Drain,
    Undrain,
    Reverify,
    Retire,
    ForceCleanup,
    RevokeDevice,
    /// Gives the device another certificate beside the one in force.
    Rotate,
    RevokeRun,
    QuarantineAll,
    /// Puts a policy in force that demands the same.
    SetPolicy,
}

impl Act {
    /// Whether it is about one worker.
    pub fn is_on_worker(self) -> bool {
        !matches!(self, Self::RevokeRun | Self::QuarantineAll | Self::SetPolicy)
    }
}

/// The budget of one search. Messages may always be lost: what is never delivered is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Budget {
    pub workers: u8,
    pub runs: u8,
    /// How often a run may be asked for.
    pub attempts: u8,
    /// How often a worker asks for a nonce, and how often it brings evidence.
    pub evidence: u8,
    /// How often a worker asks for more time, or reports a cleanup by itself.
    pub calls: u8,
    /// How often time passes to the next instant at which anybody has something to do.
    pub ticks: u8,
    /// How many answers are lost.
    pub lost: u8,
    /// How many messages arrive twice.
    pub doubled: u8,
    /// How often the coordinator dies.
    pub crashes: u8,
    /// How many records may be accepted that do not last yet; a crash keeps any number of them.
    pub unwritten: u8,
    /// How often the state is kept as a snapshot, and how often the coordinator is restored from the last one. The first was
    /// kept at the beginning.
    pub backups: u8,
    pub restores: u8,
    /// How often a worker's process dies.
    pub restarts: u8,
    /// How many acts of an operator, and which.
    pub acts: u8,
    #[serde(skip)]
    pub which: &'static [Act],
    /// An enforcement point with its feed, and how often it asks or connects again.
    pub pings: u8,
    /// The evidence of worker 0 lasts for 12 s only.
    pub short: bool,
}

impl Budget {
    /// Nothing but a fleet of so many workers, which may be asked for one run once.
    pub const fn new(workers: u8, runs: u8) -> Self {
        Self {
            workers,
            runs,
            attempts: 1,
            evidence: 0,
            calls: 0,
            ticks: 0,
            lost: 0,
            doubled: 0,
            crashes: 0,
            unwritten: 0,
            backups: 0,
            restores: 0,
            restarts: 0,
            acts: 0,
            which: &[],
            pings: 0,
            short: false,
        }
    }
}
