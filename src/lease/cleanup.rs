//! Cleanup after a run: what a worker reports, and what an inspection finds.

use serde::{Deserialize, Serialize};

use super::{Fence, WorkerLease};
use crate::{
    code::{self, Code, Coded},
    digest::Sha256Digest,
};

/// How the cleanup of one area ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Removal {
    /// Entries that were removed.
    pub removed: u32,
    /// Entries that are still there.
    pub remaining: u32,
}

/// A worker's report when it returns a lease, bound to that lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerCleanupReport {
    /// The fence of the lease.
    pub fence: Fence,
    /// [`WorkerLease::digest`] of the lease. A report with another digest is for another lease.
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

impl WorkerCleanupReport {
    /// A report about `lease` in which nothing was removed and nothing is left. Set its fields to what became
    /// of each area.
    pub fn of(lease: &WorkerLease) -> Self {
        let none = Removal::default();
        let (fence, lease) = (lease.fence, lease.digest());
        Self { fence, lease, workspace: none, artifacts: none, logs: none, scratch: none }
    }
}

/// The result of an independent inspection: how many entries are left.
///
/// No message of a worker can carry one; the coordinator's shell makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Inspection {
    /// Entries that were found in areas that should be empty.
    pub remaining: u64,
}

impl Inspection {
    /// An inspection that found `remaining` entries.
    pub const fn found(remaining: u64) -> Self {
        Self { remaining }
    }
}

/// What a fleet requires of a cleanup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CleanupRule {
    /// The report must be complete, bound to the lease, and report nothing left.
    #[default]
    Reported,
    /// As `Reported`, and an inspection must have found nothing left.
    Inspected,
}

/// Why a cleanup is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CleanupError {
    /// The report is bound to another lease.
    #[error("the cleanup report is bound to another lease")]
    OtherLease,
    /// The worker reports entries that are left.
    #[error("the worker reports {0} entries left behind")]
    Remaining(u64),
    /// The inspection found entries that are left.
    #[error("inspection found {0} entries left behind")]
    Found(u64),
    /// The fleet requires an inspection, and there was none.
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
    /// Judges the report against `lease` and the result of an inspection.
    ///
    /// # Errors
    /// [`CleanupError`]: the cleanup is not accepted.
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
