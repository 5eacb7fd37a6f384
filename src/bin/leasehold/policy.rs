//! `leasehold policy`: check, lint, format and compare policy files.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use leasehold::policy_file::Notation;
use serde_json::Value;

use super::{
    End, Fault, Outcome,
    document::{self, Document, Kind},
    say,
};

#[derive(Subcommand)]
pub enum Command {
    /// Is this a valid policy? Says line, column, member, value, and a likely fix
    Check(File),
    /// As check, and what is legal and unwise
    Lint(File),
    /// Write the policy in its usual form, defaults included; comments of TOML are lost
    Fmt {
        #[command(flatten)]
        file: File,
        /// Say whether the file has its usual form, and write nothing
        #[arg(long, conflicts_with = "write")]
        check: bool,
        /// Write the usual form over a JSON file
        #[arg(long)]
        write: bool,
    },
    /// What differs in meaning between two policies; rules and keys are compared by their ids
    Diff {
        /// The policy before
        old: PathBuf,
        /// The policy after
        new: PathBuf,
        /// The kind of both, where the members at the top do not say it
        #[arg(long)]
        kind: Option<Kind>,
    },
}

#[derive(Args)]
pub struct File {
    /// The policy: TOML where the name ends in .toml, else JSON
    file: PathBuf,
    /// The kind, where the members at the top do not say it
    #[arg(long)]
    kind: Option<Kind>,
}

pub fn run(command: &Command, out: &mut String) -> Outcome {
    match command {
        Command::Check(file) => Ok(match load(file, out)? {
            Some(_) => End::Yes,
            None => End::No,
        }),
        Command::Lint(file) => lint(file, out),
        Command::Fmt { file, check, write } => format(file, *check, *write, out),
        Command::Diff { old, new, kind } => diff(old, new, *kind, out),
    }
}

/// Reads the file and says what is wrong with it, or that it is valid.
fn load(file: &File, out: &mut String) -> Result<Option<Document>, Fault> {
    match document::load(&file.file, file.kind)? {
        Ok(document) => {
            let name = format!("{:?}", document.kind).to_lowercase();
            say(out, format_args!("{}: valid {name} policy {}", file.file.display(), document.digest));
            Ok(Some(document))
        }
        Err(finding) => {
            say(out, format_args!("{}:{finding}", file.file.display()));
            Ok(None)
        }
    }
}

fn lint(file: &File, out: &mut String) -> Outcome {
    let Some(document) = load(file, out)? else { return Ok(End::No) };
    for warning in &document.warnings {
        say(out, format_args!("{}:{warning}", file.file.display()));
    }
    say(out, format_args!("{} warnings", document.warnings.len()));
    Ok(if document.warnings.is_empty() { End::Yes } else { End::No })
}

fn format(file: &File, check: bool, write: bool, out: &mut String) -> Outcome {
    let path = &file.file;
    let document = match document::load(path, file.kind)? {
        Ok(document) => document,
        Err(finding) => return Err(Fault::new(format!("{}:{finding}", path.display()))),
    };
    let mut text = serde_json::to_string_pretty(&document.document)
        .map_err(|error| Fault::new(format!("{}: {error}", path.display())))?;
    text.push('\n');
    let json = document::notation(path) == Notation::Json;
    if (check || write) && !json {
        return Err(Fault::new(format!(
            "{}: the usual form is JSON; without --check and --write it is written to standard output",
            path.display()
        )));
    }
    if check {
        return Ok(if document::read(path)? == text.as_bytes() {
            End::Yes
        } else {
            say(out, format_args!("{}: not in its usual form; --write changes it", path.display()));
            End::No
        });
    }
    if write {
        std::fs::write(path, text).map_err(|error| Fault::new(format!("{}: {error}", path.display())))?;
    } else {
        out.push_str(&text);
    }
    Ok(End::Yes)
}

fn diff(old: &Path, new: &Path, kind: Option<Kind>, out: &mut String) -> Outcome {
    let sound = |path: &Path| {
        document::load(path, kind)?.map_err(|finding| Fault::new(format!("{}:{finding}", path.display())))
    };
    let (old, new) = (sound(old)?, sound(new)?);
    if old.kind != new.kind {
        return Err(Fault::new(format!("one is of the kind {:?}, the other {:?}", old.kind, new.kind)));
    }
    let (mut before, mut after) = (BTreeMap::new(), BTreeMap::new());
    flatten(&old.document, String::new(), &mut before);
    flatten(&new.document, String::new(), &mut after);
    let mut paths: Vec<&String> = before.keys().chain(after.keys()).collect();
    paths.sort_unstable();
    paths.dedup();
    let mut changes = 0_usize;
    for path in paths {
        let (old, new) = (before.get(path), after.get(path));
        if old == new {
            continue;
        }
        changes = changes.saturating_add(1);
        if let Some(old) = old {
            say(out, format_args!("- {path}: {old}"));
        }
        if let Some(new) = new {
            say(out, format_args!("+ {path}: {new}"));
        }
    }
    // The order of rules is a part of the policy, and of its digest, even where no member differs.
    let reordered = changes == 0 && old.digest != new.digest;
    if reordered {
        say(out, "the entries of a list stand in another order");
    }
    say(out, format_args!("{changes} members differ"));
    Ok(if changes == 0 && !reordered { End::Yes } else { End::No })
}

/// Every single value by its path; an element of a list that has an id is named by it.
fn flatten(value: &Value, path: String, into: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (name, value) in members {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                flatten(value, path, into);
            }
        }
        Value::Array(elements) if !elements.is_empty() => {
            for (nth, element) in elements.iter().enumerate() {
                flatten(element, format!("{path}[{}]", label(element, nth)), into);
            }
        }
        _ => {
            into.insert(path, value.to_string());
        }
    }
}

/// A scalar names itself, so that a list of hosts is compared as a set; its order shows in the digest.
fn label(element: &Value, nth: usize) -> String {
    let id = [element.get("id"), element.pointer("/key/keyid"), element.get("digest"), element.get("header")];
    match id.into_iter().flatten().next() {
        Some(Value::String(id)) => id.clone(),
        _ if element.is_object() || element.is_array() => nth.to_string(),
        _ => element.to_string(),
    }
}
