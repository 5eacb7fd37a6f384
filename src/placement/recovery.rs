//! What to do about work that does not move: an ordered plan that never runs a piece of work twice at once.

use alloc::{vec, vec::Vec};

use serde::{Deserialize, Serialize};

use super::executor::{ExecutorKind, Posture};
use crate::time::{Millis, Mono};

/// The rules of a policy for stuck work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RecoveryRules {
    /// The most attempts of one piece of work, the first included. Left out: 3.
    pub max_attempts: u32,
    /// How long work may show no progress before it counts as stuck, in milliseconds. Left out: 5 minutes.
    pub quiet_ms: Millis,
    /// How long after a lease ends its work may still be running somewhere, in milliseconds. Left out: 1 minute.
    pub grace_ms: Millis,
}

impl Default for RecoveryRules {
    fn default() -> Self {
        Self { max_attempts: 3, quiet_ms: Millis::from_secs(300), grace_ms: Millis::from_secs(60) }
    }
}

impl RecoveryRules {
    pub(super) const fn is_usable(&self) -> bool {
        self.max_attempts > 0 && self.quiet_ms.0 > 0 && self.grace_ms.0 > 0
    }
}

/// Work that was placed and has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StuckWork {
    /// Where it was placed.
    pub kind: ExecutorKind,
    /// What its tool demanded. The retry demands the same.
    pub posture: Posture,
    /// Attempts so far, this one included.
    pub attempts: u32,
    /// When it last showed progress.
    pub progress: Mono,
    /// When its lease ends, where it has one that can still be told.
    pub lease_ends: Option<Mono>,
    /// Whether its executor still answers.
    pub answers: bool,
}

/// One step of a plan. Each is done, and seen to be done, before the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RecoveryStep {
    /// Not stuck yet: look again at this time.
    LookAgain(Mono),
    /// Ask the executor to stop the work and to say so.
    Cancel,
    /// Revoke the lease, so that no renewal and no egress permit follow.
    RevokeLease,
    /// Take the executor out of placement until someone has looked at it.
    Quarantine,
    /// Kill the process or container on this host, and wait until it is gone.
    KillLocally,
    /// The executor can neither be asked nor stopped: nothing may start before this time.
    AwaitEnd(Mono),
    /// Nobody can say when the work ends: a person must confirm that it has.
    AwaitOperator,
    /// Require a verified cleanup report before the executor is used again.
    VerifyCleanup,
    /// Place the work again with a new grant, demanding this posture at least.
    PlaceAgain(Posture),
    /// No attempt is left: report the work as failed.
    GiveUp,
}

/// What to do about `work` at `now`. Bounded: at most five steps.
///
/// The order carries the safety: the former attempt is stopped, or waited out to the end of its lease plus grace,
/// before the next one is placed, and the next demands what the first demanded (invariants 1 and 15).
///
/// ```
/// use leasehold::{placement::{ExecutorKind, Posture, RecoveryRules, RecoveryStep, StuckWork, recovery_plan},
///                 time::Mono};
/// let work = StuckWork {
///     kind: ExecutorKind::NetworkedWorker, posture: Posture::NetworkedWorker, attempts: 1,
///     progress: Mono(0), lease_ends: Some(Mono(500_000)), answers: false,
/// };
/// let plan = recovery_plan(&RecoveryRules::default(), &work, Mono(400_000));
/// assert_eq!(plan, [
///     RecoveryStep::RevokeLease,
///     RecoveryStep::Quarantine,
///     RecoveryStep::AwaitEnd(Mono(560_000)),
///     RecoveryStep::VerifyCleanup,
///     RecoveryStep::PlaceAgain(Posture::NetworkedWorker),
/// ]);
/// ```
pub fn recovery_plan(rules: &RecoveryRules, work: &StuckWork, now: Mono) -> Vec<RecoveryStep> {
    let stuck_at = work.progress.plus(rules.quiet_ms);
    if now < stuck_at {
        return vec![RecoveryStep::LookAgain(stuck_at)];
    }
    let mut plan = stop(rules, work);
    plan.push(if work.attempts < rules.max_attempts {
        RecoveryStep::PlaceAgain(work.posture)
    } else {
        RecoveryStep::GiveUp
    });
    plan
}

/// The steps after which the former attempt is known to be over.
fn stop(rules: &RecoveryRules, work: &StuckWork) -> Vec<RecoveryStep> {
    let remote_end = match work.lease_ends {
        Some(end) => RecoveryStep::AwaitEnd(end.plus(rules.grace_ms)),
        None => RecoveryStep::AwaitOperator,
    };
    match (work.kind, work.answers) {
        (ExecutorKind::InProcess | ExecutorKind::LocalProcess | ExecutorKind::OsIsolated, true) => {
            vec![RecoveryStep::Cancel, RecoveryStep::KillLocally, RecoveryStep::VerifyCleanup]
        }
        (ExecutorKind::InProcess | ExecutorKind::LocalProcess | ExecutorKind::OsIsolated, false) => {
            vec![RecoveryStep::KillLocally, RecoveryStep::Quarantine, RecoveryStep::VerifyCleanup]
        }
        (ExecutorKind::NetworkedWorker, true) => {
            vec![RecoveryStep::Cancel, RecoveryStep::RevokeLease, RecoveryStep::VerifyCleanup]
        }
        (ExecutorKind::NetworkedWorker, false) => {
            vec![RecoveryStep::RevokeLease, RecoveryStep::Quarantine, remote_end, RecoveryStep::VerifyCleanup]
        }
        (ExecutorKind::PairedNode | ExecutorKind::SshTunnel, true) => {
            vec![RecoveryStep::Cancel, RecoveryStep::VerifyCleanup]
        }
        (ExecutorKind::PairedNode | ExecutorKind::SshTunnel, false) => {
            vec![RecoveryStep::Quarantine, remote_end, RecoveryStep::VerifyCleanup]
        }
    }
}
