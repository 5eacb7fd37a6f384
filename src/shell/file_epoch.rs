//! Epochs in a directory: one small file for the newest, claimed so that no two processes get the same.

use alloc::{format, string::String, vec::Vec};
use core::sync::atomic::{AtomicU64, Ordering};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    process,
};

use super::{
    epoch::{EpochStore, EpochStoreError},
    fault::{StoreFault, at, make_directory},
};
use crate::{digest::Sha256Digest, lease::Epoch};

const PREFIX: &str = "epoch-";
const DRAFT: &str = "draft-";
/// How often it tries again where others claim epochs at the same time.
const TRIES: u32 = 64;

/// Epochs in a directory of their own.
///
/// A new epoch is written to a draft, synced, and linked to the name of its number, which fails where that number
/// is taken; then the directory is synced. It counts only if it is then the highest. So a crash at any point loses
/// at most a number, and processes that share the directory never share an epoch. It needs a file system with
/// hard links, and one machine: over a network file system use a replicated log's term instead.
///
/// ```
/// use leasehold::{lease::Epoch, shell::{EpochStore as _, FileEpochStore}};
/// # let dir = std::env::temp_dir().join(format!("leasehold-epoch-{}", std::process::id()));
/// let mut store = FileEpochStore::open(&dir)?;
/// let first = store.next(Epoch(0))?;
/// assert!(store.next(Epoch(0))? > first);
/// # std::fs::remove_dir_all(&dir).ok();
/// # Ok::<(), leasehold::shell::EpochStoreError>(())
/// ```
#[derive(Debug)]
pub struct FileEpochStore {
    directory: PathBuf,
}

/// What the system said about `path`.
fn failed(path: &Path) -> impl Fn(io::Error) -> EpochStoreError + use<'_> {
    |error| EpochStoreError::Io(StoreFault::from(&at(path)(error)))
}

fn content(epoch: u64) -> String {
    let digest = Sha256Digest::of(format!("leasehold epoch {epoch}").as_bytes());
    format!("{epoch} {digest}\n")
}

impl FileEpochStore {
    /// The store in `directory`, which is made where it is missing, with what is missing above it, and lasts then.
    ///
    /// # Errors
    /// [`EpochStoreError::Io`].
    pub fn open(directory: impl AsRef<Path>) -> Result<Self, EpochStoreError> {
        let directory = directory.as_ref().to_path_buf();
        make_directory(&directory).map_err(|error| EpochStoreError::Io(StoreFault::from(&error)))?;
        Ok(Self { directory })
    }

    /// The epochs that are there, and the drafts that a crash left behind.
    fn list(&self) -> Result<(Vec<u64>, Vec<PathBuf>), EpochStoreError> {
        let (mut epochs, mut drafts) = (Vec::new(), Vec::new());
        for entry in fs::read_dir(&self.directory).map_err(failed(&self.directory))? {
            let entry = entry.map_err(failed(&self.directory))?;
            let name = entry.file_name();
            let name = name.to_str().ok_or(EpochStoreError::Malformed)?;
            if name.starts_with(DRAFT) {
                drafts.push(entry.path());
                continue;
            }
            let number = name.strip_prefix(PREFIX).filter(|digits| digits.len() == 20);
            let epoch = number.and_then(|digits| digits.parse().ok()).ok_or(EpochStoreError::Malformed)?;
            epochs.push(epoch);
        }
        epochs.sort_unstable();
        Ok((epochs, drafts))
    }

    fn path(&self, epoch: u64) -> PathBuf {
        self.directory.join(format!("{PREFIX}{epoch:020}"))
    }

    /// The newest epoch that was given out, where there is one.
    ///
    /// # Errors
    /// [`EpochStoreError::Malformed`] where the directory holds anything that this store did not write.
    pub fn newest(&self) -> Result<Option<Epoch>, EpochStoreError> {
        let Some(epoch) = self.list()?.0.pop() else { return Ok(None) };
        let path = self.path(epoch);
        match fs::read_to_string(&path) {
            Ok(text) if text == content(epoch) => Ok(Some(Epoch(epoch))),
            Ok(_) => Err(EpochStoreError::Malformed),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(EpochStoreError::Malformed),
            Err(error) => Err(failed(&path)(error)),
        }
    }

    /// Claims `epoch`; false where somebody else has it, or a later one.
    fn claim(&self, epoch: u64) -> Result<bool, EpochStoreError> {
        static DRAFTS: AtomicU64 = AtomicU64::new(0);
        let unique = DRAFTS.fetch_add(1, Ordering::Relaxed);
        let draft = self.directory.join(format!("{DRAFT}{}-{unique}", process::id()));
        let open = OpenOptions::new().write(true).create(true).truncate(true).open(&draft);
        let mut file = open.map_err(failed(&draft))?;
        file.write_all(content(epoch).as_bytes()).map_err(failed(&draft))?;
        file.sync_all().map_err(failed(&draft))?;
        let path = self.path(epoch);
        match fs::hard_link(&draft, &path) {
            Ok(()) => {}
            // NotFound: another process tidied the draft away.
            Err(error) if matches!(error.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound) => {
                return Ok(false);
            }
            Err(error) => return Err(failed(&path)(error)),
        }
        let synced = File::open(&self.directory).and_then(|directory| directory.sync_all());
        synced.map_err(failed(&self.directory))?;
        Ok(self.list()?.0.last() == Some(&epoch))
    }

    /// Removes what is older than `epoch`. It may fail: the newest is what counts.
    fn tidy(&self, epoch: u64) {
        let Ok((epochs, drafts)) = self.list() else { return };
        for older in epochs.into_iter().filter(|older| *older < epoch) {
            let _ = fs::remove_file(self.path(older));
        }
        for draft in drafts {
            let _ = fs::remove_file(draft);
        }
    }
}

impl EpochStore for FileEpochStore {
    fn next(&mut self, floor: Epoch) -> Result<Epoch, EpochStoreError> {
        let mut busy = EpochStoreError::Busy;
        for _ in 0..TRIES {
            let newest = match self.newest() {
                Ok(newest) => newest.unwrap_or_default(),
                // A later claim may have tidied it away between listing and reading.
                Err(error @ EpochStoreError::Io(_)) => {
                    busy = error;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let next = newest.max(floor).0.checked_add(1).ok_or(EpochStoreError::Exhausted)?;
            if self.claim(next)? {
                self.tidy(next);
                return Ok(Epoch(next));
            }
        }
        Err(busy)
    }
}
