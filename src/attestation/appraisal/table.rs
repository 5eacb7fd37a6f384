//! A verdict as a table for people: what was claimed, what it was held against, what came of it.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};

use serde::Serialize;

use super::{Appraisal, Dimension, EvidenceContext, Submission, Tier};
use crate::{
    attestation::{
        dsse::Envelope,
        evidence::{Claim, EvidenceForm, WorkerAttestation},
        policy::{AttestationPolicy, AttestationPolicyForm, KeyRole, Label, ReferenceSet, Rule},
    },
    code::{Code, Coded},
};

/// The most characters of a cell.
const CELL: usize = 120;

/// One row: a check, or a part of one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CheckRow {
    /// The check.
    pub check: Code,
    /// What the evidence, or an attachment, says. Nothing of evidence that is not believed is shown.
    pub claim: String,
    /// What the policy and the connection say to it.
    pub reference: String,
    /// The tier that the check reached.
    pub verdict: Tier,
    /// The codes of what did not hold.
    pub codes: Vec<Code>,
}

impl Appraisal {
    /// The table of this appraisal, one row for every dimension of trust and one for every attachment.
    ///
    /// `submission`, `policy` and `context` are those that were judged: they are read again, since a verdict keeps no
    /// claims. For audit and for people who write policies; not for the peer. Cost: another read of the evidence.
    pub fn table(
        &self,
        submission: &Submission<'_>,
        policy: &AttestationPolicy,
        context: &EvidenceContext<'_>,
    ) -> Vec<CheckRow> {
        let form = policy.form();
        let believed = self.evidence().is_some();
        let claims = believed.then(|| claims(submission, form)).flatten();
        let row = |dimension: Dimension| {
            let failures = self.failures().iter().filter(|failure| failure.dimension() == dimension);
            let claim = match (&claims, dimension) {
                (_, Dimension::Authenticity) => format!("evidence of the form {}", submission.form.as_str()),
                (None, _) => "not looked at".into(),
                (Some(claims), dimension) => claimed(claims, dimension, submission.attachments.len()),
            };
            CheckRow {
                check: dimension.code(),
                claim: cell(claim),
                reference: cell(reference(dimension, form, context)),
                verdict: self.trust().tier(dimension),
                codes: failures.map(Coded::code).collect(),
            }
        };
        let mut rows: Vec<CheckRow> = Dimension::ALL.into_iter().map(row).collect();
        rows.extend(self.attachments().iter().map(|finding| {
            let (claim, verdict, codes) = match &finding.outcome {
                Ok(vouched) => (vouched.to_string(), Tier::Affirming, Vec::new()),
                Err(reason) => (reason.to_string(), Tier::Contraindicated, [reason.code()].into()),
            };
            CheckRow {
                check: Dimension::Provenance.code(),
                claim: cell(format!("{}: {claim}", finding.place)),
                reference: cell(reference(Dimension::Provenance, form, context)),
                verdict,
                codes,
            }
        }));
        rows
    }
}

fn claims(submission: &Submission<'_>, form: &AttestationPolicyForm) -> Option<WorkerAttestation> {
    match submission.form {
        EvidenceForm::Json => WorkerAttestation::from_document(submission.bytes, &form.limits).ok(),
        EvidenceForm::Dsse => {
            let envelope = Envelope::parse(submission.bytes, &form.limits.envelope()).ok()?;
            WorkerAttestation::from_statement(envelope.unverified_payload(), &form.limits).ok()
        }
    }
}

/// What fits into a cell. The claims have grammars of their own, and what was found in attachments is escaped.
fn cell(text: String) -> String {
    match text.char_indices().nth(CELL) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

fn shown<T: ToString>(claim: &Claim<T>) -> String {
    read(claim, ToString::to_string)
}

fn read<T>(claim: &Claim<T>, show: impl FnOnce(&T) -> String) -> String {
    match claim {
        Claim::Stated(value) => show(value),
        Claim::Absent => "not stated".into(),
        Claim::Malformed => "cannot be read".into(),
        Claim::MalformedEntry(entry) => format!("entry {} is {}", entry.index, entry.found),
    }
}

fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    if items.is_empty() { "none".into() } else { items.join(", ") }
}

fn claimed(claims: &WorkerAttestation, dimension: Dimension, attachments: usize) -> String {
    match dimension {
        Dimension::Authenticity => String::new(),
        Dimension::Identity => format!(
            "worker {}, device {}, fleet {}",
            shown(&claims.worker),
            shown(&claims.device),
            shown(&claims.audience)
        ),
        Dimension::Binding => shown(&claims.certificate),
        Dimension::Freshness => {
            format!("issued {}, expires {}", shown(&claims.issued), shown(&claims.expires))
        }
        Dimension::Image => shown(&claims.image),
        Dimension::Build => shown(&claims.build),
        Dimension::Artifact => shown(&claims.artifact),
        Dimension::Protocol => shown(&claims.protocol),
        Dimension::Wit => read(&claims.wit, |names| list(names)),
        Dimension::Capabilities => {
            let names = read(&claims.capabilities, |set| list(set.iter()));
            format!("{names}, granted by {}", shown(&claims.authority))
        }
        Dimension::Egress => read(&claims.egress, |_| "a binding".into()),
        Dimension::Provenance => format!("{attachments} attachments"),
    }
}

fn reference(dimension: Dimension, form: &AttestationPolicyForm, context: &EvidenceContext<'_>) -> String {
    let keys = |role| form.keys.iter().filter(|scoped| scoped.has_role(role)).count();
    match dimension {
        Dimension::Authenticity => {
            let forms = list(form.accept.iter().map(|form| form.as_str()));
            let (need, keys) = (form.threshold, keys(KeyRole::Evidence));
            format!("{forms}; {need} owners of {keys} keys or of the paired node's")
        }
        Dimension::Identity => format!("device {}, fleet {}", context.device, context.audience),
        Dimension::Binding => context.certificate.to_string(),
        Dimension::Freshness => {
            let times = &form.times;
            format!(
                "now {}, challenged {}, at most {} old, good for at most {}",
                context.now, context.nonce_issued, times.max_age_ms, times.max_lifetime_ms
            )
        }
        Dimension::Image => rule(&form.image, references),
        Dimension::Build => rule(&form.build, references),
        Dimension::Artifact => rule(&form.artifact, references),
        Dimension::Protocol => rule(&form.protocol, |rule| match rule {
            Some(rule) => format!("{} without {}", rule.range, list(&rule.denied)),
            None => "none".into(),
        }),
        Dimension::Wit => rule(&form.wit, |list_of| list(list_of.iter().map(|wit| &wit.minimum))),
        Dimension::Capabilities => {
            let rules = &form.capabilities;
            let authorities = list(rules.authorities.iter().map(|authority| &authority.label));
            format!("{}, granted by {authorities}", list(rules.trusted.iter()))
        }
        Dimension::Egress => rule(&form.egress, |rule| {
            format!("{} policies, {} proxy keys", rule.policies.len(), keys(KeyRole::EgressProxy))
        }),
        Dimension::Provenance => match &form.provenance {
            None => "not asked for".into(),
            Some(rule) => {
                let of = list(form.vouched(rule).iter().map(|what| what.name()));
                let (need, keys, identities) =
                    (rule.threshold, keys(KeyRole::Builder), form.identities.len());
                format!("{of}: {need} owners of {keys} builder keys and {identities} identities")
            }
        },
    }
}

fn rule<T>(rule: &Rule<T>, show: impl FnOnce(&T) -> String) -> String {
    match rule {
        Rule::Require(required) => show(required),
        Rule::Waived { reason } => format!("waived: {reason}"),
    }
}

fn references(set: &ReferenceSet) -> String {
    list(set.values().iter().map(|value| -> &Label { &value.label }).take(8))
}
