//! The one lease that an agent holds, and where it stands.

use alloc::{boxed::Box, collections::BTreeMap};

use super::inputs::Inputs;
use crate::{
    fleet::{LossReason, WorkerHandle},
    lease::{Fence, WorkerCleanupReport, WorkerLease},
    protocol::chunk::Stream,
    time::Mono,
};

/// Where a job stands.
#[derive(Clone, Debug)]
pub(super) enum Stage {
    /// Its inputs are on their way.
    Fetching,
    /// The worker prepares it.
    Ready,
    /// The coordinator has been asked whether it may run.
    Starting,
    /// It runs, until then.
    Running { until: Mono, renew_at: Option<Mono> },
    /// It is over, and the coordinator has been told.
    Finishing,
    /// The worker cleans up.
    Cleaning,
    /// The coordinator has been told what was cleaned up.
    Reporting,
    /// The worker was told to stop.
    Stopping { revoked: Option<LossReason> },
    /// The coordinator has been told that it stopped.
    Acknowledging,
}

/// A lease in this worker's hands.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) lease: Box<WorkerLease>,
    /// The incarnation that it was given to.
    pub(super) handle: WorkerHandle,
    pub(super) stage: Stage,
    /// Without a start by then it is lost.
    pub(super) start_by: Mono,
    pub(super) inputs: Inputs,
    /// How much of each stream was sent on this connection.
    pub(super) sent: BTreeMap<Stream, u64>,
}

impl Job {
    pub(super) fn new(lease: WorkerLease, handle: WorkerHandle, start_by: Mono) -> Self {
        let inputs = Inputs::new(&lease.terms.artifacts.inputs);
        let (lease, sent) = (Box::new(lease), BTreeMap::new());
        Self { lease, handle, stage: Stage::Fetching, start_by, inputs, sent }
    }

    pub(super) fn fence(&self) -> Fence {
        self.lease.fence
    }

    /// Whether the run could be going on, or begin.
    pub(super) const fn is_before_the_end(&self) -> bool {
        matches!(self.stage, Stage::Fetching | Stage::Ready | Stage::Starting | Stage::Running { .. })
    }

    /// When something has to happen by itself.
    pub(super) fn deadline(&self) -> Option<Mono> {
        match &self.stage {
            Stage::Fetching | Stage::Ready => Some(self.start_by),
            Stage::Running { until, renew_at } => Some(renew_at.map_or(*until, |renew| renew.min(*until))),
            _ => None,
        }
    }
}

/// Cleanup that is owed for a lease that was lost.
#[derive(Clone, Debug)]
pub(super) struct Owing {
    pub(super) fence: Fence,
    /// What the worker cleaned up, once it has.
    pub(super) report: Option<WorkerCleanupReport>,
    /// Whether the worker has been asked to.
    pub(super) told: bool,
}
