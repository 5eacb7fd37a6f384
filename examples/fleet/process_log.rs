//! What the processes of the fleet tell the supervisor: one JSON object per line on standard output.
//!
//! Notes are for people, for the table and for the audit. Nothing is decided on them.

use std::{
    fmt,
    io::{self, Write},
};

use leasehold::{
    digest::Sha256Digest,
    fleet::RunOutcome,
    id::{DeviceId, GrantId, RunId, SessionId, WorkerId},
    identity::{DeviceKind, pairing::PairingMethod},
    lease::Fence,
};
use serde::{Deserialize, Serialize};

use crate::{child::Order, escape};

/// How a job ended, for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Its outputs were checked and it is done.
    Done,
    /// It ran and failed.
    Failed,
    /// Its last attempt was lost.
    Lost,
    /// It was not run, because the fleet was told to drain.
    Cancelled,
}

impl Outcome {
    /// The outcome of a run, as the fleet has it.
    pub fn of(outcome: Option<RunOutcome>) -> Self {
        match outcome {
            Some(RunOutcome::Succeeded) => Self::Done,
            Some(_) => Self::Failed,
            None => Self::Lost,
        }
    }

    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Lost => "lost",
            Self::Cancelled => "cancelled",
        }
    }
}

/// The code of a pairing on its way to the operator's terminal. Not in `Debug`, and in no event log: pairing is only
/// offered where there is none.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Unspoken(String);

impl Unspoken {
    /// A code.
    pub fn new(code: &str) -> Self {
        Self(code.to_owned())
    }

    /// The code, to be shown to the operator.
    #[allow(dead_code, reason = "the pair example shows it")]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Unspoken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unspoken(..)")
    }
}

/// One thing that happened.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "note", rename_all = "snake_case")]
pub enum LogEntry {
    /// A server is ready on this port of loopback.
    Listening { port: u16 },
    /// A worker says that the coordinator knows it by its certificate, and that it is bound.
    Serving { worker: WorkerId },
    /// A worker says that its connection ended. Turned away: before anything was said to it.
    Parted { turned_away: bool },
    /// A worker was accepted into the fleet.
    Joined { worker: WorkerId, slot: u32, incarnation: u32 },
    /// Another policy came into force.
    Policy { generation: u64 },
    /// A worker's evidence was judged again, and still passes.
    Kept { worker: WorkerId },
    /// A pairing is offered; the code is for the operator's eyes.
    Offered { session: SessionId, method: PairingMethod, code: Unspoken },
    /// A device proved the code: this is what the operator decides on.
    Asks {
        session: SessionId,
        method: PairingMethod,
        device: DeviceId,
        kind: DeviceKind,
        key: Sha256Digest,
        digits: String,
        transcript: Sha256Digest,
    },
    /// A pairing was rejected.
    Rejected { session: SessionId },
    /// A device is paired and has this certificate.
    Paired { device: DeviceId, certificate: Sha256Digest },
    /// A device has its next certificate, beside the one in force.
    Rotating { device: DeviceId, certificate: Sha256Digest },
    /// The next certificate was used, and the one before it stands for nothing any more.
    Rotated { device: DeviceId },
    /// A device is revoked.
    Revoked { device: DeviceId },
    /// A job waits for its first lease.
    Submitted { run: RunId, kind: String },
    /// A lease was granted.
    Leased { run: RunId, worker: WorkerId, attempt: u32, grant: GrantId, fence: Fence },
    /// Its holder began.
    Started { run: RunId, fence: Fence },
    /// Its holder has it for longer.
    Renewed { run: RunId, fence: Fence },
    /// It ended, in order or otherwise.
    LeaseEnded { run: RunId, worker: WorkerId, fence: Fence, how: String },
    /// A job ended: its terminal record. Milliseconds from submission.
    Ended {
        run: RunId,
        outcome: Outcome,
        reason: String,
        attempts: u32,
        started_ms: Option<u64>,
        ended_ms: u64,
    },
    /// A worker's latch closed.
    Quarantined { peer: String, reason: String },
    /// Somebody was refused something.
    Refused { peer: String, act: String, code: String, message: String },
    /// The coordinator closed a connection.
    Closed { peer: String, code: String },
    /// Somebody looked at a scratch directory after it was removed. `by` is who looked.
    Cleaned { fence: Fence, by: String, removed: u32, remaining: u32 },
    /// A request to leave the fleet was judged.
    Egress {
        peer: String,
        fence: Option<Fence>,
        allowed: bool,
        code: String,
        message: String,
        target: String,
    },
    /// What an allowed request moved.
    Moved { peer: String, fence: Fence, sent: u64, received: u64 },
    /// A job is in its middle and wants its worker killed.
    Doomed { run: RunId, fence: Fence },
    /// Jobs wait and none runs, because of this.
    Waiting { why: String },
    /// Every job has its terminal record.
    AllEnded,
    /// The coordinator did what it was ordered, or was refused it with this code. Said when it lasts.
    Obeyed { order: Order, code: Option<String> },
    /// The worker has a lease in hand.
    Holds { run: RunId, fence: Fence },
    /// The worker knows that the coordinator has everything of this lease.
    GaveBack { fence: Fence },
    /// What the journal held up to this index was replaced by a snapshot.
    Snapshot { index: u64, bytes: u64 },
    /// The coordinator's own state, hashed, and what recovery from its journal gives.
    Recovered { live: String, replayed: String },
    /// A process was killed by the supervisor.
    Killed { process: String, why: String },
    /// A hostile peer did its worst.
    Hostile { peer: String, attempt: String, refused: bool, code: String },
    /// Something that must not happen.
    Fault { message: String },
    /// A line on a child's standard error.
    Said { text: String },
    /// A child has ended.
    Exited,
    /// Ctrl-C, or SIGTERM.
    Interrupted,
}

/// Writes `note` to standard output. A supervisor that is gone cannot be told anything, and the end of standard input
/// says that it is gone.
pub fn tell(entry: &LogEntry) {
    let _ = write(entry);
}

fn write(entry: &LogEntry) -> io::Result<()> {
    let line = escape::line(entry)?;
    let mut out = io::stdout().lock();
    out.write_all(&line)?;
    out.flush()
}
