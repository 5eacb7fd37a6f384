//! A fleet behind a replicated log: nodes that hold the same state, of which one decides.
//!
//! [`Node`] is a replica without clock, threads, sockets or disk: ticks, packets and finished writes go in by value; packets,
//! writes and events come out. Consensus is the `raft` crate's; the state machine is leasehold's [`Follower`], which becomes a
//! [`WorkerFleetManager`] where the node leads.
//!
//! [`Follower`]: leasehold::fleet::Follower
//! [`WorkerFleetManager`]: leasehold::fleet::WorkerFleetManager
//!
//! ```text
//!   sim, the binary          what gives time, wires and disks
//!        |
//!      node                  when to lead, to write, to send, to compact
//!     /  |  \
//!  fleet log packet          the state machine; the log as the engine reads it; what travels
//!     \  |  /
//!   machine stored members   what a node replicates; what lasts; who belongs to it
//!
//!      store                 what lasts, on disk
//! ```

#![forbid(unsafe_code)]

mod bytes;
mod code;
mod config;
mod empty;
mod fleet;
mod log;
mod machine;
mod members;
mod node;
mod packet;
mod served;
pub mod sim;
mod store;
mod stored;

pub use self::{
    code::Code,
    config::{Config, ConfigError},
    empty::{Empty, EmptyLeader},
    fleet::Fleet,
    machine::{Failed, Leader, Machine, Proposal, Refused},
    members::{Change, ChangeError, Member, Members, NodeId},
    node::{Event, Local, Node, NotLeading, Output, ReadId, StartError, WriteId},
    packet::{MAX_PACKET, Packet, PacketError},
    served::{Served, Serving},
    store::{Store, StoreError},
    stored::{Entry, EntryKind, Hard, Snapshot, Stored, StoredError, Write},
};
