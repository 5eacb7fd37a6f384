//! Who belongs to the cluster: in our own form, in the log, in snapshots and on the wire.

use std::{collections::BTreeMap, fmt};

use raft::eraftpb::{ConfChange, ConfChangeType, ConfState};

use crate::bytes::{self, Bytes, Malformed};

use crate::code::Code;

/// The most members that a cluster has, learners included.
pub const MAX_MEMBERS: usize = 15;
/// The most bytes of [`Member::about`].
const MAX_ABOUT: usize = 4096;

/// The number of a node. Never 0, and never given to another node again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u64);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {}", self.0)
    }
}

/// A member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Whether it votes. A learner follows the log only.
    pub voter: bool,
    /// What the host knows of it: its address and its certificate. No part of consensus.
    pub about: Vec<u8>,
}

/// All members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members(BTreeMap<NodeId, Member>);

/// A change of membership, one at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A newcomer, which follows and does not vote yet.
    Add(NodeId, Vec<u8>),
    /// A learner that has caught up votes.
    Promote(NodeId),
    /// A member leaves.
    Remove(NodeId),
}

/// Why a change is refused. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeError {
    /// Only the leader changes the membership.
    NotLeading,
    /// Another change is under way.
    Pending,
    /// It is a member already.
    Known,
    /// It is no member, or none of that kind.
    Unknown,
    /// It is too far behind to vote.
    Behind,
    /// What is left would not have enough members that are heard just now.
    Quorum,
    /// A leader hands over first.
    Leads,
    /// There are as many members as there may be, or what is said about it is too long.
    TooMany,
}

impl ChangeError {
    /// Its stable code.
    pub const fn code(self) -> Code {
        Code(match self {
            Self::NotLeading => "replica.not_leading",
            Self::Pending => "members.pending",
            Self::Known => "members.known",
            Self::Unknown => "members.unknown",
            Self::Behind => "members.behind",
            Self::Quorum => "members.quorum",
            Self::Leads => "members.leads",
            Self::TooMany => "members.too_many",
        })
    }
}

impl fmt::Display for ChangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = match self {
            Self::NotLeading => "only the leader changes the membership: ask it",
            Self::Pending => "another change is under way: wait for its end",
            Self::Known => "that node is a member already",
            Self::Unknown => "that node is no member, or it votes already",
            Self::Behind => "that node is too far behind to vote: wait until it has caught up",
            Self::Quorum => "too few of the members that would be left are heard: bring them back first",
            Self::Leads => "that node leads: transfer the lead to another one first",
            Self::TooMany => "there are as many members as there may be, or its description is too long",
        };
        f.write_str(why)
    }
}

impl Members {
    /// Voters with what is known about them.
    pub fn founders(voters: impl IntoIterator<Item = (NodeId, Vec<u8>)>) -> Self {
        Self(voters.into_iter().map(|(id, about)| (id, Member { voter: true, about })).collect())
    }

    /// One of them.
    pub fn get(&self, id: NodeId) -> Option<&Member> {
        self.0.get(&id)
    }

    /// All of them, by number.
    pub fn iter(&self) -> impl Iterator<Item = (NodeId, &Member)> {
        self.0.iter().map(|(id, member)| (*id, member))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those that vote.
    pub fn voters(&self) -> impl Iterator<Item = NodeId> {
        self.0.iter().filter(|(_, member)| member.voter).map(|(id, _)| *id)
    }

    /// Whether `change` fits.
    pub(crate) fn admits(&self, change: &Change) -> Result<(), ChangeError> {
        match change {
            Change::Add(NodeId(0), _) => Err(ChangeError::Unknown),
            Change::Add(id, _) if self.0.contains_key(id) => Err(ChangeError::Known),
            Change::Add(_, about) if self.0.len() >= MAX_MEMBERS || about.len() > MAX_ABOUT => {
                Err(ChangeError::TooMany)
            }
            Change::Add(..) => Ok(()),
            Change::Promote(id) if self.get(*id).is_some_and(|member| !member.voter) => Ok(()),
            Change::Remove(id) if self.0.contains_key(id) => match self.voters().any(|voter| voter != *id) {
                true => Ok(()),
                false => Err(ChangeError::Quorum),
            },
            Change::Promote(_) | Change::Remove(_) => Err(ChangeError::Unknown),
        }
    }

    /// Makes a committed change. One that does not fit changes nothing, on every replica alike.
    pub(crate) fn apply(&mut self, change: &Change) -> bool {
        if self.admits(change).is_err() {
            return false;
        }
        match change {
            Change::Add(id, about) => {
                self.0.insert(*id, Member { voter: false, about: about.clone() });
            }
            Change::Promote(id) => {
                if let Some(member) = self.0.get_mut(id) {
                    member.voter = true;
                }
            }
            Change::Remove(id) => {
                self.0.remove(id);
            }
        }
        true
    }

    /// As the engine knows them.
    pub(crate) fn conf_state(&self) -> ConfState {
        let learners: Vec<u64> =
            self.0.iter().filter(|(_, member)| !member.voter).map(|(id, _)| id.0).collect();
        ConfState::from((self.voters().map(|id| id.0).collect::<Vec<_>>(), learners))
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        bytes::count(out, self.0.len());
        for (id, member) in &self.0 {
            bytes::number(out, id.0);
            out.push(member.voter.into());
            bytes::piece(out, &member.about);
        }
    }

    pub(crate) fn decode(from: &mut Bytes<'_>) -> Result<Self, Malformed> {
        let mut members = BTreeMap::new();
        let mut last = 0;
        for _ in 0..from.count(MAX_MEMBERS)? {
            let id = from.number()?;
            if id <= last {
                return Err(Malformed);
            }
            last = id;
            let voter = from.flag()?;
            let about = from.piece(MAX_ABOUT)?.to_vec();
            members.insert(NodeId(id), Member { voter, about });
        }
        let members = Self(members);
        if members.voters().next().is_none() { Err(Malformed) } else { Ok(members) }
    }
}

impl Change {
    /// As the log holds it.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let (kind, id) = match self {
            Self::Add(id, _) => (1, id),
            Self::Promote(id) => (2, id),
            Self::Remove(id) => (3, id),
        };
        out.push(kind);
        bytes::number(&mut out, id.0);
        if let Self::Add(_, about) = self {
            bytes::piece(&mut out, about);
        }
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut from = Bytes(bytes);
        let kind = from.byte()?;
        let id = NodeId(from.number()?);
        let change = match kind {
            1 => Self::Add(id, from.piece(MAX_ABOUT)?.to_vec()),
            2 => Self::Promote(id),
            3 => Self::Remove(id),
            _ => return Err(Malformed),
        };
        from.end()?;
        Ok(change)
    }

    /// As the engine takes it; our own form goes along as its context.
    pub(crate) fn engine(&self) -> ConfChange {
        let mut change = ConfChange::default();
        let (kind, id) = match self {
            Self::Add(id, _) => (ConfChangeType::AddLearnerNode, id),
            Self::Promote(id) => (ConfChangeType::AddNode, id),
            Self::Remove(id) => (ConfChangeType::RemoveNode, id),
        };
        change.set_change_type(kind);
        change.node_id = id.0;
        change.context = self.encode().into();
        change
    }
}
