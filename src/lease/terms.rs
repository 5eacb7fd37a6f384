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

/// A lease: which worker may run what, until when. The fleet's own record of it decides; a copy authorises
/// nothing.
///
/// Copies share the facts of a lease, so cloning increments a reference count. Only its expiry and its
/// horizon change.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerLease {
    /// When the lease ends unless it is renewed. It is not live at this instant.
    pub expires: Mono,
    facts: Arc<LeaseFacts>,
}

/// The facts of a lease: everything but its expiry. Read them through [`WorkerLease`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeaseFacts {
    /// The fencing token that every operation under this lease carries.
    pub fence: Fence,
    /// The worker that holds the lease.
    pub worker: WorkerId,
    /// The device of that worker.
    pub device: DeviceId,
    /// The incarnation of that worker. A later incarnation does not inherit the lease.
    pub incarnation: u32,
    /// The number of the attempt of the run, from 1.
    pub attempt: u32,
    /// When the lease was granted, in monotonic time.
    pub granted: Mono,
    /// The instant that no renewal can pass: the earliest end of the grant, the evidence, the certificate and
    /// the fleet's longest lease, as they were when the lease was granted or last bounded. Fresh evidence may
    /// allow a renewal to go further.
    pub horizon: Mono,
    /// The terms of the request.
    pub terms: Arc<LeaseTerms>,
}

impl Deref for WorkerLease {
    type Target = LeaseFacts;

    fn deref(&self) -> &LeaseFacts {
        &self.facts
    }
}

/// The only serde form of a lease: all members in one structure.
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

    /// Sets when the lease ends, and the instant that no renewal can pass.
    pub(crate) fn bound(&mut self, expires: Mono, horizon: Mono) {
        self.expires = expires;
        Arc::make_mut(&mut self.facts).horizon = horizon;
    }

    /// The digest to which a cleanup report is bound. It covers the fence, worker, device, incarnation,
    /// attempt, run, grant, the root of the workspace, and the digest of the inputs.
    pub fn digest(&self) -> Sha256Digest {
        let mut hasher = FieldHasher::new("lease.v1");
        hasher.add_number(self.fence.epoch.0);
        hasher.add_number(self.fence.counter);
        hasher.add(self.worker.as_str().as_bytes());
        hasher.add(self.device.as_str().as_bytes());
        hasher.add_number(self.incarnation.into());
        hasher.add_number(self.attempt.into());
        hasher.add(self.terms.run.as_str().as_bytes());
        hasher.add(self.terms.grant.as_str().as_bytes());
        hasher.add(self.terms.workspace.root().as_str().as_bytes());
        hasher.add(self.terms.artifacts.inputs.digest().as_bytes());
        hasher.finish()
    }

    /// Whether the lease is live at `now`.
    pub fn is_live(&self, now: Mono) -> bool {
        now < self.expires
    }
}
