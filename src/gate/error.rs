//! Why a step of the feed is refused, and why a lease is not live in a view.

use crate::{
    code::{self, Code, Coded},
    lease::Epoch,
    time::Millis,
};

/// A step of the feed is refused. The view ends every lease and wants a new subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FeedError {
    /// Steps are missing.
    #[error("step {given} came where step {wanted} was due")]
    Gap {
        /// The step that was due.
        wanted: u64,
        /// The step that came.
        given: u64,
    },
    /// A step came again, or answers a question of an earlier subscription.
    #[error("a step that was there before")]
    Replayed,
    /// Another coordinator, which has been replaced.
    #[error("epoch {given}, and {seen} was seen")]
    LowerEpoch {
        /// The epoch of the step.
        given: Epoch,
        /// The highest that was seen.
        seen: Epoch,
    },
    /// A step that does not belong here, or an epoch that changed within a subscription.
    #[error("a step that does not belong here")]
    Order,
    /// More leases than the view may hold.
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

/// A lease is not live in this view: no permit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ViewError {
    /// The view has not been told everything yet, or lost its feed.
    #[error("the view has not been told everything yet")]
    Unsynced,
    /// The view is too old.
    #[error("the view is {0} old, too stale")]
    Stale(Millis),
    /// No such lease.
    #[error("the view knows no such lease")]
    Unknown,
    /// The lease is over.
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
