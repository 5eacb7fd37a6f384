//! What follows every input: proposals go into the engine, what it has ready is written, what is committed is applied.

use std::collections::VecDeque;

use leasehold::time::Now;
use raft::{eraftpb::MessageType, storage::Storage as _};

use super::{Event, Local, Node, Output, Read, ReadId, Role, Turn, WriteId, Writing};
use crate::{
    code::Code,
    log::own_snapshot,
    machine::{Failed, Leader as _, Machine, Refused},
    members::{Change, NodeId},
    packet::Packet,
    stored::{Entry, EntryKind, Hard, Snapshot, StoredError, Write},
};

impl<M: Machine> Node<M> {
    /// Makes a snapshot now, whatever the log's length is.
    pub fn compact(&mut self) {
        if self.compacted.is_some() || self.stopped || self.applied <= self.raw.store().snapshot_index() {
            return;
        }
        let state = match &self.role {
            Role::Following(machine) => machine.snapshot(),
            Role::Leading(turn) => turn.leader.snapshot(),
            Role::Nothing => return,
        };
        let (state, term) = match (state, self.raw.store().term(self.applied)) {
            (Ok(state), Ok(term)) => (state, term),
            (Err(code), _) => return self.stop(code),
            (_, Err(_)) => return,
        };
        let snapshot =
            Snapshot { index: self.applied, term, members: self.members.clone(), state: state.into() };
        let forget = self.raw.mut_store().compact(snapshot.clone(), self.config.keep);
        self.compacted = Some((snapshot, forget));
    }

    /// What every input is followed by. The host calls it after it has asked the leader for something.
    pub fn turn(&mut self, local: Local) {
        self.follow();
        loop {
            if self.stopped {
                return;
            }
            self.propose();
            if self.writing.is_some() {
                return;
            }
            let wants = self.raw.store().is_wanted() || self.raw.store().since() > self.config.compact_bytes;
            if wants {
                self.compact();
            }
            if self.raw.has_ready() {
                self.ready(local);
            } else if let Some((snapshot, forget)) = self.compacted.take() {
                // With the hard state, whose commit index may not lie before the snapshot.
                let (snapshot, forget, hard) = (Some(snapshot), Some(forget), Some(self.hard));
                let write = Write { snapshot, forget, hard, ..Write::default() };
                self.write(None, write, Vec::new());
            } else {
                return;
            }
            self.follow();
        }
    }

    /// Leads no longer than the engine does.
    pub(super) fn follow(&mut self) {
        let over = match &self.role {
            Role::Leading(turn) => !self.engine_leads() || turn.term != self.raw.raft.term,
            _ => false,
        };
        if over && let Role::Leading(turn) = std::mem::replace(&mut self.role, Role::Nothing) {
            match turn.leader.step_down() {
                Ok(machine) => self.role = Role::Following(machine),
                Err(code) => return self.stop(code),
            }
            // A read that was confirmed belongs to a turn that is over.
            for id in std::mem::take(&mut self.reads).into_keys() {
                self.event(Event::Unread(id));
            }
            self.event(Event::Follows);
        }
        let leader = Some(self.raw.raft.leader_id).filter(|id| *id != 0).map(NodeId);
        if leader != self.leader {
            self.leader = leader;
            self.event(Event::Leader(leader));
        }
    }

    pub(super) fn propose(&mut self) {
        let Role::Leading(turn) = &mut self.role else { return };
        while let Some(proposal) = turn.waiting.take().or_else(|| turn.leader.propose()) {
            match self.raw.propose(Vec::new(), proposal.bytes.clone()) {
                Ok(()) => turn.proposed.push_back((self.raw.raft.raft_log.last_index(), proposal.id)),
                // Too much is under way, or the lead is being handed over: later, in this order.
                Err(_) => {
                    turn.waiting = Some(proposal);
                    return;
                }
            }
        }
    }

    pub(super) fn write(&mut self, ready: Option<u64>, write: Write, packets: Vec<Packet>) {
        self.numbers += 1;
        let id = WriteId { life: self.life, number: self.numbers };
        // A snapshot of this node's own comes with nothing to forget behind it.
        let restored =
            write.snapshot.as_ref().filter(|_| write.forget == Some(u64::MAX)).map(|snapshot| snapshot.index);
        self.writing = Some(Writing { id, ready, packets, restored });
        self.outputs.push_back(Output::Write(id, write));
    }

    pub(super) fn ready(&mut self, local: Local) {
        let mut ready = self.raw.ready();
        let number = ready.number();
        let mut write = Write::default();
        if let Some(hard) = ready.hs() {
            self.hard = Hard { term: hard.term, vote: hard.vote, commit: hard.commit };
        }
        let lasting = ready.must_sync();
        if !ready.snapshot().is_empty() {
            match self.restore(ready.snapshot(), local) {
                Ok(snapshot) => {
                    (write.forget, write.truncate) = (Some(u64::MAX), None);
                    write.snapshot = Some(snapshot);
                    self.compacted = None;
                }
                Err(code) => return self.stop(code),
            }
        }
        if let Some(first) = ready.entries().first() {
            write.truncate = Some(first.index);
            for entry in ready.entries() {
                match Entry::of(entry) {
                    Ok(entry) => write.entries.push(entry),
                    Err(_) => return self.stop(Code("replica.entry")),
                }
            }
            self.raw.mut_store().append(ready.entries());
        }
        let messages = ready.take_messages().into_iter().chain(ready.take_persisted_messages());
        let packets: Vec<Packet> = messages.filter_map(|message| self.in_line(message)).map(Packet).collect();
        let committed = ready.take_committed_entries();
        for state in ready.take_read_states() {
            if let Ok(id) = state.request_ctx.as_slice().try_into().map(u64::from_be_bytes)
                && let Some(read) = self.reads.get_mut(&ReadId(id))
            {
                *read = Read::Confirmed { index: state.index };
            }
        }
        self.raw.advance_append_async(ready);
        for packet in &packets {
            if packet.is_snapshot() {
                self.sending.insert(packet.to(), self.ticks + 10 * self.config.election as u64);
            }
        }
        self.apply(committed, local);
        if self.stopped {
            return;
        }
        if lasting {
            write.hard = Some(self.hard);
            if write.snapshot.is_none()
                && let Some((snapshot, forget)) = self.compacted.take()
            {
                (write.snapshot, write.forget) = (Some(snapshot), Some(forget));
            }
            self.write(Some(number), write, packets);
        } else {
            // Nothing in it has to last, and everything before has lasted.
            self.raw.on_persist_ready(number);
            self.outputs.extend(packets.into_iter().map(Output::Send));
        }
    }

    /// Entries in a message follow on the place that it names. The engine of this version, where it batches, puts entries into an
    /// earlier message without any, also after it went back with that follower: the place is named anew then, from the log.
    pub(super) fn in_line(&self, mut message: raft::eraftpb::Message) -> Option<raft::eraftpb::Message> {
        if message.get_msg_type() == MessageType::MsgAppend
            && let Some(first) = message.entries.first()
            && first.index != message.index + 1
        {
            message.index = first.index.checked_sub(1)?;
            // What is compacted already is left out: the engine finds out that it did not arrive, and sends a snapshot.
            message.log_term = self.raw.raft.raft_log.term(message.index).ok()?;
        }
        Some(message)
    }

    pub(super) fn restore(
        &mut self,
        engine: &raft::eraftpb::Snapshot,
        local: Local,
    ) -> Result<Snapshot, Code> {
        let snapshot = own_snapshot(engine).map_err(StoredError::code)?;
        let Role::Following(machine) = &self.role else { return Err(Code("replica.restore")) };
        let machine = machine.load(&snapshot.state)?;
        self.line.saw(machine.line(), local.mono);
        self.role = Role::Following(machine);
        self.members = snapshot.members.clone();
        self.applied = snapshot.index;
        self.raw.mut_store().replace(snapshot.clone());
        self.event(Event::Restored { index: snapshot.index });
        self.event(Event::Members);
        Ok(snapshot)
    }

    pub(super) fn apply(&mut self, committed: Vec<raft::eraftpb::Entry>, local: Local) {
        let last = committed.last().map(|entry| entry.term);
        for entry in committed {
            let Ok(entry) = Entry::of(&entry) else { return self.stop(Code("replica.entry")) };
            self.applied = entry.index;
            let outcome = match entry.kind {
                EntryKind::Empty => Ok(()),
                EntryKind::Command => self.command(&entry, local),
                EntryKind::Change => self.changed(&entry),
            };
            if let Err(code) = outcome {
                return self.stop(code);
            }
            self.event(Event::Applied(entry));
        }
        if last.is_some() {
            self.raw.advance_apply_to(self.applied);
        }
        self.begin(local);
        let applied = self.applied;
        let read: Vec<ReadId> = self
            .reads
            .iter()
            .filter(|(_, read)| matches!(read, Read::Confirmed { index } if *index <= applied))
            .map(|(id, _)| *id)
            .collect();
        for id in read {
            self.reads.remove(&id);
            self.event(Event::Read(id));
        }
    }

    pub(super) fn command(&mut self, entry: &Entry, local: Local) -> Result<(), Code> {
        match &mut self.role {
            // A turn's own entries are the only ones of its term, and come back in the order in which they went.
            Role::Leading(turn) => match turn.proposed.pop_front() {
                Some((index, id)) if index == entry.index => {
                    let now = Now { mono: self.line.now(local.mono), wall: local.wall };
                    turn.leader.committed(id, now)
                }
                _ => Err(Code("replica.order")),
            },
            Role::Following(machine) => {
                let outcome = machine.apply(&entry.data);
                self.line.saw(machine.line(), local.mono);
                match outcome {
                    Ok(()) | Err(Refused::Skipped(_)) => Ok(()),
                    Err(Refused::Failed(code)) => Err(code),
                }
            }
            Role::Nothing => Err(Code("replica.order")),
        }
    }

    pub(super) fn changed(&mut self, entry: &Entry) -> Result<(), Code> {
        let change = Change::decode(&entry.data).map_err(|_| Code("replica.entry"))?;
        if !self.members.apply(&change) {
            return Ok(());
        }
        self.raw.apply_conf_change(&change.engine()).map_err(|_| Code("replica.members"))?;
        self.event(Event::Members);
        if self.members.get(self.config.id).is_none() {
            self.event(Event::Removed);
        }
        Ok(())
    }

    /// Leads the machine where the engine leads and the first entry of its term is applied.
    pub(super) fn begin(&mut self, local: Local) {
        let term = self.raw.raft.term;
        let reached = self.raw.store().term(self.applied).is_ok_and(|applied| applied == term);
        if !self.engine_leads() || !reached || self.unfit == Some(term) {
            return;
        }
        let now = self.now(local);
        match std::mem::replace(&mut self.role, Role::Nothing) {
            Role::Following(machine) => match machine.lead(term, now) {
                Ok(leader) => {
                    let turn = Turn { term, leader, proposed: VecDeque::new(), waiting: None };
                    self.role = Role::Leading(Box::new(turn));
                    self.event(Event::Leads { term });
                }
                Err(Failed { back, code }) => {
                    self.role = Role::Following(back);
                    self.unfit = Some(term);
                    self.event(Event::NotPromoted(code));
                    self.hand_over();
                }
            },
            role => self.role = role,
        }
    }
}
