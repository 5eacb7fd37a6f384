//! What would leasehold decide, and why? One JSON object per line in, exactly one JSON object per line out.
//!
//!     cargo run -q --release --example explain < cases.jsonl > answers.jsonl
//!     cargo run -q --release --example explain -- --pretty '{"kind":"address","ip":"::ffff:10.0.0.1"}'
//!
//! Every kind has a module of its own; this file reads lines, finds the kind, echoes the id and writes answers.

use std::io::{self, BufRead, Read, Write};

use leasehold::{
    attestation::strict::{self, Limits},
    code::{self, Code, Coded as _},
};
use serde::{Deserialize, Deserializer};
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

/// The longest line that is read.
const MAX_LINE: usize = 8 << 20;

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

/// Answers one line. Each kind reads the same bytes again into its own closed type.
fn answer(line: &[u8]) -> Value {
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

/// Reads up to the next line feed. `Ok(None)` at the end of input; a line over the limit is skipped whole.
fn next_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Option<Result<(), Refused>>> {
    line.clear();
    let limit = MAX_LINE as u64 + 1;
    if input.by_ref().take(limit).read_until(b'\n', line)? == 0 {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    } else if line.len() > MAX_LINE {
        input.skip_until(b'\n')?;
        return Ok(Some(Err(Refused::new(code::EXPLAIN_TOO_LONG, "the line is over 8 MiB"))));
    }
    Ok(Some(Ok(())))
}

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut output = io::stdout().lock();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => {
            let mut input = io::stdin().lock();
            let mut line = Vec::new();
            while let Some(read) = next_line(&mut input, &mut line)? {
                let answer = match read {
                    Ok(()) => answer(&line),
                    Err(refused) => json!({"error": {"code": refused.code, "message": refused.message}}),
                };
                serde_json::to_writer(&mut output, &answer)?;
                output.write_all(b"\n")?;
                // A caller that waits for this answer before it asks again must see it now.
                output.flush()?;
            }
            Ok(())
        }
        ["--pretty", line] => {
            serde_json::to_writer_pretty(&mut output, &answer(line.as_bytes()))?;
            output.write_all(b"\n")
        }
        _ => {
            eprintln!(
                "usage: explain < cases.jsonl\n       explain --pretty '{{\"kind\":\"address\",\"ip\":\"::1\"}}'"
            );
            std::process::exit(2)
        }
    }
}
