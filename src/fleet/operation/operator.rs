//! Operations of operators.

use serde::{Deserialize, Serialize};

use super::Operation;
use crate::{
    fleet::{
        condition::WorkerLifecycleState, marks::DrainReason, policy::WorkerFleetPolicy,
        rejection::ManageError,
    },
    id::WorkerId,
    identity::{AnchorCommand, DeviceCommand},
    lease::Fence,
    time::Millis,
};

/// The answer of an operator's operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Managed {
    /// The public state of the worker afterwards; `None` if the operation was not about one worker's state.
    pub state: Option<WorkerLifecycleState>,
}

macro_rules! on_worker {
    ($($(#[$meta:meta])* $name:ident)+) => {$(
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            /// The worker.
            pub worker: WorkerId,
        }

        impl Operation for $name {
            type Answer = Managed;
            type Error = ManageError;
        }
    )+};
}

on_worker! {
    /// Quarantines a worker and revokes its lease. [`Release`] and fresh evidence together end the
    /// quarantine.
    QuarantineWorker
    /// Gives the release that a quarantine owes if an operator, a refused output or a displaced incarnation
    /// caused it.
    Release
    /// Drains a worker: it gets no new lease until [`Undrain`]. It may finish the lease that it holds.
    Drain
    /// Ends draining; nothing else does. Also ends that a worker is set aside.
    Undrain
    /// Demands fresh evidence: the evidence that the worker brought so far is no longer in force.
    Reverify
    /// Retires a worker permanently. The worker must hold no lease.
    Retire
}

/// The same as [`Drain`], with a reason and an optional deadline. A lease that still runs at the deadline is
/// revoked for [`LossReason::Drained`](crate::fleet::LossReason::Drained).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrainFor {
    /// The worker.
    pub worker: WorkerId,
    /// Why the worker is drained.
    pub reason: DrainReason,
    /// How long the worker may finish the lease that it holds. If it is left out, there is no deadline.
    #[serde(default)]
    pub within_ms: Option<Millis>,
}

impl Operation for DrainFor {
    type Answer = Managed;
    type Error = ManageError;
}

/// Quarantines every worker at once, at O(1). The leases are revoked in bounded steps of `expire`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuarantineAll {}

/// Trusts the wall clock as it stands now, after a leap that was refused. An operator has checked that it is
/// right.
///
/// Nothing lasts longer because of it: what ends in monotonic time is unchanged. Grants and evidence issued
/// before this instant are refused from now on, because the record that they were used may have been
/// forgotten while the clock was wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcceptWall {}

/// Vouches for the cleanup that a worker owes. The record names the principal, for audits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForceCleanup {
    /// The worker.
    pub worker: WorkerId,
    /// The fence of the lost lease.
    pub fence: Fence,
}

/// Puts another policy in force. The sweep that follows judges the evidence of every worker under it:
/// evidence that passes is kept, evidence that does not is withdrawn and the lease that depends on it is
/// revoked. A decision that depends on evidence judges it at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetPolicy {
    /// The policy. It must be for the same fleet.
    pub policy: WorkerFleetPolicy,
}

/// Changes the device registry: registers, rotates, revokes. A revoked device loses its lease, its open
/// requests, its stream and its pairing sessions at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ManageDevice {
    /// The change.
    pub command: DeviceCommand,
}

impl ManageDevice {
    /// Asks for `command`.
    pub const fn new(command: DeviceCommand) -> Self {
        Self { command }
    }
}

impl Operation for ManageDevice {
    type Answer = Managed;
    type Error = ManageError;
}

/// Changes the fleet's own trust anchors: the certificate that its coordinator announces to follow the
/// present one, and the authorities to which its host chains device certificates. Connected devices are told
/// of an announcement at once, every other one when it connects.
///
/// ```
/// use leasehold::{digest::Sha256Digest, fleet::ManageAnchors, identity::*, testing::World, time::Wall};
/// let mut world = World::default();
/// let role = AnchorRole::Coordinator;
/// // The certificate that this coordinator presents, and the one that it will present.
/// let present = Sha256Digest::of(b"coordinator");
/// let (leaf, key) = (Sha256Digest::of(b"the next certificate"), Sha256Digest::of(b"its key"));
/// let next = DeviceCertificate::new(leaf, key, Wall(0), Wall::NEVER)?;
/// let pin = AnchorCommand::Pin { role, certificate: PinnedCertificate::Fingerprint(present) };
/// let announcement = Announcement { role, succeeds: present, next };
/// for command in [pin, AnchorCommand::Announce { by: present, announcement }] {
///     world.ask(&ManageAnchors::new(command), &World::operator())?;
/// }
/// assert!(world.fleet.state().nodes().anchors().announced().eq([announcement]));
/// // It lasts, like everything else that an operator decided.
/// world.crash();
/// assert!(world.fleet.state().nodes().anchors().announced().eq([announcement]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ManageAnchors {
    /// The change.
    pub command: AnchorCommand,
}

impl ManageAnchors {
    /// Asks for `command`.
    pub const fn new(command: AnchorCommand) -> Self {
        Self { command }
    }
}

impl Operation for ManageAnchors {
    type Answer = Managed;
    type Error = ManageError;
}

impl Operation for QuarantineAll {
    type Answer = Managed;
    type Error = ManageError;
}

impl Operation for AcceptWall {
    type Answer = Managed;
    type Error = ManageError;
}

impl Operation for ForceCleanup {
    type Answer = Managed;
    type Error = ManageError;
}

impl Operation for SetPolicy {
    type Answer = Managed;
    type Error = ManageError;
}
