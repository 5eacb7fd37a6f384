//! Where the core's journal batches go. A batch counts only when `append` has returned.

use alloc::boxed::Box;

use super::fault::StoreFault;
use crate::code::{self, Code, Coded};

/// A piece of what a journal stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stored<'a> {
    /// The next chunk of the snapshot. Chunks come before everything else.
    Chunk(&'a [u8]),
    /// The next batch, as it was appended.
    Batch(&'a [u8]),
}

/// Takes what is stored, piece by piece and in order. False: it wants no more.
pub type Visit<'v> = dyn FnMut(Stored<'_>) -> bool + 'v;

/// Keeps journal bytes in order.
///
/// One writer at a time: an implementation whose store can be reached by another process keeps that one out.
pub trait Journal {
    /// Appends `batch`, whose last record has the index `last`, after everything before it, and returns when it lasts.
    ///
    /// # Errors
    /// [`JournalError::Failed`] or [`JournalError::Full`]: the batch may or may not last. The coordinator stops and
    /// recovers, and this journal takes nothing more: a second attempt could succeed without having written what the
    /// first one lost. [`JournalError::Order`] where `last` is not larger than the one before.
    fn append(&mut self, last: u64, batch: &[u8]) -> Result<(), JournalError>;

    /// Gives the newest snapshot, where there is one, and every batch since. Memory: a piece at a time.
    ///
    /// # Errors
    /// [`JournalError`].
    fn read(&mut self, visit: &mut Visit<'_>) -> Result<(), JournalError>;

    /// Closes what was appended so far, so that a snapshot can replace it, and gives that work to whoever does it,
    /// usually another thread. Appending goes on meanwhile. Cost: O(1), and it lasts when this returns.
    ///
    /// # Errors
    /// [`JournalError::Busy`] while the work that was given before is not done or dropped.
    fn seal(&mut self) -> Result<Box<dyn Compaction>, JournalError>;
}

/// The work of replacing what a journal has sealed by a snapshot of it.
///
/// Dropped before [`Self::finish`] it has changed nothing. An error here does not harm the journal: it keeps what it
/// has, and a later compaction begins anew.
pub trait Compaction: Send {
    /// The index of the last record that is sealed: the snapshot is of the state after it.
    fn index(&self) -> u64;

    /// Gives what is sealed, as [`Journal::read`] does.
    ///
    /// # Errors
    /// [`JournalError`].
    fn read(&mut self, visit: &mut Visit<'_>) -> Result<(), JournalError>;

    /// Writes the next chunk of the snapshot.
    ///
    /// # Errors
    /// [`JournalError`].
    fn chunk(&mut self, chunk: &[u8]) -> Result<(), JournalError>;

    /// The snapshot is whole. When it lasts it replaces what was sealed, which is then removed.
    ///
    /// # Errors
    /// [`JournalError`].
    fn finish(self: Box<Self>) -> Result<(), JournalError>;
}

/// Why a journal cannot be opened, read or written. The message says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// Nobody knows what lasts.
    #[error("a journal write failed or is in doubt ({0}): open the journal anew and recover")]
    Failed(StoreFault),
    /// There is no room.
    #[error("the journal has no room ({0}): make room, open it anew and recover")]
    Full(StoreFault),
    /// The store cannot be read just now; it says nothing about what is in it.
    #[error("the journal cannot be read ({0}): look at its disk and its rights, and open it again")]
    Unreadable(StoreFault),
    /// Another process or value writes it.
    #[error("another coordinator has the journal: end that one first; never copy a journal that is in use")]
    Locked,
    /// There is something in its place that no journal wrote.
    #[error("there are files that this journal did not write: give it a directory of its own")]
    Foreign,
    /// It was written by another build.
    #[error("the journal has version {0}, which this build does not read: use the build that wrote it")]
    Version(u32),
    /// What was written and lasted is not there any more as it was.
    #[error(
        "the journal is damaged in the part after {part}, at byte {at}: restore it from a copy, or restore a snapshot \
         as stale"
    )]
    Damaged {
        /// The index after which the damaged part begins.
        part: u64,
        /// The byte in it.
        at: u64,
    },
    /// A part is missing.
    #[error(
        "the part of the journal after {after} is missing: restore it from a copy, or restore a snapshot as stale"
    )]
    Gap {
        /// The index after which it would begin.
        after: u64,
    },
    /// A snapshot is being made already.
    #[error("what was sealed before is not replaced yet: wait for it, or drop it")]
    Busy,
    /// Not the next batch.
    #[error("the batch is not the next one")]
    Order,
}

impl Coded for JournalError {
    fn code(&self) -> Code {
        match self {
            Self::Failed(_) => code::JOURNAL_FAILED,
            Self::Full(_) => code::JOURNAL_FULL,
            Self::Unreadable(_) => code::JOURNAL_UNREADABLE,
            Self::Locked => code::JOURNAL_LOCKED,
            Self::Foreign => code::JOURNAL_FOREIGN,
            Self::Version(_) => code::JOURNAL_VERSION,
            Self::Damaged { .. } => code::JOURNAL_DAMAGED,
            Self::Gap { .. } => code::JOURNAL_GAP,
            Self::Busy => code::JOURNAL_BUSY,
            Self::Order => code::JOURNAL_ORDER,
        }
    }
}
