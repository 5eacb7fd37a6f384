//! Reports that wait until somebody other than the worker has looked.

use alloc::boxed::Box;

use super::{
    io::{CoordinatorOutput, InspectionId},
    parts::Coordinator,
    replies::{Pending, To},
    report::Report,
};
use crate::{
    fleet::{AcknowledgeRevocation, ReportCleanup},
    lease::Inspection,
    time::Now,
};

impl Coordinator {
    /// Decides a report, after a look where the configuration wants one.
    pub(super) fn report(&mut self, to: To, report: Report, now: Now) {
        let fence = report.to_inspect();
        let Some(fence) = fence.filter(|_| self.config.inspect) else {
            self.decide_report(to, report, None, now);
            return;
        };
        let Some(peer) = self.connections.device_mut(to.connection) else { return };
        let inspection = InspectionId(self.next_inspection);
        self.next_inspection = self.next_inspection.saturating_add(1);
        peer.inspections.push(inspection);
        // Only the lease of this very device: a report that names another one has nothing looked at.
        let lease = self.leases.of(&peer.device, fence).cloned().map(Box::new);
        self.inspections.insert(inspection, (to, report));
        self.push(CoordinatorOutput::Inspect { inspection, lease });
    }

    /// The look is over. False where nobody waits for it any more.
    pub(super) fn inspected(&mut self, id: InspectionId, found: Option<Inspection>, now: Now) -> bool {
        match self.inspections.remove(&id) {
            Some((to, report)) => {
                if let Some(peer) = self.connections.device_mut(to.connection) {
                    peer.inspections.retain(|other| *other != id);
                }
                self.decide_report(to, report, found, now);
                true
            }
            None => false,
        }
    }

    fn decide_report(&mut self, to: To, report: Report, found: Option<Inspection>, now: Now) {
        match report {
            Report::Complete(complete) => {
                let complete = match complete.cleanup.clone() {
                    Some(cleanup) => complete.with_cleanup(cleanup, found),
                    None => *complete,
                };
                self.submit(to, &complete, true, Pending::Verdict, now);
            }
            Report::Cleanup { worker, report } => {
                let operation = ReportCleanup::new(worker, report, found);
                self.submit(to, &operation, true, Pending::Verdict, now);
            }
            Report::Acknowledge { worker, fence, cleanup } => {
                let operation = AcknowledgeRevocation::new(worker, fence, cleanup, found);
                self.submit(to, &operation, true, Pending::Verdict, now);
            }
        }
    }
}
