//! Journal records: a length, a version, the record, and a digest that chains it to every record before.
//!
//! ```text
//! u32 big-endian   length of what follows, at most MAX_RECORD_BYTES
//! u8               format version
//! bytes            the record (postcard of its serde form)
//! 32 bytes         SHA-256 over the former record's digest and this record
//! ```

use alloc::vec::Vec;

use serde::Deserialize;

use super::{
    event::{FleetEvent, FleetRecord, StoredFleetEvent},
    principal::Principal,
    recover::RecoverError,
};
use crate::{
    digest::{FieldHasher, Sha256Digest},
    time::Now,
};

/// The format that this build writes.
const VERSION: u8 = 1;

/// The longest record that is read back. What one call may do is bounded, and so is what it writes.
pub const MAX_RECORD_BYTES: usize = 64 << 20;

const DIGEST: usize = 32;

/// The digest before the first record.
pub(crate) fn genesis() -> Sha256Digest {
    Sha256Digest::of(b"leasehold journal v1")
}

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

fn link(former: Sha256Digest, body: &[u8]) -> Sha256Digest {
    FieldHasher::new("journal-record.v1").field(former.as_bytes()).field(body).finish()
}

/// Appends `record` to `out` and gives the new end of the chain.
///
/// `None` where the record cannot be written: it is over the bound.
pub(crate) fn append(out: &mut Vec<u8>, former: Sha256Digest, record: &FleetRecord) -> Option<Sha256Digest> {
    let body = postcard::to_allocvec(record).ok()?;
    let length = body.len().checked_add(1)?.checked_add(DIGEST)?;
    if length > MAX_RECORD_BYTES {
        return None;
    }
    let digest = link(former, &body);
    out.extend_from_slice(&u32::try_from(length).ok()?.to_be_bytes());
    out.push(VERSION);
    out.extend_from_slice(&body);
    out.extend_from_slice(digest.as_bytes());
    Some(digest)
}

/// How many bytes at the front of `journal` are whole records: what is after them is the torn tail of an append that
/// a crash cut short, which nobody was told of and which storage cuts off before recovery.
///
/// Only lengths are looked at. A record that is whole and wrong is not cut but refused by recovery.
pub fn whole_records(journal: &[u8]) -> usize {
    let mut whole = 0_usize;
    let mut rest = journal;
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let Some(length) = usize::try_from(u32::from_be_bytes(*length)).ok() else { break };
        let Some((_, after)) = after.split_at_checked(length) else { break };
        whole = whole.saturating_add(4).saturating_add(length);
        rest = after;
    }
    whole
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

    /// The next record; `None` at the end of the journal. A torn tail is the storage's to cut, not ours to guess at.
    pub(crate) fn next(&mut self) -> Result<Option<FleetRecord>, RecoverError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let (length, rest) = self.rest.split_first_chunk::<4>().ok_or(RecoverError::Malformed)?;
        let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| RecoverError::Malformed)?;
        if length > MAX_RECORD_BYTES {
            return Err(RecoverError::Malformed);
        }
        let (frame, rest) = rest.split_at_checked(length).ok_or(RecoverError::Malformed)?;
        let (version, frame) = frame.split_first().ok_or(RecoverError::Malformed)?;
        if *version != VERSION {
            return Err(RecoverError::Version(*version));
        }
        let (body, digest) = frame.split_last_chunk::<DIGEST>().ok_or(RecoverError::Malformed)?;
        let expected = link(self.chain, body);
        if expected.as_bytes() != digest {
            return Err(RecoverError::Inconsistent("the hash chain is broken"));
        }
        let (record, trailing) =
            postcard::take_from_bytes::<StoredRecord>(body).map_err(|_| RecoverError::Malformed)?;
        if !trailing.is_empty() {
            return Err(RecoverError::Malformed);
        }
        self.rest = rest;
        self.chain = expected;
        Ok(Some(record.into()))
    }
}
