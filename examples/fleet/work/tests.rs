//! Attempts in real directories.

use super::*;
use crate::{
    jobs::Transform,
    tls::{self, Authority, Purpose},
};

struct World {
    root: PathBuf,
    around: Surroundings,
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

fn world(name: &str) -> Result<World, Failure> {
    let root = std::env::temp_dir().join(format!("leasehold-work-{name}-{}", std::process::id()));
    fs::create_dir_all(root.join("store"))?;
    let authority = Authority::new("test")?;
    let device = authority.issue("device", Purpose::Client)?;
    let route = Route {
        address: ([127, 0, 0, 1], 9).into(),
        config: tls::client(Some(&device), &authority.root())?,
        fingerprint: device.fingerprint(),
        origins: tls::client(None, &authority.root())?,
    };
    let around = Surroundings {
        store: Store::at(root.join("store")),
        route,
        lease: "Lease 1.1".into(),
        attempt: 1,
        stop: Arc::new(AtomicBool::new(false)),
        doomed: Box::new(|| {}),
    };
    Ok(World { root, around })
}

impl World {
    fn named(&self, path: &str, content: &[u8]) -> Result<Named, Failure> {
        let sha256 = self.around.store.put(content)?;
        Ok(Named { path: path.into(), sha256, bytes: content.len() as u64 })
    }

    fn perform(&self, work: &Work, input: &[u8]) -> Result<Finished, Failure> {
        let job = serde_json::json!({ "id": "test", "do": work });
        let inputs = [self.named(TASK, job.to_string().as_bytes())?, self.named(INPUT, input)?];
        Ok(perform(self.root.join("scratch/test"), &inputs, &self.around))
    }
}

/// Every checked kind makes what the second making expects, and leaves nothing.
#[test]
fn outputs_are_what_they_must_be_and_nothing_is_left() -> Result<(), Failure> {
    let world = world("outputs")?;
    let table: &[(Work, &[u8])] = &[
        (Work::Hash { file: "x".into() }, b"abc"),
        (Work::Words { file: "x".into() }, b"a b\nc"),
        (Work::Transform { with: Transform::SortLines, file: None, text: Some(String::new()) }, b"b\na\n"),
    ];
    for (work, input) in table {
        let finished = world.perform(work, input)?;
        let (path, want) = expected(work, input).ok_or_else(|| Failure::new("an expectation"))?;
        assert_eq!(finished.verdict, Verdict::Done);
        assert_eq!(finished.outputs, [world.named(path, &want)?]);
        let log = world.around.store.get(&finished.log)?;
        assert_eq!(log, b"test attempt 1\n");
        let left = finished.cleanup.workspace.remaining
            + finished.cleanup.artifacts.remaining
            + finished.cleanup.logs.remaining
            + finished.cleanup.scratch.remaining;
        assert_eq!((left, scratch::entries(&world.root.join("scratch/test"))), (0, 0));
        assert_eq!(finished.cleanup.artifacts.removed, 2);
    }
    Ok(())
}

/// A job that fails, an input that is not what the lease names, and a job that is told to stop.
#[test]
fn what_ends_badly_ends_clean() -> Result<(), Failure> {
    let world = world("bad")?;
    let failed = world.perform(&Work::Fail { message: "no".into() }, b"")?;
    assert_eq!(failed.verdict, Verdict::Failed("no".into()));
    let input = world.named(INPUT, b"right")?;
    fs::write(world.root.join("store").join(input.sha256.to_string()), b"wrong")?;
    let tampered = perform(world.root.join("scratch/test"), &[input], &world.around);
    assert!(matches!(tampered.verdict, Verdict::Failed(why) if why.contains("other bytes")));
    world.around.stop.store(true, Ordering::Relaxed);
    let stopped = world.perform(&Work::Overrun { attempts: 1 }, b"")?;
    assert_eq!(stopped.verdict, Verdict::Stopped);
    assert_eq!(scratch::entries(&world.root.join("scratch/test")), 0);
    Ok(())
}
