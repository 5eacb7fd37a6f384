//! Kind `policy`: does a policy build, and what in it is legal and unwise? An egress policy, unless `of` says otherwise.

use leasehold::{
    attestation::policy::{AttestationPolicy, AttestationPolicyForm},
    code::{self, Code, Coded},
    egress::{EgressPolicy, EgressProxyPolicyService, Psl, lint},
    fleet::{WorkerFleetPolicy, WorkerFleetPolicyForm},
    time::Wall,
};
use serde::{
    Deserialize,
    de::{DeserializeOwned, IgnoredAny},
};
use serde_json::{Value, json};

use super::{Refused, strict_line};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Question<P> {
    #[serde(rename = "kind")]
    _kind: IgnoredAny,
    #[serde(rename = "id", default)]
    _id: IgnoredAny,
    #[serde(default)]
    of: Of,
    policy: P,
}

/// Which policy.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Of {
    #[default]
    Egress,
    Attestation,
    Fleet,
}

fn invalid(code: Code, message: &str) -> Value {
    json!({"valid": false, "code": code, "message": message, "warnings": []})
}

/// The policy of a question of which everything else is known to be right.
fn read<P: DeserializeOwned>(line: &[u8], malformed: Code) -> Result<P, Value> {
    let question: Result<Question<P>, Refused> = strict_line(line);
    question.map(|question| question.policy).map_err(|refused| invalid(malformed, &refused.message))
}

pub fn answer(line: &[u8]) -> Result<Value, Refused> {
    // The line is not at fault where only its policy is.
    let answer = match strict_line::<Question<IgnoredAny>>(line)?.of {
        Of::Egress => read(line, code::EGRESS_POLICY_MALFORMED).map(|policy| egress(&policy)),
        Of::Attestation => read(line, code::ATTESTATION_POLICY_INVALID).map(attestation),
        Of::Fleet => read(line, code::POLICY_INVALID).map(fleet),
    };
    Ok(answer.unwrap_or_else(|answer| answer))
}

fn egress(policy: &EgressPolicy) -> Value {
    match EgressProxyPolicyService::compile(policy) {
        Err(error) => json!({
            "valid": false,
            "code": error.code(),
            "message": error.to_string(),
            "rule": error.index.map(|_| &error.id),
            "field": error.field,
            "warnings": [],
        }),
        Ok(service) => {
            let warnings: Vec<Value> = lint(policy, &service, &Psl)
                .iter()
                .map(|warning| json!({"code": warning.code, "rule": warning.rule, "message": warning.to_string()}))
                .collect();
            json!({
                "valid": true,
                "code": code::EGRESS_POLICY_VALID,
                "digest": service.digest(),
                "warnings": warnings,
            })
        }
    }
}

/// The warnings of an attestation policy, as of now.
#[allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "what has expired is asked of the clock"
)]
fn attestation_warnings(policy: &AttestationPolicy) -> Vec<Value> {
    use std::time::{SystemTime, UNIX_EPOCH};

    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    let warnings = policy.lint(Wall(now));
    warnings.iter().map(|warning| json!({"code": warning.code(), "message": warning.to_string()})).collect()
}

fn attestation(form: AttestationPolicyForm) -> Value {
    match AttestationPolicy::try_from(form) {
        Err(error) => invalid(error.code(), &error.to_string()),
        Ok(policy) => {
            let (code, warnings) = (code::ATTESTATION_POLICY_VALID, attestation_warnings(&policy));
            json!({"valid": true, "code": code, "digest": policy.digest(), "warnings": warnings})
        }
    }
}

fn fleet(form: WorkerFleetPolicyForm) -> Value {
    match WorkerFleetPolicy::try_from(form) {
        Err(error) => invalid(error.code(), &error.to_string()),
        Ok(policy) => {
            let warnings = attestation_warnings(&policy.attestation);
            json!({"valid": true, "code": code::POLICY_VALID, "warnings": warnings})
        }
    }
}
