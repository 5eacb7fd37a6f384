//! Requests to devices: each reaches one device, runs there at most once, and its result is remembered.
//!
//! A client asks for a capability. Dispatch binds the request to one device, waits for the device's credit,
//! hands the request over, and remembers how it ended. The rules:
//!
//! * A request is answered by the device to which it was sent, in the incarnation and the delivery in which
//!   it was sent, or not at all. A final state stays final (invariant 14).
//! * A device may be asked for a capability that the operator granted **and** the device claims. Grants
//!   outlive every stream.
//! * Nothing new is sent to a device that is stale, draining, quarantined or revoked, and nothing at all to
//!   the last two. A draining device receives again what it held when its connection was lost, because it is
//!   meant to finish that.
//! * A request whose deadline passed in the queue is never sent.
//! * After a lost connection the same incarnation gets the same request with the same id, and its
//!   [`AgentLedger`] runs the request at most once. After a crash of the agent the request has failed as
//!   lost.
//! * Every queue is bounded, and a full queue is a refusal with a code. A device with a full queue is not
//!   chosen for a request to any device, and no client holds more than its share. A device offers a window.
//!   The requests that it holds use the window up, and a window of zero stops the flow.
//!
//! ```
//! use leasehold::{capability::{CapabilityName, CapabilitySet}, dispatch::*, id::*, time::{Millis, Now}};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (device, client) = (DeviceId::new("desk")?, ClientId::new("service")?);
//! let mut state = DispatchState::new(DispatchPolicy::default(), [7; 16]);
//! let mut live = DispatchLiveness::new();
//! let now = Now::new(0, 0);
//!
//! let screen = CapabilitySet::parse(["screen:read"])?;
//! let grant = DispatchCommand::Grant { device: device.clone(), capabilities: screen.clone() };
//! let decision = state.decide_operator(now, &grant)?;
//! let _ = state.accept(&mut live, now, decision)?;
//!
//! let hello = DeviceMessage::Connect { incarnation: Incarnation(1), claims: screen, window: 4 };
//! let decision = state.decide_device(now, &device, &hello)?;
//! let _ = state.accept(&mut live, now, decision)?;
//!
//! let request = RequestId::new("r1")?;
//! let ask = EnqueueRequest {
//!     request: request.clone(), target: Target::Any, capability: CapabilityName::new("screen:read")?,
//!     payload: Payload::new(b"top left"), result_limit: 1024, ttl_ms: Millis::from_secs(5),
//! };
//! let decision = state.enqueue(&live, now, &client, &ask)?;
//! assert_eq!(state.accept(&mut live, now, decision)?.answer.device, device);
//!
//! let decision = state.decide_sends(&live, now);
//! let sent = state.accept(&mut live, now, decision)?;
//! let [DispatchEffect::Deliver { delivery, .. }] = &sent.effects[..] else { panic!() };
//!
//! // On the device:
//! let mut ledger = AgentLedger::new(Incarnation(1), LedgerLimits::default());
//! assert!(matches!(ledger.receive(now, delivery.clone()).action, AgentAction::Execute(_)));
//! let answer = ledger.finished(&request, Outcome::Succeeded(Payload::new(b"a clock"))).unwrap();
//!
//! let decision = state.decide_device(now, &device, &answer)?;
//! let _ = state.accept(&mut live, now, decision)?;
//! assert_eq!(state.record(&request).unwrap().state(), RequestState::Succeeded);
//! // The same answer again changes nothing.
//! assert_eq!(state.decide_device(now, &device, &answer), Err(DispatchError::RequestFinal));
//! # Ok(()) }
//! ```
//!
//! The caller supplies the time and the sender. A driver calls [`DispatchState::decide_due`] and then
//! [`DispatchState::decide_sends`] after every operation and at [`DispatchState::next_due`].

mod client;
mod decide;
mod device;
mod error;
mod event;
mod evolve;
mod held;
mod ledger;
mod liveness;
mod message;

mod payload;
mod policy;
mod ready;
mod record;
mod recover;
mod senders;
mod state;
#[cfg(test)]
mod tests;

pub use self::{
    decide::{Accepted, Decision, Enqueued, More},
    error::{DispatchError, Share},
    event::{DeviceStanding, DisconnectReason, DispatchEvent},
    ledger::{AgentAction, AgentLedger, LedgerLimits, Receipt},
    liveness::DispatchLiveness,
    message::{
        Delivery, DeviceMessage, DispatchCommand, DispatchEffect, DispatchRequest, EnqueueRequest,
        MediationStep, Outcome, Target,
    },
    payload::Payload,
    policy::{DispatchPolicy, DispatchPolicyDocument, DispatchPolicyError},
    record::{
        CapabilityRequestRecord, FailReason, Incarnation, Mediation, RejectReason, RequestState, Stage,
    },
    state::{DeviceView, DispatchCounts, DispatchState},
};

pub(crate) use self::{
    event::StoredDispatchEvent,
    recover::{DeviceForm, DispatchHead},
};
