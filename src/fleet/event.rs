//! What happened, as the journal stores it. Folding the events gives the hard state (invariant 8).

use alloc::{boxed::Box, string::String, sync::Arc, vec::Vec};

use serde::Serialize;

use super::{
    condition::{LossReason, QuarantineReason},
    folding::Folding,
    marks::DrainPlan,
    outcome::RunOutcome,
    policy::WorkerFleetPolicy,
    principal::{CommandId, Principal},
};
use crate::{
    attestation::EvidenceProfile,
    capability::CapabilitySet,
    digest::Sha256Digest,
    dispatch::{DispatchEvent, StoredDispatchEvent},
    id::{DeviceId, RunId, WorkerId},
    identity::{
        AnchorEvent, DeviceEvent, StoredAnchorEvent, StoredDeviceEvent,
        pairing::{PairingEvent, StoredPairingEvent},
    },
    journaled::events,
    lease::{Epoch, Fence, WorkerLease},
    time::{Mono, Now, Wall},
};

/// What the fleet remembers of accepted evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
#[non_exhaustive]
pub struct EvidenceRecord {
    /// SHA-256 of the statement.
    pub sha256: Sha256Digest,
    /// The generation of the policy under which the evidence was last judged.
    pub generation: u64,
    /// When the evidence was issued.
    pub issued: Wall,
    /// When the evidence expires by its own statement.
    pub expires: Wall,
    /// When its egress binding expires; `None` if the policy waived the binding.
    pub egress_expires: Option<Wall>,
    /// When the evidence ends, by the wall clock.
    pub valid_until: Wall,
    /// When the evidence ends, in monotonic time, as computed when it was accepted. A wall clock that is set
    /// back later extends nothing.
    pub valid_until_mono: Mono,
    /// The certificate to which the evidence is bound.
    pub certificate: Sha256Digest,
    /// When that certificate ends, in monotonic time.
    pub certificate_until_mono: Mono,
}

events! {
    /// One change of the fleet. An event contains everything that a reader needs, and folding it needs no
    /// clock.
    ///
    /// Only this crate creates events: the type has no decoder and no public constructor.
    ///
    /// ```compile_fail,E0277
    /// let forged: leasehold::fleet::FleetEvent = serde_json::from_str(r#"{"worker_silent":{"slot":0}}"#).unwrap();
    /// ```
    ///
    /// ```compile_fail,E0639
    /// let forged = leasehold::fleet::FleetEvent::WorkerSilent { slot: 0 };
    /// ```
    FleetEvent, stored as StoredFleetEvent;

    /// The fleet was founded.
    Founded {
        /// Its first policy.
        policy: WorkerFleetPolicy,
    }
    /// A coordinator took over, with an epoch larger than every one before.
    EpochBegan {
        /// The epoch.
        epoch: Epoch,
        /// The constants that events are folded with from now on.
        folding: Folding,
        /// No run is leased again before this instant: an expiry that another coordinator told the run's
        /// former holder may still be in the future.
        held_until: Mono,
    }
    /// The state was restored without its latest events.
    RestoredStale {
        /// No lease is granted before this instant.
        quiet_until: Mono,
        /// Grants and evidence issued before this instant are refused.
        floor: Wall,
    }
    /// Another policy came into force.
    PolicySet {
        /// The policy.
        policy: WorkerFleetPolicy,
        /// The generation of the policy.
        generation: u64,
    }
    /// An operator accepted the wall clock after a leap.
    WallAccepted {
        /// What the wall clock showed. Grants and evidence issued before are refused.
        wall: Wall,
    }
    /// The device registry changed.
    DeviceChanged {
        /// The change.
        change: Box<DeviceEvent> as Box<StoredDeviceEvent>,
    }
    /// A pairing session changed.
    PairingChanged {
        /// The change.
        change: Box<PairingEvent> as Box<StoredPairingEvent>,
    }
    /// A request to a device, a device's grants or its stream changed.
    DispatchChanged {
        /// The change.
        change: Box<DispatchEvent> as Box<StoredDispatchEvent>,
    }
    /// A worker was registered.
    WorkerRegistered {
        /// Its slot.
        slot: u32,
        /// Its id.
        worker: WorkerId,
        /// Its device.
        device: DeviceId,
    }
    /// A new incarnation of the worker replaced the former one.
    IncarnationBegan {
        /// Its slot.
        slot: u32,
        /// The incarnation.
        incarnation: u32,
    }
    /// Evidence came into force.
    EvidenceAccepted {
        /// The worker's slot.
        slot: u32,
        /// The evidence. Boxed, so that frequent events stay small.
        evidence: Box<EvidenceRecord>,
        /// The facts of the evidence and who signed them. Another policy is judged against these.
        profile: Arc<EvidenceProfile>,
        /// The capabilities that the evidence states.
        capabilities: CapabilitySet,
        /// The nonce that the evidence spent.
        nonce: Sha256Digest,
        /// Until when the spent nonce is remembered.
        nonce_until: Mono,
        /// The version of the state at which the nonce was issued.
        nonce_version: u64,
    }
    /// Evidence of a known worker was refused.
    EvidenceRefused {
        /// The worker's slot.
        slot: u32,
        /// The code of every failed check.
        failures: Vec<String>,
    }
    /// Another policy came into force, and the worker's evidence passes under it too.
    EvidenceKept {
        /// The worker's slot.
        slot: u32,
        /// The generation of the policy.
        generation: u64,
        /// When the evidence ends now, by the wall clock; never later than before.
        valid_until: Wall,
        /// When the evidence ends now, in monotonic time; never later than before.
        valid_until_mono: Mono,
    }
    /// The worker's evidence is no longer in force.
    EvidenceWithdrawn {
        /// The worker's slot.
        slot: u32,
    }
    /// The worker was heard, and that changed its condition.
    WorkerHeard {
        /// Its slot.
        slot: u32,
    }
    /// The worker was not heard in time.
    WorkerSilent {
        /// Its slot.
        slot: u32,
    }
    /// A lease was granted, and the run's grant was spent.
    LeaseGranted {
        /// The worker's slot.
        slot: u32,
        /// The lease.
        lease: WorkerLease,
    }
    /// The worker started the run of its lease.
    RunStarted {
        /// The worker's slot.
        slot: u32,
        /// The fence of the lease.
        fence: Fence,
    }
    /// A lease was renewed.
    LeaseRenewed {
        /// The worker's slot.
        slot: u32,
        /// The fence of the lease.
        fence: Fence,
        /// When the lease expires now.
        expires: Mono,
    }
    /// A lease was revoked, and the worker must acknowledge that.
    LeaseRevoked {
        /// The worker's slot.
        slot: u32,
        /// The fence of the lease.
        fence: Fence,
        /// Why the lease was revoked.
        reason: LossReason,
        /// The instant by which the worker must acknowledge it.
        acknowledge_by: Mono,
    }
    /// A run ended permanently.
    RunEnded {
        /// The run.
        run: RunId,
        /// The fence of the lease under which the run ended.
        fence: Fence,
        /// How the run ended; `None` if all its attempts were lost.
        outcome: Option<RunOutcome>,
        /// Why its last lease was lost, if that ended the run.
        lost: Option<LossReason>,
        /// SHA-256 of the manifest of the outputs.
        outputs: Option<Sha256Digest>,
        /// Until when the end of the run is remembered.
        remembered_until: Mono,
    }
    /// A run ended, and only its cleanup is awaited.
    CleanupAwaited {
        /// The worker's slot.
        slot: u32,
        /// The fence of the lease.
        fence: Fence,
    }
    /// A lease ended in order: the worker returned it after verified cleanup.
    LeaseReturned {
        /// The worker's slot.
        slot: u32,
        /// The fence of the lease.
        fence: Fence,
    }
    /// A lease was lost. The worker owes cleanup and fresh evidence.
    LeaseLost {
        /// The worker's slot.
        slot: u32,
        /// The fence of the lease.
        fence: Fence,
        /// Why the lease was lost.
        reason: LossReason,
        /// The run may be leased again from this instant.
        run_held_until: Mono,
    }
    /// The cleanup that a worker owed, for a lost lease or for its latch, was verified.
    CleanupVerified {
        /// The worker's slot.
        slot: u32,
        /// The fence of the lost lease.
        fence: Fence,
        /// Whether an operator vouched for the cleanup.
        forced: bool,
    }
    /// The worker's latch closed, or was closed for a further reason.
    Quarantined {
        /// The worker's slot.
        slot: u32,
        /// The reason.
        reason: QuarantineReason,
    }
    /// The latches of all workers closed.
    FleetQuarantined {
        /// The number of this act on the whole fleet.
        generation: u64,
    }
    /// An operator gave the release that the latch owed.
    QuarantineReleased {
        /// The worker's slot.
        slot: u32,
    }
    /// Draining began: the worker gets no new lease.
    DrainBegan {
        /// The worker's slot.
        slot: u32,
    }
    /// Draining ended.
    DrainEnded {
        /// The worker's slot.
        slot: u32,
    }
    /// The worker was retired.
    WorkerRetired {
        /// Its slot.
        slot: u32,
    }
    /// A retired worker was forgotten, and its slot is free.
    WorkerForgotten {
        /// Its slot.
        slot: u32,
    }
    /// A client's operation and its answer are remembered.
    CommandRemembered {
        /// The client's session and sequence number.
        command: CommandId,
        /// SHA-256 of the operation's content.
        content: Sha256Digest,
        /// The answer, encoded.
        answer: Vec<u8>,
    }
    /// The fleet's own trust anchors changed.
    AnchorChanged {
        /// The change.
        change: Box<AnchorEvent> as Box<StoredAnchorEvent>,
    }
    /// The fleet was restored without its latest events: no worker has evidence in force, every lease is
    /// lost, and every run that lost its last attempt has ended.
    EverythingLost {
        /// The runs may be leased again from this instant.
        run_held_until: Mono,
    }
    /// The bounds of a lease changed: it ends sooner, or renewals can extend it further.
    LeaseBounded {
        /// The worker's slot.
        slot: u32,
        /// The fence of the lease.
        fence: Fence,
        /// When the lease expires now; never later than before.
        expires: Mono,
        /// The instant that no renewal can pass now.
        horizon: Mono,
    }
    /// The worker's count of bad runs changed.
    WorkerRated {
        /// The worker's slot.
        slot: u32,
        /// How many runs ended badly since the last one that ended well.
        bad_in_a_row: u32,
        /// Whether the worker gets only probes from now on.
        set_aside: bool,
    }
    /// The lease that the same record grants is a probe of a worker that is set aside.
    ProbeBegan {
        /// The worker's slot.
        slot: u32,
    }
    /// An operator gave the reason and the deadline of a drain.
    DrainPlanned {
        /// The worker's slot.
        slot: u32,
        /// The reason and the deadline.
        plan: DrainPlan,
    }
    /// An incarnation came back that another had replaced: two places use one identity.
    WorkerDisplaced {
        /// The worker's slot.
        slot: u32,
        /// How often such a return was seen.
        times: u32,
    }
}

/// Wraps the event of one part of the fleet. It is boxed, because it is several times as large as an event of a lease.
macro_rules! parts {
    ($($variant:ident { $change:ty })+) => {$(
        impl From<$change> for FleetEvent {
            fn from(change: $change) -> Self {
                Self::$variant { change: Box::new(change) }
            }
        }
    )+};
}

parts! {
    DeviceChanged { DeviceEvent }
    PairingChanged { PairingEvent }
    DispatchChanged { DispatchEvent }
    AnchorChanged { AnchorEvent }
}

/// The record of one accepted operation: who asked, when, and the events in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FleetRecord {
    /// The number of the record, counted from 1.
    pub index: u64,
    /// When the operation was decided.
    pub at: Now,
    /// Who asked for the operation.
    pub principal: Principal,
    /// The events, in order.
    pub events: Vec<FleetEvent>,
}

impl FleetEvent {
    /// The slot of the worker that the event is about, if it is about one worker.
    pub fn slot(&self) -> Option<u32> {
        match self {
            Self::WorkerRegistered { slot, .. }
            | Self::IncarnationBegan { slot, .. }
            | Self::EvidenceAccepted { slot, .. }
            | Self::EvidenceRefused { slot, .. }
            | Self::EvidenceKept { slot, .. }
            | Self::EvidenceWithdrawn { slot }
            | Self::WorkerHeard { slot }
            | Self::WorkerSilent { slot }
            | Self::LeaseGranted { slot, .. }
            | Self::RunStarted { slot, .. }
            | Self::LeaseRenewed { slot, .. }
            | Self::LeaseRevoked { slot, .. }
            | Self::CleanupAwaited { slot, .. }
            | Self::LeaseReturned { slot, .. }
            | Self::LeaseLost { slot, .. }
            | Self::CleanupVerified { slot, .. }
            | Self::Quarantined { slot, .. }
            | Self::QuarantineReleased { slot }
            | Self::DrainBegan { slot }
            | Self::DrainEnded { slot }
            | Self::WorkerRetired { slot }
            | Self::WorkerForgotten { slot }
            | Self::LeaseBounded { slot, .. }
            | Self::WorkerRated { slot, .. }
            | Self::ProbeBegan { slot }
            | Self::DrainPlanned { slot, .. }
            | Self::WorkerDisplaced { slot, .. } => Some(*slot),
            Self::Founded { .. }
            | Self::EpochBegan { .. }
            | Self::RestoredStale { .. }
            | Self::EverythingLost { .. }
            | Self::WallAccepted { .. }
            | Self::PolicySet { .. }
            | Self::DeviceChanged { .. }
            | Self::AnchorChanged { .. }
            | Self::PairingChanged { .. }
            | Self::DispatchChanged { .. }
            | Self::RunEnded { .. }
            | Self::FleetQuarantined { .. }
            | Self::CommandRemembered { .. } => None,
        }
    }
}
