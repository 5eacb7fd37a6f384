//! Every promise about the fleet, held against its events alone: it shares nothing with what decides.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    format,
};

use super::report::{Breach, Counts, breach};
use crate::{
    digest::Sha256Digest,
    fleet::{
        FleetEvent, FleetRecord, FleetState, JournalBatch, Principal, QuarantineReason, WorkerFleetPolicy,
    },
    id::{DeviceId, GrantId, RunId},
    lease::{Fence, WorkerLease},
    time::{Mono, Now},
};

/// What a worker owes before it may work again (invariant 5).
#[derive(Clone, Debug, Default)]
struct Owed {
    cleanup: bool,
    release: bool,
    /// Evidence over a nonce that was issued at this version of the state or later.
    evidence_since: Option<u64>,
    draining: bool,
}

/// Evidence in force.
#[derive(Clone, Copy, Debug)]
struct Evidence {
    generation: u64,
    until: Mono,
}

#[derive(Clone, Debug)]
struct Seat {
    device: DeviceId,
    owed: Owed,
    evidence: Option<Evidence>,
    live: Option<WorkerLease>,
}

/// The history of the fleet, as far as promises are about it.
#[derive(Clone, Debug)]
struct History {
    policy: WorkerFleetPolicy,
    generation: u64,
    seats: BTreeMap<u32, Seat>,
    top: Option<Fence>,
    /// The slot of each lease that was granted, and its run.
    granted: BTreeMap<Fence, (u32, RunId)>,
    spent: BTreeSet<GrantId>,
    ended: BTreeSet<RunId>,
    /// Leases that authorise nothing any more.
    over: BTreeSet<Fence>,
    index: u64,
    last: Mono,
    digest: Option<Sha256Digest>,
    counts: Counts,
}

/// What was decided, and what of it lasts.
#[derive(Debug)]
pub(super) struct Watch {
    lasts: History,
    /// With the batch that is on its way to the disk.
    decided: History,
    /// When anything of a device came last, on the coordinator's line.
    pub(super) heard: BTreeMap<DeviceId, Mono>,
    /// Since when, in true time, it lasts that a lease authorises nothing any more.
    pub(super) over_since: BTreeMap<Fence, u64>,
}

impl Watch {
    pub(super) fn new(policy: &WorkerFleetPolicy) -> Self {
        let history = History {
            policy: policy.clone(),
            generation: 1,
            seats: BTreeMap::new(),
            top: None,
            granted: BTreeMap::new(),
            spent: BTreeSet::new(),
            ended: BTreeSet::new(),
            over: BTreeSet::new(),
            index: 0,
            last: Mono::START,
            digest: None,
            counts: Counts::default(),
        };
        Self { lasts: history.clone(), decided: history, heard: BTreeMap::new(), over_since: BTreeMap::new() }
    }

    /// A batch goes to the disk; `state` is as it is after it.
    pub(super) fn decided(&mut self, batch: &JournalBatch, state: &FleetState) -> Result<(), Breach> {
        let events: usize = batch.records.iter().map(|record| record.events.len()).sum();
        let mut version = state.version() - events as u64;
        for record in &batch.records {
            self.decided.record(record, &mut version, &self.heard)?;
        }
        if self.decided.index != batch.last.index || state.index() != batch.last.index {
            return Err(breach(8, "a batch does not end with its last record"));
        }
        self.decided.digest = Some(state.digest());
        Ok(())
    }

    /// The batch on its way lasts.
    pub(super) fn lasts(&mut self, at: u64) {
        for fence in self.decided.over.difference(&self.lasts.over) {
            self.over_since.insert(*fence, at);
        }
        self.lasts = self.decided.clone();
    }

    /// A process found this on the disk, and goes on from there. The batch that was on its way is there whole, or not at all.
    pub(super) fn recovered(&mut self, last: Option<(u64, Sha256Digest)>, at: u64) -> Result<(), Breach> {
        self.check_found(last)?;
        if last.map(|(index, _)| index) == Some(self.decided.index) && self.decided.index > self.lasts.index {
            self.lasts(at);
        }
        self.decided = self.lasts.clone();
        Ok(())
    }

    /// Invariant 8: what lasts is found again as it was, and nothing else.
    pub(super) fn check_found(&self, last: Option<(u64, Sha256Digest)>) -> Result<(), Breach> {
        let (index, digest) = last.map_or((0, None), |(index, digest)| (index, Some(digest)));
        let known = [&self.lasts, &self.decided].into_iter().find(|history| history.index == index);
        match known {
            Some(history) if history.digest == digest => Ok(()),
            Some(_) => Err(breach(8, format!("record {index} leads to another state after a crash"))),
            None => Err(breach(
                8,
                format!("{index} records are found after a crash, and {} lasted", self.lasts.index),
            )),
        }
    }

    /// Everybody counts as heard when a coordinator begins.
    pub(super) fn began(&mut self, now: Now) {
        for heard in self.heard.values_mut() {
            *heard = now.mono;
        }
    }

    /// How often a run has ended, by what lasts: once at most, or the history would have said so.
    pub(super) fn has_ended(&self, run: &RunId) -> bool {
        self.lasts.ended.contains(run)
    }

    /// What was counted of what lasts.
    pub(super) const fn counts(&self) -> &Counts {
        &self.lasts.counts
    }

    /// The leases of a run that were granted, by what was decided.
    pub(super) fn leases_of<'a>(&'a self, run: &'a RunId) -> impl Iterator<Item = Fence> + 'a {
        self.decided.granted.iter().filter(move |(_, (_, other))| other == run).map(|(fence, _)| *fence)
    }

    /// Every lease that was ever granted.
    pub(super) fn fences(&self) -> impl Iterator<Item = Fence> + '_ {
        self.decided.granted.keys().copied()
    }
}

impl History {
    fn record(
        &mut self,
        record: &FleetRecord,
        version: &mut u64,
        heard: &BTreeMap<DeviceId, Mono>,
    ) -> Result<(), Breach> {
        if record.index != self.index + 1 {
            return Err(breach(8, format!("record {} follows {}", record.index, self.index)));
        }
        if record.at.mono < self.last {
            return Err(breach(7, format!("record {} is earlier than the one before", record.index)));
        }
        (self.index, self.last) = (record.index, record.at.mono);
        self.counts.records += 1;
        for event in &record.events {
            *version += 1;
            self.event(event, *version, record, heard)?;
        }
        self.whole()
    }

    /// What holds between records.
    fn whole(&self) -> Result<(), Breach> {
        let mut runs = BTreeSet::new();
        for (slot, seat) in &self.seats {
            let Some(lease) = &seat.live else { continue };
            if !runs.insert(&lease.terms.run) {
                return Err(breach(1, format!("{} has two live leases", lease.terms.run)));
            }
            if let Some(evidence) = seat.evidence
                && lease.expires > evidence.until
            {
                return Err(breach(
                    3,
                    format!(
                        "lease {} in slot {slot} ends at {}, its evidence or certificate at {}",
                        lease.fence, lease.expires, evidence.until
                    ),
                ));
            }
        }
        Ok(())
    }

    /// Invariant 6: what a device says changes nothing of another's.
    fn own(&self, event: &FleetEvent, by: &Principal) -> Result<(), Breach> {
        let Principal::Device { device, .. } = by else { return Ok(()) };
        let slot = match event {
            FleetEvent::WorkerRegistered { device: other, .. } if other != device => None,
            FleetEvent::WorkerRegistered { .. } => return Ok(()),
            // A place that is taken over is of somebody who is gone.
            FleetEvent::WorkerForgotten { .. } => return Ok(()),
            FleetEvent::RunEnded { fence, .. } => self.granted.get(fence).map(|(slot, _)| *slot),
            event => match event.slot() {
                Some(slot) => Some(slot),
                None => return Ok(()),
            },
        };
        let owner = slot.and_then(|slot| self.seats.get(&slot)).map(|seat| &seat.device);
        if owner == Some(device) {
            return Ok(());
        }
        Err(breach(6, format!("{device} changes what is another's: {event:?}")))
    }

    fn event(
        &mut self,
        event: &FleetEvent,
        version: u64,
        record: &FleetRecord,
        heard: &BTreeMap<DeviceId, Mono>,
    ) -> Result<(), Breach> {
        self.own(event, &record.principal)?;
        match event {
            FleetEvent::PolicySet { policy, generation } => {
                (self.policy, self.generation) = (policy.clone(), *generation);
            }
            FleetEvent::EpochBegan { epoch, .. } => {
                if self.top.is_some_and(|top| top.epoch >= *epoch) {
                    return Err(breach(2, format!("epoch {epoch} was there before")));
                }
            }
            FleetEvent::WorkerRegistered { slot, device, .. } => {
                let (owed, evidence, live) = (Owed::default(), None, None);
                self.seats.insert(*slot, Seat { device: device.clone(), owed, evidence, live });
            }
            FleetEvent::WorkerForgotten { slot } => {
                self.seats.remove(slot);
            }
            FleetEvent::FleetQuarantined { .. } => {
                for seat in self.seats.values_mut() {
                    seat.owed.release = true;
                    seat.owed.evidence_since = Some(version);
                }
            }
            FleetEvent::LeaseGranted { slot, lease } => self.granted(*slot, lease, record.at.mono, heard)?,
            FleetEvent::RunEnded { run, fence, outcome, .. } => {
                if !self.ended.insert(run.clone()) {
                    return Err(breach(14, format!("{run} ends twice")));
                }
                if self.granted.get(fence).map(|(_, of)| of) != Some(run) {
                    return Err(breach(6, format!("{run} ends under {fence}, which is not a lease of it")));
                }
                if outcome.is_some() {
                    self.counts.completed += 1;
                } else {
                    self.counts.exhausted += 1;
                }
            }
            event => {
                if let Some(slot) = event.slot() {
                    self.seat(slot, event, version)?;
                }
            }
        }
        Ok(())
    }

    fn granted(
        &mut self,
        slot: u32,
        lease: &WorkerLease,
        at: Mono,
        heard: &BTreeMap<DeviceId, Mono>,
    ) -> Result<(), Breach> {
        let (fence, run) = (lease.fence, &lease.terms.run);
        if Some(fence) <= self.top {
            return Err(breach(2, format!("lease {fence} follows {:?}", self.top)));
        }
        if !self.spent.insert(lease.terms.grant.clone()) {
            return Err(breach(1, format!("grant {} is spent twice", lease.terms.grant)));
        }
        if self.ended.contains(run) {
            return Err(breach(14, format!("{run} has ended and is leased again")));
        }
        let Some(seat) = self.seats.get(&slot) else {
            return Err(breach(4, format!("nobody is in slot {slot}")));
        };
        let Owed { cleanup, release, evidence_since, draining } = seat.owed;
        if seat.live.is_some() {
            return Err(breach(1, format!("the worker in slot {slot} gets a second lease")));
        }
        if cleanup || release || evidence_since.is_some() || draining {
            return Err(breach(
                5,
                format!("the worker in slot {slot} gets a lease and owes {:?}", seat.owed),
            ));
        }
        match seat.evidence {
            Some(evidence) if evidence.generation == self.generation && evidence.until > at => {}
            other => return Err(breach(4, format!("slot {slot} gets a lease with evidence {other:?}"))),
        }
        let rules = &self.policy.liveness;
        let silent = heard.get(&seat.device).map(|heard| at.since(*heard));
        if !rules.excuse_standstill && silent.is_none_or(|silent| silent >= rules.offline_after_ms) {
            return Err(breach(4, format!("slot {slot} gets a lease, silent for {silent:?}")));
        }
        let rules = &self.policy.lease;
        if lease.expires > at.plus(rules.ttl_max_ms) || lease.expires > lease.granted.plus(rules.longest_ms) {
            return Err(breach(3, format!("lease {fence} is longer than the policy allows")));
        }
        self.top = Some(fence);
        self.counts.leases += 1;
        self.granted.insert(fence, (slot, run.clone()));
        if let Some(seat) = self.seats.get_mut(&slot) {
            seat.live = Some(lease.clone());
        }
        Ok(())
    }

    /// What happens to one worker.
    fn seat(&mut self, slot: u32, event: &FleetEvent, version: u64) -> Result<(), Breach> {
        let Some(seat) = self.seats.get_mut(&slot) else {
            return Err(breach(8, format!("nobody is in slot {slot}: {event:?}")));
        };
        match event {
            FleetEvent::RunStarted { fence, .. }
            | FleetEvent::LeaseRenewed { fence, .. }
            | FleetEvent::LeaseBounded { fence, .. }
            | FleetEvent::LeaseRevoked { fence, .. }
            | FleetEvent::CleanupAwaited { fence, .. }
            | FleetEvent::LeaseReturned { fence, .. }
            | FleetEvent::LeaseLost { fence, .. } => Self::live(seat, *fence, event)?,
            _ => {}
        }
        let owed = &mut seat.owed;
        match event {
            FleetEvent::EvidenceAccepted { evidence, nonce_version, .. } => {
                let until = evidence.valid_until_mono.min(evidence.certificate_until_mono);
                seat.evidence = Some(Evidence { generation: evidence.generation, until });
                if owed.evidence_since.is_some_and(|since| since <= *nonce_version) {
                    owed.evidence_since = None;
                }
            }
            FleetEvent::EvidenceKept { generation, valid_until_mono, .. } => {
                if let Some(evidence) = &mut seat.evidence {
                    evidence.generation = *generation;
                    evidence.until = evidence.until.min(*valid_until_mono);
                }
            }
            FleetEvent::EvidenceWithdrawn { .. } => seat.evidence = None,
            FleetEvent::LeaseRenewed { fence, expires, .. }
            | FleetEvent::LeaseBounded { fence, expires, .. } => {
                if let Some(lease) = &mut seat.live {
                    lease.expires = *expires;
                    if *expires > lease.granted.plus(self.policy.lease.longest_ms)
                        && matches!(event, FleetEvent::LeaseRenewed { .. })
                    {
                        return Err(breach(3, format!("lease {fence} is renewed past the longest one")));
                    }
                }
            }
            // Nothing runs under it any more, and its worker still has something to say of it.
            FleetEvent::LeaseRevoked { fence, .. } | FleetEvent::CleanupAwaited { fence, .. } => {
                self.over.insert(*fence);
            }
            FleetEvent::LeaseReturned { fence, .. } => {
                seat.live = None;
                self.over.insert(*fence);
            }
            FleetEvent::LeaseLost { fence, .. } => {
                owed.cleanup = true;
                owed.evidence_since = Some(version);
                seat.live = None;
                self.over.insert(*fence);
                self.counts.lost += 1;
            }
            FleetEvent::Quarantined { reason, .. } => {
                use QuarantineReason as Why;
                owed.evidence_since = Some(version);
                owed.release |= matches!(reason, Why::Operator | Why::FailedOutput | Why::TwoPlaces);
                owed.cleanup |=
                    matches!(reason, Why::FailedCleanup | Why::FailedOutput | Why::NotAcknowledged);
            }
            FleetEvent::CleanupVerified { .. } => owed.cleanup = false,
            FleetEvent::QuarantineReleased { .. } => owed.release = false,
            FleetEvent::DrainBegan { .. } => owed.draining = true,
            FleetEvent::DrainEnded { .. } => owed.draining = false,
            _ => {}
        }
        Ok(())
    }

    fn live(seat: &Seat, fence: Fence, event: &FleetEvent) -> Result<(), Breach> {
        if seat.live.as_ref().map(|lease| lease.fence) == Some(fence) {
            return Ok(());
        }
        Err(breach(6, format!("the lease is not the one that the worker holds: {event:?}")))
    }
}
