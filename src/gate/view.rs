//! The side of the enforcement point: which leases are live, by the feed and the view's own clock.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use super::error::{FeedError, ViewError};
use crate::{
    code::{self, Code, Coded as _},
    egress::{LeaseCheck, LeaseRefusal, LeaseStanding},
    lease::{Epoch, Fence},
    protocol::{
        endpoint::EndpointError,
        message::{FeedChange, FeedLease, FeedMessage},
    },
    slab::{Keyed, KeyedSlab},
    time::{Millis, Mono},
};

/// How many pings can await an answer. The oldest is given up first.
const MAX_ASKED: usize = 64;
/// How many expired leases one call of [`LeaseView::lapse`] ends.
const MAX_LAPSES: usize = 256;

/// The bounds of a view: those of the fleet's policy, or tighter ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ViewRules {
    max_staleness: Millis,
    clock_budget: Millis,
    max_leases: usize,
}

impl ViewRules {
    /// A view of at most `max_leases` leases. It is trusted for at most `max_staleness` and ends every lease
    /// `clock_budget` early.
    ///
    /// # Errors
    /// [`EndpointError::Config`] if `max_staleness` is below 4 ms or `max_leases` is zero.
    pub const fn new(
        max_staleness: Millis,
        clock_budget: Millis,
        max_leases: usize,
    ) -> Result<Self, EndpointError> {
        if max_staleness.0 < 4 {
            return Err(EndpointError::Config("max_staleness is at least 4 ms"));
        }
        if max_leases == 0 {
            return Err(EndpointError::Config("a view holds at least one lease"));
        }
        Ok(Self { max_staleness, clock_budget, max_leases })
    }

    /// How old the view may be.
    pub const fn max_staleness(&self) -> Millis {
        self.max_staleness
    }
}

/// A change of a view.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ViewEvent {
    /// The view is complete.
    Synced,
    /// A lease is live, or its end has moved.
    LeaseLive {
        /// The fence of the lease.
        fence: Fence,
    },
    /// A lease authorises nothing any more. Cut its tunnels.
    LeaseEnded {
        /// The fence of the lease.
        fence: Fence,
        /// Why it ended: the coordinator ended it, it expired, or the feed failed.
        why: Code,
    },
}

#[derive(Clone, Debug)]
struct Entry {
    key: [u8; 16],
    lease: FeedLease,
    /// The number of the snapshot that last named the lease.
    seen: u64,
}

impl Keyed for Entry {
    fn key(&self) -> &[u8] {
        &self.key
    }
}

fn key(fence: Fence) -> [u8; 16] {
    let number = u128::from(fence.epoch.0) << 64 | u128::from(fence.counter);
    number.to_be_bytes()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The subscription is sent, and no answer has come.
    Asked,
    Snapshot,
    Following,
}

#[derive(Clone, Copy, Debug)]
struct Subscription {
    ping: u64,
    next: u64,
    epoch: Epoch,
    stage: Stage,
}

/// A bound on the fleet's monotonic time: it was at most `at` when the view's clock was at `here`.
#[derive(Clone, Copy, Debug)]
struct Bearing {
    here: Mono,
    at: Mono,
}

/// The leases that are live. It is not a cache that may be wrong for a while: outside of its bounds no lease
/// is live.
///
/// ```
/// use leasehold::{gate::{LeaseView, ViewError, ViewRules}, lease::{Epoch, Fence}, time::{Millis, Mono}};
/// let rules = ViewRules::new(Millis(5_000), Millis(2_000), 1_000)?;
/// let view = LeaseView::new(rules);
/// assert_eq!(view.check(Fence::new(Epoch(1), 1), Mono(0)).unwrap_err(), ViewError::Unsynced);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct LeaseView {
    rules: ViewRules,
    leases: KeyedSlab<Entry>,
    by_end: BTreeSet<(Mono, Fence)>,
    epoch: Epoch,
    pings: u64,
    asked: BTreeMap<u64, Mono>,
    subscription: Option<Subscription>,
    bearing: Option<Bearing>,
    snapshot: u64,
}

impl LeaseView {
    /// An empty view: nothing is live in it.
    pub fn new(rules: ViewRules) -> Self {
        Self {
            rules,
            // The coordinator numbers the fences, so no peer can choose colliding keys.
            leases: KeyedSlab::new([0; 16]),
            by_end: BTreeSet::new(),
            epoch: Epoch(0),
            pings: 0,
            asked: BTreeMap::new(),
            subscription: None,
            bearing: None,
            snapshot: 0,
        }
    }

    /// The highest epoch that was seen.
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// How many leases the view holds, including expired ones that were not ended yet.
    pub fn len(&self) -> usize {
        self.leases.len()
    }

    /// Whether the view holds no lease.
    pub fn is_empty(&self) -> bool {
        self.leases.len() == 0
    }

    /// The age of the view: the time since the newest answered ping was sent. `None` if no ping was answered.
    pub fn staleness(&self, now: Mono) -> Option<Millis> {
        self.bearing.map(|bearing| now.since(bearing.here))
    }

    /// When the view becomes too stale; `None` if it is not fresh.
    pub fn fresh_until(&self) -> Option<Mono> {
        self.bearing.map(|bearing| bearing.here.plus(self.rules.max_staleness))
    }

    /// The lease `fence`, if it is live at `now`. Cost: O(1).
    ///
    /// # Errors
    /// [`ViewError`]: the lease authorises nothing now.
    pub fn check(&self, fence: Fence, now: Mono) -> Result<&FeedLease, ViewError> {
        let bearing = self.bearing.ok_or(ViewError::Unsynced)?;
        let stale = now.since(bearing.here);
        if stale > self.rules.max_staleness || now < bearing.here {
            return Err(ViewError::Stale(stale));
        }
        let entry = self.leases.get_by(&key(fence)).ok_or(ViewError::Unknown)?;
        if self.fleet_line(bearing, now) < entry.lease.expires {
            Ok(&entry.lease)
        } else {
            Err(ViewError::Expired)
        }
    }

    /// The latest that the fleet's monotonic time can be at `now`, plus the clock budget.
    fn fleet_line(&self, bearing: Bearing, now: Mono) -> Mono {
        bearing.at.plus(now.since(bearing.here)).plus(self.rules.clock_budget)
    }

    /// The earliest instant of the view's clock at which the fleet's monotonic time can be `end`, less the
    /// clock budget.
    fn here(&self, bearing: Bearing, end: Mono) -> Mono {
        bearing.here.plus(end.minus(self.rules.clock_budget).since(bearing.at))
    }

    /// Begins a subscription. Returns the number for the
    /// [`GateMessage::Subscribe`](crate::protocol::message::GateMessage) that is sent at `now`. What the view
    /// knows stays usable until it is too stale.
    pub fn subscribe(&mut self, now: Mono) -> u64 {
        self.asked.clear();
        let ping = self.ask(now);
        self.subscription = Some(Subscription { ping, next: 0, epoch: self.epoch, stage: Stage::Asked });
        ping
    }

    /// The number for a ping that is sent at `now`.
    pub fn ask(&mut self, now: Mono) -> u64 {
        self.pings = self.pings.saturating_add(1);
        if self.asked.len() >= MAX_ASKED {
            self.asked.pop_first();
        }
        self.asked.insert(self.pings, now);
        self.pings
    }

    /// Applies a message of the feed. The cost is bounded by the message, except at the end of a snapshot:
    /// O(leases).
    ///
    /// # Errors
    /// [`FeedError`]: every lease has ended, as `events` reports, and the view must subscribe again.
    pub fn apply(&mut self, message: &FeedMessage, events: &mut Vec<ViewEvent>) -> Result<(), FeedError> {
        let outcome = self.step(message, events);
        if let Err(error) = outcome {
            self.fail(error.code(), events);
        }
        outcome
    }

    fn step(&mut self, message: &FeedMessage, events: &mut Vec<ViewEvent>) -> Result<(), FeedError> {
        let mut subscription = self.subscription.ok_or(FeedError::Order)?;
        if message.epoch < self.epoch {
            return Err(FeedError::LowerEpoch { given: message.epoch, seen: self.epoch });
        }
        if message.sequence != subscription.next {
            let (wanted, given) = (subscription.next, message.sequence);
            return Err(if given < wanted { FeedError::Replayed } else { FeedError::Gap { wanted, given } });
        }
        if subscription.stage != Stage::Asked && message.epoch != subscription.epoch {
            return Err(FeedError::Order);
        }
        subscription.next = subscription.next.saturating_add(1);
        match (&message.change, subscription.stage) {
            (FeedChange::Reset { ping }, Stage::Asked) => {
                if *ping != subscription.ping {
                    return Err(FeedError::Replayed);
                }
                self.snapshot = self.snapshot.saturating_add(1);
                subscription.stage = Stage::Snapshot;
                subscription.epoch = message.epoch;
                self.epoch = message.epoch;
            }
            (FeedChange::Live { lease }, Stage::Snapshot | Stage::Following) => {
                self.put(lease)?;
                events.push(ViewEvent::LeaseLive { fence: lease.fence });
            }
            (FeedChange::Over { fence }, Stage::Snapshot | Stage::Following) => {
                self.end(*fence, code::FEED_LEASE_ENDED, events);
            }
            (FeedChange::Synced { ping, at }, Stage::Snapshot) if *ping == subscription.ping => {
                subscription.stage = Stage::Following;
                self.take_bearing(*ping, *at)?;
                self.sweep(events);
                events.push(ViewEvent::Synced);
            }
            (FeedChange::KeepAlive { ping, at }, Stage::Following) => self.take_bearing(*ping, *at)?,
            _ => return Err(FeedError::Order),
        }
        self.subscription = Some(subscription);
        Ok(())
    }

    /// Each ping is answered once. An answer also gives up the pings before it.
    fn take_bearing(&mut self, ping: u64, at: Mono) -> Result<(), FeedError> {
        let here = self.asked.get(&ping).copied().ok_or(FeedError::Replayed)?;
        self.asked = self.asked.split_off(&ping.saturating_add(1));
        self.bearing = Some(Bearing { here, at });
        Ok(())
    }

    fn put(&mut self, lease: &FeedLease) -> Result<(), FeedError> {
        let fence = lease.fence;
        match self.leases.get_by(&key(fence)) {
            Some(entry) => {
                self.by_end.remove(&(entry.lease.expires, fence));
            }
            None if self.leases.len() >= self.rules.max_leases => return Err(FeedError::Full),
            None => {}
        }
        self.by_end.insert((lease.expires, fence));
        self.leases.insert(Entry { key: key(fence), lease: lease.clone(), seen: self.snapshot });
        Ok(())
    }

    fn end(&mut self, fence: Fence, why: Code, events: &mut Vec<ViewEvent>) {
        let slot = self.leases.find(&key(fence));
        if let Some(entry) = slot.and_then(|slot| self.leases.remove(slot)) {
            self.by_end.remove(&(entry.lease.expires, fence));
            events.push(ViewEvent::LeaseEnded { fence, why });
        }
    }

    /// Ends the leases that the snapshot did not name.
    fn sweep(&mut self, events: &mut Vec<ViewEvent>) {
        let missing = |entry: &&Entry| entry.seen != self.snapshot;
        let mut gone: Vec<Fence> =
            self.leases.iter().filter(missing).map(|entry| entry.lease.fence).collect();
        gone.sort_unstable();
        for fence in gone {
            self.end(fence, code::FEED_LEASE_ENDED, events);
        }
    }

    /// Ends every lease and forgets the subscription, so that the view fails closed.
    pub fn fail(&mut self, why: Code, events: &mut Vec<ViewEvent>) {
        let fences: BTreeSet<Fence> = self.by_end.iter().map(|(_, fence)| *fence).collect();
        for fence in fences {
            self.end(fence, why, events);
        }
        self.subscription = None;
        self.bearing = None;
        self.asked.clear();
    }

    /// Ends the leases that have expired at `now`, a bounded number in one call; or all leases, if the view
    /// is too stale. Returns whether it has become too stale.
    pub fn lapse(&mut self, now: Mono, events: &mut Vec<ViewEvent>) -> bool {
        let Some(bearing) = self.bearing else { return false };
        if now.since(bearing.here) > self.rules.max_staleness {
            self.fail(code::FEED_SILENT, events);
            return true;
        }
        let line = self.fleet_line(bearing, now);
        for _ in 0..MAX_LAPSES {
            match self.by_end.first() {
                Some((end, fence)) if *end <= line => {
                    let fence = *fence;
                    self.end(fence, code::FEED_LEASE_EXPIRED, events);
                }
                _ => break,
            }
        }
        false
    }

    /// The earliest instant at which [`Self::lapse`] has something to do.
    pub fn next_deadline(&self) -> Option<Mono> {
        let bearing = self.bearing?;
        let stale = self.fresh_until()?.plus(Millis(1));
        let first = self.by_end.first().map(|(end, _)| self.here(bearing, *end));
        Some(first.map_or(stale, |first| first.min(stale)))
    }
}

/// The check that egress makes before every permit and every use of one. `expires` is by the view's own
/// clock.
impl LeaseCheck for LeaseView {
    fn standing(&self, fence: Fence, now: Mono) -> Result<LeaseStanding, LeaseRefusal> {
        let lease = self.check(fence, now).map_err(|error| match error {
            ViewError::Unsynced | ViewError::Stale(_) => LeaseRefusal::ViewStale,
            ViewError::Unknown => LeaseRefusal::Unknown,
            ViewError::Expired => LeaseRefusal::Expired,
        })?;
        let bearing = self.bearing.ok_or(LeaseRefusal::ViewStale)?;
        Ok(LeaseStanding {
            worker: lease.worker.clone(),
            expires: self.here(bearing, lease.expires),
            egress: lease.egress.clone(),
            secrets: lease.secrets.clone(),
        })
    }
}
