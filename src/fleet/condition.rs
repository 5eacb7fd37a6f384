//! The three axes of a worker's condition: what it is doing, whether it is trusted, and whether it is wanted.
//!
//! The axes are separate, so that no transition on one of them can end a quarantine on another. The public
//! [`WorkerLifecycleState`] is computed from all three.

use alloc::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    digest::Sha256Digest,
    lease::{Fence, LeaseTerms, WorkerLease},
    time::Mono,
};

/// The stage of a lease between its grant and its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LeaseStage {
    /// The lease is granted, and the worker has not started the run.
    Assigned,
    /// The worker has started the run.
    Running,
    /// The run has ended, and its cleanup is awaited.
    CleaningUp,
    /// The lease was revoked, and the worker's acknowledgement is awaited.
    Revoking,
}

/// Why a lease was revoked or lost. The reason is kept in the record of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LossReason {
    /// The lease expired, and the worker had been heard until shortly before.
    Expired,
    /// The lease expired while the worker was silent.
    Silent,
    /// The worker did not start the run within `lease.start_ms`.
    NotStarted,
    /// The worker joined again as another incarnation.
    Rejoined,
    /// The service revoked the lease.
    Service,
    /// An operator revoked the lease.
    Operator,
    /// The worker was quarantined.
    Quarantined,
    /// The worker's device, its certificate or its key was revoked.
    DeviceRevoked,
    /// The worker's evidence is no longer in force.
    Evidence,
    /// The worker did not acknowledge the revocation within `lease.acknowledge_ms`.
    NotAcknowledged,
    /// The cleanup after the run failed.
    Cleanup,
    /// The outputs do not match the worker's claim, or the lease does not allow them.
    Output,
    /// The fleet was restored from a snapshot without its latest events.
    Restored,
    /// The deadline that an operator set for draining has passed.
    Drained,
    /// The lease expired while the coordinator stood still, so that nobody could renew it.
    Standstill,
}

impl LossReason {
    /// The reason's name in messages and documents.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Silent => "silent",
            Self::NotStarted => "not_started",
            Self::Rejoined => "rejoined",
            Self::Service => "service",
            Self::Operator => "operator",
            Self::Quarantined => "quarantined",
            Self::DeviceRevoked => "device_revoked",
            Self::Evidence => "evidence",
            Self::NotAcknowledged => "not_acknowledged",
            Self::Cleanup => "cleanup",
            Self::Output => "output",
            Self::Restored => "restored",
            Self::Drained => "drained",
            Self::Standstill => "standstill",
        }
    }

    /// Whether the job had no part in the loss: the lease was revoked, or the coordinator failed to renew it.
    /// Up to `runs.max_spared` of such attempts do not count against `runs.max_attempts`.
    pub const fn is_spared(self) -> bool {
        match self {
            Self::Service
            | Self::Operator
            | Self::Quarantined
            | Self::DeviceRevoked
            | Self::Evidence
            | Self::Restored
            | Self::Drained
            | Self::Standstill => true,
            Self::Expired
            | Self::Silent
            | Self::NotStarted
            | Self::Rejoined
            | Self::NotAcknowledged
            | Self::Cleanup
            | Self::Output => false,
        }
    }

    /// Whether the lease ended by time alone, and nobody revoked it.
    pub(crate) const fn is_by_time(self) -> bool {
        matches!(self, Self::Expired | Self::Silent | Self::Standstill)
    }
}

/// A lease that a worker holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HeldLease {
    pub(crate) lease: WorkerLease,
    pub(crate) stage: LeaseStage,
    /// While the lease is being revoked: the reason, and the instant by which the worker must acknowledge it.
    pub(crate) revoked: Option<(LossReason, Mono)>,
    /// The latest expiry that the worker was ever told. The lease may end sooner by now; its run is held
    /// until this instant.
    pub(crate) promised: Mono,
}

impl HeldLease {
    /// Why the lease ended, if it ended for `reason`. The reason of a revocation takes precedence.
    pub(crate) fn cause(&self, reason: Option<LossReason>) -> Option<LossReason> {
        self.revoked.map(|(reason, _)| reason).or(reason)
    }
}

/// What a worker that lost a lease owes before it can work again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Debt {
    /// The fence of the lost lease.
    pub fence: Fence,
    /// [`WorkerLease::digest`] of the lost lease, to which the cleanup report must be bound.
    pub lease: Sha256Digest,
    /// Why the lease was lost.
    pub reason: LossReason,
    /// Whether verified cleanup is still owed.
    pub cleanup: bool,
    /// The version of the state at or after which the nonce of the owed evidence must be issued; `None` once
    /// that evidence was accepted.
    pub evidence_since: Option<u64>,
}

impl Debt {
    pub(crate) const fn is_settled(&self) -> bool {
        !self.cleanup && self.evidence_since.is_none()
    }
}

/// A worker that lost a lease and still owes cleanup or evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Orphan {
    pub(crate) debt: Debt,
    /// The terms of the lost lease, if the policy accepts its completion late.
    pub(crate) late: Option<Arc<LeaseTerms>>,
}

/// What a worker is doing. Only `Leased` contains a lease, so no other activity can hold one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Activity {
    Registered,
    Available,
    Leased(HeldLease),
    Offline,
    /// Boxed because few workers are orphaned and every record has room for the largest variant.
    Orphaned(alloc::boxed::Box<Orphan>),
    Retired {
        since: Mono,
    },
}

/// What a worker is doing, without the data of an activity: a row of the transition table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ActivityKind {
    /// Bound to its device, and not working: the worker was not heard since it attested, or its evidence is
    /// not in force.
    Registered,
    /// Idle, heard in time, and attested.
    Available,
    /// Holds a lease whose run it has not started.
    Assigned,
    /// Holds a lease whose run it has started.
    Running,
    /// Holds a lease whose run has ended.
    CleaningUp,
    /// Holds a lease that was revoked.
    Revoking,
    /// Idle, and not heard in time.
    Offline,
    /// Lost a lease, and owes cleanup or evidence.
    Orphaned,
    /// Removed from service permanently.
    Retired,
}

impl ActivityKind {
    /// Every kind, in the order of the transition table.
    pub const ALL: [Self; 9] = [
        Self::Registered,
        Self::Available,
        Self::Assigned,
        Self::Running,
        Self::CleaningUp,
        Self::Revoking,
        Self::Offline,
        Self::Orphaned,
        Self::Retired,
    ];

    /// The kind's name in tables and diagrams.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Registered => "registered",
            Self::Available => "available",
            Self::Assigned => "assigned",
            Self::Running => "running",
            Self::CleaningUp => "cleaning_up",
            Self::Revoking => "revoking",
            Self::Offline => "offline",
            Self::Orphaned => "orphaned",
            Self::Retired => "retired",
        }
    }
}

impl Activity {
    pub(crate) fn kind(&self) -> ActivityKind {
        match self {
            Self::Registered => ActivityKind::Registered,
            Self::Available => ActivityKind::Available,
            Self::Leased(held) => match held.stage {
                LeaseStage::Assigned => ActivityKind::Assigned,
                LeaseStage::Running => ActivityKind::Running,
                LeaseStage::CleaningUp => ActivityKind::CleaningUp,
                LeaseStage::Revoking => ActivityKind::Revoking,
            },
            Self::Offline => ActivityKind::Offline,
            Self::Orphaned(_) => ActivityKind::Orphaned,
            Self::Retired { .. } => ActivityKind::Retired,
        }
    }
}

/// Why a worker is quarantined. Each reason states what releases the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum QuarantineReason {
    /// The worker's evidence was refused. Fresh evidence releases it.
    FailedEvidence,
    /// The worker's cleanup failed. Verified cleanup and fresh evidence release it.
    FailedCleanup,
    /// The worker's outputs did not match its claim. An operator, verified cleanup and fresh evidence release
    /// it.
    FailedOutput,
    /// The worker did not acknowledge a revocation. Verified cleanup and fresh evidence release it.
    NotAcknowledged,
    /// An operator quarantined the worker. An operator and fresh evidence release it.
    Operator,
    /// Two places used the worker's identity in turn. An operator and fresh evidence release it.
    TwoPlaces,
}

/// The quarantine latch of a worker: why it is closed, and what is still owed before it opens. Nothing on the
/// other axes opens it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantine {
    /// The reasons, sorted; empty if the worker is not quarantined.
    pub(crate) reasons: alloc::vec::Vec<QuarantineReason>,
    /// Whether an operator's release is owed.
    pub(crate) release: bool,
    /// Whether verified cleanup is owed.
    pub(crate) cleanup: bool,
    /// The version of the state at or after which the nonce of the owed evidence must be issued.
    pub(crate) evidence_since: Option<u64>,
}

/// The latch of a worker that is not quarantined.
static OPEN: Quarantine =
    Quarantine { reasons: alloc::vec::Vec::new(), release: false, cleanup: false, evidence_since: None };

impl Quarantine {
    /// The latch of a worker that is not quarantined.
    pub(crate) fn open() -> &'static Self {
        &OPEN
    }

    /// Whether the latch is closed.
    pub fn is_closed(&self) -> bool {
        !self.reasons.is_empty()
    }

    /// Why the latch is closed, sorted.
    pub fn reasons(&self) -> &[QuarantineReason] {
        &self.reasons
    }

    /// Closes the latch for `reason` at state version `version`. Evidence over a nonce issued before that
    /// version does not open it.
    pub(crate) fn close(&mut self, reason: QuarantineReason, version: u64) {
        if let Err(at) = self.reasons.binary_search(&reason) {
            self.reasons.insert(at, reason);
        }
        self.release |= matches!(
            reason,
            QuarantineReason::Operator | QuarantineReason::FailedOutput | QuarantineReason::TwoPlaces
        );
        self.cleanup |= matches!(
            reason,
            QuarantineReason::FailedCleanup
                | QuarantineReason::FailedOutput
                | QuarantineReason::NotAcknowledged
        );
        self.evidence_since = Some(version);
    }

    pub(crate) const fn is_settled(&self) -> bool {
        !self.release && !self.cleanup && self.evidence_since.is_none()
    }
}

/// The public state of a worker, computed from its axes. Retired takes precedence, then quarantined, then
/// orphaned, then draining.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WorkerLifecycleState {
    /// Bound to its device, and not working yet.
    Registered,
    /// Ready for a lease.
    Available,
    /// Holds a lease whose run it has not started.
    Assigned,
    /// Holds a lease whose run it has started.
    Running,
    /// Holds a lease whose run has ended.
    CleaningUp,
    /// Holds a lease that was revoked, and must acknowledge that.
    Revoking,
    /// Idle, and not heard in time.
    Offline,
    /// Owes cleanup or fresh evidence for a lease that it lost.
    Orphaned,
    /// Finishes the lease that it holds and gets no other, because it is drained or set aside.
    Draining,
    /// Not trusted, for at least one reason.
    Quarantined,
    /// Removed from service permanently.
    Retired,
}

impl WorkerLifecycleState {
    /// The public state for these values of the three axes.
    pub fn of(activity: ActivityKind, quarantined: bool, draining: bool) -> Self {
        match activity {
            ActivityKind::Retired => Self::Retired,
            _ if quarantined => Self::Quarantined,
            ActivityKind::Orphaned => Self::Orphaned,
            _ if draining => Self::Draining,
            ActivityKind::Registered => Self::Registered,
            ActivityKind::Available => Self::Available,
            ActivityKind::Assigned => Self::Assigned,
            ActivityKind::Running => Self::Running,
            ActivityKind::CleaningUp => Self::CleaningUp,
            ActivityKind::Revoking => Self::Revoking,
            ActivityKind::Offline => Self::Offline,
        }
    }
}
