//! Refusals that every operation shares: clocks, principals, bounds and sequence numbers.

use crate::{
    code::{self, Code, Coded},
    time::{Millis, Mono},
};

/// A clock cannot be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TimeError {
    /// The monotonic time went back.
    #[error("the monotonic line is at {now}, and was at {last} before")]
    Backwards {
        /// The latest monotonic time that was seen.
        last: Mono,
        /// The monotonic time that the caller passed.
        now: Mono,
    },
    /// The wall clock differs from the monotonic clock by more than `liveness.max_wall_step_ms`.
    #[error(
        "the wall clock is {leap} away from where it should be: set it right, or have an operator accept it (`accept_wall`)"
    )]
    WallLeap {
        /// How far the wall clock is from where it is expected.
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

/// Why any operation may be refused, whatever it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// A journal write failed or its result is unknown. The manager decides nothing more until it is
    /// recovered.
    #[error("a journal write failed or is in doubt; recover first")]
    Halted,
    /// A clock cannot be trusted.
    #[error(transparent)]
    Time(#[from] TimeError),
    /// The principal may not ask for this operation.
    #[error("this principal may not ask for this")]
    Principal,
    /// The device asked for more challenges or appraisals than the policy allows.
    #[error(
        "the device asks more often than `limits.admission_per_device` within `limits.admission_window_ms`"
    )]
    TooOften,
    /// The sequence number is below the session's window.
    #[error("sequence {sequence} is below the window, which begins at {base}")]
    TooOld {
        /// The sequence number of the command.
        sequence: u64,
        /// The lowest sequence number that the session still remembers.
        base: u64,
    },
    /// The sequence number was used before, for an operation with other content.
    #[error("sequence {sequence} was used for another content")]
    Conflict {
        /// The sequence number of the command.
        sequence: u64,
    },
    /// No further session or answer can be remembered.
    #[error(
        "no more client sessions can be remembered within `limits.sessions` and `limits.answer_bytes` before one has been idle for `limits.session_memory_ms`"
    )]
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
