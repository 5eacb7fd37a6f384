//! A node's store on disk: one redb database, and one durable transaction for each write.
//!
//! | table | what it holds |
//! |---|---|
//! | `facts` | the layout's version, whose store it is, and the hard state |
//! | `log` | entries by index |
//! | `snapshot` | the newest snapshot |
//!
//! Each value begins with a digest of what it is about and what it says, so that a value which was changed, or moved to another
//! place, is refused when the node starts, before the engine sees it.

use std::{fmt, io, path::Path};

use leasehold::digest::{FieldHasher, Sha256Digest};
use redb::{
    Builder, Database, DatabaseError, Error, ReadableDatabase as _, ReadableTable as _, StorageError,
    TableDefinition, TableError,
};

use crate::{
    bytes::{self, Bytes},
    code::Code,
    members::NodeId,
    stored::{Entry, Hard, Snapshot, Stored, Write},
};

const FACTS: TableDefinition<&str, &[u8]> = TableDefinition::new("facts");
const LOG: TableDefinition<u64, &[u8]> = TableDefinition::new("log");
const SNAPSHOT: TableDefinition<u8, &[u8]> = TableDefinition::new("snapshot");

/// The layout that this build writes and reads.
const VERSION: u64 = 1;
/// Pages that redb keeps in memory.
const CACHE: usize = 16 << 20;
const DIGEST: usize = 32;

/// Why a store cannot be opened, read or written.
#[derive(Debug)]
pub enum StoreError {
    /// It is another node's, or of another cluster.
    Foreign,
    /// Another process has it open.
    Locked,
    /// Another build wrote it.
    Version(u64),
    /// There is something in its place that no node wrote, or what was written is not there as it was.
    Damaged(String),
    /// There is no room. The node stops; what was written before lasts.
    Full(io::Error),
    /// Nobody knows what lasts of the write. The node stops.
    Failed(String),
}

impl StoreError {
    /// Its stable code.
    pub const fn code(&self) -> Code {
        Code(match self {
            Self::Foreign => "store.foreign",
            Self::Locked => "store.locked",
            Self::Version(_) => "store.version",
            Self::Damaged(_) => "store.damaged",
            Self::Full(_) => "store.full",
            Self::Failed(_) => "store.failed",
        })
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign => f.write_str(
                "the store belongs to another node or another cluster: name its directory in that node's file, and give this \
                 one a directory of its own",
            ),
            Self::Locked => f.write_str("another process has the store open: end that one first"),
            Self::Version(version) => {
                write!(f, "the store has layout {version}, which this build does not read: use the build that wrote it")
            }
            Self::Damaged(what) => write!(
                f,
                "the store is damaged ({what}): remove the node from the cluster, empty its directory, and add it again \
                 under a new number"
            ),
            Self::Full(error) => write!(f, "the store has no room ({error}): make room and start the node again"),
            Self::Failed(what) => {
                write!(f, "a write failed or is in doubt ({what}): look at the disk and start the node again")
            }
        }
    }
}

fn failed(error: impl Into<Error>) -> StoreError {
    match error.into() {
        Error::Io(error) if error.kind() == io::ErrorKind::StorageFull => StoreError::Full(error),
        Error::Corrupted(what) => StoreError::Damaged(what),
        error => StoreError::Failed(error.to_string()),
    }
}

fn damaged(what: &str) -> StoreError {
    StoreError::Damaged(what.into())
}

fn digest(place: &str, index: u64, body: &[u8]) -> Sha256Digest {
    FieldHasher::new("replica-store.v1").field(place.as_bytes()).number(index).field(body).finish()
}

fn sealed(place: &str, index: u64, body: &[u8]) -> Vec<u8> {
    [digest(place, index, body).as_bytes(), body].concat()
}

fn opened<'a>(place: &str, index: u64, value: &'a [u8]) -> Result<&'a [u8], StoreError> {
    match value.split_at_checked(DIGEST) {
        Some((given, body)) if digest(place, index, body).as_bytes() == given => Ok(body),
        _ => Err(StoreError::Damaged(format!("{place} {index} is not as it was written"))),
    }
}

/// The store of one node.
pub struct Store {
    database: Database,
}

impl Store {
    /// Opens the store at `path`, or makes it for the node `id` of `cluster`: the digest of the cluster's founding, which all its
    /// nodes share.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(path: &Path, cluster: Sha256Digest, id: NodeId) -> Result<Self, StoreError> {
        let database = Builder::new().set_cache_size(CACHE).create(path).map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => StoreError::Locked,
            DatabaseError::Storage(StorageError::Io(error)) if error.kind() == io::ErrorKind::InvalidData => {
                damaged("the file is no database")
            }
            other => failed(other),
        })?;
        let mut whose = cluster.as_bytes().to_vec();
        bytes::number(&mut whose, id.0);
        let store = Self { database };
        match (store.fact("version")?, store.fact("whose")?) {
            (None, None) => {
                let write = store.database.begin_write().map_err(failed)?;
                {
                    let mut facts = write.open_table(FACTS).map_err(failed)?;
                    let put = [("version", VERSION.to_be_bytes().to_vec()), ("whose", whose)];
                    for (name, value) in put {
                        facts.insert(name, sealed(name, 0, &value).as_slice()).map_err(failed)?;
                    }
                    write.open_table(LOG).map_err(failed)?;
                    write.open_table(SNAPSHOT).map_err(failed)?;
                }
                write.commit().map_err(failed)?;
            }
            (Some(version), Some(found)) => {
                let version = version.try_into().map(u64::from_be_bytes).unwrap_or(0);
                if version != VERSION {
                    return Err(StoreError::Version(version));
                }
                if found != whose {
                    return Err(StoreError::Foreign);
                }
            }
            _ => return Err(damaged("it does not say whose it is")),
        }
        Ok(store)
    }

    fn fact(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let read = self.database.begin_read().map_err(failed)?;
        match read.open_table(FACTS) {
            Ok(facts) => match facts.get(name).map_err(failed)? {
                Some(value) => Ok(Some(opened(name, 0, value.value())?.to_vec())),
                None => Ok(None),
            },
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    /// What it holds, every value checked. [`Node::start`](crate::Node::start) checks how the values go together.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn read(&self) -> Result<Stored, StoreError> {
        let mut stored = Stored::default();
        if let Some(hard) = self.fact("hard")? {
            let mut from = Bytes(&hard);
            let mut next = || from.number().map_err(|_| damaged("the hard state does not read"));
            stored.hard = Hard { term: next()?, vote: next()?, commit: next()? };
        }
        let read = self.database.begin_read().map_err(failed)?;
        let snapshots = read.open_table(SNAPSHOT).map_err(failed)?;
        if let Some(value) = snapshots.get(0).map_err(failed)? {
            let body = opened("snapshot", 0, value.value())?;
            let snapshot = Snapshot::decode(body).map_err(|_| damaged("the snapshot does not read"))?;
            stored.snapshot = Some(snapshot);
        }
        let log = read.open_table(LOG).map_err(failed)?;
        for item in log.iter().map_err(failed)? {
            let (index, value) = item.map_err(failed)?;
            let entry = Entry::decode(opened("entry", index.value(), value.value())?)
                .map_err(|_| damaged("an entry does not read"))?;
            if entry.index != index.value() {
                return Err(damaged("an entry stands in another one's place"));
            }
            stored.entries.push(entry);
        }
        Ok(stored)
    }

    /// Carries a write out, all of it or nothing. It lasts when this returns.
    ///
    /// # Errors
    /// [`StoreError`]; the node's life is over then: [`Node::write_failed`](crate::Node::write_failed).
    pub fn write(&mut self, what: &Write) -> Result<(), StoreError> {
        let write = self.database.begin_write().map_err(failed)?;
        {
            if let Some(snapshot) = &what.snapshot {
                let mut body = Vec::new();
                snapshot.encode(&mut body);
                let mut snapshots = write.open_table(SNAPSHOT).map_err(failed)?;
                snapshots.insert(0, sealed("snapshot", 0, &body).as_slice()).map_err(failed)?;
            }
            let mut log = write.open_table(LOG).map_err(failed)?;
            if let Some(forget) = what.forget {
                log.retain_in(..=forget, |_, _| false).map_err(failed)?;
            }
            if let Some(truncate) = what.truncate {
                log.retain_in(truncate.., |_, _| false).map_err(failed)?;
            }
            for entry in &what.entries {
                let mut body = Vec::new();
                entry.encode(&mut body);
                log.insert(entry.index, sealed("entry", entry.index, &body).as_slice()).map_err(failed)?;
            }
            if let Some(hard) = what.hard {
                let mut body = Vec::new();
                for value in [hard.term, hard.vote, hard.commit] {
                    bytes::number(&mut body, value);
                }
                let mut facts = write.open_table(FACTS).map_err(failed)?;
                facts.insert("hard", sealed("hard", 0, &body).as_slice()).map_err(failed)?;
            }
        }
        write.commit().map_err(failed)
    }

    /// Writes what a founder begins with.
    ///
    /// # Errors
    /// [`StoreError::Foreign`] where the store holds something already.
    pub fn found(&mut self, founding: &Stored) -> Result<(), StoreError> {
        if self.read()? != Stored::default() {
            return Err(StoreError::Foreign);
        }
        let snapshot = founding.snapshot.clone();
        self.write(&Write { snapshot, hard: Some(founding.hard), ..Write::default() })
    }
}
