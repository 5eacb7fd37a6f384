//! What an operator may ask.

use serde::{Deserialize, Serialize};

use super::Operation;
use crate::{
    fleet::{condition::WorkerLifecycleState, policy::WorkerFleetPolicy, rejection::ManageError},
    id::WorkerId,
    identity::{AnchorCommand, DeviceCommand},
    lease::Fence,
};

/// What an operator's act led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Managed {
    /// The public view of the worker afterwards; `None` for an act on the whole fleet.
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
    /// Closes the latch of a worker and takes its lease back. Opened by [`Release`] and fresh evidence together.
    QuarantineWorker
    /// An operator's part of opening a latch that an operator, or a refused output, closed.
    Release
    /// Gives the worker no new lease until [`Undrain`]. What it has, it finishes.
    Drain
    /// Ends draining. Nothing else does.
    Undrain
    /// Demands fresh evidence: what the worker has brought so far is no longer in force.
    Reverify
    /// Ends a worker for good. It must hold no lease.
    Retire
}

/// Closes the latch of every worker at once, at O(1); the leases that follow end in bounded steps of `expire`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuarantineAll {}

/// Believes the wall clock as it stands now, after a leap that was refused: an operator has seen that it is right.
///
/// Nothing is extended by it: what runs on the fleet's line goes on as it was, and grants and evidence from before
/// are refused from then on, since what they could repeat may have been forgotten while the clock was wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcceptWall {}

/// Vouches for the cleanup that a worker owes. Audited: the principal stays in the event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForceCleanup {
    /// The worker.
    pub worker: WorkerId,
    /// The lease that it lost.
    pub fence: Fence,
}

/// Puts another policy in force. Evidence that was accepted under the former one is no longer in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetPolicy {
    /// The policy. Its fleet must be the same.
    pub policy: WorkerFleetPolicy,
}

/// Changes the device registry: registers, rotates, revokes. A revoked device loses its lease, its open requests, its
/// stream and its pairing sessions at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ManageDevice {
    /// What shall change.
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

/// Changes the fleet's own trust anchors: what its coordinator has announced to follow its certificate, and the
/// authorities that its host chains device certificates to. Every connected device is told of an announcement at once,
/// and every other one when it comes.
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
    /// What shall change.
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
