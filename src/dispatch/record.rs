//! One capability request, from enqueue to its end, and what it is bound to.

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

/// One life of the agent on a device. The agent counts it up at every start; only the newest may speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Incarnation(pub u64);

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Where an open request was when its time ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Stage {
    /// Never handed over.
    Queued,
    /// Handed over, not answered.
    Dispatched,
    /// Waiting for the person at the device.
    AwaitingLocalMediation,
}

/// Why a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FailReason {
    /// The device tried and says that it failed; the result holds what it says.
    Device,
    /// The agent that had the request is gone, or has forgotten it: it may have run in part, or not at all.
    Lost,
    /// The result was over the limit of the request, and was dropped.
    ResultTooLarge,
    /// It was delivered as often as the policy allows, and every time the connection was lost.
    Undeliverable,
}

/// Why a request was rejected: it did not run to an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RejectReason {
    /// The client or an operator cancelled it.
    Cancelled,
    /// The operator took the capability away, or the device no longer claims it.
    CapabilityWithdrawn,
    /// The person at the device said no.
    MediationDenied,
    /// The agent refused it before it ran.
    ByDevice,
    /// The device was quarantined.
    DeviceQuarantined,
    /// The device was revoked, or the certificate or the key that it had.
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
    /// Waits to be handed to its device.
    Queued,
    /// Handed to the device.
    Dispatched,
    /// The device waits for the person in front of it.
    AwaitingLocalMediation,
    /// The device answered.
    Succeeded,
    /// It ran, or may have run, and there is no result.
    Failed(FailReason),
    /// Its deadline passed.
    TimedOut(Stage),
    /// It was stopped, and the reason is not that it failed.
    Rejected(RejectReason),
}

impl RequestState {
    /// Whether this state is final.
    pub const fn is_final(self) -> bool {
        self.stage().is_none()
    }

    /// Where an open request is; none for a final state.
    pub const fn stage(self) -> Option<Stage> {
        match self {
            Self::Queued => Some(Stage::Queued),
            Self::Dispatched => Some(Stage::Dispatched),
            Self::AwaitingLocalMediation => Some(Stage::AwaitingLocalMediation),
            Self::Succeeded | Self::Failed(_) | Self::TimedOut(_) | Self::Rejected(_) => None,
        }
    }

    /// The stable code of a final state; none for an open one.
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

/// How far the local approval of a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Mediation {
    /// The policy asks for none.
    NotNeeded,
    /// The policy asks for one, and none was reported.
    Needed,
    /// The device reported an approval.
    Approved,
}

/// A capability request: what is asked of which device, where it is, and how it ended.
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
    /// The request's id, chosen by the client and unique for as long as the request is remembered.
    pub fn id(&self) -> &RequestId {
        &self.id
    }

    /// Its number: requests are handed to a device in the order of their numbers.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Who asked.
    pub fn client(&self) -> &ClientId {
        &self.client
    }

    /// The only device that may answer.
    pub fn device(&self) -> &DeviceId {
        &self.device
    }

    /// What is asked for.
    pub fn capability(&self) -> &CapabilityName {
        &self.capability
    }

    /// Where it is.
    pub fn state(&self) -> RequestState {
        self.state
    }

    /// How far its local approval is.
    pub fn mediation(&self) -> Mediation {
        self.mediation
    }

    /// When it was enqueued.
    pub fn enqueued(&self) -> Mono {
        self.enqueued
    }

    /// The first instant at which a result is too late.
    pub fn deadline(&self) -> Mono {
        self.deadline
    }

    /// The incarnation that it was last handed to. None while it never was.
    pub fn incarnation(&self) -> Option<Incarnation> {
        (self.attempt > 0).then_some(self.incarnation)
    }

    /// How often it was handed over.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The result, or what the device says about its failure. Empty before the end and after it was collected.
    pub fn result(&self) -> &Payload {
        &self.result
    }

    /// The bytes that it holds or was promised.
    pub(crate) fn bytes(&self) -> u64 {
        if self.state.is_final() {
            self.result.size()
        } else {
            self.payload.size().saturating_add(u64::from(self.result_limit))
        }
    }

    /// When the core must next look at it: its deadline, or the end of its retention.
    pub(crate) fn timer(&self) -> Mono {
        if self.state.is_final() { self.forget_at } else { self.deadline }
    }
}
