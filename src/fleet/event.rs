//! What happened, as it is journaled. Folding the events gives the hard state (invariant 8).

use alloc::{string::String, sync::Arc, vec::Vec};

use serde::Serialize;

use super::{
    condition::{LossReason, QuarantineReason},
    operation::RunOutcome,
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

/// What is remembered of accepted evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
#[non_exhaustive]
pub struct EvidenceRecord {
    /// SHA-256 of the statement.
    pub sha256: Sha256Digest,
    /// The policy generation that it was accepted under, or last judged again.
    pub generation: u64,
    /// When it was issued.
    pub issued: Wall,
    /// When it expires by its own word.
    pub expires: Wall,
    /// When its egress binding expires; `None` where the policy waived that.
    pub egress_expires: Option<Wall>,
    /// When it is over, on the wall.
    pub valid_until: Wall,
    /// When it is over, on the fleet's line, as it stood when the evidence was accepted: a wall clock that is set
    /// back later extends nothing.
    pub valid_until_mono: Mono,
    /// The certificate that it is bound to.
    pub certificate: Sha256Digest,
    /// When that certificate is over, on the fleet's line.
    pub certificate_until_mono: Mono,
}

events! {
    /// One change of the fleet. Everything that a reader needs is in it; nothing in it needs a clock to fold.
    ///
    /// Nobody outside this crate writes one: it is neither decoded nor built.
    ///
    /// ```compile_fail,E0277
    /// let forged: leasehold::fleet::FleetEvent = serde_json::from_str(r#"{"worker_silent":{"slot":0}}"#).unwrap();
    /// ```
    ///
    /// ```compile_fail,E0639
    /// let forged = leasehold::fleet::FleetEvent::WorkerSilent { slot: 0 };
    /// ```
    FleetEvent, stored as StoredFleetEvent;

    /// The fleet begins.
    Founded {
        /// Its first policy.
        policy: WorkerFleetPolicy,
    }
    /// A coordinator took over, with an epoch larger than every one before.
    EpochBegan {
        /// The epoch.
        epoch: Epoch,
    }
    /// The state was restored without its latest events.
    RestoredStale {
        /// No lease is granted before this instant.
        quiet_until: Mono,
        /// Grants and evidence issued before this instant are refused.
        floor: Wall,
    }
    /// Another policy is in force.
    PolicySet {
        /// The policy.
        policy: WorkerFleetPolicy,
        /// Its generation.
        generation: u64,
    }
    /// An operator believes the wall clock again, after a leap.
    WallAccepted {
        /// What it showed. Grants and evidence from before are refused.
        wall: Wall,
    }
    /// The device registry changed.
    DeviceChanged {
        /// How.
        change: DeviceEvent as StoredDeviceEvent,
    }
    /// A pairing session changed.
    PairingChanged {
        /// How.
        change: PairingEvent as StoredPairingEvent,
    }
    /// A request to a device, its grants or its stream changed.
    DispatchChanged {
        /// How.
        change: DispatchEvent as StoredDispatchEvent,
    }
    /// A worker is known from here on.
    WorkerRegistered {
        /// Its slot.
        slot: u32,
        /// Its id.
        worker: WorkerId,
        /// Its device.
        device: DeviceId,
    }
    /// A new incarnation of the worker took the place of the former one.
    IncarnationBegan {
        /// Its slot.
        slot: u32,
        /// The incarnation.
        incarnation: u32,
    }
    /// Evidence is in force from here on.
    EvidenceAccepted {
        /// The worker's slot.
        slot: u32,
        /// The evidence.
        evidence: EvidenceRecord,
        /// What runs there, and who says so: what another policy is held against.
        profile: Arc<EvidenceProfile>,
        /// What the worker can do, by that evidence.
        capabilities: CapabilitySet,
        /// The nonce that it spent, and until when that is remembered.
        nonce: Sha256Digest,
        /// See `nonce`.
        nonce_until: Mono,
        /// The version of the state at which that nonce was issued.
        nonce_version: u64,
    }
    /// Evidence was refused for a worker that is known.
    EvidenceRefused {
        /// The worker's slot.
        slot: u32,
        /// The code of every failed check.
        failures: Vec<String>,
    }
    /// Another policy came into force, and the evidence passes under that too.
    EvidenceKept {
        /// The worker's slot.
        slot: u32,
        /// The generation of that policy.
        generation: u64,
        /// When it is over from now on; never later than before.
        valid_until: Wall,
        /// See `valid_until`.
        valid_until_mono: Mono,
    }
    /// The evidence is no longer in force.
    EvidenceWithdrawn {
        /// The worker's slot.
        slot: u32,
    }
    /// The worker was heard where that makes it available.
    WorkerHeard {
        /// Its slot.
        slot: u32,
    }
    /// The worker was not heard in time.
    WorkerSilent {
        /// Its slot.
        slot: u32,
    }
    /// A lease was granted, and its grant is spent.
    LeaseGranted {
        /// The worker's slot.
        slot: u32,
        /// The lease.
        lease: WorkerLease,
    }
    /// The run of a lease began.
    RunStarted {
        /// The worker's slot.
        slot: u32,
        /// The lease.
        fence: Fence,
    }
    /// A lease got more time.
    LeaseRenewed {
        /// The worker's slot.
        slot: u32,
        /// The lease.
        fence: Fence,
        /// Its end from here on.
        expires: Mono,
    }
    /// A lease was taken back, and the worker has to acknowledge it.
    LeaseRevoked {
        /// The worker's slot.
        slot: u32,
        /// The lease.
        fence: Fence,
        /// Why.
        reason: LossReason,
        /// Until when.
        acknowledge_by: Mono,
    }
    /// A run has ended for good.
    RunEnded {
        /// The run.
        run: RunId,
        /// The lease that it ended under.
        fence: Fence,
        /// How; `None` where all its attempts were lost.
        outcome: Option<RunOutcome>,
        /// Why its last lease was lost, where it ended by that.
        lost: Option<LossReason>,
        /// SHA-256 of the manifest of what came back.
        outputs: Option<Sha256Digest>,
        /// Until when that is remembered.
        remembered_until: Mono,
    }
    /// The run of a lease is over and only its cleanup is awaited.
    CleanupAwaited {
        /// The worker's slot.
        slot: u32,
        /// The lease.
        fence: Fence,
    }
    /// A lease ended well: the worker gave it back clean.
    LeaseReturned {
        /// The worker's slot.
        slot: u32,
        /// The lease.
        fence: Fence,
    }
    /// A lease was lost. The worker owes cleanup and fresh evidence.
    LeaseLost {
        /// The worker's slot.
        slot: u32,
        /// The lease.
        fence: Fence,
        /// Why.
        reason: LossReason,
        /// The run may be leased again from this instant on.
        run_held_until: Mono,
    }
    /// Cleanup after a lost lease, or for the latch, is verified.
    CleanupVerified {
        /// The worker's slot.
        slot: u32,
        /// The lease.
        fence: Fence,
        /// Whether an operator vouched for it.
        forced: bool,
    }
    /// The latch closed, or another reason joined.
    Quarantined {
        /// The worker's slot.
        slot: u32,
        /// Why.
        reason: QuarantineReason,
    }
    /// The latch of every worker closed.
    FleetQuarantined {
        /// Counts such acts.
        generation: u64,
    }
    /// An operator gave the release that the latch owed.
    QuarantineReleased {
        /// The worker's slot.
        slot: u32,
    }
    /// The worker gets nothing new.
    DrainBegan {
        /// The worker's slot.
        slot: u32,
    }
    /// The worker is wanted again.
    DrainEnded {
        /// The worker's slot.
        slot: u32,
    }
    /// The worker is gone for good.
    WorkerRetired {
        /// Its slot.
        slot: u32,
    }
    /// A retired worker is no longer remembered, and its slot is free.
    WorkerForgotten {
        /// Its slot.
        slot: u32,
    }
    /// A client's operation and its answer are remembered.
    CommandRemembered {
        /// The client's session and number.
        command: CommandId,
        /// SHA-256 of what was asked.
        content: Sha256Digest,
        /// The answer, encoded.
        answer: Vec<u8>,
    }
    /// The fleet's own trust anchors changed.
    AnchorChanged {
        /// How.
        change: AnchorEvent as StoredAnchorEvent,
    }
}

/// What one accepted operation did: who asked, when, and the events in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FleetRecord {
    /// Counts accepted operations, from 1.
    pub index: u64,
    /// When it was decided.
    pub at: Now,
    /// Who asked.
    pub principal: Principal,
    /// What happened.
    pub events: Vec<FleetEvent>,
}

impl FleetEvent {
    /// The slot of the worker that the event is about, where it is about one.
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
            | Self::WorkerForgotten { slot } => Some(*slot),
            Self::Founded { .. }
            | Self::EpochBegan { .. }
            | Self::RestoredStale { .. }
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
