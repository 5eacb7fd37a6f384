//! A journal in redb: batches and snapshots in the tables of one database file.
//!
//! The same promises as the library's own file journal, kept by the database: a commit lasts before it returns, one
//! process has the file, and a snapshot replaces what it covers in one commit. What the database does not check, the
//! core does when it folds what is read: the hash chains of records and of chunks cover every byte.

#![forbid(unsafe_code)]

use std::{
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use leasehold::shell::{Compaction, Journal, JournalError, Stored, Visit};
use redb::{
    Database, DatabaseError, Durability, Error, ReadableDatabase as _, ReadableTable as _, StorageError,
    TableDefinition,
};

/// Batches, by the index of their last record.
const BATCHES: TableDefinition<u64, &[u8]> = TableDefinition::new("batches");
/// Chunks, by the index that their snapshot is of and their number.
const CHUNKS: TableDefinition<(u64, u64), &[u8]> = TableDefinition::new("chunks");
/// The version of this layout, and the index of the snapshot that counts.
const FACTS: TableDefinition<&str, u64> = TableDefinition::new("facts");

const VERSION: u64 = 1;

fn failed(error: impl Into<Error>) -> JournalError {
    match error.into() {
        Error::Io(error) if error.kind() == io::ErrorKind::StorageFull => JournalError::Full,
        _ => JournalError::Failed,
    }
}

fn unread(error: impl Into<Error>) -> JournalError {
    match error.into() {
        Error::Corrupted(_) => JournalError::Damaged { part: 0, at: 0 },
        _ => JournalError::Unreadable,
    }
}

/// A journal in a database file of its own.
pub struct RedbJournal {
    database: Arc<Database>,
    last: u64,
    failed: Option<JournalError>,
    compacting: Arc<AtomicBool>,
}

impl RedbJournal {
    /// Opens the database at `path`, or makes it.
    ///
    /// # Errors
    /// [`JournalError`]: locked, damaged, of another layout, or not readable.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, JournalError> {
        let database = Database::create(path).map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => JournalError::Locked,
            DatabaseError::UpgradeRequired(version) => JournalError::Version(version.into()),
            DatabaseError::Storage(StorageError::Io(error)) if error.kind() == io::ErrorKind::InvalidData => {
                JournalError::Foreign
            }
            other => unread(other),
        })?;
        let last = prepare(&database)?;
        Ok(Self { database: Arc::new(database), last, failed: None, compacting: Arc::default() })
    }

    /// The index of the last record that lasts.
    pub const fn last(&self) -> u64 {
        self.last
    }
}

/// Makes the tables, removes what an unfinished snapshot left, and gives the last index.
fn prepare(database: &Database) -> Result<u64, JournalError> {
    let write = database.begin_write().map_err(failed)?;
    let last = {
        let mut facts = write.open_table(FACTS).map_err(failed)?;
        let version = facts.get("version").map_err(unread)?.map(|version| version.value());
        match version {
            None => drop(facts.insert("version", VERSION).map_err(failed)?),
            Some(VERSION) => {}
            Some(other) => return Err(JournalError::Version(u32::try_from(other).unwrap_or(u32::MAX))),
        }
        let snapshot = facts.get("snapshot").map_err(unread)?.map_or(0, |index| index.value());
        let mut chunks = write.open_table(CHUNKS).map_err(failed)?;
        chunks.retain(|(index, _), _| index == snapshot).map_err(failed)?;
        let batches = write.open_table(BATCHES).map_err(failed)?;
        batches.last().map_err(unread)?.map_or(snapshot, |(last, _)| last.value())
    };
    write.commit().map_err(failed)?;
    Ok(last)
}

/// Hands out the newest snapshot, and the batches since up to `until`.
fn visit_all(database: &Database, until: u64, visit: &mut Visit<'_>) -> Result<(), JournalError> {
    let read = database.begin_read().map_err(unread)?;
    let facts = read.open_table(FACTS).map_err(unread)?;
    let snapshot = facts.get("snapshot").map_err(unread)?.map_or(0, |index| index.value());
    let chunks = read.open_table(CHUNKS).map_err(unread)?;
    for entry in chunks.range((snapshot, 0)..=(snapshot, u64::MAX)).map_err(unread)? {
        let (_, chunk) = entry.map_err(unread)?;
        if snapshot > 0 && !visit(Stored::Chunk(chunk.value())) {
            return Ok(());
        }
    }
    let batches = read.open_table(BATCHES).map_err(unread)?;
    for entry in batches.range(snapshot.saturating_add(1)..=until).map_err(unread)? {
        let (_, batch) = entry.map_err(unread)?;
        if !visit(Stored::Batch(batch.value())) {
            return Ok(());
        }
    }
    Ok(())
}

fn append(database: &Database, last: u64, batch: &[u8]) -> Result<(), Error> {
    let write = database.begin_write()?;
    write.open_table(BATCHES)?.insert(last, batch)?;
    write.commit()?;
    Ok(())
}

impl Journal for RedbJournal {
    fn append(&mut self, last: u64, batch: &[u8]) -> Result<(), JournalError> {
        self.failed.map_or(Ok(()), Err)?;
        if last <= self.last {
            return Err(JournalError::Order);
        }
        append(&self.database, last, batch).map_err(|error| {
            let error = failed(error);
            self.failed = Some(error);
            error
        })?;
        self.last = last;
        Ok(())
    }

    fn read(&mut self, visit: &mut Visit<'_>) -> Result<(), JournalError> {
        self.failed.map_or(Ok(()), Err)?;
        visit_all(&self.database, u64::MAX, visit)
    }

    fn seal(&mut self) -> Result<Box<dyn Compaction>, JournalError> {
        self.failed.map_or(Ok(()), Err)?;
        if self.compacting.swap(true, Ordering::AcqRel) {
            return Err(JournalError::Busy);
        }
        let (database, compacting) = (Arc::clone(&self.database), Arc::clone(&self.compacting));
        Ok(Box::new(RedbCompaction { database, index: self.last, chunks: 0, compacting }))
    }
}

/// The work on what is there up to `index`. A chunk is a commit that need not last; the last commit makes all of them
/// last, and the snapshot count.
struct RedbCompaction {
    database: Arc<Database>,
    index: u64,
    chunks: u64,
    compacting: Arc<AtomicBool>,
}

impl RedbCompaction {
    fn write(&self, chunk: &[u8]) -> Result<(), Error> {
        let mut write = self.database.begin_write()?;
        write.set_durability(Durability::None)?;
        write.open_table(CHUNKS)?.insert((self.index, self.chunks), chunk)?;
        write.commit()?;
        Ok(())
    }

    fn replace(&self) -> Result<(), Error> {
        let write = self.database.begin_write()?;
        {
            write.open_table(FACTS)?.insert("snapshot", self.index)?;
            write.open_table(CHUNKS)?.retain(|(index, _), _| index == self.index)?;
            write.open_table(BATCHES)?.retain_in(..=self.index, |_, _| false)?;
        }
        write.commit()?;
        Ok(())
    }
}

impl Compaction for RedbCompaction {
    fn index(&self) -> u64 {
        self.index
    }

    fn read(&mut self, visit: &mut Visit<'_>) -> Result<(), JournalError> {
        visit_all(&self.database, self.index, visit)
    }

    fn chunk(&mut self, chunk: &[u8]) -> Result<(), JournalError> {
        // What an earlier attempt at the same index left is not part of this one.
        if self.chunks == 0 {
            prepare(&self.database)?;
        }
        self.write(chunk).map_err(failed)?;
        self.chunks += 1;
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<(), JournalError> {
        self.replace().map_err(failed)
    }
}

impl Drop for RedbCompaction {
    fn drop(&mut self) {
        self.compacting.store(false, Ordering::Release);
    }
}
