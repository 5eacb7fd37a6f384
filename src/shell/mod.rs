//! The traits through which time, entropy, names, secrets, storage and bytes come in, and their std
//! implementations.
//!
//! The core never calls any of these: drivers do, between turns. Each trait says what an implementation must keep;
//! each std implementation is small enough to be read before it is trusted, and can be replaced.

#[cfg(all(feature = "std", unix))]
mod entropy;
mod epoch;
mod fault;
mod inspector;
mod journal;
mod journaled_fleet;
mod replay;
mod resolver;
mod transport;

#[cfg(feature = "std")]
mod clock;
#[cfg(feature = "std")]
mod compaction;
#[cfg(feature = "std")]
mod disk;
#[cfg(feature = "std")]
mod driver;
#[cfg(feature = "std")]
mod file_epoch;
#[cfg(feature = "std")]
mod file_journal;
#[cfg(feature = "std")]
mod files;
#[cfg(feature = "std")]
mod follower_clock;
mod follower_line;
#[cfg(feature = "std")]
mod frames;
#[cfg(feature = "std")]
mod memory_journal;

#[cfg(all(feature = "std", unix))]
pub use self::entropy::OsEntropy;
#[cfg(feature = "std")]
pub use self::{
    clock::{ClockMark, SystemClock},
    disk::{Directory, Disk, DiskFile, NamedFile},
    driver::{DriveError, Driver, Ended},
    file_epoch::FileEpochStore,
    file_journal::FileJournal,
    follower_clock::FollowerClock,
    inspector::DirectoryInspector,
    memory_journal::MemoryJournal,
    resolver::SystemResolver,
    transport::{Blocking, Over, Socket},
};
pub use self::{
    epoch::{EpochStore, EpochStoreError, MemoryEpochStore},
    fault::StoreFault,
    follower_line::FollowerLine,
    inspector::Inspector,
    journal::{Compaction, Journal, JournalError, Stored, Visit},
    journaled_fleet::{JournaledFleet, OpenError, TurnError},
    replay::{Compacted, ReplayError, compact, replay},
    resolver::{MAX_ADDRESSES, ResolveError, Resolver},
    transport::{Arrived, Transport, TransportError},
};
pub use crate::{
    egress::{Secret, SecretError, SecretStore},
    entropy::{Entropy, EntropyError},
    time::Clock,
};
