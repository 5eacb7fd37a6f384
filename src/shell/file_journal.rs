//! A journal in one file: append, then sync.

use alloc::vec::Vec;
use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Seek as _, Write as _},
    path::Path,
};

use super::journal::{Journal, JournalError};
use crate::chain::whole_records;

/// A journal in one append-only file, one `fdatasync` for each batch.
///
/// After a failed write it takes nothing more: nobody knows what lasts (a second `fsync` may succeed without having
/// written what the first one lost). Open it anew and recover.
#[derive(Debug)]
pub struct FileJournal {
    file: File,
    failed: bool,
}

impl FileJournal {
    /// Opens the journal at `path`, or begins one. The torn tail of an append that a crash cut short is cut off.
    ///
    /// # Errors
    /// The error of the file system.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref();
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let whole = whole_records(&bytes);
        if whole < bytes.len() {
            file.set_len(u64::try_from(whole).map_err(io::Error::other)?)?;
            file.sync_all()?;
        }
        // The file's own entry in its directory has to last as well.
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new(".")))?.sync_all()?;
        Ok(Self { file, failed: false })
    }
}

impl Journal for FileJournal {
    fn append(&mut self, batch: &[u8]) -> Result<(), JournalError> {
        if self.failed {
            return Err(JournalError);
        }
        self.file.write_all(batch).and_then(|()| self.file.sync_data()).map_err(|_| {
            self.failed = true;
            JournalError
        })
    }

    fn read(&mut self) -> Result<Vec<u8>, JournalError> {
        let mut bytes = Vec::new();
        let read = self.file.rewind().and_then(|()| self.file.read_to_end(&mut bytes));
        read.map(|_| bytes).map_err(|_| JournalError)
    }
}
