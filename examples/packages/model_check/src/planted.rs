//! Bugs that are planted to see that something finds them.

use std::{fs, io, path::Path};

use serde::Deserialize;

/// A bug, and what finds it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bug {
    /// Its name.
    pub name: String,
    /// What it does, in a sentence.
    pub says: String,
    /// The cheapest check that finds it.
    pub check: String,
    /// Another one.
    pub also: Option<String>,
    edit: Vec<Edit>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Edit {
    file: String,
    within: String,
    before: String,
    after: String,
    /// `after` asks for the bug itself.
    #[serde(default)]
    raw: bool,
}

#[derive(Deserialize)]
struct Table {
    bug: Vec<Bug>,
}

/// Every bug.
///
/// # Panics
/// Where the table cannot be read.
pub fn bugs() -> Vec<Bug> {
    let table: Table = toml::from_str(include_str!("../planted.toml")).expect("the table of bugs");
    table.bug
}

/// Puts every bug behind its name: with `PLANTED` set to one, that one acts.
///
/// # Errors
/// Where a file cannot be read or written, or no longer says what a bug takes the place of, exactly once.
pub fn plant(root: &Path, bugs: &[Bug]) -> io::Result<()> {
    for bug in bugs {
        for edit in &bug.edit {
            let path = root.join(&edit.file);
            let planted = edit.apply(&bug.name, &fs::read_to_string(&path)?).map_err(|why| {
                io::Error::other(format!("{}: {why} in {}: {}", bug.name, edit.file, edit.within))
            })?;
            fs::write(path, planted)?;
        }
    }
    let library = root.join("src/lib.rs");
    let mut text = fs::read_to_string(&library)?;
    text.push_str(SWITCH);
    fs::write(library, text)
}

impl Edit {
    fn apply(&self, name: &str, text: &str) -> Result<String, &'static str> {
        let within = self.within.trim_start_matches('\n');
        if text.matches(within).count() != 1 || within.matches(&self.before).count() != 1 {
            return Err("not there exactly once");
        }
        let (before, after) = (&self.before, &self.after);
        let both = if self.raw {
            after.clone()
        } else {
            format!("(if crate::planted({name:?}) {{ {after} }} else {{ {before} }})")
        };
        Ok(text.replace(within, &within.replace(before, &both)))
    }
}

/// Which bug acts, read once.
const SWITCH: &str = r#"
pub(crate) fn planted(name: &str) -> bool {
    extern crate std;
    static PLANTED: std::sync::OnceLock<Option<std::string::String>> = std::sync::OnceLock::new();
    PLANTED.get_or_init(|| std::env::var("PLANTED").ok()).as_deref() == Some(name)
}
"#;
