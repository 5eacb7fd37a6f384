//! Kind `policy`: does an egress policy compile, and what in it is legal and unwise?

use leasehold::{
    code::{self, Coded},
    egress::{EgressPolicy, EgressProxyPolicyService, Psl, lint},
};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Value, json};

use crate::Refused;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Question<P> {
    #[serde(rename = "kind")]
    _kind: IgnoredAny,
    #[serde(rename = "id", default)]
    _id: IgnoredAny,
    policy: P,
}

pub fn answer(line: &[u8]) -> Result<Value, Refused> {
    let policy: EgressPolicy = match serde_json::from_slice::<Question<EgressPolicy>>(line) {
        Ok(question) => question.policy,
        Err(error) => {
            // The line is not at fault where only its policy is.
            serde_json::from_slice::<Question<IgnoredAny>>(line)?;
            let code = code::EGRESS_POLICY_MALFORMED;
            return Ok(json!({"valid": false, "code": code, "message": error.to_string(), "warnings": []}));
        }
    };
    Ok(match EgressProxyPolicyService::compile(&policy) {
        Err(error) => json!({
            "valid": false,
            "code": error.code(),
            "message": error.to_string(),
            "rule": error.index.map(|_| &error.id),
            "field": error.field,
            "warnings": [],
        }),
        Ok(service) => {
            let warnings: Vec<Value> = lint(&policy, &service, &Psl)
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
    })
}
