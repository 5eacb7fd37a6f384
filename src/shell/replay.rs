//! From a journal to a state, and from a state to a snapshot.

use alloc::boxed::Box;

use super::journal::{Compaction, Journal, JournalError, Stored, Visit};
use crate::{
    code::{Code, Coded},
    fleet::{FleetState, RecoverError, Replay},
};

/// Why a journal does not lead to a state, or a state to a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// The journal says so.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The core does not accept what is stored.
    #[error(transparent)]
    Recover(#[from] RecoverError),
}

impl Coded for ReplayError {
    fn code(&self) -> Code {
        match self {
            Self::Journal(error) => error.code(),
            Self::Recover(error) => error.code(),
        }
    }
}

fn fold(
    read: impl FnOnce(&mut Visit<'_>) -> Result<(), JournalError>,
    index_key: [u8; 16],
) -> Result<Replay, ReplayError> {
    let mut replay = Replay::new(index_key);
    let mut outcome = Ok(());
    read(&mut |piece| {
        outcome = match piece {
            Stored::Chunk(chunk) => replay.chunk(chunk),
            Stored::Batch(batch) => replay.journal(batch),
        };
        outcome.is_ok()
    })?;
    outcome?;
    Ok(replay)
}

/// Folds everything that `journal` stores. Go on with [`Replay::recover`], or found a fleet where it is empty: then
/// [`Replay::state`] is `None`.
///
/// # Errors
/// [`ReplayError`].
pub fn replay(journal: &mut dyn Journal, index_key: [u8; 16]) -> Result<Replay, ReplayError> {
    fold(|visit| journal.read(visit), index_key)
}

/// What a compaction has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Compacted {
    /// The snapshot is of the state after this index.
    pub index: u64,
    /// How many chunks it has.
    pub chunks: u64,
    /// How many bytes.
    pub bytes: u64,
}

/// Folds what `work` has sealed on a state of its own, and replaces it by a snapshot of that state. For another thread
/// than the one that serves; every record and the snapshot before are checked again on the way.
///
/// Cost: as a recovery, and the memory of a second state while it lasts.
///
/// # Errors
/// [`ReplayError`]: the journal is as it was.
pub fn compact(mut work: Box<dyn Compaction>, index_key: [u8; 16]) -> Result<Compacted, ReplayError> {
    let replay = fold(|visit| work.read(visit), index_key)?;
    let index = work.index();
    if replay.state().map(FleetState::index) != Some(index) {
        return Err(RecoverError::Inconsistent("what is sealed does not end where the journal says").into());
    }
    let (mut chunks, mut bytes) = (0_u64, 0_u64);
    for chunk in replay.snapshot().ok_or(RecoverError::Nothing)? {
        let chunk = chunk?;
        work.chunk(&chunk)?;
        chunks = chunks.saturating_add(1);
        bytes = bytes.saturating_add(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
    }
    work.finish()?;
    Ok(Compacted { index, chunks, bytes })
}
