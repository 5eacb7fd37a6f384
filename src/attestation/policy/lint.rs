//! What is legal in a policy and useless or dangerous.

use alloc::{format, string::String, vec::Vec};

use super::{AttestationPolicyForm, KeyRole, ReferenceSet, Rule};
use crate::{
    attestation::{
        appraisal::Measurement,
        evidence::{EVIDENCE_PREDICATE, EvidenceForm},
    },
    code::{self, Code, Coded},
    time::{Millis, Wall},
};

/// A warning about a policy: a code, and a message that names the place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    code: Code,
    message: String,
}

impl Coded for Warning {
    fn code(&self) -> Code {
        self.code
    }
}

impl core::fmt::Display for Warning {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&self.message)
    }
}

pub(super) fn run(form: &AttestationPolicyForm, now: Wall) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let mut warn = |code, message: String| warnings.push(Warning { code, message });
    if form.accept.contains(&EvidenceForm::Json) {
        warn(code::LINT_UNSIGNED, "accept: unsigned documents are taken; nobody vouches for them".into());
    }
    let times = &form.times;
    if times.max_lifetime_ms > Millis::from_secs(7 * 86_400) {
        warn(code::LINT_LIFETIME, "times: evidence may live for more than a week".into());
    }
    if times.future_skew_ms > Millis::from_secs(300) || times.expiry_skew_ms > Millis::from_secs(300) {
        warn(code::LINT_SKEW, "times: a skew of more than five minutes hides a broken clock".into());
    }
    for (name, rule) in [("image", &form.image), ("build", &form.build), ("artifact", &form.artifact)] {
        if let Rule::Waived { reason } = rule {
            warn(code::LINT_WAIVED, format!("{name}: not checked ({reason})"));
        } else if let Rule::Require(set) = rule {
            references(name, set, now, &mut warn);
        }
    }
    match &form.protocol {
        Rule::Waived { reason } => warn(code::LINT_WAIVED, format!("protocol: not checked ({reason})")),
        Rule::Require(None) => {
            warn(code::LINT_NO_REFERENCE, "protocol: no range, so every worker is refused".into())
        }
        Rule::Require(Some(rule)) => {
            if rule.range.highest_common(&rule.range, &rule.denied).is_none() {
                warn(code::LINT_UNREACHABLE, "protocol: every version of the range is denied".into());
            }
            if rule.denied.iter().any(|version| !(rule.range.min()..=rule.range.max()).contains(version)) {
                warn(code::LINT_UNREACHABLE, "protocol: a denied version is outside the range anyway".into());
            }
        }
    }
    match &form.wit {
        Rule::Waived { reason } => warn(code::LINT_WAIVED, format!("wit: not checked ({reason})")),
        Rule::Require(list) if list.is_empty() => {
            warn(code::LINT_NO_REFERENCE, "wit: no interface, so every worker is refused".into());
        }
        Rule::Require(_) => {}
    }
    capabilities(form, &mut warn);
    egress(form, &mut warn);
    provenance(form, now, &mut warn);
    keys(form, now, &mut warn);
    warnings
}

fn references(name: &str, set: &ReferenceSet, now: Wall, warn: &mut dyn FnMut(Code, String)) {
    if set.values().is_empty() {
        warn(code::LINT_NO_REFERENCE, format!("{name}: no reference value, so every worker is refused"));
    }
    for value in set.values() {
        if value.window.end() <= now {
            warn(code::LINT_EXPIRED, format!("{name}: {} has expired", value.label));
        }
        if set.denied().binary_search(&value.digest).is_ok() {
            warn(
                code::LINT_ALLOWED_AND_DENIED,
                format!("{name}: {} is trusted and denied; denied wins", value.label),
            );
        }
    }
}

fn capabilities(form: &AttestationPolicyForm, warn: &mut dyn FnMut(Code, String)) {
    let rules = &form.capabilities;
    if rules.trusted.is_empty() || rules.authorities.is_empty() {
        warn(code::LINT_NO_REFERENCE, "capabilities: nothing is trusted, so every worker is refused".into());
    }
    for authority in &rules.authorities {
        if authority.grants.iter().all(|name| !rules.trusted.contains(name)) {
            warn(
                code::LINT_UNREACHABLE,
                format!("capabilities: {} grants nothing that is trusted", authority.label),
            );
        }
    }
    let granted = |name| rules.authorities.iter().any(|authority| authority.grants.contains(name));
    for name in rules.trusted.iter().filter(|name| !granted(name)) {
        warn(code::LINT_UNREACHABLE, format!("capabilities: {name} is trusted and no authority grants it"));
    }
}

fn egress(form: &AttestationPolicyForm, warn: &mut dyn FnMut(Code, String)) {
    match &form.egress {
        Rule::Waived { reason } => warn(code::LINT_WAIVED, format!("egress: not checked ({reason})")),
        Rule::Require(rule) => {
            let proxy = form.keys.iter().any(|scoped| scoped.has_role(KeyRole::EgressProxy));
            if rule.policies.is_empty() || !proxy {
                warn(
                    code::LINT_NO_REFERENCE,
                    "egress: no policy or no proxy, so every worker is refused".into(),
                );
            }
        }
    }
}

fn provenance(form: &AttestationPolicyForm, now: Wall, warn: &mut dyn FnMut(Code, String)) {
    for identity in &form.identities {
        let name = &identity.owner;
        if identity.builders.is_empty() || identity.predicates.is_empty() {
            warn(
                code::LINT_UNREACHABLE,
                format!("identities: {name} may sign nothing, or speak for no builder"),
            );
        }
        if identity.window.end() <= now {
            warn(code::LINT_EXPIRED, format!("identities: {name} has expired"));
        }
    }
    let Some(rule) = &form.provenance else {
        if !form.identities.is_empty() {
            warn(code::LINT_UNREACHABLE, "identities: provenance is not asked for".into());
        }
        return;
    };
    if !rule.of.is_empty() {
        return;
    }
    let asked = form.vouched(rule);
    for what in [Measurement::Image, Measurement::Build].into_iter().filter(|what| !asked.contains(what)) {
        let name = what.name();
        warn(
            code::LINT_WAIVED,
            format!("provenance: {name} is waived, so no builder is asked for it; name it in `of` to ask"),
        );
    }
}

fn keys(form: &AttestationPolicyForm, now: Wall, warn: &mut dyn FnMut(Code, String)) {
    for scoped in &form.keys {
        let name = scoped.key.keyid();
        let evidence = scoped.has_role(KeyRole::Evidence);
        if (evidence || scoped.has_role(KeyRole::EgressProxy)) && scoped.workers.is_empty() {
            warn(code::LINT_UNREACHABLE, format!("keys: {name} may vouch for no worker"));
        }
        if evidence && !scoped.allows_predicate(EVIDENCE_PREDICATE) {
            warn(code::LINT_UNREACHABLE, format!("keys: {name} may not sign {EVIDENCE_PREDICATE}"));
        }
        if evidence && scoped.has_role(KeyRole::EgressProxy) {
            warn(code::LINT_ROLES, format!("keys: {name} vouches for a worker and for its egress"));
        }
        if scoped.has_role(KeyRole::Builder) && scoped.builders.is_empty() {
            warn(code::LINT_UNREACHABLE, format!("keys: {name} may speak for no builder"));
        }
        if scoped.window.end() <= now {
            warn(code::LINT_EXPIRED, format!("keys: {name} has expired"));
        }
        if form.revoked.keys.contains(&scoped.key.fingerprint()) {
            warn(code::LINT_ALLOWED_AND_DENIED, format!("keys: {name} is trusted and revoked; revoked wins"));
        }
    }
}
