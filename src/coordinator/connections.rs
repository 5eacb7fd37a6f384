//! Every connection, by its id and by its device, with the timers of all and the bytes that they hold together.

use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};
use core::ops::Bound;

use super::{
    config::CoordinatorConfig,
    connection::{Connection, DevicePeer, Patience, Peer, StrangerPeer},
    io::ConnectionId,
    line::{Line, LineBounds},
};
use crate::{
    code::Code,
    id::DeviceId,
    protocol::frame::{Frame, FrameDecoder, FrameError, FrameKind},
    time::{Millis, Mono},
};

/// What a timer that is up demands of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Close it.
    Close(Code),
    /// Ask whether its certificate still stands for its device.
    Authenticate,
}

/// The connections.
#[derive(Debug)]
pub(super) struct Connections {
    table: BTreeMap<ConnectionId, Connection>,
    by_device: BTreeMap<DeviceId, ConnectionId>,
    timers: BTreeSet<(Mono, ConnectionId)>,
    /// Connections that hold bytes, by since when.
    holding: BTreeSet<(Mono, ConnectionId)>,
    /// Peers without a certificate that have begun no pairing, by when they came.
    idle_strangers: BTreeSet<(Mono, ConnectionId)>,
    strangers: usize,
    /// What all of them hold.
    bytes: usize,
    max_bytes: usize,
    device_bounds: LineBounds,
    stranger_bounds: LineBounds,
    patience: Patience,
}

impl Connections {
    pub(super) fn new(config: &CoordinatorConfig) -> Self {
        Self {
            table: BTreeMap::new(),
            by_device: BTreeMap::new(),
            timers: BTreeSet::new(),
            holding: BTreeSet::new(),
            idle_strangers: BTreeSet::new(),
            strangers: 0,
            bytes: 0,
            max_bytes: config.max_bytes,
            device_bounds: LineBounds::of_device(config),
            stranger_bounds: LineBounds::of_stranger(config),
            patience: Patience { silence: config.silence, pairing: config.pairing_patience },
        }
    }

    /// How many authenticated ones there are.
    pub(super) fn devices(&self) -> usize {
        self.table.len().saturating_sub(self.strangers)
    }

    /// How many there are without a certificate.
    pub(super) const fn strangers(&self) -> usize {
        self.strangers
    }

    /// How long a device may say nothing from here on.
    pub(super) const fn set_silence(&mut self, silence: Millis) {
        self.patience.silence = silence;
    }

    pub(super) fn contains(&self, id: ConnectionId) -> bool {
        self.table.contains_key(&id)
    }

    /// Opens the connection of a device that may ask for its next certificate and nothing else: it takes no other's
    /// place, and nothing is sent to it but answers.
    pub(super) fn open_renewal(&mut self, id: ConnectionId, peer: DevicePeer, now: Mono) {
        let line = Line::new(FrameDecoder::only(FrameKind::Node), self.device_bounds, now);
        self.table.insert(id, Connection::new(line, Peer::Device(Box::new(peer)), now));
        self.refresh(id);
    }

    pub(super) fn open_device(&mut self, id: ConnectionId, peer: DevicePeer, now: Mono) {
        self.by_device.insert(peer.device.clone(), id);
        let line = Line::new(FrameDecoder::new(), self.device_bounds, now);
        self.table.insert(id, Connection::new(line, Peer::Device(Box::new(peer)), now));
        self.refresh(id);
    }

    pub(super) fn open_stranger(&mut self, id: ConnectionId, now: Mono) {
        let line = Line::new(FrameDecoder::only(FrameKind::Pairing), self.stranger_bounds, now);
        let peer = Peer::Stranger(StrangerPeer::default());
        self.table.insert(id, Connection::new(line, peer, now));
        self.idle_strangers.insert((now, id));
        self.strangers = self.strangers.saturating_add(1);
        self.refresh(id);
    }

    /// Forgets a connection, and everything that waits for it.
    pub(super) fn remove(&mut self, id: ConnectionId) -> Option<Peer> {
        let connection = self.table.remove(&id)?;
        self.timers.remove(&(connection.armed, id));
        let (bytes, since) = connection.counted;
        self.bytes = self.bytes.saturating_sub(bytes);
        if let Some(since) = since {
            self.holding.remove(&(since, id));
        }
        match &connection.peer {
            Peer::Device(peer) if self.by_device.get(&peer.device) == Some(&id) => {
                self.by_device.remove(&peer.device);
            }
            Peer::Device(_) => {}
            Peer::Stranger(_) => {
                self.idle_strangers.remove(&(connection.opened, id));
                self.strangers = self.strangers.saturating_sub(1);
            }
        }
        Some(connection.peer)
    }

    pub(super) fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.table.get_mut(&id)
    }

    pub(super) fn device(&self, id: ConnectionId) -> Option<&DevicePeer> {
        match &self.table.get(&id)?.peer {
            Peer::Device(peer) => Some(peer),
            Peer::Stranger(_) => None,
        }
    }

    pub(super) fn device_mut(&mut self, id: ConnectionId) -> Option<&mut DevicePeer> {
        match &mut self.table.get_mut(&id)?.peer {
            Peer::Device(peer) => Some(peer),
            Peer::Stranger(_) => None,
        }
    }

    pub(super) fn stranger_mut(&mut self, id: ConnectionId) -> Option<&mut StrangerPeer> {
        match &mut self.table.get_mut(&id)?.peer {
            Peer::Stranger(peer) => Some(peer),
            Peer::Device(_) => None,
        }
    }

    pub(super) fn of_device(&self, device: &DeviceId) -> Option<ConnectionId> {
        self.by_device.get(device).copied()
    }

    /// The peer has begun a pairing: it is not in the way of others any more.
    pub(super) fn in_session(&mut self, id: ConnectionId) {
        if let Some(connection) = self.table.get_mut(&id)
            && let Peer::Stranger(peer) = &mut connection.peer
        {
            peer.in_session = true;
            self.idle_strangers.remove(&(connection.opened, id));
        }
    }

    /// The peer without a certificate that has been there for longest without a pairing.
    pub(super) fn oldest_idle_stranger(&self) -> Option<ConnectionId> {
        self.idle_strangers.first().map(|(_, id)| *id)
    }

    /// The next whole frame of `input`; `None` where the connection is gone.
    pub(super) fn frame(
        &mut self,
        id: ConnectionId,
        input: &mut &[u8],
        now: Mono,
    ) -> Option<Result<Option<Frame>, FrameError>> {
        let frame = self.table.get_mut(&id)?.line.frame(input, now);
        if !matches!(frame, Ok(Some(_))) {
            self.refresh(id);
        }
        Some(frame)
    }

    /// Puts bytes in line for a connection that is there.
    pub(super) fn queue(&mut self, id: ConnectionId, bytes: Vec<u8>, now: Mono) -> Result<(), Code> {
        let Some(connection) = self.table.get_mut(&id) else { return Ok(()) };
        let outcome = connection.line.queue(bytes, now);
        self.refresh(id);
        outcome
    }

    /// The next bytes to hand over.
    pub(super) fn next_out(&mut self, id: ConnectionId) -> Option<Vec<u8>> {
        self.table.get_mut(&id)?.line.next_out()
    }

    pub(super) fn taken(&mut self, id: ConnectionId, bytes: usize, now: Mono) {
        if let Some(connection) = self.table.get_mut(&id) {
            connection.line.taken(bytes, now);
            self.refresh(id);
        }
    }

    /// Bytes that wait for a connection.
    pub(super) fn unsent(&self, id: ConnectionId) -> Option<usize> {
        self.table.get(&id).map(|connection| connection.line.unsent())
    }

    /// Whether half of the bound of what may wait is free.
    pub(super) fn has_room(&self, id: ConnectionId) -> bool {
        self.table.get(&id).is_some_and(|connection| connection.line.has_room())
    }

    /// The connection that goes where all of them hold too much: the one that has held something for longest.
    pub(super) fn over_budget(&self) -> Option<ConnectionId> {
        self.holding.first().filter(|_| self.bytes > self.max_bytes).map(|(_, id)| *id)
    }

    /// Counts again what a connection holds, and keeps its one timer no later than its deadline. O(log n).
    pub(super) fn refresh(&mut self, id: ConnectionId) {
        let patience = self.patience;
        let Some(connection) = self.table.get_mut(&id) else { return };
        let (held, former) = (connection.line.held(), connection.counted);
        connection.counted = held;
        self.bytes = self.bytes.saturating_sub(former.0).saturating_add(held.0);
        if former.1 != held.1 {
            former.1.map(|since| self.holding.remove(&(since, id)));
            held.1.map(|since| self.holding.insert((since, id)));
        }
        let (deadline, _) = connection.deadline(patience);
        if deadline < connection.armed {
            self.timers.remove(&(connection.armed, id));
            connection.armed = deadline;
            self.timers.insert((deadline, id));
        }
    }

    /// When the first timer is up.
    pub(super) fn next_deadline(&self) -> Option<Mono> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// The next timer that is up: what is to be done, or nothing where it was armed for less. `None`: no timer is.
    pub(super) fn pop_due(&mut self, now: Mono) -> Option<(ConnectionId, Option<Due>)> {
        let patience = self.patience;
        self.timers.first().filter(|(at, _)| *at <= now)?;
        let (_, id) = self.timers.pop_first()?;
        let Some(connection) = self.table.get_mut(&id) else { return Some((id, None)) };
        connection.armed = Mono::NEVER;
        match connection.deadline(patience) {
            (deadline, Some(code)) if deadline <= now => Some((id, Some(Due::Close(code)))),
            (deadline, None) if deadline <= now => Some((id, Some(Due::Authenticate))),
            _ => {
                self.refresh(id);
                Some((id, None))
            }
        }
    }

    /// The first connection, or the first after that one.
    pub(super) fn after(&self, id: Option<ConnectionId>) -> Option<ConnectionId> {
        let from = id.map_or(Bound::Unbounded, Bound::Excluded);
        self.table.range((from, Bound::Unbounded)).next().map(|(id, _)| *id)
    }
}
