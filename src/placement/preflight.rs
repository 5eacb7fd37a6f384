//! The report before a run: every reason against every executor, not only the first, and nothing is chosen.

use alloc::vec::Vec;

use serde::Serialize;

use super::{
    decide::{self, PlacementRequest},
    executor::{ExecutorKind, Posture},
    policy::PlacementPolicy,
};
use crate::{code::Code, id::ExecutorId, time::Now};

/// One executor of a preflight report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PreflightEntry {
    /// The executor.
    pub executor: ExecutorId,
    /// Its kind.
    pub kind: ExecutorKind,
    /// Every reason against it, the gravest first. Empty: it could run the tool.
    pub obstacles: Vec<Code>,
}

/// What would have to change before the tool can run, and where it could run now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PreflightReport {
    /// What would be demanded. None where the reason in `refused` comes before any demand.
    pub posture: Option<Posture>,
    /// Why no executor would be looked at.
    pub refused: Option<Code>,
    /// Every executor, in the order tried. Empty where `refused` says why.
    pub executors: Vec<PreflightEntry>,
}

impl PreflightReport {
    /// The executor that [`decide`](super::decide) would choose at the same time with the same input.
    pub fn would_run_on(&self) -> Option<&ExecutorId> {
        self.executors.iter().find(|entry| entry.obstacles.is_empty()).map(|entry| &entry.executor)
    }
}

/// Judges every executor and reports all that stands against each. It uses the checks of
/// [`decide`](super::decide), so that the two never disagree.
pub fn preflight(policy: &PlacementPolicy, request: &PlacementRequest<'_>, now: Now) -> PreflightReport {
    let posture = match decide::demand(policy, request, now) {
        Ok(posture) => posture,
        Err(code) => return PreflightReport { posture: None, refused: Some(code), executors: Vec::new() },
    };
    let executors = decide::in_order(policy, request.inventory)
        .map(|executor| PreflightEntry {
            executor: executor.id.clone(),
            kind: executor.kind,
            obstacles: decide::obstacles(policy, request, posture, executor).collect(),
        })
        .collect();
    PreflightReport { posture: Some(posture), refused: None, executors }
}
