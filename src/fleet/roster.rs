//! The workers: records in slots, found by id or by device, counted by what the public sees of them.

use alloc::{boxed::Box, sync::Arc, vec::Vec};

use serde::{Deserialize, Serialize};

use super::{
    condition::{Activity, ActivityKind, Quarantine, WorkerLifecycleState},
    event::EvidenceRecord,
    evidence::{Evidence, ProfileList, Profiles, StoredProfile},
    operation::WorkerHandle,
    ready::{ClassId, ReadyQueues},
};
use crate::{
    attestation::EvidenceProfile,
    capability::CapabilitySet,
    id::{DeviceId, WorkerId},
    index::KeyedIndex,
    slab::Chunks,
};

/// One worker, on all its axes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WorkerRecord {
    pub(crate) id: WorkerId,
    pub(crate) device: DeviceId,
    pub(crate) activity: Activity,
    /// The quarantine latch, while it is closed.
    latch: Option<Box<Quarantine>>,
    /// How many acts on the whole fleet this record has taken in. Behind the fleet's number it is quarantined.
    pub(crate) quarantine_generation: u64,
    pub(crate) draining: bool,
    /// Fell silent, and was not heard since.
    pub(crate) silent: bool,
    pub(crate) evidence: Option<Evidence>,
    pub(crate) class: Option<ClassId>,
}

impl WorkerRecord {
    /// The quarantine latch.
    pub(crate) fn quarantine(&self) -> &Quarantine {
        self.latch.as_deref().unwrap_or(Quarantine::open())
    }

    /// Changes the latch; one that is open again takes no room.
    pub(crate) fn change_latch(&mut self, change: impl FnOnce(&mut Quarantine)) {
        let mut latch = self.latch.take().unwrap_or_default();
        change(&mut latch);
        self.latch = (*latch != *Quarantine::open()).then_some(latch);
    }

    /// Whether it is quarantined: by its own latch, or by an act on the whole fleet, of which there were `acts`, that
    /// it has not taken in.
    fn is_quarantined(&self, acts: u64) -> bool {
        self.quarantine_generation < acts || self.quarantine().is_closed()
    }

    fn view(&self, acts: u64) -> WorkerLifecycleState {
        WorkerLifecycleState::of(self.activity.kind(), self.is_quarantined(acts), self.draining)
    }
}

/// A slot: its worker, and how many incarnations it has seen. That number outlives the worker, so that no
/// message of a former one can ever fit a later one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) generation: u32,
    pub(crate) worker: Option<WorkerRecord>,
}

const VIEWS: usize = 11;

/// All workers.
#[derive(Clone, Debug)]
pub(crate) struct Roster {
    places: Chunks<Place>,
    free: Vec<u32>,
    by_id: KeyedIndex,
    by_device: KeyedIndex,
    pub(crate) ready: ReadyQueues,
    pub(crate) profiles: Profiles,
    counts: [u64; VIEWS],
    /// Workers that fell silent and were not heard since.
    pub(crate) silent: u32,
    /// Counts acts that quarantined every worker at once.
    pub(crate) quarantine_generation: u64,
}

fn index(slot: u32) -> usize {
    usize::try_from(slot).unwrap_or(usize::MAX)
}

fn view_index(view: WorkerLifecycleState) -> usize {
    match view {
        WorkerLifecycleState::Registered => 0,
        WorkerLifecycleState::Available => 1,
        WorkerLifecycleState::Assigned => 2,
        WorkerLifecycleState::Running => 3,
        WorkerLifecycleState::CleaningUp => 4,
        WorkerLifecycleState::Revoking => 5,
        WorkerLifecycleState::Offline => 6,
        WorkerLifecycleState::Orphaned => 7,
        WorkerLifecycleState::Draining => 8,
        WorkerLifecycleState::Quarantined => 9,
        WorkerLifecycleState::Retired => 10,
    }
}

impl Roster {
    pub(crate) fn new(index_key: [u8; 16]) -> Self {
        Self {
            places: Chunks::default(),
            free: Vec::new(),
            by_id: KeyedIndex::new(index_key),
            by_device: KeyedIndex::new(index_key),
            ready: ReadyQueues::new(index_key),
            profiles: Profiles::default(),
            counts: [0; VIEWS],
            silent: 0,
            quarantine_generation: 0,
        }
    }

    /// How many slots there are, used or not.
    pub(crate) fn slots(&self) -> u32 {
        u32::try_from(self.places.len()).unwrap_or(u32::MAX)
    }

    /// How many workers are remembered, retired ones included.
    pub(crate) fn len(&self) -> u32 {
        self.slots().saturating_sub(u32::try_from(self.free.len()).unwrap_or(0))
    }

    pub(crate) fn get(&self, slot: u32) -> Option<&WorkerRecord> {
        self.places.get(index(slot))?.worker.as_ref()
    }

    pub(crate) fn generation(&self, slot: u32) -> u32 {
        self.places.get(index(slot)).map_or(0, |place| place.generation)
    }

    pub(crate) fn places(&self) -> impl Iterator<Item = &Place> {
        self.places.iter()
    }

    /// The worker that `handle` means, where its incarnation is the current one.
    pub(crate) fn by_handle(&self, handle: WorkerHandle) -> Option<&WorkerRecord> {
        let place = self.places.get(index(handle.slot))?;
        if place.generation == handle.generation { place.worker.as_ref() } else { None }
    }

    pub(crate) fn by_id(&self, id: &WorkerId) -> Option<u32> {
        self.by_id.get(id.as_str().as_bytes(), |slot| self.get(slot).map(|w| w.id.as_str().as_bytes()))
    }

    /// The worker of `device` that is not retired.
    pub(crate) fn by_device(&self, device: &DeviceId) -> Option<u32> {
        self.by_device
            .get(device.as_str().as_bytes(), |slot| self.get(slot).map(|w| w.device.as_str().as_bytes()))
    }

    /// The slot that the next new worker gets.
    pub(crate) fn next_slot(&self) -> u32 {
        self.free.last().copied().unwrap_or_else(|| self.slots())
    }

    /// Whether `record` is quarantined: by its own latch, or by an act on the whole fleet that it has not taken in.
    pub(crate) fn is_quarantined(&self, record: &WorkerRecord) -> bool {
        record.is_quarantined(self.quarantine_generation)
    }

    pub(crate) fn view(&self, record: &WorkerRecord) -> WorkerLifecycleState {
        record.view(self.quarantine_generation)
    }

    pub(crate) fn count(&self, view: WorkerLifecycleState) -> u64 {
        self.counts.get(view_index(view)).copied().unwrap_or(0)
    }

    fn tally(&mut self, view: WorkerLifecycleState, up: bool) {
        if let Some(count) = self.counts.get_mut(view_index(view)) {
            *count = if up { count.saturating_add(1) } else { count.saturating_sub(1) };
        }
    }

    /// Puts a new worker into `slot`, which is [`Self::next_slot`].
    pub(crate) fn insert(&mut self, slot: u32, id: WorkerId, device: DeviceId) {
        if self.free.last() == Some(&slot) {
            self.free.pop();
        } else {
            self.places.push(Place::default());
        }
        let record = WorkerRecord {
            id,
            device,
            activity: Activity::Registered,
            latch: None,
            quarantine_generation: self.quarantine_generation,
            draining: false,
            silent: false,
            evidence: None,
            class: None,
        };
        self.place(slot, record);
    }

    /// Puts `record` into `slot` and into everything that is derived from the records.
    fn place(&mut self, slot: u32, record: WorkerRecord) {
        let view = self.view(&record);
        let retired = matches!(record.activity, Activity::Retired { .. });
        self.silent = self.silent.saturating_add(u32::from(record.silent));
        let Some(place) = self.places.get_mut(index(slot)) else { return };
        let WorkerRecord { id, device, .. } = place.worker.insert(record);
        let (id, device) = (id.clone(), device.clone());
        self.tally(view, true);
        self.by_id.insert(id.as_str().as_bytes(), slot);
        if !retired {
            self.by_device.insert(device.as_str().as_bytes(), slot);
        }
    }

    /// The slot's next incarnation.
    pub(crate) fn begin_incarnation(&mut self, slot: u32, incarnation: u32) {
        if let Some(place) = self.places.get_mut(index(slot)) {
            place.generation = incarnation;
        }
    }

    /// Changes the worker in `slot` and keeps counts, queues and the silent tally true.
    pub(crate) fn change(&mut self, slot: u32, change: impl FnOnce(&mut WorkerRecord)) {
        let acts = self.quarantine_generation;
        let Some(record) = self.places.get_mut(index(slot)).and_then(|place| place.worker.as_mut()) else {
            return;
        };
        let leased = |record: &WorkerRecord| matches!(record.activity, Activity::Leased(_));
        let (before, was_silent, was_leased) = (record.view(acts), record.silent, leased(record));
        change(record);
        let (after, silent, class) = (record.view(acts), record.silent, record.class);
        // Who had a lease and has one stands in no queue, and nothing need be looked up.
        let may_queue = !was_leased || !leased(record);
        if before != after {
            self.tally(before, false);
            self.tally(after, true);
        }
        match (was_silent, silent) {
            (false, true) => self.silent = self.silent.saturating_add(1),
            (true, false) => self.silent = self.silent.saturating_sub(1),
            _ => {}
        }
        if let Some(class) = class.filter(|_| may_queue) {
            let wanted = after == WorkerLifecycleState::Available;
            match (self.ready.is_queued(slot), wanted) {
                (false, true) => self.ready.push(class, slot),
                (true, false) => self.ready.remove(class, slot),
                _ => {}
            }
        }
    }

    /// What the worker in `slot` can do from now on.
    pub(crate) fn set_capabilities(&mut self, slot: u32, capabilities: &CapabilitySet) {
        let Some(former) = self.get(slot).map(|record| record.class) else { return };
        if former.is_some_and(|class| self.ready.capabilities(class) == Some(capabilities)) {
            return;
        }
        if let Some(class) = former {
            self.ready.remove(class, slot);
        }
        let class = self.ready.enter_class(capabilities);
        if let Some(class) = former {
            self.ready.leave_class(class);
        }
        self.change(slot, |record| record.class = Some(class));
    }

    /// What the worker in `slot` can do, by its evidence.
    pub(crate) fn capabilities(&self, slot: u32) -> Option<&CapabilitySet> {
        self.ready.capabilities(self.get(slot)?.class?)
    }

    /// Every worker that is not retired is quarantined from now on, at O(1).
    pub(crate) fn quarantine_all(&mut self, generation: u64) {
        self.quarantine_generation = generation;
        let retired = self.count(WorkerLifecycleState::Retired);
        let all = u64::from(self.len()).saturating_sub(retired);
        self.counts = [0; VIEWS];
        for (view, count) in
            [(WorkerLifecycleState::Retired, retired), (WorkerLifecycleState::Quarantined, all)]
        {
            if let Some(place) = self.counts.get_mut(view_index(view)) {
                *place = count;
            }
        }
    }

    /// The worker's device may run another worker from here on.
    pub(crate) fn release_device(&mut self, slot: u32) {
        if let Some(device) = self.get(slot).map(|record| record.device.clone()) {
            self.by_device.remove(device.as_str().as_bytes(), slot);
        }
    }

    /// Forgets the worker in `slot`; its generation stays.
    pub(crate) fn forget(&mut self, slot: u32) {
        let Some(record) = self.get(slot) else { return };
        let (view, id, device) = (self.view(record), record.id.clone(), record.device.clone());
        let (class, silent) = (record.class, record.silent);
        self.tally(view, false);
        self.silent = self.silent.saturating_sub(u32::from(silent));
        self.by_id.remove(id.as_str().as_bytes(), slot);
        self.by_device.remove(device.as_str().as_bytes(), slot);
        if let Some(class) = class {
            self.ready.remove(class, slot);
            self.ready.leave_class(class);
        }
        if let Some(place) = self.places.get_mut(index(slot)) {
            place.worker = None;
        }
        self.free.push(slot);
    }
}

/// A worker as a snapshot holds it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct StoredWorker {
    id: WorkerId,
    device: DeviceId,
    activity: Activity,
    quarantine: Quarantine,
    quarantine_generation: u64,
    draining: bool,
    silent: bool,
    evidence: Option<(EvidenceRecord, StoredProfile)>,
    capabilities: Option<CapabilitySet>,
    stamp: u64,
}

/// A slot as a snapshot holds it: its generation and its worker.
pub(crate) type StoredPlace = (u32, Option<StoredWorker>);

impl Roster {
    /// Every slot in order, one at a time.
    pub(crate) fn stored_places(&self) -> impl Iterator<Item = StoredPlace> {
        let mut profiles = ProfileList::default();
        (0_u32..).zip(self.places.iter()).map(move |(slot, place)| {
            let store = |record: &WorkerRecord| StoredWorker {
                id: record.id.clone(),
                device: record.device.clone(),
                activity: record.activity.clone(),
                quarantine: record.quarantine().clone(),
                quarantine_generation: record.quarantine_generation,
                draining: record.draining,
                silent: record.silent,
                evidence: record
                    .evidence
                    .as_ref()
                    .map(|evidence| (evidence.record.clone(), profiles.store(&evidence.profile))),
                capabilities: record.class.and_then(|class| self.ready.capabilities(class)).cloned(),
                stamp: self.ready.stamp(slot),
            };
            (place.generation, place.worker.as_ref().map(store))
        })
    }

    /// The slots without a worker, in the order in which they came free.
    pub(crate) fn free(&self) -> &[u32] {
        &self.free
    }
}

/// A roster on its way out of a snapshot.
pub(crate) struct RosterLoader {
    roster: Roster,
    queued: Vec<(u64, ClassId, u32)>,
    profiles: Vec<Arc<EvidenceProfile>>,
}

impl RosterLoader {
    pub(crate) fn new(index_key: [u8; 16], quarantine_generation: u64) -> Self {
        let roster = Roster { quarantine_generation, ..Roster::new(index_key) };
        Self { roster, queued: Vec::new(), profiles: Vec::new() }
    }

    /// The next slot.
    pub(crate) fn place(&mut self, (generation, worker): StoredPlace) -> Option<()> {
        let slot = self.roster.slots();
        self.roster.places.push(Place { generation, worker: None });
        let Some(worker) = worker else { return Some(()) };
        let class = worker.capabilities.as_ref().map(|set| self.roster.ready.enter_class(set));
        if worker.stamp != 0 {
            self.queued.push((worker.stamp, class?, slot));
        }
        let evidence = match worker.evidence {
            Some((record, StoredProfile::First(profile))) => {
                let profile = self.roster.profiles.share(&profile);
                self.profiles.push(Arc::clone(&profile));
                Some(Evidence { record, profile })
            }
            Some((record, StoredProfile::Again(place))) => {
                Some(Evidence { record, profile: Arc::clone(self.profiles.get(index(place))?) })
            }
            None => None,
        };
        let record = WorkerRecord {
            id: worker.id,
            device: worker.device,
            activity: worker.activity,
            latch: (worker.quarantine != *Quarantine::open()).then(|| Box::new(worker.quarantine)),
            quarantine_generation: worker.quarantine_generation,
            draining: worker.draining,
            silent: worker.silent,
            evidence,
            class,
        };
        if self.roster.by_id(&record.id).is_some() {
            return None;
        }
        self.roster.place(slot, record);
        Some(())
    }

    /// The next slot without a worker. Each is named once: [`Self::finish`] counts them.
    pub(crate) fn free(&mut self, slot: u32) -> Option<()> {
        self.roster.places.get(index(slot)).filter(|place| place.worker.is_none())?;
        self.roster.free.push(slot);
        Some(())
    }

    /// The roster, whose last place in the queues was `stamp`, also where nobody stands there any more.
    pub(crate) fn finish(mut self, stamp: u64) -> Option<Roster> {
        let empty = self.roster.places.iter().filter(|place| place.worker.is_none()).count();
        let mut free = self.roster.free.clone();
        free.sort_unstable();
        free.dedup();
        if empty != free.len() || empty != self.roster.free.len() {
            return None;
        }
        self.queued.sort_unstable();
        for (at, class, slot) in self.queued {
            if at > stamp {
                return None;
            }
            self.roster.ready.push_stamped(class, slot, at);
        }
        self.roster.ready.resume_stamps(stamp);
        Some(self.roster)
    }
}

impl PartialEq for Roster {
    /// Records, slots, generations and the order of the queues; not the indexes, which are derived.
    fn eq(&self, other: &Self) -> bool {
        self.quarantine_generation == other.quarantine_generation
            && self.ready.last_stamp() == other.ready.last_stamp()
            && self.free == other.free
            && self.places.len() == other.places.len()
            && (0_u32..).zip(self.places.iter().zip(other.places.iter())).all(|(slot, (mine, theirs))| {
                let same = |a: &WorkerRecord, b: &WorkerRecord| {
                    let class = |roster: &Self, record: &WorkerRecord| {
                        record.class.and_then(|class| roster.ready.capabilities(class).cloned())
                    };
                    WorkerRecord { class: None, ..a.clone() } == WorkerRecord { class: None, ..b.clone() }
                        && class(self, a) == class(other, b)
                };
                mine.generation == theirs.generation
                    && self.ready.stamp(slot) == other.ready.stamp(slot)
                    && match (&mine.worker, &theirs.worker) {
                        (Some(a), Some(b)) => same(a, b),
                        (None, None) => true,
                        _ => false,
                    }
            })
    }
}

impl Eq for Roster {}

/// Which activity kinds hold a lease.
pub(crate) const fn holds_lease(kind: ActivityKind) -> bool {
    matches!(
        kind,
        ActivityKind::Assigned | ActivityKind::Running | ActivityKind::CleaningUp | ActivityKind::Revoking
    )
}
