//! Policy files: which notation, which kind of policy, and what is in them.

use std::{
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use clap::ValueEnum;
use leasehold::{
    egress::Psl,
    policy_file::{self, Finding, Notation},
    time::Wall,
};
use serde_json::Value;

use super::Fault;

/// What a policy decides about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Which hosts a lease holder may reach
    Egress,
    /// Which evidence lets a worker join
    Attestation,
    /// Every number and rule of a fleet
    Fleet,
}

/// A policy of any kind, as far as every command needs it.
pub struct Document {
    pub kind: Kind,
    /// With its defaults filled in.
    pub document: Value,
    pub digest: String,
    pub warnings: Vec<Finding>,
}

pub fn read(path: &Path) -> Result<Vec<u8>, Fault> {
    std::fs::read(path).map_err(|error| Fault::new(format!("{}: {error}", path.display())))
}

/// The notation by the name of the file: `.toml`, or else JSON.
pub fn notation(path: &Path) -> Notation {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some(extension) if extension.eq_ignore_ascii_case("toml") => Notation::Toml,
        _ => Notation::Json,
    }
}

/// The kind by the members at the top, where it is not told. They are the first words of a line, in both notations.
fn kind(path: &Path, text: &[u8], told: Option<Kind>) -> Result<Kind, Fault> {
    if let Some(kind) = told {
        return Ok(kind);
    }
    let text = String::from_utf8_lossy(text);
    let names: Vec<String> = match notation(path) {
        Notation::Toml => text
            .lines()
            .filter_map(|line| line.trim().trim_start_matches('[').split(['=', '.', ']', ' ']).next())
            .map(|name| name.trim_matches('"').to_string())
            .collect(),
        _ => match serde_json::from_str::<Value>(&text) {
            Ok(Value::Object(members)) => members.keys().cloned().collect(),
            // What is not JSON gets its message from the reader, whatever its kind.
            _ => return Ok(Kind::Egress),
        },
    };
    let has = |wanted: &[&str]| names.iter().any(|name| wanted.contains(&name.as_str()));
    if has(&["fleet", "attestation"]) {
        Ok(Kind::Fleet)
    } else if has(&["accept", "times"]) {
        Ok(Kind::Attestation)
    } else if has(&["rules", "deny", "mode", "nat64", "max_redirects"]) {
        Ok(Kind::Egress)
    } else {
        Err(Fault::new(format!(
            "{}: no member says which policy this is; add --kind egress, attestation or fleet",
            path.display()
        )))
    }
}

fn now() -> Wall {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Wall(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Reads, validates and lints. The inner error is what is wrong with the policy.
pub fn load(path: &Path, told: Option<Kind>) -> Result<Result<Document, Finding>, Fault> {
    let text = read(path)?;
    let kind = kind(path, &text, told)?;
    let notation = notation(path);
    let value = |document: serde_json::Result<Value>| {
        document.map_err(|error| Fault::new(format!("{}: {error}", path.display())))
    };
    Ok(match kind {
        Kind::Egress => match policy_file::read_egress(&text, notation, &Psl) {
            Ok(checked) => Ok(Document {
                kind,
                document: value(serde_json::to_value(&checked.document))?,
                digest: checked.policy.digest().to_string(),
                warnings: checked.warnings,
            }),
            Err(finding) => Err(finding),
        },
        Kind::Attestation => match policy_file::read_attestation(&text, notation, now()) {
            Ok(checked) => Ok(Document {
                kind,
                document: value(serde_json::to_value(&checked.document))?,
                digest: checked.policy.digest().to_string(),
                warnings: checked.warnings,
            }),
            Err(finding) => Err(finding),
        },
        Kind::Fleet => match policy_file::read_fleet(&text, notation, now()) {
            Ok(checked) => Ok(Document {
                kind,
                document: value(serde_json::to_value(&checked.document))?,
                digest: checked.policy.digest().to_string(),
                warnings: checked.warnings,
            }),
            Err(finding) => Err(finding),
        },
    })
}

/// A policy that another question rests on: what is wrong with it is a fault, not an answer.
pub fn load_sound(path: &Path, kind: Kind) -> Result<Document, Fault> {
    load(path, Some(kind))?.map_err(|finding| Fault::new(format!("{}:{finding}", path.display())))
}
