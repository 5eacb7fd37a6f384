//! The job file: one JSON object per line, each one job.
//!
//! ```text
//! {"id":"hash-readme","do":{"hash":{"file":"README.md"}}}
//! {"id":"count-lib","do":{"words":{"file":"src/lib.rs"}}}
//! {"id":"sorted","do":{"transform":{"with":"sort_lines","text":"b\na\n"}}}
//! {"id":"table","do":{"transform":{"with":"csv_to_json","file":"people.csv"}}}
//! {"id":"hello","do":{"fetch":{"url":"http://origin.test:{http}/hello"}},"attempts":2}
//! {"id":"broken","do":{"fail":{"message":"the input is missing"}}}
//! {"id":"slow","do":{"overrun":{"attempts":1}}}
//! {"id":"crash","do":{"kill":{"attempts":1}}}
//! {"id":"wait","do":{"sleep":{"ms":500}}}
//! ```
//!
//! * `id`: lowercase letters, digits and `._-`, at most 64 bytes, once per file.
//! * `attempts`: how many leases the job may use, 1 to 9; 3 where it is left out.
//! * `file`: a path below the directory that the command was started in, or below the package itself.
//! * `transform`: `with` is `sort_lines`, `csv_to_json` or `upper`; the input is `file` or `text`, one of them.
//! * `fetch`: `{http}` and `{https}` stand for the ports of the local origin server, which are chosen at start-up.
//! * `overrun`, `kill`: the first `attempts` attempts run past their lease, or lose their worker to SIGKILL.
//!
//! A line that is not such an object is reported with its number, and the other lines still run.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use leasehold::id::RunId;
use serde::{Deserialize, Serialize};

use crate::Failure;

/// The longest line.
const MAX_LINE: u64 = 64 << 10;
/// The most jobs of one file.
const MAX_JOBS: usize = 10_000;
/// The largest input file.
const MAX_INPUT: u64 = 4 << 20;
/// The longest job id, so that ids made from it stay ids.
const MAX_ID: usize = 64;

/// One job, as the file states it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// Names the run.
    pub id: RunId,
    /// What is to be done.
    #[serde(rename = "do")]
    pub work: Work,
    /// How many leases it may use.
    #[serde(default = "three")]
    pub attempts: u32,
}

fn three() -> u32 {
    3
}

fn one() -> u32 {
    1
}

/// What a job does. Input files are named here and travel as artifacts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Work {
    /// The SHA-256 of a file.
    Hash { file: PathBuf },
    /// Lines, words and bytes of a file.
    Words { file: PathBuf },
    /// A small transformation with an input and an output artifact.
    Transform {
        /// Which one.
        with: Transform,
        /// The input as a file.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        file: Option<PathBuf>,
        /// The input as text.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text: Option<String>,
    },
    /// An HTTP GET through the egress proxy.
    Fetch { url: String },
    /// Does nothing for a while.
    Sleep { ms: u64 },
    /// Fails.
    Fail { message: String },
    /// Runs past its lease, at the first attempts.
    Overrun {
        #[serde(default = "one")]
        attempts: u32,
    },
    /// Loses its worker in the middle, at the first attempts.
    Kill {
        #[serde(default = "one")]
        attempts: u32,
    },
}

/// The built-in transformations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transform {
    /// Lines in byte order.
    SortLines,
    /// The first row names the members of one JSON object per further row.
    CsvToJson,
    /// ASCII letters in upper case.
    Upper,
}

impl Work {
    /// The kind's name, as it stands in the file.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Hash { .. } => "hash",
            Self::Words { .. } => "words",
            Self::Transform { .. } => "transform",
            Self::Fetch { .. } => "fetch",
            Self::Sleep { .. } => "sleep",
            Self::Fail { .. } => "fail",
            Self::Overrun { .. } => "overrun",
            Self::Kill { .. } => "kill",
        }
    }

    /// The input file, where there is one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::Hash { file } | Self::Words { file } => Some(file),
            Self::Transform { file, .. } => file.as_deref(),
            _ => None,
        }
    }

    fn file_mut(&mut self) -> Option<&mut PathBuf> {
        match self {
            Self::Hash { file } | Self::Words { file } => Some(file),
            Self::Transform { file, .. } => file.as_mut(),
            _ => None,
        }
    }
}

/// A line that is no job.
#[derive(Debug)]
pub struct BadLine {
    /// Counted from 1; 0 is the file as a whole.
    pub number: usize,
    /// What is wrong with it.
    pub reason: String,
}

/// What a job file holds.
#[derive(Default)]
pub struct JobFile {
    /// The good lines, in order.
    pub jobs: Vec<Job>,
    /// The bad ones.
    pub bad: Vec<BadLine>,
}

/// Reads a job file. Only a file that cannot be opened is a failure; everything else is a bad line.
pub fn read(path: &Path, ports: Ports) -> Result<JobFile, Failure> {
    let unreadable = |error: &dyn std::fmt::Display| Failure::new(format!("{}: {error}", path.display()));
    let file = File::open(path).map_err(|error| unreadable(&error))?;
    if file.metadata().map_err(|error| unreadable(&error))?.is_dir() {
        return Err(unreadable(&"this is a directory, and a job file is wanted"));
    }
    Ok(parse(BufReader::new(file), ports))
}

/// The ports that the placeholders of a `fetch` stand for.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ports {
    /// Of the plain origin.
    pub http: u16,
    /// Of the one with TLS.
    pub https: u16,
}

fn parse(mut input: impl BufRead, ports: Ports) -> JobFile {
    let mut found = JobFile::default();
    let mut seen = BTreeSet::new();
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        match input.by_ref().take(MAX_LINE + 1).read_until(b'\n', &mut line) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) => {
                found.bad.push(BadLine { number, reason: error.to_string() });
                break;
            }
        }
        let whole = line.last() == Some(&b'\n');
        let outcome = if line.len() as u64 > MAX_LINE && !whole {
            // The rest of the line is skipped, so that the next one is read from its beginning.
            input
                .skip_until(b'\n')
                .map_err(|error| error.to_string())
                .and(Err("the line is over 64 KiB".into()))
        } else if line.trim_ascii().is_empty() {
            continue;
        } else if found.jobs.len() >= MAX_JOBS {
            Err(format!("a file has at most {MAX_JOBS} jobs"))
        } else {
            job(line.trim_ascii(), ports, &mut seen)
        };
        match outcome {
            Ok(job) => found.jobs.push(job),
            Err(reason) => found.bad.push(BadLine { number, reason }),
        }
    }
    found
}

fn job(line: &[u8], ports: Ports, seen: &mut BTreeSet<RunId>) -> Result<Job, String> {
    // serde takes an array for a struct, by position; a job is an object.
    if line.first() != Some(&b'{') {
        return Err("a job is one JSON object".into());
    }
    let mut job: Job = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    // Directories are named after jobs, and a colon is more than a name to some file systems.
    if job.id.as_str().len() > MAX_ID || job.id.as_str().contains(':') {
        return Err(format!("a job's id has at most {MAX_ID} bytes and no colon"));
    }
    if !(1..=9).contains(&job.attempts) {
        return Err("attempts are 1 to 9".into());
    }
    match &mut job.work {
        Work::Transform { file, text, .. } if file.is_some() == text.is_some() => {
            return Err("a transformation has one input, `file` or `text`".into());
        }
        Work::Fetch { url } if !url.bytes().all(|byte| byte.is_ascii_graphic()) => {
            return Err("a url is printable ASCII without spaces".into());
        }
        Work::Fetch { url } => {
            *url =
                url.replace("{http}", &ports.http.to_string()).replace("{https}", &ports.https.to_string());
        }
        Work::Sleep { ms } if *ms > 60_000 => return Err("a sleep is at most a minute".into()),
        _ => {}
    }
    if let Some(file) = job.work.file_mut() {
        *file = found(file)?;
    }
    if !seen.insert(job.id.clone()) {
        return Err("the id was used on an earlier line".into());
    }
    Ok(job)
}

/// The file that a job means: below the current directory, or below the package.
fn found(named: &Path) -> Result<PathBuf, String> {
    if named.is_absolute() || named.components().any(|part| part == std::path::Component::ParentDir) {
        return Err("an input file is named by a path without `..` below the directory of the command".into());
    }
    for base in [Path::new("."), Path::new(env!("CARGO_MANIFEST_DIR"))] {
        let path = base.join(named);
        if let Ok(facts) = path.metadata()
            && facts.is_file()
        {
            if facts.len() > MAX_INPUT {
                return Err("the input file is over 4 MiB".into());
            }
            return path.canonicalize().map_err(|error| error.to_string());
        }
    }
    Err("there is no such input file".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each bad line is reported with its number, and the good ones run.
    #[test]
    fn bad_lines_are_numbered_and_good_ones_kept() {
        let long =
            format!("{{\"id\":\"long\",\"do\":{{\"fail\":{{\"message\":\"{}\"}}}}}}", "x".repeat(70_000));
        let lines = [
            r#"{"id":"a","do":{"hash":{"file":"Cargo.toml"}}}"#,
            r#"not json"#,
            r#"["b",{"sleep":{"ms":1}},1]"#,
            r#"{"id":"B","do":{"sleep":{"ms":1}}}"#,
            r#"{"id":"c","do":{"sleep":{"ms":1}},"colour":"red"}"#,
            r#"{"id":"d","do":{"sleep":{"ms":1,"ms":2}}}"#,
            r#"{"id":"a","do":{"sleep":{"ms":1}}}"#,
            r#"{"id":"e","do":{"hash":{"file":"../secret"}}}"#,
            r#"{"id":"f","do":{"dance":{}}}"#,
            r#"{"id":"g","do":{"transform":{"with":"upper"}}}"#,
            r#"{"id":"h","do":{"sleep":{"ms":1}}} trailing"#,
            long.as_str(),
            "",
            r#"{"id":"z","do":{"fetch":{"url":"http://origin.test:{http}/"}},"attempts":2}"#,
        ];
        let read = parse(lines.join("\n").as_bytes(), Ports { http: 81, https: 444 });
        let good: Vec<&str> = read.jobs.iter().map(|job| job.id.as_str()).collect();
        assert_eq!(good, ["a", "z"]);
        let bad: Vec<usize> = read.bad.iter().map(|bad| bad.number).collect();
        assert_eq!(bad, (2..=12).collect::<Vec<_>>());
        let Work::Fetch { url } = &read.jobs[1].work else { panic!("not a fetch") };
        assert_eq!(url, "http://origin.test:81/");
    }

    /// The default file has at least 40 jobs, and every kind.
    #[test]
    fn the_default_file_has_every_kind() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/fleet/jobs.jsonl");
        let read = read(&path, Ports { http: 1, https: 2 }).unwrap_or_default();
        assert!(read.bad.is_empty(), "{:?}", read.bad);
        assert!(read.jobs.len() >= 40, "{}", read.jobs.len());
        let kinds: BTreeSet<&str> = read.jobs.iter().map(|job| job.work.kind()).collect();
        let all = ["fail", "fetch", "hash", "kill", "overrun", "sleep", "transform", "words"];
        assert_eq!(kinds, BTreeSet::from(all));
    }

    /// The small file, which `examples/packages/grpc` runs too, has nothing that the default file has not.
    #[test]
    fn the_small_file_is_a_part_of_the_default_one() {
        let (all, small) = (include_str!("jobs.jsonl"), include_str!("small.jsonl"));
        let all: BTreeSet<&str> = all.lines().collect();
        assert!(small.lines().count() >= 10 && small.lines().all(|line| all.contains(line)));
    }
}
