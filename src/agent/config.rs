//! How an agent is set up.

use crate::{
    digest::Sha256Digest,
    id::WorkerId,
    identity::TrustAnchors,
    lease::Epoch,
    time::{Millis, Wall},
};

/// How an agent is set up.
#[derive(Clone, Debug)]
pub struct AgentConfig {
    pub(super) worker: WorkerId,
    pub(super) anchors: TrustAnchors,
    pub(super) first_sequence: u64,
    pub(super) epoch: Epoch,
    pub(super) patience: Millis,
}

/// Numbers of requests that one millisecond has room for: the agent's first number comes from the wall clock.
const PER_MILLISECOND: u64 = 1 << 10;

impl AgentConfig {
    /// An agent for `worker`, of the coordinator whose certificate (exact DER) has the SHA-256 `coordinator`.
    ///
    /// `started` is the wall clock when the process started: the numbers of its requests begin there, since those of
    /// one device only grow. On a machine whose clock was set back, use [`Self::numbered_from`].
    pub fn new(worker: WorkerId, coordinator: Sha256Digest, started: Wall) -> Self {
        let first_sequence = started.0.saturating_mul(PER_MILLISECOND);
        let anchors = TrustAnchors::of_coordinator(coordinator);
        Self { worker, anchors, first_sequence, epoch: Epoch(0), patience: Millis::from_secs(15) }
    }

    /// Believes the coordinators that `anchors` pin, and no other: what a former process of this worker has kept of
    /// [`AgentEvent::AnchorsChanged`](super::AgentEvent::AnchorsChanged).
    #[must_use]
    pub fn trusting(mut self, anchors: TrustAnchors) -> Self {
        self.anchors = anchors;
        self
    }

    /// With requests numbered from `first`, which must be larger than every number that this device has used.
    #[must_use]
    pub const fn numbered_from(mut self, first: u64) -> Self {
        self.first_sequence = first;
        self
    }

    /// Refuses coordinators below `epoch`: what a former process of this worker has seen.
    #[must_use]
    pub const fn seen(mut self, epoch: Epoch) -> Self {
        self.epoch = epoch;
        self
    }

    /// Closes a connection on which the coordinator says nothing, or not the rest of a frame, for this long. Default
    /// 15 s; at least 1 s. Silence is waited with for three heartbeats of the fleet's policy, where that is longer.
    #[must_use]
    pub const fn patience(mut self, patience: Millis) -> Self {
        self.patience = if patience.0 < 1000 { Millis(1000) } else { patience };
        self
    }
}
