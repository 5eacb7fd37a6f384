//! `Kernel`: the hard state, the liveness, and the rules that turn operations into events. It knows neither
//! the journal nor any encoding.
//!
//! A copy of a kernel decides as the kernel does, so a hypothetical operation can be tried on a copy.

mod passing;
mod prepared;

use alloc::vec::Vec;

use self::prepared::Impossible;
pub use self::prepared::{AcceptError, Accepted, Prepared};
use super::{
    command_rejection::CommandError,
    context::{Context, Decide, Draft, Steps},
    effect::{Effect, Effects},
    event::{FleetEvent, FleetRecord},
    liveness::Liveness,
    operation::WorkerHandle,
    position::LogId,
    principal::{CommandId, Principal},
    setup::Setup,
    state::FleetState,
};
use crate::{
    digest::{FieldHasher, Sha256Digest},
    id::DeviceId,
    identity::DeviceEvent,
    time::{Mono, Now},
};

/// The hard state of a fleet with its liveness. It decides operations and folds their events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    pub(super) state: FleetState,
    pub(super) liveness: Liveness,
    /// No deadline is due before this instant; `None` if that must be computed again.
    quiet_until: Option<Mono>,
}

impl Kernel {
    /// A kernel that continues from `state`. Every worker counts as heard at the time of the last record.
    pub(super) fn new(state: FleetState) -> Self {
        let liveness = Liveness::rebuilt(&state, state.last.mono);
        Self { state, liveness, quiet_until: None }
    }

    /// The hard state.
    pub fn state(&self) -> &FleetState {
        &self.state
    }

    /// When the worker was last heard, in monotonic time.
    pub fn last_heard(&self, worker: WorkerHandle) -> Mono {
        self.liveness.heard(worker.slot)
    }

    /// The soft state that decides what can happen next, for comparing two fleets.
    #[cfg(feature = "testing")]
    pub(crate) fn soft_shape(&self) -> impl serde::Serialize {
        (self.quiet_until, self.liveness.shape(self.state.roster.slots()))
    }

    /// The name of the last record that was folded.
    pub(super) fn last(&self) -> LogId {
        LogId::new(self.state.epoch, self.state.index)
    }

    /// Decides an operation, as [`WorkerFleetManager::decide`](super::WorkerFleetManager::decide) does.
    ///
    /// # Errors
    /// The operation's own rejection.
    pub fn decide<O: Decide>(
        &self,
        setup: &Setup,
        operation: &O,
        principal: &Principal,
        command: Option<&CommandId>,
        now: Now,
    ) -> Result<Prepared<O::Answer>, O::Error>
    where
        O::Error: From<CommandError>,
    {
        let context = self.context(setup, principal, now)?;
        if !O::admits(principal) {
            return Err(CommandError::Principal.into());
        }
        let at = context.now;
        let prepare = |draft| Prepared { behind: self.last(), at, principal: principal.clone(), draft };
        let Some(command) = command else { return Ok(prepare(operation.decide(&context)?)) };
        let content = fingerprint(operation, principal);
        let remembered = self.state.sessions.find(command, content);
        if !matches!(remembered, Ok(None)) && !context.is_authenticated() {
            // Invariant 12: authentication comes before the remembered answer. The operation's own decision
            // names the failure.
            return operation.decide(&context).and_then(|_| Err(CommandError::Principal.into()));
        }
        if let Some(answer) = remembered? {
            let answer = postcard::from_bytes(answer)
                .map_err(|_| CommandError::Conflict { sequence: command.sequence })?;
            return Ok(prepare(Steps::default().with_answer(answer)));
        }
        let limits = &self.state.policy.limits;
        if !self.state.sessions.admits(&command.client, limits.sessions, limits.session_memory_ms, at.mono) {
            return Err(CommandError::SessionsFull.into());
        }
        let mut draft = operation.decide(&context)?;
        // A policy that this record puts in force also bounds the sessions that are remembered at its end.
        let next = draft.events.iter().find_map(|event| match event {
            FleetEvent::PolicySet { policy, .. } => Some(&policy.limits),
            _ => None,
        });
        if next.is_some_and(|limits| {
            !self.state.sessions.admits(&command.client, limits.sessions, limits.session_memory_ms, at.mono)
        }) {
            return Err(CommandError::SessionsFull.into());
        }
        // An operation without events is decided again in the same way, so its answer need not be remembered.
        if !draft.events.is_empty() {
            let answer = postcard::to_allocvec(&draft.answer).unwrap_or_default();
            let (bytes, memory) = (limits.answer_bytes, limits.session_memory_ms);
            if !self.state.sessions.has_room(&answer, bytes, memory, at.mono, self.state.folding) {
                return Err(CommandError::SessionsFull.into());
            }
            let command = command.clone();
            draft.events.push(FleetEvent::CommandRemembered { command, content, answer });
        }
        Ok(prepare(draft))
    }

    pub(super) fn context<'a>(
        &'a self,
        setup: &'a Setup,
        principal: &'a Principal,
        now: Now,
    ) -> Result<Context<'a>, CommandError> {
        self.liveness.forward(now.mono)?;
        let shown = now.wall;
        let (now, leap) = self.state.discipline(now)?;
        let (state, liveness) = (&self.state, &self.liveness);
        Ok(Context { state, liveness, setup, principal, now, leap, shown })
    }

    /// Accepts a decision: checks for each of its events that recovery would believe it, and folds it
    /// (invariant 8).
    ///
    /// # Errors
    /// [`AcceptError`]. Nothing has changed, except if a later event of a record is impossible, which no
    /// input should cause; the kernel must not be used then, and [`super::WorkerFleetManager`] halts.
    pub fn accept<A>(&mut self, prepared: Prepared<A>) -> Result<Accepted<A>, AcceptError> {
        self.take(prepared).map_err(|error| match error {
            Refused::Before(error) => error,
            Refused::Impossible(impossible) => AcceptError::Unrecoverable(impossible.why),
        })
    }

    pub(super) fn take<A>(&mut self, prepared: Prepared<A>) -> Result<Accepted<A>, Refused> {
        let Prepared { behind, at, principal, draft } = prepared;
        let own = self.last();
        if behind != own {
            let (decided, own) = (behind.epoch, own.epoch);
            let error =
                if decided == own { AcceptError::Stale } else { AcceptError::OtherEpoch { decided, own } };
            return Err(Refused::Before(error));
        }
        let sender = match &principal {
            Principal::Device { device, .. } => draft.sender.or_else(|| self.state.roster.by_device(device)),
            _ => None,
        };
        if let Some(slot) = sender {
            self.liveness.hear(slot, at.mono);
        }
        self.settle(at, principal, draft).map_err(Refused::Impossible)
    }

    /// Folds a draft that was decided on the present state.
    pub(super) fn settle<A>(
        &mut self,
        at: Now,
        principal: Principal,
        draft: Draft<A>,
    ) -> Result<Accepted<A>, Impossible> {
        self.quiet_until = None;
        let Draft { events, mut effects, answer, learned, .. } = draft;
        if let Some(learned) = learned {
            self.liveness.statements.learn(*learned);
        }
        let device = match &principal {
            Principal::Device { device, .. } if !self.state.nodes.dispatch.is_idle() => Some(device.clone()),
            _ => None,
        };
        let record = if events.is_empty() {
            None
        } else {
            self.fold(at, &events, &mut effects)?;
            Some(FleetRecord { index: self.state.index, at, principal, events })
        };
        if let Some(device) = device {
            self.liveness.dispatch.heard(&self.state.nodes.dispatch, &device, at);
        }
        self.liveness.advance(at.mono);
        Ok(Accepted { record, answer, effects })
    }

    fn fold(&mut self, at: Now, events: &[FleetEvent], effects: &mut Effects) -> Result<(), Impossible> {
        for (folded, event) in events.iter().enumerate() {
            self.state.possible(at, event).map_err(|why| Impossible { why, folded })?;
            if folded == 0 {
                self.state.index = self.state.index.saturating_add(1);
            }
            if let FleetEvent::DispatchChanged { change } = event {
                let mut follow = Vec::new();
                self.state.nodes.dispatch.effects_of(change, &mut follow);
                effects.extend(follow.into_iter().map(|effect| Effect::Dispatch(effect.into())));
                self.liveness.dispatch.before(&self.state.nodes.dispatch, change);
            }
            self.state
                .evolve(at, event)
                .map_err(|why| Impossible { why, folded: folded.saturating_add(1) })?;
            match event {
                FleetEvent::DispatchChanged { change } => {
                    self.liveness.dispatch.after(&self.state.nodes.dispatch, change, at);
                }
                FleetEvent::PolicySet { .. } => {
                    self.liveness.follow(&self.state);
                    self.liveness.begin_sweep();
                }
                FleetEvent::FleetQuarantined { .. } => self.liveness.begin_sweep(),
                FleetEvent::WallAccepted { .. } => {
                    self.liveness.ask_again();
                    self.liveness.begin_sweep();
                }
                FleetEvent::DeviceChanged { change }
                    if matches!(**change, DeviceEvent::DeviceRegistered { .. }) => {}
                FleetEvent::DeviceChanged { .. } => self.liveness.ask_again(),
                FleetEvent::WorkerRegistered { slot, .. } | FleetEvent::IncarnationBegan { slot, .. } => {
                    self.liveness.hear(*slot, at.mono);
                    self.liveness.ask_again_for(*slot);
                }
                FleetEvent::EvidenceAccepted { slot, .. } => self.liveness.ask_again_for(*slot),
                _ => {}
            }
            // A renewal moves a deadline only to a later time. The wheel finds that when the earlier time
            // comes.
            if let Some(slot) = event.slot().filter(|_| !matches!(event, FleetEvent::LeaseRenewed { .. })) {
                self.liveness.steady(slot, false);
                self.liveness.arm(&self.state, slot, at.mono);
            }
        }
        Ok(())
    }

    /// Counts a handshake, a challenge or an attestation of `device` against its allowance.
    pub(super) fn admit(&mut self, device: &DeviceId, now: Now) -> Result<(), CommandError> {
        self.liveness.forward(now.mono)?;
        if self.liveness.admit(&self.state, device, now.mono) { Ok(()) } else { Err(CommandError::TooOften) }
    }
}

/// Why a kernel did not accept a decision.
pub(super) enum Refused {
    /// The decision was refused before any event was checked.
    Before(AcceptError),
    /// Recovery would not believe an event of the record.
    Impossible(Impossible),
}

/// What identifies the content of a command: the operation's name, its principal and everything that it says.
/// A device is the same principal under each of its certificates, so a repeat after a rotation is recognised.
fn fingerprint<O: Decide>(operation: &O, principal: &Principal) -> Sha256Digest {
    let content = postcard::to_allocvec(operation).unwrap_or_default();
    let principal = match principal {
        Principal::Device { device, .. } => device.as_str().as_bytes().to_vec(),
        other => postcard::to_allocvec(other).unwrap_or_default(),
    };
    FieldHasher::new("command.v1").field(O::NAME.as_bytes()).field(&principal).field(&content).finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{code::Coded as _, fleet::rejection::ManageError, testing::World};

    fn made(world: &World, events: Vec<FleetEvent>) -> Prepared<()> {
        let behind = world.fleet.kernel().last();
        let draft = Steps::following(events).with_answer(());
        Prepared { behind, at: world.now, principal: Principal::Core, draft }
    }

    /// Invariant 8, in release builds too: a record that recovery would refuse is refused before it is handed out. Where its
    /// first event is impossible nothing has changed; where a later one is, only recovery goes on, from what lasts.
    #[test]
    fn what_would_not_recover_is_not_handed_out() {
        let mut world = World::default();
        world.join(0, "a");
        let before = world.fleet.state().clone();
        let refused = world.fleet.accept(made(&world, Vec::from([FleetEvent::WorkerSilent { slot: 9 }])));
        assert_eq!(refused.unwrap_err().code(), crate::code::FLEET_UNRECOVERABLE);
        assert!(*world.fleet.state() == before && !world.fleet.is_halted());
        assert!(world.fleet.take_journal().is_none());
        let drain: Result<_, ManageError> =
            world.ask(&crate::fleet::Drain { worker: World::worker_id(0) }, &World::operator());
        drain.unwrap();

        let last = world.fleet.state().index();
        let twice = Vec::from([FleetEvent::DrainEnded { slot: 0 }, FleetEvent::DrainEnded { slot: 0 }]);
        let refused = world.fleet.accept(made(&world, twice));
        assert_eq!(refused.unwrap_err().code(), crate::code::FLEET_UNRECOVERABLE);
        assert!(world.fleet.is_halted() && world.fleet.take_journal().is_none());
        world.crash();
        assert_eq!(world.fleet.state().index(), last + 1, "the record of the next coordinator");
        assert!(world.fleet.state().worker(&World::worker_id(0)).unwrap().draining);
    }
}
