//! The lease itself.

use alloc::sync::Arc;
use core::ops::Deref;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Fence, request::LeaseTerms};
use crate::{
    digest::{FieldHasher, Sha256Digest},
    id::{DeviceId, WorkerId},
    time::Mono,
};

/// Who may run what until when. The fleet's own record of it decides; a copy authorises nothing.
///
/// Everything but its end is fixed when it is granted, and shared by all copies: cloning is a reference count.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerLease {
    /// When it ends unless it is renewed; at this instant it is over.
    pub expires: Mono,
    facts: Arc<LeaseFacts>,
}

/// What of a lease never changes. Read through [`WorkerLease`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeaseFacts {
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
    /// The instant that no renewal can pass: the earliest end of grant, evidence, certificate and longest lease.
    pub horizon: Mono,
    /// What the request asked for.
    pub terms: Arc<LeaseTerms>,
}

impl Deref for WorkerLease {
    type Target = LeaseFacts;

    fn deref(&self) -> &LeaseFacts {
        &self.facts
    }
}

/// The one serde form of a lease, all fields in a row.
#[derive(Serialize)]
#[serde(rename = "WorkerLease")]
struct Shown<'a> {
    fence: Fence,
    worker: &'a WorkerId,
    device: &'a DeviceId,
    incarnation: u32,
    attempt: u32,
    granted: Mono,
    expires: Mono,
    horizon: Mono,
    terms: &'a LeaseTerms,
}

#[derive(Deserialize)]
#[serde(rename = "WorkerLease", deny_unknown_fields)]
struct Read {
    fence: Fence,
    worker: WorkerId,
    device: DeviceId,
    incarnation: u32,
    attempt: u32,
    granted: Mono,
    expires: Mono,
    horizon: Mono,
    terms: Arc<LeaseTerms>,
}

impl Serialize for WorkerLease {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let LeaseFacts { fence, worker, device, incarnation, attempt, granted, horizon, terms } = &**self;
        Shown {
            fence: *fence,
            worker,
            device,
            incarnation: *incarnation,
            attempt: *attempt,
            granted: *granted,
            expires: self.expires,
            horizon: *horizon,
            terms,
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for WorkerLease {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Read { fence, worker, device, incarnation, attempt, granted, expires, horizon, terms } =
            Read::deserialize(deserializer)?;
        let facts = LeaseFacts { fence, worker, device, incarnation, attempt, granted, horizon, terms };
        Ok(Self::new(facts, expires))
    }
}

impl WorkerLease {
    pub(crate) fn new(facts: LeaseFacts, expires: Mono) -> Self {
        Self { expires, facts: Arc::new(facts) }
    }

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
