//! A service of one's own: it tells who holds each run, from nothing but the coordinator's events.

use std::collections::BTreeMap;

use leasehold::{
    fleet::FleetEvent,
    id::RunId,
    lease::{Fence, WorkerLease},
};

/// The newest lease of each run.
#[derive(Debug, Default)]
pub struct Board(BTreeMap<RunId, WorkerLease>);

impl Board {
    /// Reads one event.
    pub fn read(&mut self, event: &FleetEvent) {
        if let FleetEvent::LeaseGranted { lease, .. } = event {
            self.0.insert(lease.terms.run.clone(), lease.clone());
        }
    }

    /// The fence of the newest lease of `run`.
    pub fn newest(&self, run: &RunId) -> Option<Fence> {
        self.0.get(run).map(|lease| lease.fence)
    }
}
