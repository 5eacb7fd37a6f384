//! Which worker may run what, until when, and which worker had it before.
//!
//! [`WorkerFleetManager`] decides typed [operations](Operation) on a [`FleetState`]: `decide` is pure and gives a
//! [`Prepared`], `accept` folds its events and gives a [`Ticket`], and the ticket is redeemed once the journal lasts.
//! A worker's condition has three axes (what it is doing, whether it is trusted, whether it is wanted); one
//! transition table says which [`Act`] is possible in which condition.
//!
//! # What a worker does
//!
//! The diagram is generated from the transition table. Quarantine and draining are separate axes and not
//! states of the diagram; [`WorkerLifecycleState`] is the view of all three axes.
//!
#![doc = include_str!("lifecycle.md")]

mod bounds;
mod command_rejection;
mod condition;
mod context;
mod counts;
mod decide;
mod diagnose;
mod effect;
mod event;
mod evidence;
mod evolve;
mod fold;
mod folding;
mod invariants;
mod kernel;
mod lead;
mod ledger;
mod liveness;
mod manager;
mod marks;
mod node_rejection;
mod operation;
mod outcome;
mod pairing;
mod policy;
mod position;
mod possible;
mod principal;
mod ready;
mod recover;
mod rejection;
mod replica;
mod roster;
mod runs;
mod session;
mod setup;
mod spent;
mod state;
mod stored;
mod table;
#[cfg(test)]
mod tests;
mod wheel;

pub use self::{
    command_rejection::{CommandError, TimeError},
    condition::{
        ActivityKind, Debt, LeaseStage, LossReason, Quarantine, QuarantineReason, WorkerLifecycleState,
    },
    context::Decide,
    counts::WorkerFleetCounts,
    decide::Expired,
    diagnose::{Need, StuckWorker},
    effect::{Effect, Effects},
    event::{EvidenceRecord, FleetEvent, FleetRecord},
    folding::Folding,
    kernel::{AcceptError, Accepted, Kernel, Prepared},
    lead::{NotPromoted, Term},
    ledger::{DurableError, JournalBatch, Released, Ticket},
    liveness::Liveness,
    manager::WorkerFleetManager,
    marks::{DrainPlan, DrainReason},
    node_rejection::NodeError,
    operation::*,
    outcome::RunOutcome,
    policy::{
        CloneRule, FleetLimits, IdentityRules, LeaseRules, LivenessRules, PolicyError, RunRules, UsedOnce,
        WorkerFleetPolicy, WorkerFleetPolicyForm, WorkerRules,
    },
    position::{LogId, Position},
    principal::{CommandId, Principal},
    rejection::{
        AcquireError, AttestError, ChallengeError, HeartbeatError, LeaseError, ManageError, Shortage,
        WorkerError,
    },
    replica::{Follower, Replay},
    runs::{RunRecord, RunState},
    setup::Setup,
    state::{FleetState, WorkerView},
    stored::{MAX_RECORD_BYTES, RecoverError, SnapshotWriter},
    table::{Act, admitted, render_diagram, render_table},
};
