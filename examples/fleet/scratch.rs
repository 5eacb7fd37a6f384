//! The scratch directory of one attempt: made for it, removed after it, and looked at again.
//!
//! What a cleanup report says is what that second look found, area by area; nothing is reported gone because
//! somebody asked for it to be removed. The coordinator's process looks at the same place by itself.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use leasehold::{
    digest::Sha256Digest,
    lease::{Fence, RelativePath, Removal, WorkerCleanupReport},
};

use crate::Failure;

/// The areas of a scratch directory, in the order of [`Cleanup`].
const AREAS: [&str; 4] = ["workspace", "artifacts", "logs", "scratch"];

/// What became of the whole directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cleanup {
    /// Inputs, and what the job changed in them.
    pub workspace: Removal,
    /// Outputs, which the store has copies of.
    pub artifacts: Removal,
    /// The log.
    pub logs: Removal,
    /// Everything else the job left, and the directory itself.
    pub scratch: Removal,
}

impl Cleanup {
    /// The report that binds this to a lease.
    pub fn report(self, fence: Fence, lease: Sha256Digest) -> WorkerCleanupReport {
        let Self { workspace, artifacts, logs, scratch } = self;
        WorkerCleanupReport { fence, lease, workspace, artifacts, logs, scratch }
    }

    /// Entries that are gone, and entries that are not.
    pub fn sums(self) -> (u32, u32) {
        let areas = [self.workspace, self.artifacts, self.logs, self.scratch];
        areas
            .iter()
            .fold((0, 0), |(removed, remaining), area| (removed + area.removed, remaining + area.remaining))
    }
}

/// A scratch directory.
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes the directory at `path`. One that is already there is an error: attempts do not share.
    pub fn make(path: PathBuf) -> Result<Self, Failure> {
        if let Some(root) = path.parent() {
            fs::create_dir_all(root)?;
        }
        fs::create_dir(&path)?;
        for area in AREAS {
            fs::create_dir(path.join(area))?;
        }
        Ok(Self(path))
    }

    /// Writes a piece of an input. At offset 0 the file begins, or begins anew.
    pub fn write(&self, path: &RelativePath, offset: u64, content: &[u8]) -> Result<(), Failure> {
        // A relative path of the library cannot climb out.
        let to = self.workspace().join(path.as_str());
        if let Some(directory) = to.parent() {
            fs::create_dir_all(directory)?;
        }
        let mut file =
            OpenOptions::new().create(true).append(offset > 0).write(true).truncate(offset == 0).open(to)?;
        Ok(file.write_all(content)?)
    }

    /// Where inputs are.
    pub fn workspace(&self) -> PathBuf {
        self.0.join(AREAS[0])
    }

    /// Where outputs go.
    pub fn artifacts(&self) -> PathBuf {
        self.0.join(AREAS[1])
    }

    /// The log file.
    pub fn log(&self) -> PathBuf {
        self.0.join(AREAS[2]).join("log")
    }

    /// Where a job may write what it likes.
    pub fn scratch(&self) -> PathBuf {
        self.0.join(AREAS[3])
    }
}

/// Removes the directory at `path` and looks again. One that was never made is clean.
pub fn remove(path: &Path) -> Cleanup {
    let before = AREAS.map(|area| entries(&path.join(area)));
    let all_before = entries(path);
    // What could not be removed is seen by the look, so the error adds nothing.
    let _ = fs::remove_dir_all(path);
    let after = AREAS.map(|area| entries(&path.join(area)));
    let area = |at: usize| Removal { removed: before[at].saturating_sub(after[at]), remaining: after[at] };
    // Whatever lies beside the named areas counts as scratch, with the directory itself.
    let others = |all: u32, named: [u32; 4]| all.saturating_sub(named.iter().take(3).sum());
    let (was, is) = (others(all_before, before), others(entries(path), after));
    Cleanup {
        workspace: area(0),
        artifacts: area(1),
        logs: area(2),
        scratch: Removal { removed: was.saturating_sub(is), remaining: is },
    }
}

/// How many entries there are at and below `path`, links not followed. A place that cannot be looked at counts as
/// one entry: what nobody could see is not known to be gone.
pub fn entries(path: &Path) -> u32 {
    match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Ok(facts) if facts.is_dir() => match fs::read_dir(path) {
            Ok(below) => below.fold(1, |sum: u32, entry| {
                sum.saturating_add(entry.map_or(1, |entry| entries(&entry.path())))
            }),
            Err(_) => 1,
        },
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is reported is what is there, area by area.
    #[test]
    fn the_report_is_what_the_second_look_finds() {
        let root = std::env::temp_dir().join(format!("leasehold-scratch-{}", std::process::id()));
        let path = root.join("run.1");
        let scratch = Scratch::make(path.clone()).unwrap_or_else(|error| panic!("{error}"));
        fs::write(scratch.log(), "x").unwrap_or_default();
        fs::write(path.join("beside"), "x").unwrap_or_default();
        assert_eq!(entries(&path), 7);
        assert!(Scratch::make(path.clone()).is_err(), "attempts do not share a directory");
        let cleanup = remove(&path);
        let gone = |removed| Removal { removed, remaining: 0 };
        let want = Cleanup { workspace: gone(1), artifacts: gone(1), logs: gone(2), scratch: gone(3) };
        assert_eq!(cleanup, want);
        assert_eq!(entries(&path), 0);
        fs::remove_dir_all(root).unwrap_or_default();
    }
}
