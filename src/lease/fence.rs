//! The fencing token: every act under a lease carries one, and one that is not the newest changes nothing.

use core::fmt;

use serde::{Deserialize, Serialize};

/// A coordinator's term. Strictly larger at every recovery, restore and change of coordinator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A fencing token, ordered by epoch and then by counter. It only grows, across restart, restore and fail-over
/// (invariant 2), so whoever sees a larger one may refuse every smaller one for good.
///
/// ```
/// use leasehold::lease::{Epoch, Fence};
/// assert!(Fence::new(Epoch(2), 1) > Fence::new(Epoch(1), 900));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fence {
    /// The term of the coordinator that made it.
    pub epoch: Epoch,
    /// Counts leases within the fleet.
    pub counter: u64,
}

impl Fence {
    /// The token `counter` of `epoch`.
    pub const fn new(epoch: Epoch, counter: u64) -> Self {
        Self { epoch, counter }
    }
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.counter)
    }
}
