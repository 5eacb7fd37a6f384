//! A journal that lasts as long as its process: for tests and simulations.

use alloc::{boxed::Box, sync::Arc, vec::Vec};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::journal::{Compaction, Journal, JournalError, Stored, Visit};

#[derive(Debug, Default)]
struct Kept {
    /// The index of the snapshot, and its chunks.
    snapshot: Option<(u64, Vec<Vec<u8>>)>,
    batches: Vec<(u64, Vec<u8>)>,
    compacting: bool,
}

impl Kept {
    fn visit(&self, until: u64, visit: &mut Visit<'_>) {
        let chunks = self.snapshot.iter().flat_map(|(_, chunks)| chunks).map(|chunk| Stored::Chunk(chunk));
        let batches = self.batches.iter().take_while(|(last, _)| *last <= until);
        for piece in chunks.chain(batches.map(|(_, batch)| Stored::Batch(batch))) {
            if !visit(piece) {
                return;
            }
        }
    }
}

/// A journal in memory. Clones are the same journal, so that a test can keep one while it crashes the other.
#[derive(Clone, Debug, Default)]
pub struct MemoryJournal(Arc<Mutex<Kept>>);

/// Only whole values are put in, so one that a panic left is whole.
fn locked(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Journal for MemoryJournal {
    fn append(&mut self, last: u64, batch: &[u8]) -> Result<(), JournalError> {
        let mut kept = locked(&self.0);
        let before = kept.batches.last().map(|(last, _)| *last);
        let before = before.or(kept.snapshot.as_ref().map(|(index, _)| *index));
        if before.is_some_and(|before| before >= last) {
            return Err(JournalError::Order);
        }
        kept.batches.push((last, batch.to_vec()));
        Ok(())
    }

    fn read(&mut self, visit: &mut Visit<'_>) -> Result<(), JournalError> {
        locked(&self.0).visit(u64::MAX, visit);
        Ok(())
    }

    fn seal(&mut self) -> Result<Box<dyn Compaction>, JournalError> {
        let mut kept = locked(&self.0);
        if core::mem::replace(&mut kept.compacting, true) {
            return Err(JournalError::Busy);
        }
        let snapshot = kept.snapshot.as_ref().map_or(0, |(index, _)| *index);
        let index = kept.batches.last().map_or(snapshot, |(last, _)| *last);
        Ok(Box::new(MemoryCompaction { kept: Arc::clone(&self.0), index, chunks: Vec::new() }))
    }
}

struct MemoryCompaction {
    kept: Arc<Mutex<Kept>>,
    index: u64,
    chunks: Vec<Vec<u8>>,
}

impl Compaction for MemoryCompaction {
    fn index(&self) -> u64 {
        self.index
    }

    fn read(&mut self, visit: &mut Visit<'_>) -> Result<(), JournalError> {
        locked(&self.kept).visit(self.index, visit);
        Ok(())
    }

    fn chunk(&mut self, chunk: &[u8]) -> Result<(), JournalError> {
        self.chunks.push(chunk.to_vec());
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<(), JournalError> {
        let mut kept = locked(&self.kept);
        kept.snapshot = Some((self.index, core::mem::take(&mut self.chunks)));
        kept.batches.retain(|(last, _)| *last > self.index);
        Ok(())
    }
}

impl Drop for MemoryCompaction {
    fn drop(&mut self) {
        locked(&self.kept).compacting = false;
    }
}
