//! The bounds of dispatch. They are checked for consistency when the policy is built.

use serde::{Deserialize, Serialize};

use crate::{
    capability::{CapabilityName, CapabilitySet},
    code::{self, Code, Coded},
    time::Millis,
};

/// The serde form of a [`DispatchPolicy`]. A member that is left out has its default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DispatchPolicyDocument {
    /// How many devices may be known. Default 100 000.
    pub max_devices: u32,
    /// How many requests may be open or remembered. Default 100 000.
    pub max_requests: u32,
    /// How many requests may wait for one device. Default 64.
    pub max_queue: u32,
    /// How many requests of one client may be open or remembered. Default 25 000.
    pub max_client_requests: u32,
    /// How many requests of one client may wait for one device. Default 32.
    pub max_client_queue: u32,
    /// How many bytes of payloads and results one client may hold or be promised. Default 256 MiB.
    pub max_client_bytes: u64,
    /// The largest window that a device may offer. Default 16.
    pub max_window: u32,
    /// The largest payload of a request, in bytes. Default 64 KiB.
    pub max_request_bytes: u32,
    /// The largest result, in bytes. Default 256 KiB.
    pub max_result_bytes: u32,
    /// How many bytes of payloads and results may be held, or promised to open requests, in all. Default 1
    /// GiB.
    pub max_total_bytes: u64,
    /// The longest time from enqueue to deadline, in milliseconds. Default 10 minutes.
    pub longest_ttl_ms: Millis,
    /// How long an ended request is remembered, in milliseconds. During that time its result can be
    /// collected, and its id cannot be used for another request. Default 10 minutes.
    pub retention_ms: Millis,
    /// How long a device may be silent before it counts as stale, in milliseconds. Default 30 seconds.
    pub staleness_ms: Millis,
    /// How often one request is delivered at most, including the first time. Default 8.
    pub max_deliveries: u32,
    /// How many transitions one call of `decide_due` or `decide_sends` makes. Default 256.
    pub max_per_call: u32,
    /// The capabilities that need the approval of a person at the device. Default none.
    pub mediated: CapabilitySet,
}

impl Default for DispatchPolicyDocument {
    fn default() -> Self {
        Self {
            max_devices: 100_000,
            max_requests: 100_000,
            max_queue: 64,
            max_client_requests: 25_000,
            max_client_queue: 32,
            max_client_bytes: 256 << 20,
            max_window: 16,
            max_request_bytes: 64 << 10,
            max_result_bytes: 256 << 10,
            max_total_bytes: 1 << 30,
            longest_ttl_ms: Millis::from_secs(600),
            retention_ms: Millis::from_secs(600),
            staleness_ms: Millis::from_secs(30),
            max_deliveries: 8,
            max_per_call: 256,
            mediated: CapabilitySet::default(),
        }
    }
}

/// Why a form is not a valid dispatch policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DispatchPolicyError {
    /// The named bound is zero, which would refuse everything.
    #[error("`{0}` is more than zero")]
    Zero(&'static str),
    /// One request of the largest sizes would exceed `max_total_bytes`.
    #[error("`max_total_bytes` holds at least one request and one result of the largest sizes")]
    TotalBytes,
    /// One request of the largest sizes would exceed `max_client_bytes`.
    #[error("`max_client_bytes` holds at least one request and one result of the largest sizes")]
    ClientBytes,
}

impl Coded for DispatchPolicyError {
    fn code(&self) -> Code {
        code::DISPATCH_POLICY
    }
}

/// A dispatch policy. Every bound is larger than zero, and the bounds are consistent.
///
/// ```
/// use leasehold::dispatch::DispatchPolicy;
/// let policy: DispatchPolicy = serde_json::from_str(r#"{"max_queue":8,"mediated":["screen:read"]}"#).unwrap();
/// assert!(serde_json::from_str::<DispatchPolicy>(r#"{"max_queue":0}"#).is_err());
/// # let _ = policy;
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "DispatchPolicyDocument", into = "DispatchPolicyDocument")]
pub struct DispatchPolicy(DispatchPolicyDocument);

impl From<DispatchPolicy> for DispatchPolicyDocument {
    fn from(policy: DispatchPolicy) -> Self {
        policy.0
    }
}

impl TryFrom<DispatchPolicyDocument> for DispatchPolicy {
    type Error = DispatchPolicyError;

    fn try_from(document: DispatchPolicyDocument) -> Result<Self, DispatchPolicyError> {
        let bounds = [
            (u64::from(document.max_devices), "max_devices"),
            (u64::from(document.max_requests), "max_requests"),
            (u64::from(document.max_queue), "max_queue"),
            (u64::from(document.max_client_requests), "max_client_requests"),
            (u64::from(document.max_client_queue), "max_client_queue"),
            (document.max_client_bytes, "max_client_bytes"),
            (u64::from(document.max_window), "max_window"),
            (u64::from(document.max_request_bytes), "max_request_bytes"),
            (u64::from(document.max_result_bytes), "max_result_bytes"),
            (document.longest_ttl_ms.0, "longest_ttl_ms"),
            (document.retention_ms.0, "retention_ms"),
            (document.staleness_ms.0, "staleness_ms"),
            (u64::from(document.max_deliveries), "max_deliveries"),
            (u64::from(document.max_per_call), "max_per_call"),
        ];
        if let Some((_, name)) = bounds.into_iter().find(|(value, _)| *value == 0) {
            return Err(DispatchPolicyError::Zero(name));
        }
        let one = u64::from(document.max_request_bytes).saturating_add(u64::from(document.max_result_bytes));
        if document.max_total_bytes < one {
            return Err(DispatchPolicyError::TotalBytes);
        }
        if document.max_client_bytes < one {
            return Err(DispatchPolicyError::ClientBytes);
        }
        Ok(Self(document))
    }
}

impl DispatchPolicy {
    /// A policy that was checked when it came into force, by the rules of that time.
    pub(crate) const fn held_before(document: DispatchPolicyDocument) -> Self {
        Self(document)
    }

    /// The bounds.
    pub fn bounds(&self) -> &DispatchPolicyDocument {
        &self.0
    }

    /// Whether `capability` needs the approval of a person at the device.
    pub fn needs_mediation(&self, capability: &CapabilityName) -> bool {
        self.0.mediated.contains(capability)
    }

    /// How many requests may wait for one device.
    pub(crate) fn queue(&self) -> usize {
        usize::try_from(self.0.max_queue).unwrap_or(usize::MAX)
    }

    /// How many transitions one call makes.
    pub(crate) fn per_call(&self) -> usize {
        usize::try_from(self.0.max_per_call).unwrap_or(usize::MAX)
    }
}
