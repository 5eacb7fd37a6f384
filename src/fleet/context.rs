//! What a decision sees and what it makes: the state and the time go in, a draft of events, effects and an answer
//! comes out. Nothing here changes anything.

use alloc::vec::Vec;

use super::{
    condition::{Activity, HeldLease, LeaseStage, LossReason, QuarantineReason},
    effect::{Effect, Effects},
    event::FleetEvent,
    liveness::Liveness,
    operation::{Operation, WorkerHandle},
    principal::Principal,
    rejection::{CommandError, TimeError, WorkerError},
    roster::WorkerRecord,
    setup::Setup,
    state::{self, FleetState},
    table::{self, Act},
};
use crate::{
    digest::Sha256Digest,
    id::DeviceId,
    identity::{AuthError, AuthenticatedDevice},
    time::{Millis, Mono, Now, Wall},
};

/// An operation that the fleet can decide. Sealed: what can be asked is fixed.
pub trait Decide: Operation + sealed::Decide {}

impl<O: sealed::Decide> Decide for O {}

pub(crate) mod sealed {
    use super::{Context, Draft, Operation};

    /// The decision itself, for one kind of operation.
    pub trait Decide: Operation {
        /// Pure: the same context gives the same draft.
        ///
        /// # Errors
        /// The operation's rejection, which changes nothing.
        fn decide(&self, context: &Context<'_>) -> Result<Draft<Self::Answer>, Self::Error>;

        /// Whether this principal may ask for it at all.
        fn admits(principal: &super::Principal) -> bool;

        /// The name of the operation, which separates the fingerprints of different ones.
        const NAME: &'static str;
    }
}

/// What a decision sees.
#[derive(Debug)]
pub struct Context<'a> {
    pub(crate) state: &'a FleetState,
    pub(crate) liveness: &'a Liveness,
    pub(crate) setup: &'a Setup,
    pub(crate) principal: &'a Principal,
    /// Both lines as the core believes them.
    pub(crate) now: Now,
    /// By how much the wall clock leapt, where it did.
    pub(crate) leap: Option<Millis>,
    /// What the wall clock shows, believed or not.
    pub(crate) shown: Wall,
}

/// What an accepted operation would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft<A> {
    pub(crate) events: Vec<FleetEvent>,
    pub(crate) effects: Effects,
    /// The slot of the worker that asked, where it is known: it is heard when the draft is accepted.
    pub(crate) sender: Option<u32>,
    pub(crate) answer: A,
}

/// Events and effects under construction.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    pub(crate) events: Vec<FleetEvent>,
    pub(crate) effects: Effects,
    sender: Option<u32>,
}

impl Steps {
    /// Steps that the worker in `slot` asked for, with room for `events`: the one allocation of most operations, which
    /// the journal's record takes over.
    pub(crate) fn of(slot: u32, events: usize) -> Self {
        Self { sender: Some(slot), ..Self::with_room(events) }
    }

    pub(crate) fn with_room(events: usize) -> Self {
        Self { events: Vec::with_capacity(events), ..Self::default() }
    }

    /// Steps that are these events and nothing else.
    pub(crate) fn following(events: Vec<FleetEvent>) -> Self {
        Self { events, ..Self::default() }
    }

    pub(crate) fn with_answer<A>(self, answer: A) -> Draft<A> {
        Draft { events: self.events, effects: self.effects, sender: self.sender, answer }
    }
}

impl<'a> Context<'a> {
    /// Refuses where the wall cannot be believed: for operations that judge dates.
    pub(crate) fn trust_wall(&self) -> Result<(), CommandError> {
        match self.leap {
            Some(leap) => Err(TimeError::WallLeap { leap }.into()),
            None => Ok(()),
        }
    }

    /// The device behind the principal, authenticated at this very instant (invariant 12).
    pub(crate) fn device(&self) -> Result<(&'a DeviceId, AuthenticatedDevice<'a>), DeviceRefusal> {
        let Principal::Device { device, certificate } = self.principal else {
            return Err(DeviceRefusal::Principal);
        };
        let authenticated = self.authenticate(*certificate).map_err(DeviceRefusal::Auth)?;
        if authenticated.device() == device {
            Ok((device, authenticated))
        } else {
            Err(DeviceRefusal::Principal)
        }
    }

    /// The worker behind a message: over its own device's channel, as its current incarnation.
    pub(crate) fn sender<E>(&self, handle: WorkerHandle) -> Result<&'a WorkerRecord, E>
    where
        E: From<DeviceRefusal> + From<WorkerError>,
    {
        if let Some(record) = self.vouched(handle) {
            return Ok(record);
        }
        let (device, _) = self.device()?;
        Ok(self.worker(handle, device)?)
    }

    /// As [`Self::sender`], where nothing has changed since the same was seen at the worker's last heartbeat: the
    /// registry need not be asked again (invariant 12). Whatever does not fit is looked at in full.
    pub(crate) fn vouched(&self, handle: WorkerHandle) -> Option<&'a WorkerRecord> {
        let Principal::Device { device, certificate } = self.principal else { return None };
        if !self.liveness.is_vouched(handle, self.now.wall) {
            return None;
        }
        let record = self.state.roster.by_handle(handle)?;
        let same = record.evidence.as_ref()?.record.certificate == *certificate && record.device == *device;
        same.then_some(record)
    }

    /// Until when the certificate of the worker's evidence authenticates its device, unless the registry changes:
    /// `None` where that is another certificate, or where more than that decides.
    pub(crate) fn voucher(
        &self,
        record: &WorkerRecord,
        authenticated: &AuthenticatedDevice<'_>,
    ) -> Option<Wall> {
        let certificate = authenticated.certificate();
        let same = record.evidence.as_ref()?.record.certificate == certificate.fingerprint();
        // The wall of accepted records never goes back, so that what has begun by then has begun.
        let begun = certificate.not_before() <= self.state.last.wall;
        (same && begun && authenticated.ends().is_none()).then_some(certificate.not_after())
    }

    /// When the certificate of the worker's evidence ends, on the wall, and on the fleet's line where that is sooner.
    pub(crate) fn certificate_ends(&self, slot: u32, certificate: Sha256Digest) -> Result<Mono, AuthError> {
        if let Some(until) = self.liveness.vouched_until(self.state.handle(slot), self.now.wall) {
            return Ok(FleetState::mono_at(self.now, until));
        }
        let device = self.authenticate(certificate)?;
        let wall = FleetState::mono_at(self.now, device.certificate().not_after());
        Ok(wall.min(device.ends().unwrap_or(Mono::NEVER)))
    }

    pub(crate) fn authenticate(
        &self,
        certificate: Sha256Digest,
    ) -> Result<AuthenticatedDevice<'a>, AuthError> {
        self.state.nodes.registry.authenticate_fingerprint(certificate, self.now)
    }

    /// The worker that `handle` means, over its own device's channel (invariant 6).
    pub(crate) fn worker(
        &self,
        handle: WorkerHandle,
        device: &DeviceId,
    ) -> Result<&'a WorkerRecord, WorkerError> {
        let record = self.state.roster.by_handle(handle).ok_or(WorkerError::StaleHandle)?;
        if record.device == *device { Ok(record) } else { Err(WorkerError::OtherDevice) }
    }

    /// Asks the transition table.
    pub(crate) fn admit(&self, act: Act, record: &WorkerRecord) -> Result<(), WorkerError> {
        let quarantined = self.state.roster.is_quarantined(record);
        let kind = record.activity.kind();
        table::admitted(act, kind, quarantined, record.draining)
            .map(|_| ())
            .map_err(|code| WorkerError::Condition { code, state: kind.name() })
    }

    /// The instant up to which a run whose lease is lost now is held: its expiry plus grace.
    pub(crate) fn hold_until(&self, held: &HeldLease) -> Mono {
        held.lease.expires.plus(self.state.policy.lease.grace_ms)
    }

    /// Until when the end of a run, or its last attempt, is remembered.
    pub(crate) fn remember_run_until(&self) -> Mono {
        self.now.mono.plus(self.state.policy.runs.grant_lifetime_max_ms)
    }

    /// The lease is lost: the worker owes cleanup and evidence, and the run is held until `run_held_until`.
    pub(crate) fn lose(
        &self,
        steps: &mut Steps,
        slot: u32,
        held: &HeldLease,
        reason: LossReason,
        run_held_until: Mono,
    ) {
        let fence = held.lease.fence;
        steps.events.push(FleetEvent::LeaseLost { slot, fence, reason, run_held_until });
        if held.stage != LeaseStage::Revoking {
            steps.effects.push(Effect::LeaseOver { fence });
        }
        self.end_exhausted_run(steps, held, Some(reason));
    }

    /// The lease ends well.
    pub(crate) fn give_back(&self, steps: &mut Steps, slot: u32, held: &HeldLease) {
        let fence = held.lease.fence;
        steps.events.push(FleetEvent::LeaseReturned { slot, fence });
        if held.stage != LeaseStage::Revoking {
            steps.effects.push(Effect::LeaseOver { fence });
        }
        self.end_exhausted_run(steps, held, held.revoked.map(|(reason, _)| reason));
    }

    /// A run that lost its last attempt has ended, so that every run ends.
    fn end_exhausted_run(&self, steps: &mut Steps, held: &HeldLease, lost: Option<LossReason>) {
        use super::runs::RunState;
        let run = &held.lease.terms.run;
        let ended = steps
            .events
            .iter()
            .any(|event| matches!(event, FleetEvent::RunEnded { run: ended, .. } if ended == run));
        if ended {
            return;
        }
        let exhausted = self.state.run(run).is_some_and(|record| {
            record.attempts >= self.state.policy.runs.max_attempts
                && matches!(record.state, RunState::Leased { .. })
        });
        if exhausted {
            steps.events.push(FleetEvent::RunEnded {
                run: run.clone(),
                fence: held.lease.fence,
                outcome: None,
                lost,
                outputs: None,
                remembered_until: self.remember_run_until(),
            });
        }
    }

    /// The lease is taken back: it authorises nothing from here on, and the worker has to acknowledge it.
    pub(crate) fn take_back(&self, steps: &mut Steps, slot: u32, held: &HeldLease, reason: LossReason) {
        let fence = held.lease.fence;
        let acknowledge_by = self.now.mono.plus(self.state.policy.lease.acknowledge_ms);
        steps.events.push(FleetEvent::LeaseRevoked { slot, fence, reason, acknowledge_by });
        let (worker, device) = (self.state.handle(slot), held.lease.device.clone());
        steps.effects.push(Effect::LeaseOver { fence });
        steps.effects.push(Effect::Revoke { worker, device, fence, reason });
    }

    /// Closes the latch, and takes a lease back that is still running.
    pub(crate) fn quarantine(
        &self,
        steps: &mut Steps,
        slot: u32,
        record: &WorkerRecord,
        reason: QuarantineReason,
    ) {
        if let Activity::Leased(held) = &record.activity
            && matches!(held.stage, LeaseStage::Assigned | LeaseStage::Running)
        {
            self.take_back(steps, slot, held, LossReason::Quarantined);
        }
        steps.events.push(FleetEvent::Quarantined { slot, reason });
    }

    /// The lease of a worker, with its slot, for acts that need one.
    pub(crate) fn held(&self, slot: u32) -> Option<&'a HeldLease> {
        self.state.roster.get(slot).and_then(state::held)
    }
}

/// Why a principal is not a device that may go on.
#[derive(Clone, Debug)]
pub(crate) enum DeviceRefusal {
    Principal,
    Auth(AuthError),
}

macro_rules! device_refusal {
    ($($error:ty),*) => {$(
        impl From<DeviceRefusal> for $error {
            fn from(refusal: DeviceRefusal) -> Self {
                match refusal {
                    DeviceRefusal::Principal => Self::Command(CommandError::Principal),
                    DeviceRefusal::Auth(error) => Self::Device(error),
                }
            }
        }
    )*};
}

device_refusal!(
    super::rejection::ChallengeError,
    super::rejection::AttestError,
    super::rejection::HeartbeatError,
    super::rejection::LeaseError
);
