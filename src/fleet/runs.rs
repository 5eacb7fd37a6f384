//! The ledger of runs: who has each, how often it was tried, and how it ended, for as long as that could matter.

use alloc::{collections::BTreeMap, vec::Vec};

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
}

impl Keyed for RunRecord {
    fn key(&self) -> &[u8] {
        self.run.as_str().as_bytes()
    }
}

/// All runs that are remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Runs {
    records: KeyedSlab<RunRecord>,
    /// The runs that are not leased, by the instant from which on they need not be remembered. The fence that each was
    /// last leased under tells those of one instant apart, and grows with time, so that new ones come at the end.
    over: BTreeMap<(Mono, Fence), RunId>,
}

impl RunRecord {
    /// Its place among those that are not leased.
    fn place(&self) -> Option<(Mono, Fence)> {
        match self.state {
            RunState::Leased { .. } => None,
            RunState::Held { fence, .. } | RunState::Ended { fence, .. } => {
                Some((self.remembered_until, fence))
            }
        }
    }
}

impl Runs {
    pub(crate) fn new(index_key: [u8; 16]) -> Self {
        Self { records: KeyedSlab::new(index_key), over: BTreeMap::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is no room for another run at `now`: what is over by then makes room.
    pub(crate) fn is_full(&self, limit: usize, now: Mono) -> bool {
        self.len() >= limit && self.over.first_key_value().is_none_or(|((until, _), _)| *until > now)
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
                    if let Some(place) = record.place() {
                        self.over.remove(&place);
                    }
                    record.remembered_until = Mono::NEVER;
                    record.attempts = record.attempts.saturating_add(1);
                    record.state = state;
                }
            }
            Err(hash) => {
                let record =
                    RunRecord { run: run.clone(), attempts: 1, state, remembered_until: Mono::NEVER };
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
    ) {
        let Some(slot) = self.records.find(run.as_str().as_bytes()) else { return };
        if let Some(record) = self.records.get_mut(slot)
            && matches!(record.state, RunState::Leased { fence: live, .. } if live == fence)
        {
            record.state = RunState::Held { until, fence, reason };
            record.remembered_until = memory;
            self.over.insert((memory, fence), run.clone());
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
    ) {
        let Some(slot) = self.records.find(run.as_str().as_bytes()) else { return };
        if let Some(record) = self.records.get_mut(slot) {
            if let Some(place) = record.place() {
                self.over.remove(&place);
            }
            record.state = RunState::Ended { fence, outcome, lost };
            record.remembered_until = memory;
            self.over.insert((memory, fence), run.clone());
        }
    }

    /// Forgets a few runs whose time has passed.
    pub(crate) fn forget_some(&mut self, now: Mono) {
        for _ in 0..FORGOTTEN {
            let over = self.over.first_entry().filter(|entry| entry.key().0 <= now);
            let Some(run) = over.map(|entry| entry.remove()) else { return };
            if let Some(slot) = self.records.find(run.as_str().as_bytes()) {
                self.records.remove(slot);
            }
        }
    }

    /// Takes in a record that a snapshot held.
    pub(crate) fn load(&mut self, record: RunRecord) {
        if let Some(place) = record.place() {
            self.over.insert(place, record.run.clone());
        }
        self.records.insert(record);
    }

    /// The records in the order of their ids: equal ledgers give equal snapshots.
    pub(crate) fn sorted(&self) -> Vec<&RunRecord> {
        self.records.sorted()
    }
}
