//! The files of a journal on a disk: their names, which of them are the story, and reading them in order.

use alloc::{format, string::String, vec::Vec};

use super::{
    disk::Disk,
    frames::{self, FrameReader, Kind, Next, unread, unwritten},
    journal::{JournalError, Stored, Visit},
};
use crate::digest::Sha256Digest;

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
    pub(super) drafts: Vec<String>,
}

impl Content {
    pub(super) fn of(disk: &impl Disk) -> Result<Self, JournalError> {
        let mut content = Self::default();
        for file in disk.list().map_err(unread)? {
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
    pub(super) last: u64,
    pub(super) chain: Sha256Digest,
}

/// Opens a part and checks that it follows `before`.
pub(super) fn open_part<D: Disk>(
    disk: &D,
    part: u64,
    before: Option<&End>,
) -> Result<FrameReader<D::File>, JournalError> {
    let file = disk.open(&name(Kind::Part, part)).map_err(unread)?;
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
        let file = disk.open(&name(Kind::Snapshot, index)).map_err(unread)?;
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
