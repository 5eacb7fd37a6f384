//! What each connection is told when the walk of [`Round`](super::round::Round) comes by.

use super::{io::ConnectionId, parts::Coordinator};
use crate::{
    identity::DeviceKind,
    protocol::message::{CoordinatorMessage, NodeWord},
    time::Now,
};

/// Connections and leases that one call looks at.
const STEP: usize = 64;

impl Coordinator {
    /// Visits the next connections, where something has changed (invariant 12). What is used before the walk comes by
    /// is asked about at its use.
    pub(super) fn walk(&mut self, now: Now) {
        let generation = self.manager.state().devices().generation();
        if generation != self.round.generation {
            self.round.generation = generation;
            self.round.begin();
        }
        self.follow_policy();
        for _ in 0..STEP {
            if !self.round.connections.under_way {
                break;
            }
            let next = self.connections.after(self.round.connections.last);
            if let Some(id) = self.round.connections.step(next) {
                self.visit(id, now);
            }
        }
        for _ in 0..STEP {
            if !self.round.leases.under_way {
                break;
            }
            let next = self.leases.after(self.round.leases.last.as_ref()).cloned();
            if let Some(device) = self.round.leases.step(next) {
                self.forget_lease(&device);
            }
        }
    }

    /// Tells one connection what has changed, if its certificate still stands for its device.
    pub(super) fn visit(&mut self, id: ConnectionId, now: Now) {
        if self.connections.device(id).is_none() || !self.is_authenticated(id, now) {
            return;
        }
        self.tell_anchors(id, now);
        self.tell_rhythm(id, now);
    }

    fn tell_rhythm(&mut self, id: ConnectionId, now: Now) {
        let rhythm = self.rhythm();
        let Some(device) = self.connections.device_mut(id) else { return };
        // Before its welcome it has not been told any, and the welcome says it.
        if device.rhythm.is_none_or(|told| told == rhythm) {
            return;
        }
        device.rhythm = Some(rhythm);
        let worker = device.welcomed && device.kind == DeviceKind::Worker;
        let node = device.node.welcomed;
        if worker {
            self.send(id, &CoordinatorMessage::Rhythm(rhythm), now);
        }
        if node {
            self.send(id, &NodeWord::Rhythm { heartbeat_every: rhythm.heartbeat_every }, now);
        }
    }
}
