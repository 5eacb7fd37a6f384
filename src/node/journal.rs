//! The journal of a node runtime: its records, framed and chained by [`crate::chain`].

use alloc::vec::Vec;

use serde::Deserialize;

use super::event::{NodeEvent, NodePrincipal, NodeRecord, StoredNodeEvent};
use crate::{
    chain::{Chain, ChainError},
    digest::Sha256Digest,
    time::Now,
};

/// The longest record that is written or read back.
pub const MAX_NODE_RECORD_BYTES: usize = 16 << 20;

const CHAIN: Chain = Chain { domain: "node-journal.v1", version: 1, max: MAX_NODE_RECORD_BYTES };

#[derive(Deserialize)]
struct Stored {
    index: u64,
    at: Now,
    principal: NodePrincipal,
    events: Vec<StoredNodeEvent>,
}

/// The digest before the first record.
pub(super) fn genesis() -> Sha256Digest {
    CHAIN.genesis()
}

/// Appends `record` and gives the new end of the chain; none where it is over the bound.
pub(super) fn append(out: &mut Vec<u8>, former: Sha256Digest, record: &NodeRecord) -> Option<Sha256Digest> {
    CHAIN.append(out, former, record)
}

/// The next record and the rest, checked against the chain.
pub(super) fn read(
    bytes: &[u8],
    former: Sha256Digest,
) -> Result<(NodeRecord, Sha256Digest, &[u8]), ChainError> {
    let (stored, chain, rest) = CHAIN.read::<Stored>(bytes, former)?;
    let events = stored.events.into_iter().map(NodeEvent::from).collect();
    let record = NodeRecord { index: stored.index, at: stored.at, principal: stored.principal, events };
    Ok((record, chain, rest))
}
