//! The directory that a file journal lives in, as few calls as it needs: so that tests can break each of them.

use alloc::{string::String, sync::Arc, vec::Vec};
use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

/// A directory of files. Clones are the same directory.
///
/// A change of names lasts when [`Self::sync`] has returned, and a change of a file when its own
/// [`sync`](DiskFile::sync) has; before that any part of it may.
pub trait Disk: Clone + Send + 'static {
    /// A file of it.
    type File: DiskFile;

    /// The names of all files.
    ///
    /// # Errors
    /// Those of the system, as for every call here.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Opens the file to read and to append.
    ///
    /// # Errors
    /// Those of the system.
    fn open(&self, name: &str) -> io::Result<Self::File>;

    /// Makes the file, empty; one that is there becomes empty.
    ///
    /// # Errors
    /// Those of the system.
    fn create(&self, name: &str) -> io::Result<Self::File>;

    /// Gives the file another name, in the place of a file that has it.
    ///
    /// # Errors
    /// Those of the system.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes the file.
    ///
    /// # Errors
    /// Those of the system.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Returns when all changes of names last.
    ///
    /// # Errors
    /// Those of the system: nobody knows which of them last.
    fn sync(&self) -> io::Result<()>;
}

/// An open file.
pub trait DiskFile: Send {
    /// How many bytes it has.
    ///
    /// # Errors
    /// Those of the system.
    fn length(&mut self) -> io::Result<u64>;

    /// Reads bytes from `offset` on, as many as there are at once.
    ///
    /// # Errors
    /// Those of the system.
    fn read(&mut self, offset: u64, into: &mut [u8]) -> io::Result<usize>;

    /// Appends bytes, and says how many of them.
    ///
    /// # Errors
    /// Those of the system.
    fn append(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Returns when its content lasts.
    ///
    /// # Errors
    /// Those of the system: nobody knows what lasts, and no second call can tell.
    fn sync(&mut self) -> io::Result<()>;
}

/// The name of the lock in a [`Directory`].
pub(super) const LOCK: &str = "lock";

/// A directory of the file system, locked for as long as a clone of it lives.
///
/// The lock is the system's advisory lock on a file (`flock` on Unix): it goes with the process, however that ends.
/// Network file systems may not have it.
#[derive(Clone, Debug)]
pub struct Directory {
    path: Arc<PathBuf>,
    _lock: Arc<File>,
}

impl Directory {
    /// Opens and locks the directory at `path`, which is made where it is missing.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] where somebody else has it; those of the system.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref();
        if !path.is_dir() {
            fs::create_dir_all(path)?;
            if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                File::open(parent)?.sync_all()?;
            }
        }
        let lock = OpenOptions::new().write(true).create(true).truncate(false).open(path.join(LOCK))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: Arc::new(path.to_path_buf()), _lock: Arc::new(lock) }),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

impl Disk for Directory {
    type File = File;

    fn list(&self) -> io::Result<Vec<String>> {
        let names = fs::read_dir(self.path.as_path())?.map(|entry| {
            let name = entry?.file_name();
            name.into_string().map_err(|_| io::Error::from(io::ErrorKind::InvalidData))
        });
        let mut names = names.collect::<io::Result<Vec<_>>>()?;
        names.retain(|name| name != LOCK);
        Ok(names)
    }

    fn open(&self, name: &str) -> io::Result<File> {
        OpenOptions::new().read(true).append(true).open(self.path.join(name))
    }

    fn create(&self, name: &str) -> io::Result<File> {
        let path = self.path.join(name);
        // Truncating and appending do not go together in one call.
        File::create(&path)?;
        OpenOptions::new().read(true).append(true).open(path)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync(&self) -> io::Result<()> {
        File::open(self.path.as_path())?.sync_all()
    }
}

impl DiskFile for File {
    fn length(&mut self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read(&mut self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.seek(SeekFrom::Start(offset))?;
        io::Read::read(self, into)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}
