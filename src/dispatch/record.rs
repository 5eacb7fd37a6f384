//! The record of one capability request, from enqueue to its end.

use core::fmt;

use serde::{Deserialize, Serialize};

use super::payload::Payload;
use crate::{
    capability::CapabilityName,
    code::{self, Code},
    digest::Sha256Digest,
    id::{ClientId, DeviceId, RequestId},
    slab::Keyed,
    time::Mono,
};

/// The incarnation of the agent on a device: a number that grows at every start of the agent. Only the newest
/// incarnation is accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Incarnation(pub u64);

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Where an open request was when its deadline passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Stage {
    /// Not handed over.
    Queued,
    /// Handed over, and not answered.
    Dispatched,
    /// Waiting for the person at the device.
    AwaitingLocalMediation,
}

/// Why a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FailReason {
    /// The device tried and reports a failure. The result contains what it reports.
    Device,
    /// The agent that had the request is gone or has forgotten it. The request may have run in part, or not
    /// at all.
    Lost,
    /// The result exceeded the limit of the request and was discarded.
    ResultTooLarge,
    /// The request was delivered as often as the policy allows, and the connection was lost every time.
    Undeliverable,
}

/// Why a request was rejected. A rejected request did not run to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RejectReason {
    /// The client or an operator cancelled the request.
    Cancelled,
    /// The operator withdrew the capability, or the device no longer claims it.
    CapabilityWithdrawn,
    /// The person at the device refused.
    MediationDenied,
    /// The agent refused the request before it ran.
    ByDevice,
    /// The device was quarantined.
    DeviceQuarantined,
    /// The device was revoked, or its certificate or its key.
    DeviceRevoked,
    /// Another device was paired under the same name.
    DeviceReplaced,
    /// The device was removed.
    DeviceRemoved,
}

/// The state of a request. The last four are final and stay final (invariant 14).
///
/// ```text
///            +--> Dispatched <----> AwaitingLocalMediation
///   Queued --+        |                    |
///      |     |        v                    v
///      +-----+--> Succeeded | Failed | TimedOut | Rejected
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RequestState {
    /// The request waits to be handed to its device.
    Queued,
    /// The request was handed to its device.
    Dispatched,
    /// The device waits for the approval of the person at it.
    AwaitingLocalMediation,
    /// The request ran and has a result.
    Succeeded,
    /// The request ran, or may have run, and has no result.
    Failed(FailReason),
    /// The deadline of the request passed.
    TimedOut(Stage),
    /// The request was stopped for a reason other than a failure.
    Rejected(RejectReason),
}

impl RequestState {
    /// Whether this state is final.
    pub const fn is_final(self) -> bool {
        self.stage().is_none()
    }

    /// Where an open request is; `None` for a final state.
    pub const fn stage(self) -> Option<Stage> {
        match self {
            Self::Queued => Some(Stage::Queued),
            Self::Dispatched => Some(Stage::Dispatched),
            Self::AwaitingLocalMediation => Some(Stage::AwaitingLocalMediation),
            Self::Succeeded | Self::Failed(_) | Self::TimedOut(_) | Self::Rejected(_) => None,
        }
    }

    /// The stable code of a final state; `None` for an open one.
    pub const fn end_code(self) -> Option<Code> {
        Some(match self {
            Self::Queued | Self::Dispatched | Self::AwaitingLocalMediation => return None,
            Self::Succeeded => code::DISPATCH_SUCCEEDED,
            Self::Failed(FailReason::Device) => code::DISPATCH_FAILED_DEVICE,
            Self::Failed(FailReason::Lost) => code::DISPATCH_FAILED_LOST,
            Self::Failed(FailReason::ResultTooLarge) => code::DISPATCH_FAILED_RESULT_TOO_LARGE,
            Self::Failed(FailReason::Undeliverable) => code::DISPATCH_FAILED_UNDELIVERABLE,
            Self::TimedOut(_) => code::DISPATCH_TIMED_OUT,
            Self::Rejected(RejectReason::Cancelled) => code::DISPATCH_REJECTED_CANCELLED,
            Self::Rejected(RejectReason::CapabilityWithdrawn) => code::DISPATCH_REJECTED_CAPABILITY_WITHDRAWN,
            Self::Rejected(RejectReason::MediationDenied) => code::DISPATCH_REJECTED_MEDIATION_DENIED,
            Self::Rejected(RejectReason::ByDevice) => code::DISPATCH_REJECTED_BY_DEVICE,
            Self::Rejected(RejectReason::DeviceQuarantined) => code::DISPATCH_REJECTED_QUARANTINE,
            Self::Rejected(RejectReason::DeviceRevoked) => code::DISPATCH_REJECTED_REVOCATION,
            Self::Rejected(RejectReason::DeviceReplaced) => code::DISPATCH_REJECTED_REPLACEMENT,
            Self::Rejected(RejectReason::DeviceRemoved) => code::DISPATCH_REJECTED_REMOVAL,
        })
    }
}

/// The state of the local approval of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Mediation {
    /// The policy needs no approval.
    NotNeeded,
    /// The policy needs an approval, and none was reported.
    Needed,
    /// The device reported an approval.
    Approved,
}

/// A capability request: what is asked of which device, its state, and its result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CapabilityRequestRecord {
    pub(crate) id: RequestId,
    pub(crate) number: u64,
    pub(crate) client: ClientId,
    pub(crate) device: DeviceId,
    pub(crate) capability: CapabilityName,
    pub(crate) content: Sha256Digest,
    pub(crate) payload: Payload,
    pub(crate) result_limit: u32,
    pub(crate) mediation: Mediation,
    pub(crate) enqueued: Mono,
    pub(crate) deadline: Mono,
    pub(crate) state: RequestState,
    pub(crate) incarnation: Incarnation,
    pub(crate) attempt: u32,
    pub(crate) result: Payload,
    pub(crate) forget_at: Mono,
}

impl Keyed for CapabilityRequestRecord {
    fn key(&self) -> &[u8] {
        self.id.as_str().as_bytes()
    }
}

impl CapabilityRequestRecord {
    /// The request's id. The client chooses it, and it is unique while the request is remembered.
    pub fn id(&self) -> &RequestId {
        &self.id
    }

    /// Its number. Requests are handed to a device in the order of their numbers.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The client that asked.
    pub fn client(&self) -> &ClientId {
        &self.client
    }

    /// The only device that may answer.
    pub fn device(&self) -> &DeviceId {
        &self.device
    }

    /// The capability that is asked for.
    pub fn capability(&self) -> &CapabilityName {
        &self.capability
    }

    /// Its state.
    pub fn state(&self) -> RequestState {
        self.state
    }

    /// The state of its local approval.
    pub fn mediation(&self) -> Mediation {
        self.mediation
    }

    /// When the request was enqueued.
    pub fn enqueued(&self) -> Mono {
        self.enqueued
    }

    /// The first instant at which a result is too late.
    pub fn deadline(&self) -> Mono {
        self.deadline
    }

    /// The incarnation to which it was last handed over; `None` if it was not handed over.
    pub fn incarnation(&self) -> Option<Incarnation> {
        (self.attempt > 0).then_some(self.incarnation)
    }

    /// How often it was handed over.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The result, or what the device reports about a failure. Empty before the end and after it was
    /// collected.
    pub fn result(&self) -> &Payload {
        &self.result
    }

    /// The bytes that the request holds or was promised.
    pub(crate) fn bytes(&self) -> u64 {
        if self.state.is_final() {
            self.result.size()
        } else {
            self.payload.size().saturating_add(u64::from(self.result_limit))
        }
    }

    /// When the request must be looked at next: at its deadline, or at the end of its retention.
    pub(crate) fn timer(&self) -> Mono {
        if self.state.is_final() { self.forget_at } else { self.deadline }
    }
}
