//! Snapshots beside a file journal, and the step from any journal to a state and from a state to a snapshot.

use alloc::{boxed::Box, format, string::String, sync::Arc, vec::Vec};
use core::sync::atomic::{AtomicBool, Ordering};

use super::{
    disk::Disk,
    fault::StoreFault,
    files::{Content, DRAFT, name, remove_older, visit_frames, visit_story},
    frames::{self, FrameWriter, Kind, unwritten},
    journal::{Compaction, JournalError, Visit},
};

/// Says that one compaction is under way, for as long as it lives.
#[derive(Debug)]
pub(super) struct Turn(Arc<AtomicBool>);

impl Turn {
    /// The turn, where nobody has it.
    pub(super) fn take(taken: &Arc<AtomicBool>) -> Result<Self, JournalError> {
        if taken.swap(true, Ordering::AcqRel) {
            return Err(JournalError::Busy);
        }
        Ok(Self(Arc::clone(taken)))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// The work on what a file journal has sealed.
pub(super) struct FileCompaction<D: Disk> {
    disk: D,
    index: u64,
    snapshot: Option<u64>,
    parts: Vec<u64>,
    draft: Option<(String, FrameWriter<D::File>)>,
    _turn: Turn,
}

impl<D: Disk> FileCompaction<D> {
    pub(super) fn new(disk: D, content: Content, index: u64, turn: Turn) -> Result<Self, JournalError> {
        let (snapshot, parts) = content.story()?;
        let parts = parts.iter().copied().filter(|part| *part < index).collect();
        Ok(Self { disk, index, snapshot, parts, draft: None, _turn: turn })
    }

    fn draft(&mut self) -> Result<&mut FrameWriter<D::File>, JournalError> {
        let draft = match self.draft.take() {
            Some(draft) => draft,
            None => {
                let name = format!("{}{DRAFT}", name(Kind::Snapshot, self.index));
                let file = self.disk.create(&name).map_err(unwritten)?;
                let begun = FrameWriter::begin(file, Kind::Snapshot, self.index, frames::genesis());
                (name, begun.map_err(unwritten)?)
            }
        };
        Ok(&mut self.draft.insert(draft).1)
    }
}

impl<D: Disk> Compaction for FileCompaction<D> {
    fn index(&self) -> u64 {
        self.index
    }

    fn read(&mut self, visit: &mut Visit<'_>) -> Result<(), JournalError> {
        visit_story(&self.disk, self.snapshot, &self.parts, visit)
    }

    fn chunk(&mut self, chunk: &[u8]) -> Result<(), JournalError> {
        let draft = self.draft()?;
        let number = draft.last.saturating_add(1);
        draft.frame(number, chunk).map_err(unwritten)
    }

    fn finish(mut self: Box<Self>) -> Result<(), JournalError> {
        self.draft()?.sync().map_err(unwritten)?;
        let Some((draft, _)) = self.draft.take() else {
            return Err(JournalError::Failed(StoreFault::new("the draft of the snapshot is gone".into())));
        };
        let to = name(Kind::Snapshot, self.index);
        let (disk, index) = (&self.disk, self.index);
        // Read back under its draft's name: what it replaces is removed on its word.
        let file = disk.open(&draft).map_err(frames::unread)?;
        let mut reader = frames::FrameReader::open(file, Kind::Snapshot, index)?;
        visit_frames(&mut reader, Kind::Snapshot, &mut |_| true)?;
        disk.rename(&draft, &to).and_then(|()| disk.sync()).map_err(unwritten)?;
        remove_older(disk, &Content::of(disk)?, index)
    }
}

impl<D: Disk> Drop for FileCompaction<D> {
    fn drop(&mut self) {
        if let Some((draft, _)) = self.draft.take() {
            // One that stays is removed when the journal is opened.
            let _ = self.disk.remove(&draft);
        }
    }
}
