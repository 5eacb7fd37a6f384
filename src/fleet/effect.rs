//! What follows from an accepted operation outside the core. Held until the journal says that it lasts.

use alloc::{
    boxed::Box,
    vec::{self, Vec},
};
use core::{array, iter};

use serde::Serialize;

use super::{condition::LossReason, operation::WorkerHandle};
use crate::{
    digest::Sha256Digest,
    dispatch::DispatchEffect,
    id::DeviceId,
    identity::TrustAnchors,
    lease::{Fence, WorkerLease},
};

/// An effect, for the endpoint that carries it out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Effect {
    /// Tell the worker about its lease.
    Assign {
        /// The incarnation.
        worker: WorkerHandle,
        /// The lease.
        lease: WorkerLease,
    },
    /// Tell the worker to stop, and that it has to acknowledge.
    Revoke {
        /// The incarnation.
        worker: WorkerHandle,
        /// Its device.
        device: DeviceId,
        /// The lease.
        fence: Fence,
        /// Why.
        reason: LossReason,
    },
    /// Tell the enforcement points that this lease is live, or until when it is from now on.
    LeaseLive {
        /// The lease.
        lease: WorkerLease,
    },
    /// Tell the enforcement points that this lease authorises nothing any more.
    LeaseOver {
        /// The lease.
        fence: Fence,
    },
    /// Cut every connection of this device: what it was authenticated by is revoked.
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
    /// Cut the connection of this device when the certificate that it was made with ends: a rotation has set a deadline.
    Rotating {
        /// The device.
        device: DeviceId,
    },
    /// Tell every connected device what is announced and what was taken back. The anchors as they are by this change:
    /// later ones may not last yet.
    AnchorsChanged(Box<TrustAnchors>),
    /// What follows for requests to devices. Boxed: a delivery is large, and effects of leases are not.
    Dispatch(Box<DispatchEffect>),
}

/// How many effects lie in the value itself.
const HERE: usize = 2;

/// Effects, in order. Most operations have two at most, and those are not allocated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    here: [Option<Effect>; HERE],
    more: Vec<Effect>,
}

impl Effects {
    pub(crate) fn push(&mut self, effect: Effect) {
        match self.here.iter_mut().find(|place| place.is_none()) {
            Some(place) => *place = Some(effect),
            None => self.more.push(effect),
        }
    }

    /// The effects, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Effect> {
        self.here.iter().flatten().chain(&self.more)
    }

    /// Whether nothing follows.
    pub fn is_empty(&self) -> bool {
        self.here.iter().all(Option::is_none)
    }
}

impl Extend<Effect> for Effects {
    fn extend<I: IntoIterator<Item = Effect>>(&mut self, effects: I) {
        effects.into_iter().for_each(|effect| self.push(effect));
    }
}

impl IntoIterator for Effects {
    type Item = Effect;
    type IntoIter = iter::Chain<iter::Flatten<array::IntoIter<Option<Effect>, HERE>>, vec::IntoIter<Effect>>;

    fn into_iter(self) -> Self::IntoIter {
        self.here.into_iter().flatten().chain(self.more)
    }
}
