//! Snapshots, each in a database file of its own, and the work of making one.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use leasehold::shell::{Compaction, JournalError, StoreFault, Stored, Visit};
use redb::{Database, Durability, Error, ReadableDatabase as _};

use crate::{CHUNKS, FACTS, VERSION, failed, open, unread, version, visit_all};

/// The newest snapshot of a journal, where there is one.
#[derive(Clone)]
pub(crate) struct Snapshots {
    path: PathBuf,
    newest: Arc<Mutex<Option<(u64, Arc<Database>)>>>,
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn remove(path: &Path) -> Result<(), JournalError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(JournalError::Failed(StoreFault::from(&error)))
        }
        _ => Ok(()),
    }
}

/// The index of the snapshot in a file that is whole.
fn index_of(database: &Database) -> Result<u64, JournalError> {
    version(database)?;
    let read = database.begin_read().map_err(unread)?;
    let facts = read.open_table(FACTS).map_err(unread)?;
    let index = facts.get("snapshot").map_err(unread)?.map(|index| index.value());
    index.ok_or(JournalError::Foreign)
}

impl Snapshots {
    /// The snapshots of the journal at `path`. A draft that a crash left is removed.
    pub(crate) fn open(path: &Path) -> Result<Self, JournalError> {
        let file = beside(path, ".snapshot");
        let newest = match file.exists() {
            true => {
                let database = open(&file)?;
                Some((index_of(&database)?, Arc::new(database)))
            }
            false => None,
        };
        remove(&beside(path, ".draft"))?;
        Ok(Self { path: path.to_path_buf(), newest: Arc::new(Mutex::new(newest)) })
    }

    /// Only whole values are put in, so one that a panic left is whole.
    fn lock(&self) -> MutexGuard<'_, Option<(u64, Arc<Database>)>> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The index that the newest one is of; 0 where there is none.
    pub(crate) fn index(&self) -> u64 {
        self.lock().as_ref().map_or(0, |(index, _)| *index)
    }

    /// Hands out its chunks. Its index; `None` where the visitor wants no more.
    pub(crate) fn visit(&self, visit: &mut Visit<'_>) -> Result<Option<u64>, JournalError> {
        let newest = self.lock().clone();
        let Some((index, database)) = newest else { return Ok(Some(0)) };
        let read = database.begin_read().map_err(unread)?;
        let chunks = read.open_table(CHUNKS).map_err(unread)?;
        for entry in chunks.range((index, 0)..=(index, u64::MAX)).map_err(unread)? {
            let (_, chunk) = entry.map_err(unread)?;
            if !visit(Stored::Chunk(chunk.value())) {
                return Ok(None);
            }
        }
        Ok(Some(index))
    }
}

/// The work on what is there up to `index`. A chunk is a commit that need not last; the last commit makes all of them
/// last, and then the file gets its name. Whatever fails on the way is dropped with the draft.
pub(crate) struct RedbCompaction {
    journal: Arc<Database>,
    snapshots: Snapshots,
    index: u64,
    chunks: u64,
    draft: Option<Database>,
    compacting: Arc<AtomicBool>,
    covered: Arc<AtomicU64>,
}

impl RedbCompaction {
    pub(crate) fn new(
        journal: Arc<Database>,
        snapshots: Snapshots,
        index: u64,
        compacting: Arc<AtomicBool>,
        covered: Arc<AtomicU64>,
    ) -> Self {
        Self { journal, snapshots, index, chunks: 0, draft: None, compacting, covered }
    }

    fn draft_path(&self) -> PathBuf {
        beside(&self.snapshots.path, ".draft")
    }

    fn draft(&mut self) -> Result<&Database, JournalError> {
        let draft = match self.draft.take() {
            Some(draft) => draft,
            None => {
                remove(&self.draft_path())?;
                open(&self.draft_path())?
            }
        };
        Ok(self.draft.insert(draft))
    }
}

fn write(database: &Database, key: (u64, u64), chunk: &[u8]) -> Result<(), Error> {
    let mut write = database.begin_write()?;
    write.set_durability(Durability::None)?;
    write.open_table(CHUNKS)?.insert(key, chunk)?;
    write.commit()?;
    Ok(())
}

/// Says in the draft that it is whole, and returns when everything in it lasts.
fn complete(database: &Database, index: u64) -> Result<(), Error> {
    let write = database.begin_write()?;
    {
        let mut facts = write.open_table(FACTS)?;
        facts.insert("version", VERSION)?;
        facts.insert("snapshot", index)?;
        write.open_table(CHUNKS)?;
    }
    write.commit()?;
    Ok(())
}

/// Gives the file its name, and returns when that lasts.
fn publish(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    let directory = to.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

impl Compaction for RedbCompaction {
    fn index(&self) -> u64 {
        self.index
    }

    fn read(&mut self, visit: &mut Visit<'_>) -> Result<(), JournalError> {
        visit_all(&self.journal, &self.snapshots, self.index, visit)
    }

    fn chunk(&mut self, chunk: &[u8]) -> Result<(), JournalError> {
        let key = (self.index, self.chunks);
        write(self.draft()?, key, chunk).map_err(failed)?;
        self.chunks += 1;
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<(), JournalError> {
        let index = self.index;
        complete(self.draft()?, index).map_err(failed)?;
        let named = |error: io::Error| JournalError::Failed(StoreFault::from(&error));
        publish(&self.draft_path(), &beside(&self.snapshots.path, ".snapshot")).map_err(named)?;
        if let Some(database) = self.draft.take() {
            *self.snapshots.lock() = Some((index, Arc::new(database)));
        }
        // The next append removes what is covered, in its own commit: one of this thread could fail, and stop the journal.
        self.covered.store(index, Ordering::Release);
        Ok(())
    }
}

impl Drop for RedbCompaction {
    fn drop(&mut self) {
        if self.draft.take().is_some() {
            // One that stays is removed when the journal is opened, or the next snapshot begins.
            let _ = fs::remove_file(self.draft_path());
        }
        self.compacting.store(false, Ordering::Release);
    }
}
