//! `WorkerFleetManager`: decide, accept, and hand out what lasts.

use alloc::vec::Vec;
use core::fmt;

use super::{
    accept::{AcceptError, JournalBatch},
    context::{Context, Decide, Draft, Steps},
    effect::{Effect, Effects},
    event::{FleetEvent, FleetRecord},
    journal,
    liveness::Liveness,
    operation::WorkerHandle,
    principal::{CommandId, Principal},
    recover::RecoverError,
    rejection::CommandError,
    setup::Setup,
    state::FleetState,
};
use crate::{
    digest::{FieldHasher, Sha256Digest},
    id::DeviceId,
    identity::{DeviceEvent, pairing::PairingDesk},
    time::{Mono, Now},
};

/// A decision, and the version of the state that it was made on. It has done nothing yet.
#[must_use = "a decision does nothing before it is accepted"]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared<A> {
    pub(super) version: u64,
    pub(super) at: Now,
    pub(super) principal: Principal,
    pub(super) draft: Draft<A>,
}

impl<A> Prepared<A> {
    /// What would happen.
    pub fn events(&self) -> &[FleetEvent] {
        &self.draft.events
    }
}

/// An accepted operation whose answer and effects are held until the journal lasts up to [`Ticket::index`].
#[must_use = "the answer and the effects are inside"]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket<A> {
    instance: u64,
    index: u64,
    answer: A,
    effects: Effects,
}

/// What is handed out once it lasts.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Released<A> {
    /// The answer.
    pub answer: A,
    /// What follows from it, in order.
    pub effects: Effects,
}

impl<A> Ticket<A> {
    /// The journal index that must last first.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// Hands out the answer and the effects, where the journal lasts that far.
    ///
    /// # Errors
    /// The ticket itself, where it does not yet, or where the manager has halted or is another one.
    #[allow(clippy::result_large_err, reason = "a ticket that is too early is handed back as it is")]
    pub fn redeem(self, manager: &WorkerFleetManager) -> Result<Released<A>, Self> {
        let lasts = self.index <= manager.durable && self.instance == manager.instance && !manager.halted;
        if lasts { Ok(Released { answer: self.answer, effects: self.effects }) } else { Err(self) }
    }
}

/// The fleet: its hard state, its liveness, and what is on its way to the journal.
///
/// The law: [`decide`](Self::decide) is pure, [`accept`](Self::accept) changes the state, and nothing that follows
/// leaves before [`durable`](Self::durable) says that it lasts.
pub struct WorkerFleetManager {
    pub(super) state: FleetState,
    /// Works on a copy of the pairing sessions, beside the codes that live in memory only; the two are always equal.
    pub(super) desk: PairingDesk,
    pub(super) liveness: Liveness,
    /// Nothing is due before this instant; `None` where that has to be found out again.
    pub(super) quiet_until: Option<Mono>,
    setup: Setup,
    chain: Sha256Digest,
    unwritten: Vec<FleetRecord>,
    durable: u64,
    halted: bool,
    /// Tells this manager's tickets from those of another: its epoch, which is used once.
    instance: u64,
}

impl fmt::Debug for WorkerFleetManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerFleetManager")
            .field("epoch", &self.state.epoch)
            .field("index", &self.state.index)
            .field("durable", &self.durable)
            .field("halted", &self.halted)
            .finish_non_exhaustive()
    }
}

impl WorkerFleetManager {
    pub(super) fn with_first_record(
        mut state: FleetState,
        chain: Sha256Digest,
        setup: Setup,
        record: FleetRecord,
    ) -> Result<Self, RecoverError> {
        let durable = state.index;
        state.fold(&record)?;
        let liveness = Self::rebuild_liveness(&state);
        let instance = state.epoch.0;
        let (fleet, certificate) = (state.policy.fleet.clone(), setup.coordinator_certificate);
        let desk = PairingDesk::recover(state.nodes.pairing.clone(), fleet, certificate);
        Ok(Self {
            state,
            desk,
            liveness,
            quiet_until: None,
            setup,
            chain,
            unwritten: Vec::from([record]),
            durable,
            halted: false,
            instance,
        })
    }

    /// The hard state.
    pub fn state(&self) -> &FleetState {
        &self.state
    }

    /// SHA-256 of the certificate that this coordinator presents.
    pub(crate) const fn certificate(&self) -> Sha256Digest {
        self.setup.coordinator_certificate
    }

    /// When the worker was last heard, by the fleet's line.
    pub fn last_heard(&self, worker: WorkerHandle) -> Mono {
        self.liveness.heard(worker.slot)
    }

    /// Decides an operation. Changes nothing; the same state, time and operation give the same decision.
    ///
    /// `command` is the client's own number for it. A repeat of an accepted one gives the answer of then and does
    /// nothing more; a rejection is decided afresh.
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
        let context = self.context(principal, now)?;
        if !O::admits(principal) {
            return Err(CommandError::Principal.into());
        }
        let at = context.now;
        let prepare =
            |draft| Prepared { version: self.state.version, at, principal: principal.clone(), draft };
        let Some(command) = command else { return Ok(prepare(operation.decide(&context)?)) };
        let content = fingerprint(operation, principal);
        if let Some(answer) = self.state.sessions.find(command, content)? {
            let answer = postcard::from_bytes(answer)
                .map_err(|_| CommandError::Conflict { sequence: command.sequence })?;
            return Ok(prepare(Steps::default().with_answer(answer)));
        }
        let limits = &self.state.policy.limits;
        if !self.state.sessions.admits(&command.client, limits.sessions, limits.session_memory_ms, at.mono) {
            return Err(CommandError::SessionsFull.into());
        }
        let mut draft = operation.decide(&context)?;
        // What changed nothing is decided again the same way, and needs no memory.
        if !draft.events.is_empty() {
            let answer = postcard::to_allocvec(&draft.answer).unwrap_or_default();
            let command = command.clone();
            draft.events.push(FleetEvent::CommandRemembered { command, content, answer });
        }
        Ok(prepare(draft))
    }

    pub(super) fn context<'a>(
        &'a self,
        principal: &'a Principal,
        now: Now,
    ) -> Result<Context<'a>, CommandError> {
        if self.halted {
            return Err(CommandError::Halted);
        }
        self.liveness.forward(now.mono)?;
        let shown = now.wall;
        let (now, leap) = self.state.discipline(now)?;
        let (state, liveness, setup) = (&self.state, &self.liveness, &self.setup);
        Ok(Context { state, liveness, setup, principal, now, leap, shown })
    }

    /// Accepts a decision: folds its events into the state and holds its answer and effects.
    ///
    /// # Errors
    /// [`AcceptError::Stale`] where anything was accepted in between; [`AcceptError::Halted`].
    pub fn accept<A>(&mut self, prepared: Prepared<A>) -> Result<Ticket<A>, AcceptError> {
        if self.halted {
            return Err(AcceptError::Halted);
        }
        let Prepared { version, at, principal, draft } = prepared;
        if version != self.state.version {
            return Err(AcceptError::Stale);
        }
        let sender = match &principal {
            Principal::Device { device, .. } => draft.sender.or_else(|| self.state.roster.by_device(device)),
            _ => None,
        };
        if let Some(slot) = sender {
            self.liveness.hear(slot, at.mono);
        }
        Ok(self.settle(at, principal, draft, false))
    }

    /// Folds a draft and holds what follows. `desk_knows` where the desk has folded the pairing events already.
    pub(super) fn settle<A>(
        &mut self,
        at: Now,
        principal: Principal,
        draft: Draft<A>,
        desk_knows: bool,
    ) -> Ticket<A> {
        self.quiet_until = None;
        let Draft { events, mut effects, answer, .. } = draft;
        let device = match &principal {
            Principal::Device { device, .. } if !self.state.nodes.dispatch.is_idle() => Some(device.clone()),
            _ => None,
        };
        if !events.is_empty() {
            self.commit(at, principal, events, &mut effects, desk_knows);
        }
        if let Some(device) = device {
            self.liveness.dispatch.heard(&self.state.nodes.dispatch, &device, at);
        }
        self.liveness.advance(at.mono);
        Ticket { instance: self.instance, index: self.state.index, answer, effects }
    }

    fn commit(
        &mut self,
        at: Now,
        principal: Principal,
        events: Vec<FleetEvent>,
        effects: &mut Effects,
        desk_knows: bool,
    ) {
        self.state.index = self.state.index.saturating_add(1);
        for event in &events {
            debug_assert_eq!(self.state.possible(at, event), Ok(()), "{event:?}");
            if let FleetEvent::DispatchChanged { change } = event {
                let mut follow = Vec::new();
                self.state.nodes.dispatch.effects_of(change, &mut follow);
                effects.extend(follow.into_iter().map(|effect| Effect::Dispatch(effect.into())));
                self.liveness.dispatch.before(&self.state.nodes.dispatch, change);
            }
            self.state.evolve(at, event);
            match event {
                FleetEvent::DispatchChanged { change } => {
                    self.liveness.dispatch.after(&self.state.nodes.dispatch, change, at);
                }
                FleetEvent::PairingChanged { change } if !desk_knows => self.desk.follow(change),
                FleetEvent::PolicySet { policy, .. } => self.desk.set_policy(policy.node_policies().1),
                _ => {}
            }
            match event {
                FleetEvent::PolicySet { .. } | FleetEvent::FleetQuarantined { .. } => {
                    self.liveness.begin_sweep()
                }
                FleetEvent::DeviceChanged { change: DeviceEvent::DeviceRegistered { .. } } => {}
                FleetEvent::DeviceChanged { .. } | FleetEvent::WallAccepted { .. } => {
                    self.liveness.ask_again()
                }
                FleetEvent::WorkerRegistered { slot, .. } | FleetEvent::IncarnationBegan { slot, .. } => {
                    self.liveness.hear(*slot, at.mono);
                    self.liveness.ask_again_for(*slot);
                }
                FleetEvent::EvidenceAccepted { slot, .. } => self.liveness.ask_again_for(*slot),
                _ => {}
            }
            // A renewal moves the one deadline that it concerns later, which is found when the earlier one comes.
            if let Some(slot) = event.slot().filter(|_| !matches!(event, FleetEvent::LeaseRenewed { .. })) {
                self.liveness.steady(slot, false);
                self.liveness.arm(&self.state, slot, at.mono);
            }
        }
        debug_assert_eq!(self.desk.state(), &self.state.nodes.pairing);
        let index = self.state.index;
        self.unwritten.push(FleetRecord { index, at, principal, events });
    }

    /// What has to be appended to the journal; `None` where nothing has. Many operations share one batch.
    pub fn take_journal(&mut self) -> Option<JournalBatch> {
        if self.unwritten.is_empty() || self.halted {
            return None;
        }
        // The next batch will be about as large.
        let room = Vec::with_capacity(self.unwritten.len());
        let records = core::mem::replace(&mut self.unwritten, room);
        let mut bytes = Vec::new();
        for record in &records {
            match journal::append(&mut bytes, self.chain, record) {
                Some(chain) => self.chain = chain,
                None => {
                    self.halted = true;
                    return None;
                }
            }
        }
        Some(JournalBatch { last: self.state.index, bytes, records })
    }

    /// The journal lasts up to `index`: tickets up to there can be redeemed. Only what was taken can last.
    pub fn durable(&mut self, index: u64) {
        let first_unwritten = self.unwritten.first().map_or(u64::MAX, |record| record.index);
        if index < first_unwritten && index <= self.state.index {
            self.durable = self.durable.max(index);
        }
    }

    /// A write failed, or nobody knows whether it lasted. Held answers are dropped; only recovery goes on.
    pub fn journal_failed(&mut self) {
        self.halted = true;
    }

    /// Whether only recovery goes on from here.
    pub fn is_halted(&self) -> bool {
        self.halted
    }

    /// The state as bytes, from which [`Self::recover`] goes on with the journal after it.
    ///
    /// `None` while records are accepted that the journal does not hold yet.
    pub fn snapshot(&self) -> Option<Vec<u8>> {
        if self.durable == self.state.index && !self.halted {
            self.state.to_snapshot(self.chain)
        } else {
            None
        }
    }

    /// Counts a handshake, a challenge or an attestation of `device` against its allowance, before anything is
    /// computed for it.
    ///
    /// # Errors
    /// [`CommandError::Halted`], [`CommandError::Time`]; [`CommandError::TooOften`] over the allowance.
    pub fn admit(&mut self, device: &DeviceId, now: Now) -> Result<(), CommandError> {
        if self.halted {
            return Err(CommandError::Halted);
        }
        self.liveness.forward(now.mono)?;
        if self.liveness.admit(&self.state, device, now.mono) { Ok(()) } else { Err(CommandError::TooOften) }
    }
}

/// What a command is recognised by: the operation's name, who asks, and everything that it says.
fn fingerprint<O: Decide>(operation: &O, principal: &Principal) -> Sha256Digest {
    let content = postcard::to_allocvec(operation).unwrap_or_default();
    let principal = postcard::to_allocvec(principal).unwrap_or_default();
    FieldHasher::new("command.v1").field(O::NAME.as_bytes()).field(&principal).field(&content).finish()
}
