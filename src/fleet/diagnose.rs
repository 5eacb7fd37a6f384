//! Which workers are stuck, and which operation frees each of them: a pure function of the state.

use alloc::vec::Vec;
use core::fmt;

use super::{
    condition::{Activity, WorkerLifecycleState},
    roster::WorkerRecord,
    state::{FleetState, debt},
};
use crate::{id::WorkerId, lease::Fence, time::Now};

/// Something that must happen before a worker is available.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Need {
    /// An operator releases the quarantine.
    Release,
    /// The worker reports its cleanup, or an operator vouches for it.
    Cleanup {
        /// The fence of the lost lease.
        fence: Fence,
    },
    /// The worker attests, over a nonce that it asks for from now on. What it has is missing, or ends before
    /// the shortest lease would.
    Evidence,
    /// An operator ends the draining.
    Undrain,
    /// The worker sends a heartbeat.
    Heartbeat,
}

impl Need {
    /// The name of the operation.
    pub const fn command(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Cleanup { .. } => "report_cleanup, or force_cleanup",
            Self::Evidence => "attest",
            Self::Undrain => "undrain",
            Self::Heartbeat => "heartbeat",
        }
    }

    /// Who must ask for the operation.
    pub const fn by(self) -> &'static str {
        match self {
            Self::Release | Self::Undrain => "an operator",
            Self::Cleanup { .. } => "the worker, or an operator who has seen that it is clean",
            Self::Evidence | Self::Heartbeat => "the worker",
        }
    }
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (by {})", self.command(), self.by())
    }
}

/// A worker that gets no lease, whatever a service asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StuckWorker<'a> {
    /// The worker's id.
    pub worker: &'a WorkerId,
    /// The worker's public state.
    pub state: WorkerLifecycleState,
    /// What frees the worker, in an order in which each step is accepted. Never empty.
    pub needs: Vec<Need>,
}

impl fmt::Display for StuckWorker<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.worker)?;
        for (n, need) in self.needs.iter().enumerate() {
            write!(f, "{}{need}", if n == 0 { "" } else { ", then " })?;
        }
        Ok(())
    }
}

impl FleetState {
    /// The workers that are idle and cannot be leased at `now`, with what frees each of them. Workers that hold a lease are
    /// not stuck: a deadline ends every stage of a lease. Retired workers are not listed. Cost: O(workers).
    ///
    /// ```
    /// # #[cfg(feature = "testing")]
    /// # fn main() {
    /// use leasehold::{fleet::QuarantineWorker, testing::World};
    /// let mut world = World::default();
    /// world.join(1, "a");
    /// world.ask(&QuarantineWorker { worker: World::worker_id(1) }, &World::operator()).unwrap();
    /// let stuck: Vec<String> =
    ///     world.fleet.state().stuck_workers(world.now).map(|stuck| stuck.to_string()).collect();
    /// assert_eq!(stuck, ["worker-1: release (by an operator), then attest (by the worker)"]);
    /// # }
    /// # #[cfg(not(feature = "testing"))]
    /// # fn main() {}
    /// ```
    pub fn stuck_workers(&self, now: Now) -> impl Iterator<Item = StuckWorker<'_>> {
        (0..self.roster.slots()).filter_map(move |slot| {
            let record = self.roster.get(slot)?;
            let needs = self.needs(record, now);
            let state = self.roster.view(record);
            (!needs.is_empty()).then_some(StuckWorker { worker: &record.id, state, needs })
        })
    }

    fn needs(&self, record: &WorkerRecord, now: Now) -> Vec<Need> {
        let mut needs = Vec::new();
        if matches!(record.activity, Activity::Leased(_) | Activity::Retired { .. }) {
            return needs;
        }
        let (latch, debt) = (record.quarantine(), debt(record));
        // An act on the whole fleet closes the latch of a worker that its sweep has not reached yet.
        let swept = record.quarantine_generation < self.roster.quarantine_generation;
        if latch.release || swept {
            needs.push(Need::Release);
        }
        if let Some(debt) = debt.filter(|debt| debt.cleanup) {
            needs.push(Need::Cleanup { fence: debt.fence });
        }
        let owed = debt.is_some_and(|debt| debt.evidence_since.is_some());
        let unfit = !self.evidence_in_force(record, now) || self.evidence_is_short(record, now);
        if swept || owed || latch.evidence_since.is_some() || unfit {
            needs.push(Need::Evidence);
        }
        if record.draining {
            needs.push(Need::Undrain);
        }
        if !matches!(record.activity, Activity::Available) {
            needs.push(Need::Heartbeat);
        }
        needs
    }
}
