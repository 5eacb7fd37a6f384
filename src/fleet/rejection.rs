//! How operations are refused. A rejection changes nothing (invariant 8) and names the facts that led to it.

use alloc::vec::Vec;

use super::policy::PolicyError;
use crate::{
    code::{self, Code, Coded},
    id::WorkerId,
    identity::AuthError,
    lease::{Fence, GrantError},
    time::{Millis, Mono},
};

/// The clocks cannot be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TimeError {
    /// The monotonic line went back.
    #[error("the monotonic line is at {now}, and was at {last} before")]
    Backwards {
        /// Where it was.
        last: Mono,
        /// Where the caller says that it is.
        now: Mono,
    },
    /// The wall clock is further from the monotonic line than the policy lets it be.
    #[error("the wall clock is {leap} away from where it should be")]
    WallLeap {
        /// By how much.
        leap: Millis,
    },
}

impl Coded for TimeError {
    fn code(&self) -> Code {
        match self {
            Self::Backwards { .. } => code::TIME_BACKWARDS,
            Self::WallLeap { .. } => code::TIME_WALL_LEAP,
        }
    }
}

/// What every operation can be refused for, whatever it asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// Only recovery goes on from here.
    #[error("a journal write failed or is in doubt; recover first")]
    Halted,
    /// The clocks cannot be believed.
    #[error(transparent)]
    Time(#[from] TimeError),
    /// This principal may not ask for this.
    #[error("this principal may not ask for this")]
    Principal,
    /// The device asked for more challenges or appraisals than the policy allows.
    #[error("the device asks too often")]
    TooOften,
    /// The sequence number is below the client's window.
    #[error("sequence {sequence} is below the window, which begins at {base}")]
    TooOld {
        /// The client's number.
        sequence: u64,
        /// The lowest that is remembered.
        base: u64,
    },
    /// The sequence number was used for another content.
    #[error("sequence {sequence} was used for another content")]
    Conflict {
        /// The client's number.
        sequence: u64,
    },
    /// No more sessions can be remembered.
    #[error("no more client sessions can be remembered")]
    SessionsFull,
}

impl Coded for CommandError {
    fn code(&self) -> Code {
        match self {
            Self::Halted => code::FLEET_HALTED,
            Self::Time(error) => error.code(),
            Self::Principal => code::PRINCIPAL_NOT_ALLOWED,
            Self::TooOften => code::DEVICE_TOO_OFTEN,
            Self::TooOld { .. } => code::COMMAND_TOO_OLD,
            Self::Conflict { .. } => code::COMMAND_ID_CONFLICT,
            Self::SessionsFull => code::COMMAND_SESSIONS_FULL,
        }
    }
}

/// The worker, or the condition that it is in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WorkerError {
    /// No such worker.
    #[error("no such worker")]
    Unknown,
    /// The handle is of an incarnation that is over.
    #[error("the message is of an older incarnation")]
    StaleHandle,
    /// The message came over another device's channel.
    #[error("the worker is bound to another device")]
    OtherDevice,
    /// The transition table has no open row.
    #[error("{code}: not possible while {state}")]
    Condition {
        /// Why, as the table says it.
        code: Code,
        /// The condition.
        state: &'static str,
    },
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

/// Why no nonce is given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChallengeError {
    /// Refused before it was looked at.
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

/// Why evidence does not let a worker in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AttestError {
    /// Refused before it was looked at.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The device is not authenticated.
    #[error(transparent)]
    Device(#[from] AuthError),
    /// The worker or its condition.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// The nonce is not one of ours, or not for this device, or over.
    #[error(transparent)]
    Nonce(#[from] crate::attestation::NonceError),
    /// The nonce has been used.
    #[error("the nonce has been used")]
    NonceSpent,
    /// No more spent nonces can be remembered.
    #[error("no more spent nonces can be remembered")]
    NoncesFull,
    /// The evidence was appraised and refused. The codes of all failed checks are listed.
    #[error("the evidence is refused: {failures:?}")]
    Refused {
        /// Every failed check.
        failures: Vec<Code>,
    },
    /// The evidence was issued before the fleet was restored.
    #[error("the evidence was issued before the fleet was restored")]
    BeforeRestore,
    /// The worker is bound to another device.
    #[error("the worker is bound to another device")]
    OtherDevice,
    /// The device runs another worker.
    #[error("the device already runs another worker")]
    DeviceBusy,
    /// The fleet is full.
    #[error("the fleet holds as many workers as its policy allows")]
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

/// Why a heartbeat counts for nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeartbeatError {
    /// Refused before it was looked at.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The worker or its condition.
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

/// Why there is no lease.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AcquireError {
    /// Refused before it was looked at.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The grant.
    #[error(transparent)]
    Grant(#[from] GrantError),
    /// The named worker or its condition.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// The named worker does not have the capabilities.
    #[error("the worker does not have the capabilities")]
    Capabilities,
    /// The named worker has not been heard in time.
    #[error("the worker has not been heard in time")]
    NotHeard,
    /// The named worker's evidence is not in force.
    #[error("the worker's evidence is not in force")]
    Evidence,
    /// The named worker's device is no longer authenticated.
    #[error(transparent)]
    Device(#[from] AuthError),
    /// Nobody who is available has the capabilities.
    #[error("no available worker has the capabilities")]
    NoWorker,
    /// The fleet was restored and is quiet until then.
    #[error("the fleet grants nothing before {until}")]
    Quiet {
        /// When the quiet period ends.
        until: Mono,
    },
    /// So many fell silent that the coordinator suspects itself.
    #[error("{silent} of {of} workers are silent: runs lost by silence are not leased again")]
    Brake {
        /// How many are silent.
        silent: u32,
        /// How many there are.
        of: u32,
    },
    /// The run is leased already, and to whom.
    #[error("the run is leased to `{worker}` under {fence}")]
    RunLeased {
        /// The holder.
        worker: WorkerId,
        /// Its lease.
        fence: Fence,
    },
    /// The run's last holder may still act.
    #[error("the run is held until {until}")]
    RunHeld {
        /// Until when.
        until: Mono,
    },
    /// The run has ended.
    #[error("the run has ended")]
    RunEnded,
    /// The run has used its attempts.
    #[error("the run has used its {attempts} attempts")]
    NoAttempts {
        /// How many it had.
        attempts: u32,
    },
    /// The fleet remembers as many runs as it may.
    #[error("the fleet remembers as many runs as its policy allows")]
    RunsFull,
    /// Too little time is left for a lease.
    #[error("{left} is left, too little for a lease")]
    TooShort {
        /// What is left.
        left: Millis,
    },
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
            Self::NoWorker => code::FLEET_NO_WORKER,
            Self::Quiet { .. } => code::FLEET_QUIET,
            Self::Brake { .. } => code::FLEET_BRAKE,
            Self::RunLeased { .. } => code::RUN_LEASED,
            Self::RunHeld { .. } => code::RUN_HELD,
            Self::RunEnded => code::RUN_ENDED,
            Self::NoAttempts { .. } => code::RUN_NO_ATTEMPTS,
            Self::RunsFull => code::FLEET_RUNS_FULL,
            Self::TooShort { .. } => code::LEASE_TOO_SHORT,
        }
    }
}

/// Why an act under a lease changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LeaseError {
    /// Refused before it was looked at.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The worker or its condition.
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
    /// The lease is over.
    #[error("the lease was over at {expired}")]
    Expired {
        /// When it ended.
        expired: Mono,
    },
    /// The lease cannot be renewed any further.
    #[error("no renewal can pass {horizon}")]
    Horizon {
        /// The instant.
        horizon: Mono,
    },
    /// The evidence is not in force.
    #[error("the worker's evidence is not in force")]
    Evidence,
    /// Nothing is owed for this fence.
    #[error("no cleanup is awaited for this fence")]
    NotOwed,
    /// The cleanup does not count.
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

/// Why an act of a service or an operator is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ManageError {
    /// Refused before it was looked at.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The worker or its condition.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// The fence is not that of the lease.
    #[error("the fence {given} is not that of the lease")]
    StaleFence {
        /// The fence of the command.
        given: Fence,
    },
    /// No such run.
    #[error("no such run")]
    RunUnknown,
    /// The run is not leased.
    #[error("the run is not leased")]
    NoLease,
    /// The wall clock has not leapt.
    #[error("the wall clock is where it should be")]
    NoLeap,
    /// No cleanup is owed.
    #[error("no cleanup is owed")]
    NothingOwed,
    /// The policy is for another fleet.
    #[error("the policy is for another fleet")]
    OtherFleet,
    /// No latch that an operator opens is closed.
    #[error("no operator's release is owed")]
    NothingToRelease,
    /// The policy is for another fleet or contradicts itself.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The device registry refuses.
    #[error(transparent)]
    Device(#[from] crate::identity::DeviceError),
    /// The trust anchors refuse.
    #[error(transparent)]
    Anchor(#[from] crate::identity::AnchorError),
    /// Dispatch refuses.
    #[error(transparent)]
    Dispatch(crate::dispatch::DispatchError),
    /// The device is not what it has to be.
    #[error(transparent)]
    Node(super::node_rejection::NodeError),
    /// The policy has less room than what the fleet holds.
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
