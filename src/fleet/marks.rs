//! Data that few workers have: how their last runs ended, why they are not wanted, and whether somebody else
//! used their identity.

use serde::{Deserialize, Serialize};

use super::condition::Quarantine;
use crate::time::Mono;

/// Why an operator drains a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DrainReason {
    /// The worker's host is being maintained.
    Maintenance,
    /// A newer worker replaces it.
    Upgrade,
    /// The fleet has more workers than it needs.
    ScaleDown,
    /// The worker is suspected of misbehaving.
    Suspect,
    /// Another reason.
    Other,
}

/// The reason and the deadline that an operator gave for a drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DrainPlan {
    /// Why the worker is drained.
    pub reason: DrainReason,
    /// When a lease that still runs is revoked; `None` if it may finish.
    pub until: Option<Mono>,
}

/// What is known of how a worker's runs end, and of its identity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Marks {
    /// How many runs ended badly since the last one that ended well.
    pub(crate) bad_in_a_row: u32,
    /// Whether the worker gets only probes.
    pub(crate) set_aside: bool,
    /// Whether the lease that the worker holds, or that the same record grants, is a probe.
    pub(crate) probing: bool,
    /// How often a replaced incarnation came back since an operator last released the worker.
    pub(crate) displaced: u32,
    /// What an operator said when draining began.
    pub(crate) drain: Option<DrainPlan>,
}

impl Marks {
    pub(crate) const NONE: Self =
        Self { bad_in_a_row: 0, set_aside: false, probing: false, displaced: 0, drain: None };
}

/// Data that takes room only in the records of workers that have some.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rare {
    /// The quarantine latch.
    pub(super) latch: Quarantine,
    pub(super) marks: Marks,
}

impl Rare {
    pub(super) fn is_nothing(&self) -> bool {
        self.marks == Marks::NONE && self.latch == *Quarantine::open()
    }
}
