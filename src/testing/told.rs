//! What the parties of a world were told, as each of them would remember it.

use alloc::{collections::BTreeMap, vec::Vec};

use crate::{
    fleet::WorkerHandle,
    lease::{Fence, WorkerLease, WorkerRunGrant},
};

/// What everybody outside the coordinator was told, the newest last. It survives a crash of the coordinator, as it would.
#[derive(Clone, Debug, Default)]
pub(super) struct Told {
    /// The handles of each worker, and those of each device's own worker.
    pub(super) handles: BTreeMap<u32, Vec<WorkerHandle>>,
    pub(super) by_device: BTreeMap<u32, WorkerHandle>,
    pub(super) device_of: BTreeMap<u32, u32>,
    pub(super) leases: BTreeMap<u32, Vec<WorkerLease>>,
    pub(super) fences: BTreeMap<u32, Vec<Fence>>,
    pub(super) nonces: BTreeMap<u32, Vec<u8>>,
    pub(super) asked: Option<(WorkerRunGrant, Option<u32>, Option<u64>)>,
}

/// The number at the end of the id of a device, a worker or a run of a world.
pub(super) fn number_in(id: &str) -> u32 {
    id.rsplit('-').next().and_then(|number| number.parse().ok()).expect("an id of a world")
}
