//! A replica: when it leads, what it writes before it speaks, when it compacts.
//!
//! The rules that it keeps, whatever the host does:
//!
//! 1. One write is under way at a time, and what a node says rests on finished writes only, a leader's words included.
//! 2. The machine is led after the first entry of the own term is applied: then it holds everything that former leaders had
//!    committed. It is led no longer than the engine leads in that term.
//! 3. Proposals go into the engine while it leads, in the order in which they were decided. One that it does not take waits.
//! 4. A read is answered after a quorum has confirmed the lead and the state has caught up, or it is refused. None is forgotten.

mod ask;
mod output;
mod receive;
mod turn;

use std::collections::{BTreeMap, VecDeque};

use leasehold::{fleet::LogId, shell::FollowerLine, time::Now};
use raft::{RawNode, ReadOnlyOption, StateRole};

pub use self::output::{Event, Local, NotLeading, Output, ReadId, StartError, WriteId};
use crate::{
    code::Code,
    config::Config,
    log::Log,
    machine::{Machine, Proposal},
    members::{Members, NodeId},
    packet::Packet,
    stored::{Hard, Snapshot, Stored},
};

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
}
