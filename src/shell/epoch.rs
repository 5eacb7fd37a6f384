//! Where a coordinator gets its epoch: a durable counter that only grows (invariant 2).

use super::fault::StoreFault;
use crate::{
    code::{self, Code, Coded},
    lease::Epoch,
};

/// Gives out epochs. Whatever happens to the process or the machine, an epoch that was given out is never given
/// out again, nor is a lower one. A term of a replicated log is one too.
pub trait EpochStore {
    /// An epoch that is larger than `floor` and than every one given out before, and durable when this returns.
    ///
    /// `floor` is what the journal knows: a store that was lost and replaced does not fall below it.
    ///
    /// # Errors
    /// [`EpochStoreError`]. Without an epoch there is no coordinator.
    fn next(&mut self, floor: Epoch) -> Result<Epoch, EpochStoreError>;
}

/// Why there is no epoch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EpochStoreError {
    /// Reading or writing failed.
    #[error(
        "the durable epoch could not be read or written ({0}): look at the disk and its rights, and try again"
    )]
    Io(StoreFault),
    /// What is stored is not what was written.
    #[error("the durable epoch is not what was written")]
    Malformed,
    /// Others take epochs as fast as this one asks.
    #[error("other processes are taking epochs at the same time")]
    Busy,
    /// The counter is used up.
    #[error("there is no larger epoch")]
    Exhausted,
}

impl Coded for EpochStoreError {
    fn code(&self) -> Code {
        match self {
            Self::Io(_) | Self::Exhausted => code::EPOCH_STORE_FAILED,
            Self::Malformed => code::EPOCH_STORE_MALFORMED,
            Self::Busy => code::EPOCH_STORE_BUSY,
        }
    }
}

/// Epochs of a process that keeps nothing: for tests and simulations.
#[derive(Clone, Debug, Default)]
pub struct MemoryEpochStore(Epoch);

impl EpochStore for MemoryEpochStore {
    fn next(&mut self, floor: Epoch) -> Result<Epoch, EpochStoreError> {
        let next = self.0.max(floor).0.checked_add(1).ok_or(EpochStoreError::Exhausted)?;
        self.0 = Epoch(next);
        Ok(self.0)
    }
}
