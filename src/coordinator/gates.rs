//! Enforcement points: their messages, and what they are told. Only those are visited that have something to hear.

use super::{
    io::{ConnectionId, CoordinatorEvent},
    parts::Coordinator,
};
use crate::{
    code,
    protocol::{ProtocolError, message::GateMessage},
    time::Now,
};

/// Steps are made while less than this waits for a connection: a snapshot of any size takes bounded memory.
const WINDOW_BYTES: usize = 256 << 10;

impl Coordinator {
    pub(super) fn gate_message(
        &mut self,
        id: ConnectionId,
        message: &GateMessage,
        now: Now,
    ) -> Result<(), ProtocolError> {
        let Some(device) = self.connections.device_mut(id) else { return Ok(()) };
        device.greeted = true;
        device.welcomed = true;
        match message {
            GateMessage::Subscribe { ping, epoch } => {
                let seen = *epoch;
                if seen > self.manager.state().epoch() {
                    self.event(CoordinatorEvent::Deposed { seen });
                    self.close(id, code::COORDINATOR_LOWER_EPOCH);
                    return Ok(());
                }
                self.subscribers.subscribe(id, *ping);
                self.tell_anchors(id, now);
            }
            GateMessage::Ping { ping } => {
                if !self.subscribers.ping(id, *ping) {
                    return Err(ProtocolError::Order);
                }
            }
        }
        Ok(())
    }

    /// Tells subscribers what they have room for, and closes those that are too far behind.
    pub(super) fn pump(&mut self, now: Now) {
        for id in core::mem::take(&mut self.subscribers.behind) {
            self.close(id, code::CONNECTION_SLOW_READER);
        }
        while let Some(id) = self.subscribers.waiting.pop_first() {
            // An enforcement point hears nothing more than its certificate lets it (invariant 12).
            while self.is_authenticated(id, now)
                && self.connections.unsent(id).is_some_and(|unsent| unsent < WINDOW_BYTES)
                && let Some(step) = self.subscribers.next(id, now.mono)
            {
                self.send(id, &step, now);
            }
        }
    }
}
