//! Typed operations: one struct for each, with its own answer and its own error, in three groups.
//!
//! The groups are apart so that no decoded message of a worker can name an operator's act.

mod node;
mod operator;
mod service;
mod worker;

use serde::{Serialize, de::DeserializeOwned};

pub use node::{
    CancelRequest, CollectResult, ConfirmUse, Enqueue, OrderDispatch, RevokeSelf, RotateSelf, StreamEnded,
    TellDispatch,
};
pub use operator::{
    AcceptWall, Drain, ForceCleanup, ManageAnchors, ManageDevice, Managed, QuarantineAll, QuarantineWorker,
    Release, Retire, Reverify, SetPolicy, Undrain,
};
pub use service::{Acquire, Acquired, RevokeRun, Revoked};
pub use worker::{
    AcknowledgeRevocation, Attest, Attested, Challenge, Challenged, Complete, Remaining, Renew,
    ReportCleanup, RunOutcome, Start, Verdict, WorkerHandle,
};

use crate::code::Coded;

/// An operation: what may be asked, what the answer is, and how it may be refused.
///
/// Answers are plain data, so that a repeated command gets the very answer that it got before.
pub trait Operation: Serialize {
    /// What an accepted operation answers.
    type Answer: Serialize + DeserializeOwned + Clone + core::fmt::Debug;
    /// How it is refused.
    type Error: Coded + Clone + core::fmt::Debug;
}
