//! Positions in the history of a fleet.

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::{digest::Sha256Digest, lease::Epoch};

/// The name of a record: its index, and the epoch of the coordinator that made it.
///
/// Two coordinators can make records of the same index, of which only one becomes durable. What leaves a
/// coordinator and comes back therefore names both index and epoch: a report of a former epoch is recognised
/// and changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct LogId {
    /// The epoch of the coordinator that made the record.
    pub epoch: Epoch,
    /// The index of the record, counted from 1 over all epochs.
    pub index: u64,
}

impl LogId {
    /// The name of the record `index` of `epoch`.
    pub const fn new(epoch: Epoch, index: u64) -> Self {
        Self { epoch, index }
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.index)
    }
}

/// The position of a replica: the last record that it holds, and the digest of every record up to there.
/// Replicas at the same position hold the same state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Position {
    /// The index of the last record; 0 before the first one.
    pub index: u64,
    /// The epoch in force after the last record; 0 before the first one.
    pub epoch: Epoch,
    /// The end of the hash chain over all records.
    pub chain: Sha256Digest,
}

impl Position {
    /// The name of the last record.
    pub const fn id(&self) -> LogId {
        LogId::new(self.epoch, self.index)
    }
}
