//! Typed operations: one struct each, with its own answer and its own error, in three groups.
//!
//! The groups are separate types, so no decoded message of a worker can name an operator's operation.

mod node;
mod operator;
mod service;
mod worker;

use serde::{Serialize, de::DeserializeOwned};

pub use node::{
    CancelRequest, CollectResult, ConfirmUse, Enqueue, OrderDispatch, RenewSelf, ReportClone, RevokeSelf,
    RotateSelf, StreamEnded, TellDispatch,
};
pub use operator::{
    AcceptWall, Drain, DrainFor, ForceCleanup, ManageAnchors, ManageDevice, Managed, QuarantineAll,
    QuarantineWorker, Release, Retire, Reverify, SetPolicy, Undrain,
};
pub use service::{Acquire, Acquired, RevokeRun, Revoked};
pub use worker::{
    AcknowledgeRevocation, Attest, Attested, Challenge, Challenged, Complete, Displaced, Remaining, Renew,
    ReportCleanup, Start, Verdict, WorkerHandle,
};

use crate::code::Coded;

/// An operation: what is asked for, the type of its answer, and the type of its refusal.
///
/// Answers are plain data, so that a repeated command gets the answer of the first time.
pub trait Operation: Serialize {
    /// The answer of an accepted operation.
    type Answer: Serialize + DeserializeOwned + Clone + core::fmt::Debug;
    /// The refusal.
    type Error: Coded + Clone + core::fmt::Debug;
}
