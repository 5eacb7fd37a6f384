//! What processes say on standard output: the main job's entries, and what replicas say beside them. One JSON object a line.

use std::io::Write as _;

use serde::{Deserialize, Serialize};

use crate::{escape, process_log::LogEntry};

/// What a replica or a worker of a cluster says beyond the main job's entries.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "replica", rename_all = "snake_case")]
pub enum Note {
    /// The node runs, and takes connections.
    Ready { id: u64, members: usize, applied: u64 },
    /// It leads the fleet, in this term.
    Leads { id: u64, term: u64 },
    /// It leads no longer.
    Follows { id: u64 },
    /// Who is thought to lead.
    Leader { id: u64, leader: Option<u64> },
    /// The state came from another node, whole.
    Restored { id: u64, index: u64 },
    /// The members have changed: numbers, and whether each votes.
    Members { id: u64, members: Vec<(u64, bool)> },
    /// It was asked to lead, and the fleet would not be led.
    NotPromoted { id: u64, code: String },
    /// It takes nothing more.
    Stopped { id: u64, code: String },
    /// Somebody was turned away, or a packet was dropped.
    Turned { id: u64, peer: String, code: String },
    /// A worker found the leader there.
    Found { worker: String, node: u64, epoch: u64 },
}

/// A line of a child.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Line {
    Replica(Note),
    Fleet(LogEntry),
}

/// Writes `note` to standard output. Whoever is gone cannot be told.
pub fn say(note: &Note) {
    if let Ok(line) = escape::line(note) {
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(&line).and_then(|()| out.flush());
    }
}
