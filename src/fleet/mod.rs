//! Who may run this, until when, and who had it before?
//!
//! [`WorkerFleetManager`] decides typed [operations](Operation) on a [`FleetState`]: `decide` is pure and gives a
//! [`Prepared`], `accept` folds its events and gives a [`Ticket`], and the ticket is redeemed once the journal lasts.
//! A worker's condition has three axes (what it is doing, whether it is trusted, whether it is wanted); one
//! transition table says which [`Act`] is possible in which condition.
//!
//! # What a worker does
//!
//! Drawn from the transition table. Quarantine and draining are not states of this diagram: they are axes of their
//! own, and [`WorkerLifecycleState`] is the view of all three.
//!
#![doc = include_str!("lifecycle.md")]

mod accept;
mod condition;
mod context;
mod counts;
mod decide;
mod effect;
mod event;
mod evidence;
mod evolve;
mod invariants;
mod journal;
mod liveness;
mod load;
mod manager;
mod node_rejection;
mod operation;
mod pairing;
mod passing;
mod policy;
mod possible;
mod principal;
mod ready;
mod recover;
mod rejection;
mod replay;
mod roster;
mod runs;
mod session;
mod setup;
mod snapshot;
mod spent;
mod state;
mod table;
#[cfg(test)]
mod tests;
mod wheel;

pub use self::{
    accept::{AcceptError, JournalBatch},
    condition::{
        ActivityKind, Debt, LeaseStage, LossReason, Quarantine, QuarantineReason, WorkerLifecycleState,
    },
    context::Decide,
    counts::WorkerFleetCounts,
    decide::Expired,
    effect::{Effect, Effects},
    event::{EvidenceRecord, FleetEvent, FleetRecord},
    journal::MAX_RECORD_BYTES,
    liveness::Liveness,
    manager::{Prepared, Released, Ticket, WorkerFleetManager},
    node_rejection::NodeError,
    operation::*,
    policy::{
        FleetLimits, LeaseRules, LivenessRules, PolicyError, RunRules, WorkerFleetPolicy,
        WorkerFleetPolicyForm,
    },
    principal::{CommandId, Principal},
    recover::RecoverError,
    rejection::{
        AcquireError, AttestError, ChallengeError, CommandError, HeartbeatError, LeaseError, ManageError,
        TimeError, WorkerError,
    },
    replay::Replay,
    runs::{RunRecord, RunState},
    setup::Setup,
    snapshot::SnapshotWriter,
    state::{FleetState, WorkerView},
    table::{Act, admitted, render_diagram, render_table},
};
