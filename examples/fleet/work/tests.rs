//! Attempts in real directories.

use std::path::PathBuf;

use super::*;
use crate::{jobs::Transform, scratch};

struct World {
    root: PathBuf,
    around: Surroundings,
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

fn world(name: &str) -> World {
    let root = std::env::temp_dir().join(format!("leasehold-work-{name}-{}", std::process::id()));
    let around = Surroundings {
        get: Box::new(|_| Err(Failure::new("nothing is there"))),
        attempt: 1,
        limits: (1 << 20, 1 << 16),
        stop: Arc::new(AtomicBool::new(false)),
        doomed: Box::new(|| {}),
    };
    World { root, around }
}

impl World {
    fn perform(&self, work: &Work, input: &[u8], promised: &[u8]) -> Result<Made, Failure> {
        let job = serde_json::json!({ "id": "test", "do": work }).to_string().into_bytes();
        let directory = Scratch::make(self.root.join("scratch/test"))?;
        directory.write(&path(TASK)?, 0, &job)?;
        directory.write(&path(INPUT)?, 0, input)?;
        let entries = [Artifact::of(path(TASK)?, &job), Artifact::of(path(INPUT)?, promised)];
        let made =
            perform(&directory, &ArtifactManifest::new(entries).map_err(Failure::coded)?, &self.around);
        let cleanup = scratch::remove(&self.root.join("scratch/test"));
        let areas = [cleanup.workspace, cleanup.artifacts, cleanup.logs, cleanup.scratch];
        assert!(areas.iter().all(|area| area.remaining == 0));
        assert_eq!(scratch::entries(&self.root.join("scratch/test")), 0);
        Ok(made)
    }
}

fn path(text: &str) -> Result<RelativePath, Failure> {
    RelativePath::new(text).map_err(Failure::coded)
}

/// Every checked kind makes what the second making expects, and leaves nothing.
#[test]
fn outputs_are_what_they_must_be_and_nothing_is_left() -> Result<(), Failure> {
    let world = world("outputs");
    let table: &[(Work, &[u8])] = &[
        (Work::Hash { file: "x".into() }, b"abc"),
        (Work::Words { file: "x".into() }, b"a b\nc"),
        (Work::Transform { with: Transform::SortLines, file: None, text: Some(String::new()) }, b"b\na\n"),
    ];
    for (work, input) in table {
        let made = world.perform(work, input, input)?;
        let (name, want) = expected(work, input).ok_or_else(|| Failure::new("an expectation"))?;
        assert_eq!(made.verdict, Verdict::Done);
        assert_eq!(made.outputs, [(path(name)?, want)]);
        assert_eq!(made.log, b"test attempt 1\n");
    }
    Ok(())
}

/// What is over the limits of the lease is not sent: the run has failed, and says by how much, whatever it made.
#[test]
fn an_excess_is_a_failure_and_is_not_sent() -> Result<(), Failure> {
    let mut world = world("excess");
    let sort = Work::Transform { with: Transform::SortLines, file: None, text: Some(String::new()) };
    world.around.limits = (4, 1 << 16);
    assert_eq!(world.perform(&sort, b"b\na\n", b"b\na\n")?.verdict, Verdict::Done);
    world.around.limits = (3, 1 << 16);
    let made = world.perform(&sort, b"b\na\n", b"b\na\n")?;
    assert!(matches!(&made.verdict, Verdict::Failed(why) if why.starts_with("artifact.too_large: ")));
    assert!(made.outputs.is_empty() && String::from_utf8_lossy(&made.log).contains("artifact.too_large"));
    world.around.limits = (4, 5);
    let made = world.perform(&sort, b"b\na\n", b"b\na\n")?;
    assert!(matches!(&made.verdict, Verdict::Failed(why) if why.starts_with("artifact.log: ")));
    assert_eq!(made.log, b"test ");
    Ok(())
}

/// A job that fails, an input that is not what the lease names, and a job that is told to stop.
#[test]
fn what_ends_badly_ends_clean() -> Result<(), Failure> {
    let world = world("bad");
    let failed = world.perform(&Work::Fail { message: "no".into() }, b"", b"")?;
    assert_eq!(failed.verdict, Verdict::Failed("no".into()));
    let tampered = world.perform(&Work::Hash { file: "x".into() }, b"wrong", b"right")?;
    assert!(matches!(tampered.verdict, Verdict::Failed(why) if why.contains("not the one")));
    world.around.stop.store(true, Ordering::Relaxed);
    let stopped = world.perform(&Work::Overrun { attempts: 1 }, b"", b"")?;
    assert_eq!(stopped.verdict, Verdict::Stopped);
    Ok(())
}
