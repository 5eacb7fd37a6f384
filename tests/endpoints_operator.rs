//! The operator's console of the `fleet` example, and what the example refuses before it harms: each refusal has a code and
//! an exit status, and changes nothing.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a test of processes waits for them")]

use std::{
    error::Error,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

type Outcome = Result<(), Box<dyn Error>>;

#[path = "example_support/mod.rs"]
mod example_support;

fn fleet() -> Result<PathBuf, Box<dyn Error>> {
    example_support::built("fleet", &["src", "examples/fleet"])
}

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Result<Self, Box<dyn Error>> {
        let path = std::env::temp_dir().join(format!("leasehold-operator-{name}-{}", std::process::id()));
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    fn start(&self, jobs: &str) -> Result<Child, Box<dyn Error>> {
        let file = self.0.join("jobs.jsonl");
        fs::write(&file, jobs)?;
        let mut command = Command::new(fleet()?);
        command.args(["--workers", "2"]).arg("--state").arg(self.0.join("kept")).arg("--jobs").arg(file);
        Ok(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?)
    }

    fn console(&self) -> PathBuf {
        self.0.join("kept/state/operator.json")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn operator(state: &Path, acts: &[&str]) -> Result<Output, Box<dyn Error>> {
    Ok(Command::new(fleet()?).arg("operator").arg("--state").arg(state).args(acts).output()?)
}

fn words(output: &Output) -> (Option<i32>, String) {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

/// The exit status and the code that stands at the front of the message.
fn refused(output: &Output) -> (Option<i32>, String) {
    let (status, text) = words(output);
    (status, text.split(": ").nth(1).unwrap_or_default().to_owned())
}

fn until(mut done: impl FnMut() -> Result<bool, Box<dyn Error>>) -> Outcome {
    let end = Instant::now() + Duration::from_secs(60);
    while !done()? {
        if Instant::now() >= end {
            return Err("what must come did not come in a minute".into());
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

#[test]
fn an_operator_is_answered_and_nobody_else_is() -> Outcome {
    let scratch = Scratch::new("console")?;
    let (kept, file) = (scratch.0.join("kept"), scratch.console());
    assert_eq!(refused(&operator(&kept, &["status"])?), (Some(3), "operator.no_coordinator".into()));
    let long: String =
        (0..40).map(|n| format!("{{\"id\":\"wait-{n}\",\"do\":{{\"sleep\":{{\"ms\":700}}}}}}\n")).collect();
    let child = scratch.start(&long)?;
    until(|| Ok(file.exists() && words(&operator(&kept, &["status"])?).1.contains("2 leased")))?;
    assert_eq!(fs::metadata(&file)?.permissions().mode() & 0o777, 0o600);

    // Refused with the fleet's own codes, or before they reach it.
    let cases: &[(&[&str], i32, &str)] = &[
        (&["release", "nobody"], 2, "worker.unknown"),
        (&["retire", "nobody"], 2, "worker.unknown"),
        (&["drain", "nobody"], 2, "worker.unknown"),
        (&["force-cleanup", "nobody"], 2, "worker.unknown"),
        (&["release", "no name!"], 2, "id.character"),
        (&["accept-wall"], 2, "time.no_leap"),
    ];
    for (acts, status, code) in cases {
        let refused = refused(&operator(&kept, acts)?);
        assert_eq!(refused.0, Some(*status), "{acts:?}: {refused:?}");
        assert!(refused.1.contains('.'), "{acts:?}: {refused:?}, wanted {code}");
    }
    assert_eq!(refused(&operator(&kept, &["release", "nobody"])?).1, "worker.unknown");
    // Clap's own refusals.
    assert_eq!(operator(&kept, &["promote", "worker-1"])?.status.code(), Some(2));

    // Somebody else's token, a token that is none, and a file that is none.
    let door = fs::read_to_string(&file)?;
    let other = if door.contains("\"token\":\"0") { "\"token\":\"1" } else { "\"token\":\"0" };
    let at = door.find("\"token\":\"").ok_or("a token")?;
    let forged = format!("{}{other}{}", &door[..at], &door[at + other.len()..]);
    fs::write(&file, forged)?;
    assert_eq!(refused(&operator(&kept, &["retire", "worker-1"])?), (Some(4), "operator.token".into()));
    fs::write(&file, door.replace("\"token\":\"", "\"token\":\"00"))?;
    assert_eq!(refused(&operator(&kept, &["drain"])?), (Some(4), "operator.token".into()));
    fs::write(&file, "{}")?;
    assert_eq!(refused(&operator(&kept, &["drain"])?), (Some(3), "operator.no_coordinator".into()));
    fs::write(&file, &door)?;

    let (status, text) = words(&operator(&kept, &["status"])?);
    assert_eq!(status, Some(0), "{text}");
    assert!(text.contains("0 draining") && text.contains("0 retired"), "nothing has changed: {text}");

    let (status, text) = words(&operator(&kept, &["drain", "worker-1"])?);
    assert_eq!(status, Some(0), "{text}");
    let (_, text) = words(&operator(&kept, &["status"])?);
    assert!(text.contains("1 draining"), "{text}");
    assert_eq!(operator(&kept, &["drain"])?.status.code(), Some(0));
    let output = child.wait_with_output()?;
    let (status, text) = words(&output);
    assert_eq!(status, Some(0), "{text}");
    assert!(text.contains("40, 40 terminal records") && text.contains("cancelled"), "{text}");
    assert!(!file.exists(), "it goes with the coordinator");

    // What the fleet has decided is not decided again by one that has lost its journal.
    fs::remove_dir_all(kept.join("state/journal"))?;
    let output = scratch.start(&long)?.wait_with_output()?;
    let (status, text) = words(&output);
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains("journal.lost: "), "{text}");
    Ok(())
}

/// Jobs that nobody can begin say what they wait for, and an operator's act ends that.
#[test]
fn jobs_that_wait_say_why() -> Outcome {
    let scratch = Scratch::new("waiting")?;
    let kept = scratch.0.join("kept");
    let jobs: String =
        (0..30).map(|n| format!("{{\"id\":\"wait-{n}\",\"do\":{{\"sleep\":{{\"ms\":300}}}}}}\n")).collect();
    let child = scratch.start(&jobs)?;
    until(|| Ok(words(&operator(&kept, &["status"])?).1.contains("2 leased")))?;
    for worker in ["worker-1", "worker-2"] {
        assert_eq!(operator(&kept, &["drain", worker])?.status.code(), Some(0));
    }
    let waiting = "waiting because no worker is available: 2 draining";
    until(|| Ok(words(&operator(&kept, &["status"])?).1.contains(waiting)))?;
    thread::sleep(Duration::from_secs(3));
    assert_eq!(operator(&kept, &["drain"])?.status.code(), Some(0));
    let (status, text) = words(&child.wait_with_output()?);
    assert_eq!(status, Some(0), "{text}");
    assert!(text.contains(waiting), "{text}");
    Ok(())
}

/// An output over the limit of its lease is a failed run that is not sent: it costs no worker its connection, and it is
/// not run again. A job file that is none is a wrong argument.
#[test]
fn an_excess_ends_its_run_and_nothing_else() -> Outcome {
    let scratch = Scratch::new("excess")?;
    let table = scratch.0.join("table.csv");
    fs::write(&table, format!("{}\n{}", "a".repeat(1_000), "1\n".repeat(20_000)))?;
    let jobs = format!(
        "{{\"id\":\"large\",\"do\":{{\"transform\":{{\"with\":\"csv_to_json\",\"file\":\"{}\"}}}}}}\n\
         {{\"id\":\"small\",\"do\":{{\"sleep\":{{\"ms\":1}}}}}}\n",
        "table.csv"
    );
    let file = scratch.0.join("jobs.jsonl");
    fs::write(&file, jobs)?;
    let mut command = Command::new(fleet()?);
    let output =
        command.current_dir(&scratch.0).args(["--workers", "1"]).arg("--jobs").arg(&file).output()?;
    let (status, text) = words(&output);
    assert_eq!(status, Some(0), "{text}");
    assert!(text.contains("large: failed after 1 attempts: artifact.too_large: "), "{text}");
    assert!(text.contains("2, 2 terminal records") && text.contains("done 1"), "{text}");

    let output = Command::new(fleet()?).arg("--jobs").arg(&scratch.0).output()?;
    let (status, text) = words(&output);
    assert_eq!(status, Some(2), "{text}");
    assert!(text.contains("directory"), "{text}");
    Ok(())
}
