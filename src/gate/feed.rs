//! The coordinator's side of the feed: which leases are live, and what each subscriber was told.

use alloc::collections::{BTreeMap, VecDeque};
use core::ops::Bound;

use crate::{
    lease::{Epoch, Fence, WorkerLease},
    protocol::message::{FeedChange, FeedLease, FeedMessage},
    time::Mono,
};

/// How far the snapshot of a subscriber has been sent.
#[derive(Clone, Copy, Debug)]
enum Snapshot {
    Begins,
    /// Every lease up to this fence was sent; `None` if none was.
    After(Option<Fence>),
    Done,
}

#[derive(Clone, Debug)]
struct Subscriber {
    subscription: u64,
    sequence: u64,
    snapshot: Snapshot,
    synced: bool,
    changes: VecDeque<FeedChange>,
    ping: Option<u64>,
}

/// Tells any number of subscribers which leases are live: a snapshot, then every change, in order and without
/// a gap.
///
/// A message is made when it is taken, so a slow subscriber costs no more than its backlog of changes. The
/// backlog is bounded: a subscriber that exceeds it must subscribe again. `Id` names a subscriber.
#[derive(Clone, Debug)]
pub struct LeaseFeed<Id> {
    epoch: Epoch,
    live: BTreeMap<Fence, FeedLease>,
    subscribers: BTreeMap<Id, Subscriber>,
    max_backlog: usize,
}

impl<Id: Ord + Copy> LeaseFeed<Id> {
    /// A feed of `leases` under `epoch`. It holds at most `max_backlog` changes for each subscriber.
    pub fn new<'a>(
        epoch: Epoch,
        leases: impl IntoIterator<Item = &'a WorkerLease>,
        max_backlog: usize,
    ) -> Self {
        let live = leases.into_iter().map(|lease| (lease.fence, FeedLease::from(lease))).collect();
        Self { epoch, live, subscribers: BTreeMap::new(), max_backlog }
    }

    /// How many leases are live.
    pub fn len(&self) -> usize {
        self.live.len()
    }

    /// Whether no lease is live.
    pub fn is_empty(&self) -> bool {
        self.live.is_empty()
    }

    /// Begins a subscription, or begins it again.
    pub fn subscribe(&mut self, id: Id, ping: u64) {
        let subscriber = Subscriber {
            subscription: ping,
            sequence: 0,
            snapshot: Snapshot::Begins,
            synced: false,
            changes: VecDeque::new(),
            ping: None,
        };
        self.subscribers.insert(id, subscriber);
    }

    /// Ends a subscription.
    pub fn unsubscribe(&mut self, id: Id) {
        self.subscribers.remove(&id);
    }

    /// The subscribers.
    pub fn subscribers(&self) -> impl Iterator<Item = Id> {
        self.subscribers.keys().copied()
    }

    /// Notes that a subscriber asks for a keep-alive. Only its newest ping is answered. Returns false if
    /// there is no such subscriber.
    pub fn ping(&mut self, id: Id, ping: u64) -> bool {
        match self.subscribers.get_mut(&id) {
            Some(subscriber) => subscriber.ping = subscriber.ping.max(Some(ping)),
            None => return false,
        }
        true
    }

    /// Notes that a lease is live or that its end has moved. Returns the subscribers whose backlog was full;
    /// their subscription has ended.
    pub fn lease_live(&mut self, lease: &WorkerLease) -> impl Iterator<Item = Id> + use<Id> {
        let lease = FeedLease::from(lease);
        self.live.insert(lease.fence, lease.clone());
        self.tell(lease.fence, &FeedChange::Live { lease })
    }

    /// Notes that a lease authorises nothing any more. Returns the subscribers whose backlog was full; their
    /// subscription has ended.
    pub fn lease_over(&mut self, fence: Fence) -> impl Iterator<Item = Id> + use<Id> {
        self.live.remove(&fence);
        self.tell(fence, &FeedChange::Over { fence })
    }

    fn tell(&mut self, fence: Fence, change: &FeedChange) -> impl Iterator<Item = Id> + use<Id> {
        let mut behind = VecDeque::new();
        for (id, subscriber) in &mut self.subscribers {
            // The part of the snapshot that was not sent yet will reflect the change.
            let said = match subscriber.snapshot {
                Snapshot::Begins => false,
                Snapshot::After(last) => Some(fence) <= last,
                Snapshot::Done => true,
            };
            if !said {
                continue;
            }
            if subscriber.changes.len() >= self.max_backlog {
                behind.push_back(*id);
            } else {
                subscriber.changes.push_back(change.clone());
            }
        }
        for id in &behind {
            self.subscribers.remove(id);
        }
        behind.into_iter()
    }

    /// Whether there is a next message for this subscriber.
    pub fn has_more(&self, id: Id) -> bool {
        self.subscribers.get(&id).is_some_and(|it| {
            !it.changes.is_empty()
                || !it.synced
                || it.ping.is_some()
                || !matches!(it.snapshot, Snapshot::Done)
        })
    }

    /// The next message for this subscriber; `None` if there is none. `at` is the fleet's monotonic time now.
    pub fn next(&mut self, id: Id, at: Mono) -> Option<FeedMessage> {
        let subscriber = self.subscribers.get_mut(&id)?;
        let change = subscriber.next(&self.live, at)?;
        let sequence = subscriber.sequence;
        subscriber.sequence = sequence.saturating_add(1);
        Some(FeedMessage { epoch: self.epoch, sequence, change })
    }
}

impl Subscriber {
    fn next(&mut self, live: &BTreeMap<Fence, FeedLease>, at: Mono) -> Option<FeedChange> {
        if let Some(change) = self.changes.pop_front() {
            return Some(change);
        }
        let after = match self.snapshot {
            Snapshot::Begins => {
                self.snapshot = Snapshot::After(None);
                return Some(FeedChange::Reset { ping: self.subscription });
            }
            Snapshot::After(last) => Some(last),
            Snapshot::Done => None,
        };
        if let Some(last) = after {
            let from = last.map_or(Bound::Unbounded, Bound::Excluded);
            if let Some((fence, lease)) = live.range((from, Bound::Unbounded)).next() {
                self.snapshot = Snapshot::After(Some(*fence));
                return Some(FeedChange::Live { lease: lease.clone() });
            }
            self.snapshot = Snapshot::Done;
        }
        if !self.synced {
            self.synced = true;
            return Some(FeedChange::Synced { ping: self.subscription, at });
        }
        self.ping.take().map(|ping| FeedChange::KeepAlive { ping, at })
    }
}
