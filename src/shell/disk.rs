//! The directory that a file journal lives in, as few calls as it needs: so that tests can break each of them.

use alloc::{string::String, sync::Arc, vec::Vec};
use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use super::fault::{at, make_directory};

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
    /// Opens and locks the directory at `path`, which is made where it is missing, with what is missing above it, and lasts
    /// then.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] where somebody else has it; those of the system.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref();
        make_directory(path)?;
        let lock_path = path.join(LOCK);
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&lock_path)
            .map_err(at(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: Arc::new(path.to_path_buf()), _lock: Arc::new(lock) }),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => Err(at(&lock_path)(error)),
        }
    }
}

/// An open file of a [`Directory`]. Its errors say its path.
#[derive(Debug)]
pub struct NamedFile {
    file: File,
    path: Arc<PathBuf>,
}

impl Disk for Directory {
    type File = NamedFile;

    fn list(&self) -> io::Result<Vec<String>> {
        let names = fs::read_dir(self.path.as_path()).map_err(at(&self.path))?.map(|entry| {
            let name = entry?.file_name();
            name.into_string().map_err(|_| io::Error::from(io::ErrorKind::InvalidData))
        });
        let mut names = names.collect::<io::Result<Vec<_>>>().map_err(at(&self.path))?;
        names.retain(|name| name != LOCK);
        Ok(names)
    }

    fn open(&self, name: &str) -> io::Result<NamedFile> {
        let path = self.path.join(name);
        let file = OpenOptions::new().read(true).append(true).open(&path).map_err(at(&path))?;
        Ok(NamedFile { file, path: Arc::new(path) })
    }

    fn create(&self, name: &str) -> io::Result<NamedFile> {
        let path = self.path.join(name);
        // Truncating and appending do not go together in one call.
        File::create(&path).map_err(at(&path))?;
        self.open(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let (from, to) = (self.path.join(from), self.path.join(to));
        fs::rename(from, &to).map_err(at(&to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let path = self.path.join(name);
        fs::remove_file(&path).map_err(at(&path))
    }

    fn sync(&self) -> io::Result<()> {
        File::open(self.path.as_path()).and_then(|directory| directory.sync_all()).map_err(at(&self.path))
    }
}

impl DiskFile for NamedFile {
    fn length(&mut self) -> io::Result<u64> {
        Ok(self.file.metadata().map_err(at(&self.path))?.len())
    }

    fn read(&mut self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.file.seek(SeekFrom::Start(offset)).map_err(at(&self.path))?;
        io::Read::read(&mut self.file, into).map_err(at(&self.path))
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes).map_err(at(&self.path))
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data().map_err(at(&self.path))
    }
}
