//! Enforcement points: their subscriptions, and what they are told.

use super::{
    anchors::Session,
    endpoint::Coordinator,
    io::{ConnectionId, CoordinatorEvent},
};
use crate::{
    code::{self, Coded as _},
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
        let Some(connection) = self.connections.get_mut(&id) else { return Ok(()) };
        // Workers are authenticated by the core at every operation; enforcement points here.
        let standing = self.manager.state().devices().authenticate_fingerprint(connection.certificate, now);
        if let Err(error) = standing {
            self.close(id, error.code());
            return Ok(());
        }
        connection.greeted = true;
        connection.welcomed = true;
        match message {
            GateMessage::Subscribe { ping, epoch } => {
                let seen = *epoch;
                if seen > self.manager.state().epoch() {
                    self.event(CoordinatorEvent::Deposed { seen });
                    self.close(id, code::COORDINATOR_LOWER_EPOCH);
                    return Ok(());
                }
                self.feed.subscribe(id, *ping);
                self.tell(id, Session::Device, now);
            }
            GateMessage::Ping { ping } => {
                if !self.feed.ping(id, *ping) {
                    return Err(ProtocolError::Order);
                }
            }
        }
        Ok(())
    }

    /// Tells subscribers what they have room for, and closes those that are too far behind.
    pub(super) fn pump(&mut self, now: Now) {
        for id in core::mem::take(&mut self.behind) {
            self.close(id, code::CONNECTION_SLOW_READER);
        }
        let subscribers: alloc::vec::Vec<_> = self.feed.subscribers().collect();
        for id in subscribers {
            while self.connections.get(&id).is_some_and(|connection| connection.unsent < WINDOW_BYTES) {
                let Some(step) = self.feed.next(id, now.mono) else { break };
                self.send(id, &step, now);
            }
        }
    }
}
