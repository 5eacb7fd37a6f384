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

macro_rules! refusals {
    ($($(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $variant:ident $(($from:ty))? $({ $($(#[$field_meta:meta])* $field:ident: $ty:ty),* })? $(= $code:expr)?),* $(,)? })+) => {$(
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$variant_meta])* $variant $((#[from] $from))? $({ $($(#[$field_meta])* $field: $ty),* })?,)*
        }

        impl Coded for $name {
            fn code(&self) -> Code {
                match self {
                    $(refusals!(@pattern error $variant $(($from))? $({ $($field),* })?) => refusals!(@code error $(($from))? $($code)?),)*
                }
            }
        }
    )+};
    (@pattern $error:ident $variant:ident ($from:ty)) => { Self::$variant($error) };
    (@pattern $error:ident $variant:ident { $($field:ident),* }) => { Self::$variant { .. } };
    (@pattern $error:ident $variant:ident) => { Self::$variant };
    (@code $error:ident ($from:ty)) => { $error.code() };
    (@code $error:ident $code:expr) => { $code };
}

refusals! {
    /// Why no nonce is given.
    ChallengeError {
        /// Refused before it was looked at.
        #[error(transparent)]
        Command(CommandError),
        /// The device is not authenticated.
        #[error(transparent)]
        Device(AuthError),
        /// The device asked too often.
        #[error("the device asked for too many challenges")]
        TooMany = code::CHALLENGE_TOO_MANY,
    }

    /// Why evidence does not let a worker in.
    AttestError {
        /// Refused before it was looked at.
        #[error(transparent)]
        Command(CommandError),
        /// The device is not authenticated.
        #[error(transparent)]
        Device(AuthError),
        /// The worker or its condition.
        #[error(transparent)]
        Worker(WorkerError),
        /// The nonce is not one of ours, or not for this device, or over.
        #[error(transparent)]
        Nonce(crate::attestation::NonceError),
        /// The nonce has been used.
        #[error("the nonce has been used")]
        NonceSpent = code::ATTEST_NONCE_SPENT,
        /// No more spent nonces can be remembered.
        #[error("no more spent nonces can be remembered")]
        NoncesFull = code::ATTEST_NONCES_FULL,
        /// The evidence was appraised and refused. The codes of all failed checks are listed.
        #[error("the evidence is refused: {failures:?}")]
        Refused {
            /// Every failed check.
            failures: Vec<Code>
        } = code::ATTEST_REFUSED,
        /// The evidence was issued before the fleet was restored.
        #[error("the evidence was issued before the fleet was restored")]
        BeforeRestore = code::ATTEST_BEFORE_RESTORE,
        /// The worker is bound to another device.
        #[error("the worker is bound to another device")]
        OtherDevice = code::ATTEST_OTHER_DEVICE,
        /// The device runs another worker.
        #[error("the device already runs another worker")]
        DeviceBusy = code::ATTEST_DEVICE_BUSY,
        /// The device sent evidence too often.
        #[error("the device sent evidence too often")]
        TooMany = code::ATTEST_TOO_MANY,
        /// The fleet is full.
        #[error("the fleet holds as many workers as its policy allows")]
        Full = code::FLEET_FULL,
    }

    /// Why a heartbeat counts for nothing.
    HeartbeatError {
        /// Refused before it was looked at.
        #[error(transparent)]
        Command(CommandError),
        /// The worker or its condition.
        #[error(transparent)]
        Worker(WorkerError),
        /// The device is not authenticated.
        #[error(transparent)]
        Device(AuthError),
    }

    /// Why there is no lease.
    AcquireError {
        /// Refused before it was looked at.
        #[error(transparent)]
        Command(CommandError),
        /// The grant.
        #[error(transparent)]
        Grant(GrantError),
        /// The named worker or its condition.
        #[error(transparent)]
        Worker(WorkerError),
        /// The named worker does not have the capabilities.
        #[error("the worker does not have the capabilities")]
        Capabilities = code::WORKER_CAPABILITIES,
        /// The named worker has not been heard in time.
        #[error("the worker has not been heard in time")]
        NotHeard = code::WORKER_NOT_HEARD,
        /// The named worker's evidence is not in force.
        #[error("the worker's evidence is not in force")]
        Evidence = code::EVIDENCE_NOT_IN_FORCE,
        /// The named worker's device is no longer authenticated.
        #[error(transparent)]
        Device(AuthError),
        /// Nobody who is available has the capabilities.
        #[error("no available worker has the capabilities")]
        NoWorker = code::FLEET_NO_WORKER,
        /// The fleet was restored and is quiet until then.
        #[error("the fleet grants nothing before {until}")]
        Quiet {
            /// When the quiet period ends.
            until: Mono
        } = code::FLEET_QUIET,
        /// So many fell silent that the coordinator suspects itself.
        #[error("{silent} of {of} workers are silent: runs lost by silence are not leased again")]
        Brake {
            /// How many are silent.
            silent: u32,
            /// How many there are.
            of: u32
        } = code::FLEET_BRAKE,
        /// The run is leased already, and to whom.
        #[error("the run is leased to `{worker}` under {fence}")]
        RunLeased {
            /// The holder.
            worker: WorkerId,
            /// Its lease.
            fence: Fence
        } = code::RUN_LEASED,
        /// The run's last holder may still act.
        #[error("the run is held until {until}")]
        RunHeld {
            /// Until when.
            until: Mono
        } = code::RUN_HELD,
        /// The run has ended.
        #[error("the run has ended")]
        RunEnded = code::RUN_ENDED,
        /// The run has used its attempts.
        #[error("the run has used its {attempts} attempts")]
        NoAttempts {
            /// How many it had.
            attempts: u32
        } = code::RUN_NO_ATTEMPTS,
        /// The fleet remembers as many runs as it may.
        #[error("the fleet remembers as many runs as its policy allows")]
        RunsFull = code::FLEET_RUNS_FULL,
        /// Too little time is left for a lease.
        #[error("{left} is left, too little for a lease")]
        TooShort {
            /// What is left.
            left: Millis
        } = code::LEASE_TOO_SHORT,
    }

    /// Why an act under a lease changes nothing.
    LeaseError {
        /// Refused before it was looked at.
        #[error(transparent)]
        Command(CommandError),
        /// The worker or its condition.
        #[error(transparent)]
        Worker(WorkerError),
        /// The device is no longer authenticated.
        #[error(transparent)]
        Device(AuthError),
        /// The fence is not that of the worker's lease.
        #[error("the fence {given} is not that of the lease")]
        StaleFence {
            /// The fence of the message.
            given: Fence
        } = code::LEASE_STALE_FENCE,
        /// The lease is over.
        #[error("the lease was over at {expired}")]
        Expired {
            /// When it ended.
            expired: Mono
        } = code::LEASE_EXPIRED,
        /// The lease cannot be renewed any further.
        #[error("no renewal can pass {horizon}")]
        Horizon {
            /// The instant.
            horizon: Mono
        } = code::LEASE_HORIZON,
        /// The evidence is not in force.
        #[error("the worker's evidence is not in force")]
        Evidence = code::EVIDENCE_NOT_IN_FORCE,
        /// Nothing is owed for this fence.
        #[error("no cleanup is awaited for this fence")]
        NotOwed = code::LEASE_NOT_CLEANING_UP,
        /// The cleanup does not count.
        #[error(transparent)]
        Cleanup(crate::lease::CleanupError),
    }

    /// Why an act of a service or an operator is refused.
    ManageError {
        /// Refused before it was looked at.
        #[error(transparent)]
        Command(CommandError),
        /// The worker or its condition.
        #[error(transparent)]
        Worker(WorkerError),
        /// The fence is not that of the lease.
        #[error("the fence {given} is not that of the lease")]
        StaleFence {
            /// The fence of the command.
            given: Fence
        } = code::LEASE_STALE_FENCE,
        /// No such run.
        #[error("no such run")]
        RunUnknown = code::RUN_UNKNOWN,
        /// The run is not leased.
        #[error("the run is not leased")]
        NoLease = code::LEASE_NONE,
        /// No latch that an operator opens is closed.
        #[error("no operator's release is owed")]
        NothingToRelease = code::WORKER_NOT_QUARANTINED,
        /// The policy is for another fleet or contradicts itself.
        #[error(transparent)]
        Policy(PolicyError),
        /// The device registry refuses.
        #[error(transparent)]
        Device(crate::identity::DeviceError),
    }
}
