//! `Ledger`: the order of records, and which of them are accepted, handed out and durable.

mod committed;
mod ticket;

use alloc::vec::Vec;

pub(super) use self::committed::Committed;
pub use self::ticket::{Released, Ticket};
use super::{
    effect::Effects,
    event::FleetRecord,
    position::{LogId, Position},
    replica::Follower,
    stored,
};
use crate::{
    code::{self, Code, Coded},
    digest::Sha256Digest,
    lease::Epoch,
    trace,
};

/// Records that are accepted and not yet written. The batches of one coordinator are written in the order in
/// which it hands them out.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct JournalBatch {
    /// The index of the first record in it.
    pub first: u64,
    /// The name of the last record in the batch. Pass it to `durable` once the batch is written.
    pub last: LogId,
    /// The bytes to append and to sync, unchanged; or the entry of a replicated log.
    pub bytes: Vec<u8>,
    /// The same records decoded, for an event log.
    pub records: Vec<FleetRecord>,
}

/// Why a report of durability is refused. A refusal changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DurableError {
    /// The report names a record of another epoch.
    #[error(
        "{given} was handed out in another epoch than {own}; its end says nothing about this one's records"
    )]
    OtherEpoch {
        /// The record that the report names.
        given: LogId,
        /// The epoch in force.
        own: Epoch,
    },
    /// The report names a record that was not handed out.
    #[error("{given} is said to last, and {last} is the last record that was handed out")]
    NotHandedOut {
        /// The record that the report names.
        given: LogId,
        /// The last record that was handed out.
        last: LogId,
    },
    /// A journal write failed or its result is unknown. Only recovery continues from here.
    #[error("a journal write failed or is in doubt; recover first")]
    Halted,
}

impl Coded for DurableError {
    fn code(&self) -> Code {
        match self {
            Self::OtherEpoch { .. } => code::FLEET_OTHER_EPOCH,
            Self::NotHandedOut { .. } => code::FLEET_NOT_HANDED_OUT,
            Self::Halted => code::FLEET_HALTED,
        }
    }
}

/// The order of records, their hash chain, and how far they are handed out and durable. Several batches may
/// be handed out before the first is durable.
pub(super) struct Ledger {
    epoch: Epoch,
    /// The end of the hash chain over every record that was handed out.
    chain: Sha256Digest,
    unwritten: Vec<FleetRecord>,
    /// The index of the last record that was handed out.
    handed_out: u64,
    durable: u64,
    halted: bool,
    /// The state at the last committed position, for a leader that can step down.
    committed: Option<Committed>,
}

impl Ledger {
    /// A ledger that continues after `at` in `epoch`.
    pub(super) fn new(at: Position, epoch: Epoch, committed: Option<Follower>) -> Self {
        Self {
            epoch,
            chain: at.chain,
            unwritten: Vec::new(),
            handed_out: at.index,
            durable: at.index,
            halted: false,
            committed: committed.map(Committed::new),
        }
    }

    pub(super) fn is_halted(&self) -> bool {
        self.halted
    }

    pub(super) fn halt(&mut self) {
        if !self.halted {
            trace::halted();
        }
        self.halted = true;
    }

    /// The index of the last durable record.
    pub(super) fn durable_index(&self) -> u64 {
        self.durable
    }

    /// The end of the hash chain over every record that was handed out.
    pub(super) fn chain(&self) -> Sha256Digest {
        self.chain
    }

    /// Adds a record that no ticket waits for.
    pub(super) fn push(&mut self, record: FleetRecord) {
        self.unwritten.push(record);
    }

    /// Adds the record of an accepted operation, and holds its answer and effects in a ticket.
    pub(super) fn hold<A>(&mut self, record: Option<FleetRecord>, answer: A, effects: Effects) -> Ticket<A> {
        self.unwritten.extend(record);
        let last = self.unwritten.last().map_or(self.handed_out, |record| record.index);
        Ticket { id: LogId::new(self.epoch, last), answer, effects }
    }

    /// Whether a ticket that waits for `id` can be redeemed.
    pub(super) fn lasts(&self, id: LogId) -> bool {
        id.index <= self.durable && id.epoch == self.epoch && !self.halted
    }

    /// Hands out every record that is accepted and not handed out yet.
    pub(super) fn take(&mut self) -> Option<JournalBatch> {
        if self.halted {
            return None;
        }
        let first = self.unwritten.first()?.index;
        // The next batch is expected to be about as large.
        let room = Vec::with_capacity(self.unwritten.len());
        let records = core::mem::replace(&mut self.unwritten, room);
        let mut bytes = Vec::new();
        for record in &records {
            let Some(chain) = stored::append(&mut bytes, self.chain, record) else {
                self.halted = true;
                return None;
            };
            self.chain = chain;
            self.handed_out = record.index;
            if let Some(committed) = &mut self.committed {
                committed.propose(record.clone(), chain);
            }
        }
        let last = LogId::new(self.epoch, self.handed_out);
        Some(JournalBatch { first, last, bytes, records })
    }

    /// Notes that every record up to `id` is durable.
    pub(super) fn durable(&mut self, id: LogId) -> Result<(), DurableError> {
        if self.halted {
            return Err(DurableError::Halted);
        }
        if id.epoch != self.epoch {
            return Err(DurableError::OtherEpoch { given: id, own: self.epoch });
        }
        if id.index > self.handed_out {
            return Err(DurableError::NotHandedOut {
                given: id,
                last: LogId::new(self.epoch, self.handed_out),
            });
        }
        self.durable = self.durable.max(id.index);
        if let Some(committed) = &mut self.committed {
            committed.commit(self.durable);
        }
        Ok(())
    }

    /// A copy of the ledger, without the second state of a leader.
    #[cfg(feature = "testing")]
    pub(super) fn fork(&self) -> Self {
        Self { unwritten: self.unwritten.clone(), committed: None, ..*self }
    }

    /// The follower at the last committed position, if the ledger keeps one.
    pub(super) fn committed(&self) -> Option<&Follower> {
        self.committed.as_ref().map(Committed::follower)
    }

    /// Takes the follower at the last committed position out of the ledger.
    pub(super) fn take_committed(&mut self) -> Option<Follower> {
        self.committed.take().map(Committed::into_follower)
    }
}
