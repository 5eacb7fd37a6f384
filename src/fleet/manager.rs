//! `WorkerFleetManager`: decides operations, accepts decisions, and hands out what is durable.

use alloc::vec::Vec;
use core::fmt;

use super::{
    command_rejection::CommandError,
    context::{Context, Decide, Draft},
    decide::Expired,
    event::FleetEvent,
    kernel::{AcceptError, Accepted, Kernel, Prepared, Refused},
    ledger::{DurableError, JournalBatch, Ledger, Released, Ticket},
    operation::WorkerHandle,
    position::{LogId, Position},
    principal::{CommandId, Principal},
    rejection::HeartbeatError,
    setup::Setup,
    state::FleetState,
};
use crate::{
    code::{Code, Coded},
    digest::Sha256Digest,
    id::DeviceId,
    identity::pairing::PairingDesk,
    time::{Mono, Now},
    trace,
};

/// A fleet: its [`Kernel`], and the ledger of accepted records on their way to the journal or to a replicated
/// log.
///
/// The rule of this API: [`decide`](Self::decide) is pure, [`accept`](Self::accept) changes the state, and no
/// answer and no effect is handed out before [`durable`](Self::durable) names its record.
pub struct WorkerFleetManager {
    pub(super) kernel: Kernel,
    /// The pairing desk. It holds the pairing codes, which exist in memory only, and a copy of the pairing
    /// sessions that always equals the one in the state.
    pub(super) desk: PairingDesk,
    pub(super) ledger: Ledger,
    pub(super) setup: Setup,
}

impl fmt::Debug for WorkerFleetManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerFleetManager")
            .field("last", &self.kernel.last())
            .field("durable", &self.ledger.durable_index())
            .field("halted", &self.ledger.is_halted())
            .finish_non_exhaustive()
    }
}

impl WorkerFleetManager {
    /// The kernel. A copy of it can be asked what an operation would do.
    pub fn kernel(&self) -> &Kernel {
        &self.kernel
    }

    /// The hard state.
    pub fn state(&self) -> &FleetState {
        &self.kernel.state
    }

    /// SHA-256 of the certificate that this coordinator presents.
    pub(crate) const fn certificate(&self) -> Sha256Digest {
        self.setup.coordinator_certificate
    }

    /// When the worker was last heard, in monotonic time.
    pub fn last_heard(&self, worker: WorkerHandle) -> Mono {
        self.kernel.last_heard(worker)
    }

    /// Decides an operation. Nothing changes; the same state, time and operation always give the same
    /// decision.
    ///
    /// `command` is the client's own number for the operation. A repeat of an accepted command gives the
    /// answer of the first time and has no other effect. A rejection is not remembered: a repeat is decided
    /// again.
    ///
    /// # Errors
    /// The operation's own rejection.
    pub fn decide<O: Decide>(
        &self,
        operation: &O,
        principal: &Principal,
        command: Option<&CommandId>,
        now: Now,
    ) -> Result<Prepared<O::Answer>, O::Error>
    where
        O::Error: From<CommandError>,
    {
        self.running()?;
        let (by, who) = principal.named();
        let _span = trace::operation(O::NAME, by, who);
        let decided = self.kernel.decide(&self.setup, operation, principal, command, now);
        trace::decided(|| outcome(&decided));
        decided
    }

    fn running(&self) -> Result<(), CommandError> {
        if self.ledger.is_halted() { Err(CommandError::Halted) } else { Ok(()) }
    }

    pub(super) fn context<'a>(
        &'a self,
        principal: &'a Principal,
        now: Now,
    ) -> Result<Context<'a>, CommandError> {
        self.running()?;
        self.kernel.context(&self.setup, principal, now)
    }

    /// Notes a worker's heartbeat. If the heartbeat changes the worker's condition, the returned decision
    /// must be accepted; otherwise nothing is written. Cost: O(1).
    ///
    /// # Errors
    /// [`HeartbeatError`]: the worker belongs to another device, the handle is of an older incarnation, or
    /// the device is revoked.
    pub fn heartbeat(
        &mut self,
        worker: WorkerHandle,
        principal: &Principal,
        now: Now,
    ) -> Result<Option<Prepared<()>>, HeartbeatError> {
        self.running()?;
        self.kernel.heartbeat(&self.setup, worker, principal, now)
    }

    /// The earliest instant at which [`Self::expire`] may have something to do. Calling it early is harmless.
    /// Cost: O(1).
    ///
    /// The answer may change after every accepted operation and every call of `expire`.
    pub fn next_deadline(&self) -> Option<Mono> {
        self.kernel.next_deadline()
    }

    /// Decides the transitions that are due: leases that expired, workers that fell silent, evidence that
    /// ended, the next steps of an act on the whole fleet, pairings and requests whose time has passed, and
    /// requests that a device has credit for. One call makes at most `limits.transitions_per_call`
    /// transitions of workers; the answer says whether more are due.
    ///
    /// # Errors
    /// [`CommandError::Halted`] and [`CommandError::Time`].
    pub fn expire(&mut self, now: Now) -> Result<Prepared<Expired>, CommandError> {
        self.running()?;
        let _span = trace::operation("expire", "core", "");
        let decided = self.kernel.expire(&self.setup, now);
        trace::decided(|| outcome(&decided));
        decided
    }

    /// Accepts a decision: folds its events into the state, and holds its answer and effects in the ticket.
    ///
    /// Each event is first checked as recovery will check it, in release builds too (invariant 8).
    ///
    /// # Errors
    /// * [`AcceptError::Stale`] if another decision was accepted in between.
    /// * [`AcceptError::OtherEpoch`] if another coordinator made the decision.
    /// * [`AcceptError::Halted`] if the manager has halted.
    /// * [`AcceptError::Unrecoverable`] if recovery would refuse an event of the record. Nothing of the
    ///   record is handed out. If events before it were folded already, the manager halts, because its state
    ///   is ahead of what can become durable.
    pub fn accept<A>(&mut self, prepared: Prepared<A>) -> Result<Ticket<A>, AcceptError> {
        if self.ledger.is_halted() {
            return Err(AcceptError::Halted);
        }
        let accepted = match self.kernel.take(prepared) {
            Ok(accepted) => accepted,
            Err(Refused::Before(error)) => return Err(error),
            Err(Refused::Impossible(impossible)) => {
                if impossible.folded > 0 {
                    self.ledger.halt();
                }
                return Err(AcceptError::Unrecoverable(impossible.why));
            }
        };
        for event in accepted.record.iter().flat_map(|record| &record.events) {
            match event {
                FleetEvent::PairingChanged { change } => self.desk.follow(change),
                FleetEvent::PolicySet { policy, .. } => self.desk.set_policy(policy.node_policies().1),
                _ => {}
            }
        }
        Ok(self.hold(accepted))
    }

    /// Folds a step of the pairing desk. Until then the desk is ahead of the state.
    pub(super) fn settle<A>(
        &mut self,
        at: Now,
        principal: Principal,
        draft: Draft<A>,
    ) -> Result<Ticket<A>, CommandError> {
        match self.kernel.settle(at, principal, draft) {
            Ok(accepted) => Ok(self.hold(accepted)),
            Err(_) => {
                self.ledger.halt();
                Err(CommandError::Halted)
            }
        }
    }

    fn hold<A>(&mut self, accepted: Accepted<A>) -> Ticket<A> {
        debug_assert_eq!(self.desk.state(), &self.kernel.state.nodes.pairing);
        let Accepted { record, answer, effects } = accepted;
        trace::accepted(&self.kernel.last());
        self.ledger.hold(record, answer, effects)
    }

    /// The records to append to the journal; `None` if there are none. Many operations share one batch.
    /// Several batches may be on their way, as long as they are appended in the order in which they were
    /// taken.
    pub fn take_journal(&mut self) -> Option<JournalBatch> {
        self.ledger.take()
    }

    /// Notes that every record up to `id` is durable. `id` is [`JournalBatch::last`] of a batch that was
    /// taken, or names a record in one. Tickets up to it can be redeemed from now on. An `id` below an
    /// earlier one changes nothing.
    ///
    /// # Errors
    /// [`DurableError`] if `id` is of another epoch or was not taken. Nothing changes then.
    pub fn durable(&mut self, id: LogId) -> Result<(), DurableError> {
        self.ledger.durable(id)?;
        trace::durable(&id);
        Ok(())
    }

    /// Notes that a journal write failed, or that its result is unknown. Held answers are dropped, and the
    /// manager halts: only recovery continues.
    pub fn journal_failed(&mut self) {
        self.ledger.halt();
    }

    /// Whether the manager has halted. Only recovery continues then.
    pub fn is_halted(&self) -> bool {
        self.ledger.is_halted()
    }

    /// The state as bytes. [`Self::recover`] continues from them with the journal after them.
    ///
    /// `None` while accepted records are not durable, and once the manager has halted.
    pub fn snapshot(&self) -> Option<Vec<u8>> {
        let at = self.durable_at()?;
        self.kernel.state.to_snapshot(at.chain)
    }

    /// The position of the state; `None` while accepted records are not durable, and once the manager has
    /// halted.
    pub fn durable_at(&self) -> Option<Position> {
        let LogId { epoch, index } = self.kernel.last();
        let lasts = self.ledger.durable_index() == index && !self.ledger.is_halted();
        lasts.then(|| Position { index, epoch, chain: self.ledger.chain() })
    }

    /// Counts a handshake, a challenge or an attestation of `device` against its allowance. Call it before
    /// doing any work for the device.
    ///
    /// # Errors
    /// [`CommandError::Halted`], [`CommandError::Time`]; [`CommandError::TooOften`] if the allowance is used
    /// up.
    pub fn admit(&mut self, device: &DeviceId, now: Now) -> Result<(), CommandError> {
        self.running()?;
        self.kernel.admit(device, now)
    }
}

/// How many events an operation was decided with, or the code of its rejection: for logs.
fn outcome<A, E: Coded>(decided: &Result<Prepared<A>, E>) -> Result<usize, Code> {
    decided.as_ref().map(|prepared| prepared.draft.events.len()).map_err(Coded::code)
}

#[cfg(feature = "testing")]
impl WorkerFleetManager {
    /// A copy that continues independently under `setup`, on which hypothetical operations can be tried.
    /// Pairings whose codes are in memory only and the second state of a leader are not copied.
    #[must_use]
    pub fn fork(&self, setup: Setup) -> Self {
        let (fleet, certificate) = (self.state().policy.fleet.clone(), setup.coordinator_certificate);
        let desk = PairingDesk::recover(self.kernel.state.nodes.pairing.clone(), fleet, certificate);
        Self { kernel: self.kernel.clone(), desk, ledger: self.ledger.fork(), setup }
    }
}

impl<A> Ticket<A> {
    /// Hands out the answer and the effects if the record is durable.
    ///
    /// # Errors
    /// The ticket itself, if its record is not durable yet, if the manager has halted, or if another manager
    /// made the ticket.
    #[allow(clippy::result_large_err, reason = "a ticket that is too early is handed back as it is")]
    pub fn redeem(self, manager: &WorkerFleetManager) -> Result<Released<A>, Self> {
        self.release(&manager.ledger)
    }
}
