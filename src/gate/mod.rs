//! Enforcement points: how the end of a lease reaches the processes that enforce it.
//!
//! The coordinator's side is a [`LeaseFeed`]: a snapshot, then every change. The side of the enforcement
//! point is a [`LeaseView`], which a [`Gate`] keeps up to date over a connection. A view limits how far its
//! information can be wrong:
//!
//! * **Freshness** is counted from when the *ping* was sent whose answer came. Bytes that were delayed for an
//!   hour, in a buffer or by an attacker, are an hour old. Silence for longer than `max_staleness` ends every
//!   lease.
//! * **Expiry** is judged by the view's own clock. If the answer to a ping says that the fleet's monotonic
//!   time is `at`, that time was at most `at` when the ping was sent. Delay can only make leases end sooner.
//! * A gap, a replay, a lower epoch, or a message out of order ends every lease at once (attack E17).

mod endpoint;
mod error;
mod feed;
mod own_state;
mod view;

pub use self::{
    endpoint::{Gate, GateAct, GateConfig, GateEvent},
    error::{FeedError, ViewError},
    feed::LeaseFeed,
    view::{LeaseView, ViewEvent, ViewRules},
};
