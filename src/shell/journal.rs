//! Where the core's journal batches go. A batch counts only when `append` has returned.

use alloc::vec::Vec;

use crate::code::{self, Code, Coded};

/// Keeps journal bytes in order.
pub trait Journal {
    /// Appends `batch` after everything before it, and returns when it lasts.
    ///
    /// # Errors
    /// [`JournalError`]: the batch may or may not last. The coordinator stops and recovers; it does not try again.
    fn append(&mut self, batch: &[u8]) -> Result<(), JournalError>;

    /// Everything that was appended, for recovery.
    ///
    /// # Errors
    /// [`JournalError`].
    fn read(&mut self) -> Result<Vec<u8>, JournalError>;
}

/// A journal could not be read, or a write failed or is in doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a journal write failed or is in doubt")]
pub struct JournalError;

impl Coded for JournalError {
    fn code(&self) -> Code {
        code::JOURNAL_FAILED
    }
}

/// A journal that lasts as long as its process: for tests and simulations.
#[derive(Clone, Debug, Default)]
pub struct MemoryJournal(Vec<u8>);

impl Journal for MemoryJournal {
    fn append(&mut self, batch: &[u8]) -> Result<(), JournalError> {
        self.0.extend_from_slice(batch);
        Ok(())
    }

    fn read(&mut self) -> Result<Vec<u8>, JournalError> {
        Ok(self.0.clone())
    }
}
