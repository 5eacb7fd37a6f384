//! What a coordinator says to a worker.

use alloc::string::String;

use serde::{Deserialize, Serialize};

use super::{AnchorNotice, Document, WireBytes, WireCode};
use crate::{
    code::{self, Code},
    fleet::{Attested, Debt, LeaseStage, LossReason, Remaining, Verdict, WorkerLifecycleState},
    id::FleetId,
    lease::{Epoch, Fence, WorkerLease},
    protocol::frame::FrameKind,
    time::Millis,
};

/// A coordinator's word to a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum CoordinatorMessage {
    /// A request was accepted, and what it led to is durable.
    Answer {
        /// The request's number.
        sequence: u64,
        /// The answer.
        answer: WorkerAnswer,
    },
    /// A request was refused.
    Refused {
        /// The request's number.
        sequence: u64,
        /// Why.
        refusal: Refusal,
    },
    /// The worker has a lease.
    Assign {
        /// The lease, and where it stands.
        held: HeldLeaseNotice,
    },
    /// The worker has to stop and to acknowledge it.
    Revoke {
        /// The lease.
        fence: Fence,
        /// Why it was taken back.
        reason: LossReason,
    },
    /// What takes over from the certificate that this connection was made with. After the welcome only.
    Anchors(AnchorNotice),
    /// The policy has another rhythm from here on. After the welcome only.
    Rhythm(Rhythm),
}

impl Document for CoordinatorMessage {
    const KIND: FrameKind = FrameKind::Coordinator;
}

/// A lease in the hands of the worker that reads this. A copy: the fleet's own record of it decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeldLeaseNotice {
    /// The lease.
    pub lease: WorkerLease,
    /// Where it stands.
    pub stage: LeaseStage,
}

/// An accepted request's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum WorkerAnswer {
    /// The session is open.
    Welcome(Welcome),
    /// A nonce.
    Challenged {
        /// The nonce.
        nonce: WireBytes,
        /// It stays good for this long.
        ttl: Millis,
    },
    /// The worker is bound.
    Attested(Attested),
    /// The heartbeat was heard, and this is how the fleet sees the worker.
    Alive(Standing),
    /// The inputs follow.
    Fetching {},
    /// The run may start, or go on, for this long from when the request was sent.
    Remaining(Remaining),
    /// What became of the run or of the cleanup.
    Verdict(Verdict),
}

/// The rhythm of a worker, by the policy in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rhythm {
    /// Send a heartbeat this often.
    pub heartbeat_every: Millis,
    /// Renew a running lease this often.
    pub renew_every: Millis,
    /// Stop this long before a lease seems to end.
    pub clock_budget: Millis,
    /// Start what was assigned within this span, or it is taken to be lost.
    pub start_within: Millis,
}

/// How a session opens: who the coordinator is, and the rhythm that it expects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Welcome {
    /// The fleet.
    pub fleet: FleetId,
    /// The coordinator's epoch. A worker that has seen a higher one leaves.
    pub epoch: Epoch,
    /// What the policy in force has the worker keep to.
    pub rhythm: Rhythm,
    /// Whether the incarnation that the worker named goes on. Without it the worker attests and joins anew.
    pub resumed: bool,
    /// The lease that this worker holds.
    pub held: Option<HeldLeaseNotice>,
}

/// How the fleet sees a worker: what a worker sets itself right by, whatever answer or notice it has missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Standing {
    /// The public view of its condition.
    pub state: WorkerLifecycleState,
    /// The lease that it holds.
    pub lease: Option<Fence>,
    /// What it owes for a lease that it lost.
    pub owes: Option<Debt>,
    /// Whether evidence over a new nonce is wanted from it.
    pub evidence_wanted: bool,
}

/// Why a request was refused: the code, and its meaning. The facts stay in the coordinator's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refusal {
    /// The code.
    pub code: WireCode,
    /// What the code means. Comes from a peer: for people, escaped, and never to decide on.
    pub message: String,
}

impl From<Code> for Refusal {
    fn from(code: Code) -> Self {
        let message = code::all().find(|entry| entry.code == code).map_or("", |entry| entry.meaning);
        Self { code: code.into(), message: message.into() }
    }
}
