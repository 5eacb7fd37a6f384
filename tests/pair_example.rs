//! The `pair` example as a whole: two terminals as processes, played by its own script, which looks at them from outside.
//!
//! What it proves: pairing by QR code, PIN and comparison, a rejection, and after each pairing the life of the device in
//! the fleet: work, rotation, revocation in the middle of a lease, refusal.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a test of processes waits for them")]

use std::{
    error::Error,
    path::PathBuf,
    process::{Command, Output, Stdio},
};

type Outcome = Result<(), Box<dyn Error>>;

mod example_support;

fn pair() -> Result<PathBuf, Box<dyn Error>> {
    let sources = ["src", "examples/pair", "examples/fleet"];
    example_support::built("pair", &sources)
}

fn shown(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{}\n{out}\n{err}", output.status)
}

/// Plays one way and gives the steps that the script saw.
fn script(way: &str) -> Result<Vec<String>, Box<dyn Error>> {
    let output = Command::new(pair()?).args(["--script", way]).stdin(Stdio::null()).output()?;
    assert!(output.status.success(), "{}", shown(&output));
    assert!(output.stderr.is_empty(), "{}", shown(&output));
    let text = String::from_utf8(output.stdout)?;
    assert!(text.ends_with("every step was seen\n"), "{text}");
    Ok(text.lines().filter_map(|line| line.strip_prefix("seen: ")).map(str::to_owned).collect())
}

/// Steps that every pairing which is approved leads to.
const LIFE: [&str; 8] = [
    "the operator is asked",
    "approved",
    "the device joined the fleet and did a job",
    "the device rotated its certificate",
    "the old certificate is refused",
    "revoked in the middle of a job",
    "the revoked device comes back and is refused",
    "no secret was shown",
];

fn lives(steps: &[String]) {
    let mut steps = steps.iter();
    for step in LIFE {
        assert!(steps.any(|seen| seen.starts_with(step)), "not seen, or not in this order: {step}");
    }
}

/// The example from end to end: a device pairs, works, rotates, and is revoked.
#[test]
fn a_device_pairs_by_qr_code_works_rotates_and_is_revoked() -> Outcome {
    let steps = script("qr")?;
    assert!(steps[0].contains("draws the QR code"), "{steps:?}");
    lives(&steps);
    Ok(())
}

#[test]
fn a_device_pairs_by_pin_works_rotates_and_is_revoked() -> Outcome {
    let steps = script("pin")?;
    assert!(steps[0].starts_with("somebody who guesses the PIN"), "{steps:?}");
    lives(&steps);
    Ok(())
}

#[test]
fn a_device_pairs_by_comparison_works_rotates_and_is_revoked() -> Outcome {
    lives(&script("compare")?);
    Ok(())
}

#[test]
fn a_rejected_device_gets_nothing() -> Outcome {
    let steps = script("reject")?;
    assert!(steps.iter().any(|step| step.starts_with("the operator says no")), "{steps:?}");
    assert!(!steps.iter().any(|step| step.starts_with("approved")), "{steps:?}");
    Ok(())
}
