//! A disk in memory that keeps any prefix of what was not synced.

use alloc::{collections::BTreeMap, string::String, sync::Arc, vec::Vec};
use std::{
    io::{self, ErrorKind},
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::shell::{Disk, DiskFile};

#[derive(Clone, Debug, Default)]
struct Inode {
    content: Vec<u8>,
    synced: usize,
}

#[derive(Clone, Debug, Default)]
struct Platter {
    names: BTreeMap<String, usize>,
    inodes: Vec<Inode>,
    /// The power is failing: nothing is synced any more.
    failing: bool,
}

/// The disk. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub(super) struct SimDisk(Arc<Mutex<Platter>>);

impl SimDisk {
    fn platter(&self) -> MutexGuard<'_, Platter> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another disk with the same content.
    pub(super) fn copy(&self) -> Self {
        Self(Arc::new(Mutex::new(self.platter().clone())))
    }

    /// From here on nothing lasts, and whoever syncs is told so.
    pub(super) fn begin_to_fail(&self) {
        self.platter().failing = true;
    }

    /// How many bytes were written and not synced.
    pub(super) fn unsynced(&self) -> usize {
        self.platter().inodes.iter().map(|inode| inode.content.len() - inode.synced).sum()
    }

    /// The process is gone, and of what was not synced the first `kept` bytes are left.
    pub(super) fn restart(&self, kept: usize) {
        let mut platter = self.platter();
        platter.failing = false;
        let (mut left, used) = (kept, platter.names.values().copied().collect::<Vec<_>>());
        for (at, inode) in platter.inodes.iter_mut().enumerate() {
            let keep = left.min(inode.content.len() - inode.synced);
            left -= keep;
            inode.content.truncate(inode.synced + keep);
            inode.synced = inode.content.len();
            if !used.contains(&at) {
                *inode = Inode::default();
            }
        }
    }
}

/// An open file of a [`SimDisk`].
#[derive(Debug)]
pub(super) struct SimFile(SimDisk, usize);

impl Disk for SimDisk {
    type File = SimFile;

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.platter().names.keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<SimFile> {
        let at = self.platter().names.get(name).copied().ok_or(ErrorKind::NotFound)?;
        Ok(SimFile(self.clone(), at))
    }

    fn create(&self, name: &str) -> io::Result<SimFile> {
        let mut platter = self.platter();
        let at = platter.inodes.len();
        platter.inodes.push(Inode::default());
        platter.names.insert(name.into(), at);
        Ok(SimFile(self.clone(), at))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut platter = self.platter();
        let at = platter.names.remove(from).ok_or(ErrorKind::NotFound)?;
        platter.names.insert(to.into(), at);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.platter().names.remove(name).map(drop).ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn sync(&self) -> io::Result<()> {
        if self.platter().failing { Err(io::Error::other("the power is failing")) } else { Ok(()) }
    }
}

impl DiskFile for SimFile {
    fn length(&mut self) -> io::Result<u64> {
        Ok(self.0.platter().inodes[self.1].content.len() as u64)
    }

    fn read(&mut self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let platter = self.0.platter();
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let rest = platter.inodes[self.1].content.get(offset..).unwrap_or_default();
        let count = rest.len().min(into.len());
        into[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.platter().inodes[self.1].content.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut platter = self.0.platter();
        if platter.failing {
            return Err(io::Error::other("the power is failing"));
        }
        let inode = &mut platter.inodes[self.1];
        inode.synced = inode.content.len();
        Ok(())
    }
}
