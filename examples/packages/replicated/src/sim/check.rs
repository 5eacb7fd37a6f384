//! What must hold at every step, and at the end.

use std::collections::{BTreeMap, BTreeSet};

use leasehold::{
    digest::Sha256Digest,
    fleet::{FleetEvent, FleetState, LogId, Position, Replay},
    lease::{Fence, WorkerLease},
};

use crate::{
    members::NodeId,
    stored::{Entry, EntryKind},
};

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken(pub String);

/// Everything that was seen, of all nodes and clients.
#[derive(Default)]
pub struct Check {
    /// What the log holds at each place, by whoever applied it first.
    log: BTreeMap<u64, Entry>,
    /// Where the fleet was behind each entry, by whoever was there first.
    positions: BTreeMap<u64, Position>,
    leaders: BTreeMap<u64, NodeId>,
    /// Records whose answers were given.
    told: BTreeSet<(u64, u64)>,
    /// Leases that clients were told of.
    pub leases: Vec<WorkerLease>,
    /// The fences of these, as they were told.
    pub fences: Vec<Fence>,
    /// The last record that somebody was told of.
    pub floor: u64,
}

impl Check {
    /// A node leads.
    pub fn leads(&mut self, term: u64, node: NodeId) -> Result<(), Broken> {
        match self.leaders.insert(term, node) {
            Some(other) if other != node => {
                Err(Broken(format!("term {term} has two leaders: {other} and {node}")))
            }
            _ => Ok(()),
        }
    }

    /// A node has applied an entry.
    pub fn applied(&mut self, node: NodeId, entry: Entry) -> Result<(), Broken> {
        match self.log.get(&entry.index) {
            Some(first) if *first != entry => Err(Broken(format!(
                "{node} applied another entry {} than the first one who did",
                entry.index
            ))),
            Some(_) => Ok(()),
            None => {
                self.log.insert(entry.index, entry);
                Ok(())
            }
        }
    }

    /// A node's committed state stands behind the entry `index`.
    pub fn stands(
        &mut self,
        node: NodeId,
        index: u64,
        at: Position,
        state: &FleetState,
    ) -> Result<(), Broken> {
        state.check_invariants().map_err(|broken| Broken(format!("{node}: {broken}")))?;
        match self.positions.get(&index) {
            Some(first) if *first != at => Err(Broken(format!(
                "{node} is at {} behind entry {index}, and another one was at {}",
                at.id(),
                first.id()
            ))),
            Some(_) => Ok(()),
            None => {
                self.positions.insert(index, at);
                Ok(())
            }
        }
    }

    /// An answer that rests on `id` was given.
    pub fn told(&mut self, id: LogId) {
        self.told.insert((id.index, id.epoch.0));
        self.floor = self.floor.max(id.index);
    }

    /// A read that was asked for when `floor` had been told was answered with `at`.
    pub fn read(&self, floor: u64, at: u64) -> Result<(), Broken> {
        if at < floor {
            return Err(Broken(format!(
                "a read gives record {at}, and {floor} had been told before it was asked"
            )));
        }
        Ok(())
    }

    /// Folds the whole log from the founding on: what was told is in it, fences grow, grants are spent once, runs end once.
    pub fn audit(&self, founding: &[u8], last: u64) -> Result<Audit, Broken> {
        let broken = |what: String| Err(Broken(what));
        let mut replay = Replay::new([99; 16]);
        replay.chunk(founding).map_err(|error| Broken(format!("the founding does not load: {error}")))?;
        let mut audit = Audit::default();
        let mut records = BTreeMap::new();
        let (mut fence, mut fault) = (None::<Fence>, None);
        let mut epoch = 0;
        for (index, entry) in self.log.range(..=last) {
            if entry.kind != EntryKind::Command {
                continue;
            }
            let seen = replay.journal_with(&entry.data, |record| {
                for event in &record.events {
                    match event {
                        FleetEvent::EpochBegan { epoch: began, .. } => {
                            if began.0 <= epoch {
                                fault = Some(format!("epoch {began} does not grow"));
                            }
                            epoch = began.0;
                            audit.turns += 1;
                        }
                        FleetEvent::LeaseGranted { lease, .. } => {
                            if fence.is_some_and(|former| lease.fence <= former) {
                                fault = Some(format!("fence {} does not grow", lease.fence));
                            }
                            fence = Some(lease.fence);
                            if !audit.grants.insert(lease.terms.grant.to_string()) {
                                fault = Some(format!("grant {} is spent twice", lease.terms.grant));
                            }
                            audit.leases.insert(lease.fence, lease.digest());
                        }
                        FleetEvent::RunEnded { run, .. } if !audit.ended.insert(run.to_string()) => {
                            fault = Some(format!("{run} ends twice"));
                        }
                        FleetEvent::LeaseLost { .. } => audit.lost += 1,
                        FleetEvent::Quarantined { .. } => audit.quarantines += 1,
                        _ => {}
                    }
                }
                records.insert(record.index, epoch);
            });
            // An entry that does not follow is refused by every replica alike.
            if let Err(error) = seen {
                return broken(format!("entry {index} does not fold: {error}"));
            }
        }
        if let Some(fault) = fault {
            return broken(fault);
        }
        for (index, epoch) in &self.told {
            match records.get(index) {
                Some(of) if of == epoch => {}
                // What changed nothing rests on a record from before the log began.
                None if records.first_key_value().is_none_or(|(first, _)| index < first) => {}
                _ => {
                    return broken(format!(
                        "an answer rests on record {epoch}.{index}, which the log does not hold"
                    ));
                }
            }
        }
        for (lease, fence) in self.leases.iter().zip(&self.fences) {
            if audit.leases.get(fence) != Some(&lease.digest()) {
                return broken(format!(
                    "a client was told of the lease {}, which the log does not hold",
                    lease.fence
                ));
            }
        }
        audit.told = self.told.len();
        audit.entries = self.log.range(..=last).count();
        Ok(audit)
    }
}

/// What an audit counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    /// Entries of the log.
    pub entries: usize,
    /// Turns of leading.
    pub turns: usize,
    /// Leases that were lost.
    pub lost: usize,
    /// Workers that were quarantined.
    pub quarantines: usize,
    /// Records that answers rest on.
    pub told: usize,
    /// Leases by fence.
    pub leases: BTreeMap<Fence, Sha256Digest>,
    /// Runs that ended.
    pub ended: BTreeSet<String>,
    grants: BTreeSet<String>,
}
