//! What the replay of a catalogue found.

use alloc::{format, string::String, vec::Vec};
use core::fmt;

use serde::Serialize;

use super::{
    answer::Answer,
    case::{Case, Due, NoAnswer},
};

/// How a case ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Verdict {
    /// The answer is what is due.
    Held,
    /// The attack got through.
    LetThrough,
    /// A control was refused: the policy does not allow what it is for, or the case does not fit it.
    ControlRefused,
    /// There was no answer, or none that could be read. Such a case has not passed.
    NoAnswer,
}

/// The result of one case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Row {
    /// The case's name.
    pub name: String,
    /// The invariant that it stands for.
    pub invariant: u8,
    /// How it ended.
    pub verdict: Verdict,
    /// The code of the answer, or why there is none.
    pub found: String,
    /// Why somebody would try it.
    pub why: String,
}

impl Row {
    pub(super) fn new(case: &Case, answer: Result<Answer, NoAnswer>) -> Self {
        let (verdict, found) = match answer {
            Err(why) => (Verdict::NoAnswer, String::from(why)),
            Ok(answer) => (judge(&case.due, &answer), answer.found()),
        };
        let (name, why) = (case.name.clone(), case.why.clone());
        Self { name, invariant: case.invariant, verdict, found, why }
    }
}

fn judge(due: &Due, answer: &Answer) -> Verdict {
    let held = match due {
        Due::Refused => !answer.allow,
        Due::RedirectRefused => !answer.allow || answer.hops.last().is_none_or(|hop| !hop.allow),
        Due::Withheld { header } => !answer.allow || answer.last_headers_named(header).next().is_none(),
        Due::Replaced { header } => {
            let mut sent = answer.last_headers_named(header);
            !answer.allow || (sent.next().is_some_and(|value| value.contains("***")) && sent.next().is_none())
        }
        Due::Allowed if answer.allow => true,
        Due::Allowed => return Verdict::ControlRefused,
    };
    if held { Verdict::Held } else { Verdict::LetThrough }
}

/// The results of all cases, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// One row for each case.
    pub rows: Vec<Row>,
}

impl Report {
    /// The attacks that got through.
    pub fn let_through(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| row.verdict == Verdict::LetThrough)
    }

    /// The cases without an answer. A report with one of them proves nothing about it.
    pub fn unanswered(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| row.verdict == Verdict::NoAnswer)
    }

    /// Whether every case was answered, nothing got through, and at least one case was asked.
    pub fn holds(&self) -> bool {
        let fails = |row: &Row| matches!(row.verdict, Verdict::LetThrough | Verdict::NoAnswer);
        !self.rows.is_empty() && !self.rows.iter().any(fails)
    }

    /// How many rows have this verdict.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.rows.iter().filter(|row| row.verdict == verdict).count()
    }
}

impl FromIterator<Row> for Report {
    fn from_iter<I: IntoIterator<Item = Row>>(rows: I) -> Self {
        Self { rows: rows.into_iter().collect() }
    }
}

impl fmt::Display for Report {
    /// What did not hold, a line each, and the counts.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for row in &self.rows {
            let what = match row.verdict {
                Verdict::Held => continue,
                Verdict::LetThrough => "let through",
                Verdict::ControlRefused => "control refused",
                Verdict::NoAnswer => "no answer",
            };
            writeln!(f, "{what}: {} (invariant {}): {}: {}", row.name, row.invariant, row.found, row.why)?;
        }
        let text = format!(
            "{} held, {} let through, {} controls refused, {} without an answer",
            self.count(Verdict::Held),
            self.count(Verdict::LetThrough),
            self.count(Verdict::ControlRefused),
            self.count(Verdict::NoAnswer)
        );
        f.write_str(&text)
    }
}
