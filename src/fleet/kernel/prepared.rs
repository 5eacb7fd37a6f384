//! A decision between deciding and accepting.

use crate::{
    code::{self, Code, Coded},
    fleet::{
        context::Draft,
        effect::Effects,
        event::{FleetEvent, FleetRecord},
        position::LogId,
        principal::Principal,
    },
    lease::Epoch,
    time::Now,
};

/// A decision that has not been accepted, together with the state that it was made on.
#[must_use = "a decision does nothing before it is accepted"]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared<A> {
    /// The last record of the state that the decision was made on.
    pub(in crate::fleet) behind: LogId,
    pub(in crate::fleet) at: Now,
    pub(in crate::fleet) principal: Principal,
    pub(in crate::fleet) draft: Draft<A>,
}

impl<A> Prepared<A> {
    /// The events that accepting the decision would fold.
    pub fn events(&self) -> &[FleetEvent] {
        &self.draft.events
    }

    /// The last record of the state that the decision was made on. It is accepted on no other state.
    pub const fn behind(&self) -> LogId {
        self.behind
    }
}

/// The result of accepting a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Accepted<A> {
    /// The record that must be durable before the answer and the effects are handed out; `None` if nothing
    /// changed.
    pub record: Option<FleetRecord>,
    /// The answer.
    pub answer: A,
    /// The effects, in order.
    pub effects: Effects,
}

/// Why a decision was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AcceptError {
    /// The state has changed since the decision. Decide again.
    #[error("the state changed between decision and acceptance; decide again")]
    Stale,
    /// The coordinator of another epoch made the decision. Decide again.
    #[error("the decision was made in epoch {decided}, and epoch {own} is in force; decide again")]
    OtherEpoch {
        /// The epoch in which the decision was made.
        decided: Epoch,
        /// The epoch in force.
        own: Epoch,
    },
    /// Recovery would refuse the record, so it is not written.
    #[error("a journal with this record would not recover: {0}; the operation is refused, please report it")]
    Unrecoverable(&'static str),
    /// A journal write failed or its result is unknown. The manager accepts nothing more until it is
    /// recovered.
    #[error("a journal write failed or is in doubt; recover first")]
    Halted,
}

impl Coded for AcceptError {
    fn code(&self) -> Code {
        match self {
            Self::Stale => code::FLEET_STALE_DECISION,
            Self::OtherEpoch { .. } => code::FLEET_OTHER_EPOCH,
            Self::Unrecoverable(_) => code::FLEET_UNRECOVERABLE,
            Self::Halted => code::FLEET_HALTED,
        }
    }
}

/// An event that cannot have happened in this state. Recovery would refuse it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::fleet) struct Impossible {
    /// Why the event is impossible.
    pub(in crate::fleet) why: &'static str,
    /// How many events of the same record were folded before.
    pub(in crate::fleet) folded: usize,
}
