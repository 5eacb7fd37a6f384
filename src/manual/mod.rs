//! The manual: how to choose, build, operate and test a service around this crate.
//!
//! | page | read it to |
//! |---|---|
//! | [`choosing`] | decide between `WorkerFleetManager` and the endpoints `Coordinator`, `Agent` and `Gate` |
//! | [`first_service`] | go from nothing to a run that was leased, completed and recovered after a crash |
//! | [`policies`] | write egress, attestation and fleet policies, and keep them right in your CI |
//! | [`operating`] | know the states of workers, what to watch, and which command frees what is stuck |
//! | [`proxy`] | put an enforcement point between workers and the network |
//! | [`replication`] | run several coordinators, one of which leads, behind a replicated log |
//! | [`testing`] | test your own service with the crate's world, strategies and fuzz bodies |
//! | [`threats`] | know what is trusted with what, and what nobody promises |
//! | [`verified`] | see what stands behind each promise, and repeat it |
//! | [`upgrading`] | move a fleet to another version of the crate |
//! | [`questions`] | find the answer to what newcomers ask |
//! | [`codes`] | look up a code: what it means and what to do about it |
//!
//! The examples are compiled and run as tests. Nothing here is needed at run time: the modules hold text alone.

#[doc = include_str!("choosing.md")]
pub mod choosing {}

#[doc = include_str!("first_service.md")]
pub mod first_service {}

#[doc = include_str!("policies.md")]
pub mod policies {}

#[doc = include_str!("operating.md")]
pub mod operating {}

#[doc = include_str!("proxy.md")]
pub mod proxy {}

#[doc = include_str!("replication.md")]
pub mod replication {}

#[doc = include_str!("testing.md")]
pub mod testing {}

#[doc = include_str!("threats.md")]
pub mod threats {}

#[doc = include_str!("verified.md")]
pub mod verified {}

#[doc = include_str!("upgrading.md")]
pub mod upgrading {}

#[doc = include_str!("questions.md")]
pub mod questions {}

#[doc = include_str!("codes.md")]
pub mod codes {}
