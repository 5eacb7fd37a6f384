//! A directory for one show, for this user only.

use std::{
    fs::{self, DirBuilder},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    time::SystemTime,
};

use crate::Failure;

/// A directory with the parts that it was made with.
pub struct RunDirectory {
    path: PathBuf,
    kept: bool,
}

impl RunDirectory {
    /// A new directory that is gone when this is dropped.
    pub fn make(name: &str, parts: &[&str]) -> Result<Self, Failure> {
        let stamp =
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        let path = std::env::temp_dir().join(format!("leasehold-{name}-{}-{stamp}", std::process::id()));
        DirBuilder::new().mode(0o700).create(&path)?;
        Self { path, kept: false }.with(parts)
    }

    /// The directory at `path`, which is wanted again.
    pub fn keep(path: &Path, parts: &[&str]) -> Result<Self, Failure> {
        DirBuilder::new().mode(0o700).recursive(true).create(path)?;
        Self { path: path.to_path_buf(), kept: true }.with(parts)
    }

    fn with(mut self, parts: &[&str]) -> Result<Self, Failure> {
        for part in parts {
            DirBuilder::new().mode(0o700).recursive(true).create(self.path.join(part))?;
        }
        self.path = self.path.canonicalize()?;
        Ok(self)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it stays.
    pub fn is_kept(&self) -> bool {
        self.kept
    }
}

impl Drop for RunDirectory {
    fn drop(&mut self) {
        if !self.kept {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}
