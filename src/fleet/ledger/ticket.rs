//! Tickets: what is held until a record is durable.

use super::Ledger;
use crate::fleet::{effect::Effects, position::LogId};

/// An accepted operation whose answer and effects are held until the record [`Ticket::id`] is durable.
#[must_use = "the answer and the effects are inside"]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket<A> {
    pub(super) id: LogId,
    pub(super) answer: A,
    pub(super) effects: Effects,
}

/// The answer and the effects of a redeemed ticket.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Released<A> {
    /// The answer.
    pub answer: A,
    /// The effects, in order.
    pub effects: Effects,
}

impl<A> Ticket<A> {
    /// The name of the record that must be durable first.
    pub const fn id(&self) -> LogId {
        self.id
    }

    /// The index of that record.
    pub const fn index(&self) -> u64 {
        self.id.index
    }

    #[allow(clippy::result_large_err, reason = "a ticket that is too early is handed back as it is")]
    pub(in crate::fleet) fn release(self, ledger: &Ledger) -> Result<Released<A>, Self> {
        if ledger.lasts(self.id) {
            Ok(Released { answer: self.answer, effects: self.effects })
        } else {
            Err(self)
        }
    }
}
