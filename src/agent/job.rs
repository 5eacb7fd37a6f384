//! The one lease that an agent holds, and where it stands.

use alloc::{boxed::Box, collections::BTreeMap};

use super::inputs::Inputs;
use crate::{
    fleet::{LossReason, WorkerHandle},
    lease::{Fence, WorkerCleanupReport, WorkerLease},
    protocol::chunk::Stream,
    time::{Millis, Mono},
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

    /// How many bytes the lease allows of outputs together, or of the log.
    pub(super) fn limit(&self, stream: &Stream) -> u64 {
        let artifacts = &self.lease.terms.artifacts;
        if *stream == Stream::Log { artifacts.max_log_bytes } else { artifacts.max_output_bytes }
    }

    /// How many bytes of that were sent on this connection.
    pub(super) fn sent_like(&self, stream: &Stream) -> u64 {
        let is_log = *stream == Stream::Log;
        let like = self.sent.iter().filter(|(other, _)| (**other == Stream::Log) == is_log);
        like.fold(0, |sum, (_, bytes)| sum.saturating_add(*bytes))
    }

    /// Whether the run could be going on, or begin.
    pub(super) const fn is_before_the_end(&self) -> bool {
        matches!(self.stage, Stage::Fetching | Stage::Ready | Stage::Starting | Stage::Running { .. })
    }

    /// When something has to happen by itself; a renewal only where one `can_renew`.
    pub(super) fn deadline(&self, can_renew: bool) -> Option<Mono> {
        match &self.stage {
            Stage::Fetching | Stage::Ready => Some(self.start_by),
            Stage::Running { until, renew_at } => {
                let renewal = renew_at.filter(|_| can_renew);
                Some(renewal.map_or(*until, |renewal| renewal.min(*until)))
            }
            _ => None,
        }
    }
}

/// The shortest time between two renewals.
const LEAST_PAUSE: Millis = Millis(250);

/// How long a run that may go on until `until` waits before it asks for more: the rhythm of the policy, but no longer
/// than half of the time that it has.
pub(super) fn renewal_pause(rhythm: Millis, until: Mono, now: Mono) -> Millis {
    rhythm.min(Millis(until.since(now).0 / 2).max(LEAST_PAUSE))
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
