//! `Replay`: a second state that follows what was stored, for recovery and for snapshots.

use alloc::vec::Vec;
use core::fmt;

use super::{
    event::{FleetEvent, FleetRecord},
    journal::{self, Reader},
    load::Loader,
    manager::WorkerFleetManager,
    recover::RecoverError,
    setup::Setup,
    snapshot::SnapshotWriter,
    state::FleetState,
};
use crate::{digest::Sha256Digest, lease::Epoch, time::Now};

/// A state that is folded from what was stored and decides nothing.
///
/// Feed it the chunks of a snapshot, where there is one, and then the journal since, in pieces of whole records. Each
/// step checks what it reads: the chain, the sequence, and that every event is possible. Then go on from it with
/// [`Self::recover`]; or keep it beside a manager, feed it every batch that lasts, and take snapshots from it with
/// [`Self::snapshot`], so that the manager never waits for one.
///
/// After an error it takes nothing more.
///
/// ```
/// use leasehold::{fleet::*, testing::World};
/// let mut world = World::default();
/// world.join(0, "a");
/// let mut replay = Replay::new([7; 16]);
/// replay.journal(&world.journal)?;
/// assert!(replay.state() == Some(world.fleet.state()));
/// let chunks = replay.snapshot().ok_or(RecoverError::Nothing)?.collect::<Result<Vec<_>, _>>()?;
/// let mut again = Replay::new([8; 16]);
/// for chunk in &chunks {
///     again.chunk(chunk)?;
/// }
/// assert!(again.state() == replay.state());
/// # Ok::<(), RecoverError>(())
/// ```
pub struct Replay {
    index_key: [u8; 16],
    stage: Stage,
}

enum Stage {
    Empty,
    Loading(Loader),
    Following { state: FleetState, chain: Sha256Digest },
    Failed(RecoverError),
}

impl fmt::Debug for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replay").field("index", &self.state().map(FleetState::index)).finish_non_exhaustive()
    }
}

impl Replay {
    /// Nothing yet. `index_key` keys the hash of the lookup tables; take it from the entropy source.
    pub const fn new(index_key: [u8; 16]) -> Self {
        Self { index_key, stage: Stage::Empty }
    }

    /// The next chunk of the snapshot, or several that follow each other. Chunks come before any journal.
    ///
    /// # Errors
    /// [`RecoverError`]: a chunk is damaged, missing, repeated, out of order, or of another snapshot; or the state that
    /// they make breaks an invariant, which is known at the last one.
    pub fn chunk(&mut self, chunk: &[u8]) -> Result<(), RecoverError> {
        self.step(|stage, index_key| {
            let mut loader = match stage {
                Stage::Empty => Loader::new(index_key),
                Stage::Loading(loader) => loader,
                Stage::Failed(error) => return Err(error),
                Stage::Following { .. } => {
                    return Err(RecoverError::Inconsistent("a snapshot comes after a journal"));
                }
            };
            let mut rest = loader.chunk(chunk)?;
            while !rest.is_empty() {
                rest = loader.chunk(rest)?;
            }
            if !loader.is_whole() {
                return Ok(Stage::Loading(loader));
            }
            let (state, chain) = loader.finish()?;
            Ok(Stage::Following { state, chain })
        })
    }

    /// The next records of the journal, whole ones.
    ///
    /// # Errors
    /// [`RecoverError`]: nothing is repaired and nothing is guessed.
    pub fn journal(&mut self, records: &[u8]) -> Result<(), RecoverError> {
        self.journal_with(records, |_| {})
    }

    /// The same, and `seen` is shown each record after it was checked and folded. For audits: an event of the past can
    /// be read in no other way.
    ///
    /// # Errors
    /// [`RecoverError`].
    pub fn journal_with(
        &mut self,
        records: &[u8],
        mut seen: impl FnMut(&FleetRecord),
    ) -> Result<(), RecoverError> {
        self.step(|stage, index_key| {
            let (mut state, chain) = match stage {
                Stage::Empty => (None, journal::genesis()),
                Stage::Following { state, chain } => (Some(state), chain),
                Stage::Failed(error) => return Err(error),
                Stage::Loading(_) => return Err(UNFINISHED),
            };
            let mut reader = Reader::new(records, chain);
            while let Some(record) = reader.next()? {
                let state = match (&mut state, record.events.first()) {
                    (Some(state), _) => state,
                    (empty, Some(FleetEvent::Founded { policy })) => {
                        empty.insert(FleetState::blank(policy.clone(), index_key))
                    }
                    (None, _) => return Err(RecoverError::Inconsistent("a journal begins in the middle")),
                };
                state.fold(&record)?;
                seen(&record);
            }
            let chain = reader.chain();
            Ok(state.map_or(Stage::Empty, |state| Stage::Following { state, chain }))
        })
    }

    fn step(
        &mut self,
        go: impl FnOnce(Stage, [u8; 16]) -> Result<Stage, RecoverError>,
    ) -> Result<(), RecoverError> {
        let stage = core::mem::replace(&mut self.stage, Stage::Empty);
        match go(stage, self.index_key) {
            Ok(stage) => {
                self.stage = stage;
                Ok(())
            }
            Err(error) => {
                self.stage = Stage::Failed(error.clone());
                Err(error)
            }
        }
    }

    /// The state so far; `None` before the first record, and inside a snapshot.
    pub fn state(&self) -> Option<&FleetState> {
        match &self.stage {
            Stage::Following { state, .. } => Some(state),
            _ => None,
        }
    }

    /// The state so far as the chunks of a snapshot; `None` where there is none.
    pub fn snapshot(&self) -> Option<SnapshotWriter<'_>> {
        match &self.stage {
            Stage::Following { state, chain } => Some(state.chunks(*chain)),
            _ => None,
        }
    }

    /// Goes on from here as [`WorkerFleetManager::recover`] does, after checking every invariant of the state.
    ///
    /// # Errors
    /// [`RecoverError`].
    pub fn recover(self, setup: Setup, epoch: Epoch, now: Now) -> Result<WorkerFleetManager, RecoverError> {
        match self.stage {
            Stage::Empty => Err(RecoverError::Nothing),
            Stage::Loading(_) => Err(UNFINISHED),
            Stage::Failed(error) => Err(error),
            Stage::Following { state, chain } => {
                state.check_invariants().map_err(RecoverError::Inconsistent)?;
                let mut events = Vec::from([FleetEvent::EpochBegan { epoch }]);
                events.extend(state.lost_codes());
                WorkerFleetManager::begin(state, chain, setup, epoch, now, events)
            }
        }
    }
}

const UNFINISHED: RecoverError = RecoverError::Inconsistent("a snapshot has no end");
