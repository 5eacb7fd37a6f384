//! The `pair` example as a whole: two terminals as processes, played by its own script, which looks at them from outside.
//!
//! What it proves: pairing by QR code, PIN and comparison, a rejection, and after each pairing the life of the device in
//! the fleet: work, rotation, revocation in the middle of a lease, refusal.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a test of processes waits for them")]

use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::Mutex,
    time::SystemTime,
};

type Outcome = Result<(), Box<dyn Error>>;

/// When the newest file below `path` was changed.
fn newest(path: &Path) -> Result<SystemTime, Box<dyn Error>> {
    let facts = path.metadata()?;
    if !facts.is_dir() {
        return Ok(facts.modified()?);
    }
    let mut below = fs::read_dir(path)?.map(|entry| newest(&entry?.path()));
    below.try_fold(SystemTime::UNIX_EPOCH, |latest, changed| Ok(latest.max(changed?)))
}

/// The example's executable: `cargo test` builds examples next to the tests. Where only this test was asked for it is
/// missing, or older than its sources, and is built here.
fn pair() -> Result<PathBuf, Box<dyn Error>> {
    static BUILD: Mutex<()> = Mutex::new(());
    let _one_at_a_time = BUILD.lock();
    let test = std::env::current_exe()?;
    let profile = test.parent().and_then(|deps| deps.parent()).ok_or("a test runs in target/PROFILE/deps")?;
    let path = profile.join("examples").join("pair");
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources = ["src", "examples/fleet", "examples/pair"].map(|part| newest(&package.join(part)));
    let sources = sources
        .into_iter()
        .try_fold(SystemTime::UNIX_EPOCH, |latest, changed| changed.map(|changed| latest.max(changed)))?;
    if !path.exists() || newest(&path)? < sources {
        let release = profile.ends_with("release").then_some("--release");
        let built =
            Command::new(env!("CARGO")).args(["build", "--example", "pair"]).args(release).status()?;
        assert!(built.success(), "the example does not build");
    }
    Ok(path)
}

fn shown(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{}\n{out}\n{err}", output.status)
}

/// Plays one way and gives the steps that the script saw.
fn script(way: &str) -> Result<Vec<String>, Box<dyn Error>> {
    let output = Command::new(pair()?).args(["--script", way]).stdin(Stdio::null()).output()?;
    assert!(output.status.success(), "{}", shown(&output));
    assert!(output.stderr.is_empty(), "{}", shown(&output));
    let text = String::from_utf8(output.stdout)?;
    assert!(text.ends_with("every step was seen\n"), "{text}");
    Ok(text.lines().filter_map(|line| line.strip_prefix("seen: ")).map(str::to_owned).collect())
}

/// Steps that every pairing which is approved leads to.
const LIFE: [&str; 8] = [
    "the operator is asked",
    "approved",
    "the device joined the fleet and did a job",
    "the device rotated its certificate",
    "the old certificate is refused",
    "revoked in the middle of a job",
    "the revoked device comes back and is refused",
    "no secret was shown",
];

fn lives(steps: &[String]) {
    let mut steps = steps.iter();
    for step in LIFE {
        assert!(steps.any(|seen| seen.starts_with(step)), "not seen, or not in this order: {step}");
    }
}

/// Issue 6, item 9.
#[test]
fn a_device_pairs_by_qr_code_works_rotates_and_is_revoked() -> Outcome {
    let steps = script("qr")?;
    assert!(steps[0].contains("draws the QR code"), "{steps:?}");
    lives(&steps);
    Ok(())
}

#[test]
fn a_device_pairs_by_pin_works_rotates_and_is_revoked() -> Outcome {
    let steps = script("pin")?;
    assert!(steps[0].starts_with("somebody who guesses the PIN"), "{steps:?}");
    lives(&steps);
    Ok(())
}

#[test]
fn a_device_pairs_by_comparison_works_rotates_and_is_revoked() -> Outcome {
    lives(&script("compare")?);
    Ok(())
}

#[test]
fn a_rejected_device_gets_nothing() -> Outcome {
    let steps = script("reject")?;
    assert!(steps.iter().any(|step| step.starts_with("the operator says no")), "{steps:?}");
    assert!(!steps.iter().any(|step| step.starts_with("approved")), "{steps:?}");
    Ok(())
}
