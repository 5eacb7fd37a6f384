//! The traits through which time, names, secrets, storage and bytes come in, and their std implementations.
//!
//! The core never calls any of these: drivers do, between turns. Each trait says what an implementation must keep;
//! each std implementation is small enough to be read before it is trusted, and can be replaced.

mod epoch;
mod inspector;
mod journal;
mod resolver;
mod secret;
mod transport;

#[cfg(feature = "std")]
mod clock;
#[cfg(feature = "std")]
mod driver;
#[cfg(feature = "std")]
mod file_epoch;
#[cfg(feature = "std")]
mod file_journal;

#[cfg(feature = "std")]
pub use self::{
    clock::{ClockMark, SystemClock},
    driver::{DriveError, Driver, Ended},
    file_epoch::FileEpochStore,
    file_journal::FileJournal,
    inspector::DirectoryInspector,
    resolver::SystemResolver,
    transport::Blocking,
};
pub use self::{
    epoch::{EpochStore, EpochStoreError, MemoryEpochStore},
    inspector::Inspector,
    journal::{Journal, JournalError, MemoryJournal},
    resolver::{MAX_ADDRESSES, ResolveError, Resolver},
    secret::{MemorySecretStore, Secret, SecretError, SecretStore},
    transport::{Arrived, Transport, TransportError},
};
pub use crate::time::Clock;
