//! The last lease of each device, for inspections and inputs.

use alloc::collections::BTreeMap;

use crate::{
    id::DeviceId,
    lease::{Fence, WorkerLease},
};

/// The last lease of each device that holds one or owes something for it: at most one for each.
#[derive(Debug)]
pub(super) struct LastLeases {
    last_lease: BTreeMap<DeviceId, WorkerLease>,
    holders: BTreeMap<Fence, DeviceId>,
}

impl LastLeases {
    pub(super) fn new<'a>(leases: impl Iterator<Item = &'a WorkerLease>) -> Self {
        let mut this = Self { last_lease: BTreeMap::new(), holders: BTreeMap::new() };
        leases.for_each(|lease| this.remember(lease));
        this
    }

    pub(super) fn remember(&mut self, lease: &WorkerLease) {
        self.holders.insert(lease.fence, lease.device.clone());
        if let Some(former) = self.last_lease.insert(lease.device.clone(), lease.clone())
            && former.fence != lease.fence
        {
            self.holders.remove(&former.fence);
        }
    }

    pub(super) fn forget(&mut self, device: &DeviceId) {
        if let Some(lease) = self.last_lease.remove(device) {
            self.holders.remove(&lease.fence);
        }
    }

    /// The lease of `device`, where it has this fence.
    pub(super) fn of(&self, device: &DeviceId, fence: Fence) -> Option<&WorkerLease> {
        self.last_lease.get(device).filter(|lease| lease.fence == fence)
    }

    /// The device to which a lease was given.
    pub(super) fn holder(&self, fence: Fence) -> Option<&DeviceId> {
        self.holders.get(&fence)
    }

    /// The first device, or the first after that one.
    pub(super) fn after(&self, device: Option<&DeviceId>) -> Option<&DeviceId> {
        use core::ops::Bound;
        let from = device.map_or(Bound::Unbounded, Bound::Excluded);
        self.last_lease.range::<DeviceId, _>((from, Bound::Unbounded)).next().map(|(device, _)| device)
    }
}
