//! Operations of services.

use serde::{Deserialize, Serialize};

use super::{Operation, worker::WorkerHandle};
use crate::{
    fleet::rejection::{AcquireError, ManageError},
    id::RunId,
    lease::{Fence, WorkerLease, WorkerLeaseRequest},
};

/// Asks for a lease: on the worker that has the capabilities and was used longest ago, or on the worker that
/// the request names. Cost: O(classes / 64) and one queue operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Acquire {
    /// The request.
    pub request: WorkerLeaseRequest,
}

impl Acquire {
    /// Asks for the lease of `request`.
    pub const fn new(request: WorkerLeaseRequest) -> Self {
        Self { request }
    }
}

/// The lease, and the incarnation that got it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Acquired {
    /// The incarnation of the worker.
    pub worker: WorkerHandle,
    /// The lease.
    pub lease: WorkerLease,
}

/// Revokes the lease of a run. The worker must acknowledge that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RevokeRun {
    /// The run.
    pub run: RunId,
    /// The fence of the lease that is meant. A later lease of the same run is not affected.
    pub fence: Fence,
}

impl RevokeRun {
    /// Revokes the lease `fence` of `run`.
    pub const fn new(run: RunId, fence: Fence) -> Self {
        Self { run, fence }
    }
}

/// The lease is being revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revoked {
    /// The incarnation that must acknowledge the revocation.
    pub worker: WorkerHandle,
    /// The fence of the lease.
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
