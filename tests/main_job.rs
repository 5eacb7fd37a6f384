//! The main job as a whole: the built `fleet` example with its processes, sockets and kills.
//!
//! What it proves: every job gets exactly one terminal record while workers die at random (invariants 1, 2, 6, 8), the
//! hostile peers are refused, bad lines of a job file are reported by number, and Ctrl-C ends in order.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a test of processes waits for them")]

use std::{
    collections::BTreeMap,
    error::Error,
    fs,
    path::PathBuf,
    process::{Command, Output, Stdio},
    thread,
    time::Duration,
};

use serde_json::Value;

type Outcome = Result<(), Box<dyn Error>>;

#[path = "example_support/mod.rs"]
mod example_support;

fn fleet() -> Result<PathBuf, Box<dyn Error>> {
    example_support::built("fleet", &["src", "examples/fleet"])
}

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Result<Self, Box<dyn Error>> {
        let path = std::env::temp_dir().join(format!("leasehold-main-job-{name}-{}", std::process::id()));
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    fn file(&self, name: &str, lines: &[&str]) -> Result<PathBuf, Box<dyn Error>> {
        let path = self.0.join(name);
        fs::write(&path, lines.join("\n"))?;
        Ok(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The row of the closing table that begins with `name`.
fn row<'a>(table: &'a str, name: &str) -> Result<&'a str, Box<dyn Error>> {
    let found = table.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    found.ok_or_else(|| format!("no row {name} in\n{table}").into())
}

fn shown(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{}\n{out}\n{err}", output.status)
}

fn events(path: &PathBuf) -> Result<Vec<Value>, Box<dyn Error>> {
    let log = fs::read(path)?;
    assert!(log.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\n')), "the log is printable ASCII");
    log.split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| Ok(serde_json::from_slice(line)?))
        .collect()
}

const SMALL: &[&str] = &[
    r#"{"id":"hash","do":{"hash":{"file":"Cargo.toml"}},"attempts":9}"#,
    r#"{"id":"words","do":{"words":{"file":"LICENSE-MIT"}},"attempts":9}"#,
    r#"{"id":"sort","do":{"transform":{"with":"sort_lines","text":"b\na\n"}},"attempts":9}"#,
    r#"{"id":"table","do":{"transform":{"with":"csv_to_json","text":"a,b\n1,2\n"}},"attempts":9}"#,
    r#"{"id":"fetch","do":{"fetch":{"url":"http://origin.test:{http}/hello"}},"attempts":9}"#,
    r#"{"id":"tunnel","do":{"fetch":{"url":"https://origin.test:{https}/hello"}},"attempts":9}"#,
    r#"{"id":"metadata","do":{"fetch":{"url":"http://169.254.169.254/"}},"attempts":9}"#,
    r#"{"id":"fails","do":{"fail":{"message":"no \u001b[2J\u202e luck"}},"attempts":9}"#,
    r#"{"id":"slow","do":{"overrun":{}},"attempts":9}"#,
    // Twice, so that chaos, which may come first, hardly ever spoils the show of an old holder.
    r#"{"id":"crash","do":{"kill":{"attempts":2}},"attempts":9}"#,
    r#"{"id":"wait","do":{"sleep":{"ms":1200}},"attempts":9}"#,
];

/// The main job, small and with workers killed at random.
#[test]
fn every_job_ends_once_while_workers_die() -> Outcome {
    let scratch = Scratch::new("chaos")?;
    let jobs = scratch.file("jobs.jsonl", SMALL)?;
    let log = scratch.0.join("events.jsonl");
    let output = Command::new(fleet()?)
        .args(["--workers", "3", "--chaos", "--seed", "5"])
        .arg("--jobs")
        .arg(&jobs)
        .arg("--events")
        .arg(&log)
        .output()?;
    assert!(output.status.success(), "{}", shown(&output));
    let table = String::from_utf8(output.stdout)?;
    assert_eq!(row(&table, "invariants")?, "all held");
    assert_eq!(row(&table, "jobs")?, format!("{0}, {0} terminal records", SMALL.len()));
    assert!(row(&table, "scratch")?.ends_with(" 0 left"), "{table}");
    let hostile: Vec<&str> = table.lines().filter(|line| line.starts_with("hostile peer ")).collect();
    assert!(hostile.len() >= 3 && hostile.iter().all(|line| line.contains(": refused, ")), "{table}");
    assert!(row(&table, "egress allowed")?.parse::<u32>()? >= 2, "{table}");
    assert_ne!(row(&table, "egress refused")?, "0");

    let events = events(&log)?;
    let of = |entry: &'static str| events.iter().filter(move |event| event["note"] == entry);
    let mut records = BTreeMap::new();
    for ended in of("ended") {
        *records.entry(ended["run"].to_string()).or_insert(0) += 1;
    }
    assert_eq!(records.len(), SMALL.len());
    assert!(records.values().all(|&count| count == 1), "{records:?}");
    // Invariant 2, and a killed run goes on under a higher fence with another grant.
    let fence = |event: &Value| (event["fence"]["epoch"].as_u64(), event["fence"]["counter"].as_u64());
    let fences: Vec<_> = of("leased").map(fence).collect();
    assert!(fences.windows(2).all(|pair| pair[0] < pair[1]), "{fences:?}");
    let crash: Vec<&Value> = of("leased").filter(|event| event["run"] == "crash").collect();
    assert!(crash.len() >= 2 && crash[0]["grant"] != crash[1]["grant"], "{crash:?}");
    // Invariant 6: the killed holder of a lease came back with its completion too late, and was told so.
    let late = |event: &Value| event["peer"].as_str().is_some_and(|peer| peer.starts_with("old holder"));
    assert!(of("hostile").any(|event| late(event) && event["refused"] == true), "{table}");
    Ok(())
}

/// Each bad line is reported with its number, the good ones run, and the exit status says so.
#[test]
fn bad_lines_are_reported_and_good_ones_run() -> Outcome {
    let scratch = Scratch::new("bad")?;
    let lines = [
        r#"{"id":"good","do":{"sleep":{"ms":1}}}"#,
        "{\"id\":\u{1b}[31m}",
        r#"{"id":"other","do":{"sleep":{"ms":1}}}"#,
    ];
    let jobs = scratch.file("jobs.jsonl", &lines)?;
    let output = Command::new(fleet()?).args(["--workers", "1"]).arg("--jobs").arg(&jobs).output()?;
    assert_eq!(output.status.code(), Some(3), "{}", shown(&output));
    let errors = String::from_utf8(output.stderr)?;
    assert!(errors.contains("jobs.jsonl:2: "), "{errors}");
    assert!(!errors.contains('\u{1b}'), "what stands in a file is not written raw to a terminal");
    assert_eq!(row(&String::from_utf8(output.stdout)?, "jobs")?, "2, 2 terminal records");
    Ok(())
}

/// Ctrl-C drains and ends cleanly.
#[test]
fn ctrl_c_drains() -> Outcome {
    let scratch = Scratch::new("drain")?;
    let lines: Vec<String> =
        (0..40).map(|at| format!(r#"{{"id":"wait-{at}","do":{{"sleep":{{"ms":1000}}}}}}"#)).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let jobs = scratch.file("jobs.jsonl", &lines)?;
    let log = scratch.0.join("events.jsonl");
    let child = Command::new(fleet()?)
        .args(["--workers", "2"])
        .arg("--jobs")
        .arg(&jobs)
        .arg("--events")
        .arg(&log)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    thread::sleep(Duration::from_secs(4));
    let interrupted = Command::new("kill").args(["-INT", &child.id().to_string()]).status()?;
    assert!(interrupted.success());
    let output = child.wait_with_output()?;
    assert_eq!(output.status.code(), Some(130), "{}", shown(&output));
    let table = String::from_utf8(output.stdout)?;
    assert_eq!(row(&table, "jobs")?, "40, 40 terminal records");
    assert_eq!(row(&table, "invariants")?, "all held");
    assert!(events(&log)?.iter().any(|event| event["note"] == "ended" && event["outcome"] == "cancelled"));
    Ok(())
}

/// The coordinator is killed at random, also in the middle of appends and snapshots. The
/// supervisor audits what it leaves after each kill (invariants 1, 2, 5, 8 and 12).
#[test]
fn the_coordinator_is_killed_and_nothing_is_lost() -> Outcome {
    let output = Command::new(fleet()?).args(["--kills", "6", "--workers", "4", "--seed", "3"]).output()?;
    assert!(output.status.success(), "{}", shown(&output));
    let table = String::from_utf8(output.stdout)?;
    assert_eq!(row(&table, "invariants")?, "all held");
    assert!(row(&table, "coordinator")?.starts_with("killed 6: "), "{table}");
    let jobs = row(&table, "jobs")?;
    let (all, records) = jobs.split_once(", ").ok_or("two numbers")?;
    assert_eq!(Some(all), records.split(' ').next(), "{jobs}");
    Ok(())
}

/// A state that is kept is gone on from: what has ended is not run again, and what is new is.
#[test]
fn a_second_start_goes_on_from_the_first() -> Outcome {
    let scratch = Scratch::new("state")?;
    let state = scratch.0.join("kept");
    let mut lines = vec![
        r#"{"id":"sort","do":{"transform":{"with":"sort_lines","text":"b\na\n"}}}"#,
        r#"{"id":"fails","do":{"fail":{"message":"no luck"}}}"#,
    ];
    let mut run = |more: &[&'static str]| -> Result<String, Box<dyn Error>> {
        lines.extend(more);
        let jobs = scratch.file("jobs.jsonl", &lines)?;
        let mut command = Command::new(fleet()?);
        command.args(["--workers", "2"]).arg("--state").arg(&state).arg("--jobs").arg(&jobs);
        let output = command.output()?;
        assert!(output.status.success(), "{}", shown(&output));
        Ok(String::from_utf8(output.stdout)?)
    };
    let first = run(&[])?;
    assert_eq!(row(&first, "jobs")?, "2, 2 terminal records");
    let second = run(&[r#"{"id":"more","do":{"sleep":{"ms":1}}}"#])?;
    assert_eq!(row(&second, "jobs")?, "3, 3 terminal records");
    assert!(row(&second, "runs leased")?.starts_with("1,"), "{second}");
    assert!(row(&second, "fences")?.starts_with("3."), "a later epoch: {second}");
    assert_eq!(row(&second, "invariants")?, "all held");
    Ok(())
}
