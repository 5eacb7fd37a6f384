//! Where the executables of examples are, for tests that run them.

use std::{
    error::Error,
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
    time::SystemTime,
};

/// When the newest file below `path` was changed.
fn newest(path: &Path) -> Result<SystemTime, Box<dyn Error>> {
    let facts = path.metadata()?;
    if !facts.is_dir() {
        return Ok(facts.modified()?);
    }
    let mut below = std::fs::read_dir(path)?.map(|entry| newest(&entry?.path()));
    below.try_fold(SystemTime::UNIX_EPOCH, |latest, changed| Ok(latest.max(changed?)))
}

/// An example's executable: `cargo test` builds examples next to the tests. Where only one test was asked for, or the
/// example has tests of its own and is built as these, it is missing or older than its `sources`, and is built here. All
/// features, as the tests themselves have them: in a checkout by the dev-dependency on this crate, in the published crate
/// by the command.
pub fn built(example: &str, sources: &[&str]) -> Result<PathBuf, Box<dyn Error>> {
    static BUILD: Mutex<()> = Mutex::new(());
    let _one_at_a_time = BUILD.lock();
    let test = std::env::current_exe()?;
    let profile = test.parent().and_then(|deps| deps.parent()).ok_or("a test runs in target/PROFILE/deps")?;
    let path = profile.join("examples").join(example);
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let newest_source = sources.iter().try_fold(SystemTime::UNIX_EPOCH, |latest, part| {
        newest(&package.join(part)).map(|own| latest.max(own))
    })?;
    if !path.exists() || newest(&path)? < newest_source {
        let release = profile.ends_with("release").then_some("--release");
        let built = Command::new(env!("CARGO"))
            .args(["build", "--all-features", "--example", example])
            .args(release)
            .status()?;
        assert!(built.success(), "the example does not build");
    }
    Ok(path)
}
