//! The worker's sans-I/O endpoint: it joins, holds at most one lease, and fences itself. Beside it the endpoints of
//! other devices: [`PairingAgent`] while one pairs, [`NodeAgent`] for one that answers capability requests.
//!
//! An [`Agent`] lives as long as the worker's process, over any number of connections. What it promises:
//!
//! * It believes nobody but the coordinator whose certificate it was given, or one that this coordinator has announced to
//!   follow it ([`AgentEvent::AnchorsChanged`]), and no epoch below one that it has seen.
//! * No run begins before the coordinator has answered that it may ([`AgentEvent::Run`]).
//! * Its deadline counts from when it *sent* the request that was answered, less the clock budget, so it has stopped
//!   before anybody else may begin. It holds without a connection too: [`AgentEvent::Stop`] needs none.
//! * It renews, sends heartbeats and attests again by itself. A request whose answer was lost is sent again under
//!   its number, so nothing happens twice.
//! * After a lease it works again only when the coordinator says that it owes nothing.
//!
//! The driver's side of a lease: [`AgentEvent::Assigned`], inputs, [`AgentEvent::Ready`] → prepare →
//! [`AgentAct::Start`] → [`AgentEvent::Run`] → run, send outputs → [`AgentAct::Finished`] → [`AgentEvent::CleanUp`] →
//! clean up → [`AgentAct::Cleaned`] → [`AgentEvent::Done`]. At any point [`AgentEvent::Stop`] may come: stop what
//! runs, at once, and say [`AgentAct::Stopped`].
//!
//! ```
//! use leasehold::{
//!     agent::{Agent, AgentConfig},
//!     digest::Sha256Digest,
//!     id::WorkerId,
//!     protocol::endpoint::{Endpoint as _, Input, Output},
//!     time::Now,
//! };
//! let coordinator = Sha256Digest::of(b"the DER of the coordinator's certificate");
//! let now = Now::new(1, 1_764_000_000_000);
//! let mut agent = Agent::new(AgentConfig::new(WorkerId::new("worker-1")?, coordinator, now.wall));
//! // The driver has made a connection, and this is what the peer showed on it.
//! agent.handle(Input::Connected { peer: coordinator }, now)?;
//! assert!(matches!(agent.poll(), Output::Send(_)), "it greets");
//! assert!(matches!(agent.poll(), Output::Wait(Some(_))), "and waits, but not for ever");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod answer;
mod attesting;
mod config;
mod endpoint;
mod event;
mod inputs;
mod job;
mod lease;
mod node;
mod pairing;
mod pending;

pub use self::{
    config::AgentConfig,
    endpoint::Agent,
    event::{AgentAct, AgentEvent, Asked, StopReason},
    node::{NodeAct, NodeAgent, NodeAgentConfig, NodeAgentEvent, NodeAsked},
    pairing::{PairingAct, PairingAgent, PairingProgress},
};
