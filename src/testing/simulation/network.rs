//! Connections: bytes in order, late, in pieces, and cut in the middle of a write.
//!
//! A connection is a stream, as TLS over TCP is: it neither loses, doubles nor reorders what it delivers. What goes wrong
//! with one is that it is slow, that it stands still, that it ends while bytes are on their way, and that its two ends learn
//! of its end at different times.

use alloc::{collections::BTreeMap, vec::Vec};

use super::random::Random;
use crate::coordinator::ConnectionId;

/// One connection, between a peer and the coordinator.
#[derive(Clone, Debug)]
pub(super) struct Wire {
    /// The peer.
    pub(super) peer: usize,
    /// Whether the coordinator has not been told yet that it is over.
    pub(super) open_at_coordinator: bool,
    /// Whether the peer has not.
    pub(super) open_at_peer: bool,
    /// It was cut: what is sent from here on arrives nowhere.
    pub(super) cut: bool,
    /// What was on its way when it was cut is lost, too: up, and down.
    pub(super) lost: [bool; 2],
    /// When the last byte that is on its way arrives: up, and down.
    last: [u64; 2],
    /// Nothing arrives before then.
    pub(super) stalled_until: u64,
}

/// Every connection that either end believes in.
#[derive(Clone, Debug, Default)]
pub(super) struct Network {
    pub(super) wires: BTreeMap<ConnectionId, Wire>,
    next: u64,
    /// The longest that a byte is on its way.
    pub(super) delay: u64,
}

/// Up, to the coordinator, or down.
pub(super) fn direction(up: bool) -> usize {
    usize::from(!up)
}

impl Network {
    /// A new connection of a peer.
    pub(super) fn open(&mut self, peer: usize) -> ConnectionId {
        self.next += 1;
        let id = ConnectionId(self.next);
        let wire = Wire {
            peer,
            open_at_coordinator: true,
            open_at_peer: true,
            cut: false,
            lost: [false; 2],
            last: [0; 2],
            stalled_until: 0,
        };
        self.wires.insert(id, wire);
        id
    }

    /// The connection that the peer believes in.
    pub(super) fn of_peer(&self, peer: usize) -> Option<ConnectionId> {
        self.wires.iter().find(|(_, wire)| wire.peer == peer && wire.open_at_peer).map(|(id, _)| *id)
    }

    /// Cuts `bytes` into pieces and says when each arrives. Nothing does on a connection that was cut.
    pub(super) fn carry(
        &mut self,
        id: ConnectionId,
        up: bool,
        bytes: Vec<u8>,
        at: u64,
        random: &mut Random,
    ) -> Vec<(u64, Vec<u8>)> {
        let delay = self.delay;
        let Some(wire) = self.wires.get_mut(&id).filter(|wire| !wire.cut) else { return Vec::new() };
        let (mut pieces, mut rest) = (Vec::new(), bytes);
        while !rest.is_empty() {
            let whole = pieces.len() >= 2 || random.one_in(2);
            let length = if whole { rest.len() } else { 1 + random.index(rest.len()) };
            let tail = rest.split_off(length.min(rest.len()));
            let piece = core::mem::replace(&mut rest, tail);
            let arrives = at.saturating_add(random.between(1, delay.max(1))).max(wire.stalled_until);
            let last = &mut wire.last[direction(up)];
            *last = arrives.max(*last);
            pieces.push((*last, piece));
        }
        pieces
    }

    /// When the end of a connection reaches one of its ends: what was sent before arrives first, unless it is lost.
    pub(super) fn end_arrives(&self, id: ConnectionId, up: bool, at: u64, random: &mut Random) -> u64 {
        let delay = random.between(1, self.delay.max(1));
        let sent = self.wires.get(&id).map_or(0, |wire| wire.last[direction(up)]);
        sent.max(at.saturating_add(delay))
    }

    /// Forgets a connection that nobody believes in any more.
    pub(super) fn sweep(&mut self, id: ConnectionId) {
        if self.wires.get(&id).is_some_and(|wire| !wire.open_at_coordinator && !wire.open_at_peer) {
            self.wires.remove(&id);
        }
    }
}
