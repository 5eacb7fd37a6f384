//! Rejections of operations. A rejection changes nothing (invariant 8) and names the facts that led to it.

use alloc::{boxed::Box, vec::Vec};
use core::fmt;

use super::{
    command_rejection::CommandError, condition::LossReason, counts::WorkerFleetCounts,
    node_rejection::NodeError, outcome::RunOutcome, policy::PolicyError,
};
use crate::{
    capability::CapabilityName,
    code::{self, Code, Coded},
    id::WorkerId,
    identity::AuthError,
    lease::{Fence, GrantError},
    time::{Millis, Mono},
};

/// The worker is unknown, or its condition does not allow the operation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WorkerError {
    /// No worker of the fleet has this id.
    #[error("no such worker")]
    Unknown,
    /// The handle is of an incarnation that has ended.
    #[error("the message is of an older incarnation")]
    StaleHandle,
    /// The message came over the channel of another device.
    #[error("the worker is bound to another device")]
    OtherDevice,
    /// The transition table does not allow the operation in the worker's condition.
    #[error("{} (it is {state})", remedy(*code))]
    Condition {
        /// The code that the table gives.
        code: Code,
        /// What the worker is doing.
        state: &'static str,
    },
}

/// What a code of the transition table says about the worker, and what ends that.
fn remedy(code: Code) -> &'static str {
    match code {
        code::WORKER_NOT_AVAILABLE => "the worker is available once its evidence is in force and it is heard",
        code::WORKER_BUSY => "the worker holds a lease, and is free when that has ended",
        code::WORKER_OFFLINE => "the worker is silent until its next heartbeat",
        code::WORKER_ORPHANED => "the worker lost a lease, and owes verified cleanup or fresh evidence",
        code::WORKER_RETIRED => "the worker is gone for good",
        code::WORKER_QUARANTINED => {
            "the worker is quarantined: fresh evidence opens the latch, with cleanup or an operator's release where owed"
        }
        code::WORKER_NOT_QUARANTINED => "the worker's latch is open",
        code::WORKER_DRAINING => "the worker is draining until an operator ends that (`undrain`)",
        code::WORKER_SET_ASIDE => {
            "too many runs in a row ended badly on the worker: a probe that ends well, or an operator (`undrain`), ends that"
        }
        code::WORKER_NOT_DRAINING => "the worker is not draining",
        code::LEASE_ALREADY_STARTED => "the run has started already",
        code::LEASE_NOT_STARTED => "the run has to be started first",
        code::LEASE_CLEANING_UP => "the run is over, and its cleanup is awaited",
        code::LEASE_NOT_CLEANING_UP => "no cleanup is awaited",
        code::LEASE_REVOKED => "the lease was taken back, and waits for the worker's acknowledgement",
        code::LEASE_NOT_REVOKED => "the lease was not taken back",
        code::LEASE_NONE => "the worker holds no lease",
        _ => "the worker's condition does not allow it",
    }
}

impl Coded for WorkerError {
    fn code(&self) -> Code {
        match self {
            Self::Unknown => code::WORKER_UNKNOWN,
            Self::StaleHandle => code::WORKER_STALE_HANDLE,
            Self::OtherDevice => code::WORKER_OTHER_DEVICE,
            Self::Condition { code, .. } => *code,
        }
    }
}

/// Why no nonce is issued.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChallengeError {
    /// The operation was refused before it was decided.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The device is not authenticated.
    #[error(transparent)]
    Device(#[from] AuthError),
}

impl Coded for ChallengeError {
    fn code(&self) -> Code {
        match self {
            Self::Command(error) => error.code(),
            Self::Device(error) => error.code(),
        }
    }
}

/// Why evidence does not let a worker join.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AttestError {
    /// The operation was refused before it was decided.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The device is not authenticated.
    #[error(transparent)]
    Device(#[from] AuthError),
    /// The worker's condition does not allow it.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// This coordinator did not issue the nonce, issued it to another device, or it has expired.
    #[error(transparent)]
    Nonce(#[from] crate::attestation::NonceError),
    /// The nonce was used before.
    #[error("the nonce has been used")]
    NonceSpent,
    /// No further spent nonce can be remembered.
    #[error("no more spent nonces can be remembered before some are over")]
    NoncesFull,
    /// The evidence was appraised and refused.
    #[error("the evidence is refused: {failures:?}")]
    Refused {
        /// The codes of all failed checks.
        failures: Vec<Code>,
    },
    /// The evidence was issued before the fleet was restored.
    #[error("the evidence was issued before the fleet was restored")]
    BeforeRestore,
    /// The worker is bound to another device.
    #[error("the worker is bound to another device")]
    OtherDevice,
    /// The device runs another worker.
    #[error("the device already runs another worker, which has to be retired first")]
    DeviceBusy,
    /// The fleet holds as many workers as `limits.workers` allows.
    #[error("the fleet holds as many workers as `limits.workers` allows")]
    Full,
}

impl Coded for AttestError {
    fn code(&self) -> Code {
        match self {
            Self::Command(error) => error.code(),
            Self::Device(error) => error.code(),
            Self::Worker(error) => error.code(),
            Self::Nonce(error) => error.code(),
            Self::NonceSpent => code::ATTEST_NONCE_SPENT,
            Self::NoncesFull => code::ATTEST_NONCES_FULL,
            Self::Refused { .. } => code::ATTEST_REFUSED,
            Self::BeforeRestore => code::ATTEST_BEFORE_RESTORE,
            Self::OtherDevice => code::ATTEST_OTHER_DEVICE,
            Self::DeviceBusy => code::ATTEST_DEVICE_BUSY,
            Self::Full => code::FLEET_FULL,
        }
    }
}

/// Why a heartbeat is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeartbeatError {
    /// The operation was refused before it was decided.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The worker's condition does not allow it.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// The device is not authenticated.
    #[error(transparent)]
    Device(#[from] AuthError),
}

impl Coded for HeartbeatError {
    fn code(&self) -> Code {
        match self {
            Self::Command(error) => error.code(),
            Self::Worker(error) => error.code(),
            Self::Device(error) => error.code(),
        }
    }
}

/// Why no lease is granted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AcquireError {
    /// The operation was refused before it was decided.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The grant does not allow it.
    #[error(transparent)]
    Grant(#[from] GrantError),
    /// The named worker is unknown, or its condition does not allow it.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// The named worker lacks a capability.
    #[error("the worker does not have the capabilities")]
    Capabilities,
    /// The named worker was not heard in time.
    #[error("the worker has not been heard in time; its next heartbeat ends that")]
    NotHeard,
    /// The evidence of the named worker is not in force.
    #[error("the worker's evidence is not in force; fresh evidence ends that")]
    Evidence,
    /// The device of the named worker is no longer authenticated.
    #[error(transparent)]
    Device(#[from] AuthError),
    /// No worker with the capabilities can be leased.
    #[error("no worker can be leased: {0}")]
    NoWorker(Box<Shortage>),
    /// An act on the whole fleet is under way, or many workers are due at once, and not every worker was
    /// looked at.
    #[error(
        "{judged} workers were judged and cannot be leased, and others were not looked at yet: ask again once `expire` has run"
    )]
    Sweeping {
        /// How many workers were looked at.
        judged: u32,
    },
    /// The fleet was restored and grants no lease yet.
    #[error("the fleet grants nothing before {until}")]
    Quiet {
        /// When the quiet period ends.
        until: Mono,
    },
    /// So many workers fell silent together that the coordinator suspects its own connection.
    #[error(
        "{silent} of {of} workers fell silent together: runs lost by silence are not leased again before {until}, or before enough of them are heard again or retired"
    )]
    Brake {
        /// How many workers fell silent together.
        silent: u32,
        /// How many workers were not silent before.
        of: u32,
        /// When the brake ends by itself.
        until: Mono,
    },
    /// The run is leased already.
    #[error("the run is leased to `{worker}` under {fence}")]
    RunLeased {
        /// The worker that holds the lease.
        worker: WorkerId,
        /// The fence of its lease.
        fence: Fence,
    },
    /// The run's last holder may still act.
    #[error("the run is held until {until}")]
    RunHeld {
        /// The instant from which the run may be leased again.
        until: Mono,
    },
    /// The run has ended.
    #[error("the run has ended: {}", Ending { outcome: *outcome, lost: *lost })]
    RunEnded {
        /// How the run ended; `None` if all its attempts were lost.
        outcome: Option<RunOutcome>,
        /// Why its last lease was lost, if that ended the run.
        lost: Option<LossReason>,
    },
    /// The run has used all its attempts.
    #[error("the run has used its {attempts} attempts")]
    NoAttempts {
        /// How many attempts the run had.
        attempts: u32,
    },
    /// The fleet remembers as many runs as `limits.runs` allows.
    #[error(
        "the fleet remembers {limit} runs, as many as `limits.runs` allows, each for `runs.grant_lifetime_max_ms` after its end{}",
        Next(*next)
    )]
    RunsFull {
        /// How many runs the fleet may remember.
        limit: u32,
        /// When the next run is forgotten; `None` if all runs are leased.
        next: Option<Mono>,
    },
    /// No worker can be leased for as long as requested.
    #[error("the longest lease to be had is {left}, and {wanted} is wanted")]
    TooShort {
        /// The longest possible lease, by the policy, the grant, the request, and the workers that are ready.
        left: Millis,
        /// The shortest lease that the request accepts, or the fleet's shortest lease if that is longer.
        wanted: Millis,
    },
}

/// The numbers behind [`AcquireError::NoWorker`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Shortage {
    /// How many workers have the capabilities, whatever their condition.
    pub able: u64,
    /// A requested capability that no worker of the fleet has.
    pub nobody_has: Option<CapabilityName>,
    /// How many workers of the fleet are in each public state.
    pub counts: WorkerFleetCounts,
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { able, counts, nobody_has } = self;
        if counts.total == counts.retired {
            return f.write_str("no worker has joined");
        }
        if let Some(name) = nobody_has {
            return write!(f, "no worker has the capability `{name}`");
        }
        match able {
            0 => f.write_str("no worker has all of the capabilities together")?,
            able => write!(f, "{able} have the capabilities")?,
        }
        write!(f, "; of the {} of the fleet", counts.total.saturating_sub(counts.retired))?;
        let out = [
            (counts.available, "are available"),
            (counts.leased, "hold a lease"),
            (counts.registered, "wait for evidence or a heartbeat"),
            (counts.offline, "are silent"),
            (counts.draining, "are draining or set aside"),
            (counts.orphaned, "owe cleanup"),
            (counts.quarantined, "are quarantined"),
        ];
        for (count, what) in out.into_iter().filter(|(count, _)| *count > 0) {
            write!(f, ", {count} {what}")?;
        }
        Ok(())
    }
}

/// The end of a run, for a message.
struct Ending {
    outcome: Option<RunOutcome>,
    lost: Option<LossReason>,
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.outcome, self.lost) {
            (Some(RunOutcome::Succeeded), _) => f.write_str("it succeeded"),
            (Some(RunOutcome::Failed), None) => f.write_str("it failed"),
            (Some(RunOutcome::Failed), Some(reason)) => write!(f, "it failed ({})", reason.name()),
            (None, Some(reason)) => {
                write!(f, "all its attempts were lost, the last one for the reason `{}`", reason.name())
            }
            (None, None) => f.write_str("all its attempts are used"),
        }
    }
}

/// The rest of a message: when the next run is forgotten, if any is.
struct Next(Option<Mono>);

impl fmt::Display for Next {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |at| write!(f, "; the next is forgotten at {at}"))
    }
}

impl Coded for AcquireError {
    fn code(&self) -> Code {
        match self {
            Self::Command(error) => error.code(),
            Self::Grant(error) => error.code(),
            Self::Worker(error) => error.code(),
            Self::Capabilities => code::WORKER_CAPABILITIES,
            Self::NotHeard => code::WORKER_NOT_HEARD,
            Self::Evidence => code::EVIDENCE_NOT_IN_FORCE,
            Self::Device(error) => error.code(),
            Self::NoWorker(_) => code::FLEET_NO_WORKER,
            Self::Sweeping { .. } => code::FLEET_SWEEPING,
            Self::Quiet { .. } => code::FLEET_QUIET,
            Self::Brake { .. } => code::FLEET_BRAKE,
            Self::RunLeased { .. } => code::RUN_LEASED,
            Self::RunHeld { .. } => code::RUN_HELD,
            Self::RunEnded { .. } => code::RUN_ENDED,
            Self::NoAttempts { .. } => code::RUN_NO_ATTEMPTS,
            Self::RunsFull { .. } => code::FLEET_RUNS_FULL,
            Self::TooShort { .. } => code::LEASE_TOO_SHORT,
        }
    }
}

/// Why an operation under a lease is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LeaseError {
    /// The operation was refused before it was decided.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The worker's condition does not allow it.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// The device is no longer authenticated.
    #[error(transparent)]
    Device(#[from] AuthError),
    /// The fence is not that of the worker's lease.
    #[error("the fence {given} is not that of the lease")]
    StaleFence {
        /// The fence of the message.
        given: Fence,
    },
    /// The lease has ended.
    #[error("the lease was over at {expired}")]
    Expired {
        /// When it ended.
        expired: Mono,
    },
    /// The lease cannot be extended any further.
    #[error("no renewal can pass {horizon}")]
    Horizon {
        /// The instant that no renewal can pass.
        horizon: Mono,
    },
    /// The worker's evidence is not in force.
    #[error("the worker's evidence is not in force; fresh evidence ends that")]
    Evidence,
    /// No cleanup is owed for this fence.
    #[error("no cleanup is awaited for this fence")]
    NotOwed,
    /// The cleanup report is refused.
    #[error(transparent)]
    Cleanup(#[from] crate::lease::CleanupError),
}

impl Coded for LeaseError {
    fn code(&self) -> Code {
        match self {
            Self::Command(error) => error.code(),
            Self::Worker(error) => error.code(),
            Self::Device(error) => error.code(),
            Self::StaleFence { .. } => code::LEASE_STALE_FENCE,
            Self::Expired { .. } => code::LEASE_EXPIRED,
            Self::Horizon { .. } => code::LEASE_HORIZON,
            Self::Evidence => code::EVIDENCE_NOT_IN_FORCE,
            Self::NotOwed => code::LEASE_NOT_CLEANING_UP,
            Self::Cleanup(error) => error.code(),
        }
    }
}

/// Why an operation of a service or an operator is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ManageError {
    /// The operation was refused before it was decided.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The worker is unknown, or its condition does not allow it.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// The fence is not that of the lease.
    #[error("the fence {given} is not that of the lease")]
    StaleFence {
        /// The fence of the command.
        given: Fence,
    },
    /// The fleet remembers no run with this id.
    #[error("no such run")]
    RunUnknown,
    /// The run is not leased.
    #[error("the run is not leased")]
    NoLease,
    /// The wall clock has not leapt, so there is nothing to accept.
    #[error("the wall clock is where it should be, and nothing is there to accept")]
    NoLeap,
    /// No cleanup is owed.
    #[error("no cleanup is owed")]
    NothingOwed,
    /// The policy is for another fleet.
    #[error("the policy is for another fleet")]
    OtherFleet,
    /// No operator's release is owed.
    #[error("no operator's release is owed")]
    NothingToRelease,
    /// The policy breaks one of its own rules.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The device registry refuses the change.
    #[error(transparent)]
    Device(#[from] crate::identity::DeviceError),
    /// The trust anchors refuse the change.
    #[error(transparent)]
    Anchor(#[from] crate::identity::AnchorError),
    /// The dispatch refuses the order.
    #[error(transparent)]
    Dispatch(crate::dispatch::DispatchError),
    /// The device is not authenticated, or its pairing refuses the operation.
    #[error(transparent)]
    Node(NodeError),
    /// The fleet holds more than the policy allows.
    #[error("`{0}` is less than what the fleet holds")]
    BelowHeld(&'static str),
}

impl Coded for ManageError {
    fn code(&self) -> Code {
        match self {
            Self::Command(error) => error.code(),
            Self::Worker(error) => error.code(),
            Self::StaleFence { .. } => code::LEASE_STALE_FENCE,
            Self::RunUnknown => code::RUN_UNKNOWN,
            Self::NoLease => code::LEASE_NONE,
            Self::NoLeap => code::TIME_NO_LEAP,
            Self::NothingOwed => code::LEASE_NOT_CLEANING_UP,
            Self::OtherFleet => code::POLICY_OTHER_FLEET,
            Self::NothingToRelease => code::WORKER_NOT_QUARANTINED,
            Self::Policy(error) => error.code(),
            Self::Device(error) => error.code(),
            Self::Anchor(error) => error.code(),
            Self::Dispatch(error) => error.code(),
            Self::Node(error) => error.code(),
            Self::BelowHeld(_) => code::POLICY_BELOW_HELD,
        }
    }
}
