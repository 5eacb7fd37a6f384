//! What an agent and its worker tell each other.

use alloc::{boxed::Box, vec::Vec};

use crate::{
    attestation::EvidenceForm,
    code::Code,
    digest::Sha256Digest,
    fleet::{LossReason, RunOutcome, Verdict, WorkerHandle, WorkerLifecycleState},
    identity::TrustAnchors,
    lease::{Epoch, Fence, OutputClaim, RelativePath, WorkerCleanupReport, WorkerLease},
    protocol::message::WireCode,
    time::{Millis, Mono},
};

/// What the worker tells its agent.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum AgentAct {
    /// Evidence over the nonce of [`AgentEvent::Challenged`].
    Evidence {
        /// The nonce.
        nonce: Vec<u8>,
        /// How the evidence is wrapped.
        form: EvidenceForm,
        /// The evidence.
        evidence: Vec<u8>,
        /// Envelopes that others signed about this worker, such as its build's provenance.
        attachments: Vec<Vec<u8>>,
    },
    /// Everything is prepared, and the run may begin as soon as the coordinator says so.
    Start {
        /// The lease.
        fence: Fence,
    },
    /// The next piece of an output. Pieces of a file follow each other. One that is over the lease's limit is refused with
    /// [`OverLimit`](crate::protocol::endpoint::EndpointError::OverLimit) and not sent.
    Output {
        /// The lease.
        fence: Fence,
        /// The file, relative to the root of the workspace.
        path: RelativePath,
        /// At most [`MAX_CHUNK_BYTES`](crate::protocol::chunk::MAX_CHUNK_BYTES).
        content: Vec<u8>,
    },
    /// The next piece of the log.
    Log {
        /// The lease.
        fence: Fence,
        /// At most [`MAX_CHUNK_BYTES`](crate::protocol::chunk::MAX_CHUNK_BYTES).
        content: Vec<u8>,
    },
    /// The run is over, and every output and the whole log were given before.
    Finished {
        /// The lease.
        fence: Fence,
        /// How it ended.
        outcome: RunOutcome,
        /// What was given.
        claim: OutputClaim,
    },
    /// The run has been stopped, as [`AgentEvent::Stop`] demanded, or the worker gives the lease up.
    Stopped {
        /// The lease.
        fence: Fence,
        /// What has been cleaned up, if it has.
        cleanup: Option<WorkerCleanupReport>,
    },
    /// Cleanup is done, as [`AgentEvent::CleanUp`] demanded.
    Cleaned {
        /// The report, bound to its lease.
        report: WorkerCleanupReport,
    },
}

/// What an agent tells its worker.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AgentEvent {
    /// A session is open. Keep the epoch: [`AgentConfig::seen`](super::AgentConfig::seen) wants it after a restart.
    Welcome {
        /// The coordinator's epoch.
        epoch: Epoch,
        /// Whether this worker's incarnation goes on.
        resumed: bool,
    },
    /// Evidence is wanted: answer with [`AgentAct::Evidence`].
    Challenged {
        /// The nonce that it must be over.
        nonce: Vec<u8>,
        /// The nonce stays good for this long.
        ttl: Millis,
    },
    /// The worker is bound.
    Bound {
        /// Its incarnation.
        handle: WorkerHandle,
        /// How the fleet sees it.
        state: WorkerLifecycleState,
    },
    /// The worker has a lease. Nothing may run yet.
    Assigned {
        /// The lease.
        lease: Box<WorkerLease>,
    },
    /// A piece of an input. At offset 0 the file begins, or begins anew.
    Input {
        /// The lease.
        fence: Fence,
        /// The file.
        path: RelativePath,
        /// Where the piece belongs.
        offset: u64,
        /// The piece.
        content: Vec<u8>,
    },
    /// Every input is there and is what the lease names: prepare, then [`AgentAct::Start`].
    Ready {
        /// The lease.
        fence: Fence,
    },
    /// The inputs that came are not those of the lease. They are not run with.
    InputsRefused {
        /// The lease.
        fence: Fence,
        /// Why.
        code: Code,
    },
    /// The run may begin, and must be over before `until`.
    Run {
        /// The lease.
        fence: Fence,
        /// On this process's own line.
        until: Mono,
    },
    /// The run may go on until then.
    Extended {
        /// The lease.
        fence: Fence,
        /// On this process's own line.
        until: Mono,
    },
    /// Stop whatever runs under this lease, now, and say [`AgentAct::Stopped`].
    Stop {
        /// The lease.
        fence: Fence,
        /// Why.
        reason: StopReason,
    },
    /// A connection was lost with what was sent of this lease: give every output and the log again from the
    /// beginning, and [`AgentAct::Finished`] again where it was said.
    UploadAgain {
        /// The lease.
        fence: Fence,
    },
    /// Clean up after this lease, and say [`AgentAct::Cleaned`].
    CleanUp {
        /// The lease.
        fence: Fence,
        /// [`WorkerLease::digest`], which the report must carry.
        lease: Sha256Digest,
    },
    /// What became of the run, or of its cleanup.
    Verdict {
        /// The lease.
        fence: Fence,
        /// The verdict.
        verdict: Verdict,
    },
    /// Nothing is owed for this lease any more.
    Done {
        /// The lease.
        fence: Fence,
    },
    /// The coordinator refused something.
    Refused {
        /// What.
        asked: Asked,
        /// Why.
        code: WireCode,
    },
    /// The evidence was refused, and these checks failed. The agent asks for a new nonce after a while.
    EvidenceRefused {
        /// The codes of the failed checks.
        failures: Vec<WireCode>,
    },
    /// Other certificates of the coordinator are accepted from here on. Keep them:
    /// [`AgentConfig::trusting`](super::AgentConfig::trusting) wants them after a restart. Where TLS compares the
    /// coordinator's certificate as well, it has to accept each of them.
    AnchorsChanged {
        /// Everything that is pinned now.
        anchors: Box<TrustAnchors>,
    },
    /// What the coordinator says of its next certificate does not fit what is pinned, and was not taken.
    AnnouncementRefused {
        /// Why.
        code: Code,
    },
    /// The connection is gone. Everything else goes on: connect again.
    LinkLost {
        /// Why.
        why: Code,
    },
}

/// Why a run must stop.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopReason {
    /// The agent's own deadline has passed.
    Deadline,
    /// The coordinator took the lease back.
    Revoked(LossReason),
    /// The lease is lost, as the coordinator's refusal or its view of the worker shows.
    Lost,
}

/// What a request asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
#[allow(missing_docs, reason = "named after the messages")]
pub enum Asked {
    Hello,
    Challenge,
    Attest,
    Heartbeat,
    Fetch,
    Start,
    Renew,
    Complete,
    ReportCleanup,
    AcknowledgeRevocation,
}
