//! A walk along all connections when something has changed that concerns each of them: the registry, the policy's rhythm,
//! the certificates that follow. A few of them in each call, so that no call pays for all.

use super::io::ConnectionId;
use crate::{id::DeviceId, protocol::message::Rhythm};

/// A walk along a sorted table.
#[derive(Debug)]
pub(super) struct Walk<Id> {
    pub(super) under_way: bool,
    /// Who was visited last.
    pub(super) last: Option<Id>,
    /// Something has changed since the walk began: it goes on to its end, and begins anew there.
    again: bool,
}

impl<Id: Clone> Walk<Id> {
    const fn new() -> Self {
        Self { under_way: false, last: None, again: false }
    }

    const fn begin(&mut self) {
        self.again = self.under_way;
        self.under_way = true;
    }

    /// Goes on to `next`, the first one after the last; `None` at the end of the table.
    pub(super) fn step(&mut self, next: Option<Id>) -> Option<Id> {
        if next.is_none() {
            self.under_way = core::mem::take(&mut self.again);
        }
        self.last.clone_from(&next);
        next
    }
}

/// Where the walk stands, and what those who were visited know.
#[derive(Debug)]
pub(super) struct Round {
    pub(super) connections: Walk<ConnectionId>,
    /// Along the devices whose last lease is kept.
    pub(super) leases: Walk<DeviceId>,
    /// The registry's generation under which every connection was authenticated that the walk has passed.
    pub(super) generation: u64,
    /// The rhythm of the policy in force.
    pub(super) rhythm: Option<Rhythm>,
}

impl Round {
    pub(super) const fn new(generation: u64) -> Self {
        Self { connections: Walk::new(), leases: Walk::new(), generation, rhythm: None }
    }

    /// Something has changed: everybody is visited.
    pub(super) const fn begin(&mut self) {
        self.connections.begin();
        self.leases.begin();
    }

    pub(super) const fn is_under_way(&self) -> bool {
        self.connections.under_way || self.leases.under_way
    }
}
