//! What a node is told about its machine, what it wants done, what has happened, and why it does not start.

use std::fmt;

use leasehold::time::{Millis, Wall};

use crate::{
    code::Code,
    config::ConfigError,
    members::NodeId,
    packet::Packet,
    stored::{Entry, StoredError, Write},
};

/// The clocks of a node's own machine.
#[derive(Clone, Copy, Debug)]
pub struct Local {
    /// The monotonic clock, counted from any moment before the node was started.
    pub mono: Millis,
    /// The wall clock.
    pub wall: Wall,
}

/// Names a write of this life of the node. A word about one of a former life says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteId {
    pub(super) life: u64,
    pub(super) number: u64,
}

/// Names a read. Never used again in the same life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReadId(pub(super) u64);

/// This node does not lead, or not yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotLeading {
    /// Who is thought to.
    pub leader: Option<NodeId>,
}

/// What a node wants done, in order.
#[derive(Debug)]
pub enum Output {
    /// Send it. It may be lost; of one that holds a snapshot say whether it arrived: [`Node::snapshot_sent`].
    Send(Packet),
    /// Make it last, all of it or nothing, and say so: [`Node::written`]. The next write comes after that.
    Write(WriteId, Write),
    /// Something has happened.
    Event(Event),
}

/// What has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// This node leads the machine.
    Leads {
        /// The term, which is the fleet's epoch.
        term: u64,
    },
    /// It leads no longer. What was asked of it and not answered may be committed or not.
    Follows,
    /// Somebody else is thought to lead, or nobody.
    Leader(Option<NodeId>),
    /// An entry was applied; for audits.
    Applied(Entry),
    /// The state was replaced by a snapshot.
    Restored {
        /// The last entry that it holds.
        index: u64,
    },
    /// A read may be answered from the state now.
    Read(ReadId),
    /// A read was refused: ask again, where the leader is.
    Unread(ReadId),
    /// The members have changed.
    Members,
    /// This node is no member any more.
    Removed,
    /// The machine would not be led: another node has to.
    NotPromoted(Code),
    /// This node has stopped, and takes nothing more.
    Stopped(Code),
}

/// Why a node does not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartError {
    /// Its configuration.
    Config(ConfigError),
    /// What it found in its store.
    Stored(StoredError),
    /// The machine does not load, or an entry in the log does not fit.
    Machine(Code),
    /// The engine refuses it.
    Engine,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Stored(error) => error.fmt(f),
            Self::Machine(code) => {
                write!(f, "{}: the state in the store does not load ({code})", self.code())
            }
            Self::Engine => f.write_str("the consensus engine refuses its configuration"),
        }
    }
}

impl StartError {
    /// Its stable code.
    pub const fn code(&self) -> Code {
        match self {
            Self::Config(_) => Code("config.invalid"),
            Self::Stored(error) => error.code(),
            Self::Machine(_) => Code("store.damaged"),
            Self::Engine => Code("config.engine"),
        }
    }
}
