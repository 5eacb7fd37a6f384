//! The log as the engine reads it: in memory, a step ahead of the store.

use std::cell::Cell;

use raft::{
    GetEntriesContext, RaftState, StorageError,
    eraftpb::{Entry, HardState, Snapshot as EngineSnapshot},
    storage::Storage,
    util::limit_size,
};

use crate::{
    members::NodeId,
    stored::{self, Snapshot, Stored, StoredError},
};

/// Entries behind `base`, and the newest snapshot.
pub(crate) struct Log {
    hard: HardState,
    /// The entry before the first one that is held.
    base: (u64, u64),
    entries: Vec<Entry>,
    snapshot: Option<Snapshot>,
    /// Bytes of the entries behind the snapshot.
    since: usize,
    /// Somebody needs a snapshot, and there is none that is new enough for it.
    wanted: Cell<bool>,
}

impl Log {
    /// The log that a start found, which was checked.
    pub(crate) fn of(stored: Stored) -> Result<Self, StoredError> {
        let Stored { snapshot, entries, hard } = stored;
        let at = snapshot.as_ref().map_or((0, 0), |snapshot| (snapshot.index, snapshot.term));
        let since = entries.iter().filter(|entry| entry.index > at.0).map(|entry| entry.data.len()).sum();
        let mut converted = Vec::with_capacity(entries.len());
        for entry in &entries {
            converted.push(
                entry.engine().map_err(|_| StoredError::Damaged("a change of membership does not read"))?,
            );
        }
        // The term of the entry before the first one is known only where that is the snapshot's. Of older ones, the first serves as
        // the base itself.
        let mut base = at;
        if let Some(first) = converted.first()
            && first.index <= at.0
        {
            base = (first.index, first.term);
            converted.remove(0);
        }
        let mut state = HardState::default();
        (state.term, state.vote, state.commit) = (hard.term, hard.vote, hard.commit);
        Ok(Self { hard: state, base, entries: converted, snapshot, since, wanted: Cell::new(false) })
    }

    pub(crate) fn last(&self) -> u64 {
        self.entries.last().map_or(self.base.0, |entry| entry.index)
    }

    pub(crate) fn since(&self) -> usize {
        self.since
    }

    /// Whether somebody waits for a newer snapshot.
    pub(crate) fn is_wanted(&self) -> bool {
        self.wanted.get()
    }

    fn offset(&self, index: u64) -> Option<usize> {
        usize::try_from(index.checked_sub(self.base.0)?.checked_sub(1)?).ok()
    }

    /// Puts entries, which the engine has seen to follow on what is committed. The first one replaces what stood there.
    pub(crate) fn append(&mut self, entries: &[Entry]) {
        let Some(first) = entries.first() else { return };
        if let Some(offset) = self.offset(first.index) {
            self.entries.truncate(offset);
        }
        self.since += entries.iter().map(|entry| entry.data.len()).sum::<usize>();
        self.entries.extend_from_slice(entries);
    }

    /// A snapshot of another node replaces everything.
    pub(crate) fn replace(&mut self, snapshot: Snapshot) {
        self.base = (snapshot.index, snapshot.term);
        self.entries.clear();
        self.since = 0;
        self.snapshot = Some(snapshot);
    }

    /// A snapshot of this node's own state; entries up to `keep` before it go. Gives the index up to which they went.
    pub(crate) fn compact(&mut self, snapshot: Snapshot, keep: u64) -> u64 {
        let until = snapshot.index.saturating_sub(keep).max(self.base.0);
        if let Ok(term) = self.term(until) {
            let gone = self.offset(until).map_or(0, |offset| offset + 1);
            self.entries.drain(..gone.min(self.entries.len()));
            self.base = (until, term);
        }
        self.since = self
            .entries
            .iter()
            .filter(|entry| entry.index > snapshot.index)
            .map(|entry| entry.data.len())
            .sum();
        self.snapshot = Some(snapshot);
        self.wanted.set(false);
        // The base itself stays in the store, for its term.
        self.base.0.saturating_sub(1)
    }

    pub(crate) fn snapshot_index(&self) -> u64 {
        self.snapshot.as_ref().map_or(0, |snapshot| snapshot.index)
    }
}

impl Storage for Log {
    fn initial_state(&self) -> raft::Result<RaftState> {
        let conf = self.snapshot.as_ref().map(|snapshot| snapshot.members.conf_state()).unwrap_or_default();
        Ok(RaftState::new(self.hard.clone(), conf))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        let from = self.offset(low).ok_or(StorageError::Compacted)?;
        let to = self.offset(high).ok_or(StorageError::Compacted)?;
        let mut entries = self.entries.get(from..to).ok_or(StorageError::Unavailable)?.to_vec();
        limit_size(&mut entries, max_size.into());
        Ok(entries)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if index == self.base.0 {
            return Ok(self.base.1);
        }
        if let Some(snapshot) = &self.snapshot
            && snapshot.index == index
        {
            return Ok(snapshot.term);
        }
        let offset = self.offset(index).ok_or(StorageError::Compacted)?;
        Ok(self.entries.get(offset).ok_or(StorageError::Unavailable)?.term)
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.base.0 + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last())
    }

    fn snapshot(&self, request: u64, to: u64) -> raft::Result<EngineSnapshot> {
        match &self.snapshot {
            // One that does not name its receiver would be dropped there without a word.
            Some(snapshot) if snapshot.index >= request && snapshot.members.get(NodeId(to)).is_some() => {
                Ok(engine_snapshot(snapshot))
            }
            _ => {
                self.wanted.set(true);
                Err(StorageError::SnapshotTemporarilyUnavailable.into())
            }
        }
    }
}

/// A snapshot as the engine hands it around. Its data is ours, whole: the engine does not look into it.
pub(crate) fn engine_snapshot(snapshot: &Snapshot) -> EngineSnapshot {
    let mut data = Vec::new();
    snapshot.encode(&mut data);
    let mut engine = EngineSnapshot { data: data.into(), ..EngineSnapshot::default() };
    let meta = engine.mut_metadata();
    (meta.index, meta.term) = (snapshot.index, snapshot.term);
    meta.set_conf_state(snapshot.members.conf_state());
    engine
}

/// The way back.
pub(crate) fn own_snapshot(engine: &EngineSnapshot) -> Result<Snapshot, StoredError> {
    stored::Snapshot::decode(&engine.data)
}
