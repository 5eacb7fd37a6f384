//! How many workers a fleet has in each state.

use serde::{Deserialize, Serialize};

/// The state of a fleet in numbers: what placement asks before it sends a tool to a networked worker, and what
/// dashboards show.
///
/// Every worker is counted once in `total` and once in the one of the other numbers that names its public state
/// (quarantined wins, then orphaned, then draining); `registered` to `retired` therefore add up to `total`.
/// A number that a document leaves out is zero, which never makes a worker available.
///
/// ```
/// use leasehold::fleet::WorkerFleetCounts;
/// let counts = WorkerFleetCounts { total: 3, available: 2, leased: 1, ..WorkerFleetCounts::default() };
/// assert_eq!(counts.available, 2);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WorkerFleetCounts {
    /// Workers known to the fleet, retired ones included.
    pub total: u64,
    /// Attested and bound, not yet heard.
    pub registered: u64,
    /// Idle, trusted, wanted and heard in time: may be given a lease now.
    pub available: u64,
    /// Holding a lease, at any stage of it.
    pub leased: u64,
    /// Idle and silent.
    pub offline: u64,
    /// Lost a lease without verified cleanup.
    pub orphaned: u64,
    /// Not trusted, for at least one reason.
    pub quarantined: u64,
    /// Still trusted, no longer wanted.
    pub draining: u64,
    /// Gone for good.
    pub retired: u64,
}
