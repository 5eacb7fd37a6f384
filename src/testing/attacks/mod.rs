//! The attack catalogue as data: what must fail, asked of the policy that a service really uses.
//!
//! [`egress`] makes the cases for one [`EgressPolicy`]: hostile spellings of its hosts,
//! escapes from its path prefixes, answers that hold a metadata address, redirects that leave it, and one control for
//! each rule, which must be allowed. [`replay`] puts them to this crate's own decision; [`ask`] puts them to any
//! program that reads a question and writes an answer, a JSON object on a line each. Both give a [`Report`].
//!
//! ```
//! use leasehold::{egress::EgressPolicy, testing::attacks};
//!
//! let policy: EgressPolicy = serde_json::from_str(
//!     r#"{"rules": [{"id": "models", "hosts": ["api.example.com"], "paths": ["/v1/"]}]}"#,
//! )?;
//! let report = attacks::replay(&policy)?;
//! assert_eq!(report.let_through().count(), 0, "{report}");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod answer;
mod case;
mod egress;
mod paths;
mod program;
mod report;

pub use answer::{Answer, Hop};
pub use case::{Case, Due, Lookup, Question, QuestionRedirect, QuestionRequest};
pub use egress::{MAX_ATTACKED_RULES, egress};
pub use program::{AskError, MAX_ANSWER_BYTES, ask};
pub use report::{Report, Row, Verdict};

use crate::egress::{EgressPolicy, PolicyError};

/// Puts every case of [`egress`] for `policy` to this crate's own decision.
///
/// Cost: some 80 decisions for each of the first [`MAX_ATTACKED_RULES`] rules.
///
/// # Errors
/// [`PolicyError`] where the policy does not compile, which lets nothing through.
pub fn replay(policy: &EgressPolicy) -> Result<Report, PolicyError> {
    let judge = answer::Judge::new(policy)?;
    Ok(egress(policy).into_iter().map(|case| Row::new(&case, Ok(judge.answer(&case.question)))).collect())
}
