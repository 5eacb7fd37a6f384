//! Somebody who reads the journal of a coordinator that was just killed, and compares it with what everybody was told.
//!
//! Two ways lead to the state: every record since the fleet was founded, from parts that snapshots have replaced and the
//! drill keeps; and what a coordinator would recover from. Both have to be the same, whatever the kill came into the
//! middle of. And whatever anybody was told, worker or service, has to be in the records.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

use leasehold::{
    digest::Sha256Digest,
    fleet::{FleetEvent, FleetRecord, Replay},
    id::{DeviceId, GrantId, RunId, WorkerId},
    identity::RevocationSubject,
    lease::{Epoch, Fence},
    shell::{FileJournal, Journal as _, Stored, replay},
};

use crate::{
    Failure,
    child::Order,
    journal_thread::{JOURNAL, KEPT},
    ledger::Ledger,
    process_log::{LogEntry, Outcome},
    queue::Queue,
};

const KEY: [u8; 16] = [0; 16];

/// What the kill came into the middle of, as the directory shows it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Middle {
    pub(super) append: bool,
    pub(super) draft: bool,
    pub(super) truncation: bool,
}

/// What one look at the journal brought.
#[derive(Default)]
pub(super) struct Look {
    /// What the new records say, in order.
    pub(super) entries: Vec<LogEntry>,
    /// What must not be.
    pub(super) broken: Vec<String>,
    pub(super) middle: Middle,
}

/// What others were told, until it was found in the journal.
#[derive(Default)]
struct ToldOf {
    leases: BTreeSet<(Fence, RunId, GrantId)>,
    holds: BTreeSet<(Fence, RunId, WorkerId)>,
    ended: BTreeSet<(RunId, Outcome)>,
    gave_back: BTreeSet<Fence>,
    obeyed: BTreeSet<Order>,
}

/// What the records said so far.
#[derive(Default)]
struct Known {
    epoch: Epoch,
    workers: BTreeMap<u32, WorkerId>,
    leases: BTreeMap<Fence, (RunId, WorkerId, GrantId)>,
    over: BTreeSet<Fence>,
    ended: BTreeMap<RunId, Outcome>,
    latched: BTreeSet<WorkerId>,
}

/// The witness.
pub(super) struct Witness {
    state: PathBuf,
    scratch: PathBuf,
    replay: Replay,
    /// Batches that were folded, by their digests.
    batches: Vec<Sha256Digest>,
    ledger: Ledger,
    known: Known,
    told: ToldOf,
}

fn names(path: &Path) -> Result<Vec<String>, Failure> {
    match fs::read_dir(path) {
        Ok(entries) => entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

/// The number in the name of a file of the journal.
fn index(name: &str, kind: &str) -> Option<u64> {
    name.strip_prefix(kind)?.parse().ok()
}

impl Witness {
    pub(super) fn new(directory: &Path) -> Self {
        Self {
            state: directory.join("state"),
            scratch: directory.join("witness"),
            replay: Replay::new(KEY),
            batches: Vec::new(),
            ledger: Ledger::default(),
            known: Known::default(),
            told: ToldOf::default(),
        }
    }

    /// Somebody was told this. True: the journal will say the same, and counts.
    pub(super) fn hear(&mut self, from: &str, entry: &LogEntry) -> bool {
        let told = &mut self.told;
        match entry {
            LogEntry::Leased { run, grant, fence, .. } => {
                told.leases.insert((*fence, run.clone(), grant.clone()));
            }
            LogEntry::Ended { run, outcome, .. } => {
                told.ended.insert((run.clone(), *outcome));
            }
            LogEntry::Holds { run, fence } => {
                if let Ok(worker) = from.parse() {
                    told.holds.insert((*fence, run.clone(), worker));
                }
            }
            LogEntry::GaveBack { fence } => {
                told.gave_back.insert(*fence);
            }
            LogEntry::Obeyed { order, code: None } => {
                told.obeyed.insert(order.clone());
            }
            LogEntry::Started { .. } | LogEntry::Renewed { .. } | LogEntry::LeaseEnded { .. } => {}
            LogEntry::Joined { .. } | LogEntry::Quarantined { .. } => {}
            _ => return false,
        }
        true
    }

    /// Reads the journal, while nobody writes it.
    pub(super) fn look(&mut self) -> Result<Look, Failure> {
        let mut look = Look::default();
        let journal = self.state.join(JOURNAL);
        let files = names(&journal)?;
        let newest = |kind| files.iter().filter_map(|name| index(name, kind)).max();
        let (snapshot, part) = (newest("snapshot-").unwrap_or(0), newest("journal-"));
        look.middle.draft = files.iter().any(|name| name.ends_with(".draft"));
        look.middle.truncation = files
            .iter()
            .filter_map(|name| index(name, "journal-").or(index(name, "snapshot-")))
            .any(|index| index < snapshot);
        let Some(part) = part else { return Ok(look) };
        let part = format!("journal-{part:020}");
        let whole = self.every_record(&mut look)?;
        let copy = self.copy("copy", |name| name != "lock")?;
        let before = fs::metadata(journal.join(&part))?.len();
        match FileJournal::open(&copy) {
            Ok(mut recovered) => {
                look.middle.append = fs::metadata(copy.join(&part))?.len() < before;
                match replay(&mut recovered, KEY) {
                    // Invariant 8, and nothing is lost by what was cut, replaced or removed.
                    Ok(recovered) if whole && recovered.state() == self.replay.state() => {}
                    Ok(_) if whole => {
                        look.broken.push("recovery gives another state than every record does".into())
                    }
                    Ok(_) => {}
                    Err(error) => look.broken.push(format!("the journal does not recover: {error}")),
                }
            }
            Err(error) => look.broken.push(format!("the journal does not open: {error}")),
        }
        fs::remove_dir_all(&self.scratch)?;
        self.compare(&mut look.broken);
        Ok(look)
    }

    /// A directory of links to the files of the journal; opening it changes none of them.
    fn copy(&self, to: &str, wanted: impl Fn(&str) -> bool) -> Result<PathBuf, Failure> {
        let copy = self.scratch.join(to);
        fs::create_dir_all(&copy)?;
        let journal = self.state.join(JOURNAL);
        for name in names(&journal)?.into_iter().filter(|name| wanted(name)) {
            fs::hard_link(journal.join(&name), copy.join(&name))?;
        }
        Ok(copy)
    }

    /// Folds what has come since the last look on a state that no snapshot ever touched.
    fn every_record(&mut self, look: &mut Look) -> Result<bool, Failure> {
        let copy = self.copy("whole", |name| index(name, "journal-").is_some())?;
        let kept = self.state.join(KEPT);
        for name in names(&kept)? {
            match fs::hard_link(kept.join(&name), copy.join(&name)) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error.into()),
                _ => {}
            }
        }
        let mut whole = match FileJournal::open(&copy) {
            Ok(whole) => whole,
            Err(error) => {
                look.broken.push(format!("the parts of the journal do not follow each other: {error}"));
                return Ok(false);
            }
        };
        let (mut records, mut at, mut broken) = (Vec::new(), 0, None);
        let read = whole.read(&mut |piece| {
            let Stored::Batch(batch) = piece else { return false };
            let digest = Sha256Digest::of(batch);
            match self.batches.get(at) {
                Some(known) if *known != digest => broken = Some(format!("batch {at} has changed")),
                Some(_) => {}
                None => {
                    let folded = self.replay.journal_with(batch, |record| records.push(record.clone()));
                    broken = folded.err().map(|error| format!("batch {at} does not follow: {error}"));
                    self.batches.push(digest);
                }
            }
            at += 1;
            broken.is_none()
        });
        if let Err(error) = read {
            broken = Some(format!("the journal cannot be read: {error}"));
        }
        if at < self.batches.len() && broken.is_none() {
            broken = Some(format!("{} batches were there and are gone", self.batches.len() - at));
        }
        for record in &records {
            self.record(record, look);
        }
        let whole = broken.is_none();
        look.broken.extend(broken);
        Ok(whole)
    }

    fn record(&mut self, record: &FleetRecord, look: &mut Look) {
        // Terminal records of jobs are the records' own here, not those of a queue.
        look.entries.extend(self.ledger.read(record, &mut Queue::default()));
        let known = &mut self.known;
        let mut lost = Vec::new();
        for event in &record.events {
            match event {
                FleetEvent::EpochBegan { epoch, .. } => {
                    if *epoch <= known.epoch {
                        look.broken.push(format!("epoch {epoch} came after {}", known.epoch));
                    }
                    known.epoch = *epoch;
                }
                FleetEvent::WorkerRegistered { slot, worker, .. } => {
                    known.workers.insert(*slot, worker.clone());
                }
                FleetEvent::LeaseGranted { lease, .. } => {
                    if known.latched.contains(&lease.worker) {
                        look.broken.push(format!("{} is quarantined and got {}", lease.worker, lease.fence));
                    }
                    let of = (lease.terms.run.clone(), lease.worker.clone(), lease.terms.grant.clone());
                    known.leases.insert(lease.fence, of);
                }
                FleetEvent::LeaseReturned { fence, .. } => {
                    known.over.insert(*fence);
                }
                FleetEvent::LeaseLost { fence, reason, .. } => {
                    known.over.insert(*fence);
                    lost.push((*fence, *reason));
                }
                FleetEvent::Quarantined { slot, .. } => {
                    known.latched.extend(known.workers.get(slot).cloned())
                }
                FleetEvent::QuarantineReleased { slot, .. } => {
                    if let Some(worker) = known.workers.get(slot) {
                        look.broken.push(format!("nobody released {worker}, and it is released"));
                    }
                }
                FleetEvent::RunEnded { run, outcome, .. } => {
                    let outcome = Outcome::of(*outcome);
                    known.ended.insert(run.clone(), outcome);
                    look.entries.push(LogEntry::Ended {
                        run: run.clone(),
                        outcome,
                        reason: "as the journal has it".into(),
                        attempts: self
                            .replay
                            .state()
                            .and_then(|state| state.run(run))
                            .map_or(0, |run| run.attempts),
                        started_ms: None,
                        ended_ms: record.at.mono.0,
                    });
                }
                _ => {}
            }
        }
        for (fence, reason) in lost {
            // Only the coordinator is killed: nobody else has a reason to lose a lease.
            if let Some((run, worker, _)) =
                known.leases.get(&fence).filter(|of| !known.latched.contains(&of.1))
            {
                look.broken.push(format!("{worker} was well and lost {fence} for {run}: {reason:?}"));
            }
        }
    }

    /// Whatever was told is in the journal, and what must stay is there.
    fn compare(&mut self, broken: &mut Vec<String>) {
        let (known, told) = (&self.known, std::mem::take(&mut self.told));
        for (fence, run, grant) in told.leases {
            if known.leases.get(&fence).is_none_or(|of| of.0 != run || of.2 != grant) {
                broken.push(format!(
                    "the service was told of {fence} for {run}, which the journal does not have"
                ));
            }
        }
        for (fence, run, worker) in told.holds {
            if known.leases.get(&fence).is_none_or(|of| of.0 != run || of.1 != worker) {
                broken.push(format!("{worker} holds {fence} for {run}, which the journal does not have"));
            }
        }
        for (run, outcome) in told.ended {
            if known.ended.get(&run) != Some(&outcome) {
                broken.push(format!("{run} was told to be {}, the journal does not say so", outcome.name()));
            }
        }
        for fence in told.gave_back.iter().filter(|fence| !known.over.contains(fence)) {
            broken.push(format!("{fence} was given back, the journal does not say so"));
        }
        let Some(state) = self.replay.state() else { return };
        for order in &told.obeyed {
            let stands = match order {
                Order::Quarantine(worker) => state.worker(worker).is_some_and(|worker| worker.quarantined),
                Order::Revoke(device) => is_revoked(&self.replay, device),
                // No grant is ever spent again; an answer without a code says that one was.
                Order::SpendAgain(_) => false,
                // Of the others nobody is told that they were obeyed.
                _ => true,
            };
            if !stands {
                broken.push(format!("{order:?} was obeyed, the journal does not say so"));
            }
        }
        // They stand for good: nobody releases and nobody clears.
        self.told.obeyed = told.obeyed;
    }
}

fn is_revoked(replay: &Replay, device: &DeviceId) -> bool {
    let subject = RevocationSubject::Device(device.clone());
    replay.state().is_some_and(|state| state.devices().revocation(&subject).is_some())
}

#[cfg(test)]
mod tests {
    use leasehold::{fleet::QuarantineWorker, testing::World};

    use super::*;

    struct Scratch(PathBuf);

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn journal(scratch: &Scratch) -> PathBuf {
        scratch.0.join("state").join(JOURNAL)
    }

    /// A state with a lease in its journal, and a witness that has seen it.
    fn scene(name: &str) -> Result<(Scratch, World, Witness, LogEntry), Failure> {
        let scratch = Scratch(std::env::temp_dir().join(format!("leasehold-{name}-{}", std::process::id())));
        let mut world = World::default();
        world.join(0, "a");
        let lease = world.acquire(0, "a").unwrap_or_else(|error| panic!("{error}")).answer.lease;
        let (run, grant, fence) = (lease.terms.run.clone(), lease.terms.grant.clone(), lease.fence);
        let leased = LogEntry::Leased { run, worker: lease.worker.clone(), attempt: 1, grant, fence };
        let mut file = FileJournal::open(journal(&scratch)).map_err(Failure::coded)?;
        file.append(world.fleet.state().index(), &world.journal).map_err(Failure::coded)?;
        world.journal.clear();
        let mut witness = Witness::new(&scratch.0);
        assert!(witness.hear("coordinator", &leased));
        let look = witness.look()?;
        assert_eq!(look.broken, Vec::<String>::new());
        assert!(look.entries.iter().any(|entry| matches!(entry, LogEntry::Leased { .. })));
        Ok((scratch, world, witness, leased))
    }

    /// The witness finds what it is there to find: something told and not kept, something kept and gone.
    #[test]
    fn what_is_forgotten_is_found() -> Result<(), Failure> {
        let (scratch, mut world, mut witness, leased) = scene("witness-told")?;
        let LogEntry::Leased { run, worker, grant, fence, .. } = leased else { panic!("a lease") };
        let later = Fence::new(fence.epoch, fence.counter + 1);
        let other =
            LogEntry::Leased { run: run.clone(), worker: worker.clone(), attempt: 2, grant, fence: later };
        witness.hear("coordinator", &other);
        witness.hear(worker.as_str(), &LogEntry::Holds { run: run.clone(), fence: later });
        witness.hear(worker.as_str(), &LogEntry::GaveBack { fence });
        let order = Order::Quarantine(worker.clone());
        witness.hear("coordinator", &LogEntry::Obeyed { order, code: None });
        assert_eq!(witness.look()?.broken.len(), 4);
        world.ask(&QuarantineWorker { worker }, &World::operator()).unwrap_or_else(|error| panic!("{error}"));
        let mut file = FileJournal::open(journal(&scratch)).map_err(Failure::coded)?;
        file.append(world.fleet.state().index(), &world.journal).map_err(Failure::coded)?;
        drop(file);
        assert_eq!(witness.look()?.broken, Vec::<String>::new(), "now the journal says so");
        Ok(())
    }

    #[test]
    fn what_is_gone_or_changed_is_found() -> Result<(), Failure> {
        let (scratch, _, mut witness, _) = scene("witness-gone")?;
        let part = journal(&scratch).join(format!("journal-{:020}", 0));
        let whole = fs::read(&part)?;
        fs::write(&part, &whole[..whole.len() - 1])?;
        let look = witness.look()?;
        assert!(
            look.middle.append && look.broken.iter().any(|what| what.contains("gone")),
            "{:?}",
            look.broken
        );
        let mut changed = whole;
        let middle = changed.len() / 2;
        changed[middle] ^= 1;
        fs::write(&part, &changed)?;
        assert!(!witness.look()?.broken.is_empty());
        Ok(())
    }
}
