//! Error bounds of the two clocks: how far the monotonic time and the wall time of the fleet may be wrong.
//!
//! An uncertain instant is always resolved to the safe side. What authorises an action ends at the earliest
//! possible instant; a run or a spent grant becomes free at the latest possible one.

use serde::{Deserialize, Serialize};

use crate::time::{Millis, Mono, Wall};

/// A gap in the fleet's monotonic time. The coordinator was down, and nobody can prove how much real time
/// passed while the monotonic time moved on. Permits end by the monotonic time, which is the earliest instant
/// that can be true; runs are held until the latest one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Gap {
    /// A run that was left before this version of the state is held until an instant that was stated before
    /// the gap.
    version: u64,
    /// The monotonic time before the gap.
    before: Mono,
    /// The latest instant before the gap that a lease holder was told, or that a run was held until.
    reach: Mono,
    /// By how much the real time may be later than the monotonic time.
    by: Millis,
}

/// The error bounds of both clocks, as the state remembers them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bounds {
    gap: Gap,
    /// The wall clock was set back by the second value. Until the first value, spent and ended things are
    /// remembered for that much longer.
    longer: (Mono, Millis),
    /// Grants and evidence issued before this instant are refused, whatever the wall clock is set to.
    pub(crate) since: Wall,
    /// Nonces issued before this instant are refused, however long nonces live now.
    pub(crate) nonces_since: Mono,
}

impl Bounds {
    /// Notes that the monotonic time went from `before` to `now` while no coordinator ran. `reach` gives the
    /// latest instant that a lease holder was told or that a run is held until.
    pub(crate) fn jumped(&mut self, version: u64, before: Mono, now: Mono, reach: impl FnOnce() -> Mono) {
        let by = now.since(before);
        if by == Millis::ZERO {
            return;
        }
        let settled = self.gap.reach.plus(self.gap.by) <= before;
        let former = if settled { Gap { before, ..Gap::default() } } else { self.gap };
        self.gap = Gap { version, before: former.before, reach: reach(), by: by.plus(former.by) };
    }

    /// When a run that was left at `version` of the state and is held until `until` may be leased again.
    pub(crate) fn held_until(&self, until: Mono, version: u64) -> Mono {
        let gap = &self.gap;
        if version < gap.version && gap.before < until { until.plus(gap.by) } else { until }
    }

    /// The latest instant that `end` can really be, for a lease of a former epoch.
    pub(crate) fn latest(&self, end: Mono) -> Mono {
        if end <= self.gap.reach { end.plus(self.gap.by) } else { end }
    }

    /// Notes that the wall clock was set back by `by` at `now`. Grants that were issued before live that much
    /// longer by monotonic time; `memory` is the longest lifetime of a grant.
    pub(crate) fn set_back(&mut self, now: Mono, by: Millis, memory: Millis) {
        let (until, former) = self.longer;
        let by = if now < until { by.plus(former) } else { by };
        if Millis::ZERO < by {
            self.longer = (now.plus(memory).plus(by), by);
        }
    }

    /// Entries that are remembered until the returned instant or earlier may be forgotten at `now`.
    pub(crate) fn forgotten(&self, now: Mono) -> Mono {
        let (until, by) = self.longer;
        if now < until { now.minus(by) } else { now }
    }
}
