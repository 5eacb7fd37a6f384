//! Reports of workers that are decided when somebody else has looked.

use alloc::boxed::Box;

use crate::{
    fleet::{Complete, WorkerHandle},
    lease::{Fence, WorkerCleanupReport},
};

/// A report that will be decided when the look is over.
#[derive(Debug)]
pub(super) enum Report {
    Complete(Box<Complete>),
    Cleanup { worker: WorkerHandle, report: WorkerCleanupReport },
    Acknowledge { worker: WorkerHandle, fence: Fence, cleanup: Option<WorkerCleanupReport> },
}

impl Report {
    /// The lease to look at; `None` where there is nothing to look at, or an end is reported without cleanup.
    pub(super) fn to_inspect(&self) -> Option<Fence> {
        match self {
            Self::Complete(complete) => complete.cleanup.as_ref().map(|report| report.fence),
            Self::Cleanup { report, .. } => Some(report.fence),
            Self::Acknowledge { cleanup, .. } => cleanup.as_ref().map(|report| report.fence),
        }
    }
}
