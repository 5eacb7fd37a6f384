//! What a worker may ask. Each travels over the device's own authenticated connection.

use alloc::{string::String, vec::Vec};

use serde::{Deserialize, Serialize};

use super::Operation;
use crate::{
    attestation::EvidenceForm,
    fleet::{
        condition::{Debt, WorkerLifecycleState},
        rejection::{AttestError, ChallengeError, LeaseError},
    },
    lease::{Fence, Inspection, OutputClaim, ReceivedArtifacts, WorkerCleanupReport},
    time::{Millis, Wall},
};

/// The place of one worker incarnation: hot messages carry it instead of the worker's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerHandle {
    /// The slot of the worker's record.
    pub slot: u32,
    /// Which incarnation of what was in that slot.
    pub generation: u32,
}

/// Asks for a nonce to make evidence over. Nothing is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Challenge {}

/// A nonce, and how long it stays good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Challenged {
    /// The nonce's bytes.
    pub nonce: Vec<u8>,
    /// For this long from now.
    pub ttl: Millis,
}

/// Joins the fleet, or brings fresh evidence for an incarnation that has joined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attest {
    /// The nonce that the evidence is over, as [`Challenge`] gave it.
    pub nonce: Vec<u8>,
    /// How the evidence is wrapped.
    pub form: EvidenceForm,
    /// The evidence's bytes, judged as they are.
    pub evidence: Vec<u8>,
    /// Envelopes that others signed about the same worker, such as its build's provenance: at most
    /// [`MAX_ATTACHMENTS`](crate::attestation::MAX_ATTACHMENTS). Junk among them is passed over.
    pub attachments: Vec<Vec<u8>>,
    /// The incarnation that goes on. `None` joins as a new one, and the former one is over.
    pub resume: Option<WorkerHandle>,
}

/// The worker is bound.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attested {
    /// What every later message of this incarnation carries.
    pub handle: WorkerHandle,
    /// Until when the evidence is good.
    pub valid_until: Wall,
    /// The public view of the worker.
    pub state: WorkerLifecycleState,
    /// What the worker owes for a lease that it lost.
    pub owes: Option<Debt>,
    /// The codes of the checks that failed. Not empty: the evidence of a known worker was refused, the worker is
    /// quarantined, and nothing else of this answer authorises anything.
    pub failures: Vec<String>,
}

/// The worker has begun the run of its lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Start {
    /// The incarnation.
    pub worker: WorkerHandle,
    /// The lease.
    pub fence: Fence,
}

/// Asks for more time. Renewal never goes past the lease's horizon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Renew {
    /// The incarnation.
    pub worker: WorkerHandle,
    /// The lease.
    pub fence: Fence,
}

/// How long the lease is good for, counted from when the worker *sent* its request, less the clock budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Remaining {
    /// The lease.
    pub fence: Fence,
    /// The span that was left when the coordinator answered.
    pub remaining: Millis,
}

/// How a run ended, in the worker's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RunOutcome {
    /// The run did what it was for.
    Succeeded,
    /// The run failed by itself.
    Failed,
}

/// The run is over.
///
/// `received` and `inspection` are the coordinator's own, and no message of a worker carries them. So a repeat is
/// recognised without them: a coordinator that was restarted in between has seen less.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Complete {
    /// The incarnation.
    pub worker: WorkerHandle,
    /// The lease.
    pub fence: Fence,
    /// How it ended.
    pub outcome: RunOutcome,
    /// What the worker says that it made.
    pub claim: OutputClaim,
    /// What arrived.
    #[serde(skip_serializing)]
    pub received: ReceivedArtifacts,
    /// What was cleaned up, where that is known already; without it the cleanup is reported later.
    pub cleanup: Option<WorkerCleanupReport>,
    /// What somebody else saw when they looked.
    #[serde(skip_serializing)]
    pub inspection: Option<Inspection>,
}

impl Complete {
    /// The end of a run: what the worker says beside what arrived.
    pub const fn new(
        worker: WorkerHandle,
        fence: Fence,
        outcome: RunOutcome,
        claim: OutputClaim,
        received: ReceivedArtifacts,
    ) -> Self {
        Self { worker, fence, outcome, claim, received, cleanup: None, inspection: None }
    }

    /// With a cleanup report, and what an inspection saw.
    #[must_use]
    pub fn with_cleanup(mut self, report: WorkerCleanupReport, inspection: Option<Inspection>) -> Self {
        self.cleanup = Some(report);
        self.inspection = inspection;
        self
    }
}

/// What became of a run that its worker called over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Verdict {
    /// The run counts as ended, and the worker is clean.
    Clean,
    /// The run counts as ended; its cleanup is awaited.
    CleanupAwaited,
    /// The run counts as ended; its cleanup failed, and the worker is orphaned and quarantined.
    CleanupFailed,
    /// What came back is refused: the run does not count as done, and the worker is quarantined.
    OutputRefused,
}

/// Cleanup is done, for the lease that is being cleaned up or for one that was lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ReportCleanup {
    /// The incarnation.
    pub worker: WorkerHandle,
    /// The report, bound to its lease.
    pub report: WorkerCleanupReport,
    /// What somebody else saw when they looked.
    #[serde(skip_serializing)]
    pub inspection: Option<Inspection>,
}

impl ReportCleanup {
    /// A report, and what an inspection saw.
    pub const fn new(
        worker: WorkerHandle,
        report: WorkerCleanupReport,
        inspection: Option<Inspection>,
    ) -> Self {
        Self { worker, report, inspection }
    }
}

/// The worker has stopped, as it was told to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AcknowledgeRevocation {
    /// The incarnation.
    pub worker: WorkerHandle,
    /// The lease that was taken back.
    pub fence: Fence,
    /// What was cleaned up. Without it the worker is orphaned until it reports.
    pub cleanup: Option<WorkerCleanupReport>,
    /// What somebody else saw when they looked.
    #[serde(skip_serializing)]
    pub inspection: Option<Inspection>,
}

impl AcknowledgeRevocation {
    /// An acknowledgement, with what was cleaned up and what an inspection saw.
    pub const fn new(
        worker: WorkerHandle,
        fence: Fence,
        cleanup: Option<WorkerCleanupReport>,
        inspection: Option<Inspection>,
    ) -> Self {
        Self { worker, fence, cleanup, inspection }
    }
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
