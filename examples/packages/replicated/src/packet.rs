//! What travels between nodes: the engine's messages in a bounded form of our own. No protobuf of a peer is decoded.

use std::fmt;

use raft::eraftpb::{Message, MessageType};

use crate::{
    bytes::{self, Bytes, Malformed},
    code::Code,
    log::{engine_snapshot, own_snapshot},
    members::NodeId,
    stored::{Entry, Snapshot},
};

/// The longest packet without a snapshot: what the engine puts into one message, and one entry.
pub const MAX_PACKET: usize = 16 << 20;
/// The most entries in one packet.
const MAX_ENTRIES: usize = 1 << 16;
/// What a read's context or the mark of a transfer takes.
const MAX_CONTEXT: usize = 32;
/// A peer may be ahead by so many terms. Each election takes one, so this is days of nothing else.
const MAX_AHEAD: u64 = 1 << 20;
/// The form of packets that this build speaks.
const FORM: u8 = 1;

/// A message of one node's engine to another's.
#[derive(Clone, Debug)]
pub struct Packet(pub(crate) Message);

/// Why a packet is dropped. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketError {
    /// It is of a form that this build does not read.
    Form(u8),
    /// It does not read, or is over a bound.
    Malformed,
    /// It names another sender than the channel's peer, or another receiver.
    Other,
    /// Messages of its kind do not come from peers: proposals, and what an engine says to itself.
    Kind,
    /// It is further ahead than elections can have taken it, or raises the term more often than they do.
    Term,
    /// It comes from no member.
    Stranger,
    /// The snapshot in it does not load.
    Snapshot,
}

impl PacketError {
    /// Its stable code.
    pub const fn code(self) -> Code {
        Code(match self {
            Self::Form(_) => "packet.form",
            Self::Malformed => "packet.malformed",
            Self::Other => "packet.other",
            Self::Kind => "packet.kind",
            Self::Term => "packet.term",
            Self::Stranger => "packet.stranger",
            Self::Snapshot => "packet.snapshot",
        })
    }
}

impl fmt::Display for PacketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code().0)
    }
}

impl From<Malformed> for PacketError {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// What peers say to each other, by the byte that stands for it.
const KINDS: [(u8, MessageType); 11] = [
    (1, MessageType::MsgAppend),
    (2, MessageType::MsgAppendResponse),
    (3, MessageType::MsgRequestVote),
    (4, MessageType::MsgRequestVoteResponse),
    (5, MessageType::MsgRequestPreVote),
    (6, MessageType::MsgRequestPreVoteResponse),
    (7, MessageType::MsgHeartbeat),
    (8, MessageType::MsgHeartbeatResponse),
    (9, MessageType::MsgSnapshot),
    (10, MessageType::MsgTimeoutNow),
    (11, MessageType::MsgReadIndexResp),
];

impl Packet {
    /// Whose it says that it is.
    pub fn from(&self) -> NodeId {
        NodeId(self.0.from)
    }

    /// For whom it is.
    pub fn to(&self) -> NodeId {
        NodeId(self.0.to)
    }

    /// Whether it holds a snapshot, whose fate the sender wants to know.
    pub fn is_snapshot(&self) -> bool {
        self.0.get_msg_type() == MessageType::MsgSnapshot
    }

    /// As it travels; none where an engine's message has no form here, which its own are not.
    pub fn encode(&self) -> Option<Vec<u8>> {
        let message = &self.0;
        let (kind, _) = KINDS.iter().find(|(_, kind)| *kind == message.get_msg_type())?;
        let mut out = vec![FORM, *kind];
        let numbers = [
            message.from,
            message.to,
            message.term,
            message.log_term,
            message.index,
            message.commit,
            message.commit_term,
            message.reject_hint,
            message.request_snapshot,
        ];
        for value in numbers {
            bytes::number(&mut out, value);
        }
        out.push(message.reject.into());
        bytes::piece(&mut out, &message.context);
        bytes::count(&mut out, message.entries.len());
        for entry in &message.entries {
            Entry::of(entry).ok()?.encode(&mut out);
        }
        out.push(self.is_snapshot().into());
        if self.is_snapshot() {
            own_snapshot(message.get_snapshot()).ok()?.encode(&mut out);
        }
        Some(out)
    }

    /// The packet that these bytes are, where the snapshot in it has at most `max_snapshot` bytes.
    ///
    /// # Errors
    /// [`PacketError`].
    pub fn decode(bytes: &[u8], max_snapshot: usize) -> Result<Self, PacketError> {
        let mut from = Bytes(bytes);
        match from.byte()? {
            FORM => {}
            other => return Err(PacketError::Form(other)),
        }
        let kind = from.byte()?;
        let (_, kind) = KINDS.iter().find(|(byte, _)| *byte == kind).ok_or(PacketError::Kind)?;
        let mut message = Message::default();
        message.set_msg_type(*kind);
        message.from = from.number()?;
        message.to = from.number()?;
        message.term = from.number()?;
        message.log_term = from.number()?;
        message.index = from.number()?;
        message.commit = from.number()?;
        message.commit_term = from.number()?;
        message.reject_hint = from.number()?;
        message.request_snapshot = from.number()?;
        message.reject = from.flag()?;
        message.context = from.piece(MAX_CONTEXT)?.to_vec().into();
        let entries = from.count(MAX_ENTRIES)?;
        if entries > 0 && *kind != MessageType::MsgAppend {
            return Err(PacketError::Malformed);
        }
        let mut next = (message.index, message.log_term);
        for _ in 0..entries {
            let entry = Entry::read(&mut from)?;
            // In order, and of no term that the sender has not reached.
            if Some(entry.index) != next.0.checked_add(1) || entry.term < next.1 || entry.term > message.term
            {
                return Err(PacketError::Malformed);
            }
            next = (entry.index, entry.term);
            message.entries.push(entry.engine()?);
        }
        if from.flag()? != (*kind == MessageType::MsgSnapshot) {
            return Err(PacketError::Malformed);
        }
        if *kind == MessageType::MsgSnapshot {
            let snapshot = Snapshot::read(&mut from, max_snapshot)?;
            if snapshot.term > message.term {
                return Err(PacketError::Malformed);
            }
            message.set_snapshot(engine_snapshot(&snapshot));
        }
        from.end()?;
        Ok(Self(message))
    }

    /// Whether `peer`, at the other end of the channel, may say this to `own`, which is at `term`. A newcomer, which has no
    /// log yet, takes any term.
    pub(crate) fn admit(
        &self,
        peer: NodeId,
        own: NodeId,
        term: u64,
        newcomer: bool,
    ) -> Result<(), PacketError> {
        let message = &self.0;
        if message.from != peer.0 || message.to != own.0 || peer == own || peer.0 == 0 {
            return Err(PacketError::Other);
        }
        if !KINDS.iter().any(|(_, kind)| *kind == message.get_msg_type()) {
            return Err(PacketError::Kind);
        }
        // The engine takes a message of term 0 for its own.
        if message.term == 0
            || (!newcomer && message.term > term.saturating_add(MAX_AHEAD))
            || message.term >= u64::MAX / 2
        {
            return Err(PacketError::Term);
        }
        Ok(())
    }
}

/// Whether the engine takes the sender's term over from this message. Asking whether one would be voted for does not raise it.
pub(crate) fn may_raise(message: &Message) -> bool {
    match message.get_msg_type() {
        MessageType::MsgRequestPreVote => false,
        MessageType::MsgRequestPreVoteResponse => message.reject,
        _ => true,
    }
}
