//! The feed of enforcement points, and which of them have something to hear.

use alloc::{collections::BTreeSet, vec::Vec};

use super::io::ConnectionId;
use crate::{
    gate::LeaseFeed,
    lease::{Epoch, Fence, WorkerLease},
    protocol::message::FeedMessage,
    time::Mono,
};

/// The feed, and who has something to hear.
#[derive(Debug)]
pub(super) struct Subscribers {
    feed: LeaseFeed<ConnectionId>,
    pub(super) waiting: BTreeSet<ConnectionId>,
    /// Those that have fallen too far behind.
    pub(super) behind: Vec<ConnectionId>,
}

impl Subscribers {
    pub(super) fn new<'a>(
        epoch: Epoch,
        live: impl IntoIterator<Item = &'a WorkerLease>,
        backlog: usize,
    ) -> Self {
        Self { feed: LeaseFeed::new(epoch, live, backlog), waiting: BTreeSet::new(), behind: Vec::new() }
    }

    pub(super) fn subscribe(&mut self, id: ConnectionId, ping: u64) {
        self.feed.subscribe(id, ping);
        self.waiting.insert(id);
    }

    pub(super) fn ping(&mut self, id: ConnectionId, ping: u64) -> bool {
        let known = self.feed.ping(id, ping);
        if known {
            self.waiting.insert(id);
        }
        known
    }

    pub(super) fn unsubscribe(&mut self, id: ConnectionId) {
        self.feed.unsubscribe(id);
        self.waiting.remove(&id);
    }

    /// A lease is live, or has another end. Cost: the number of subscribers, each of which hears of it.
    pub(super) fn lease_live(&mut self, lease: &WorkerLease) {
        let behind = self.feed.lease_live(lease);
        self.behind.extend(behind);
        self.waiting.extend(self.feed.subscribers());
    }

    /// A lease authorises nothing any more. Cost: as above.
    pub(super) fn lease_over(&mut self, fence: Fence) {
        let behind = self.feed.lease_over(fence);
        self.behind.extend(behind);
        self.waiting.extend(self.feed.subscribers());
    }

    /// The connection has taken something of what waited.
    pub(super) fn has_room(&mut self, id: ConnectionId) {
        if self.feed.has_more(id) {
            self.waiting.insert(id);
        }
    }

    pub(super) fn next(&mut self, id: ConnectionId, at: Mono) -> Option<FeedMessage> {
        self.feed.next(id, at)
    }
}
