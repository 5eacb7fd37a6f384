//! The workers: records in slots, indexed by id and by device, and counted by public state.

use alloc::{boxed::Box, collections::BTreeSet, sync::Arc, vec::Vec};
use core::num::NonZeroU16;

use serde::{Deserialize, Serialize};

use super::{
    condition::{Activity, Quarantine, WorkerLifecycleState},
    event::EvidenceRecord,
    evidence::{Evidence, ProfileList, Profiles, StoredProfile},
    marks::{Marks, Rare},
    operation::WorkerHandle,
    ready::{ClassId, ReadyQueues},
};
use crate::{
    attestation::EvidenceProfile,
    capability::CapabilitySet,
    id::{DeviceId, WorkerId},
    index::KeyedIndex,
    slab::Chunks,
    time::{Millis, Mono},
};

/// One worker, on all its axes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WorkerRecord {
    pub(crate) id: WorkerId,
    pub(crate) device: DeviceId,
    pub(crate) activity: Activity,
    /// The quarantine latch and other data that few workers have; `None` if there is none.
    rare: Option<Box<Rare>>,
    /// How many acts on the whole fleet this record has taken in. The worker is quarantined while that is
    /// less than the fleet's number.
    pub(crate) quarantine_generation: u64,
    pub(crate) draining: bool,
    /// The wave in which the worker fell silent; `None` if it was heard since.
    pub(crate) silent: Option<WaveId>,
    pub(crate) evidence: Option<Evidence>,
    pub(crate) class: Option<ClassId>,
}

impl WorkerRecord {
    /// The quarantine latch.
    pub(crate) fn quarantine(&self) -> &Quarantine {
        self.rare.as_deref().map_or(Quarantine::open(), |rare| &rare.latch)
    }

    /// How the worker's last runs ended, and the other data that few workers have.
    pub(crate) fn marks(&self) -> Marks {
        self.rare.as_deref().map_or(Marks::NONE, |rare| rare.marks)
    }

    fn change_rare(&mut self, change: impl FnOnce(&mut Rare)) {
        let mut rare = self.rare.take().unwrap_or_default();
        change(&mut rare);
        self.rare = (!rare.is_nothing()).then_some(rare);
    }

    /// Changes the latch. An open latch takes no room.
    pub(crate) fn change_latch(&mut self, change: impl FnOnce(&mut Quarantine)) {
        self.change_rare(|rare| change(&mut rare.latch));
    }

    /// Changes the marks. Empty marks take no room.
    pub(crate) fn change_marks(&mut self, change: impl FnOnce(&mut Marks)) {
        self.change_rare(|rare| change(&mut rare.marks));
    }

    /// Ends a probe, because the worker holds no lease any more.
    pub(crate) fn end_probe(&mut self) {
        if self.rare.as_deref().is_some_and(|rare| rare.marks.probing) {
            self.change_marks(|marks| marks.probing = false);
        }
    }

    /// When a lease that the worker holds is revoked because it drains.
    pub(crate) fn drain_until(&self) -> Option<Mono> {
        self.rare.as_deref()?.marks.drain?.until
    }

    /// Whether the worker gets leases as others do: it is neither drained nor set aside.
    pub(crate) fn is_wanted(&self) -> bool {
        !self.draining && !self.rare.as_deref().is_some_and(|rare| rare.marks.set_aside)
    }

    /// Until when its evidence, and the certificate to which the evidence is bound, could allow a lease.
    fn leasable_until(&self) -> Mono {
        self.evidence.as_ref().map_or(Mono::START, Evidence::ends)
    }

    /// Whether the worker is quarantined: by its own latch, or by an act on the whole fleet that the record
    /// has not taken in. `acts` is the number of such acts.
    fn is_quarantined(&self, acts: u64) -> bool {
        self.quarantine_generation < acts || self.quarantine().is_closed()
    }

    fn view(&self, acts: u64) -> WorkerLifecycleState {
        WorkerLifecycleState::of(self.activity.kind(), self.is_quarantined(acts), !self.is_wanted())
    }

    /// When the worker was retired; `None` if it was not.
    fn retired(&self) -> Option<Mono> {
        match self.activity {
            Activity::Retired { since } => Some(since),
            _ => None,
        }
    }
}

/// A slot: its worker, and the number of its last incarnation. That number outlives the worker, so that no
/// message of a former worker fits a later one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) generation: u32,
    pub(crate) worker: Option<WorkerRecord>,
}

/// Identifies a wave: the workers that fell silent together.
pub(crate) type WaveId = NonZeroU16;

/// The latest wave: workers that fell silent together. Each of them fell silent no later after the one before
/// than `liveness.offline_after_ms`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wave {
    pub(crate) id: WaveId,
    /// When the last of them fell silent.
    pub(crate) last: Mono,
    /// How many of them were not heard since. Derived from the records.
    pub(crate) silent: u32,
}

const VIEWS: usize = 11;

/// All workers.
#[derive(Clone, Debug)]
pub(crate) struct Roster {
    places: Chunks<Place>,
    free: Vec<u32>,
    /// The retired workers that are still remembered, in the order in which they retired. Derived from the
    /// records.
    retired: BTreeSet<(Mono, u32)>,
    by_id: KeyedIndex,
    by_device: KeyedIndex,
    pub(crate) ready: ReadyQueues,
    pub(crate) profiles: Profiles,
    counts: [u64; VIEWS],
    /// How many workers fell silent and were not heard since.
    pub(crate) silent: u32,
    /// The latest wave of them.
    pub(crate) wave: Wave,
    /// The number of acts that quarantined every worker at once.
    pub(crate) quarantine_generation: u64,
}

fn index(slot: u32) -> usize {
    usize::try_from(slot).unwrap_or(usize::MAX)
}

/// Until when the worker in `slot` could be leased at most.
fn leasable_until(places: &Chunks<Place>, slot: u32) -> Mono {
    let worker = places.get(index(slot)).and_then(|place| place.worker.as_ref());
    worker.map_or(Mono::START, WorkerRecord::leasable_until)
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
            retired: BTreeSet::new(),
            by_id: KeyedIndex::new(index_key),
            by_device: KeyedIndex::new(index_key),
            ready: ReadyQueues::new(index_key),
            profiles: Profiles::default(),
            counts: [0; VIEWS],
            silent: 0,
            wave: Wave { id: WaveId::MIN, last: Mono::START, silent: 0 },
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

    /// The worker that `handle` names, if the handle is of its current incarnation.
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

    /// Whether `record` is quarantined: by its own latch, or by an act on the whole fleet that it has not
    /// taken in.
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

    fn tally_silence(&mut self, before: Option<WaveId>, after: Option<WaveId>) {
        if before == after {
            return;
        }
        if let Some(wave) = before {
            self.silent = self.silent.saturating_sub(1);
            self.wave.silent = self.wave.silent.saturating_sub(u32::from(wave == self.wave.id));
        }
        if let Some(wave) = after {
            self.silent = self.silent.saturating_add(1);
            self.wave.silent = self.wave.silent.saturating_add(u32::from(wave == self.wave.id));
        }
    }

    /// The wave of a worker that falls silent at `now`. It is the latest wave if that one's last worker fell
    /// silent no longer than `apart` ago, and a new wave otherwise.
    pub(crate) fn fall_silent(&mut self, now: Mono, apart: Millis) -> WaveId {
        if self.wave.last.plus(apart) < now {
            let id = self.wave.id.checked_add(1).unwrap_or(WaveId::MIN);
            self.wave = Wave { id, last: now, silent: 0 };
        }
        self.wave.last = now;
        self.wave.id
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
            rare: None,
            quarantine_generation: self.quarantine_generation,
            draining: false,
            silent: None,
            evidence: None,
            class: None,
        };
        self.place(slot, record);
    }

    /// Puts `record` into `slot`, and into everything that is derived from the records.
    fn place(&mut self, slot: u32, record: WorkerRecord) {
        let view = self.view(&record);
        let retired = record.retired();
        self.tally_silence(None, record.silent);
        let Some(place) = self.places.get_mut(index(slot)) else { return };
        let WorkerRecord { id, device, .. } = place.worker.insert(record);
        let (id, device) = (id.clone(), device.clone());
        self.tally(view, true);
        self.by_id.insert(id.as_str().as_bytes(), slot);
        match retired {
            Some(since) => drop(self.retired.insert((since, slot))),
            None => self.by_device.insert(device.as_str().as_bytes(), slot),
        }
    }

    /// The slot of the worker that was retired first.
    pub(crate) fn first_retired(&self) -> Option<u32> {
        self.retired.first().map(|(_, slot)| *slot)
    }

    /// Begins the slot's next incarnation.
    pub(crate) fn begin_incarnation(&mut self, slot: u32, incarnation: u32) {
        if let Some(place) = self.places.get_mut(index(slot)) {
            place.generation = incarnation;
        }
    }

    /// Changes the worker in `slot`, and keeps the counts, the queues and the wave consistent.
    pub(crate) fn change(&mut self, slot: u32, change: impl FnOnce(&mut WorkerRecord)) {
        let acts = self.quarantine_generation;
        let Some(record) = self.places.get_mut(index(slot)).and_then(|place| place.worker.as_mut()) else {
            return;
        };
        let leased = |record: &WorkerRecord| matches!(record.activity, Activity::Leased(_));
        let (before, was_silent, was_leased) = (record.view(acts), record.silent, leased(record));
        let former_end = record.leasable_until();
        change(record);
        let (after, silent, class) = (record.view(acts), record.silent, record.class);
        let end = record.leasable_until();
        let retired = record.retired();
        // A worker that holds a lease before and after is in no queue, so nothing need be looked up.
        let may_queue = !was_leased || !leased(record);
        if before != after {
            self.tally(before, false);
            self.tally(after, true);
            self.retired.extend(retired.map(|since| (since, slot)));
        }
        self.tally_silence(was_silent, silent);
        if let Some(class) = class.filter(|_| may_queue) {
            let wanted = after == WorkerLifecycleState::Available;
            match (self.ready.is_queued(slot), wanted) {
                (false, true) => self.ready.push(class, slot, end),
                (true, false) => self.ready.remove(class, slot, |slot| leasable_until(&self.places, slot)),
                (true, true) if end != former_end => {
                    self.ready.moved(class, slot, |slot| leasable_until(&self.places, slot));
                }
                _ => {}
            }
        }
    }

    /// Sets the capabilities of the worker in `slot`.
    pub(crate) fn set_capabilities(&mut self, slot: u32, capabilities: &CapabilitySet) {
        let Some(former) = self.get(slot).map(|record| record.class) else { return };
        if former.is_some_and(|class| self.ready.capabilities(class) == Some(capabilities)) {
            return;
        }
        if let Some(class) = former {
            self.ready.remove(class, slot, |slot| leasable_until(&self.places, slot));
        }
        let class = self.ready.enter_class(capabilities);
        if let Some(class) = former {
            self.ready.leave_class(class);
        }
        self.change(slot, |record| record.class = Some(class));
    }

    /// The capabilities of the worker in `slot`, by its evidence.
    pub(crate) fn capabilities(&self, slot: u32) -> Option<&CapabilitySet> {
        self.ready.capabilities(self.get(slot)?.class?)
    }

    /// Quarantines every worker that is not retired, and empties the queues. Cost: O(classes).
    pub(crate) fn quarantine_all(&mut self, generation: u64) {
        self.quarantine_generation = generation;
        self.ready.clear();
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

    /// Lets the worker's device run another worker.
    pub(crate) fn release_device(&mut self, slot: u32) {
        if let Some(device) = self.get(slot).map(|record| record.device.clone()) {
            self.by_device.remove(device.as_str().as_bytes(), slot);
        }
    }

    /// Forgets the worker in `slot`. The generation of the slot is kept.
    pub(crate) fn forget(&mut self, slot: u32) {
        let Some(record) = self.get(slot) else { return };
        let (view, id, device) = (self.view(record), record.id.clone(), record.device.clone());
        let (class, silent, retired) = (record.class, record.silent, record.retired());
        self.tally(view, false);
        if let Some(since) = retired {
            self.retired.remove(&(since, slot));
        }
        self.tally_silence(silent, None);
        self.by_id.remove(id.as_str().as_bytes(), slot);
        self.by_device.remove(device.as_str().as_bytes(), slot);
        if let Some(class) = class {
            self.ready.remove(class, slot, |slot| leasable_until(&self.places, slot));
            self.ready.leave_class(class);
        }
        if let Some(place) = self.places.get_mut(index(slot)) {
            place.worker = None;
        }
        self.free.push(slot);
    }
}

/// A worker as a snapshot stores it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct StoredWorker {
    pub(crate) id: WorkerId,
    pub(crate) device: DeviceId,
    pub(crate) activity: Activity,
    pub(crate) quarantine: Quarantine,
    pub(crate) quarantine_generation: u64,
    pub(crate) draining: bool,
    pub(crate) silent: Option<WaveId>,
    pub(crate) evidence: Option<(EvidenceRecord, StoredProfile)>,
    pub(crate) capabilities: Option<CapabilitySet>,
    pub(crate) stamp: u64,
    /// `None` if the worker has no marks.
    pub(crate) marks: Option<Marks>,
}

/// A slot as a snapshot stores it: its generation and its worker.
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
                marks: Some(record.marks()).filter(|marks| *marks != Marks::NONE),
            };
            (place.generation, place.worker.as_ref().map(store))
        })
    }

    /// The slots without a worker, in the order in which they became free.
    pub(crate) fn free(&self) -> &[u32] {
        &self.free
    }
}

/// A roster while it is loaded from a snapshot.
pub(crate) struct RosterLoader {
    roster: Roster,
    queued: Vec<(u64, ClassId, u32)>,
    profiles: Vec<Arc<EvidenceProfile>>,
}

impl RosterLoader {
    pub(crate) fn new(index_key: [u8; 16], quarantine_generation: u64, (id, last): (WaveId, Mono)) -> Self {
        let wave = Wave { id, last, silent: 0 };
        let roster = Roster { quarantine_generation, wave, ..Roster::new(index_key) };
        Self { roster, queued: Vec::new(), profiles: Vec::new() }
    }

    /// Loads the next slot.
    pub(crate) fn place(&mut self, (generation, worker): StoredPlace) -> Option<()> {
        let slot = self.roster.slots();
        self.roster.places.push(Place { generation, worker: None });
        let Some(worker) = worker else { return Some(()) };
        let class = worker.capabilities.as_ref().map(|set| self.roster.ready.enter_class(set));
        // An act on the whole fleet takes every worker out of the queues. The first form of a snapshot kept
        // them queued.
        if worker.stamp != 0 && worker.quarantine_generation >= self.roster.quarantine_generation {
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
            rare: Some(Rare { latch: worker.quarantine, marks: worker.marks.unwrap_or(Marks::NONE) })
                .filter(|rare| !rare.is_nothing())
                .map(Box::new),
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

    /// Loads the next slot without a worker. [`Self::finish`] checks that each is named once.
    pub(crate) fn free(&mut self, slot: u32) -> Option<()> {
        self.roster.places.get(index(slot)).filter(|place| place.worker.is_none())?;
        self.roster.free.push(slot);
        Some(())
    }

    /// The loaded roster. `stamp` is the last stamp that was given, whether or not a worker still has it.
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
            let end = leasable_until(&self.roster.places, slot);
            self.roster.ready.push_stamped(class, slot, at, end);
        }
        self.roster.ready.resume_stamps(stamp);
        Some(self.roster)
    }
}

impl PartialEq for Roster {
    /// Compares records, slots, generations and the order of the queues, but not the indexes, which are
    /// derived.
    fn eq(&self, other: &Self) -> bool {
        self.quarantine_generation == other.quarantine_generation
            && (self.wave.id, self.wave.last) == (other.wave.id, other.wave.last)
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
