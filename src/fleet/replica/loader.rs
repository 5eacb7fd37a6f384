//! `Replay`: makes a follower from stored bytes, for recovery, for new replicas and for snapshots.

use core::fmt;

use super::Follower;
use crate::fleet::{
    event::FleetRecord,
    state::FleetState,
    stored::{Loader, RecoverError, SnapshotWriter},
};

/// Makes a [`Follower`] from what was stored: a snapshot, and the journal after it.
///
/// Pass it the chunks of a snapshot if there is one, and then the journal after it, in pieces of whole
/// records. Each call checks what it reads: the hash chain, the sequence, and that every event is possible.
/// Afterwards either continue with [`Self::recover`], or keep the replay beside a manager, pass it every
/// durable batch, and take snapshots from it with [`Self::snapshot`], so that the manager never waits for a
/// snapshot.
///
/// After an error it accepts nothing more.
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

#[allow(clippy::large_enum_variant, reason = "there is one, and it follows for most of its life")]
enum Stage {
    Loading(Loader),
    Following(Follower),
    Failed(RecoverError),
}

impl fmt::Debug for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replay").field("index", &self.state().map(FleetState::index)).finish_non_exhaustive()
    }
}

impl From<Follower> for Replay {
    fn from(follower: Follower) -> Self {
        Self { index_key: follower.index_key(), stage: Stage::Following(follower) }
    }
}

impl Replay {
    /// A replay that has read nothing. `index_key` keys the hash of the look-up tables; take it from the
    /// entropy source.
    pub fn new(index_key: [u8; 16]) -> Self {
        Self { index_key, stage: Stage::Following(Follower::new(index_key)) }
    }

    /// Reads the next chunk of the snapshot, or several chunks in order. Chunks come before any journal.
    ///
    /// # Errors
    /// [`RecoverError`]: a chunk is damaged, missing, repeated, out of order, or of another snapshot. The
    /// last chunk also fails if the state breaks an invariant.
    pub fn chunk(&mut self, chunk: &[u8]) -> Result<(), RecoverError> {
        self.step(|stage, index_key| {
            let mut loader = match stage {
                Stage::Following(follower) if follower.state().is_none() => Loader::new(index_key),
                Stage::Loading(loader) => loader,
                Stage::Failed(error) => return Err(error),
                Stage::Following(_) => {
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
            Ok(Stage::Following(Follower::holding(index_key, state, chain)))
        })
    }

    /// Reads the next records of the journal. `records` must consist of whole records.
    ///
    /// # Errors
    /// [`RecoverError`]. Nothing is repaired or guessed.
    pub fn journal(&mut self, records: &[u8]) -> Result<(), RecoverError> {
        self.journal_with(records, |_| {})
    }

    /// The same as [`Self::journal`]. `seen` is called with each record after it was checked and folded, for
    /// audits: past events can be read in no other way.
    ///
    /// # Errors
    /// [`RecoverError`].
    pub fn journal_with(
        &mut self,
        records: &[u8],
        seen: impl FnMut(&FleetRecord),
    ) -> Result<(), RecoverError> {
        self.step(|stage, _| match stage {
            Stage::Following(mut follower) => {
                follower.follow(records, seen)?;
                Ok(Stage::Following(follower))
            }
            Stage::Failed(error) => Err(error),
            Stage::Loading(_) => Err(UNFINISHED),
        })
    }

    fn step(
        &mut self,
        go: impl FnOnce(Stage, [u8; 16]) -> Result<Stage, RecoverError>,
    ) -> Result<(), RecoverError> {
        let stage = core::mem::replace(&mut self.stage, Stage::Failed(UNFINISHED));
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

    /// The state so far; `None` before the first record and inside a snapshot.
    pub fn state(&self) -> Option<&FleetState> {
        match &self.stage {
            Stage::Following(follower) => follower.state(),
            _ => None,
        }
    }

    /// The state so far as the chunks of a snapshot; `None` if there is none.
    pub fn snapshot(&self) -> Option<SnapshotWriter<'_>> {
        match &self.stage {
            Stage::Following(follower) => follower.snapshot(),
            _ => None,
        }
    }

    /// The follower at this position, after checking every invariant of its state. It is empty if nothing was
    /// read.
    ///
    /// # Errors
    /// [`RecoverError`]: a snapshot is incomplete, an earlier call failed, or an invariant does not hold.
    pub fn follower(self) -> Result<Follower, RecoverError> {
        match self.stage {
            Stage::Loading(_) => Err(UNFINISHED),
            Stage::Failed(error) => Err(error),
            Stage::Following(follower) => {
                if let Some(state) = follower.state() {
                    state.check_invariants().map_err(RecoverError::Inconsistent)?;
                }
                Ok(follower)
            }
        }
    }
}

const UNFINISHED: RecoverError = RecoverError::Inconsistent("a snapshot has no end");
