//! The ledger of runs: who has each, how often it was tried, and how it ended, for as long as that could matter.

use alloc::{collections::VecDeque, vec::Vec};

use serde::{Deserialize, Serialize};

use super::{condition::LossReason, operation::RunOutcome, spent::FORGOTTEN};
use crate::{
    id::RunId,
    lease::Fence,
    slab::{Keyed, KeyedSlab},
    time::Mono,
};

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RunState {
    /// Leased.
    Leased {
        /// To the worker in this slot.
        slot: u32,
        /// Under this fence.
        fence: Fence,
    },
    /// Its last lease is over. Its holder may still act, until then.
    Held {
        /// It may be leased again from this instant on.
        until: Mono,
        /// The lease that was over.
        fence: Fence,
        /// Why; `None` where it was given back.
        reason: Option<LossReason>,
    },
    /// Ended for good.
    Ended {
        /// The lease that it ended under.
        fence: Fence,
        /// How; `None` where all its attempts were lost.
        outcome: Option<RunOutcome>,
        /// Why the last of them was lost, where it ended by that.
        lost: Option<LossReason>,
    },
}

/// What the fleet remembers of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RunRecord {
    /// The run.
    pub run: RunId,
    /// How many leases it was granted.
    pub attempts: u32,
    /// Where it stands.
    pub state: RunState,
    /// While it is not leased: until when it is remembered.
    pub remembered_until: Mono,
    /// How many events had been folded when it was left: those of one instant are forgotten in this order.
    pub left_at: u64,
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
    /// The runs that are not leased, in the order in which they need not be remembered any more. A run that was left
    /// and leased again leaves an empty place; the first place is never empty. New ones come at the end, but where a
    /// policy has shortened how long is remembered. Follows from the records.
    over: VecDeque<(Place, Option<RunId>)>,
}

/// When a run that is not leased is forgotten: its instant, and what tells those of one instant apart.
type Place = (Mono, u64);

impl PartialEq for Runs {
    fn eq(&self, other: &Self) -> bool {
        self.records == other.records
    }
}

impl Eq for Runs {}

impl RunRecord {
    /// Its place among those that are not leased.
    fn place(&self) -> Option<Place> {
        match self.state {
            RunState::Leased { .. } => None,
            RunState::Held { .. } | RunState::Ended { .. } => Some((self.remembered_until, self.left_at)),
        }
    }
}

impl Runs {
    pub(crate) fn new(index_key: [u8; 16]) -> Self {
        Self { records: KeyedSlab::new(index_key), over: VecDeque::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is no room for another run at `now`: what is over by then makes room.
    pub(crate) fn is_full(&self, limit: usize, now: Mono) -> bool {
        self.len() >= limit && self.over.front().is_none_or(|((until, _), _)| *until > now)
    }

    pub(crate) fn get(&self, run: &RunId) -> Option<&RunRecord> {
        self.records.get_by(run.as_str().as_bytes())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &RunRecord> {
        self.records.iter()
    }

    /// The run is leased once more.
    pub(crate) fn leased(&mut self, run: &RunId, slot: u32, fence: Fence) {
        let state = RunState::Leased { slot, fence };
        match self.records.find_or_hash(run.as_str().as_bytes()) {
            Ok(slot) => {
                if let Some(record) = self.records.get_mut(slot) {
                    let before = record.place();
                    record.remembered_until = Mono::NEVER;
                    record.attempts = record.attempts.saturating_add(1);
                    record.state = state;
                    self.vacate(before);
                }
            }
            Err(hash) => {
                let record = RunRecord {
                    run: run.clone(),
                    attempts: 1,
                    state,
                    remembered_until: Mono::NEVER,
                    left_at: 0,
                };
                self.records.insert_hashed(hash, record);
            }
        }
    }

    /// The lease `fence` of the run is over; it is held until `until`. A run that has ended stays ended.
    pub(crate) fn held(
        &mut self,
        run: &RunId,
        fence: Fence,
        reason: Option<LossReason>,
        until: Mono,
        memory: Mono,
        version: u64,
    ) {
        let Some(slot) = self.records.find(run.as_str().as_bytes()) else { return };
        if let Some(record) = self.records.get_mut(slot)
            && matches!(record.state, RunState::Leased { fence: live, .. } if live == fence)
        {
            record.state = RunState::Held { until, fence, reason };
            (record.remembered_until, record.left_at) = (memory, version);
            self.occupy((memory, version), run.clone());
        }
    }

    /// The run has ended under `fence`.
    pub(crate) fn ended(
        &mut self,
        run: &RunId,
        fence: Fence,
        outcome: Option<RunOutcome>,
        lost: Option<LossReason>,
        memory: Mono,
        version: u64,
    ) {
        let Some(slot) = self.records.find(run.as_str().as_bytes()) else { return };
        if let Some(record) = self.records.get_mut(slot) {
            let before = record.place();
            record.state = RunState::Ended { fence, outcome, lost };
            (record.remembered_until, record.left_at) = (memory, version);
            self.vacate(before);
            self.occupy((memory, version), run.clone());
        }
    }

    /// Forgets a few runs whose time has passed.
    pub(crate) fn forget_some(&mut self, now: Mono) {
        for _ in 0..FORGOTTEN {
            if self.over.front().is_none_or(|((until, _), _)| *until > now) {
                return;
            }
            let run = self.over.pop_front().and_then(|(_, run)| run);
            self.drop_empty();
            let Some(run) = run else { return };
            if let Some(slot) = self.records.find(run.as_str().as_bytes()) {
                self.records.remove(slot);
            }
        }
    }

    /// Takes in a record that a snapshot held.
    pub(crate) fn load(&mut self, record: RunRecord) {
        self.records.insert(record);
    }

    /// Puts the runs that a snapshot held into the order in which they are forgotten.
    pub(crate) fn loaded(&mut self) {
        let places = self.records.iter().filter_map(|run| Some((run.place()?, Some(run.run.clone()))));
        let mut over: Vec<_> = places.collect();
        over.sort_unstable();
        self.over = over.into();
    }

    /// A run that is not leased takes its place.
    fn occupy(&mut self, place: Place, run: RunId) {
        if self.over.back().is_none_or(|(last, _)| *last <= place) {
            return self.over.push_back((place, Some(run)));
        }
        let at = self.over.partition_point(|(held, _)| *held <= place);
        self.over.insert(at, (place, Some(run)));
    }

    /// A run leaves its place.
    fn vacate(&mut self, place: Option<Place>) {
        let Some(place) = place else { return };
        if let Ok(at) = self.over.binary_search_by_key(&place, |(held, _)| *held)
            && let Some((_, run)) = self.over.get_mut(at)
        {
            *run = None;
        }
        self.drop_empty();
    }

    /// Drops empty places from the front: one after the other in memory, so that even many cost little.
    fn drop_empty(&mut self) {
        while self.over.front().is_some_and(|(_, run)| run.is_none()) {
            self.over.pop_front();
        }
    }

    /// The records in the order of their ids: equal ledgers give equal snapshots.
    pub(crate) fn sorted(&self) -> Vec<&RunRecord> {
        self.records.sorted()
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;
    use crate::lease::Epoch;

    fn run(n: u64) -> RunId {
        RunId::new(&format!("run-{n}")).unwrap()
    }

    /// A state that was loaded forgets the same runs in the same order as the one that was folded, whatever was leased
    /// again and however long is remembered.
    #[test]
    fn what_was_loaded_forgets_what_was_folded() {
        let mut runs = Runs::new([1; 16]);
        let fence = |n| Fence::new(Epoch(1), n);
        for n in 0..200_u64 {
            runs.leased(&run(n), 0, fence(n));
            // A policy halves what is remembered, in the middle.
            let memory = Mono(if n < 100 { 1_000 } else { 500 } + n / 8);
            runs.held(&run(n), fence(n), None, Mono(0), memory, n);
            match n % 3 {
                0 => runs.leased(&run(n), 0, fence(1_000 + n)),
                1 => runs.ended(&run(n), fence(n), None, None, memory, 500 + n),
                _ => {}
            }
        }
        let mut loaded = Runs::new([2; 16]);
        runs.iter().cloned().for_each(|record| loaded.load(record));
        loaded.loaded();
        for now in (0..1_200).step_by(2) {
            assert_eq!(runs.is_full(1, Mono(now)), loaded.is_full(1, Mono(now)));
            let before = runs.len();
            runs.forget_some(Mono(now));
            loaded.forget_some(Mono(now));
            assert_eq!(runs, loaded, "at {now}");
            assert!(runs.len() + FORGOTTEN >= before);
        }
        assert_eq!(runs.len(), 67, "those that are leased");
        assert!(runs.over.is_empty() && loaded.over.is_empty());
    }
}
