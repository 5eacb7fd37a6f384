//! Journal records as bytes, chained: each digest is over the one before and the record.
//!
//! ```text
//! u32 big-endian   length of what follows, at most MAX_NODE_RECORD_BYTES
//! u8               format version
//! bytes            the record (postcard of its serde form)
//! 32 bytes         SHA-256 over the former record's digest and this record
//! ```

use alloc::vec::Vec;

use serde::Deserialize;

use super::{
    error::NodeRecoverError,
    event::{NodeEvent, NodePrincipal, NodeRecord, StoredNodeEvent},
};
use crate::{
    digest::{FieldHasher, Sha256Digest},
    time::Now,
};

const VERSION: u8 = 1;

/// The longest record that is read back.
pub const MAX_NODE_RECORD_BYTES: usize = 16 << 20;

#[derive(Deserialize)]
struct Stored {
    index: u64,
    at: Now,
    principal: NodePrincipal,
    events: Vec<StoredNodeEvent>,
}

/// The digest before the first record.
pub(super) fn genesis() -> Sha256Digest {
    Sha256Digest::of(b"leasehold node journal v1")
}

fn link(former: Sha256Digest, body: &[u8]) -> Sha256Digest {
    FieldHasher::new("node-journal-record.v1").field(former.as_bytes()).field(body).finish()
}

/// Appends `record` and gives the new end of the chain; none where it is over the bound.
pub(super) fn append(out: &mut Vec<u8>, former: Sha256Digest, record: &NodeRecord) -> Option<Sha256Digest> {
    let body = postcard::to_allocvec(record).ok()?;
    let length = body.len().checked_add(33).filter(|length| *length <= MAX_NODE_RECORD_BYTES)?;
    let digest = link(former, &body);
    out.extend_from_slice(&u32::try_from(length).ok()?.to_be_bytes());
    out.push(VERSION);
    out.extend_from_slice(&body);
    out.extend_from_slice(digest.as_bytes());
    Some(digest)
}

/// The next record and the rest, checked against the chain. A torn tail is the storage's to cut.
pub(super) fn read(
    bytes: &[u8],
    former: Sha256Digest,
) -> Result<(NodeRecord, Sha256Digest, &[u8]), NodeRecoverError> {
    let (length, rest) = bytes.split_first_chunk::<4>().ok_or(NodeRecoverError::Malformed)?;
    let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| NodeRecoverError::Malformed)?;
    if length > MAX_NODE_RECORD_BYTES {
        return Err(NodeRecoverError::Malformed);
    }
    let (frame, rest) = rest.split_at_checked(length).ok_or(NodeRecoverError::Malformed)?;
    let (version, frame) = frame.split_first().ok_or(NodeRecoverError::Malformed)?;
    if *version != VERSION {
        return Err(NodeRecoverError::Version(*version));
    }
    let (body, digest) = frame.split_last_chunk::<32>().ok_or(NodeRecoverError::Malformed)?;
    let chain = link(former, body);
    if chain.as_bytes() != digest {
        return Err(NodeRecoverError::Inconsistent("the hash chain is broken"));
    }
    let (stored, left) =
        postcard::take_from_bytes::<Stored>(body).map_err(|_| NodeRecoverError::Malformed)?;
    if !left.is_empty() {
        return Err(NodeRecoverError::Malformed);
    }
    let events = stored.events.into_iter().map(NodeEvent::from).collect();
    let record = NodeRecord { index: stored.index, at: stored.at, principal: stored.principal, events };
    Ok((record, chain, rest))
}
