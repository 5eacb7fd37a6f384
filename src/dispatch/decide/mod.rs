//! Decisions: pure functions from state, liveness, time and an operation to events, or to a refusal.

use alloc::vec::Vec;

use serde::Serialize;

use super::{
    error::DispatchError,
    event::{DisconnectReason, DispatchEvent},
    liveness::DispatchLiveness,
    message::{Delivery, DispatchEffect},
    payload::Payload,
    record::{CapabilityRequestRecord, Mediation, RequestState},
    state::DispatchState,
};
use crate::{
    id::DeviceId,
    time::{Mono, Now},
};

mod due;
mod from_device;
mod from_operator;
mod from_service;

pub use self::{due::More, from_service::Enqueued};

/// A decision that has not been accepted: its events, its answer, and the version of the state that it was
/// made on.
///
/// Only this module creates one, and [`DispatchState::accept`] consumes it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "nothing has happened until the decision is accepted"]
pub struct Decision<A> {
    version: u64,
    events: Vec<DispatchEvent>,
    heard: Option<DeviceId>,
    answer: A,
}

impl<A> Decision<A> {
    /// The events that accepting the decision would fold.
    pub fn events(&self) -> &[DispatchEvent] {
        &self.events
    }

    /// The answer.
    pub fn answer(&self) -> &A {
        &self.answer
    }

    /// The journal record of the decision, in postcard. Write it before acting on its [`DispatchEffect`]s.
    /// [`DispatchState::recover`] reads it.
    pub fn to_journal(&self) -> Vec<u8> {
        #[derive(Serialize)]
        struct Record<'a> {
            version: u64,
            events: &'a [DispatchEvent],
        }
        // Writing to memory fails only for types that postcard cannot write. A test writes every event.
        postcard::to_allocvec(&Record { version: self.version, events: &self.events }).unwrap_or_default()
    }

    /// The events, for a journal that holds more than dispatch.
    pub(crate) fn into_events(self) -> Vec<DispatchEvent> {
        self.events
    }

    pub(crate) fn into_parts(self) -> (Vec<DispatchEvent>, A) {
        (self.events, self.answer)
    }

    pub(crate) fn heard(mut self, device: &DeviceId) -> Self {
        self.heard = Some(device.clone());
        self
    }

    pub(crate) fn map<B>(self, change: impl FnOnce(A) -> B) -> Decision<B> {
        let Self { version, events, heard, answer } = self;
        Decision { version, events, heard, answer: change(answer) }
    }
}

/// The result of an accepted decision.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "effects are lost when they are not acted on"]
#[non_exhaustive]
pub struct Accepted<A> {
    /// The answer for the caller.
    pub answer: A,
    /// The effects, in order. Act on them once the events are durable.
    pub effects: Vec<DispatchEffect>,
}

impl DispatchState {
    /// Accepts `decision`: folds its events and returns its answer and its effects.
    ///
    /// # Errors
    /// [`DispatchError::StaleDecision`] if the state is not the one that the decision was made on. Nothing
    /// changes then.
    pub fn accept<A>(
        &mut self,
        live: &mut DispatchLiveness,
        now: Now,
        decision: Decision<A>,
    ) -> Result<Accepted<A>, DispatchError> {
        if decision.version != self.version {
            return Err(DispatchError::StaleDecision);
        }
        // Several events usually have an effect each; a single event often has none.
        let events = decision.events.len();
        let mut effects = Vec::with_capacity(if events > 1 { events } else { 0 });
        for event in &decision.events {
            self.effects_of(event, &mut effects);
            self.touch(live, now, event);
        }
        if let Some(device) = &decision.heard {
            live.heard(self, device, now);
        }
        Ok(Accepted { answer: decision.answer, effects })
    }

    /// Folds `event` and keeps the soft state consistent with it.
    fn touch(&mut self, live: &mut DispatchLiveness, now: Now, event: &DispatchEvent) {
        live.before(self, event);
        self.evolve(event);
        live.after(self, event, now);
    }

    /// The effects of `event`, which is about to be folded.
    pub(crate) fn effects_of(&self, event: &DispatchEvent, effects: &mut Vec<DispatchEffect>) {
        match event {
            DispatchEvent::RequestDispatched { request, incarnation, attempt, at } => {
                let Some(record) = self.record(request) else { return };
                effects.push(DispatchEffect::Deliver {
                    device: record.device.clone(),
                    delivery: Delivery {
                        request: request.clone(),
                        number: record.number,
                        incarnation: *incarnation,
                        attempt: *attempt,
                        capability: record.capability.clone(),
                        payload: record.payload.clone(),
                        result_limit: record.result_limit,
                        ttl_ms: record.deadline.since(*at),
                        mediated: record.mediation != Mediation::NotNeeded,
                    },
                });
            }
            DispatchEvent::RequestEnded { request, state, .. } => {
                let Some(held) = self.requests.get_by(request.as_str().as_bytes()) else { return };
                let record = &held.record;
                let connected = self.devices.get(held.device).is_some_and(|device| device.session.is_some());
                if connected && record.attempt > 0 {
                    let device = record.device.clone();
                    effects.push(DispatchEffect::Settle { device, request: request.clone() });
                }
                let client = record.client.clone();
                effects.push(DispatchEffect::Finished { client, request: request.clone(), state: *state });
            }
            DispatchEvent::DeviceDisconnected {
                device,
                reason: DisconnectReason::Silent | DisconnectReason::Revoked | DisconnectReason::Replaced,
            } => effects.push(DispatchEffect::Close { device: device.clone() }),
            _ => {}
        }
    }

    /// The time that decisions use. It never goes back (invariant 7).
    pub(crate) fn at(&self, now: Now) -> Mono {
        self.clock.max(now.mono)
    }

    pub(crate) fn decided<A>(&self, events: Vec<DispatchEvent>, answer: A) -> Decision<A> {
        Decision { version: self.version, events, heard: None, answer }
    }

    pub(crate) fn ended(
        &self,
        record: &CapabilityRequestRecord,
        state: RequestState,
        result: Payload,
        at: Mono,
    ) -> DispatchEvent {
        let forget_at = at.plus(self.policy.bounds().retention_ms);
        DispatchEvent::RequestEnded { request: record.id.clone(), state, result, at, forget_at }
    }
}
