//! Operations of workers. Each comes over the authenticated connection of the worker's device.

use alloc::{string::String, vec::Vec};

use serde::{Deserialize, Serialize};

use super::Operation;
use crate::{
    attestation::EvidenceForm,
    fleet::{
        condition::{Debt, WorkerLifecycleState},
        outcome::RunOutcome,
        rejection::{AttestError, ChallengeError, HeartbeatError, LeaseError},
    },
    lease::{Fence, Inspection, OutputClaim, ReceivedArtifacts, WorkerCleanupReport},
    time::{Millis, Wall},
};

/// Names one incarnation of a worker. Frequent messages carry it in place of the worker's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerHandle {
    /// The slot of the worker's record.
    pub slot: u32,
    /// The number of the incarnation, counted per slot. It outlives the worker, so a handle never fits a
    /// later worker of the same slot.
    pub generation: u32,
}

/// Asks for a nonce to make evidence over. Nothing is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Challenge {}

/// A nonce, and how long it is good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Challenged {
    /// The bytes of the nonce.
    pub nonce: Vec<u8>,
    /// How long the nonce is good, counted from now.
    pub ttl: Millis,
}

/// Joins the fleet, or brings fresh evidence for an incarnation that has joined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attest {
    /// The nonce of the evidence, as [`Challenge`] gave it.
    pub nonce: Vec<u8>,
    /// The format of the evidence.
    pub form: EvidenceForm,
    /// The bytes of the evidence. They are judged as they are.
    pub evidence: Vec<u8>,
    /// Envelopes that others signed about the same worker, such as the provenance of its build: at most
    /// [`MAX_ATTACHMENTS`](crate::attestation::MAX_ATTACHMENTS). Attachments that cannot be used are ignored.
    pub attachments: Vec<Vec<u8>>,
    /// The incarnation that goes on. With `None` the worker joins as a new incarnation, and the former one
    /// ends.
    pub resume: Option<WorkerHandle>,
}

/// The worker is bound to its device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attested {
    /// The handle that every later message of this incarnation carries.
    pub handle: WorkerHandle,
    /// Until when the evidence is good.
    pub valid_until: Wall,
    /// The public state of the worker.
    pub state: WorkerLifecycleState,
    /// What the worker owes for a lease that it lost.
    pub owes: Option<Debt>,
    /// The codes of the checks that failed. If it is not empty, the evidence of a known worker was refused
    /// and the worker is quarantined; nothing else in this answer authorises anything.
    pub failures: Vec<String>,
}

/// The worker starts the run of its lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Start {
    /// The incarnation.
    pub worker: WorkerHandle,
    /// The fence of the lease.
    pub fence: Fence,
}

/// Asks for more time. A renewal never passes the lease's horizon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Renew {
    /// The incarnation.
    pub worker: WorkerHandle,
    /// The fence of the lease.
    pub fence: Fence,
}

/// How long the lease lasts. The worker counts it from when it *sent* its request, less the clock budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Remaining {
    /// The fence of the lease.
    pub fence: Fence,
    /// The time that was left when the coordinator answered.
    pub remaining: Millis,
}

/// The run has ended.
///
/// `received` and `inspection` come from the coordinator; no message of a worker carries them. A repeat is
/// recognised without them, because a coordinator that was restarted in between has seen less.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Complete {
    /// The incarnation.
    pub worker: WorkerHandle,
    /// The fence of the lease.
    pub fence: Fence,
    /// How the run ended.
    pub outcome: RunOutcome,
    /// The outputs that the worker claims.
    pub claim: OutputClaim,
    /// The outputs that arrived.
    #[serde(skip_serializing)]
    pub received: ReceivedArtifacts,
    /// The cleanup report, if the cleanup is done already. Without it the worker reports later.
    pub cleanup: Option<WorkerCleanupReport>,
    /// The independent inspection of the cleanup, if there was one.
    #[serde(skip_serializing)]
    pub inspection: Option<Inspection>,
}

impl Complete {
    /// The end of a run: what the worker claims beside what arrived.
    pub const fn new(
        worker: WorkerHandle,
        fence: Fence,
        outcome: RunOutcome,
        claim: OutputClaim,
        received: ReceivedArtifacts,
    ) -> Self {
        Self { worker, fence, outcome, claim, received, cleanup: None, inspection: None }
    }

    /// Adds a cleanup report, and the result of an inspection.
    #[must_use]
    pub fn with_cleanup(mut self, report: WorkerCleanupReport, inspection: Option<Inspection>) -> Self {
        self.cleanup = Some(report);
        self.inspection = inspection;
        self
    }
}

/// The result of a run that its worker reported as ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Verdict {
    /// The run is recorded as ended, and the worker is clean.
    Clean,
    /// The run is recorded as ended; its cleanup is awaited.
    CleanupAwaited,
    /// The run is recorded as ended. Its cleanup failed, and the worker is orphaned and quarantined.
    CleanupFailed,
    /// The outputs do not match the worker's claim. The run is not recorded as ended, and the worker is
    /// quarantined.
    OutputRefused,
    /// The outputs match the claim, but exceed what the lease allows or lack what it demands. The run is
    /// recorded as failed. The worker owes cleanup and fresh evidence, and can work again after them.
    OutputExcess,
}

/// Reports a cleanup, for the lease that is being cleaned up or for one that was lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ReportCleanup {
    /// The incarnation.
    pub worker: WorkerHandle,
    /// The report, which is bound to its lease.
    pub report: WorkerCleanupReport,
    /// The independent inspection of the cleanup, if there was one.
    #[serde(skip_serializing)]
    pub inspection: Option<Inspection>,
}

impl ReportCleanup {
    /// A report, and the result of an inspection.
    pub const fn new(
        worker: WorkerHandle,
        report: WorkerCleanupReport,
        inspection: Option<Inspection>,
    ) -> Self {
        Self { worker, report, inspection }
    }
}

/// The worker has stopped the run of a revoked lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AcknowledgeRevocation {
    /// The incarnation.
    pub worker: WorkerHandle,
    /// The fence of the revoked lease.
    pub fence: Fence,
    /// The cleanup report. Without it the worker is orphaned until it reports.
    pub cleanup: Option<WorkerCleanupReport>,
    /// The independent inspection of the cleanup, if there was one.
    #[serde(skip_serializing)]
    pub inspection: Option<Inspection>,
}

impl AcknowledgeRevocation {
    /// An acknowledgement, with a cleanup report and the result of an inspection.
    pub const fn new(
        worker: WorkerHandle,
        fence: Fence,
        cleanup: Option<WorkerCleanupReport>,
        inspection: Option<Inspection>,
    ) -> Self {
        Self { worker, fence, cleanup, inspection }
    }
}

/// A replaced incarnation came back: two places use the worker's identity in turn. It is counted if
/// `workers.latch_displaced_after` is not zero. Nothing follows if it is zero, if the worker is quarantined
/// for that reason already, or if the incarnation is the current one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Displaced {
    /// The incarnation that came back.
    pub worker: WorkerHandle,
}

impl Operation for Displaced {
    type Answer = ();
    type Error = HeartbeatError;
}

impl Operation for Challenge {
    type Answer = Challenged;
    type Error = ChallengeError;
}

impl Operation for Attest {
    type Answer = Attested;
    type Error = AttestError;
}

impl Operation for Start {
    type Answer = Remaining;
    type Error = LeaseError;
}

impl Operation for Renew {
    type Answer = Remaining;
    type Error = LeaseError;
}

impl Operation for Complete {
    type Answer = Verdict;
    type Error = LeaseError;
}

impl Operation for ReportCleanup {
    type Answer = Verdict;
    type Error = LeaseError;
}

impl Operation for AcknowledgeRevocation {
    type Answer = Verdict;
    type Error = LeaseError;
}
