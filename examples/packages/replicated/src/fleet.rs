//! leasehold's fleet as a machine.

use std::sync::Arc;

use leasehold::{
    code::{self, Coded as _},
    fleet::{Follower, LogId, RecoverError, Replay, Setup, SnapshotWriter, Term, WorkerFleetManager},
    lease::Epoch,
    time::{Millis, Mono, Now},
};

use crate::code::Code;
use crate::machine::{Failed, Leader, Machine, Proposal, Refused};

/// What every turn of leading is made with.
pub(crate) struct Terms {
    setup: Box<dyn Fn() -> Setup + Send + Sync>,
    hold: Millis,
    index_key: [u8; 16],
}

/// A replica of a fleet.
#[derive(Clone)]
pub struct Fleet {
    follower: Follower,
    terms: Arc<Terms>,
}

impl Fleet {
    /// A replica that holds nothing yet. Each turn of leading gets a `setup`, and `hold`: see [`Term::hold`]. It covers the
    /// longest time that an entry takes to arrive and to be known as committed. `index_key` keys lookup tables.
    pub fn new(setup: impl Fn() -> Setup + Send + Sync + 'static, hold: Millis, index_key: [u8; 16]) -> Self {
        let terms = Terms { setup: Box::new(setup), hold, index_key };
        Self { follower: Follower::new(index_key), terms: Arc::new(terms) }
    }

    /// The replica.
    pub fn follower(&self) -> &Follower {
        &self.follower
    }

    /// A replica at the place of `follower`.
    pub(crate) fn at(follower: Follower, terms: Arc<Terms>) -> Self {
        Self { follower, terms }
    }

    /// The same kind of replica, at another place.
    pub(crate) fn with(&self, follower: Follower) -> Self {
        Self { follower, terms: Arc::clone(&self.terms) }
    }
}

/// The bytes of a snapshot: its chunks, one after the other.
pub(crate) fn collect(writer: Option<SnapshotWriter<'_>>) -> Result<Vec<u8>, Code> {
    let mut bytes = Vec::new();
    for chunk in writer.ok_or(code::JOURNAL_NOTHING)? {
        bytes.extend_from_slice(&chunk.map_err(|error| error.code())?);
    }
    Ok(bytes)
}

impl Machine for Fleet {
    type Leader = FleetLeader;

    fn apply(&mut self, entry: &[u8]) -> Result<(), Refused> {
        self.follower.apply(entry).map_err(|error| match error {
            RecoverError::NotNext { .. } => Refused::Skipped(error.code().into()),
            _ => Refused::Failed(error.code().into()),
        })
    }

    fn line(&self) -> Mono {
        self.follower.state().map_or(Mono::START, |state| state.last().mono)
    }

    fn snapshot(&self) -> Result<Vec<u8>, Code> {
        collect(self.follower.snapshot())
    }

    fn load(&self, snapshot: &[u8]) -> Result<Self, Code> {
        let mut replay = Replay::new(self.terms.index_key);
        replay.chunk(snapshot).map_err(|error| error.code())?;
        let follower = replay.follower().map_err(|error| error.code())?;
        match follower.state() {
            Some(_) => Ok(Self { follower, terms: Arc::clone(&self.terms) }),
            None => Err(code::JOURNAL_NOTHING.into()),
        }
    }

    fn lead(self, epoch: u64, now: Now) -> Result<FleetLeader, Failed<Self>> {
        let Self { follower, terms } = self;
        let term = Term::new(Epoch(epoch), terms.hold);
        match WorkerFleetManager::lead(follower, (terms.setup)(), term, now) {
            Ok(manager) => Ok(FleetLeader { manager, terms }),
            Err(refused) => {
                let code = refused.code().into();
                Err(Failed { back: Self { follower: *refused.follower, terms }, code })
            }
        }
    }
}

/// A fleet's manager, while its node leads.
pub struct FleetLeader {
    manager: WorkerFleetManager,
    terms: Arc<Terms>,
}

impl FleetLeader {
    /// What decides.
    pub fn manager(&self) -> &WorkerFleetManager {
        &self.manager
    }

    /// What decides, and what the next replica is made with.
    pub(crate) fn into_parts(self) -> (WorkerFleetManager, Arc<Terms>) {
        (self.manager, self.terms)
    }

    /// What decides.
    pub fn manager_mut(&mut self) -> &mut WorkerFleetManager {
        &mut self.manager
    }
}

impl Leader for FleetLeader {
    type Machine = Fleet;

    fn propose(&mut self) -> Option<Proposal> {
        self.manager.propose().map(|batch| Proposal { id: batch.last, bytes: batch.bytes })
    }

    fn committed(&mut self, id: LogId, _: Now) -> Result<(), Code> {
        self.manager.committed(id).map_err(|error| error.code().into())
    }

    fn snapshot(&self) -> Result<Vec<u8>, Code> {
        collect(self.manager.follower().and_then(Follower::snapshot))
    }

    fn step_down(self) -> Result<Fleet, Code> {
        let Self { manager, terms } = self;
        match manager.step_down() {
            Ok(follower) => Ok(Fleet { follower, terms }),
            Err(_) => Err(code::FLEET_HALTED.into()),
        }
    }
}
