//! Reports that wait until somebody other than the worker has looked.

use super::{
    endpoint::Coordinator,
    held::To,
    io::{ConnectionId, CoordinatorOutput, InspectionId},
};
use crate::{
    fleet::{AcknowledgeRevocation, Complete, ReportCleanup, WorkerHandle},
    lease::{Fence, Inspection, WorkerCleanupReport},
    time::Now,
};
use alloc::boxed::Box;

/// A report that will be decided when the look is over.
#[derive(Debug)]
pub(super) enum Report {
    Complete(Box<Complete>),
    Cleanup { worker: WorkerHandle, report: WorkerCleanupReport },
    Acknowledge { worker: WorkerHandle, fence: Fence, cleanup: Option<WorkerCleanupReport> },
}

impl Report {
    /// The lease to look at; `None` where there is nothing to look at, or an end is reported without cleanup.
    fn to_inspect(&self) -> Option<Fence> {
        match self {
            Self::Complete(complete) => complete.cleanup.as_ref().map(|report| report.fence),
            Self::Cleanup { report, .. } => Some(report.fence),
            Self::Acknowledge { cleanup, .. } => cleanup.as_ref().map(|report| report.fence),
        }
    }
}

impl Coordinator {
    /// Decides a report, after a look where the configuration wants one.
    pub(super) fn report(&mut self, to: To, report: Report, now: Now) {
        let fence = report.to_inspect();
        if !self.config.inspect || fence.is_none() {
            self.decide_report(to, report, None, now);
            return;
        }
        let inspection = InspectionId(self.next_inspection);
        self.next_inspection = self.next_inspection.saturating_add(1);
        self.inspections.insert(inspection, (to, report));
        // Only the lease of this very device: a report that names another one has nothing looked at.
        let lease = self.connections.get(&to.connection).and_then(|connection| {
            self.last_lease.get(&connection.device).filter(|lease| Some(lease.fence) == fence)
        });
        let lease = lease.cloned().map(Box::new);
        self.push(CoordinatorOutput::Inspect { inspection, lease });
    }

    /// The look is over. False where nobody waits for it any more.
    pub(super) fn inspected(&mut self, id: InspectionId, found: Option<Inspection>, now: Now) -> bool {
        match self.inspections.remove(&id) {
            Some((to, report)) => {
                self.decide_report(to, report, found, now);
                true
            }
            None => false,
        }
    }

    pub(super) fn drop_inspections(&mut self, connection: ConnectionId) {
        self.inspections.retain(|_, (to, _)| to.connection != connection);
    }

    fn decide_report(&mut self, to: To, report: Report, found: Option<Inspection>, now: Now) {
        match report {
            Report::Complete(complete) => {
                let complete = match complete.cleanup.clone() {
                    Some(cleanup) => complete.with_cleanup(cleanup, found),
                    None => *complete,
                };
                self.submit(to, &complete, true, super::held::Held::Verdict, now);
            }
            Report::Cleanup { worker, report } => {
                let operation = ReportCleanup::new(worker, report, found);
                self.submit(to, &operation, true, super::held::Held::Verdict, now);
            }
            Report::Acknowledge { worker, fence, cleanup } => {
                let operation = AcknowledgeRevocation::new(worker, fence, cleanup, found);
                self.submit(to, &operation, true, super::held::Held::Verdict, now);
            }
        }
    }
}
