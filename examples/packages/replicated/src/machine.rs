//! What a node replicates: a state that folds committed entries, and what decides them while a node leads.

use leasehold::{
    fleet::LogId,
    time::{Mono, Now},
};

use crate::code::Code;

/// Why an entry was not applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Every replica refuses it, and nothing has changed.
    Skipped(Code),
    /// The state is of no use any more.
    Failed(Code),
}

/// What cannot be done, by its stable code; with what there was before.
#[derive(Debug)]
pub struct Failed<T> {
    /// What there was before.
    pub back: T,
    /// Why.
    pub code: Code,
}

/// The state of a replica, up to a committed entry.
pub trait Machine: Sized {
    /// What decides while this replica leads.
    type Leader: Leader<Machine = Self>;

    /// Folds the next committed entry.
    ///
    /// # Errors
    /// [`Refused`].
    fn apply(&mut self, entry: &[u8]) -> Result<(), Refused>;

    /// Where the line of time was at the last entry.
    fn line(&self) -> Mono;

    /// The state as bytes.
    ///
    /// # Errors
    /// The code.
    fn snapshot(&self) -> Result<Vec<u8>, Code>;

    /// Another replica of the same kind, from what [`Self::snapshot`] gave somewhere. It is checked before anything is
    /// believed.
    ///
    /// # Errors
    /// The code.
    fn load(&self, snapshot: &[u8]) -> Result<Self, Code>;

    /// Begins to decide.
    ///
    /// # Errors
    /// [`Failed`] with the machine as it was.
    fn lead(self, epoch: u64, now: Now) -> Result<Self::Leader, Failed<Self>>;
}

/// The next entry that a leader wants in the log, and its name.
#[derive(Clone, Debug)]
pub struct Proposal {
    /// The name that comes back when it is committed.
    pub id: LogId,
    /// The entry. Never empty.
    pub bytes: Vec<u8>,
}

/// What decides while a replica leads.
pub trait Leader {
    /// The replica that it was, and will be.
    type Machine;

    /// What the log shall hold next. Asked until there is nothing more.
    fn propose(&mut self) -> Option<Proposal>;

    /// The log has committed the entry.
    ///
    /// # Errors
    /// The code; the node stops.
    fn committed(&mut self, id: LogId, now: Now) -> Result<(), Code>;

    /// The state up to the last committed entry, as bytes.
    ///
    /// # Errors
    /// The code.
    fn snapshot(&self) -> Result<Vec<u8>, Code>;

    /// Stops deciding: the replica is at the last entry that was said to be committed.
    ///
    /// # Errors
    /// The code; the node stops.
    fn step_down(self) -> Result<Self::Machine, Code>;
}
