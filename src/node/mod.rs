//! Paired devices: registry, pairing and dispatch as one state.
//!
//! [`NodeRuntimeState`] is a part of [`FleetState`](crate::fleet::FleetState), so there is one journal, one
//! snapshot and one recovery. It keeps its parts consistent: a device that is revoked loses its open
//! requests, its stream and its pairing sessions in the same record as its lease; a device that is replaced
//! begins anew; a device that is removed leaves nothing behind; only registered devices can be granted
//! capabilities.
//!
//! Its operations are operations of the [`WorkerFleetManager`](crate::fleet::WorkerFleetManager). A service
//! that has only paired nodes and no workers founds a fleet whose policy accepts no evidence.

mod follow;
mod state;

pub(crate) use self::follow::Follows;
pub use self::state::NodeRuntimeState;
