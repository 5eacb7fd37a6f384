//! How many workers of a fleet are in each state.

use serde::{Deserialize, Serialize};

/// How many workers of a fleet are in each public state. Placement reads it before it sends a tool to a
/// networked worker; dashboards show it.
///
/// Every worker is counted once in `total` and once in the member that names its public state, so
/// `registered` to `retired` add up to `total`. A member that a document leaves out is zero, which never
/// makes a worker available.
///
/// ```
/// use leasehold::fleet::WorkerFleetCounts;
/// let counts = WorkerFleetCounts { total: 3, available: 2, leased: 1, ..WorkerFleetCounts::default() };
/// assert_eq!(counts.available, 2);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WorkerFleetCounts {
    /// Workers known to the fleet, including retired ones.
    pub total: u64,
    /// Attested and bound, and not heard yet.
    pub registered: u64,
    /// Idle, trusted, wanted and heard in time. Such a worker can be given a lease now.
    pub available: u64,
    /// Holding a lease, at any stage.
    pub leased: u64,
    /// Idle, and not heard in time.
    pub offline: u64,
    /// Owing cleanup or evidence for a lost lease.
    pub orphaned: u64,
    /// Not trusted, for at least one reason.
    pub quarantined: u64,
    /// Trusted, and drained or set aside.
    pub draining: u64,
    /// Removed from service permanently.
    pub retired: u64,
}
