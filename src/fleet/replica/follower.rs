//! A replica that decides nothing. It folds the entries of a log in order and reports its position.

use alloc::vec::Vec;
use core::fmt;

use crate::{
    chain::ChainError,
    digest::Sha256Digest,
    fleet::{
        event::{FleetEvent, FleetRecord},
        position::Position,
        state::FleetState,
        stored::{self, Reader, RecoverError, SnapshotWriter},
    },
    lease::Epoch,
};

/// A replica of a fleet. It folds the committed entries of a log in their order; other processes decided
/// them.
///
/// A follower is where a replicated log is connected. The log decides which entries are committed, and each
/// replica applies them. [`WorkerFleetManager::lead`](super::super::WorkerFleetManager::lead) promotes the
/// replica that is elected, from a position that all others will reach. An entry is the content of
/// [`JournalBatch::bytes`](super::super::JournalBatch::bytes): one or more whole records.
///
/// ```
/// use leasehold::{fleet::{Follower, RecoverError}, testing::World};
/// let mut world = World::default();
/// world.join(0, "a");
/// let mut follower = Follower::new([7; 16]);
/// follower.apply(&world.journal)?;
/// assert!(follower.state() == Some(world.fleet.state()));
/// assert_eq!(follower.at(), world.fleet.durable_at().ok_or(RecoverError::Nothing)?);
/// // Once more is refused, and changes nothing.
/// let at = follower.at();
/// assert!(follower.apply(&world.journal).is_err());
/// assert_eq!(follower.at(), at);
/// # Ok::<(), leasehold::fleet::RecoverError>(())
/// ```
#[derive(Clone)]
pub struct Follower {
    index_key: [u8; 16],
    chain: Sha256Digest,
    /// `None` before the record that founds the fleet.
    state: Option<FleetState>,
    /// The error after which the follower takes no further entry.
    failed: Option<RecoverError>,
}

impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower")
            .field("at", &self.at())
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

impl Follower {
    /// A replica that holds nothing yet. `index_key` keys the hash of the look-up tables; take it from the
    /// entropy source.
    pub fn new(index_key: [u8; 16]) -> Self {
        Self { index_key, chain: stored::genesis(), state: None, failed: None }
    }

    pub(in crate::fleet) fn holding(index_key: [u8; 16], state: FleetState, chain: Sha256Digest) -> Self {
        Self { index_key, chain, state: Some(state), failed: None }
    }

    pub(super) fn index_key(&self) -> [u8; 16] {
        self.index_key
    }

    /// The position of the replica. Cost: O(1).
    pub fn at(&self) -> Position {
        let (index, epoch) =
            self.state.as_ref().map_or((0, Epoch(0)), |state| (state.index(), state.epoch()));
        Position { index, epoch, chain: self.chain }
    }

    /// The state; `None` before the record that founds the fleet, and after [`Self::apply`] has failed inside
    /// an entry.
    pub fn state(&self) -> Option<&FleetState> {
        if self.failed.is_some() { None } else { self.state.as_ref() }
    }

    /// The state as the chunks of a snapshot. [`Replay`](super::Replay) makes a follower at this position
    /// from them.
    pub fn snapshot(&self) -> Option<SnapshotWriter<'_>> {
        Some(self.state()?.chunks(self.chain))
    }

    /// Folds the next entry of the log: one or more whole records. Cost: that of its events.
    ///
    /// # Errors
    /// [`RecoverError::NotNext`] if the entry does not follow on what the replica holds: it was applied
    /// before, an entry before it is missing, or it was decided after other records than these. Nothing
    /// changes then, and nothing changes if the entry cannot be read. Every replica refuses the same entries.
    ///
    /// [`RecoverError::Inconsistent`] if the entry follows and contains an impossible event. No coordinator
    /// of this crate writes such an entry. The replica takes no further entry then.
    pub fn apply(&mut self, entry: &[u8]) -> Result<(), RecoverError> {
        self.apply_with(entry, |_| {})
    }

    /// The same as [`Self::apply`]. `seen` is called with each record after it was folded, for event logs and
    /// audits.
    ///
    /// # Errors
    /// The same as those of [`Self::apply`].
    pub fn apply_with(&mut self, entry: &[u8], seen: impl FnMut(&FleetRecord)) -> Result<(), RecoverError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        // The whole entry is read before any of it is folded, so that a malformed entry changes nothing.
        let mut reader = Reader::new(entry, self.chain);
        let mut records = Vec::new();
        let expected = self.at().index.saturating_add(1);
        while let Some(record) = reader.next().map_err(|error| match error {
            ChainError::Broken => RecoverError::NotNext { expected },
            other => other.into(),
        })? {
            records.push(record);
        }
        if records.is_empty() {
            return Err(RecoverError::Malformed);
        }
        let chain = reader.chain();
        self.fold(records.iter(), chain, seen)
    }

    /// Folds the records of a journal of any length, one at a time.
    pub(super) fn follow(
        &mut self,
        journal: &[u8],
        mut seen: impl FnMut(&FleetRecord),
    ) -> Result<(), RecoverError> {
        let mut reader = Reader::new(journal, self.chain);
        while let Some(record) = reader.next()? {
            let chain = reader.chain();
            self.fold(core::iter::once(&record), chain, &mut seen)?;
        }
        Ok(())
    }

    fn fold<'a>(
        &mut self,
        records: impl Iterator<Item = &'a FleetRecord>,
        chain: Sha256Digest,
        mut seen: impl FnMut(&FleetRecord),
    ) -> Result<(), RecoverError> {
        for record in records {
            if let Err(error) = self.fold_one(record) {
                self.failed = Some(error.clone());
                return Err(error);
            }
            seen(record);
        }
        self.chain = chain;
        Ok(())
    }

    fn fold_one(&mut self, record: &FleetRecord) -> Result<(), RecoverError> {
        let state = match (&mut self.state, record.events.first()) {
            (Some(state), _) => state,
            (empty, Some(FleetEvent::Founded { policy })) => {
                empty.insert(FleetState::blank(policy.clone(), self.index_key))
            }
            (None, _) => return Err(RecoverError::Inconsistent("a journal begins in the middle")),
        };
        state.fold(record)
    }

    /// Folds a record that this process decided and whose events it has checked before.
    pub(in crate::fleet) fn fold_own(&mut self, record: &FleetRecord, chain: Sha256Digest) {
        if let Some(state) = &mut self.state {
            state.index = record.index;
            let folded = record.events.iter().try_for_each(|event| state.evolve(record.at, event));
            self.failed = folded.err().map(RecoverError::Inconsistent);
            self.chain = chain;
        }
    }

    /// The state.
    pub(in crate::fleet) fn into_state(self) -> Result<FleetState, RecoverError> {
        match (self.failed, self.state) {
            (Some(error), _) => Err(error),
            (None, state) => state.ok_or(RecoverError::Nothing),
        }
    }
}
