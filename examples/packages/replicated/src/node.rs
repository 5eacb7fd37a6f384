//! A replica: when it leads, what it writes before it speaks, when it compacts.
//!
//! The rules that it keeps, whatever the host does:
//!
//! 1. One write is under way at a time, and what a node says rests on finished writes only, a leader's words included.
//! 2. The machine is led after the first entry of the own term is applied: then it holds everything that former leaders had
//!    committed. It is led no longer than the engine leads in that term.
//! 3. Proposals go into the engine while it leads, in the order in which they were decided. One that it does not take waits.
//! 4. A read is answered after a quorum has confirmed the lead and the state has caught up, or it is refused. None is forgotten.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
};

use leasehold::{
    fleet::LogId,
    shell::FollowerLine,
    time::{Millis, Now, Wall},
};
use raft::{RawNode, ReadOnlyOption, SnapshotStatus, StateRole, eraftpb::MessageType, storage::Storage as _};

use crate::{
    code::Code,
    config::{Config, ConfigError},
    log::{Log, own_snapshot},
    machine::{Failed, Leader as _, Machine, Proposal, Refused},
    members::{Change, ChangeError, Members, NodeId},
    packet::{self, Packet, PacketError},
    stored::{Entry, EntryKind, Hard, Snapshot, Stored, StoredError, Write},
};

/// The clocks of a node's own machine.
#[derive(Clone, Copy, Debug)]
pub struct Local {
    /// The monotonic clock, counted from any moment before the node was started.
    pub mono: Millis,
    /// The wall clock.
    pub wall: Wall,
}

/// Names a write of this life of the node. A word about one of a former life says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteId {
    life: u64,
    number: u64,
}

/// Names a read. Never used again in the same life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReadId(u64);

/// This node does not lead, or not yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotLeading {
    /// Who is thought to.
    pub leader: Option<NodeId>,
}

/// What a node wants done, in order.
#[derive(Debug)]
pub enum Output {
    /// Send it. It may be lost; of one that holds a snapshot say whether it arrived: [`Node::snapshot_sent`].
    Send(Packet),
    /// Make it last, all of it or nothing, and say so: [`Node::written`]. The next write comes after that.
    Write(WriteId, Write),
    /// Something has happened.
    Event(Event),
}

/// What has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// This node leads the machine.
    Leads {
        /// The term, which is the fleet's epoch.
        term: u64,
    },
    /// It leads no longer. What was asked of it and not answered may be committed or not.
    Follows,
    /// Somebody else is thought to lead, or nobody.
    Leader(Option<NodeId>),
    /// An entry was applied; for audits.
    Applied(Entry),
    /// The state was replaced by a snapshot.
    Restored {
        /// The last entry that it holds.
        index: u64,
    },
    /// A read may be answered from the state now.
    Read(ReadId),
    /// A read was refused: ask again, where the leader is.
    Unread(ReadId),
    /// The members have changed.
    Members,
    /// This node is no member any more.
    Removed,
    /// The machine would not be led: another node has to.
    NotPromoted(Code),
    /// This node has stopped, and takes nothing more.
    Stopped(Code),
}

/// Why a node does not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartError {
    /// Its configuration.
    Config(ConfigError),
    /// What it found in its store.
    Stored(StoredError),
    /// The machine does not load, or an entry in the log does not fit.
    Machine(Code),
    /// The engine refuses it.
    Engine,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Stored(error) => error.fmt(f),
            Self::Machine(code) => {
                write!(f, "{}: the state in the store does not load ({code})", self.code())
            }
            Self::Engine => f.write_str("the consensus engine refuses its configuration"),
        }
    }
}

impl StartError {
    /// Its stable code.
    pub const fn code(&self) -> Code {
        match self {
            Self::Config(_) => Code("config.invalid"),
            Self::Stored(error) => error.code(),
            Self::Machine(_) => Code("store.damaged"),
            Self::Engine => Code("config.engine"),
        }
    }
}

enum Role<M: Machine> {
    Following(M),
    Leading(Box<Turn<M>>),
    /// Between two roles, and after a failure.
    Nothing,
}

/// A turn of leading.
struct Turn<M: Machine> {
    term: u64,
    leader: M::Leader,
    /// The places of proposals in the log, in order.
    proposed: VecDeque<(u64, LogId)>,
    /// One that the engine did not take.
    waiting: Option<Proposal>,
}

/// What is released when a write has lasted.
struct Writing {
    id: WriteId,
    /// The engine's number for it, where the engine asked.
    ready: Option<u64>,
    packets: Vec<Packet>,
    /// The place of another node's snapshot in it.
    restored: Option<u64>,
}

/// How often a peer may raise the term: a few times at once, and once more for each span that passed.
struct Raises {
    left: u32,
    refilled: u64,
}

const RAISES: u32 = 4;

/// How a read stands.
enum Read {
    Asked { until: u64 },
    Confirmed { index: u64 },
}

/// A replica of `M`. See the module page.
pub struct Node<M: Machine> {
    config: Config,
    raw: RawNode<Log>,
    role: Role<M>,
    members: Members,
    applied: u64,
    line: FollowerLine,
    life: u64,
    numbers: u64,
    ticks: u64,
    /// The hard state that was written last.
    hard: Hard,
    writing: Option<Writing>,
    /// A snapshot and what it lets go, for the next write.
    compacted: Option<(Snapshot, u64)>,
    reads: BTreeMap<ReadId, Read>,
    raises: BTreeMap<NodeId, Raises>,
    /// Snapshots on their way, and until when their fate is awaited.
    sending: BTreeMap<NodeId, u64>,
    leader: Option<NodeId>,
    /// Why no turn of leading may begin, and in which term.
    unfit: Option<u64>,
    outputs: VecDeque<Output>,
    stopped: bool,
}

impl<M: Machine> Node<M> {
    /// Goes on from what a store holds; `machine` is an empty one of the right kind. `life` is different at each start, so that
    /// words about writes of a former life are recognised.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(
        config: Config,
        machine: M,
        stored: Stored,
        life: u64,
        local: Local,
    ) -> Result<Self, StartError> {
        stored.check().map_err(StartError::Stored)?;
        let (machine, members, applied) = match &stored.snapshot {
            None => (machine, Members::default(), 0),
            Some(snapshot) => {
                let machine = machine.load(&snapshot.state).map_err(StartError::Machine)?;
                (machine, snapshot.members.clone(), snapshot.index)
            }
        };
        let hard = stored.hard;
        let log = Log::of(stored).map_err(StartError::Stored)?;
        let engine = config.engine(applied).map_err(StartError::Config)?;
        debug_assert_eq!(engine.read_only_option, ReadOnlyOption::Safe);
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let raw = RawNode::new(&engine, log, &logger).map_err(|_| StartError::Engine)?;
        let line = FollowerLine::resume(machine.line(), local.mono);
        Ok(Self {
            config,
            raw,
            role: Role::Following(machine),
            members,
            applied,
            line,
            life,
            numbers: 0,
            ticks: 0,
            hard,
            writing: None,
            compacted: None,
            reads: BTreeMap::new(),
            raises: BTreeMap::new(),
            sending: BTreeMap::new(),
            leader: None,
            unfit: None,
            outputs: VecDeque::new(),
            stopped: false,
        })
    }

    /// The number of this node.
    pub fn id(&self) -> NodeId {
        self.config.id
    }

    /// The members, as of the last applied entry.
    pub fn members(&self) -> &Members {
        &self.members
    }

    /// The last applied entry.
    pub fn applied(&self) -> u64 {
        self.applied
    }

    /// The latest term that was seen.
    pub fn term(&self) -> u64 {
        self.raw.raft.term
    }

    /// Who is thought to lead.
    pub fn hint(&self) -> Option<NodeId> {
        self.leader
    }

    /// Whether it takes nothing more.
    pub fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// How far each member's log is known to be, at the leader.
    pub fn progress(&self) -> Vec<(NodeId, u64, bool)> {
        if !self.engine_leads() {
            return Vec::new();
        }
        self.raw
            .raft
            .prs()
            .iter()
            .map(|(id, progress)| (NodeId(*id), progress.matched, progress.recent_active))
            .collect()
    }

    /// Both clocks as the fleet counts: its line, as far as this node knows it, and the own wall clock.
    pub fn now(&self, local: Local) -> Now {
        Now { mono: self.line.now(local.mono), wall: local.wall }
    }

    /// The machine, while this node does not lead.
    pub fn machine(&self) -> Option<&M> {
        match &self.role {
            Role::Following(machine) => Some(machine),
            _ => None,
        }
    }

    /// What decides, while this node leads. What it has decided is proposed by the next [`Self::turn`].
    pub fn leader(&mut self) -> Option<&mut M::Leader> {
        match &mut self.role {
            Role::Leading(turn) if !self.stopped => Some(&mut turn.leader),
            _ => None,
        }
    }

    /// The same, to look at.
    pub fn leading(&self) -> Option<&M::Leader> {
        match &self.role {
            Role::Leading(turn) => Some(&turn.leader),
            _ => None,
        }
    }

    /// A tick has passed.
    pub fn tick(&mut self, local: Local) {
        if self.stopped {
            return;
        }
        self.ticks += 1;
        // Between a snapshot and the word that it lasts the engine holds neither it nor the entries before: it must not stand.
        if !self.is_restoring() {
            self.raw.tick();
        }
        // A transfer may be lost: one that cannot lead the machine tries again.
        let unfit = self.unfit == Some(self.raw.raft.term);
        if unfit && self.ticks.is_multiple_of(self.config.election as u64) {
            self.hand_over();
        }
        let late: Vec<NodeId> =
            self.sending.iter().filter(|(_, until)| **until <= self.ticks).map(|(to, _)| *to).collect();
        for to in late {
            self.snapshot_sent(to, false);
        }
        let ticks = self.ticks;
        let unread: Vec<ReadId> = self
            .reads
            .iter()
            .filter(|(_, read)| matches!(read, Read::Asked { until } if *until <= ticks))
            .map(|(id, _)| *id)
            .collect();
        for id in unread {
            self.reads.remove(&id);
            self.event(Event::Unread(id));
        }
        self.turn(local);
    }

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
    fn raises_left(&mut self, peer: NodeId) -> u32 {
        let span = 2 * self.config.election as u64;
        let ticks = self.ticks;
        let raises = self.raises.entry(peer).or_insert(Raises { left: RAISES, refilled: ticks });
        let earned = (ticks - raises.refilled) / span;
        raises.refilled += earned * span;
        raises.left = raises.left.saturating_add(u32::try_from(earned).unwrap_or(u32::MAX)).min(RAISES);
        raises.left
    }

    /// A snapshot that does not load would be found out when nothing else is left.
    fn admit_snapshot(&self, message: &raft::eraftpb::Message) -> Result<(), PacketError> {
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

    /// Asks for a moment at which the state holds everything that was answered before now.
    ///
    /// # Errors
    /// [`NotLeading`]; reads are answered by the leader.
    pub fn read(&mut self) -> Result<ReadId, NotLeading> {
        if !matches!(self.role, Role::Leading(_)) || !self.engine_leads() || self.stopped {
            return Err(NotLeading { leader: self.leader });
        }
        self.numbers += 1;
        let id = ReadId(self.numbers);
        self.reads.insert(id, Read::Asked { until: self.ticks + 2 * self.config.election as u64 });
        self.raw.read_index(self.numbers.to_be_bytes().to_vec());
        Ok(id)
    }

    /// Changes the membership. [`Event::Members`] follows where it was committed.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub fn change(&mut self, change: &Change) -> Result<(), ChangeError> {
        if !matches!(self.role, Role::Leading(_)) || !self.engine_leads() || self.stopped {
            return Err(ChangeError::NotLeading);
        }
        // The engine would answer with Ok, and put an empty entry in its place.
        if self.raw.raft.has_pending_conf() {
            return Err(ChangeError::Pending);
        }
        self.members.admits(change)?;
        let own = self.config.id;
        let voters: Vec<NodeId> = match change {
            Change::Add(..) => Vec::new(),
            Change::Promote(id) => {
                let progress = self.raw.raft.prs().get(id.0).ok_or(ChangeError::Unknown)?;
                if progress.matched.saturating_add(16) < self.raw.raft.raft_log.committed {
                    return Err(ChangeError::Behind);
                }
                self.members.voters().chain([*id]).collect()
            }
            Change::Remove(id) if *id == own => return Err(ChangeError::Leads),
            Change::Remove(id) => self.members.voters().filter(|voter| voter != id).collect(),
        };
        let heard = |id: &&NodeId| {
            **id == own || self.raw.raft.prs().get(id.0).is_some_and(|progress| progress.recent_active)
        };
        if !voters.is_empty() && voters.iter().filter(heard).count() <= voters.len() / 2 {
            return Err(ChangeError::Quorum);
        }
        self.raw.propose_conf_change(Vec::new(), change.engine()).map_err(|_| ChangeError::Pending)
    }

    /// Hands the lead over to `to`. It happens soon or not at all.
    ///
    /// # Errors
    /// [`ChangeError`]: this node does not lead, or the other one does not vote.
    pub fn transfer(&mut self, to: NodeId) -> Result<(), ChangeError> {
        if !self.engine_leads() || self.stopped {
            return Err(ChangeError::NotLeading);
        }
        if !self.members.get(to).is_some_and(|member| member.voter) {
            return Err(ChangeError::Unknown);
        }
        self.raw.transfer_leader(to.0);
        Ok(())
    }

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

    /// What the node wants done; empty: nothing more. Do it in this order.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn is_restoring(&self) -> bool {
        self.writing.as_ref().is_some_and(|writing| writing.restored.is_some())
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    fn stop(&mut self, code: Code) {
        if !self.stopped {
            self.stopped = true;
            self.writing = None;
            for id in std::mem::take(&mut self.reads).into_keys() {
                self.event(Event::Unread(id));
            }
            self.event(Event::Stopped(code));
        }
    }

    fn engine_leads(&self) -> bool {
        self.raw.raft.state == StateRole::Leader
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
    fn follow(&mut self) {
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

    fn propose(&mut self) {
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

    fn write(&mut self, ready: Option<u64>, write: Write, packets: Vec<Packet>) {
        self.numbers += 1;
        let id = WriteId { life: self.life, number: self.numbers };
        // A snapshot of this node's own comes with nothing to forget behind it.
        let restored =
            write.snapshot.as_ref().filter(|_| write.forget == Some(u64::MAX)).map(|snapshot| snapshot.index);
        self.writing = Some(Writing { id, ready, packets, restored });
        self.outputs.push_back(Output::Write(id, write));
    }

    fn ready(&mut self, local: Local) {
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
    fn in_line(&self, mut message: raft::eraftpb::Message) -> Option<raft::eraftpb::Message> {
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

    fn restore(&mut self, engine: &raft::eraftpb::Snapshot, local: Local) -> Result<Snapshot, Code> {
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

    fn apply(&mut self, committed: Vec<raft::eraftpb::Entry>, local: Local) {
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

    fn command(&mut self, entry: &Entry, local: Local) -> Result<(), Code> {
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

    fn changed(&mut self, entry: &Entry) -> Result<(), Code> {
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
    fn begin(&mut self, local: Local) {
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

    /// Gives the lead to whoever is heard and furthest.
    pub fn hand_over(&mut self) {
        if !self.engine_leads() {
            return;
        }
        let own = self.config.id;
        let best = self
            .progress()
            .into_iter()
            .filter(|(id, _, heard)| {
                *heard && *id != own && self.members.get(*id).is_some_and(|member| member.voter)
            })
            .max_by_key(|(id, matched, _)| (*matched, id.0));
        if let Some((id, _, _)) = best {
            self.raw.transfer_leader(id.0);
        }
    }
}
