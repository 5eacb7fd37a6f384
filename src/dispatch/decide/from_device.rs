//! Messages of devices. The device is the one that the endpoint authenticated; no message names it.

use alloc::{vec, vec::Vec};

use crate::{
    capability::CapabilitySet,
    dispatch::{
        device::{Device, both},
        error::DispatchError,
        event::{DisconnectReason, DispatchEvent},
        message::{DeviceMessage, MediationStep, Outcome},
        payload::Payload,
        record::{CapabilityRequestRecord, FailReason, Incarnation, Mediation, RejectReason, RequestState},
        state::DispatchState,
    },
    id::{DeviceId, RequestId},
    time::{Mono, Now},
};

use super::Decision;

/// The delivery that a message is about.
struct About<'a> {
    incarnation: Incarnation,
    request: &'a RequestId,
    attempt: u32,
}

impl DispatchState {
    /// Decides a message of `device`, whose certificate was checked for this connection.
    ///
    /// # Errors
    /// [`DispatchError`]: the device is unknown, revoked or not connected, the message is of an older
    /// incarnation, or this device does not hold the request in this delivery. Nothing changes, and a request
    /// that has ended keeps its final state (invariant 14).
    pub fn decide_device(
        &self,
        now: Now,
        device: &DeviceId,
        message: &DeviceMessage,
    ) -> Result<Decision<()>, DispatchError> {
        let known = self.admitted(device)?;
        let at = self.at(now);
        let events = match message {
            DeviceMessage::Connect { incarnation, claims, window } => {
                self.connect(at, known, *incarnation, claims, *window)?
            }
            DeviceMessage::Window { incarnation, window } => {
                self.in_session(known, *incarnation)?;
                self.window(known, *window)?
            }
            DeviceMessage::Heartbeat { incarnation } => {
                self.in_session(known, *incarnation)?;
                Vec::new()
            }
            DeviceMessage::Mediation { incarnation, request, attempt, step } => {
                let about = About { incarnation: *incarnation, request, attempt: *attempt };
                self.mediate(at, known, &about, *step)?
            }
            DeviceMessage::Answer { incarnation, request, attempt, outcome } => {
                let about = About { incarnation: *incarnation, request, attempt: *attempt };
                self.answer(at, known, &about, outcome)?
            }
        };
        Ok(self.decided(events, ()).heard(device))
    }

    /// Notes that the stream of `device` ended. The device keeps the requests that it was given until their
    /// deadline.
    ///
    /// # Errors
    /// [`DispatchError::NotConnected`] if this incarnation has no open stream.
    pub fn disconnect(
        &self,
        device: &DeviceId,
        incarnation: Incarnation,
    ) -> Result<Decision<()>, DispatchError> {
        let slot = self.device_slot(device).ok_or(DispatchError::DeviceUnknown)?;
        let known = self.devices.get(slot).ok_or(DispatchError::DeviceUnknown)?;
        if known.session.is_none() || known.incarnation != incarnation {
            return Err(DispatchError::NotConnected);
        }
        let reason = DisconnectReason::Closed;
        Ok(self.decided(vec![DispatchEvent::DeviceDisconnected { device: device.clone(), reason }], ()))
    }

    fn admitted(&self, device: &DeviceId) -> Result<&Device, DispatchError> {
        let known = self.devices.get_by(device.as_str().as_bytes()).ok_or(DispatchError::DeviceUnknown)?;
        if known.standing.revoked { Err(DispatchError::Revoked) } else { Ok(known) }
    }

    fn in_session(&self, device: &Device, incarnation: Incarnation) -> Result<(), DispatchError> {
        if incarnation < device.incarnation {
            return Err(DispatchError::StaleIncarnation);
        }
        if device.session.is_none() || incarnation != device.incarnation {
            return Err(DispatchError::NotConnected);
        }
        Ok(())
    }

    fn window_allowed(&self, window: u32) -> Result<(), DispatchError> {
        if window > self.policy.bounds().max_window { Err(DispatchError::Window) } else { Ok(()) }
    }

    fn window(&self, device: &Device, window: u32) -> Result<Vec<DispatchEvent>, DispatchError> {
        self.window_allowed(window)?;
        if device.session.as_ref().is_some_and(|session| session.window == window) {
            return Ok(Vec::new());
        }
        Ok(vec![DispatchEvent::DeviceWindow { device: device.id.clone(), window }])
    }

    /// Opens a new stream. If the incarnation is the same, its requests are delivered again under the same
    /// ids. Requests of an older incarnation are lost, because only that agent could have known how far it
    /// got.
    fn connect(
        &self,
        at: Mono,
        device: &Device,
        incarnation: Incarnation,
        claims: &CapabilitySet,
        window: u32,
    ) -> Result<Vec<DispatchEvent>, DispatchError> {
        if incarnation < device.incarnation {
            return Err(DispatchError::StaleIncarnation);
        }
        self.window_allowed(window)?;
        let mut events = Vec::new();
        let mut again = Vec::new();
        let effective = both(&device.grants, claims);
        for record in device.open(&self.requests) {
            let in_hand = record.attempt > 0;
            let end = if record.deadline <= at {
                // Its deadline has passed: it is not delivered again, and `decide_due` ends it.
                continue;
            } else if in_hand && record.incarnation != incarnation {
                RequestState::Failed(FailReason::Lost)
            } else if !effective.contains(&record.capability) {
                RequestState::Rejected(RejectReason::CapabilityWithdrawn)
            } else if in_hand && record.attempt >= self.policy.bounds().max_deliveries {
                RequestState::Failed(FailReason::Undeliverable)
            } else if in_hand {
                again.push(DispatchEvent::RequestDispatched {
                    request: record.id.clone(),
                    incarnation,
                    attempt: record.attempt.saturating_add(1),
                    at,
                });
                continue;
            } else {
                continue;
            };
            events.push(self.ended(record, end, Payload::default(), at));
        }
        events.push(DispatchEvent::DeviceConnected {
            device: device.id.clone(),
            incarnation,
            claims: claims.clone(),
            window,
        });
        events.append(&mut again);
        Ok(events)
    }

    /// The open request that a message is about, if this device holds it in this delivery.
    fn in_hand(
        &self,
        at: Mono,
        device: &Device,
        about: &About<'_>,
    ) -> Result<&CapabilityRequestRecord, DispatchError> {
        self.in_session(device, about.incarnation)?;
        let record = self.record(about.request).ok_or(DispatchError::RequestUnknown)?;
        if record.device != device.id {
            return Err(DispatchError::OtherDevice);
        }
        if record.state.is_final() {
            return Err(DispatchError::RequestFinal);
        }
        if record.attempt == 0 {
            return Err(DispatchError::NotDispatched);
        }
        if record.incarnation != about.incarnation || record.attempt != about.attempt {
            return Err(DispatchError::StaleAttempt);
        }
        if record.deadline <= at {
            return Err(DispatchError::Late);
        }
        Ok(record)
    }

    fn mediate(
        &self,
        at: Mono,
        device: &Device,
        about: &About<'_>,
        step: MediationStep,
    ) -> Result<Vec<DispatchEvent>, DispatchError> {
        let record = self.in_hand(at, device, about)?;
        let request = about.request.clone();
        let awaited = record.state == RequestState::AwaitingLocalMediation;
        let approved = record.mediation == Mediation::Approved;
        match step {
            // The agent repeats this step after a redelivery.
            MediationStep::Awaiting if awaited || approved => Ok(Vec::new()),
            MediationStep::Approved if approved => Ok(Vec::new()),
            MediationStep::Awaiting => Ok(vec![DispatchEvent::MediationAwaited { request }]),
            MediationStep::Approved | MediationStep::Denied if !awaited => {
                Err(DispatchError::MediationOutOfOrder)
            }
            MediationStep::Approved => Ok(vec![DispatchEvent::MediationApproved { request }]),
            MediationStep::Denied => {
                let end = RequestState::Rejected(RejectReason::MediationDenied);
                Ok(vec![self.ended(record, end, Payload::default(), at)])
            }
        }
    }

    fn answer(
        &self,
        at: Mono,
        device: &Device,
        about: &About<'_>,
        outcome: &Outcome,
    ) -> Result<Vec<DispatchEvent>, DispatchError> {
        let record = self.in_hand(at, device, about)?;
        let ran = matches!(outcome, Outcome::Succeeded(_) | Outcome::Failed(_) | Outcome::TooLarge);
        let waits = record.state == RequestState::AwaitingLocalMediation;
        if ran && (waits || record.mediation == Mediation::Needed) {
            return Err(DispatchError::MediationMissing);
        }
        let (state, result) = match outcome {
            Outcome::Succeeded(bytes) | Outcome::Failed(bytes)
                if bytes.size() > u64::from(record.result_limit) =>
            {
                (RequestState::Failed(FailReason::ResultTooLarge), Payload::default())
            }
            Outcome::Succeeded(bytes) => (RequestState::Succeeded, bytes.clone()),
            Outcome::Failed(bytes) => (RequestState::Failed(FailReason::Device), bytes.clone()),
            Outcome::TooLarge => (RequestState::Failed(FailReason::ResultTooLarge), Payload::default()),
            Outcome::Lost => (RequestState::Failed(FailReason::Lost), Payload::default()),
            Outcome::Refused => (RequestState::Rejected(RejectReason::ByDevice), Payload::default()),
        };
        Ok(vec![self.ended(record, state, result, at)])
    }
}
