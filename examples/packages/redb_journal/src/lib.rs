//! A journal in redb: batches in the table of one database file, and the newest snapshot in a database file of its own.
//!
//! The same promises as the library's own file journal, kept by the database: a commit lasts before it returns, one
//! process has the file, and a snapshot replaces what it covers. What the database does not check, the core does when it
//! folds what is read: the hash chains of records and of chunks cover every byte.
//!
//! | file | what it is |
//! |---|---|
//! | `PATH` | the batches since the newest snapshot, and some before it |
//! | `PATH.snapshot` | the newest snapshot, whole |
//! | `PATH.draft` | a snapshot that is being made; removed when the journal is opened |
//!
//! Snapshots have a file of their own because a redb database that failed to commit refuses every later commit until it is
//! opened again: a snapshot that meets a full disk must not stop the journal.

#![forbid(unsafe_code)]

mod snapshot;

use std::{
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use leasehold::shell::{Compaction, Journal, JournalError, StoreFault, Stored, Visit};
use redb::{
    Builder, Database, DatabaseError, Error, ReadableDatabase as _, ReadableTable as _, StorageError,
    TableDefinition,
};

use self::snapshot::{RedbCompaction, Snapshots};

/// Batches, by the index of their last record.
const BATCHES: TableDefinition<u64, &[u8]> = TableDefinition::new("batches");
/// Chunks, by the index that their snapshot is of and their number: of a snapshot's file, and of the journal's in version 1.
const CHUNKS: TableDefinition<(u64, u64), &[u8]> = TableDefinition::new("chunks");
/// The version of this layout, and the index of the snapshot that the file holds.
const FACTS: TableDefinition<&str, u64> = TableDefinition::new("facts");

/// The layout that this build writes. Version 1 had snapshots in the journal's file; it is read, and written on as this one.
const VERSION: u64 = 2;
/// Pages that redb keeps in memory for each file. Its default of a gibibyte lets what is not durable yet grow to half of
/// that, and the next durable commit pays for it.
const CACHE: usize = 16 << 20;

fn failed(error: impl Into<Error>) -> JournalError {
    match error.into() {
        Error::Io(error) if error.kind() == io::ErrorKind::StorageFull => {
            JournalError::Full(StoreFault::from(&error))
        }
        Error::Io(error) => JournalError::Failed(StoreFault::from(&error)),
        error => JournalError::Failed(StoreFault::new(error.to_string())),
    }
}

fn unread(error: impl Into<Error>) -> JournalError {
    match error.into() {
        Error::Corrupted(_) => JournalError::Damaged { part: 0, at: 0 },
        Error::Io(error) => JournalError::Unreadable(StoreFault::from(&error)),
        error => JournalError::Unreadable(StoreFault::new(error.to_string())),
    }
}

fn open(path: &Path) -> Result<Database, JournalError> {
    Builder::new().set_cache_size(CACHE).create(path).map_err(|error| match error {
        DatabaseError::DatabaseAlreadyOpen => JournalError::Locked,
        DatabaseError::UpgradeRequired(version) => JournalError::Version(version.into()),
        DatabaseError::Storage(StorageError::Io(error)) if error.kind() == io::ErrorKind::InvalidData => {
            JournalError::Foreign
        }
        other => unread(other),
    })
}

/// The layout of a file that was opened, where it has one. One of another build is refused, and stays as it is.
fn version(database: &Database) -> Result<Option<u64>, JournalError> {
    let read = database.begin_read().map_err(unread)?;
    let version = match read.open_table(FACTS) {
        Ok(facts) => facts.get("version").map_err(unread)?.map(|version| version.value()),
        Err(redb::TableError::TableDoesNotExist(_)) => None,
        Err(error) => return Err(unread(error)),
    };
    match version {
        Some(other) if other > VERSION => {
            Err(JournalError::Version(u32::try_from(other).unwrap_or(u32::MAX)))
        }
        version => Ok(version),
    }
}

/// A journal in a database file of its own.
pub struct RedbJournal {
    database: Arc<Database>,
    snapshots: Snapshots,
    last: u64,
    /// Batches up to here are gone already.
    trimmed: u64,
    failed: Option<JournalError>,
    compacting: Arc<AtomicBool>,
    /// The index of the newest whole snapshot.
    covered: Arc<AtomicU64>,
}

impl RedbJournal {
    /// Opens the database at `path`, or makes it.
    ///
    /// # Errors
    /// [`JournalError`]: locked, damaged, of another layout, or not readable.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, JournalError> {
        let path = path.as_ref();
        let database = open(path)?;
        version(&database)?;
        let snapshots = Snapshots::open(path)?;
        let (last, within) = prepare(&database, snapshots.index())?;
        let covered = Arc::new(AtomicU64::new(snapshots.index().max(within)));
        Ok(Self {
            database: Arc::new(database),
            snapshots,
            last,
            trimmed: 0,
            failed: None,
            compacting: Arc::default(),
            covered,
        })
    }

    /// The index of the last record that lasts.
    pub const fn last(&self) -> u64 {
        self.last
    }

    fn usable(&self) -> Result<(), JournalError> {
        self.failed.clone().map_or(Ok(()), Err)
    }
}

/// Makes the tables, and gives the last index, and that of a snapshot which lies in this file.
fn prepare(database: &Database, snapshot: u64) -> Result<(u64, u64), JournalError> {
    let write = database.begin_write().map_err(failed)?;
    let found = {
        let mut facts = write.open_table(FACTS).map_err(failed)?;
        let within = facts.get("snapshot").map_err(unread)?.map_or(0, |index| index.value());
        facts.insert("version", VERSION).map_err(failed)?;
        let mut chunks = write.open_table(CHUNKS).map_err(failed)?;
        chunks.retain(|(index, _), _| index == within && within > snapshot).map_err(failed)?;
        let batches = write.open_table(BATCHES).map_err(failed)?;
        let last = batches.last().map_err(unread)?.map_or(0, |(last, _)| last.value());
        (last.max(within).max(snapshot), within)
    };
    write.commit().map_err(failed)?;
    Ok(found)
}

/// Hands out a snapshot that lies in the journal's own file, where it is newer than `than`. Its index; `None` where the
/// visitor wants no more.
fn visit_within(database: &Database, than: u64, visit: &mut Visit<'_>) -> Result<Option<u64>, JournalError> {
    let read = database.begin_read().map_err(unread)?;
    let facts = read.open_table(FACTS).map_err(unread)?;
    let within = facts.get("snapshot").map_err(unread)?.map_or(0, |index| index.value());
    if within <= than {
        return Ok(Some(0));
    }
    let chunks = read.open_table(CHUNKS).map_err(unread)?;
    for entry in chunks.range((within, 0)..=(within, u64::MAX)).map_err(unread)? {
        let (_, chunk) = entry.map_err(unread)?;
        if !visit(Stored::Chunk(chunk.value())) {
            return Ok(None);
        }
    }
    Ok(Some(within))
}

/// Hands out the newest snapshot, and the batches since up to `until`.
fn visit_all(
    database: &Database,
    snapshots: &Snapshots,
    until: u64,
    visit: &mut Visit<'_>,
) -> Result<(), JournalError> {
    let Some(within) = visit_within(database, snapshots.index(), visit)? else { return Ok(()) };
    let mut from = within;
    if within == 0 {
        let Some(index) = snapshots.visit(visit)? else { return Ok(()) };
        from = index;
    }
    let read = database.begin_read().map_err(unread)?;
    let batches = read.open_table(BATCHES).map_err(unread)?;
    for entry in batches.range(from.saturating_add(1)..=until).map_err(unread)? {
        let (_, batch) = entry.map_err(unread)?;
        if !visit(Stored::Batch(batch.value())) {
            return Ok(());
        }
    }
    Ok(())
}

/// Appends a batch; what a snapshot covers goes with the same commit.
fn append(database: &Database, last: u64, batch: &[u8], covered: Option<u64>) -> Result<(), Error> {
    let write = database.begin_write()?;
    {
        let mut batches = write.open_table(BATCHES)?;
        batches.insert(last, batch)?;
        if let Some(covered) = covered {
            batches.retain_in(..=covered, |_, _| false)?;
        }
    }
    write.commit()?;
    Ok(())
}

impl Journal for RedbJournal {
    fn append(&mut self, last: u64, batch: &[u8]) -> Result<(), JournalError> {
        self.usable()?;
        if last <= self.last {
            return Err(JournalError::Order);
        }
        let covered = self.covered.load(Ordering::Acquire);
        append(&self.database, last, batch, (covered > self.trimmed).then_some(covered)).map_err(
            |error| {
                // Nobody knows what is there before the file was opened again.
                let error = failed(error);
                self.failed = Some(error.clone());
                error
            },
        )?;
        (self.last, self.trimmed) = (last, covered);
        Ok(())
    }

    fn read(&mut self, visit: &mut Visit<'_>) -> Result<(), JournalError> {
        self.usable()?;
        visit_all(&self.database, &self.snapshots, u64::MAX, visit)
    }

    fn seal(&mut self) -> Result<Box<dyn Compaction>, JournalError> {
        self.usable()?;
        if self.compacting.swap(true, Ordering::AcqRel) {
            return Err(JournalError::Busy);
        }
        Ok(Box::new(RedbCompaction::new(
            Arc::clone(&self.database),
            self.snapshots.clone(),
            self.last,
            Arc::clone(&self.compacting),
            Arc::clone(&self.covered),
        )))
    }
}
