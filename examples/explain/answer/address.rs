//! Kind `address`: the class of an address, and whether a request may reach it without a declared endpoint.

use leasehold::{
    code::Coded,
    egress::address::{classify, parse_literal},
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
    ip: String,
}

pub fn answer(line: &[u8]) -> Result<Value, Refused> {
    let question: Question = strict_line(line)?;
    let ip = parse_literal(&question.ip).map_err(|error| Refused::new(error.code(), error.to_string()))?;
    let verdict = classify(ip);
    Ok(json!({
        "public": verdict.public,
        "class": verdict.class.as_str(),
        "code": verdict.code,
        "embedded": verdict.embedded,
        "floor": verdict.floor,
        "pinned": verdict.pinned,
    }))
}
