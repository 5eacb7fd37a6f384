//! One way in for policy files: egress, attestation and fleet policies are read, validated and linted the same way.
//!
//! A program that loads a policy wants to tell its operator what to change. [`read_egress`], [`read_attestation`] and
//! [`read_fleet`] therefore give a [`Finding`]: the line and column, the path of the member, the rule, the value that
//! stands there, what was due, and a likely fix. What is legal and unwise comes back as findings, too, in
//! [`Checked::warnings`]. TOML is read with the feature `cli`; it is turned into the same JSON, so both notations have
//! the same members, limits and messages.
//!
//! ```
//! use leasehold::{code::Coded, policy_file::{self, Notation}};
//! let text = br#"{
//!   "rules": [
//!     {"id": "models", "hosts": ["api.example.com"], "methds": ["POST"]}
//!   ]
//! }"#;
//! let finding = policy_file::read_egress(text, Notation::Json, &()).unwrap_err();
//! assert_eq!((finding.line, finding.code().as_str()), (3, "egress.policy.malformed"));
//! assert_eq!(finding.rule.as_deref(), Some("models"));
//! assert_eq!(finding.help.as_deref(), Some("did you mean `methods`?"));
//! ```
//!
//! Limits: a file has at most 8 MiB, integers only, and no duplicate keys; attestation and fleet policies obey
//! [`Limits::POLICY`]. Cost: linear in the size of the file; the positions of members are looked up only where there
//! is something to report.

mod conflict;
mod finding;
mod location;
mod notation;
mod shape;
mod source;
#[cfg(feature = "cli")]
mod toml;

use alloc::{format, string::ToString, vec::Vec};

use serde::{Serialize, de::DeserializeOwned};

use self::source::Source;
pub use self::{finding::Finding, notation::Notation};
use crate::{
    attestation::{
        policy::{AttestationPolicy, AttestationPolicyForm, Warning},
        strict::Limits,
    },
    code::{self, Code, Coded as _},
    egress::{EgressPolicy, EgressProxyPolicyService, PolicyReason, PublicSuffixes, lint},
    fleet::{WorkerFleetPolicy, WorkerFleetPolicyForm},
    time::Wall,
};

/// A policy that was read: as it is written, as it decides, and what is legal in it and unwise.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Checked<D, P> {
    /// The policy as it is written, with its defaults filled in.
    pub document: D,
    /// The policy as it decides.
    pub policy: P,
    /// What is legal and unwise, in the order of the linter.
    pub warnings: Vec<Finding>,
}

/// Reads, compiles and lints an egress policy.
///
/// # Errors
/// The first [`Finding`], with a code of the groups `json` or `egress.policy`.
pub fn read_egress(
    text: &[u8],
    notation: Notation,
    suffixes: &dyn PublicSuffixes,
) -> Result<Checked<EgressPolicy, EgressProxyPolicyService>, Finding> {
    let source = Source::read(text, notation, &Limits::GENERAL.integers())?;
    let document: EgressPolicy = fill(&source, code::EGRESS_POLICY_MALFORMED)?;
    let policy = EgressProxyPolicyService::compile(&document).map_err(|error| {
        let mut path = match error.index {
            Some(index) => format!("rules[{index}].{}", error.field),
            None => error.field.to_string(),
        };
        if let Some(entry) = entry(&error.reason) {
            path = format!("{path}[{entry}]");
        }
        source.finding(error.code(), &path, error.reason.to_string())
    })?;
    let warnings = lint(&document, &policy, suffixes)
        .iter()
        .map(|warning| {
            let index = document.rules.iter().position(|rule| rule.id == warning.rule);
            let path = index.map(|index| format!("rules[{index}]")).unwrap_or_default();
            source.finding(warning.code(), &path, warning.message.clone()).without_value()
        })
        .collect();
    Ok(Checked { document, policy, warnings })
}

/// The entry of the list that is at fault.
fn entry(reason: &PolicyReason) -> Option<usize> {
    match reason {
        PolicyReason::Host { at, .. }
        | PolicyReason::Scheme(at)
        | PolicyReason::Method(at)
        | PolicyReason::Path(at)
        | PolicyReason::Address(at) => Some(*at),
        _ => None,
    }
}

/// Reads, validates and lints an attestation policy; `now` tells the linter what has expired.
///
/// # Errors
/// The first [`Finding`], with a code of the group `json`, or `attestation.policy.invalid`.
pub fn read_attestation(
    text: &[u8],
    notation: Notation,
    now: Wall,
) -> Result<Checked<AttestationPolicyForm, AttestationPolicy>, Finding> {
    let source = Source::read(text, notation, &Limits::POLICY)?;
    let document: AttestationPolicyForm = fill(&source, code::ATTESTATION_POLICY_INVALID)?;
    let policy = AttestationPolicy::try_from(document.clone())
        .map_err(|error| contradiction(&source, error.code(), error.rule(), &document))?;
    let warnings = attestation_warnings(&source, "", &policy.lint(now));
    Ok(Checked { document, policy, warnings })
}

/// Reads, validates and lints a fleet policy; `now` tells the linter of its attestation policy what has expired.
///
/// # Errors
/// The first [`Finding`], with a code of the group `json`, or `policy.invalid`.
pub fn read_fleet(
    text: &[u8],
    notation: Notation,
    now: Wall,
) -> Result<Checked<WorkerFleetPolicyForm, WorkerFleetPolicy>, Finding> {
    let source = Source::read(text, notation, &Limits::POLICY)?;
    let document: WorkerFleetPolicyForm = fill(&source, code::POLICY_INVALID)?;
    let policy = WorkerFleetPolicy::try_from(document.clone())
        .map_err(|error| contradiction(&source, error.code(), error.rule(), &document))?;
    let warnings = attestation_warnings(&source, "attestation", &document.attestation.lint(now));
    Ok(Checked { document, policy, warnings })
}

/// The message of a warning begins with the member that it is about.
fn attestation_warnings(source: &Source<'_>, below: &str, warnings: &[Warning]) -> Vec<Finding> {
    let location = |warning: &Warning| {
        let text = warning.to_string();
        let (member, message) = text.split_once(": ").unwrap_or(("", &text));
        let path = location::join(below, member);
        source.finding(warning.code(), &path, message.to_string()).without_value()
    };
    warnings.iter().map(location).collect()
}

/// A rule between members does not hold: the finding stands at the first of them and shows the values of all.
fn contradiction(source: &Source<'_>, code: Code, rule: &str, document: &impl Serialize) -> Finding {
    let whole = serde_json::to_value(document).unwrap_or_default();
    conflict::finding(source, code, rule, &whole)
}

/// Fills the type of a policy from the checked text.
fn fill<T: DeserializeOwned>(source: &Source<'_>, code: Code) -> Result<T, Finding> {
    source.fill().map_err(|(offset, reason)| shape::finding(source, code, offset, &reason))
}
