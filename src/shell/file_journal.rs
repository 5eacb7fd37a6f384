//! A journal in a directory: append, then sync; and snapshots that replace what is old.
//!
//! | file | what it is |
//! |---|---|
//! | `journal-N` | the batches after index N, up to where the next part begins |
//! | `snapshot-N` | the state after index N, which replaces every part before `journal-N` |
//! | `*.draft` | a file that is being made; removed when the journal is opened |
//! | `lock` | kept locked by whoever writes |
//!
//! A file gets its name when its content lasts, and what it replaces is removed when that name lasts; so after a crash
//! at any step the directory holds one whole story. The form of the files is in the source of this module's `frames`.
//!
//! # What is promised
//!
//! * **The process is killed**: what was appended is in the system's hands and stays; a batch that was being written is
//!   cut off.
//! * **The power fails**: every batch for which [`append`](FileJournal::append) returned stays, as far as the disk
//!   keeps what it says that it has synced. One batch, the last, may be there in part: it is cut off where the file
//!   ends early or a whole block of it reads as zeros.
//! * **A bit flips, or a file is lost**: it is found and refused, and nothing is cut off. The exception is the end of
//!   the newest part: nobody can tell a journal whose last batches were cleanly removed from a shorter one.
//! * **A write or a sync fails**: the journal takes nothing more, and says so. Nobody knows what lasts before it is
//!   opened anew.

use alloc::{boxed::Box, format, sync::Arc};
use core::sync::atomic::AtomicBool;
use std::{io, path::Path};

use super::{
    compaction::{FileCompaction, Turn},
    disk::{Directory, Disk},
    files::{Content, DRAFT, End, name, open_part, remove_older, visit_story},
    frames::{self, FrameWriter, Kind, Next, unread, unwritten},
    journal::{Compaction, Journal, JournalError, Visit},
    replay::ReplayError,
};
use crate::{
    digest::Sha256Digest,
    fleet::{Follower, RecoverError},
};

/// A part is closed when it has so many bytes, where nobody says otherwise.
const PART: u64 = 64 << 20;

/// A journal in a directory of its own, one `fdatasync` for each batch.
///
/// ```no_run
/// use leasehold::shell::*;
/// # fn run(batch: leasehold::fleet::JournalBatch, key: [u8; 16]) -> Result<(), Box<dyn std::error::Error>> {
/// let mut journal = FileJournal::open("state/journal")?;
/// let replay = replay(&mut journal, key)?; // on the way up; then `replay.recover(..)`
/// journal.append(batch.last.index, &batch.bytes)?; // one write and one sync for every operation in the batch
/// let sealed = journal.seal()?; // now and then
/// std::thread::spawn(move || compact(sealed, key));
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct FileJournal<D: Disk = Directory> {
    disk: D,
    part: u64,
    tail: FrameWriter<D::File>,
    part_bytes: u64,
    failed: Option<JournalError>,
    compacting: Arc<AtomicBool>,
}

impl FileJournal {
    /// Opens the journal in the directory at `path`, or begins one. The torn tail of an append that a crash cut short
    /// is cut off. Cost: every byte since the newest snapshot is read and checked, and the newest part is written anew,
    /// because the system may show what no disk has: after a sync that failed, it calls the pages clean.
    ///
    /// # Errors
    /// [`JournalError`]: what cannot be trusted is not opened, and the message says what to do.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, JournalError> {
        let directory = Directory::open(path).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => JournalError::Locked,
            _ => unread(error),
        })?;
        Self::open_on(directory)
    }

    /// Begins a journal in the directory at `path` from a state without a journal of its own: one that was restored stale
    /// or came from another replica. What is appended next are the records behind [`Follower::at`].
    ///
    /// # Errors
    /// As [`Self::begin_on`].
    pub fn begin(path: impl AsRef<Path>, from: &Follower) -> Result<Self, ReplayError> {
        let directory = Directory::open(path).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => JournalError::Locked,
            _ => unread(error),
        })?;
        Self::begin_on(directory, from)
    }
}

impl<D: Disk> FileJournal<D> {
    /// The same on a disk that the caller provides, and has locked.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn open_on(disk: D) -> Result<Self, JournalError> {
        // What a former process renamed lasts before anything is removed on its word.
        disk.sync().map_err(unwritten)?;
        let content = Content::of(&disk)?;
        let (snapshot, parts) = content.story()?;
        let mut before: Option<End> = None;
        let mut tail = None;
        for part in parts {
            let mut reader = open_part(&disk, *part, before.as_ref())?;
            let newest = parts.last() == Some(part);
            loop {
                let at = reader.at;
                match reader.next()? {
                    Next::Frame(_) => {}
                    Next::End => break,
                    // Only the newest part can end in the middle of a frame.
                    Next::Torn if newest => break,
                    Next::Torn | Next::Damaged => return Err(JournalError::Damaged { part: *part, at }),
                }
            }
            before = Some(End { last: reader.last, chain: reader.chain });
            if newest {
                tail = Some((*part, reader));
            }
        }
        // Up to here nothing was changed: what is refused stays as it is.
        for draft in &content.drafts {
            disk.remove(draft).map_err(unwritten)?;
        }
        // What a crash left of the time before the snapshot goes only when the snapshot can be read.
        let old = parts.len() < content.parts.len() || content.snapshots.len() > 1;
        if let Some(index) = snapshot.filter(|_| old) {
            visit_story(&disk, Some(index), &[], &mut |_| true)?;
            remove_older(&disk, &content, index)?;
        }
        let (part, tail) = match tail {
            Some((part, reader)) => (part, make(&disk, part, |file| reader.renew(file))?),
            None => (0, begin_part(&disk, 0, frames::genesis())?),
        };
        let compacting = Arc::default();
        Ok(Self { disk, part, tail, part_bytes: PART, failed: None, compacting })
    }

    /// [`FileJournal::begin`] on a disk that the caller provides, and has locked. A crash meanwhile leaves a directory in
    /// which it can be begun anew.
    ///
    /// # Errors
    /// [`JournalError::Foreign`] where there is a journal already, which stays as it is; [`RecoverError::Nothing`] for a
    /// follower that holds nothing.
    pub fn begin_on(disk: D, from: &Follower) -> Result<Self, ReplayError> {
        let index = from.at().index;
        let content = Content::of(&disk)?;
        // A begin that a crash has cut short leaves drafts and an empty part.
        let unused = content.snapshots.is_empty() && content.parts.iter().all(|part| *part == index);
        if !unused || !content.parts.iter().try_fold(true, |_, part| is_empty(&disk, *part))? {
            return Err(JournalError::Foreign.into());
        }
        let snapshot = from.snapshot().ok_or(RecoverError::Nothing)?;
        drop(begin_part(&disk, index, frames::genesis())?);
        let draft = format!("{}{DRAFT}", name(Kind::Snapshot, index));
        let file = disk.create(&draft).map_err(unwritten)?;
        let mut writer =
            FrameWriter::begin(file, Kind::Snapshot, index, frames::genesis()).map_err(unwritten)?;
        for (number, chunk) in (1..).zip(snapshot) {
            writer.frame(number, &chunk?).map_err(unwritten)?;
        }
        writer.sync().map_err(unwritten)?;
        disk.rename(&draft, &name(Kind::Snapshot, index)).and_then(|()| disk.sync()).map_err(unwritten)?;
        Ok(Self::open_on(disk)?)
    }

    /// Closes a part when it has `bytes` bytes, instead of 64 MiB. Parts that are closed can be copied away.
    #[must_use]
    pub fn with_part_bytes(mut self, bytes: u64) -> Self {
        self.part_bytes = bytes;
        self
    }

    /// The index of the last record that lasts.
    pub fn last(&self) -> u64 {
        self.tail.last
    }

    fn usable(&self) -> Result<(), JournalError> {
        self.failed.clone().map_or(Ok(()), Err)
    }

    fn fail(&mut self, error: io::Error) -> JournalError {
        let error = unwritten(error);
        self.failed = Some(error.clone());
        error
    }

    /// Begins the next part, where this one has anything in it.
    fn rotate(&mut self) -> Result<(), JournalError> {
        let (last, chain) = (self.tail.last, self.tail.chain);
        if last == self.part {
            return Ok(());
        }
        match begin_part(&self.disk, last, chain) {
            Ok(tail) => {
                (self.part, self.tail) = (last, tail);
                Ok(())
            }
            Err(error) => {
                self.failed = Some(error.clone());
                Err(error)
            }
        }
    }
}

/// Whether nothing was appended to a part.
fn is_empty<D: Disk>(disk: &D, part: u64) -> Result<bool, JournalError> {
    let mut reader = open_part(disk, part, None)?;
    Ok(matches!(reader.next()?, Next::End))
}

/// Begins a part, and returns when that lasts.
fn begin_part<D: Disk>(
    disk: &D,
    after: u64,
    chain: Sha256Digest,
) -> Result<FrameWriter<D::File>, JournalError> {
    make(disk, after, |file| FrameWriter::begin(file, Kind::Part, after, chain).map_err(unwritten))
}

/// Makes a part as a draft, gives it its name when it lasts, and returns when that does.
fn make<D: Disk>(
    disk: &D,
    after: u64,
    write: impl FnOnce(D::File) -> Result<FrameWriter<D::File>, JournalError>,
) -> Result<FrameWriter<D::File>, JournalError> {
    let to = name(Kind::Part, after);
    let draft = format!("{to}{DRAFT}");
    let mut writer = write(disk.create(&draft).map_err(unwritten)?)?;
    writer.sync().map_err(unwritten)?;
    disk.rename(&draft, &to).and_then(|()| disk.sync()).map_err(unwritten)?;
    Ok(writer)
}

impl<D: Disk> Journal for FileJournal<D> {
    fn append(&mut self, last: u64, batch: &[u8]) -> Result<(), JournalError> {
        self.usable()?;
        if last <= self.tail.last {
            return Err(JournalError::Order);
        }
        if self.tail.length >= self.part_bytes {
            self.rotate()?;
        }
        let written = self.tail.frame(last, batch).and_then(|()| self.tail.sync());
        written.map_err(|error| self.fail(error))
    }

    fn read(&mut self, visit: &mut Visit<'_>) -> Result<(), JournalError> {
        self.usable()?;
        let content = Content::of(&self.disk)?;
        let (snapshot, parts) = content.story()?;
        visit_story(&self.disk, snapshot, parts, visit)
    }

    fn seal(&mut self) -> Result<Box<dyn Compaction>, JournalError> {
        self.usable()?;
        let turn = Turn::take(&self.compacting)?;
        self.rotate()?;
        let content = Content::of(&self.disk)?;
        Ok(Box::new(FileCompaction::new(self.disk.clone(), content, self.part, turn)?))
    }
}
