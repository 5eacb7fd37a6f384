//! `leasehold attacks`: what of the attack catalogue a policy lets through, or another program's answers do.

use std::{
    io::BufReader,
    path::PathBuf,
    process::{Command, Stdio},
};

use clap::Args;
use leasehold::{
    egress::EgressPolicy,
    testing::attacks::{self, Report, Verdict},
};

use super::{
    End, Fault, Outcome,
    document::{self, Kind},
    say,
};

#[derive(Args)]
pub struct Arguments {
    /// The egress policy, JSON or TOML
    policy: PathBuf,
    /// Put the cases to this program instead: it reads a question and writes an answer, a JSON object on a line each
    #[arg(long, value_name = "PROGRAM")]
    program: Option<PathBuf>,
    /// An argument of the program; may be repeated
    #[arg(long, value_name = "ARGUMENT", requires = "program", allow_hyphen_values = true)]
    arg: Vec<String>,
    /// Print the cases, a JSON object on a line each, and ask nothing
    #[arg(long, conflicts_with = "program")]
    list: bool,
    /// Print every row of the report as JSON, a line each
    #[arg(long, conflicts_with = "list")]
    json: bool,
}

fn line(value: &impl serde::Serialize) -> Result<String, Fault> {
    serde_json::to_string(value).map_err(|error| Fault::new(format!("a case cannot be written: {error}")))
}

pub fn run(arguments: &Arguments, out: &mut String) -> Outcome {
    let document = document::load_sound(&arguments.policy, Kind::Egress)?;
    let policy: EgressPolicy = serde_json::from_value(document.document)
        .map_err(|error| Fault::new(format!("{}: {error}", arguments.policy.display())))?;
    if arguments.list {
        for case in attacks::egress(&policy) {
            say(out, line(&case)?);
        }
        return Ok(End::Yes);
    }
    let report = match &arguments.program {
        Some(program) => ask(program, &arguments.arg, &policy)?,
        None => attacks::replay(&policy)
            .map_err(|error| Fault::new(format!("{}: {error}", arguments.policy.display())))?,
    };
    if arguments.json {
        for row in &report.rows {
            say(out, line(row)?);
        }
    } else {
        say(out, &report);
    }
    // A control that is refused says that the case does not fit the policy, so it has shown nothing about its rule.
    let proves = report.holds() && report.count(Verdict::ControlRefused) == 0;
    Ok(if proves { End::Yes } else { End::No })
}

fn ask(program: &PathBuf, given: &[String], policy: &EgressPolicy) -> Result<Report, Fault> {
    let fault = |error: &dyn std::fmt::Display| Fault::new(format!("{}: {error}", program.display()));
    let mut child = Command::new(program)
        .args(given)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| fault(&error))?;
    let (Some(questions), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(fault(&"it has no standard input or output"));
    };
    let report = attacks::ask(&attacks::egress(policy), policy, questions, BufReader::new(answers));
    // Its input is closed now, so it ends; one that does not is ended.
    if report.is_err() {
        let _ = child.kill();
    }
    let ended = child.wait().map_err(|error| fault(&error))?;
    let report = report.map_err(|error| fault(&error))?;
    if ended.success() { Ok(report) } else { Err(fault(&ended)) }
}
