//! The input and the output of a decision. A decision reads a [`Context`] (the state, the liveness and the
//! time) and makes a [`Draft`] of events, effects and an answer. Nothing in this module changes the state.

use alloc::{boxed::Box, vec::Vec};

use super::{
    command_rejection::{CommandError, TimeError},
    condition::{Activity, HeldLease, LeaseStage, LossReason, QuarantineReason},
    effect::{Effect, Effects},
    event::FleetEvent,
    liveness::Liveness,
    operation::{Operation, WorkerHandle},
    outcome::RunOutcome,
    policy::UsedOnce,
    principal::Principal,
    rejection::WorkerError,
    roster::WorkerRecord,
    runs::RunState,
    setup::Setup,
    state::{self, FleetState},
    table::{self, Act},
};
use crate::{
    attestation::Learned,
    digest::Sha256Digest,
    id::DeviceId,
    identity::{AuthError, AuthenticatedDevice},
    time::{Millis, Mono, Now, Wall},
};

/// An operation that the fleet can decide. The trait is sealed: the set of operations is fixed.
pub trait Decide: Operation + sealed::Decide {}

impl<O: sealed::Decide> Decide for O {}

pub(crate) mod sealed {
    use super::{Context, Draft, Operation};

    /// The decision for one kind of operation.
    pub trait Decide: Operation {
        /// Decides the operation. The same context always gives the same draft.
        ///
        /// # Errors
        /// The operation's rejection. A rejection changes nothing.
        fn decide(&self, context: &Context<'_>) -> Result<Draft<Self::Answer>, Self::Error>;

        /// Whether this principal may ask for the operation.
        fn admits(principal: &super::Principal) -> bool;

        /// The name of the operation. It separates the fingerprints of different operations with equal
        /// content.
        const NAME: &'static str;
    }
}

/// Everything that a decision may read.
#[derive(Debug)]
pub struct Context<'a> {
    pub(crate) state: &'a FleetState,
    pub(crate) liveness: &'a Liveness,
    pub(crate) setup: &'a Setup,
    pub(crate) principal: &'a Principal,
    /// Monotonic and wall time, after checking both against the last record.
    pub(crate) now: Now,
    /// How far the wall clock leapt, if it did.
    pub(crate) leap: Option<Millis>,
    /// What the wall clock shows, trusted or not.
    pub(crate) shown: Wall,
}

/// What accepting the operation will do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft<A> {
    pub(crate) events: Vec<FleetEvent>,
    pub(crate) effects: Effects,
    /// The slot of the worker that asked, if it is known. That worker counts as heard when the draft is
    /// accepted.
    pub(crate) sender: Option<u32>,
    /// What the appraisal learned about attachments. It is remembered when the draft is accepted. Boxed, because most
    /// operations have none and a draft is moved several times.
    pub(crate) learned: Option<Box<Learned>>,
    pub(crate) answer: A,
}

/// Events and effects while a decision collects them.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    pub(crate) events: Vec<FleetEvent>,
    pub(crate) effects: Effects,
    sender: Option<u32>,
    pub(crate) learned: Option<Box<Learned>>,
}

impl Steps {
    /// Steps that the worker in `slot` asked for, with room for `events` events. Most operations allocate
    /// nothing else, and the record of the journal takes the allocation over.
    pub(crate) fn of(slot: u32, events: usize) -> Self {
        Self { sender: Some(slot), ..Self::with_room(events) }
    }

    pub(crate) fn with_room(events: usize) -> Self {
        Self { events: Vec::with_capacity(events), ..Self::default() }
    }

    /// Steps that consist of `events` alone.
    pub(crate) fn following(events: Vec<FleetEvent>) -> Self {
        Self { events, ..Self::default() }
    }

    pub(crate) fn with_answer<A>(self, answer: A) -> Draft<A> {
        let Self { events, effects, sender, learned } = self;
        Draft { events, effects, sender, learned, answer }
    }
}

impl<'a> Context<'a> {
    /// Refuses if the wall clock leapt. Operations that judge dates call it first.
    pub(crate) fn trust_wall(&self) -> Result<(), CommandError> {
        match self.leap {
            Some(leap) => Err(TimeError::WallLeap { leap }.into()),
            None => Ok(()),
        }
    }

    /// The device behind the principal, authenticated at this instant (invariant 12).
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

    /// Whether the principal is authenticated at this instant. Only a device can lose its authentication
    /// between two calls; the shell vouches for every other principal with each call.
    pub(crate) fn is_authenticated(&self) -> bool {
        !matches!(self.principal, Principal::Device { .. }) || self.device().is_ok()
    }

    /// The record of the worker that sent a message. The message must come over the channel of the worker's
    /// own device and name its current incarnation.
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

    /// The same record without asking the registry, if the worker's last heartbeat was authenticated and
    /// nothing changed since that could revoke it (invariant 12). `None` otherwise; [`Self::sender`] then
    /// checks everything.
    pub(crate) fn vouched(&self, handle: WorkerHandle) -> Option<&'a WorkerRecord> {
        let Principal::Device { device, certificate } = self.principal else { return None };
        if !self.liveness.is_vouched(handle, self.now.wall) {
            return None;
        }
        let record = self.state.roster.by_handle(handle)?;
        let same = record.evidence.as_ref()?.record.certificate == *certificate && record.device == *device;
        same.then_some(record)
    }

    /// Until when the certificate of the worker's evidence authenticates its device, unless the registry
    /// changes. `None` if the device uses another certificate, or if more than the certificate's dates limits
    /// it.
    pub(crate) fn voucher(
        &self,
        record: &WorkerRecord,
        authenticated: &AuthenticatedDevice<'_>,
    ) -> Option<Wall> {
        let certificate = authenticated.certificate();
        let same = record.evidence.as_ref()?.record.certificate == certificate.fingerprint();
        // The wall time of accepted records never goes back, so a validity that has begun stays begun.
        let begun = certificate.not_before() <= self.state.last.wall;
        (same && begun && authenticated.ends().is_none()).then_some(certificate.not_after())
    }

    /// The monotonic instant at which the certificate of the worker's evidence ends: by its dates, or by the
    /// end of a rotation if that is sooner.
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

    /// The worker that `handle` names, if it belongs to `device` and the handle is of its current incarnation
    /// (invariant 6).
    pub(crate) fn worker(
        &self,
        handle: WorkerHandle,
        device: &DeviceId,
    ) -> Result<&'a WorkerRecord, WorkerError> {
        let record = self.state.roster.by_handle(handle).ok_or(WorkerError::StaleHandle)?;
        if record.device == *device { Ok(record) } else { Err(WorkerError::OtherDevice) }
    }

    /// Asks the transition table whether `act` is possible.
    pub(crate) fn admit(&self, act: Act, record: &WorkerRecord) -> Result<(), WorkerError> {
        let quarantined = self.state.roster.is_quarantined(record);
        let kind = record.activity.kind();
        table::admitted(act, kind, quarantined, record.draining)
            .map(|_| ())
            .map_err(|code| WorkerError::Condition { code, state: kind.name() })
    }

    /// Until when a run whose lease is lost now is held: the latest expiry that the holder was told, plus
    /// `lease.grace_ms`.
    pub(crate) fn hold_until(&self, held: &HeldLease) -> Mono {
        let former = held.lease.fence.epoch < self.state.epoch;
        let told = if former { self.state.bounds.latest(held.promised) } else { held.promised };
        told.plus(self.state.policy.lease.grace_ms)
    }

    /// Until when the end of a run, or its last attempt, is remembered.
    pub(crate) fn remember_run_until(&self) -> Mono {
        self.now.mono.plus(self.state.policy.runs.grant_lifetime_max_ms)
    }

    /// Loses the lease. The worker owes cleanup and evidence, and the run is held until `run_held_until`.
    pub(crate) fn lose(
        &self,
        steps: &mut Steps,
        slot: u32,
        held: &HeldLease,
        reason: LossReason,
        run_held_until: Mono,
    ) {
        let fence = held.lease.fence;
        let cause = held.cause(Some(reason));
        // A lease that was revoked says nothing about the worker.
        if cause.is_some_and(|cause| !cause.is_spared()) {
            self.rate(steps, slot, true);
        }
        steps.events.push(FleetEvent::LeaseLost { slot, fence, reason, run_held_until });
        if held.stage != LeaseStage::Revoking {
            steps.effects.push(Effect::LeaseOver { fence });
        }
        self.end_exhausted_run(steps, held, Some(reason), cause);
    }

    /// Returns the lease. A worker whose evidence no longer allows a lease does not become available.
    pub(crate) fn give_back(&self, steps: &mut Steps, slot: u32, record: &WorkerRecord, held: &HeldLease) {
        let fence = held.lease.fence;
        if FleetState::evidence_in_time(record, self.now) && self.attested(slot, record).is_err() {
            steps.events.push(FleetEvent::EvidenceWithdrawn { slot });
        }
        if self.state.policy.workers.set_aside_after > 0
            && held.stage != LeaseStage::Revoking
            && let Some(outcome) = self.outcome_of(steps, held)
        {
            self.rate(steps, slot, outcome == RunOutcome::Failed);
        }
        steps.events.push(FleetEvent::LeaseReturned { slot, fence });
        if held.stage != LeaseStage::Revoking {
            steps.effects.push(Effect::LeaseOver { fence });
        }
        let cause = held.cause(None);
        self.end_exhausted_run(steps, held, cause, cause);
        self.retire_used(steps, slot);
    }

    /// How the run of a lease ended, in this record or in an earlier one.
    fn outcome_of(&self, steps: &Steps, held: &HeldLease) -> Option<RunOutcome> {
        let now = steps.events.iter().find_map(|event| match event {
            FleetEvent::RunEnded { outcome, .. } => *outcome,
            _ => None,
        });
        now.or_else(|| match self.state.run(&held.lease.terms.run)?.state {
            RunState::Ended { outcome, fence, .. } if fence == held.lease.fence => outcome,
            _ => None,
        })
    }

    /// Counts that a run ended badly or well on the worker in `slot`. `workers.set_aside_after` bad runs in a
    /// row set the worker aside. A good run clears that; a worker that is set aside can only have run a
    /// probe.
    fn rate(&self, steps: &mut Steps, slot: u32, bad: bool) {
        let most = self.state.policy.workers.set_aside_after;
        let Some(record) = self.state.roster.get(slot).filter(|_| most > 0) else { return };
        let marks = record.marks();
        let bad_in_a_row = if bad { marks.bad_in_a_row.saturating_add(1) } else { 0 };
        let set_aside = bad && (marks.set_aside || bad_in_a_row >= most);
        if (bad_in_a_row, set_aside) != (marks.bad_in_a_row, marks.set_aside) {
            steps.events.push(FleetEvent::WorkerRated { slot, bad_in_a_row, set_aside });
        }
    }

    /// Retires the worker in `slot` if the policy uses it once; the caller has checked that it owes no
    /// cleanup. A quarantined worker is drained instead, so that it gets no lease until an operator has
    /// looked at it.
    pub(crate) fn retire_used(&self, steps: &mut Steps, slot: u32) {
        let once = match &self.state.policy.workers.used_once {
            UsedOnce::Nobody => false,
            UsedOnce::Everybody => true,
            UsedOnce::Capability(name) => {
                self.state.roster.capabilities(slot).is_some_and(|able| able.contains(name))
            }
        };
        let Some(record) = self.state.roster.get(slot).filter(|_| once) else { return };
        if !self.state.roster.is_quarantined(record) {
            steps.events.push(FleetEvent::WorkerRetired { slot });
        } else if !record.draining {
            steps.events.push(FleetEvent::DrainBegan { slot });
        }
    }

    /// Ends a run that lost its last attempt for `cause`, so that every run ends.
    fn end_exhausted_run(
        &self,
        steps: &mut Steps,
        held: &HeldLease,
        lost: Option<LossReason>,
        cause: Option<LossReason>,
    ) {
        let run = &held.lease.terms.run;
        let ended = steps
            .events
            .iter()
            .any(|event| matches!(event, FleetEvent::RunEnded { run: ended, .. } if ended == run));
        if ended {
            return;
        }
        let rules = &self.state.policy.runs;
        let spared = cause.is_some_and(LossReason::is_spared);
        let exhausted = self.state.run(run).is_some_and(|record| {
            record.counted(rules.max_spared, spared) >= rules.max_attempts
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

    /// Revokes the lease. It authorises nothing from now on, and the worker must acknowledge the revocation.
    pub(crate) fn take_back(&self, steps: &mut Steps, slot: u32, held: &HeldLease, reason: LossReason) {
        let fence = held.lease.fence;
        let acknowledge_by = self.now.mono.plus(self.state.policy.lease.acknowledge_ms);
        steps.events.push(FleetEvent::LeaseRevoked { slot, fence, reason, acknowledge_by });
        let (worker, lease) = (self.state.handle(slot), held.lease.clone());
        steps.effects.push(Effect::LeaseOver { fence });
        steps.effects.push(Effect::Revoke { worker, lease, reason });
    }

    /// Closes the latch, and revokes a lease that is assigned or running.
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

    /// The lease that the worker in `slot` holds.
    pub(crate) fn held(&self, slot: u32) -> Option<&'a HeldLease> {
        self.state.roster.get(slot).and_then(state::held)
    }
}

/// Why a principal does not authenticate as a device.
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
