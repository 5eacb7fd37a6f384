//! From the fleet's records to entries and to the queue: what was decided, said in the words of this service.

use std::collections::BTreeMap;

use leasehold::{
    fleet::{FleetEvent, FleetRecord, FleetState},
    id::{RunId, WorkerId},
    lease::{Fence, WorkerLease},
    time::Mono,
};
use serde::Serialize;

use crate::{
    process_log::{LogEntry, Outcome},
    queue::Queue,
};

/// Who holds what, as far as the records said.
#[derive(Default)]
pub struct Ledger {
    workers: BTreeMap<u32, WorkerId>,
    leases: BTreeMap<Fence, (RunId, WorkerId)>,
    /// What a run that ended well was made to tell; see [`Ledger::remark`].
    remarks: BTreeMap<Fence, String>,
}

/// The name of a value that serialises as a word.
pub fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        Ok(other) => other.to_string(),
        Err(error) => error.to_string(),
    }
}

impl Ledger {
    /// Keeps what the worker said about the end of the run under `fence`, for its terminal record.
    pub fn remark(&mut self, fence: Fence, remark: String) {
        // Kept for leases only, so that nobody can fill it with words.
        if self.leases.contains_key(&fence) {
            self.remarks.insert(fence, remark);
        }
    }

    /// Goes on with what `state` says: who is in which slot, and which leases there are, in entries.
    pub fn resume(&mut self, state: &FleetState) -> Vec<LogEntry> {
        let mut leases = Vec::new();
        for worker in state.workers() {
            self.workers.insert(worker.handle.slot, worker.id.clone());
            leases.extend(worker.lease);
        }
        leases.sort_unstable_by_key(|lease| lease.fence);
        let entry = |lease: &WorkerLease| {
            let (run, worker) = (lease.terms.run.clone(), lease.worker.clone());
            self.leases.insert(lease.fence, (run.clone(), worker.clone()));
            let (attempt, grant, fence) = (lease.attempt, lease.terms.grant.clone(), lease.fence);
            LogEntry::Leased { run, worker, attempt, grant, fence }
        };
        leases.into_iter().map(entry).collect()
    }

    /// Whether every lease has ended.
    pub fn is_empty(&self) -> bool {
        self.leases.is_empty()
    }

    /// The run and the worker of a lease that has not ended.
    pub fn lease(&self, fence: Fence) -> Option<&(RunId, WorkerId)> {
        self.leases.get(&fence)
    }

    /// What a record says, in entries; the queue learns it, too.
    pub fn read(&mut self, record: &FleetRecord, queue: &mut Queue) -> Vec<LogEntry> {
        let mut entries = Vec::new();
        for event in &record.events {
            self.event(event, record.at.mono, queue, &mut entries);
        }
        entries
    }

    fn event(&mut self, event: &FleetEvent, now: Mono, queue: &mut Queue, entries: &mut Vec<LogEntry>) {
        match event {
            FleetEvent::WorkerRegistered { slot, worker, .. } => {
                self.workers.insert(*slot, worker.clone());
            }
            FleetEvent::IncarnationBegan { slot, incarnation, .. } => {
                if let Some(worker) = self.workers.get(slot) {
                    let (worker, slot, incarnation) = (worker.clone(), *slot, *incarnation);
                    entries.push(LogEntry::Joined { worker, slot, incarnation });
                }
            }
            FleetEvent::PolicySet { generation, .. } => {
                entries.push(LogEntry::Policy { generation: *generation })
            }
            FleetEvent::EvidenceKept { slot, .. } => {
                entries
                    .extend(self.workers.get(slot).map(|worker| LogEntry::Kept { worker: worker.clone() }));
            }
            FleetEvent::LeaseGranted { lease, .. } => {
                let (run, worker) = (lease.terms.run.clone(), lease.worker.clone());
                self.leases.insert(lease.fence, (run.clone(), worker.clone()));
                let (attempt, grant, fence) = (lease.attempt, lease.terms.grant.clone(), lease.fence);
                entries.push(LogEntry::Leased { run, worker, attempt, grant, fence });
            }
            FleetEvent::RunStarted { fence, .. } => {
                if let Some((run, _)) = self.leases.get(fence) {
                    queue.started(run, now);
                    entries.push(LogEntry::Started { run: run.clone(), fence: *fence });
                }
            }
            FleetEvent::LeaseRenewed { fence, .. } => {
                if let Some((run, _)) = self.leases.get(fence) {
                    entries.push(LogEntry::Renewed { run: run.clone(), fence: *fence });
                }
            }
            FleetEvent::RunEnded { run, fence, outcome, .. } => {
                let remark = self.remarks.remove(fence).unwrap_or_default();
                entries.extend(queue.ended(run, Outcome::of(*outcome), &remark, now));
            }
            FleetEvent::LeaseReturned { fence, .. } => {
                self.remarks.remove(fence);
                if let Some((run, worker)) = self.leases.remove(fence) {
                    entries.push(LogEntry::LeaseEnded {
                        run,
                        worker,
                        fence: *fence,
                        how: "completed".into(),
                    });
                }
            }
            FleetEvent::LeaseLost { fence, reason, run_held_until, .. } => {
                self.remarks.remove(fence);
                if let Some((run, worker)) = self.leases.remove(fence) {
                    let how = word(reason);
                    entries.extend(queue.lost(&run, &format!("lease lost: {how}"), *run_held_until, now));
                    entries.push(LogEntry::LeaseEnded { run, worker, fence: *fence, how });
                }
            }
            FleetEvent::EvidenceRefused { slot, failures, .. } => {
                let peer = self.workers.get(slot).map_or("a worker".into(), WorkerId::to_string);
                let code = failures.first().cloned().unwrap_or_default();
                let message = failures.join(", ");
                entries.push(LogEntry::Refused { peer, act: "attest".into(), code, message });
            }
            FleetEvent::Quarantined { slot, reason, .. } => {
                let peer = self.workers.get(slot).map_or("a worker".into(), WorkerId::to_string);
                entries.push(LogEntry::Quarantined { peer, reason: word(reason) });
            }
            _ => {}
        }
    }
}
