//! What a service may ask.

use serde::{Deserialize, Serialize};

use super::{Operation, worker::WorkerHandle};
use crate::{
    fleet::rejection::{AcquireError, ManageError},
    id::RunId,
    lease::{Fence, WorkerLease, WorkerLeaseRequest},
};

/// Asks for a lease: on whichever worker has the capabilities and was used longest ago, or on the one that the
/// request names. Cost: O(classes / 64) and one pop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Acquire {
    /// The request.
    pub request: WorkerLeaseRequest,
}

impl Acquire {
    /// Asks for what `request` says.
    pub const fn new(request: WorkerLeaseRequest) -> Self {
        Self { request }
    }
}

/// The lease, and the incarnation that got it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Acquired {
    /// The incarnation.
    pub worker: WorkerHandle,
    /// The lease.
    pub lease: WorkerLease,
}

/// Takes the lease of a run back. The worker has to acknowledge it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RevokeRun {
    /// The run.
    pub run: RunId,
    /// The lease that is meant: a later one of the same run is left alone.
    pub fence: Fence,
}

impl RevokeRun {
    /// Takes back the lease `fence` of `run`.
    pub const fn new(run: RunId, fence: Fence) -> Self {
        Self { run, fence }
    }
}

/// The lease is being taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revoked {
    /// The incarnation that has to acknowledge it.
    pub worker: WorkerHandle,
    /// The lease.
    pub fence: Fence,
}

impl Operation for Acquire {
    type Answer = Acquired;
    type Error = AcquireError;
}

impl Operation for RevokeRun {
    type Answer = Revoked;
    type Error = ManageError;
}
