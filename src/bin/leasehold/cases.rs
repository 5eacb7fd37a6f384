//! `leasehold test`: scenario files, one case per line with what it must be answered.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Deserialize;
use serde_json::Value;

use super::{End, Fault, Outcome, answer, compare::missing, document, say};

#[derive(Args)]
pub struct Arguments {
    /// Scenario files of JSON lines, {"note": TEXT, "case": QUESTION, "expect": PART OF THE ANSWER}, or folders of them
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

/// Nothing is optional: a case without its expectation would prove nothing.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Scenario {
    note: String,
    case: Value,
    expect: Value,
}

fn files(given: &[PathBuf]) -> Result<Vec<PathBuf>, Fault> {
    let mut files = Vec::new();
    for path in given {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let entries = std::fs::read_dir(path).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
        let entries = entries.map_err(|error| Fault::new(format!("{}: {error}", path.display())))?;
        let own = entries.into_iter().map(|entry| entry.path());
        let mut own: Vec<PathBuf> =
            own.filter(|path| path.extension().is_some_and(|extension| extension == "jsonl")).collect();
        if own.is_empty() {
            return Err(Fault::new(format!("{}: no file whose name ends in .jsonl", path.display())));
        }
        own.sort();
        files.append(&mut own);
    }
    Ok(files)
}

fn scenario(path: &Path, number: usize, line: &str) -> Result<Scenario, Fault> {
    let place = format!("{}:{number}", path.display());
    let scenario: Scenario =
        serde_json::from_str(line).map_err(|error| Fault::new(format!("{place}: {error}")))?;
    if scenario.expect.as_object().is_none_or(|members| members.is_empty()) {
        return Err(Fault::new(format!("{place}: `expect` lists at least one member of the answer")));
    }
    Ok(scenario)
}

pub fn run(arguments: &Arguments, out: &mut String) -> Outcome {
    let (mut cases, mut wrong) = (0_usize, 0_usize);
    for path in files(&arguments.files)? {
        let text = String::from_utf8(document::read(&path)?)
            .map_err(|error| Fault::new(format!("{}: {error}", path.display())))?;
        let before = cases;
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let number = number.saturating_add(1);
            let scenario = scenario(&path, number, line)?;
            cases = cases.saturating_add(1);
            let answer = answer::answer(scenario.case.to_string().as_bytes());
            if let Some(what) = missing(&scenario.expect, &answer, "") {
                wrong = wrong.saturating_add(1);
                say(out, format_args!("{}:{number}: {}: {what}", path.display(), scenario.note));
            }
        }
        if cases == before {
            return Err(Fault::new(format!("{}: no case in it", path.display())));
        }
    }
    say(out, format_args!("{cases} cases, {wrong} not as expected"));
    Ok(if wrong == 0 { End::Yes } else { End::No })
}
