//! How a run ended, as its worker reports it.

use serde::{Deserialize, Serialize};

/// How a run ended, as its worker reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RunOutcome {
    /// The run did what it was meant to do.
    Succeeded,
    /// The run failed.
    Failed,
}
