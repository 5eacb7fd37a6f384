//! `leasehold attest test`: what an attestation policy says of evidence.

use std::path::PathBuf;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::{
    End, Fault, Outcome, answer,
    document::{self, Kind},
    say,
};

#[derive(Subcommand)]
pub enum Command {
    /// Would a worker with this evidence be let in?
    Test(Arguments),
}

/// The wire form of evidence.
#[derive(Clone, Copy, ValueEnum)]
enum Form {
    /// A signed DSSE envelope
    Dsse,
    /// An unsigned document
    Json,
}

#[derive(Args)]
pub struct Arguments {
    /// The attestation policy, JSON or TOML
    policy: PathBuf,
    /// The evidence as the worker sends it
    #[arg(long)]
    evidence: PathBuf,
    /// Its form
    #[arg(long, value_enum, default_value = "dsse")]
    form: Form,
    /// An envelope of a builder; may be repeated
    #[arg(long)]
    attachment: Vec<PathBuf>,
    /// A JSON file: {"now": MS, "nonce": HEX, "audience": FLEET, "device": {"id": ID, "certificate_sha256": HEX}}
    #[arg(long)]
    context: PathBuf,
    /// Print the whole report as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(command: &Command, out: &mut String) -> Outcome {
    let Command::Test(arguments) = command;
    let policy = document::load_sound(&arguments.policy, Kind::Attestation)?;
    let context: Value = serde_json::from_slice(&document::read(&arguments.context)?)
        .map_err(|error| Fault::new(format!("{}: {error}", arguments.context.display())))?;
    let attachments: Vec<String> = arguments
        .attachment
        .iter()
        .map(|path| document::read(path).map(|bytes| STANDARD.encode(bytes)))
        .collect::<Result<_, _>>()?;
    let question = json!({
        "kind": "attestation",
        "form": match arguments.form { Form::Dsse => "dsse", Form::Json => "json" },
        "document": STANDARD.encode(document::read(&arguments.evidence)?),
        "attachments": attachments,
        "policy": policy.document,
        "context": context,
    });
    let answer = answer::answer(question.to_string().as_bytes());
    if let Some(error) = answer.get("error") {
        let message = error.get("message").and_then(Value::as_str).unwrap_or_default();
        return Err(Fault::new(format!("{}: {message}", arguments.context.display())));
    }
    let accepted = answer.get("accepted") == Some(&Value::Bool(true));
    if arguments.json {
        say(out, format_args!("{answer:#}"));
    } else {
        let worker = answer.get("worker").and_then(Value::as_str).unwrap_or("unknown");
        say(out, format_args!("{} worker {worker}", if accepted { "accepted" } else { "refused" }));
        for line in answer::table(&answer).into_iter().flatten() {
            say(out, format_args!("  {line}"));
        }
    }
    Ok(if accepted { End::Yes } else { End::No })
}
