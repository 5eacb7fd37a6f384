//! A fleet with its journal: each operation in one call, whose answer lasts when the call returns.

use alloc::vec::Vec;

use super::{
    journal::{Journal, JournalError},
    replay::{ReplayError, replay},
};
use crate::{
    code::{self, Code, Coded},
    fleet::{
        AcceptError, CommandError, CommandId, Decide, Effect, Expired, HeartbeatError, Prepared, Principal,
        Released, Setup, Ticket, WorkerFleetManager, WorkerFleetPolicy, WorkerHandle,
    },
    lease::Epoch,
    time::Now,
};

/// Why an operation has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TurnError<E> {
    /// The operation was rejected. Nothing has changed.
    #[error(transparent)]
    Rejected(E),
    /// The decision was not accepted.
    #[error(transparent)]
    Accept(AcceptError),
    /// The journal did not take the record. The fleet has halted: open the journal anew.
    #[error(transparent)]
    Journal(JournalError),
}

impl<E: Coded> Coded for TurnError<E> {
    fn code(&self) -> Code {
        match self {
            Self::Rejected(error) => error.code(),
            Self::Accept(error) => error.code(),
            Self::Journal(error) => error.code(),
        }
    }
}

/// Why a fleet cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// What is stored does not lead to a state.
    #[error(transparent)]
    Stored(#[from] ReplayError),
    /// The journal did not take the first record of this coordinator.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The first record was not handed out.
    #[error("the first record of this coordinator cannot be written; please report it")]
    FirstRecord,
}

impl Coded for OpenError {
    fn code(&self) -> Code {
        match self {
            Self::Stored(error) => error.code(),
            Self::Journal(error) => error.code(),
            Self::FirstRecord => code::FLEET_UNRECOVERABLE,
        }
    }
}

/// A [`WorkerFleetManager`] and the [`Journal`] that it writes to.
///
/// Each call is one turn: decide, accept, append, and only when the append has returned the answer and the effects. It
/// costs one write of the journal for each operation that changes something, and blocks for as long as that takes. A service
/// that wants several operations in one write, or several writes under way, uses the manager itself.
///
/// ```
/// use leasehold::{code::Coded, fleet::Challenge, shell::{JournaledFleet, MemoryJournal}};
/// # #[cfg(feature = "testing")]
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use leasehold::{fleet::Setup, attestation::signature::DefaultVerifier, digest::Sha256Digest, lease::Epoch, testing::World, time::Now};
/// # let policy = World::policy(|_| {});
/// # let setup = || Setup::new([7; 64], Sha256Digest::of(b"certificate"), Box::new(DefaultVerifier));
/// # let now = Now::new(0, 1_764_000_000_000);
/// # let device = World::device(1);
/// let journal = MemoryJournal::default();
/// let mut fleet = JournaledFleet::open(journal.clone(), policy.clone(), setup(), Epoch(1), |_| now)?;
/// let refused = fleet.submit(&Challenge {}, &device, now).unwrap_err();
/// assert_eq!(refused.code().as_str(), "certificate.unknown");
/// // After a crash: the same call with the next epoch, and the policy comes from the journal.
/// drop(fleet);
/// let fleet = JournaledFleet::open(journal, policy, setup(), Epoch(2), |last| last.unwrap_or(now))?;
/// assert_eq!(fleet.manager().state().epoch(), Epoch(2));
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "testing"))]
/// # fn main() {}
/// ```
#[derive(Debug)]
pub struct JournaledFleet<J> {
    manager: WorkerFleetManager,
    journal: J,
}

impl<J: Journal> JournaledFleet<J> {
    /// Goes on from what `journal` stores, or founds a fleet under `policy` where it stores nothing. The policy of a fleet that
    /// exists is the stored one; [`SetPolicy`](crate::fleet::SetPolicy) changes it.
    ///
    /// `epoch` comes from an [`EpochStore`](super::EpochStore) and is larger than every one before. `clock` is called with the
    /// time of the last record, `None` for a new fleet, and says what time it is now: with
    /// [`SystemClock::resume`](super::SystemClock::resume) the line goes on from there.
    ///
    /// # Errors
    /// [`OpenError`]: nothing is repaired and nothing is guessed.
    pub fn open(
        mut journal: J,
        policy: WorkerFleetPolicy,
        setup: Setup,
        epoch: Epoch,
        clock: impl FnOnce(Option<Now>) -> Now,
    ) -> Result<Self, OpenError> {
        let stored = replay(&mut journal, setup.index_key)?;
        let now = clock(stored.state().map(crate::fleet::FleetState::last));
        let manager = match stored.state() {
            Some(_) => stored.recover(setup, epoch, now),
            None => WorkerFleetManager::found(policy, setup, epoch, now),
        };
        let mut fleet = Self { manager: manager.map_err(ReplayError::Recover)?, journal };
        fleet.write()?;
        if fleet.manager.is_halted() { Err(OpenError::FirstRecord) } else { Ok(fleet) }
    }

    /// The fleet, for questions about its state and its deadlines. Between calls everything in it lasts.
    pub const fn manager(&self) -> &WorkerFleetManager {
        &self.manager
    }

    /// The journal, for [`Journal::seal`].
    pub const fn journal(&mut self) -> &mut J {
        &mut self.journal
    }

    /// Submits an operation. What it gives lasts.
    ///
    /// # Errors
    /// [`TurnError`].
    pub fn submit<O: Decide>(
        &mut self,
        operation: &O,
        principal: &Principal,
        now: Now,
    ) -> Result<Released<O::Answer>, TurnError<O::Error>>
    where
        O::Error: From<CommandError>,
    {
        self.submit_as(operation, principal, None, now)
    }

    /// As [`Self::submit`], under the client's own number, so that a repeat is answered as the first time.
    ///
    /// # Errors
    /// [`TurnError`].
    pub fn submit_as<O: Decide>(
        &mut self,
        operation: &O,
        principal: &Principal,
        command: Option<&CommandId>,
        now: Now,
    ) -> Result<Released<O::Answer>, TurnError<O::Error>>
    where
        O::Error: From<CommandError>,
    {
        let prepared =
            self.manager.decide(operation, principal, command, now).map_err(TurnError::Rejected)?;
        self.finish(prepared)
    }

    /// A worker is heard. Most heartbeats change nothing, write nothing, and have no effects.
    ///
    /// # Errors
    /// [`TurnError`].
    pub fn heartbeat(
        &mut self,
        worker: WorkerHandle,
        principal: &Principal,
        now: Now,
    ) -> Result<Vec<Effect>, TurnError<HeartbeatError>> {
        match self.manager.heartbeat(worker, principal, now).map_err(TurnError::Rejected)? {
            Some(prepared) => Ok(self.finish(prepared)?.effects.into_iter().collect()),
            None => Ok(Vec::new()),
        }
    }

    /// Lets what is due take effect: a bounded number of transitions. Call it at
    /// [`next_deadline`](WorkerFleetManager::next_deadline), and again while the answer says that more is due.
    ///
    /// # Errors
    /// [`TurnError`].
    pub fn expire(&mut self, now: Now) -> Result<Released<Expired>, TurnError<CommandError>> {
        let prepared = self.manager.expire(now).map_err(TurnError::Rejected)?;
        self.finish(prepared)
    }

    /// Does what gives a ticket without a decision of its own, such as
    /// [`offer_pairing`](WorkerFleetManager::offer_pairing), and waits until it lasts.
    ///
    /// # Errors
    /// [`TurnError`].
    pub fn run<A, E>(
        &mut self,
        act: impl FnOnce(&mut WorkerFleetManager) -> Result<Ticket<A>, E>,
    ) -> Result<Released<A>, TurnError<E>> {
        let ticket = act(&mut self.manager).map_err(TurnError::Rejected)?;
        self.write().map_err(TurnError::Journal)?;
        ticket.redeem(&self.manager).map_err(|_| TurnError::Accept(AcceptError::Halted))
    }

    fn finish<A, E>(&mut self, prepared: Prepared<A>) -> Result<Released<A>, TurnError<E>> {
        let ticket = self.manager.accept(prepared).map_err(TurnError::Accept)?;
        self.write().map_err(TurnError::Journal)?;
        ticket.redeem(&self.manager).map_err(|_| TurnError::Accept(AcceptError::Halted))
    }

    fn write(&mut self) -> Result<(), JournalError> {
        let Some(batch) = self.manager.take_journal() else { return Ok(()) };
        if let Err(error) = self.journal.append(batch.last.index, &batch.bytes) {
            self.manager.journal_failed();
            return Err(error);
        }
        if self.manager.durable(batch.last).is_err() {
            self.manager.journal_failed();
        }
        Ok(())
    }
}

#[cfg(test)]
#[cfg(feature = "std")]
mod tests {
    use alloc::boxed::Box;

    use super::*;
    use crate::{
        attestation::signature::DefaultVerifier,
        digest::Sha256Digest,
        fleet::{Challenge, ManageDevice},
        identity::{DeviceCertificate, DeviceCommand, DeviceKind},
        shell::{Compaction, MemoryJournal, StoreFault, Visit},
        testing::World,
        time::Wall,
    };

    const NOW: Now = Now::new(1_000, 1_764_000_000_000);

    fn setup() -> Setup {
        Setup::new([7; 64], Sha256Digest::of(b"coordinator"), Box::new(DefaultVerifier))
    }

    fn register(n: u32) -> ManageDevice {
        let key = Sha256Digest::of(&n.to_le_bytes());
        let certificate = DeviceCertificate::new(World::certificate(n), key, Wall(0), Wall::NEVER).unwrap();
        let kind = DeviceKind::Worker;
        ManageDevice::new(DeviceCommand::Register { device: World::device_id(n), kind, certificate })
    }

    /// A journal whose writes fail when it is told so.
    #[derive(Default)]
    struct Failing(MemoryJournal, bool);

    impl Journal for Failing {
        fn append(&mut self, last: u64, batch: &[u8]) -> Result<(), JournalError> {
            if self.1 {
                return Err(JournalError::Failed(StoreFault::new("switched off".into())));
            }
            self.0.append(last, batch)
        }
        fn read(&mut self, visit: &mut Visit<'_>) -> Result<(), JournalError> {
            self.0.read(visit)
        }
        fn seal(&mut self) -> Result<Box<dyn Compaction>, JournalError> {
            self.0.seal()
        }
    }

    /// Invariant 8: what was answered is there after a crash, and what was rejected left nothing.
    #[test]
    fn what_was_answered_lasts() {
        let journal = MemoryJournal::default();
        let policy = World::policy(|_| {});
        let mut fleet =
            JournaledFleet::open(journal.clone(), policy.clone(), setup(), Epoch(1), |_| NOW).expect("new");
        let refused = fleet.submit(&Challenge {}, &World::device(1), NOW).expect_err("an unknown device");
        assert!(matches!(refused, TurnError::Rejected(_)));
        fleet.submit(&register(1), &World::operator(), NOW).expect("a new device");
        fleet.submit(&Challenge {}, &World::device(1), NOW).expect("a nonce");
        let before = fleet.manager().state().devices().clone();
        drop(fleet);
        let clock = |last: Option<Now>| last.expect("a fleet that was there").plus(crate::time::Millis(1));
        let fleet = JournaledFleet::open(journal, policy, setup(), Epoch(2), clock).expect("recovered");
        assert_eq!(*fleet.manager().state().devices(), before);
    }

    /// Nothing is handed out over a write that failed, then or later, and the journal recovers.
    #[test]
    fn a_failed_write_hands_out_nothing() {
        let (journal, policy) = (MemoryJournal::default(), World::policy(|_| {}));
        let failing = Failing(journal.clone(), false);
        let mut fleet =
            JournaledFleet::open(failing, policy.clone(), setup(), Epoch(1), |_| NOW).expect("new");
        fleet.journal().1 = true;
        let failed = fleet.submit(&register(1), &World::operator(), NOW).expect_err("no write");
        assert_eq!(failed.code(), code::JOURNAL_FAILED);
        fleet.journal().1 = false;
        let halted = fleet.submit(&register(2), &World::operator(), NOW).expect_err("halted");
        assert_eq!(halted.code(), code::FLEET_HALTED);
        assert_eq!(fleet.expire(NOW).expect_err("halted").code(), code::FLEET_HALTED);
        let fleet = JournaledFleet::open(journal, policy, setup(), Epoch(2), |_| NOW).expect("recovered");
        assert!(fleet.manager().state().devices().is_empty());
    }
}
