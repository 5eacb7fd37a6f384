//! The hard state as one value to store, with a version and a digest over everything.

use alloc::{
    collections::{BTreeMap, VecDeque},
    vec::Vec,
};

use serde::{Deserialize, Serialize};

use super::{
    policy::WorkerFleetPolicy,
    recover::RecoverError,
    roster::{Roster, StoredRoster},
    runs::{RunRecord, Runs},
    session::Sessions,
    spent::Spent,
    state::FleetState,
};
use crate::{
    digest::{FieldHasher, Sha256Digest},
    id::RunId,
    lease::Epoch,
    node::{NodeRuntimeState, StoredNodes},
    time::{Mono, Now, Wall},
};

const VERSION: u8 = 1;
const DIGEST: usize = 32;

#[derive(Serialize, Deserialize)]
struct Stored {
    chain: Sha256Digest,
    policy: WorkerFleetPolicy,
    policy_generation: u64,
    epoch: Epoch,
    version: u64,
    index: u64,
    last: Now,
    fence_counter: u64,
    roster: StoredRoster,
    runs: Vec<RunRecord>,
    forget: VecDeque<(Mono, RunId)>,
    grants: BTreeMap<u64, Vec<Sha256Digest>>,
    nonces: BTreeMap<u64, Vec<Sha256Digest>>,
    sessions: Sessions,
    nodes: StoredNodes,
    quiet_until: Mono,
    floor: Wall,
}

fn seal(body: &[u8]) -> Sha256Digest {
    FieldHasher::new("fleet-snapshot.v1").number(VERSION.into()).field(body).finish()
}

impl FleetState {
    /// The digest of the state: equal states have equal digests, whatever their indexes look like.
    pub fn digest(&self) -> Sha256Digest {
        seal(&self.body(Sha256Digest::of(b"")).unwrap_or_default())
    }

    fn body(&self, chain: Sha256Digest) -> Option<Vec<u8>> {
        let mut runs: Vec<RunRecord> = self.runs.iter().cloned().collect();
        runs.sort_unstable_by(|a, b| a.run.cmp(&b.run));
        postcard::to_allocvec(&Stored {
            chain,
            policy: self.policy.clone(),
            policy_generation: self.policy_generation,
            epoch: self.epoch,
            version: self.version,
            index: self.index,
            last: self.last,
            fence_counter: self.fence_counter,
            roster: self.roster.to_stored(),
            runs,
            forget: self.runs.forget_queue().clone(),
            grants: self.grants.batches().clone(),
            nonces: self.nonces.batches().clone(),
            sessions: self.sessions.clone(),
            nodes: self.nodes.to_stored(),
            quiet_until: self.quiet_until,
            floor: self.floor,
        })
        .ok()
    }

    /// The state and the end of the journal's chain, as bytes.
    pub(crate) fn to_snapshot(&self, chain: Sha256Digest) -> Option<Vec<u8>> {
        let body = self.body(chain)?;
        let digest = seal(&body);
        let mut bytes = alloc::vec![VERSION];
        bytes.extend_from_slice(&body);
        bytes.extend_from_slice(digest.as_bytes());
        Some(bytes)
    }

    /// The state that a snapshot holds, and the digest that the journal goes on from.
    pub(crate) fn from_snapshot(
        bytes: &[u8],
        index_key: [u8; 16],
    ) -> Result<(Self, Sha256Digest), RecoverError> {
        let (version, rest) = bytes.split_first().ok_or(RecoverError::Malformed)?;
        if *version != VERSION {
            return Err(RecoverError::Version(*version));
        }
        let (body, digest) = rest.split_last_chunk::<DIGEST>().ok_or(RecoverError::Malformed)?;
        if seal(body).as_bytes() != digest {
            return Err(RecoverError::Inconsistent("the snapshot's digest does not fit"));
        }
        let (stored, trailing) =
            postcard::take_from_bytes::<Stored>(body).map_err(|_| RecoverError::Malformed)?;
        if !trailing.is_empty() {
            return Err(RecoverError::Malformed);
        }
        let (devices, pairing, dispatch) = stored.policy.node_policies();
        let nodes = NodeRuntimeState::from_stored(stored.nodes, devices, pairing, dispatch, index_key)
            .map_err(RecoverError::Inconsistent)?;
        let roster = Roster::from_stored(index_key, stored.roster)
            .ok_or(RecoverError::Inconsistent("the roster does not load"))?;
        let state = Self {
            policy: stored.policy,
            policy_generation: stored.policy_generation,
            epoch: stored.epoch,
            version: stored.version,
            index: stored.index,
            last: stored.last,
            fence_counter: stored.fence_counter,
            roster,
            runs: Runs::from_parts(index_key, stored.runs, stored.forget),
            grants: Spent::from_batches(index_key, stored.grants),
            nonces: Spent::from_batches(index_key, stored.nonces),
            sessions: stored.sessions,
            nodes,
            quiet_until: stored.quiet_until,
            floor: stored.floor,
        };
        state.check_invariants().map_err(RecoverError::Inconsistent)?;
        Ok((state, stored.chain))
    }
}
