//! The axes of a worker's condition: what it is doing, whether it is trusted, whether it is wanted.
//!
//! One flat enum is how such systems escape their own quarantine, so the axes are apart, and the public
//! [`WorkerLifecycleState`] is computed from them.

use serde::{Deserialize, Serialize};

use crate::{
    digest::Sha256Digest,
    lease::{Fence, WorkerLease},
    time::Mono,
};

/// Where a lease stands between grant and end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LeaseStage {
    /// Granted, and not yet started by the worker.
    Assigned,
    /// Started.
    Running,
    /// The run is over; its cleanup is awaited.
    CleaningUp,
    /// Taken back, and waiting for the worker's word that it stopped.
    Revoking,
}

/// Why a lease was taken back or lost. Survives into the run's report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LossReason {
    /// It ran out and the worker had been heard until shortly before.
    Expired,
    /// It ran out while the worker was silent.
    Silent,
    /// The worker never started it.
    NotStarted,
    /// The worker came back as another incarnation.
    Rejoined,
    /// The service took it back.
    Service,
    /// An operator took it back.
    Operator,
    /// The worker was quarantined.
    Quarantined,
    /// Its device, certificate or key was revoked.
    DeviceRevoked,
    /// The evidence is no longer in force.
    Evidence,
    /// The worker did not acknowledge in time that it was taken back.
    NotAcknowledged,
    /// The cleanup after it failed.
    Cleanup,
    /// What came back was not what the worker claimed, or not what the lease allows.
    Output,
    /// The fleet was restored without its latest events.
    Restored,
}

/// A lease in the hands of a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HeldLease {
    pub(crate) lease: WorkerLease,
    pub(crate) stage: LeaseStage,
    /// While revoking: why, and until when the worker has to acknowledge it.
    pub(crate) revoked: Option<(LossReason, Mono)>,
}

/// What a worker that lost a lease still owes before it works again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Debt {
    /// The lease that it lost.
    pub fence: Fence,
    /// [`WorkerLease::digest`] of that lease, which the cleanup report must be bound to.
    pub lease: Sha256Digest,
    /// Why it lost it.
    pub reason: LossReason,
    /// Whether verified cleanup is still owed.
    pub cleanup: bool,
    /// Evidence over a nonce issued at this version of the state or later is owed; `None` once it came.
    pub evidence_since: Option<u64>,
}

impl Debt {
    pub(crate) const fn is_settled(&self) -> bool {
        !self.cleanup && self.evidence_since.is_none()
    }
}

/// What a worker is doing. The lease lives inside `Leased`: no other state can hold one by accident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Activity {
    Registered,
    Available,
    Leased(HeldLease),
    Offline,
    /// Boxed: few are, and every worker has room for the largest of these.
    Orphaned(alloc::boxed::Box<Debt>),
    Retired {
        since: Mono,
    },
}

/// What a worker is doing, without the data of it: a row of the transition table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ActivityKind {
    /// Bound, and not working yet: not heard since it attested, or its evidence is not in force.
    Registered,
    /// Idle, heard, attested.
    Available,
    /// Holds a lease that it has not started.
    Assigned,
    /// Holds a lease that it has started.
    Running,
    /// Holds a lease whose run is over.
    CleaningUp,
    /// Holds a lease that was taken back.
    Revoking,
    /// Idle and silent.
    Offline,
    /// Lost a lease without verified cleanup.
    Orphaned,
    /// Gone for good.
    Retired,
}

impl ActivityKind {
    /// Every kind, in the order of the table.
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

/// Why a worker is quarantined. Each reason names what releases it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum QuarantineReason {
    /// Its evidence was refused. Released by fresh evidence.
    FailedEvidence,
    /// It did not clean up. Released by verified cleanup and fresh evidence.
    FailedCleanup,
    /// What it sent back was not what it claimed. Released by an operator, cleanup and fresh evidence.
    FailedOutput,
    /// It did not acknowledge a revocation. Released by verified cleanup and fresh evidence.
    NotAcknowledged,
    /// An operator said so. Released by an operator and fresh evidence.
    Operator,
}

/// The quarantine latch: its reasons, and what is still owed before it opens. Nothing on the other axes opens it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantine {
    /// Why, in order; empty means not quarantined.
    pub(crate) reasons: alloc::vec::Vec<QuarantineReason>,
    /// An operator's release is owed.
    pub(crate) release: bool,
    /// Verified cleanup is owed.
    pub(crate) cleanup: bool,
    /// Evidence over a nonce issued at this version or later is owed.
    pub(crate) evidence_since: Option<u64>,
}

/// A latch that nothing has closed.
static OPEN: Quarantine =
    Quarantine { reasons: alloc::vec::Vec::new(), release: false, cleanup: false, evidence_since: None };

impl Quarantine {
    /// A latch that nothing has closed.
    pub(crate) fn open() -> &'static Self {
        &OPEN
    }

    /// Whether the latch is closed.
    pub fn is_closed(&self) -> bool {
        !self.reasons.is_empty()
    }

    /// Why it is closed.
    pub fn reasons(&self) -> &[QuarantineReason] {
        &self.reasons
    }

    /// Closes the latch for `reason`, at state version `version`: older evidence does not open it.
    pub(crate) fn close(&mut self, reason: QuarantineReason, version: u64) {
        if let Err(at) = self.reasons.binary_search(&reason) {
            self.reasons.insert(at, reason);
        }
        self.release |= matches!(reason, QuarantineReason::Operator | QuarantineReason::FailedOutput);
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

/// The public view of a worker, computed from the axes: quarantined wins, then orphaned, then draining.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WorkerLifecycleState {
    /// Bound, not working yet.
    Registered,
    /// Ready for a lease.
    Available,
    /// Holds a lease that it has not started.
    Assigned,
    /// Runs.
    Running,
    /// Cleans up.
    CleaningUp,
    /// Has to give its lease back.
    Revoking,
    /// Idle and silent.
    Offline,
    /// Owes cleanup and fresh evidence for a lease that it lost.
    Orphaned,
    /// Finishes what it has and gets nothing new.
    Draining,
    /// Not trusted.
    Quarantined,
    /// Gone for good.
    Retired,
}

impl WorkerLifecycleState {
    /// The view of these axes.
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
