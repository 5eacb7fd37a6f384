//! The audit of what the nodes' stores hold when all processes have ended, by somebody who took no part in anything.
//!
//! Every node's log has the same entry at the same place. Folded from the founding on, it tells one story, in which the main
//! job's audit finds nothing broken, and everything that anybody was told.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use leasehold::{
    code::Coded as _,
    digest::Sha256Digest,
    fleet::{FleetEvent, FleetRecord, FleetState, Follower, RecoverError, Replay, RunState},
    id::{RunId, WorkerId},
    lease::{Epoch, Fence},
};
use replicated::{Entry, EntryKind, NodeId, Snapshot, Store, Stored};

use crate::{
    Failure,
    audit::Audit,
    jobs::Job,
    ledger::Ledger,
    process_log::{LogEntry, Outcome},
    queue::Queue,
};

const KEY: [u8; 16] = [0; 16];

/// What workers said that they were told.
#[derive(Default)]
pub struct Told {
    holds: BTreeSet<(Fence, RunId, WorkerId)>,
    gave_back: BTreeSet<Fence>,
}

impl Told {
    /// A worker said this.
    pub fn hear(&mut self, from: &str, entry: &LogEntry) {
        match entry {
            LogEntry::Holds { run, fence } => {
                if let Ok(worker) = from.parse() {
                    self.holds.insert((*fence, run.clone(), worker));
                }
            }
            LogEntry::GaveBack { fence } => {
                self.gave_back.insert(*fence);
            }
            _ => {}
        }
    }
}

/// What the stores said.
#[derive(Default)]
pub struct Found {
    /// What does not hold.
    pub broken: Vec<String>,
    pub outcomes: BTreeMap<Outcome, usize>,
    pub entries: usize,
    pub records: usize,
    pub leases: usize,
    pub epochs: BTreeSet<Epoch>,
    /// Entries of a leader that was no leader any more, which every replica passed over.
    pub skipped: usize,
    /// Leases that workers said they hold, each found in the log.
    pub told: usize,
}

/// A cluster's stores.
pub struct Stores<'a> {
    pub directory: &'a Path,
    pub founding: &'a [u8],
    pub nodes: &'a [NodeId],
}

struct Story {
    ledger: Ledger,
    audit: Audit,
    ended: BTreeMap<RunId, Outcome>,
    holders: BTreeMap<Fence, (RunId, WorkerId)>,
    over: BTreeSet<Fence>,
    epoch: Epoch,
    found: Found,
}

impl Story {
    fn record(&mut self, record: &FleetRecord) {
        self.found.records += 1;
        for event in &record.events {
            match event {
                FleetEvent::EpochBegan { epoch, .. } => {
                    // Invariant 2 rests on this.
                    if *epoch <= self.epoch {
                        self.found.broken.push(format!("epoch {epoch} began after epoch {}", self.epoch));
                    }
                    self.epoch = *epoch;
                    self.found.epochs.insert(*epoch);
                }
                FleetEvent::RunEnded { run, outcome, .. } => {
                    self.end(run, Outcome::of(*outcome), "in the log");
                }
                FleetEvent::LeaseReturned { fence, .. } | FleetEvent::LeaseLost { fence, .. } => {
                    self.over.insert(*fence);
                }
                _ => {}
            }
        }
        for entry in self.ledger.read(record, &mut Queue::default()) {
            if let LogEntry::Leased { run, worker, fence, .. } = &entry {
                self.found.leases += 1;
                self.holders.insert(*fence, (run.clone(), worker.clone()));
            }
            self.audit.record(&entry);
        }
    }

    fn end(&mut self, run: &RunId, outcome: Outcome, reason: &str) {
        *self.found.outcomes.entry(outcome).or_default() += 1;
        self.ended.insert(run.clone(), outcome);
        let (run, reason) = (run.clone(), reason.to_owned());
        self.audit.record(&LogEntry::Ended {
            run,
            outcome,
            reason,
            attempts: 0,
            started_ms: None,
            ended_ms: 0,
        });
    }
}

fn stored(path: &Path, cluster: Sha256Digest, id: NodeId) -> Result<Stored, Failure> {
    let refused = |error: replicated::StoreError| Failure::new(format!("{id}: {}: {error}", error.code()));
    Store::open(path, cluster, id).and_then(|store| store.read()).map_err(refused)
}

fn load(state: &[u8]) -> Result<Follower, Failure> {
    let mut replay = Replay::new(KEY);
    replay.chunk(state).map_err(Failure::coded)?;
    replay.follower().map_err(Failure::coded)
}

/// Folds the commands among `entries`; gives how many were passed over, as every replica passes them over.
fn fold(
    follower: &mut Follower,
    entries: &[&Entry],
    mut seen: impl FnMut(&FleetRecord),
) -> Result<usize, RecoverError> {
    let mut skipped = 0;
    for entry in entries.iter().filter(|entry| entry.kind == EntryKind::Command) {
        match follower.apply_with(&entry.data, &mut seen) {
            Err(RecoverError::NotNext { .. }) => skipped += 1,
            other => other?,
        }
    }
    Ok(skipped)
}

/// Reads all stores and judges them.
pub fn audit(stores: &Stores<'_>, jobs: &[Job], told: &Told) -> Result<Found, Failure> {
    let cluster = Sha256Digest::of(stores.founding);
    let founding = Snapshot::decode(stores.founding).map_err(|error| Failure::new(error.to_string()))?;
    let mut story = Story {
        ledger: Ledger::default(),
        audit: Audit::of(jobs.iter().map(|job| job.id.clone())),
        ended: BTreeMap::new(),
        holders: BTreeMap::new(),
        over: BTreeSet::new(),
        epoch: Epoch(0),
        found: Found::default(),
    };
    let mut logs: BTreeMap<NodeId, Stored> = BTreeMap::new();
    for id in stores.nodes {
        logs.insert(*id, stored(&stores.directory.join(format!("node-{}/store.redb", id.0)), cluster, *id)?);
    }
    // The same entry at each place, as far as a node knows that it is committed.
    let mut whole: BTreeMap<u64, &Entry> = BTreeMap::new();
    for (id, log) in &logs {
        for entry in log.entries.iter().filter(|entry| entry.index <= log.hard.commit) {
            if whole.get(&entry.index).is_some_and(|other| *other != entry) {
                story
                    .found
                    .broken
                    .push(format!("{id} has another entry at {} than others have", entry.index));
            }
            whole.insert(entry.index, entry);
        }
    }
    let gap = whole.keys().zip(founding.index + 1..).find(|(index, expected)| **index != *expected);
    if let Some((index, expected)) = gap {
        story.found.broken.push(format!("no node has the entry {expected}; {index} is the next one"));
    }
    let entries: Vec<&Entry> = whole.into_values().collect();
    story.found.entries = entries.len();
    let mut follower = load(&founding.state)?;
    match fold(&mut follower, &entries, |record| story.record(record)) {
        Ok(skipped) => story.found.skipped = skipped,
        Err(error) => story.found.broken.push(format!("the log does not fold: {}: {error}", error.code())),
    }
    // What a node would go on from, its own snapshot and the entries behind it, is the same state.
    for (id, log) in &logs {
        let Some(snapshot) = &log.snapshot else { continue };
        let mut own = load(&snapshot.state)?;
        let rest: Vec<&Entry> =
            entries.iter().copied().filter(|entry| entry.index > snapshot.index).collect();
        let folded = fold(&mut own, &rest, |_| {});
        let (live, replayed) = (format!("{:?}", own.at()), format!("{:?}", follower.at()));
        story.audit.record(&LogEntry::Recovered { live, replayed });
        if folded.is_err() || own.state() != follower.state() {
            story.found.broken.push(format!("{id} goes on from another state than the log gives"));
        }
    }
    // A run whose attempts are used up has ended, too, whatever its policy would allow.
    if let Some(state) = follower.state() {
        for job in jobs.iter().filter(|job| used_up(state, job)) {
            if !story.ended.contains_key(&job.id) {
                story.end(&job.id, Outcome::Lost, "every attempt was lost");
            }
        }
    }
    for (fence, run, worker) in &told.holds {
        match story.holders.get(fence) {
            Some((of, by)) if (of, by) == (run, worker) => story.found.told += 1,
            _ => story
                .found
                .broken
                .push(format!("{worker} was told of {fence} for {run}, and the log was not")),
        }
    }
    for fence in told.gave_back.iter().filter(|fence| !story.over.contains(*fence)) {
        story.found.broken.push(format!("a worker was told that {fence} is given back, and the log was not"));
    }
    let Story { audit, mut found, .. } = story;
    found.broken.extend(audit.finish(0));
    Ok(found)
}

fn used_up(state: &FleetState, job: &Job) -> bool {
    state.run(&job.id).is_some_and(|run| {
        run.attempts >= job.attempts && !matches!(run.state, RunState::Leased { .. } | RunState::Ended { .. })
    })
}
