//! Effects: what the endpoint does after an operation was accepted. They are held until the journal reports
//! that the record is durable.

use alloc::boxed::Box;

use serde::Serialize;
use smallvec::SmallVec;

use super::{condition::LossReason, operation::WorkerHandle};
use crate::{
    digest::Sha256Digest,
    dispatch::DispatchEffect,
    id::DeviceId,
    identity::TrustAnchors,
    lease::{Fence, WorkerLease},
};

/// An effect that the endpoint carries out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Effect {
    /// Tell the worker about its lease.
    Assign {
        /// The incarnation of the worker.
        worker: WorkerHandle,
        /// The lease.
        lease: WorkerLease,
    },
    /// Tell the worker to stop the run and to acknowledge that.
    Revoke {
        /// The incarnation of the worker.
        worker: WorkerHandle,
        /// The lease.
        lease: WorkerLease,
        /// Why the lease was revoked.
        reason: LossReason,
    },
    /// Tell the enforcement points that this lease is live, or that its end has moved.
    LeaseLive {
        /// The lease.
        lease: WorkerLease,
    },
    /// Tell the enforcement points that this lease authorises nothing any more.
    LeaseOver {
        /// The fence of the lease.
        fence: Fence,
    },
    /// Cut every connection of this device: its certificate, its key or the device itself was revoked.
    Cut {
        /// The device.
        device: DeviceId,
    },
    /// Cut the connections of this device that were made with this certificate: it was rotated away.
    CutCertificate {
        /// The device.
        device: DeviceId,
        /// SHA-256 of the certificate. Boxed, so that rare effects do not make the frequent ones larger.
        certificate: Box<Sha256Digest>,
    },
    /// Cut the connection of this device when its certificate ends: a rotation has set a deadline.
    Rotating {
        /// The device.
        device: DeviceId,
    },
    /// Tell every connected device what is announced and what was withdrawn. The anchors are those of this
    /// change: a later change may not be durable yet.
    AnchorsChanged(Box<TrustAnchors>),
    /// An effect of dispatch. Boxed because a delivery is large and the effects of leases are small.
    Dispatch(Box<DispatchEffect>),
}

/// Effects, in order. Most operations have at most two, which need no allocation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects(SmallVec<[Effect; 2]>);

impl Effects {
    pub(crate) fn push(&mut self, effect: Effect) {
        self.0.push(effect);
    }

    /// The effects, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Effect> {
        self.0.iter()
    }

    /// Whether there is no effect.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Extend<Effect> for Effects {
    fn extend<I: IntoIterator<Item = Effect>>(&mut self, effects: I) {
        self.0.extend(effects);
    }
}

impl IntoIterator for Effects {
    type Item = Effect;
    type IntoIter = IntoEffects;

    fn into_iter(self) -> IntoEffects {
        IntoEffects(self.0.into_iter())
    }
}

/// [`Effects`], one by one.
#[derive(Clone, Debug)]
pub struct IntoEffects(smallvec::IntoIter<[Effect; 2]>);

impl Iterator for IntoEffects {
    type Item = Effect;

    fn next(&mut self) -> Option<Effect> {
        self.0.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}
