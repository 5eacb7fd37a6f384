//! Kind `json`: the strict reader alone.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use leasehold::{
    attestation::strict::{self, Limits},
    code::{self, Coded as _},
};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Value, json};

use super::Refused;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    #[serde(rename = "kind")]
    _kind: IgnoredAny,
    #[serde(default, rename = "id")]
    _id: IgnoredAny,
    document: String,
    #[serde(default)]
    object: bool,
}

pub fn answer(line: &[u8]) -> Result<Value, Refused> {
    let line: Line = serde_json::from_slice(line)?;
    let document = STANDARD
        .decode(line.document)
        .map_err(|error| Refused::new(code::EXPLAIN_MALFORMED, format!("document: {error}")))?;
    let limits = if line.object { Limits::GENERAL.top_object() } else { Limits::GENERAL };
    Ok(match strict::check(&document, &limits) {
        Ok(()) => json!({"strict": true, "code": code::JSON_STRICT, "offset": null}),
        Err(error) => json!({
            "strict": false, "code": error.code(), "offset": error.offset, "message": error.to_string(),
        }),
    })
}
