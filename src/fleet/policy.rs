//! `WorkerFleetPolicy`: every number and rule of a fleet, checked for consistency when it is built.

use alloc::{string::String, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{
    attestation::AttestationPolicy,
    code::{self, Code, Coded},
    digest::{FieldHasher, Sha256Digest},
    dispatch::{DispatchPolicy, DispatchPolicyDocument},
    id::FleetId,
    identity::{
        DeviceLimits,
        pairing::{PairingPolicy, PairingPolicyForm},
    },
    lease::{CleanupRule, GrantIssuers},
    time::Millis,
};

/// The longest overlap of a certificate rotation.
const MAX_OVERLAP: Millis = Millis::from_secs(30 * 86_400);

/// The largest payload of a request or a result: what fits into a frame.
const MAX_PAYLOAD: u32 = 512 << 10;

/// A policy that contradicts itself, with the rule that it breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("fleet policy: {rule}")]
pub struct PolicyError {
    rule: &'static str,
}

impl PolicyError {
    /// The rule that does not hold.
    pub fn rule(&self) -> &'static str {
        self.rule
    }
}

impl Coded for PolicyError {
    fn code(&self) -> Code {
        code::POLICY_INVALID
    }
}

macro_rules! section {
    ($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident : $ty:ty = $default:expr),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        #[non_exhaustive]
        pub struct $name { $($(#[$field_meta])* pub $field: $ty),* }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default),* }
            }
        }
    };
}

section! {
    /// How long leases last.
    LeaseRules {
        /// The most that one grant or renewal adds. Default 60 s.
        ttl_max_ms: Millis = Millis::from_secs(60),
        /// The least that a lease must have left when it is granted. Default 1 s.
        ttl_min_ms: Millis = Millis::from_secs(1),
        /// How often a worker renews. Shorter than `ttl_max_ms`. Default 20 s.
        renew_every_ms: Millis = Millis::from_secs(20),
        /// The longest that a lease can be renewed to, from its grant. Default 1 h.
        longest_ms: Millis = Millis::from_secs(3600),
        /// How long after its expiry a run is held before it may be leased again. Default 10 s.
        grace_ms: Millis = Millis::from_secs(10),
        /// How long a worker may take to start what it was assigned. Default 10 s.
        start_ms: Millis = Millis::from_secs(10),
        /// How long a worker may take to acknowledge a revocation. Default 10 s.
        acknowledge_ms: Millis = Millis::from_secs(10),
        /// How much the worker's clock and the coordinator's may differ over one lease. Default 2 s.
        clock_budget_ms: Millis = Millis::from_secs(2),
        /// How stale an enforcement point's view may be before it fails closed. Default 5 s.
        max_staleness_ms: Millis = Millis::from_secs(5),
        /// How much of a cleanup report is believed. Default: what the worker reports.
        cleanup: CleanupRule = CleanupRule::Reported,
    }
}

section! {
    /// How silence is judged.
    LivenessRules {
        /// How often workers send a heartbeat. Default 5 s.
        heartbeat_every_ms: Millis = Millis::from_secs(5),
        /// How long a worker may be silent and still count as heard. Default 20 s.
        offline_after_ms: Millis = Millis::from_secs(20),
        /// The share of workers, in percent, whose silence makes the coordinator suspect itself. Default 50.
        brake_percent: u8 = 50,
        /// Below this number of workers the brake stays off. Default 4.
        brake_min_workers: u32 = 4,
        /// How far the wall clock may move against the monotonic line between two events. Default 60 s.
        max_wall_step_ms: Millis = Millis::from_secs(60),
    }
}

section! {
    /// What a run may have.
    RunRules {
        /// How many leases a run may be granted in all. Default 3.
        max_attempts: u32 = 3,
        /// The longest that a grant may live from issue to end; also how long the end of a run is remembered. Default 24 h.
        grant_lifetime_max_ms: Millis = Millis::from_secs(86_400),
        /// Who may sign grants outside this process. Default: nobody.
        issuers: GrantIssuers = GrantIssuers::default(),
    }
}

section! {
    /// How many of each thing the fleet holds. Over the bound is a refusal, never growth.
    FleetLimits {
        /// Workers, retired ones that are still remembered included. Default 100 000, at most 16 million.
        workers: u32 = 100_000,
        /// Devices, revoked ones included. Default 100 000.
        devices: u32 = 100_000,
        /// Runs, ended ones that are still remembered included. Default 1 million.
        runs: u32 = 1_000_000,
        /// Spent grants that have not expired. Default 1 million.
        grants: u32 = 1_000_000,
        /// Spent nonces that have not expired. Default 100 000.
        nonces: u32 = 100_000,
        /// Client sessions; every device that acts has one. Default 262 144.
        sessions: u32 = 262_144,
        /// Remembered operations of one session. Default 64, at most 1 024.
        window: u32 = 64,
        /// Transitions of one call of `expire`. Default 256, at most 65 536.
        transitions_per_call: u32 = 256,
        /// How long a retired worker is remembered. Default 24 h.
        retired_memory_ms: Millis = Millis::from_secs(86_400),
        /// How long an idle client session is remembered. Default 24 h.
        session_memory_ms: Millis = Millis::from_secs(86_400),
        /// Handshakes, challenges and appraisals that one device may cause within `admission_window_ms`. Default 60.
        admission_per_device: u32 = 60,
        /// The window of `admission_per_device`. Default 60 s.
        admission_window_ms: Millis = Millis::from_secs(60),
    }
}

/// The serde form of [`WorkerFleetPolicy`]. Only `fleet` and `attestation` have no default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct WorkerFleetPolicyForm {
    /// The fleet: the audience of evidence, grants and nonces.
    pub fleet: FleetId,
    /// Which evidence lets a worker join.
    pub attestation: AttestationPolicy,
    /// How long a challenge stays good. Default 60 s.
    #[serde(default = "challenge_ttl")]
    pub challenge_ttl_ms: Millis,
    /// Leases.
    #[serde(default)]
    pub lease: LeaseRules,
    /// Silence.
    #[serde(default)]
    pub liveness: LivenessRules,
    /// Runs and grants.
    #[serde(default)]
    pub runs: RunRules,
    /// Bounds.
    #[serde(default)]
    pub limits: FleetLimits,
    /// Pairing.
    #[serde(default)]
    pub pairing: PairingPolicyForm,
    /// Requests to devices.
    #[serde(default)]
    pub dispatch: DispatchPolicyDocument,
}

const fn challenge_ttl() -> Millis {
    Millis::from_secs(60)
}

impl WorkerFleetPolicyForm {
    /// A form with every default, for `fleet` and `attestation`.
    pub fn new(fleet: FleetId, attestation: AttestationPolicy) -> Self {
        Self {
            fleet,
            attestation,
            challenge_ttl_ms: challenge_ttl(),
            lease: LeaseRules::default(),
            liveness: LivenessRules::default(),
            runs: RunRules::default(),
            limits: FleetLimits::default(),
            pairing: PairingPolicyForm::default(),
            dispatch: DispatchPolicyDocument::default(),
        }
    }

    fn broken_rule(&self) -> Option<&'static str> {
        let Self { lease, liveness, runs, limits, .. } = self;
        let year = Millis::from_secs(366 * 86_400);
        let rules: [(bool, &'static str); 19] = [
            (lease.renew_every_ms < lease.ttl_max_ms, "lease.renew_every_ms < lease.ttl_max_ms"),
            (lease.ttl_min_ms <= lease.ttl_max_ms, "lease.ttl_min_ms <= lease.ttl_max_ms"),
            (lease.ttl_max_ms <= lease.longest_ms, "lease.ttl_max_ms <= lease.longest_ms"),
            (
                lease.clock_budget_ms.plus(lease.max_staleness_ms) <= lease.grace_ms,
                "lease.clock_budget_ms + lease.max_staleness_ms <= lease.grace_ms",
            ),
            (
                lease.clock_budget_ms < lease.ttl_min_ms.plus(Millis(1500)),
                "lease.clock_budget_ms < lease.ttl_min_ms + 1.5 s",
            ),
            (
                Millis::ZERO < lease.start_ms && Millis::ZERO < lease.acknowledge_ms,
                "lease.start_ms and acknowledge_ms > 0",
            ),
            (Millis::ZERO < lease.ttl_min_ms, "lease.ttl_min_ms > 0"),
            (lease.longest_ms <= year, "lease.longest_ms <= one year"),
            (Millis::ZERO < liveness.heartbeat_every_ms, "liveness.heartbeat_every_ms > 0"),
            (
                liveness.heartbeat_every_ms < liveness.offline_after_ms,
                "liveness.heartbeat_every_ms < liveness.offline_after_ms",
            ),
            ((1..=100).contains(&liveness.brake_percent), "liveness.brake_percent is 1 to 100"),
            (runs.issuers.keys().len() <= 64, "runs.issuers has at most 64 keys"),
            (runs.max_attempts > 0, "runs.max_attempts > 0"),
            (runs.grant_lifetime_max_ms <= year, "runs.grant_lifetime_max_ms <= one year"),
            ((1..=16_000_000).contains(&limits.workers), "limits.workers is 1 to 16 million"),
            ((1..=1024).contains(&limits.window), "limits.window is 1 to 1 024"),
            (
                (1..=65_536).contains(&limits.transitions_per_call),
                "limits.transitions_per_call is 1 to 65 536",
            ),
            (
                Millis::ZERO < self.challenge_ttl_ms && self.challenge_ttl_ms <= Millis::from_secs(3600),
                "challenge_ttl_ms is 1 ms to 1 h",
            ),
            (
                self.dispatch.max_request_bytes.max(self.dispatch.max_result_bytes) <= MAX_PAYLOAD,
                "dispatch.max_request_bytes and max_result_bytes are at most 512 KiB",
            ),
        ];
        rules.into_iter().find(|(holds, _)| !holds).map(|(_, rule)| rule)
    }
}

/// The policy of a fleet: validated when it is built, immutable, cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerFleetPolicy(Arc<Valid>);

#[derive(Debug, PartialEq, Eq)]
struct Valid {
    form: WorkerFleetPolicyForm,
    devices: DeviceLimits,
    pairing: PairingPolicy,
    dispatch: DispatchPolicy,
}

impl Serialize for WorkerFleetPolicy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // The journal's compact format has no field names; a policy keeps them, so that it stays readable there.
        if serializer.is_human_readable() {
            self.0.form.serialize(serializer)
        } else {
            serializer.serialize_str(&self.to_json())
        }
    }
}

impl<'de> Deserialize<'de> for WorkerFleetPolicy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let form = if deserializer.is_human_readable() {
            WorkerFleetPolicyForm::deserialize(deserializer)?
        } else {
            serde_json::from_str(&String::deserialize(deserializer)?).map_err(de::Error::custom)?
        };
        Self::try_from(form).map_err(de::Error::custom)
    }
}

impl TryFrom<WorkerFleetPolicyForm> for WorkerFleetPolicy {
    type Error = PolicyError;

    fn try_from(form: WorkerFleetPolicyForm) -> Result<Self, PolicyError> {
        if let Some(rule) = form.broken_rule() {
            return Err(PolicyError { rule });
        }
        let devices = form.limits.devices;
        let devices = DeviceLimits::new(devices, devices.saturating_mul(2).max(64), MAX_OVERLAP)
            .map_err(|_| PolicyError { rule: "limits.devices is 1 to 8 million" })?;
        let pairing = PairingPolicy::new(form.pairing)
            .map_err(|_| PolicyError { rule: "pairing is what a pairing policy may be" })?;
        let dispatch = DispatchPolicy::try_from(form.dispatch.clone())
            .map_err(|_| PolicyError { rule: "dispatch is what a dispatch policy may be" })?;
        Ok(Self(Arc::new(Valid { form, devices, pairing, dispatch })))
    }
}

impl From<WorkerFleetPolicy> for WorkerFleetPolicyForm {
    fn from(policy: WorkerFleetPolicy) -> Self {
        policy.0.form.clone()
    }
}

impl core::ops::Deref for WorkerFleetPolicy {
    type Target = WorkerFleetPolicyForm;

    fn deref(&self) -> &WorkerFleetPolicyForm {
        &self.0.form
    }
}

impl WorkerFleetPolicy {
    /// The digest of everything that the policy says.
    pub fn digest(&self) -> Sha256Digest {
        FieldHasher::new("fleet-policy.v1").field(self.to_json().as_bytes()).finish()
    }

    /// The policy in its serde form, as JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string(&self.0.form).unwrap_or_default()
    }

    /// The bounds of the devices, their pairing and what is dispatched to them.
    pub(crate) fn node_policies(&self) -> (DeviceLimits, PairingPolicy, DispatchPolicy) {
        (self.0.devices, self.0.pairing, self.0.dispatch.clone())
    }
}
