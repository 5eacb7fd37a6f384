//! Devices from the first code to the last answer: registry, pairing and dispatch as one state.
//!
//! [`NodeRuntimeState`] is a part of [`FleetState`](crate::fleet::FleetState): one journal, one snapshot, one way
//! back. It keeps its own parts in step: a device that is revoked loses its open requests, its stream and its pairing
//! sessions in the same record as its lease; one that is replaced begins anew; one that is removed leaves nothing
//! behind; grants are for registered devices.
//!
//! What can be asked of it are operations of the [`WorkerFleetManager`](crate::fleet::WorkerFleetManager). A fleet
//! without workers is a fleet too: a service that has paired nodes only founds one whose policy accepts no evidence.

mod follow;
mod state;

pub(crate) use self::follow::Follows;
pub use self::state::NodeRuntimeState;
