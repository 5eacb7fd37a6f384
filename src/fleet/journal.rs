//! The fleet's journal: records of accepted operations, framed and chained by [`crate::chain`].

use alloc::vec::Vec;

use serde::Deserialize;

use super::{
    event::{FleetEvent, FleetRecord, StoredFleetEvent},
    principal::Principal,
};
use crate::{
    chain::{Chain, ChainError},
    digest::Sha256Digest,
    time::Now,
};

/// The longest record that is written or read back. What one call may do is bounded, and so is what it writes.
pub const MAX_RECORD_BYTES: usize = 64 << 20;

const CHAIN: Chain = Chain { domain: "fleet-journal.v1", version: 1, max: MAX_RECORD_BYTES };

/// The form in which recovery reads a [`FleetRecord`].
#[derive(Deserialize)]
struct StoredRecord {
    index: u64,
    at: Now,
    principal: Principal,
    events: Vec<StoredFleetEvent>,
}

impl From<StoredRecord> for FleetRecord {
    fn from(stored: StoredRecord) -> Self {
        let events = stored.events.into_iter().map(FleetEvent::from).collect();
        Self { index: stored.index, at: stored.at, principal: stored.principal, events }
    }
}

/// The digest before the first record.
pub(crate) fn genesis() -> Sha256Digest {
    CHAIN.genesis()
}

/// Appends `record` to `out` and gives the new end of the chain; none where it is over the bound.
pub(crate) fn append(out: &mut Vec<u8>, former: Sha256Digest, record: &FleetRecord) -> Option<Sha256Digest> {
    CHAIN.append(out, former, record)
}

/// Reads records off the front of a journal, one at a time, checking the chain.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    chain: Sha256Digest,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(journal: &'a [u8], chain: Sha256Digest) -> Self {
        Self { rest: journal, chain }
    }

    /// The end of the chain so far.
    pub(crate) fn chain(&self) -> Sha256Digest {
        self.chain
    }

    /// The next record; `None` at the end of the journal.
    pub(crate) fn next(&mut self) -> Result<Option<FleetRecord>, ChainError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let (record, chain, rest) = CHAIN.read::<StoredRecord>(self.rest, self.chain)?;
        self.rest = rest;
        self.chain = chain;
        Ok(Some(record.into()))
    }
}
