//! What leaves: bounded by what a connection takes, and nothing after it was closed.

use alloc::vec::Vec;

use super::{
    endpoint::Coordinator,
    io::{ConnectionId, CoordinatorEvent, CoordinatorOutput},
};
use crate::{
    code::{self, Code, Coded as _},
    protocol::{
        ProtocolError,
        frame::{self, FrameKind},
        message::Document,
    },
    time::{Mono, Now},
};

impl Coordinator {
    pub(super) fn push(&mut self, output: CoordinatorOutput) {
        self.drained = false;
        self.out.push_back(output);
    }

    pub(super) fn event(&mut self, event: CoordinatorEvent) {
        self.push(CoordinatorOutput::Event(event));
    }

    pub(super) fn send<D: Document>(&mut self, id: ConnectionId, document: &D, now: Now) {
        let mut bytes = Vec::new();
        match document.write(&mut bytes) {
            Ok(()) => self.send_bytes(id, bytes, now),
            Err(error) => self.close(id, error.code()),
        }
    }

    pub(super) fn send_frame(&mut self, id: ConnectionId, kind: FrameKind, body: &[u8], now: Now) {
        let mut bytes = Vec::new();
        match frame::encode(kind, body, &mut bytes).map_err(ProtocolError::from) {
            Ok(()) => self.send_bytes(id, bytes, now),
            Err(error) => self.close(id, error.code()),
        }
    }

    fn send_bytes(&mut self, id: ConnectionId, bytes: Vec<u8>, now: Now) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if connection.unsent == 0 {
            connection.took = now.mono;
        }
        connection.unsent = connection.unsent.saturating_add(bytes.len());
        if connection.unsent > self.config.max_unsent {
            self.close(id, code::CONNECTION_SLOW_READER);
            return;
        }
        self.push(CoordinatorOutput::Send { connection: id, bytes });
        self.arm(id);
    }

    /// Forgets a connection. Nothing for it leaves any more.
    pub(super) fn forget(&mut self, id: ConnectionId) -> Option<super::connection::Connection> {
        let connection = self.connections.remove(&id)?;
        self.timers.remove(&(connection.armed, id));
        if self.by_device.get(&connection.device) == Some(&id) {
            self.by_device.remove(&connection.device);
        }
        if let Some(incarnation) = connection.node.stream {
            self.ended_streams.push((connection.device.clone(), incarnation));
        }
        if let Some(wanted) = connection.node.rotating {
            self.certificates.remove(&wanted);
        }
        self.feed.unsubscribe(id);
        self.drop_inspections(id);
        Some(connection)
    }

    /// Nothing that waits for a connection leaves any more.
    pub(super) fn drop_unsent(&mut self, id: ConnectionId) {
        let not_for_it = |output: &CoordinatorOutput| !matches!(output, CoordinatorOutput::Send { connection, .. } if *connection == id);
        self.out.retain(not_for_it);
    }

    /// Closes a connection from this side.
    pub(super) fn close(&mut self, id: ConnectionId, code: Code) {
        if let Some(connection) = self.forget(id) {
            self.drop_unsent(id);
            self.push(CoordinatorOutput::Close { connection: id, code });
            self.event(CoordinatorEvent::Closed { connection: id, device: Some(connection.device), code });
        }
    }

    /// Keeps the one timer of a connection no later than its deadline.
    pub(super) fn arm(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let (deadline, _) = connection.deadline(&self.config);
        if deadline < connection.armed {
            self.timers.remove(&(connection.armed, id));
            connection.armed = deadline;
            self.timers.insert((deadline, id));
        }
    }

    /// Closes connections whose time is up. Timers that were armed for less are set anew: O(log n) for each.
    pub(super) fn close_overdue(&mut self, now: Now) {
        while let Some((at, id)) = self.timers.first().copied().filter(|(at, _)| *at <= now.mono) {
            self.timers.remove(&(at, id));
            if self.strangers.contains_key(&id) {
                self.close_stranger(id, code::CONNECTION_SILENT);
                continue;
            }
            let Some(connection) = self.connections.get_mut(&id) else { continue };
            connection.armed = Mono::NEVER;
            match connection.deadline(&self.config) {
                (deadline, Some(code)) if deadline <= now.mono => self.close(id, code),
                (deadline, None) if deadline <= now.mono => self.watch_certificate(id, now),
                _ => self.arm(id),
            }
        }
    }
}
