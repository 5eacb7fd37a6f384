//! `WorkerFleetPolicy`: every number and rule of a fleet. The rules are checked for consistency when the
//! policy is built.

use alloc::{string::String, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{
    attestation::{
        AttestationPolicy,
        policy::AttestationPolicyForm,
        strict::{self, Limits, StrictError},
    },
    capability::CapabilityName,
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

/// The longest overlap of a certificate rotation that a policy can allow.
const MAX_OVERLAP: Millis = Millis::from_secs(30 * 86_400);

/// The largest payload of a request or a result: what fits into a frame.
const MAX_PAYLOAD: u32 = 512 << 10;

/// A policy that breaks one of its own rules.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("fleet policy: {rule}")]
pub struct PolicyError {
    rule: &'static str,
}

impl PolicyError {
    /// The rule that does not hold, as text.
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
        /// How much time one grant or renewal gives at most. Default 60 s.
        ttl_max_ms: Millis = Millis::from_secs(60),
        /// How much time a lease must have left at least when it is granted. Default 1 s.
        ttl_min_ms: Millis = Millis::from_secs(1),
        /// How often a worker renews its lease. Must be less than `ttl_max_ms`. Default 20 s.
        renew_every_ms: Millis = Millis::from_secs(20),
        /// How long after its grant a lease ends at the latest, however often it is renewed. Default 1 h.
        longest_ms: Millis = Millis::from_secs(3600),
        /// How long after the expiry of its lease a run is held before it may be leased again. Must be at
        /// least `clock_budget_ms` + `max_staleness_ms`. Default 10 s.
        grace_ms: Millis = Millis::from_secs(10),
        /// How long a worker may take to start the run of a lease. Default 10 s.
        start_ms: Millis = Millis::from_secs(10),
        /// How long a worker may take to acknowledge a revocation. Default 10 s.
        acknowledge_ms: Millis = Millis::from_secs(10),
        /// How much the clocks of a worker and of the coordinator may differ over one lease. Default 2 s.
        clock_budget_ms: Millis = Millis::from_secs(2),
        /// How old the view of an enforcement point may be before it permits nothing. Default 5 s.
        max_staleness_ms: Millis = Millis::from_secs(5),
        /// What a cleanup report must be backed by. Default: the worker's report alone is enough.
        cleanup: CleanupRule = CleanupRule::Reported,
        /// Whether the completion of a lease that has expired, and that nobody revoked, is accepted until its
        /// run is leased again. The lease stays lost: the worker owes cleanup and evidence all the same.
        /// Default no.
        complete_late: bool = false,
    }
}

section! {
    /// How silence is judged.
    LivenessRules {
        /// How often workers send a heartbeat. Default 5 s.
        heartbeat_every_ms: Millis = Millis::from_secs(5),
        /// How long a worker may be silent and still count as heard. Must be more than `heartbeat_every_ms`.
        /// Default 20 s.
        offline_after_ms: Millis = Millis::from_secs(20),
        /// The brake: the share of workers, in percent, that must fall silent together before the coordinator
        /// suspects its own connection and does not lease their runs again. Default 50.
        brake_percent: u8 = 50,
        /// The number of workers below which the brake is off. Default 4.
        brake_min_workers: u32 = 4,
        /// How long after the last of the workers that fell silent together the brake ends by itself. Default
        /// 5 min.
        brake_hold_ms: Millis = Millis::from_secs(300),
        /// How far the wall clock may move against the monotonic clock between two records. Default 60 s.
        max_wall_step_ms: Millis = Millis::from_secs(60),
        /// Whether time in which the coordinator stood still for longer than `heartbeat_every_ms` counts for
        /// no worker's silence. With it, the coordinator asks to be called twice in each such span. Default
        /// no.
        excuse_standstill: bool = false,
    }
}

section! {
    /// How often and how long a run may be leased.
    RunRules {
        /// How many leases a run may be granted. Default 3.
        max_attempts: u32 = 3,
        /// How many attempts that were lost through no fault of the job (revoked, drained, quarantined, or
        /// while the coordinator stood still) do not count against `max_attempts`. Default 0: every attempt
        /// counts.
        max_spared: u32 = 0,
        /// Whether the next attempt of a run prefers another worker than the last one had. Default no.
        retry_elsewhere: bool = false,
        /// The longest lifetime of a grant, and how long the end of a run is remembered. Default 24 h.
        grant_lifetime_max_ms: Millis = Millis::from_secs(86_400),
        /// Who may sign grants outside of this process. Default: nobody.
        issuers: GrantIssuers = GrantIssuers::default(),
    }
}

/// Which workers are used once. The end of their lease retires them, once they owe no cleanup.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum UsedOnce {
    /// No worker.
    #[default]
    Nobody,
    /// Every worker.
    Everybody,
    /// The workers whose evidence states this capability.
    Capability(CapabilityName),
}

section! {
    /// When workers are set aside, quarantined or retired automatically.
    WorkerRules {
        /// How many bad runs in a row set a worker aside. A probe that ends well, or an operator, ends that.
        /// Default 0: never.
        set_aside_after: u32 = 0,
        /// How often a replaced incarnation may come back before the worker is quarantined because two places
        /// use its identity. Default 0: returns are not counted.
        latch_displaced_after: u32 = 0,
        /// Which workers are used once. Default: none.
        used_once: UsedOnce = UsedOnce::Nobody,
        /// Whether a new worker may take the slot of a retired one when the fleet is full. The retired worker
        /// is forgotten then. Default no: the slot becomes free after `limits.retired_memory_ms`.
        reuse_retired: bool = false,
    }
}

section! {
    /// How many of each thing the fleet holds. What would exceed a bound is refused.
    FleetLimits {
        /// Workers, including retired ones that are still remembered. Default 100 000, at most 16 million.
        workers: u32 = 100_000,
        /// Devices, including revoked ones. Default 100 000, at most 8 million.
        devices: u32 = 100_000,
        /// Runs, including ended ones that are still remembered. Default 1 million.
        runs: u32 = 1_000_000,
        /// Spent grants that have not expired. Default 1 million.
        grants: u32 = 1_000_000,
        /// Spent nonces that have not expired. Default 100 000.
        nonces: u32 = 100_000,
        /// Client sessions. Every device that acts has one. Default 262 144.
        sessions: u32 = 262_144,
        /// How many operations of one session are remembered. Default 64, at most 1 024.
        window: u32 = 64,
        /// The bytes of all remembered answers, with 64 bytes added for each answer. Default 256 MiB.
        answer_bytes: u64 = 256 << 20,
        /// How many transitions one call of `expire` makes. Default 256, at most 65 536.
        transitions_per_call: u32 = 256,
        /// How long a retired worker is remembered. Default 24 h.
        retired_memory_ms: Millis = Millis::from_secs(86_400),
        /// How long an idle client session is remembered. Default 24 h.
        session_memory_ms: Millis = Millis::from_secs(86_400),
        /// Handshakes, challenges and appraisals that one device may cause within `admission_window_ms`. Default 60.
        admission_per_device: u32 = 60,
        /// The longest certificate of a device, in bytes: 1 024 to 65 536. Default 16 384. Certificates that
        /// carry evidence of their key (RA-TLS) are longer.
        certificate_bytes: u32 = 16_384,
        /// The window of `admission_per_device`. Default 60 s.
        admission_window_ms: Millis = Millis::from_secs(60),
    }
}

/// What follows if somebody presents a certificate of a device that a later certificate replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CloneRule {
    /// The connection is refused, and a notice says that the device may be in two places.
    Notice,
    /// The connection is refused and the device is revoked, for
    /// [`RevocationReason::Cloned`](crate::identity::RevocationReason::Cloned), until an operator clears
    /// that: nobody can tell which of the two is the device.
    Latch,
}

section! {
    /// What a device's certificate allows after it no longer authenticates.
    IdentityRules {
        /// How long after its end a device may renew its certificate, if an operator's standing order allows
        /// it: up to 366 days. Default 0: not at all.
        renewal_grace_ms: Millis = Millis::ZERO,
        /// What follows if somebody presents a certificate that was rotated away. Default `notice`, because
        /// an agent that kept only its former certificate, or that resumes a TLS session made with it, does
        /// the same. With `latch`, neither a thief nor the robbed device can go on once both have connected.
        clones: CloneRule = CloneRule::Notice,
    }
}

/// The serde form of [`WorkerFleetPolicy`]. Every member but `fleet` and `attestation` has a default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct WorkerFleetPolicyForm {
    /// The fleet's name: the audience of evidence, grants and nonces.
    pub fleet: FleetId,
    /// Which evidence lets a worker join.
    pub attestation: AttestationPolicy,
    /// How long a nonce stays good: 1 ms to 1 h. Default 60 s.
    #[serde(default = "challenge_ttl")]
    pub challenge_ttl_ms: Millis,
    /// How long leases last.
    #[serde(default)]
    pub lease: LeaseRules,
    /// How silence is judged.
    #[serde(default)]
    pub liveness: LivenessRules,
    /// How often and how long a run may be leased.
    #[serde(default)]
    pub runs: RunRules,
    /// When workers are set aside, quarantined or retired automatically.
    #[serde(default)]
    pub workers: WorkerRules,
    /// How many of each thing the fleet holds.
    #[serde(default)]
    pub limits: FleetLimits,
    /// What a device's certificate allows after it no longer authenticates.
    #[serde(default)]
    pub identity: IdentityRules,
    /// The rules of pairing.
    #[serde(default)]
    pub pairing: PairingPolicyForm,
    /// The rules of requests to devices.
    #[serde(default)]
    pub dispatch: DispatchPolicyDocument,
}

const fn challenge_ttl() -> Millis {
    Millis::from_secs(60)
}

impl WorkerFleetPolicyForm {
    /// Reads a form from JSON, strictly and within [`Limits::POLICY`]: no duplicate keys, no arrays in place
    /// of objects, nothing after the document.
    ///
    /// # Errors
    /// [`StrictError`] with the byte offset.
    pub fn from_json(bytes: &[u8]) -> Result<Self, StrictError> {
        strict::read(bytes, &Limits::POLICY)
    }

    /// A form for `fleet` and `attestation` with the default of every other member.
    pub fn new(fleet: FleetId, attestation: AttestationPolicy) -> Self {
        Self {
            fleet,
            attestation,
            challenge_ttl_ms: challenge_ttl(),
            lease: LeaseRules::default(),
            liveness: LivenessRules::default(),
            runs: RunRules::default(),
            workers: WorkerRules::default(),
            limits: FleetLimits::default(),
            identity: IdentityRules::default(),
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

/// The policy of a fleet. It is validated when it is built, immutable, and cheap to clone.
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
        // The compact format of the journal has no field names. A policy keeps them, so that people can read
        // it there.
        if serializer.is_human_readable() {
            self.0.form.serialize(serializer)
        } else {
            serializer.serialize_str(&self.to_json())
        }
    }
}

impl<'de> Deserialize<'de> for WorkerFleetPolicy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            return Self::try_from(WorkerFleetPolicyForm::deserialize(deserializer)?)
                .map_err(de::Error::custom);
        }
        // A journal or a snapshot contains policies that were checked when they came into force. A rule that
        // was added since must not make them unreadable; it applies from the next `SetPolicy`.
        let stored: StoredPolicy =
            serde_json::from_str(&String::deserialize(deserializer)?).map_err(de::Error::custom)?;
        Ok(stored.into())
    }
}

/// A [`WorkerFleetPolicyForm`] as a journal stores it: parsed without validation. Members of later versions
/// have defaults.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredPolicy {
    fleet: FleetId,
    attestation: AttestationPolicyForm,
    #[serde(default = "challenge_ttl")]
    challenge_ttl_ms: Millis,
    #[serde(default)]
    lease: LeaseRules,
    #[serde(default)]
    liveness: LivenessRules,
    #[serde(default)]
    runs: RunRules,
    #[serde(default)]
    workers: WorkerRules,
    #[serde(default)]
    limits: FleetLimits,
    #[serde(default)]
    identity: IdentityRules,
    #[serde(default)]
    pairing: PairingPolicyForm,
    #[serde(default)]
    dispatch: DispatchPolicyDocument,
}

impl From<StoredPolicy> for WorkerFleetPolicy {
    fn from(stored: StoredPolicy) -> Self {
        let form = WorkerFleetPolicyForm {
            fleet: stored.fleet,
            attestation: AttestationPolicy::held_before(stored.attestation),
            challenge_ttl_ms: stored.challenge_ttl_ms,
            lease: stored.lease,
            liveness: stored.liveness,
            runs: stored.runs,
            workers: stored.workers,
            limits: stored.limits,
            identity: stored.identity,
            pairing: stored.pairing,
            dispatch: stored.dispatch,
        };
        let (devices, revocations) = bounds_of_devices(&form.limits);
        let limits = &form.limits;
        let devices = DeviceLimits::held_before(
            devices,
            revocations,
            MAX_OVERLAP,
            limits.certificate_bytes,
            form.identity.renewal_grace_ms,
        );
        let pairing = PairingPolicy::held_before(form.pairing);
        let dispatch = DispatchPolicy::held_before(form.dispatch.clone());
        Self(Arc::new(Valid { form, devices, pairing, dispatch }))
    }
}

/// The largest number of devices, and the largest number of revocations of unregistered subjects.
fn bounds_of_devices(limits: &FleetLimits) -> (u32, u32) {
    (limits.devices, limits.devices.saturating_mul(2).max(64))
}

impl TryFrom<WorkerFleetPolicyForm> for WorkerFleetPolicy {
    type Error = PolicyError;

    fn try_from(form: WorkerFleetPolicyForm) -> Result<Self, PolicyError> {
        if let Some(rule) = form.broken_rule() {
            return Err(PolicyError { rule });
        }
        let (devices, revocations) = bounds_of_devices(&form.limits);
        let devices = DeviceLimits::new(devices, revocations, MAX_OVERLAP)
            .map_err(|_| PolicyError { rule: "limits.devices is 1 to 8 million" })?
            .with_max_certificate_bytes(form.limits.certificate_bytes)
            .map_err(|_| PolicyError { rule: "limits.certificate_bytes is 1 024 to 65 536" })?
            .with_renewal_grace(form.identity.renewal_grace_ms)
            .map_err(|_| PolicyError { rule: "identity.renewal_grace_ms is at most 366 days" })?;
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

    /// The serde form of the policy, as JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string(&self.0.form).unwrap_or_default()
    }

    /// The policies of the device registry, of pairing and of dispatch.
    pub(crate) fn node_policies(&self) -> (DeviceLimits, PairingPolicy, DispatchPolicy) {
        (self.0.devices, self.0.pairing, self.0.dispatch.clone())
    }
}
