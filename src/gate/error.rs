//! Why a message of the feed is refused, and why a lease is not live in a view.

use crate::{
    code::{self, Code, Coded},
    lease::Epoch,
    time::Millis,
};

/// Why a message of the feed is refused. Every lease in the view ends, and the view must subscribe again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FeedError {
    /// Messages are missing.
    #[error("step {given} came where step {wanted} was due")]
    Gap {
        /// The sequence number that was expected.
        wanted: u64,
        /// The sequence number that came.
        given: u64,
    },
    /// The message was received before, or it answers a ping of an earlier subscription.
    #[error("a step that was there before")]
    Replayed,
    /// The message is of an earlier coordinator.
    #[error("epoch {given}, and {seen} was seen")]
    LowerEpoch {
        /// The epoch of the message.
        given: Epoch,
        /// The highest epoch that was seen.
        seen: Epoch,
    },
    /// The message does not fit the state of the subscription, or its epoch changed within one.
    #[error("a step that does not belong here")]
    Order,
    /// The feed names more leases than the view may hold.
    #[error("more leases than the view may hold")]
    Full,
}

impl Coded for FeedError {
    fn code(&self) -> Code {
        match self {
            Self::Gap { .. } => code::FEED_GAP,
            Self::Replayed => code::FEED_REPLAYED,
            Self::LowerEpoch { .. } => code::FEED_LOWER_EPOCH,
            Self::Order => code::FEED_ORDER,
            Self::Full => code::FEED_FULL,
        }
    }
}

/// Why a lease authorises nothing in this view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ViewError {
    /// The view has no complete snapshot, or lost its feed.
    #[error("the view has not been told everything yet")]
    Unsynced,
    /// The view is older than `max_staleness`.
    #[error("the view is {0} old, too stale")]
    Stale(Millis),
    /// The view knows no lease with this fence.
    #[error("the view knows no such lease")]
    Unknown,
    /// The lease has expired by the view's clock.
    #[error("the lease is over on this clock")]
    Expired,
}

impl Coded for ViewError {
    fn code(&self) -> Code {
        match self {
            Self::Unsynced => code::FEED_UNSYNCED,
            Self::Stale(_) => code::FEED_SILENT,
            Self::Unknown => code::FEED_LEASE_UNKNOWN,
            Self::Expired => code::FEED_LEASE_EXPIRED,
        }
    }
}
