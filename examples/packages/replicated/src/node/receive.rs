//! What comes in: packets of peers, and words about writes and snapshots.

use raft::{SnapshotStatus, eraftpb::MessageType};

use super::{Local, Node, Output, RAISES, Raises, Role, WriteId};
use crate::{
    code::Code,
    log::own_snapshot,
    machine::Machine,
    members::NodeId,
    packet::{self, Packet, PacketError},
};

impl<M: Machine> Node<M> {
    /// `peer`, at the other end of an authenticated channel, sent this.
    ///
    /// # Errors
    /// [`PacketError`]: it is dropped.
    pub fn receive(&mut self, peer: NodeId, packet: Packet, local: Local) -> Result<(), PacketError> {
        if self.stopped {
            return Ok(());
        }
        let term = self.raw.raft.term;
        let newcomer = self.members.is_empty();
        packet.admit(peer, self.config.id, term, newcomer)?;
        // Members that this node does not know yet speak to it: a newcomer knows nobody, and a node that was away may not know the
        // leader of now. The host lets only those in whose certificates it knows.
        let Packet(message) = packet;
        if self.is_restoring() && message.get_msg_type() == MessageType::MsgTimeoutNow {
            return Ok(());
        }
        let raises = message.term > term && !newcomer && packet::may_raise(&message);
        if raises && self.raises_left(peer) == 0 {
            return Err(PacketError::Term);
        }
        if Packet(message.clone()).is_snapshot() {
            self.admit_snapshot(&message)?;
        }
        // What the engine refuses, it drops.
        let _ = self.raw.step(message);
        if raises
            && self.raw.raft.term > term
            && let Some(raises) = self.raises.get_mut(&peer)
        {
            raises.left = raises.left.saturating_sub(1);
        }
        self.turn(local);
        Ok(())
    }

    /// Elections raise the term; a member that does so more often than elections can is not listened to for a while, so that the
    /// others go on.
    pub(super) fn raises_left(&mut self, peer: NodeId) -> u32 {
        let span = 2 * self.config.election as u64;
        let ticks = self.ticks;
        let raises = self.raises.entry(peer).or_insert(Raises { left: RAISES, refilled: ticks });
        let earned = (ticks - raises.refilled) / span;
        raises.refilled += earned * span;
        raises.left = raises.left.saturating_add(u32::try_from(earned).unwrap_or(u32::MAX)).min(RAISES);
        raises.left
    }

    /// A snapshot that does not load would be found out when nothing else is left.
    pub(super) fn admit_snapshot(&self, message: &raft::eraftpb::Message) -> Result<(), PacketError> {
        let Role::Following(machine) = &self.role else { return Ok(()) };
        let snapshot = own_snapshot(message.get_snapshot()).map_err(|_| PacketError::Snapshot)?;
        if snapshot.index <= self.applied {
            return Ok(());
        }
        machine.load(&snapshot.state).map_err(|_| PacketError::Snapshot)?;
        Ok(())
    }

    /// A write has lasted. Words about others than the one under way change nothing.
    pub fn written(&mut self, id: WriteId, local: Local) {
        match self.writing.take() {
            Some(writing) if writing.id == id => {
                if let Some(ready) = writing.ready {
                    self.raw.on_persist_ready(ready);
                }
                if let Some(index) = writing.restored {
                    self.raw.advance_apply_to(index);
                }
                self.outputs.extend(writing.packets.into_iter().map(Output::Send));
                self.turn(local);
            }
            other => self.writing = other,
        }
    }

    /// A write failed, or nobody knows. This life is over: what the store holds is the truth.
    pub fn write_failed(&mut self, code: Code) {
        self.stop(code);
    }

    /// The fate of a snapshot that was sent to `to`.
    pub fn snapshot_sent(&mut self, to: NodeId, arrived: bool) {
        if self.sending.remove(&to).is_some() {
            let status = if arrived { SnapshotStatus::Finish } else { SnapshotStatus::Failure };
            self.raw.report_snapshot(to.0, status);
        }
    }
}
