//! Who may run this, until when, and who had it before?

mod condition;
mod counts;
mod effect;
mod event;
mod operation;
mod policy;
mod principal;
mod rejection;
mod table;

pub use self::{
    condition::{
        ActivityKind, Debt, LeaseStage, LossReason, Quarantine, QuarantineReason, WorkerLifecycleState,
    },
    counts::WorkerFleetCounts,
    effect::Effect,
    event::{EvidenceRecord, FleetEvent, FleetRecord},
    operation::*,
    policy::{
        FleetLimits, LeaseRules, LivenessRules, PolicyError, RunRules, WorkerFleetPolicy,
        WorkerFleetPolicyForm,
    },
    principal::{CommandId, Principal},
    rejection::{
        AcquireError, AttestError, ChallengeError, CommandError, HeartbeatError, LeaseError, ManageError,
        TimeError, WorkerError,
    },
    table::{Act, render_diagram, render_table},
};
