//! The event log: one JSON object a line, each an entry with its time and who said it.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
};

use serde::{Deserialize, Serialize};

use super::Timeline;
use crate::{Failure, process_log::LogEntry};

/// The longest line that is read, in bytes.
const MAX_LINE: u64 = 1 << 20;

/// A line that is written.
#[derive(Serialize)]
pub struct Written<'a> {
    /// Milliseconds since the fleet was started.
    pub at_ms: u64,
    /// Which process said it.
    pub from: &'a str,
    /// What it said.
    #[serde(flatten)]
    pub entry: &'a LogEntry,
}

/// A line that is read.
#[derive(Deserialize)]
struct Read {
    at_ms: u64,
    from: String,
    #[serde(flatten)]
    entry: LogEntry,
}

/// The timeline of an event log.
///
/// # Errors
/// Where the file cannot be read, holds no line, or a line is no note; the message names file and line.
pub fn read(path: &Path) -> Result<Timeline, Failure> {
    let failed = |number: u64, why: String| Failure::new(format!("{}:{number}: {why}", path.display()));
    let mut file = BufReader::new(File::open(path).map_err(|error| failed(0, error.to_string()))?);
    let (mut timeline, mut line, mut number) = (Timeline::default(), Vec::new(), 0);
    loop {
        line.clear();
        number += 1;
        let read = file.by_ref().take(MAX_LINE).read_until(b'\n', &mut line);
        if read.map_err(|error| failed(number, error.to_string()))? == 0 {
            break;
        }
        if line.last() != Some(&b'\n') && line.len() as u64 == MAX_LINE {
            return Err(failed(number, format!("the line is longer than {MAX_LINE} bytes")));
        }
        let read: Read = serde_json::from_slice(&line).map_err(|error| {
            failed(number, format!("not a line of an event log (write one with --events): {error}"))
        })?;
        timeline.record(read.at_ms, &read.from, &read.entry);
    }
    if number == 1 {
        return Err(failed(1, "the event log is empty: write one with `fleet --events FILE`".into()));
    }
    Ok(timeline)
}
