//! A directory for one show, for this user only.

use std::{
    fs::DirBuilder,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    time::SystemTime,
};

use crate::Failure;

/// A directory that is gone when this is dropped.
pub struct Place(PathBuf);

impl Place {
    /// Makes it, with `parts` in it.
    pub fn make(name: &str, parts: &[&str]) -> Result<Self, Failure> {
        let stamp =
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        let path = std::env::temp_dir().join(format!("leasehold-{name}-{}-{stamp}", std::process::id()));
        DirBuilder::new().mode(0o700).create(&path)?;
        for part in parts {
            DirBuilder::new().mode(0o700).create(path.join(part))?;
        }
        Ok(Self(path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
