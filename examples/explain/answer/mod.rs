//! The answer to one question, whoever asks: the line protocol, or the command line `leasehold`.
//!
//! Every kind has a module of its own; this file finds the kind and echoes the id.

use leasehold::{
    attestation::strict::{self, Limits},
    code::{self, Code, Coded as _},
};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::{Value, json};

mod address;
mod attestation;
mod dsse;
mod egress;
mod fleet;
mod host_rule;
mod json;
mod placement;
mod policy;

pub use attestation::table;

/// The longest line that is read.
pub const MAX_LINE: usize = 8 << 20;

/// Every line is an object that our own strict reader takes, before serde sees it.
const LINE: Limits = Limits::GENERAL.bytes(MAX_LINE).top_object();

/// A line that was not understood.
pub struct Refused {
    pub code: Code,
    pub message: String,
}

impl Refused {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

impl From<serde_json::Error> for Refused {
    fn from(error: serde_json::Error) -> Self {
        Self::new(code::EXPLAIN_MALFORMED, error.to_string())
    }
}

/// What an answer needs to know of a line before its kind reads it.
#[derive(Deserialize)]
struct Head {
    kind: String,
    #[serde(default, deserialize_with = "present")]
    id: Option<Value>,
}

/// An id that is there, even where it is null.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// Reads a line into the closed type of its kind, in which no array stands for an object.
fn strict_line<T: DeserializeOwned>(line: &[u8]) -> Result<T, Refused> {
    strict::read(line, &LINE).map_err(|error| {
        // What serde refuses too, it explains better.
        let message = serde_json::from_slice::<T>(line)
            .err()
            .map_or_else(|| error.to_string(), |error| error.to_string());
        Refused::new(code::EXPLAIN_MALFORMED, message)
    })
}

/// Answers one line. Each kind reads the same bytes again into its own closed type.
pub fn answer(line: &[u8]) -> Value {
    let head = match strict::check(line, &LINE) {
        Err(error) => Err(Refused::new(error.code(), error.to_string())),
        Ok(()) => serde_json::from_slice::<Head>(line).map_err(Refused::from),
    };
    let (id, outcome) = match head {
        Err(refused) => (None, Err(refused)),
        Ok(head) => {
            let outcome = match head.kind.as_str() {
                "address" => address::answer(line),
                "attestation" => attestation::answer(line),
                "dsse" => dsse::answer(line),
                "egress" => egress::answer(line),
                "fleet" => fleet::answer(line),
                "host_rule" => host_rule::answer(line),
                "json" => json::answer(line),
                "placement" => placement::answer(line),
                "policy" => policy::answer(line),
                _ => Err(Refused::new(code::EXPLAIN_UNKNOWN_KIND, "no such kind of question")),
            };
            (head.id, outcome)
        }
    };
    let mut answer = outcome
        .unwrap_or_else(|refused| json!({"error": {"code": refused.code, "message": refused.message}}));
    if let (Some(id), Some(object)) = (id, answer.as_object_mut()) {
        object.insert("id".into(), id);
    }
    answer
}
