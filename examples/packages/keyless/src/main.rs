//! What may the builders of a bundle vouch for under a policy? Offline; see the README for the exit status.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "the command line reads the clock")]

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::{SystemTime, UNIX_EPOCH},
};

use clap::{Parser, Subcommand};
use leasehold::{
    attestation::{
        Appraiser, AttachmentError, AttestationPolicy, InspectedStatement,
        keyless::IdentityError,
        policy::AttestationPolicyForm,
        signature::DefaultVerifier,
        strict::{self, Limits},
    },
    code::{Code, Coded},
    time::Wall,
};
use leasehold_keyless::Sigstore;
use serde_json::{Value, json};

#[derive(Parser)]
#[command(about = "Verifies sigstore bundles for a leasehold attestation policy, without any network")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Says what a bundle's builders may vouch for under a policy.
    Verify {
        /// A sigstore bundle, or JSON lines of bundles.
        bundle: PathBuf,
        /// An attestation policy with `identities` and `provenance`.
        #[arg(long)]
        policy: PathBuf,
        /// `trusted_root.json`; without it the root of sigstore's public instance that ships here.
        #[arg(long)]
        trust_root: Option<PathBuf>,
    },
}

/// Why there is no answer, and the exit status.
struct Refused {
    code: Option<Code>,
    message: String,
    status: u8,
}

impl Refused {
    fn unreadable(what: &Path, why: impl std::fmt::Display) -> Self {
        Self { code: None, message: format!("{}: {why}", what.display()), status: 2 }
    }
}

impl From<IdentityError> for Refused {
    fn from(error: IdentityError) -> Self {
        Self { code: Some(error.code()), message: error.to_string(), status: 1 }
    }
}

fn policy(path: &Path) -> Result<AttestationPolicy, Refused> {
    let bytes = std::fs::read(path).map_err(|error| Refused::unreadable(path, error))?;
    let form: AttestationPolicyForm =
        strict::read(&bytes, &Limits::POLICY).map_err(|error| Refused::unreadable(path, error))?;
    AttestationPolicy::try_from(form).map_err(|error| Refused::unreadable(path, error))
}

fn shown(statement: &InspectedStatement) -> Value {
    let place = json!({"line": statement.place.line});
    let answer = match &statement.outcome {
        Ok(facts) => json!({
            "accepted": true, "code": "attestation.provenance.vouched",
            "builder": facts.builder, "predicate": facts.predicate.predicate(), "signers": facts.signers,
            "subjects": facts.subjects.iter().map(|subject| json!({
                "sha256": subject.sha256().map(|digest| digest.to_string()),
                "sha512": subject.sha512().map(|digest| digest.to_string()),
            })).collect::<Vec<_>>(),
        }),
        Err(reason) => json!({"accepted": false, "code": reason.code(), "message": reason.to_string()}),
    };
    let mut members = place.as_object().cloned().unwrap_or_default();
    members.extend(answer.as_object().cloned().unwrap_or_default());
    Value::Object(members)
}

/// The status of a statement: what cannot be read is told apart from what is refused.
fn status(statement: &InspectedStatement) -> u8 {
    match &statement.outcome {
        Ok(_) => 0,
        Err(AttachmentError::Container(_) | AttachmentError::Identity(IdentityError::Bundle(_))) => 2,
        Err(_) => 1,
    }
}

fn verify(bundle: &Path, policy_file: &Path, root: Option<&Path>) -> Result<(Value, u8), Refused> {
    let policy = policy(policy_file)?;
    let bytes = std::fs::read(bundle).map_err(|error| Refused::unreadable(bundle, error))?;
    let identities = root.map_or_else(Sigstore::public, Sigstore::from_file)?;
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = Wall(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX));
    let mut appraiser = Appraiser::new(&policy, &DefaultVerifier);
    appraiser.identities = Some(&identities);
    let statements = appraiser.inspect(&bytes, now);
    let worst = statements.iter().map(status).max().unwrap_or(2);
    let shown: Vec<Value> = statements.iter().map(shown).collect();
    Ok((json!({"accepted": worst == 0, "statements": shown}), worst))
}

fn main() -> ExitCode {
    let Command::Verify { bundle, policy, trust_root } = Arguments::parse().command;
    let (answer, status) = verify(&bundle, &policy, trust_root.as_deref()).unwrap_or_else(|refused| {
        let answer = json!({"accepted": false, "code": refused.code, "message": refused.message});
        (answer, refused.status)
    });
    println!("{answer:#}");
    ExitCode::from(status)
}
