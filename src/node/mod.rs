//! Devices from the first code to the last answer: registry, pairing and dispatch as one replayable state.
//!
//! [`NodeRuntime`] is for services whose devices are paired nodes that answer capability requests. It keeps the parts
//! in step: a device that is revoked loses its open requests, its stream and its pairing sessions in the same record;
//! one that is replaced begins anew; one that is removed leaves nothing behind; grants are for registered devices.
//!
//! Every operation gives a [`NodeTicket`]. Append what [`NodeRuntime::take_journal`] gives, say
//! [`NodeRuntime::durable`], and redeem the ticket: then, and not before, there are an answer and effects.
//!
//! ```
//! use leasehold::{dispatch::DispatchPolicy, digest::Sha256Digest, id::FleetId, identity::{DeviceLimits, pairing::PairingPolicy},
//!     lease::Epoch, node::{NodeConfig, NodeRuntime}, time::{Millis, Now}};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let config = NodeConfig {
//!     devices: DeviceLimits::new(1_000, 1_000, Millis::from_secs(86_400))?, pairing: PairingPolicy::default(), dispatch: DispatchPolicy::default(),
//!     fleet: FleetId::new("example")?, certificate: Sha256Digest::of(b"pairing port, DER"),
//!     max_wall_step: Millis::from_secs(60), index_key: [7; 16],
//! };
//! let mut runtime = NodeRuntime::new(config.clone(), Epoch(1), Now::new(0, 0))?;
//! let ticket = runtime.poll(Now::new(1, 1))?;
//! let ticket = ticket.redeem(&runtime).unwrap_err(); // The first record is not written yet.
//! let batch = runtime.take_journal().unwrap();
//! runtime.durable(batch.last);
//! assert!(ticket.redeem(&runtime).is_ok());
//!
//! let again = NodeRuntime::recover(config, None, &batch.bytes, Epoch(2), Now::new(2, 2))?;
//! assert_eq!(again.state().registry(), runtime.state().registry());
//! # Ok(()) }
//! ```

mod config;
mod error;
mod event;
mod journal;
mod operations;
mod runtime;
mod state;

pub use self::{
    config::NodeConfig,
    error::{NodeError, NodeRecoverError},
    event::{NodeEvent, NodePrincipal, NodeRecord},
    journal::MAX_NODE_RECORD_BYTES,
    runtime::{NodeJournalBatch, NodeReleased, NodeRuntime, NodeTicket},
    state::NodeRuntimeState,
};
