//! The lease itself.

use alloc::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Fence, request::LeaseTerms};
use crate::{
    digest::{FieldHasher, Sha256Digest},
    id::{DeviceId, WorkerId},
    time::Mono,
};

/// Who may run what until when. The fleet's own record of it decides; a copy authorises nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct WorkerLease {
    /// The token that every act under this lease carries.
    pub fence: Fence,
    /// The worker that holds it.
    pub worker: WorkerId,
    /// The device of that worker.
    pub device: DeviceId,
    /// The incarnation of that worker: a later one does not inherit the lease.
    pub incarnation: u32,
    /// Which attempt of the run this is, from 1.
    pub attempt: u32,
    /// When it was granted, on the fleet's line.
    pub granted: Mono,
    /// When it ends unless it is renewed; at this instant it is over.
    pub expires: Mono,
    /// The instant that no renewal can pass: the earliest end of grant, evidence, certificate and longest lease.
    pub horizon: Mono,
    /// What the request asked for.
    pub terms: Arc<LeaseTerms>,
}

impl WorkerLease {
    /// What a cleanup report is bound to: worker, incarnation, run, attempt, grant and fence.
    pub fn digest(&self) -> Sha256Digest {
        FieldHasher::new("lease.v1")
            .number(self.fence.epoch.0)
            .number(self.fence.counter)
            .field(self.worker.as_str().as_bytes())
            .field(self.device.as_str().as_bytes())
            .number(self.incarnation.into())
            .number(self.attempt.into())
            .field(self.terms.run.as_str().as_bytes())
            .field(self.terms.grant.as_str().as_bytes())
            .field(self.terms.workspace.root().as_str().as_bytes())
            .field(self.terms.artifacts.inputs.digest().as_bytes())
            .finish()
    }

    /// Whether it is live at `now`.
    pub fn is_live(&self, now: Mono) -> bool {
        now < self.expires
    }
}
