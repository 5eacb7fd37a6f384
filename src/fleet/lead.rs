//! Coordinators behind a replicated log: promoting a follower to leader, and stepping down.

use alloc::{boxed::Box, vec::Vec};

use super::{
    event::FleetEvent,
    folding::Folding,
    ledger::{DurableError, JournalBatch},
    manager::WorkerFleetManager,
    position::LogId,
    replica::Follower,
    setup::Setup,
    stored::RecoverError,
};
use crate::{
    code::{Code, Coded},
    lease::Epoch,
    time::{Millis, Now},
};

/// A term of leadership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Term {
    /// The epoch of the term: the log's number of the election, larger than every one before.
    pub epoch: Epoch,
    /// How long after the promotion no run is leased again, and every permit of the former leader is presumed
    /// live. It must cover how far the new leader's monotonic time may be behind the former one's: the
    /// longest time that an entry takes to arrive, and the drift of both clocks meanwhile.
    pub hold: Millis,
}

impl Term {
    /// A term with this epoch and hold.
    pub const fn new(epoch: Epoch, hold: Millis) -> Self {
        Self { epoch, hold }
    }
}

/// A promotion that was refused. The follower is returned unchanged.
#[derive(Debug, thiserror::Error)]
#[error("the follower was not promoted: {error}")]
#[non_exhaustive]
pub struct NotPromoted {
    /// The follower.
    pub follower: Box<Follower>,
    /// Why the promotion was refused.
    pub error: RecoverError,
}

impl Coded for NotPromoted {
    fn code(&self) -> Code {
        self.error.code()
    }
}

impl WorkerFleetManager {
    /// Promotes `follower` to the leader of a replicated log. Call it when the log has elected this replica,
    /// and the follower has applied everything that the log holds before this leader's first entry.
    ///
    /// The first record, which [`Self::propose`] gives, begins the epoch. Open pairings end with it, because
    /// their codes were in the memory of the former leader. `now.mono` is the fleet's monotonic time, as a
    /// `FollowerClock` of the shell tracks it.
    ///
    /// Cost: one copy of the state. The copy is kept until the leader steps down, and each committed record
    /// is folded into it once more.
    ///
    /// # Errors
    /// [`NotPromoted`] with the follower: it holds no fleet, the epoch is not larger than the last one, the
    /// monotonic time goes back, the coordinator's own certificate is revoked, or an invariant does not hold.
    pub fn lead(follower: Follower, setup: Setup, term: Term, now: Now) -> Result<Self, NotPromoted> {
        let first = follower.state().ok_or(RecoverError::Nothing).and_then(|state| {
            state.check_invariants().map_err(RecoverError::Inconsistent)?;
            let began = FleetEvent::EpochBegan {
                epoch: term.epoch,
                folding: Folding::OWN,
                held_until: now.mono.plus(term.hold),
            };
            let mut events = Vec::from([began]);
            events.extend(state.lost_codes());
            Self::first_record(state, &setup, term.epoch, now, events)
        });
        let at = follower.at();
        let folded = first.and_then(|record| {
            let mut state = follower.clone().into_state()?;
            state.fold(&record)?;
            Ok((state, record))
        });
        match folded {
            Ok((state, record)) => Ok(Self::starting(state, record, at, Some(follower), setup)),
            Err(error) => Err(NotPromoted { follower: Box::new(follower), error }),
        }
    }

    /// The next entry to append to the log: every record that was accepted since the last proposal. The same
    /// as [`Self::take_journal`]. Several proposals may be under way; each was decided on those before it.
    pub fn propose(&mut self) -> Option<JournalBatch> {
        self.take_journal()
    }

    /// Notes that the log has committed every record up to `id`. Their tickets can be redeemed from now on.
    /// The same as [`Self::durable`].
    ///
    /// # Errors
    /// [`DurableError`] if `id` is of another epoch or was not proposed. Nothing changes then.
    pub fn committed(&mut self, id: LogId) -> Result<(), DurableError> {
        self.durable(id)
    }

    /// The replica at the last committed position. Only a manager that [`Self::lead`] made keeps one; `None`
    /// for a manager that was founded or recovered. A snapshot for another replica can be taken from it while
    /// proposals are under way.
    pub fn follower(&self) -> Option<&Follower> {
        self.ledger.committed()
    }

    /// Stops leading. The follower is at the last committed position and continues with the entries after it,
    /// whoever proposed them. What was accepted and not committed is undone: its tickets are never redeemed,
    /// and if the log commits it after all, it comes back as an entry.
    ///
    /// Cost: O(1) for a manager that [`Self::lead`] made, whatever is under way.
    ///
    /// # Errors
    /// The unchanged manager, if it was founded or recovered and records are under way. Such a manager keeps
    /// no second state to return to.
    pub fn step_down(self) -> Result<Follower, Box<Self>> {
        let Self { kernel, desk, mut ledger, setup } = self;
        match ledger.take_committed() {
            Some(follower) => Ok(follower),
            None => {
                let manager = Self { kernel, desk, ledger, setup };
                match manager.durable_at() {
                    Some(at) => {
                        Ok(Follower::holding(manager.setup.index_key, manager.kernel.state, at.chain))
                    }
                    None => Err(Box::new(manager)),
                }
            }
        }
    }
}
