//! The state at the last committed position, kept beside the state that decides, so that uncommitted records
//! can be undone.

use alloc::collections::VecDeque;

use crate::{
    digest::Sha256Digest,
    fleet::{event::FleetRecord, replica::Follower},
};

/// A follower at the last committed position, and the proposals after it.
pub(in crate::fleet) struct Committed {
    follower: Follower,
    proposed: VecDeque<(FleetRecord, Sha256Digest)>,
}

impl Committed {
    pub(super) fn new(follower: Follower) -> Self {
        Self { follower, proposed: VecDeque::new() }
    }

    pub(super) fn propose(&mut self, record: FleetRecord, chain: Sha256Digest) {
        self.proposed.push_back((record, chain));
    }

    /// Folds the proposals up to `index` into the follower.
    pub(super) fn commit(&mut self, index: u64) {
        while self.proposed.front().is_some_and(|(record, _)| record.index <= index) {
            if let Some((record, chain)) = self.proposed.pop_front() {
                self.follower.fold_own(&record, chain);
            }
        }
    }

    pub(super) fn follower(&self) -> &Follower {
        &self.follower
    }

    /// The follower. Proposals that are not committed are dropped.
    pub(super) fn into_follower(self) -> Follower {
        self.follower
    }
}
