//! Enforcement points elsewhere: how a lease's end reaches those who carry out what it allows.
//!
//! The coordinator's side is a [`LeaseFeed`]: a snapshot, then every change. The enforcement point's side is a
//! [`LeaseView`], which a [`Gate`] keeps up to date over a connection. A view believes nothing that it cannot bound:
//!
//! * **Freshness** is counted from when the *question* was sent whose answer came, so bytes that lay in a buffer or
//!   in the hands of an attacker for an hour are an hour old. Silence beyond `max_staleness` ends every lease.
//! * **Expiry** is judged on the view's own clock: when the answer to a question says that the fleet's line is at
//!   `at`, it was at most there when the question was sent. Delay can only make leases end sooner.
//! * A gap, a replay, a lower epoch, a step out of order end every lease at once (ATTACKS E17).

mod endpoint;
mod error;
mod feed;
mod view;

pub use self::{
    endpoint::{Gate, GateAct, GateConfig, GateEvent},
    error::{FeedError, ViewError},
    feed::LeaseFeed,
    view::{LeaseView, ViewEvent, ViewRules},
};
