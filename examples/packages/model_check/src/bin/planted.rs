//! Plants every bug of `planted.toml` in one copy of the crate, each behind its name, builds that once, and asks of each bug whether
//! its check notices it. A check that fails without any bug, or passes with its bug, fails the whole.
//!
//! `planted [--also] [NAME ...]`: with `--also`, the second check of each is tried, too.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "how long a search took is for people"
)]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    time::Instant,
};

use leasehold_model_check::planted::{Bug, bugs, plant};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let also = arguments.iter().any(|argument| argument == "--also");
    let wanted: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with("--")).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..");
    let bugs: Vec<Bug> = bugs()
        .into_iter()
        .filter(|bug| wanted.is_empty() || wanted.iter().any(|name| **name == bug.name))
        .collect();
    let copy = Copy::of(&root);
    plant(&copy.0, &bugs).expect("every bug is planted");

    let checks: BTreeSet<&str> = bugs
        .iter()
        .flat_map(|bug| [Some(bug.check.as_str()), bug.also.as_deref().filter(|_| also)])
        .flatten()
        .collect();
    for check in checks {
        if !copy.passes(check, None) {
            println!("{check}: FAILS WITHOUT A BUG");
            return ExitCode::FAILURE;
        }
    }
    println!("| bug | what it does | found by | seconds |\n|---|---|---|---|");
    let mut missed = 0;
    for bug in &bugs {
        for check in [Some(&bug.check), bug.also.as_ref().filter(|_| also)].into_iter().flatten() {
            let began = Instant::now();
            let found = !copy.passes(check, Some(&bug.name));
            let seconds = began.elapsed().as_secs_f32();
            println!(
                "| `{}` | {} | `{check}` | {} |",
                bug.name,
                bug.says,
                if found {
                    format!("{seconds:.1}")
                } else {
                    missed += 1;
                    "NOT FOUND".to_owned()
                }
            );
        }
    }
    if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The longest that one check may take, with what it builds, in seconds.
const LONGEST: &str = "900";

/// A copy of what git knows of the crate, which goes when it is dropped.
struct Copy(PathBuf);

impl Copy {
    fn of(root: &Path) -> Self {
        let copy = std::env::temp_dir().join(format!("leasehold-planted-{}", std::process::id()));
        let list = Command::new("git").args(["ls-files", "-z"]).current_dir(root).output().expect("git");
        for file in String::from_utf8(list.stdout).expect("names").split('\0').filter(|file| !file.is_empty())
        {
            let to = copy.join(file);
            fs::create_dir_all(to.parent().expect("a folder")).expect("a folder");
            // What is deleted and not committed yet is listed.
            let _ = fs::copy(root.join(file), to);
        }
        Self(copy)
    }

    /// Runs a check: `model NAME`, `lib FILTER`, or a file of tests with a filter.
    fn passes(&self, check: &str, bug: Option<&str>) -> bool {
        let mut words = check.split_whitespace();
        // A bug that makes its check go on for ever is noticed, too.
        let mut command = Command::new("timeout");
        command.args([LONGEST, "cargo"]);
        match (words.next().unwrap_or_default(), words.next()) {
            ("model", name) => {
                command.args(["run", "--locked", "--quiet", "--release", "-p", "leasehold-model-check"]);
                command.args(["--bin", "leasehold-model-check", "--"]).args(name);
                command.current_dir(self.0.join("examples/packages"));
            }
            ("lib", filter) => {
                command.args(["test", "--locked", "--quiet", "--lib"]).args(filter).current_dir(&self.0);
            }
            (file, filter) => {
                command
                    .args(["test", "--locked", "--quiet", "--test", file])
                    .args(filter)
                    .current_dir(&self.0);
            }
        }
        command.env_remove("PLANTED").envs(bug.map(|bug| ("PLANTED", bug)));
        if bug.is_some() {
            command.stdout(Stdio::null()).stderr(Stdio::null());
        }
        command.status().expect("cargo").success()
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
