//! What follows from an accepted operation outside the core. Held until the journal says that it lasts.

use serde::Serialize;

use super::{condition::LossReason, operation::WorkerHandle};
use crate::{
    digest::Sha256Digest,
    dispatch::DispatchEffect,
    id::DeviceId,
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
        /// SHA-256 of the certificate.
        certificate: Sha256Digest,
    },
    /// What follows for requests to devices.
    Dispatch(DispatchEffect),
}
