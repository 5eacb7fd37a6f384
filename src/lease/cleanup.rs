//! Giving the work back clean: what a worker reports, and what the other side sees when it looks.

use serde::{Deserialize, Serialize};

use super::{Fence, WorkerLease};
use crate::{
    code::{self, Code, Coded},
    digest::Sha256Digest,
};

/// What became of one area of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Removal {
    /// Entries that were removed.
    pub removed: u32,
    /// Entries that are still there.
    pub remaining: u32,
}

/// What a worker reports when it gives a lease back, bound to that lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerCleanupReport {
    /// The lease that it cleaned up after.
    pub fence: Fence,
    /// [`WorkerLease::digest`] of that lease: a report for other terms is a report for another lease.
    pub lease: Sha256Digest,
    /// The workspace.
    pub workspace: Removal,
    /// Inputs and outputs.
    pub artifacts: Removal,
    /// Logs.
    pub logs: Removal,
    /// Scratch space.
    pub scratch: Removal,
}

/// What somebody other than the worker saw when they looked: entries that are still there.
///
/// A worker's message cannot carry one; the coordinator's shell makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Inspection {
    /// Entries found in what should be empty.
    pub remaining: u64,
}

impl Inspection {
    /// An inspection that found `remaining` entries.
    pub const fn found(remaining: u64) -> Self {
        Self { remaining }
    }
}

/// How much a fleet believes of a cleanup report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CleanupRule {
    /// The report must be complete, bound to the lease, and leave nothing.
    #[default]
    Reported,
    /// And somebody else must have looked and found nothing.
    Inspected,
}

/// Why a cleanup does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CleanupError {
    /// The report is bound to another lease.
    #[error("the cleanup report is bound to another lease")]
    OtherLease,
    /// Something is still there by the worker's own count.
    #[error("the worker reports {0} entries left behind")]
    Remaining(u64),
    /// Something is still there, whatever the worker says.
    #[error("inspection found {0} entries left behind")]
    Found(u64),
    /// The fleet wants an inspection and there was none.
    #[error("the fleet wants cleanup inspected, and nobody looked")]
    NotInspected,
}

impl Coded for CleanupError {
    fn code(&self) -> Code {
        match self {
            Self::OtherLease => code::CLEANUP_OTHER_LEASE,
            Self::Remaining(_) => code::CLEANUP_REMAINING,
            Self::Found(_) => code::CLEANUP_FOUND,
            Self::NotInspected => code::CLEANUP_NOT_INSPECTED,
        }
    }
}

impl WorkerCleanupReport {
    /// Judges the report against `lease`, and against what an inspection saw.
    ///
    /// # Errors
    /// [`CleanupError`]: the cleanup does not count.
    pub fn judge(
        &self,
        lease: &WorkerLease,
        seen: Option<Inspection>,
        rule: CleanupRule,
    ) -> Result<(), CleanupError> {
        self.judge_digest(lease.fence, lease.digest(), seen, rule)
    }

    pub(crate) fn judge_digest(
        &self,
        fence: Fence,
        lease: Sha256Digest,
        seen: Option<Inspection>,
        rule: CleanupRule,
    ) -> Result<(), CleanupError> {
        if self.fence != fence || self.lease != lease {
            return Err(CleanupError::OtherLease);
        }
        let left = [self.workspace, self.artifacts, self.logs, self.scratch]
            .iter()
            .fold(0_u64, |sum, area| sum.saturating_add(area.remaining.into()));
        if left > 0 {
            return Err(CleanupError::Remaining(left));
        }
        match (seen, rule) {
            (Some(Inspection { remaining: 0 }), _) | (None, CleanupRule::Reported) => Ok(()),
            (Some(Inspection { remaining }), _) => Err(CleanupError::Found(remaining)),
            (None, CleanupRule::Inspected) => Err(CleanupError::NotInspected),
        }
    }
}
