//! How a node behaves.

use std::fmt;

use crate::members::NodeId;

/// How a node behaves. Times are counted in ticks, which the host gives.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// The number of this node.
    pub id: NodeId,
    /// Ticks without a leader before an election.
    pub election: usize,
    /// Ticks between heartbeats of a leader.
    pub heartbeat: usize,
    /// The exact number of ticks before this node stands, for a run that repeats exactly; `None` for a random one between
    /// `election` and twice that.
    pub patience: Option<usize>,
    /// The log is compacted when it has so many bytes since the last snapshot.
    pub compact_bytes: usize,
    /// So many entries before a snapshot are kept for followers that are a little behind.
    pub keep: u64,
    /// The longest state that a snapshot from another node may have.
    pub max_snapshot: usize,
}

/// A configuration that contradicts itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfigError(pub &'static str);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the node's configuration cannot work: {}", self.0)
    }
}

impl Config {
    /// The usual numbers.
    pub const fn new(id: NodeId) -> Self {
        Self {
            id,
            election: 10,
            heartbeat: 2,
            patience: None,
            compact_bytes: 16 << 20,
            keep: 1_000,
            max_snapshot: 256 << 20,
        }
    }

    /// Whether a node starts with it.
    ///
    /// # Errors
    /// [`ConfigError`]: it contradicts itself.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.engine(0).map(drop)
    }

    pub(crate) fn engine(&self, applied: u64) -> Result<raft::Config, ConfigError> {
        if self.id.0 == 0 {
            return Err(ConfigError("a node's number is at least 1"));
        }
        if self.heartbeat == 0 || self.election < 2 * self.heartbeat {
            return Err(ConfigError("election must be at least twice heartbeat, and heartbeat at least 1"));
        }
        let (min, max) = match self.patience {
            Some(ticks) => (ticks, ticks + 1),
            None => (self.election, 2 * self.election),
        };
        if min < self.election {
            return Err(ConfigError("patience must be at least election"));
        }
        Ok(raft::Config {
            id: self.id.0,
            applied,
            election_tick: self.election,
            heartbeat_tick: self.heartbeat,
            min_election_tick: min,
            max_election_tick: max,
            pre_vote: true,
            check_quorum: true,
            max_size_per_msg: 1 << 20,
            batch_append: true,
            max_inflight_msgs: 64,
            max_uncommitted_size: 16 << 20,
            max_committed_size_per_ready: 4 << 20,
            ..raft::Config::default()
        })
    }
}
