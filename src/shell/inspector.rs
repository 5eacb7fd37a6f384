//! Somebody other than the worker who looks at what the worker says that it cleaned up.

use crate::lease::{Inspection, WorkerLease};

/// Looks at what is left of a lease, on the coordinator's side.
pub trait Inspector {
    /// What is left. `None` where nobody could look, which a fleet that wants cleanup inspected does not accept.
    fn inspect(&mut self, lease: &WorkerLease) -> Option<Inspection>;
}

#[cfg(feature = "std")]
pub use directory::DirectoryInspector;

#[cfg(feature = "std")]
mod directory {
    use alloc::vec::Vec;
    use std::{
        fs, io,
        path::{Path, PathBuf},
    };

    use super::{Inspection, Inspector, WorkerLease};

    /// The most entries that are counted; more are as bad.
    const MAX_ENTRIES: u64 = 100_000;

    /// Looks into the directory in which workers of this machine keep their workspaces.
    ///
    /// What it counts are the entries at and below the root of the lease's workspace, links not followed.
    #[derive(Clone, Debug)]
    pub struct DirectoryInspector {
        root: PathBuf,
    }

    impl DirectoryInspector {
        /// Looks below `root`.
        pub fn new(root: impl AsRef<Path>) -> Self {
            Self { root: root.as_ref().to_path_buf() }
        }
    }

    impl Inspector for DirectoryInspector {
        fn inspect(&mut self, lease: &WorkerLease) -> Option<Inspection> {
            let path = self.root.join(lease.terms.workspace.root().as_str());
            count(path).ok().map(Inspection::found)
        }
    }

    fn count(path: PathBuf) -> io::Result<u64> {
        let mut remaining = 0_u64;
        let mut waiting = Vec::from([path]);
        while let Some(path) = waiting.pop() {
            let kind = match fs::symlink_metadata(&path) {
                Ok(metadata) => metadata.file_type(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            remaining = remaining.saturating_add(1);
            if remaining >= MAX_ENTRIES {
                break;
            }
            if kind.is_dir() {
                for entry in fs::read_dir(&path)? {
                    waiting.push(entry?.path());
                }
            }
        }
        Ok(remaining)
    }
}
