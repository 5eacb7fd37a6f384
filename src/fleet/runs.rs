//! The ledger of runs: which worker has each run, how often it was tried, and how it ended. A run is
//! remembered for as long as a grant for it could live.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::{condition::LossReason, outcome::RunOutcome};
use crate::{
    id::RunId,
    index::Slot,
    lease::Fence,
    order::{Nodes, Order},
    slab::{Keyed, KeyedSlab},
    time::Mono,
};

/// The state of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RunState {
    /// The run is leased.
    Leased {
        /// The slot of the worker that holds the lease.
        slot: u32,
        /// The fence of the lease.
        fence: Fence,
    },
    /// The last lease of the run has ended, and its holder may still act until `until`.
    Held {
        /// The run may be leased again from this instant.
        until: Mono,
        /// The fence of that lease.
        fence: Fence,
        /// Why the lease ended; `None` if the worker returned it.
        reason: Option<LossReason>,
    },
    /// The run has ended permanently.
    Ended {
        /// The fence of the lease under which the run ended.
        fence: Fence,
        /// How the run ended; `None` if all its attempts were lost.
        outcome: Option<RunOutcome>,
        /// Why its last lease was lost, if that ended the run.
        lost: Option<LossReason>,
    },
}

/// What the fleet remembers of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RunRecord {
    /// The run.
    pub run: RunId,
    /// How many leases the run was granted.
    pub attempts: u32,
    /// The state of the run.
    pub state: RunState,
    /// Until when the run is remembered. `Mono::NEVER` while it is leased.
    pub remembered_until: Mono,
    /// How many events had been folded when the lease ended. Runs with the same `remembered_until` are
    /// forgotten in this order.
    pub left_at: u64,
    /// How many of its attempts were lost through no fault of the job, counted while the policy spares such
    /// attempts.
    pub spared: u32,
    /// The slot of the worker that had the run last, if the policy prefers another one for the next attempt.
    pub last_on: Option<u32>,
}

/// How a lease of a run ended.
pub(crate) struct Left {
    pub(crate) fence: Fence,
    pub(crate) reason: Option<LossReason>,
    /// Until when the run is held.
    pub(crate) until: Mono,
    /// Until when the run is remembered.
    pub(crate) memory: Mono,
    /// How many events had been folded.
    pub(crate) version: u64,
    /// Whether the attempt does not count against the job.
    pub(crate) spared: bool,
    /// Whether the next attempt prefers another worker.
    pub(crate) elsewhere: bool,
}

impl Keyed for RunRecord {
    fn key(&self) -> &[u8] {
        self.run.as_str().as_bytes()
    }
}

/// All runs that are remembered.
#[derive(Clone, Debug)]
pub(crate) struct Runs {
    records: KeyedSlab<RunRecord>,
    /// The slots of the runs that are not leased, in the order in which they are forgotten. Derived from the
    /// records.
    over: Order<Place>,
    places: Nodes<Place, ()>,
    /// The lease whose run ended last. Most leases end with their run, in one record, and then there is no run to hold.
    ended_last: Option<Fence>,
}

/// When a run that is not leased is forgotten, and a number that orders the runs of one instant.
type Place = (Mono, u64);

impl PartialEq for Runs {
    fn eq(&self, other: &Self) -> bool {
        self.records == other.records
    }
}

impl Eq for Runs {}

impl RunRecord {
    /// How many attempts count against the job if up to `most` are spared. `losing_spared` says whether an
    /// attempt that is being lost now is one of them.
    pub(crate) fn counted(&self, most: u32, losing_spared: bool) -> u32 {
        let spared = self.spared.saturating_add(losing_spared.into());
        self.attempts.saturating_sub(spared.min(most))
    }

    /// Its place in the order of forgetting; `None` while it is leased.
    fn place(&self) -> Option<Place> {
        match self.state {
            RunState::Leased { .. } => None,
            RunState::Held { .. } | RunState::Ended { .. } => Some((self.remembered_until, self.left_at)),
        }
    }
}

impl Runs {
    pub(crate) fn new(index_key: [u8; 16]) -> Self {
        Self {
            records: KeyedSlab::new(index_key),
            over: Order::default(),
            places: Nodes::default(),
            ended_last: None,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is no room for another run at `now`. A run that may be forgotten by then makes room.
    pub(crate) fn is_full(&self, limit: usize, now: Mono) -> bool {
        self.len() >= limit && self.next_forgotten().is_none_or(|until| until > now)
    }

    /// When the next run is forgotten; `None` if all runs are leased.
    pub(crate) fn next_forgotten(&self) -> Option<Mono> {
        self.over.first(&self.places).map(|(until, _)| until)
    }

    pub(crate) fn get(&self, run: &RunId) -> Option<&RunRecord> {
        self.records.get_by(run.as_str().as_bytes())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &RunRecord> {
        self.records.iter()
    }

    /// Leases the run once more. Returns false, and changes nothing, if the run is known and not `free`.
    pub(crate) fn leased(
        &mut self,
        run: &RunId,
        slot: u32,
        fence: Fence,
        free: impl FnOnce(&RunRecord) -> bool,
    ) -> bool {
        let state = RunState::Leased { slot, fence };
        match self.records.find_or_hash(run.as_str().as_bytes()) {
            Ok(slot) => {
                if let Some(record) = self.records.get_mut(slot) {
                    if !free(record) {
                        return false;
                    }
                    record.remembered_until = Mono::NEVER;
                    record.attempts = record.attempts.saturating_add(1);
                    record.state = state;
                    self.over.remove(&mut self.places, slot);
                }
            }
            Err(hash) => {
                let record = RunRecord {
                    run: run.clone(),
                    attempts: 1,
                    state,
                    remembered_until: Mono::NEVER,
                    left_at: 0,
                    spared: 0,
                    last_on: None,
                };
                self.records.insert_hashed(hash, record);
            }
        }
        true
    }

    /// Ends the lease of a run and holds the run. A run that has ended stays ended.
    pub(crate) fn held(&mut self, run: &RunId, left: &Left) {
        let Left { fence, reason, until, memory, version, spared, elsewhere } = *left;
        if self.ended_last == Some(fence) {
            return;
        }
        let Some(slot) = self.records.find(run.as_str().as_bytes()) else { return };
        if let Some(record) = self.records.get_mut(slot)
            && let RunState::Leased { slot: on, fence: live } = record.state
            && live == fence
        {
            record.state = RunState::Held { until, fence, reason };
            record.spared = record.spared.saturating_add(spared.into());
            record.last_on = elsewhere.then_some(on);
            (record.remembered_until, record.left_at) = (memory, version);
            self.occupy(slot, (memory, version));
        }
    }

    /// Ends the run under `fence`. Returns false, and changes nothing, if the run is not known, has ended already, or had
    /// another lease last.
    pub(crate) fn ended(
        &mut self,
        run: &RunId,
        fence: Fence,
        outcome: Option<RunOutcome>,
        lost: Option<LossReason>,
        memory: Mono,
        version: u64,
    ) -> bool {
        let Some(slot) = self.records.find(run.as_str().as_bytes()) else { return false };
        let Some(record) = self.records.get_mut(slot) else { return false };
        let held = match record.state {
            RunState::Leased { fence: last, .. } if last == fence => false,
            RunState::Held { fence: last, .. } if last == fence => true,
            _ => return false,
        };
        record.state = RunState::Ended { fence, outcome, lost };
        self.ended_last = Some(fence);
        (record.remembered_until, record.left_at) = (memory, version);
        // Only what is not leased has a place.
        if held {
            self.over.remove(&mut self.places, slot);
        }
        self.occupy(slot, (memory, version));
        true
    }

    /// Forgets up to `most` runs that need not be remembered at `now`.
    pub(crate) fn forget_some(&mut self, now: Mono, most: usize) {
        for _ in 0..most {
            let first = self.over.iter(&self.places).next();
            let Some((_, slot)) = first.filter(|((until, _), _)| *until <= now) else { return };
            self.over.remove(&mut self.places, slot);
            self.records.remove(slot);
        }
    }

    /// Loads a record from a snapshot.
    pub(crate) fn load(&mut self, record: RunRecord) {
        self.records.insert(record);
    }

    /// Builds the order of forgetting after all records are loaded.
    pub(crate) fn loaded(&mut self) {
        let mut over: Vec<(Place, Slot)> =
            self.records.enumerate().filter_map(|(slot, run)| Some((run.place()?, slot))).collect();
        over.sort_unstable();
        (self.over, self.places) = (Order::default(), Nodes::default());
        over.into_iter().for_each(|(place, slot)| self.occupy(slot, place));
    }

    /// Puts the run in `slot`, which is not leased, into the order of forgetting.
    fn occupy(&mut self, slot: Slot, place: Place) {
        self.places.reach(usize::try_from(slot).unwrap_or(usize::MAX), place, ());
        self.over.insert(&mut self.places, slot, place);
    }

    /// The records in the order of their ids, so that equal ledgers give equal snapshots.
    pub(crate) fn sorted(&self) -> Vec<&RunRecord> {
        self.records.sorted()
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;
    use crate::lease::Epoch;

    const FORGOTTEN: usize = 8;

    fn run(n: u64) -> RunId {
        RunId::new(&format!("run-{n}")).unwrap()
    }

    fn left(fence: Fence, memory: Mono, version: u64) -> Left {
        let (spared, elsewhere) = (false, false);
        Left { fence, reason: None, until: Mono(0), memory, version, spared, elsewhere }
    }

    /// A loaded state forgets the same runs in the same order as the state that was folded, whatever was
    /// leased again and however long runs are remembered.
    #[test]
    fn what_was_loaded_forgets_what_was_folded() {
        let mut runs = Runs::new([1; 16]);
        let fence = |n| Fence::new(Epoch(1), n);
        for n in 0..200_u64 {
            assert!(runs.leased(&run(n), 0, fence(n), |_| true));
            // A policy halves how long runs are remembered, in the middle.
            let memory = Mono(if n < 100 { 1_000 } else { 500 } + n / 8);
            runs.held(&run(n), &left(fence(n), memory, n));
            match n % 3 {
                0 => assert!(runs.leased(&run(n), 0, fence(1_000 + n), |_| true)),
                1 => assert!(runs.ended(&run(n), fence(n), None, None, memory, 500 + n)),
                _ => {}
            }
        }
        let mut loaded = Runs::new([2; 16]);
        runs.iter().cloned().for_each(|record| loaded.load(record));
        loaded.loaded();
        for now in (0..1_200).step_by(2) {
            assert_eq!(runs.is_full(1, Mono(now)), loaded.is_full(1, Mono(now)));
            let before = runs.len();
            runs.forget_some(Mono(now), FORGOTTEN);
            loaded.forget_some(Mono(now), FORGOTTEN);
            assert_eq!(runs, loaded, "at {now}");
            assert!(runs.len() + FORGOTTEN >= before);
        }
        assert_eq!(runs.len(), 67, "those that are leased");
        assert!(runs.over.is_empty() && loaded.over.is_empty());
    }

    /// Invariant 13: the order of forgetting is bounded by the records, however often one run is leased again
    /// while another one waits to be forgotten first.
    #[test]
    fn a_run_that_is_leased_again_leaves_no_place_behind() {
        let mut runs = Runs::new([1; 16]);
        let fence = |n| Fence::new(Epoch(1), n);
        assert!(runs.leased(&run(0), 0, fence(0), |_| true));
        runs.held(&run(0), &left(fence(0), Mono(86_400_000), 0));
        for n in 1..1_000_u64 {
            assert!(runs.leased(&run(1), 0, fence(n), |_| true));
            runs.held(&run(1), &left(fence(n), Mono(86_400_000 + n), n));
            assert_eq!(runs.over.len(), 2);
        }
    }
}
