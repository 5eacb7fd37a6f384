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

use alloc::{boxed::Box, format, string::String, sync::Arc, vec::Vec};
use core::sync::atomic::AtomicBool;
use std::{io, path::Path};

use super::{
    compaction::{FileCompaction, Turn},
    disk::{Directory, Disk},
    frames::{self, FrameReader, FrameWriter, Kind, Next, unwritten},
    journal::{Compaction, Journal, JournalError, Stored, Visit},
};
use crate::digest::Sha256Digest;

/// A part is closed when it has so many bytes, where nobody says otherwise.
const PART: u64 = 64 << 20;

pub(super) const DRAFT: &str = ".draft";

pub(super) fn name(kind: Kind, index: u64) -> String {
    match kind {
        Kind::Part => format!("journal-{index:020}"),
        Kind::Snapshot => format!("snapshot-{index:020}"),
    }
}

/// What is in the directory: indexes of parts and of snapshots, in order, and the names of drafts.
#[derive(Debug, Default)]
pub(super) struct Content {
    pub(super) parts: Vec<u64>,
    pub(super) snapshots: Vec<u64>,
    drafts: Vec<String>,
}

impl Content {
    pub(super) fn of(disk: &impl Disk) -> Result<Self, JournalError> {
        let mut content = Self::default();
        for file in disk.list().map_err(|_| JournalError::Unreadable)? {
            let stem = file.strip_suffix(DRAFT).unwrap_or(&file);
            let (kind, digits) = match stem.split_once('-') {
                Some(("journal", digits)) => (Kind::Part, digits),
                Some(("snapshot", digits)) => (Kind::Snapshot, digits),
                _ => return Err(JournalError::Foreign),
            };
            let index = digits.parse().map_err(|_| JournalError::Foreign)?;
            if name(kind, index) != stem {
                return Err(JournalError::Foreign);
            }
            match kind {
                _ if stem != file => content.drafts.push(file),
                Kind::Part => content.parts.push(index),
                Kind::Snapshot => content.snapshots.push(index),
            }
        }
        content.parts.sort_unstable();
        content.snapshots.sort_unstable();
        Ok(content)
    }

    /// The newest snapshot, and the parts from there on. What a crash left of older ones is not among them.
    pub(super) fn story(&self) -> Result<(Option<u64>, &[u64]), JournalError> {
        let snapshot = self.snapshots.last().copied();
        let begin = snapshot.unwrap_or(0);
        let from = self.parts.partition_point(|part| *part < begin);
        let parts = self.parts.get(from..).unwrap_or_default();
        let fresh = self.parts.is_empty() && snapshot.is_none();
        if fresh || parts.first() == Some(&begin) {
            Ok((snapshot, parts))
        } else {
            Err(JournalError::Gap { after: begin })
        }
    }
}

/// Where a part ends.
pub(super) struct End {
    last: u64,
    chain: Sha256Digest,
}

/// Opens a part and checks that it follows `before`.
pub(super) fn open_part<D: Disk>(
    disk: &D,
    part: u64,
    before: Option<&End>,
) -> Result<FrameReader<D::File>, JournalError> {
    let file = disk.open(&name(Kind::Part, part)).map_err(|_| JournalError::Unreadable)?;
    let reader = FrameReader::open(file, Kind::Part, part)?;
    match before {
        Some(end) if end.last != part => Err(JournalError::Gap { after: end.last }),
        Some(end) if end.chain != reader.before => Err(JournalError::Damaged { part, at: 0 }),
        None if part == 0 && reader.before != frames::genesis() => Err(JournalError::Damaged { part, at: 0 }),
        _ => Ok(reader),
    }
}

/// Reads a file to its end and hands out its frames; false where the visitor wants no more.
pub(super) fn visit_frames<F: super::disk::DiskFile>(
    reader: &mut FrameReader<F>,
    kind: Kind,
    visit: &mut Visit<'_>,
) -> Result<bool, JournalError> {
    loop {
        let (part, at) = (reader.after, reader.at);
        let piece = match reader.next()? {
            Next::Frame(bytes) if kind == Kind::Part => Stored::Batch(bytes),
            Next::Frame(bytes) => Stored::Chunk(bytes),
            Next::End => return Ok(true),
            Next::Torn | Next::Damaged => return Err(JournalError::Damaged { part, at }),
        };
        if !visit(piece) {
            return Ok(false);
        }
    }
}

/// Hands out a snapshot and parts that follow each other.
pub(super) fn visit_story<D: Disk>(
    disk: &D,
    snapshot: Option<u64>,
    parts: &[u64],
    visit: &mut Visit<'_>,
) -> Result<(), JournalError> {
    if let Some(index) = snapshot {
        let file = disk.open(&name(Kind::Snapshot, index)).map_err(|_| JournalError::Unreadable)?;
        let mut reader = FrameReader::open(file, Kind::Snapshot, index)?;
        if !visit_frames(&mut reader, Kind::Snapshot, visit)? {
            return Ok(());
        }
    }
    let mut before: Option<End> = None;
    for part in parts {
        let mut reader = open_part(disk, *part, before.as_ref())?;
        if !visit_frames(&mut reader, Kind::Part, visit)? {
            return Ok(());
        }
        before = Some(End { last: reader.last, chain: reader.chain });
    }
    Ok(())
}

/// A journal in a directory of its own, one `fdatasync` for each batch.
///
/// ```no_run
/// use leasehold::shell::*;
/// # fn run(batch: leasehold::fleet::JournalBatch, key: [u8; 16]) -> Result<(), Box<dyn std::error::Error>> {
/// let mut journal = FileJournal::open("state/journal")?;
/// let replay = replay(&mut journal, key)?; // on the way up; then `replay.recover(..)`
/// journal.append(batch.last, &batch.bytes)?; // one write and one sync for every operation in the batch
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
            _ => JournalError::Unreadable,
        })?;
        Self::open_on(directory)
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
        for draft in &content.drafts {
            disk.remove(draft).map_err(unwritten)?;
        }
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
        self.failed.map_or(Ok(()), Err)
    }

    fn fail(&mut self, error: io::Error) -> JournalError {
        let error = unwritten(error);
        self.failed = Some(error);
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
                self.failed = Some(error);
                Err(error)
            }
        }
    }
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

/// Removes what the snapshot of `index` has replaced.
pub(super) fn remove_older(disk: &impl Disk, content: &Content, index: u64) -> Result<(), JournalError> {
    let older = |kind, all: &[u64]| -> Vec<String> {
        all.iter().filter(|at| **at < index).map(|at| name(kind, *at)).collect()
    };
    let parts = older(Kind::Part, &content.parts).into_iter();
    for file in parts.chain(older(Kind::Snapshot, &content.snapshots)) {
        disk.remove(&file).map_err(unwritten)?;
    }
    Ok(())
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
