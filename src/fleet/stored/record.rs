//! Records of accepted operations, framed and chained by [`crate::chain`].

use alloc::vec::Vec;

use serde::{Deserialize, de::DeserializeOwned};

use super::{Form, MAX_RECORD_BYTES, v1};
use crate::{
    chain::{Chain, ChainError},
    digest::Sha256Digest,
    fleet::{
        event::{FleetEvent, FleetRecord, StoredFleetEvent},
        principal::Principal,
    },
    time::Now,
};

/// The domain is the same in every version, so that a journal can continue in the next version.
const CHAIN: Chain = Chain { domain: "fleet-journal.v1", version: 2, oldest: 1, max: MAX_RECORD_BYTES };

/// A [`FleetRecord`] whose events are in one of their stored forms.
#[derive(Deserialize)]
struct StoredRecord<E> {
    index: u64,
    at: Now,
    principal: Principal,
    events: Vec<E>,
}

fn parse<E: DeserializeOwned + Into<FleetEvent>>(body: &[u8]) -> Result<FleetRecord, ChainError> {
    let (stored, rest): (StoredRecord<E>, _) =
        postcard::take_from_bytes(body).map_err(|_| ChainError::Malformed)?;
    if !rest.is_empty() {
        return Err(ChainError::Malformed);
    }
    let events = stored.events.into_iter().map(Into::into).collect();
    Ok(FleetRecord { index: stored.index, at: stored.at, principal: stored.principal, events })
}

/// The digest before the first record.
pub(crate) fn genesis() -> Sha256Digest {
    CHAIN.genesis()
}

/// Appends `record` to `out` and returns the new end of the chain; `None` if the record is too large.
pub(crate) fn append(out: &mut Vec<u8>, former: Sha256Digest, record: &FleetRecord) -> Option<Sha256Digest> {
    CHAIN.append(out, former, record)
}

/// Reads the records of a journal one at a time, and checks the chain.
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
        let link = CHAIN.read(self.rest, self.chain)?;
        let form = if link.version == CHAIN.version { Form::V2 } else { Form::V1 };
        let record = match form {
            Form::V1 => parse::<v1::Event>(link.body)?,
            Form::V2 => parse::<StoredFleetEvent>(link.body)?,
        };
        (self.rest, self.chain) = (link.rest, link.chain);
        Ok(Some(record))
    }
}
