//! What acceptance refuses, and what it leaves to be written.

use alloc::vec::Vec;

use super::event::FleetRecord;
use crate::code::{self, Code, Coded};

/// Why a decision is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AcceptError {
    /// The state has changed since: decide again.
    #[error("the state changed between decision and acceptance")]
    Stale,
    /// Only recovery goes on from here.
    #[error("a journal write failed or is in doubt; recover first")]
    Halted,
}

impl Coded for AcceptError {
    fn code(&self) -> Code {
        match self {
            Self::Stale => code::FLEET_STALE_DECISION,
            Self::Halted => code::FLEET_HALTED,
        }
    }
}

/// Records that are accepted and not yet written.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct JournalBatch {
    /// The index of the last record in it.
    pub last: u64,
    /// What to append and to sync, as it is.
    pub bytes: Vec<u8>,
    /// The same records, for an event log.
    pub records: Vec<FleetRecord>,
}
