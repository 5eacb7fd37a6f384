//! Kind `host_rule`: is this a rule, and does it match that host?

use leasehold::{
    code::{self, Code, Coded},
    egress::{Host, HostRule},
};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Value, json};

use super::{Refused, strict_line};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    #[serde(rename = "kind")]
    _kind: IgnoredAny,
    #[serde(rename = "id", default)]
    _id: IgnoredAny,
    rule: Rule,
    host: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Rule {
    Host(String),
    Suffix(String),
    Pattern(String),
}

pub fn answer(line: &[u8]) -> Result<Value, Refused> {
    let question: Question = strict_line(line)?;
    let rule = match &question.rule {
        Rule::Host(text) => HostRule::exact(text),
        Rule::Suffix(text) => HostRule::suffix(text),
        Rule::Pattern(text) => HostRule::pattern(text),
    };
    let say = |valid: bool, matched: bool, code: Code, message: &str| json!({"rule_valid": valid, "match": matched, "code": code, "message": message});
    Ok(match (rule, Host::parse(&question.host)) {
        (Err(error), _) => say(false, false, error.code(), &error.to_string()),
        (Ok(_), Err(error)) => say(true, false, error.code(), &error.to_string()),
        (Ok(rule), Ok(host)) if rule.matches(&host) => {
            say(true, true, code::EGRESS_HOST_MATCH, "the rule matches")
        }
        _ => say(true, false, code::EGRESS_HOST_NOT_ALLOWED, "the rule does not match"),
    })
}
