//! What a worker may say. Nothing in here can name an operator's or a service's act (attack F24).

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::{Document, WireBytes};
use crate::{
    attestation::EvidenceForm,
    fleet::{RunOutcome, WorkerHandle},
    id::WorkerId,
    lease::{Epoch, Fence, OutputClaim, WorkerCleanupReport},
    protocol::frame::FrameKind,
};

/// A worker's request under its number. The answer names the number.
///
/// Numbers of one device only grow, across restarts of its process too; a request that is sent again after a lost
/// connection keeps its number and its content, and gets the answer that it got, or would have got, the first time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerRequest {
    /// The number.
    pub sequence: u64,
    /// What is asked.
    pub message: WorkerMessage,
}

impl Document for WorkerRequest {
    const KIND: FrameKind = FrameKind::Worker;
}

/// What a worker may ask.
///
/// `Complete`, `ReportCleanup` and `AcknowledgeRevocation` have no member for what arrived or what an inspection
/// saw: those are the coordinator's own findings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum WorkerMessage {
    /// Opens the session: the first message of a connection, and only the first.
    Hello {
        /// The worker that this device runs.
        worker: WorkerId,
        /// The incarnation that goes on, where there is one.
        resume: Option<WorkerHandle>,
        /// The highest epoch that the worker has seen. A coordinator below it is refused by the worker.
        epoch: Epoch,
    },
    /// Asks for a nonce.
    Challenge {},
    /// Brings evidence over a nonce.
    Attest {
        /// The nonce as it was given.
        nonce: WireBytes,
        /// How the evidence is wrapped.
        form: EvidenceForm,
        /// The evidence, judged as these bytes.
        evidence: WireBytes,
        /// What others signed about the same worker, each an envelope.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        attachments: Vec<WireBytes>,
        /// The incarnation that goes on, where there is one.
        resume: Option<WorkerHandle>,
    },
    /// Says that the worker is there.
    Heartbeat {
        /// The incarnation.
        worker: WorkerHandle,
    },
    /// Asks for the inputs of its lease, from their beginning.
    Fetch {
        /// The lease.
        fence: Fence,
    },
    /// Asks to begin the run.
    Start {
        /// The incarnation.
        worker: WorkerHandle,
        /// The lease.
        fence: Fence,
    },
    /// Asks for more time.
    Renew {
        /// The incarnation.
        worker: WorkerHandle,
        /// The lease.
        fence: Fence,
    },
    /// Says that the run is over. What it made was sent before, in chunks on this connection.
    Complete {
        /// The incarnation.
        worker: WorkerHandle,
        /// The lease.
        fence: Fence,
        /// How it ended.
        outcome: RunOutcome,
        /// What the worker says that it sent.
        claim: OutputClaim,
        /// What it cleaned up already, if it did.
        cleanup: Option<WorkerCleanupReport>,
    },
    /// Says what was cleaned up.
    ReportCleanup {
        /// The incarnation.
        worker: WorkerHandle,
        /// The report, bound to its lease.
        report: WorkerCleanupReport,
    },
    /// Says that the worker has stopped, as it was told to.
    AcknowledgeRevocation {
        /// The incarnation.
        worker: WorkerHandle,
        /// The lease that was taken back.
        fence: Fence,
        /// What was cleaned up, if it was.
        cleanup: Option<WorkerCleanupReport>,
    },
}
