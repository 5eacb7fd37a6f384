//! The catalogue put to another program, over its standard input and output or any other pair of streams.

use alloc::{string::String, vec::Vec};
use std::io::{BufRead, Read, Write};

use super::{
    answer::Answer,
    case::Case,
    report::{Report, Row},
};
use crate::egress::EgressPolicy;
use serde_json::Value;

/// The longest answer that is read, in bytes, its line feed apart.
pub const MAX_ANSWER_BYTES: usize = 8 << 20;

/// Why a run stopped before its last case.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// The streams failed, or the program closed its output early.
    #[error("case `{case}`: the program takes no question or gives no answer: {source}")]
    Io {
        /// The case.
        case: String,
        /// What the stream says.
        source: std::io::Error,
    },
    /// The policy cannot be written as JSON.
    #[error("case `{case}`: the question cannot be written: {source}")]
    Question {
        /// The case.
        case: String,
        /// What the writer says.
        source: serde_json::Error,
    },
}

/// Writes each case as one line to `questions`, and reads its answer, one line, from `answers` before the next.
///
/// The question is `{"kind":"egress","id":NAME,"policy":P,"request":{..},"dns":{..},"redirects":[..]}`. Of the answer
/// `allow` must be there; `code`, `headers` (pairs of name and value, a secret shown as `***`) and `hops` (an answer
/// for each redirect) are read where they are. An answer that is longer than [`MAX_ANSWER_BYTES`], no JSON object, or
/// without `allow` counts as [`Verdict::NoAnswer`](super::Verdict::NoAnswer): no case is skipped.
///
/// # Errors
/// [`AskError`], which names the case, where the conversation cannot go on.
pub fn ask(
    cases: &[Case],
    policy: &EgressPolicy,
    mut questions: impl Write,
    mut answers: impl BufRead,
) -> Result<Report, AskError> {
    let mut rows = Vec::with_capacity(cases.len());
    for case in cases {
        let io = |source| AskError::Io { case: case.name.clone(), source };
        let question = case.question.line(&case.name, policy);
        let mut line = question.map_err(|source| AskError::Question { case: case.name.clone(), source })?;
        line.push('\n');
        questions.write_all(line.as_bytes()).and_then(|()| questions.flush()).map_err(io)?;
        rows.push(Row::new(case, read(&mut answers).map_err(io)?.parse()));
    }
    Ok(rows.into_iter().collect())
}

/// A line, or the beginning of one that is too long.
struct Line(Vec<u8>);

impl Line {
    fn parse(&self) -> Result<Answer, super::case::NoAnswer> {
        if self.0.len() > MAX_ANSWER_BYTES {
            return Err("the answer is too long".into());
        }
        let refused = |error: serde_json::Error| alloc::format!("not an answer: {error}").into();
        let value: Value = serde_json::from_slice(&self.0).map_err(refused)?;
        // A derived reader takes an array for an object, member by member.
        let mut hops = value.get("hops").and_then(Value::as_array).into_iter().flatten();
        if !value.is_object() || !hops.all(Value::is_object) {
            return Err("not an answer: an answer and each of its hops is a JSON object".into());
        }
        serde_json::from_value(value).map_err(refused)
    }
}

/// Reads to the end of a line. What is over the limit is passed over and not kept.
fn read(answers: &mut impl BufRead) -> std::io::Result<Line> {
    let mut kept = Vec::new();
    let most = u64::try_from(MAX_ANSWER_BYTES.saturating_add(1)).unwrap_or(u64::MAX);
    answers.by_ref().take(most).read_until(b'\n', &mut kept)?;
    if kept.is_empty() {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    if kept.last() != Some(&b'\n') && kept.len() > MAX_ANSWER_BYTES {
        answers.skip_until(b'\n')?;
    }
    Ok(Line(kept))
}
