//! What a node keeps: entries, a snapshot, and the engine's hard state, in our own form.

use std::sync::Arc;

use protobuf::Message as _;
use raft::eraftpb;

use crate::{
    bytes::{self, Bytes, Malformed},
    code::Code,
    members::{Change, Members},
};

/// The longest entry: a batch of the core is far below.
pub(crate) const MAX_ENTRY: usize = 8 << 20;

/// What an entry of the log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// Nothing: a leader's first, or the engine's own.
    Empty,
    /// A proposal of the machine's leader.
    Command,
    /// A change of membership.
    Change,
}

/// An entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place in the log.
    pub index: u64,
    /// The term of the leader that put it there.
    pub term: u64,
    /// What it is.
    pub kind: EntryKind,
    /// What it says.
    pub data: Vec<u8>,
}

impl Entry {
    /// What the engine knows as an entry. The engine is this process's own, so what does not fit is a mistake in it.
    pub(crate) fn of(entry: &eraftpb::Entry) -> Result<Self, Malformed> {
        let (kind, data) = match entry.get_entry_type() {
            eraftpb::EntryType::EntryNormal if entry.data.is_empty() => (EntryKind::Empty, Vec::new()),
            eraftpb::EntryType::EntryNormal => (EntryKind::Command, entry.data.to_vec()),
            eraftpb::EntryType::EntryConfChange => {
                let mut change = eraftpb::ConfChange::default();
                change.merge_from_bytes(&entry.data).map_err(|_| Malformed)?;
                (EntryKind::Change, change.context.to_vec())
            }
            eraftpb::EntryType::EntryConfChangeV2 => return Err(Malformed),
        };
        Ok(Self { index: entry.index, term: entry.term, kind, data })
    }

    /// As the engine keeps it. A change of membership becomes the engine's own form here, and nowhere else.
    pub(crate) fn engine(&self) -> Result<eraftpb::Entry, Malformed> {
        let (index, term) = (self.index, self.term);
        let mut entry = eraftpb::Entry { index, term, ..eraftpb::Entry::default() };
        match self.kind {
            EntryKind::Empty => {}
            EntryKind::Command => entry.data = self.data.clone().into(),
            EntryKind::Change => {
                let change = Change::decode(&self.data)?.engine();
                entry.set_entry_type(eraftpb::EntryType::EntryConfChange);
                entry.data = change.write_to_bytes().map_err(|_| Malformed)?.into();
            }
        }
        Ok(entry)
    }

    /// As it is stored and as it travels.
    pub fn encode(&self, out: &mut Vec<u8>) {
        bytes::number(out, self.index);
        bytes::number(out, self.term);
        out.push(match self.kind {
            EntryKind::Empty => 0,
            EntryKind::Command => 1,
            EntryKind::Change => 2,
        });
        bytes::piece(out, &self.data);
    }

    pub(crate) fn read(from: &mut Bytes<'_>) -> Result<Self, Malformed> {
        let (index, term) = (from.number()?, from.number()?);
        let kind = match from.byte()? {
            0 => EntryKind::Empty,
            1 => EntryKind::Command,
            2 => EntryKind::Change,
            _ => return Err(Malformed),
        };
        let data = from.piece(MAX_ENTRY)?.to_vec();
        if (kind == EntryKind::Empty) != data.is_empty() || index == 0 || term == 0 {
            return Err(Malformed);
        }
        Ok(Self { index, term, kind, data })
    }

    /// The entry that these bytes are.
    ///
    /// # Errors
    /// [`StoredError::Damaged`].
    pub fn decode(bytes: &[u8]) -> Result<Self, StoredError> {
        let mut from = Bytes(bytes);
        let entry = Self::read(&mut from).map_err(|_| StoredError::Damaged("an entry does not read"))?;
        from.end().map_err(|_| StoredError::Damaged("bytes follow an entry"))?;
        Ok(entry)
    }
}

/// The state after the entry `index`, with the members at that moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The last entry that it holds.
    pub index: u64,
    /// The term of that entry.
    pub term: u64,
    /// The members.
    pub members: Members,
    /// The machine's state.
    pub state: Arc<[u8]>,
}

impl Snapshot {
    /// As it is stored and as it travels.
    pub fn encode(&self, out: &mut Vec<u8>) {
        bytes::number(out, self.index);
        bytes::number(out, self.term);
        self.members.encode(out);
        bytes::piece(out, &self.state);
    }

    pub(crate) fn read(from: &mut Bytes<'_>, max: usize) -> Result<Self, Malformed> {
        let (index, term) = (from.number()?, from.number()?);
        let members = Members::decode(from)?;
        let state = from.piece(max)?.into();
        if index == 0 || term == 0 { Err(Malformed) } else { Ok(Self { index, term, members, state }) }
    }

    /// The snapshot that these bytes are.
    ///
    /// # Errors
    /// [`StoredError::Damaged`].
    pub fn decode(bytes: &[u8]) -> Result<Self, StoredError> {
        let mut from = Bytes(bytes);
        let read = Self::read(&mut from, usize::MAX).and_then(|snapshot| from.end().map(|()| snapshot));
        read.map_err(|_| StoredError::Damaged("a snapshot does not read"))
    }
}

/// The engine's hard state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hard {
    /// The latest term that was seen.
    pub term: u64,
    /// Whom this node voted for in it; 0 for nobody.
    pub vote: u64,
    /// Up to where the log is known to be committed.
    pub commit: u64,
}

/// What has to last, as one: all of it or nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Write {
    /// Replaces the one before.
    pub snapshot: Option<Snapshot>,
    /// Entries up to this index go.
    pub forget: Option<u64>,
    /// Entries from this index on go, before `entries` are put.
    pub truncate: Option<u64>,
    /// The entries to put.
    pub entries: Vec<Entry>,
    /// Replaces the one before.
    pub hard: Option<Hard>,
}

/// What a start finds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// The newest snapshot; `None` for a newcomer that has nothing yet.
    pub snapshot: Option<Snapshot>,
    /// The entries behind it, and perhaps some before.
    pub entries: Vec<Entry>,
    /// The hard state.
    pub hard: Hard,
}

/// What was found cannot be gone on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoredError {
    /// It is not what a node wrote.
    Damaged(&'static str),
}

impl StoredError {
    /// Its stable code.
    pub const fn code(self) -> Code {
        Code("store.damaged")
    }
}

impl std::fmt::Display for StoredError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self::Damaged(what) = self;
        write!(
            f,
            "the node's store is damaged ({what}): remove the node from the cluster, empty its directory, and add it \
             again under a new number"
        )
    }
}

impl Stored {
    /// What every founder begins with: a snapshot at index 1 that names the members, so that nobody can come into the
    /// cluster by the log alone. `term` is larger than every epoch that the state has had.
    pub fn founding(members: Members, state: Vec<u8>, term: u64) -> Self {
        let snapshot = Snapshot { index: 1, term, members, state: state.into() };
        Self { snapshot: Some(snapshot), entries: Vec::new(), hard: Hard { term, vote: 0, commit: 1 } }
    }

    /// Carries `write` out, as a store does.
    pub fn apply(&mut self, write: &Write) {
        if let Some(snapshot) = &write.snapshot {
            self.snapshot = Some(snapshot.clone());
        }
        if let Some(forget) = write.forget {
            self.entries.retain(|entry| entry.index > forget);
        }
        if let Some(truncate) = write.truncate {
            self.entries.retain(|entry| entry.index < truncate);
        }
        self.entries.extend(write.entries.iter().cloned());
        if let Some(hard) = write.hard {
            self.hard = hard;
        }
    }

    /// What the engine would otherwise panic about.
    pub(crate) fn check(&self) -> Result<(), StoredError> {
        let ensure = |holds: bool, what| if holds { Ok(()) } else { Err(StoredError::Damaged(what)) };
        let Self { snapshot, entries, hard } = self;
        let Some(snapshot) = snapshot else {
            ensure(entries.is_empty(), "entries without a snapshot")?;
            // A newcomer may have seen terms, and given no vote that counts.
            return ensure(hard.commit == 0, "a commit without a snapshot");
        };
        let mut last = None;
        for entry in entries {
            if let Some((index, term)) = last {
                ensure(entry.index == index + 1, "an entry is missing")?;
                ensure(entry.term >= term, "terms go back")?;
            } else {
                ensure(
                    entry.index <= snapshot.index.saturating_add(1),
                    "entries behind the snapshot are missing",
                )?;
            }
            if entry.index == snapshot.index {
                ensure(entry.term == snapshot.term, "the snapshot is of another log")?;
            }
            last = Some((entry.index, entry.term));
        }
        let (end, term) =
            last.filter(|(index, _)| *index >= snapshot.index).unwrap_or((snapshot.index, snapshot.term));
        ensure(hard.term >= term, "the hard state is older than the log")?;
        ensure((snapshot.index..=end).contains(&hard.commit), "the commit index is outside of the log")
    }
}
