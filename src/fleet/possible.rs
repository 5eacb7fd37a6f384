//! Whether an event is possible in a state. A journal that contains an impossible event is not the journal of
//! this fleet.
//!
//! Decisions make only possible events. Recovery trusts nothing and checks every event here before it folds
//! it.

use super::{
    condition::{Activity, LeaseStage},
    event::FleetEvent,
    roster::WorkerRecord,
    state::{self, FleetState},
    table::{self, Act},
};
use crate::{lease::Fence, time::Now};

pub(super) type Verdict = Result<(), &'static str>;

pub(super) fn ensure(holds: bool, otherwise: &'static str) -> Verdict {
    if holds { Ok(()) } else { Err(otherwise) }
}

impl FleetState {
    /// Checks whether `event` can have happened in this state at `at`.
    pub(crate) fn possible(&self, at: Now, event: &FleetEvent) -> Verdict {
        let remembered = matches!(event, FleetEvent::CommandRemembered { .. });
        ensure(self.last.mono <= at.mono && (remembered || self.last.wall <= at.wall), "time goes back")?;
        match event {
            FleetEvent::Founded { .. } => ensure(self.version == 0, "a fleet begins once"),
            FleetEvent::EpochBegan { epoch, .. } => ensure(*epoch > self.epoch, "an epoch does not grow"),
            FleetEvent::EverythingLost { run_held_until } => {
                ensure(self.quiet_until <= *run_held_until, "runs are free in the quiet period")
            }
            FleetEvent::CommandRemembered { command, .. } => {
                let limits = &self.policy.limits;
                let (sessions, memory) = (limits.sessions, limits.session_memory_ms);
                let room = self.sessions.admits(&command.client, sessions, memory, at.mono);
                ensure(room, "a command is remembered and there is no room for its client")
            }
            FleetEvent::RestoredStale { .. } | FleetEvent::WallAccepted { .. } => Ok(()),
            FleetEvent::PolicySet { policy, generation } => {
                ensure(policy.fleet == self.policy.fleet, "a policy is for another fleet")?;
                ensure(self.fits(policy).is_ok(), "a policy has less room than what is held")?;
                ensure(
                    *generation == self.policy_generation.saturating_add(1),
                    "a policy generation is skipped",
                )
            }
            FleetEvent::DeviceChanged { change } => {
                ensure(self.nodes.registry.admits(change), "a device event is not possible")
            }
            FleetEvent::AnchorChanged { change } => {
                ensure(self.nodes.anchors.admits(change), "an anchor event is not possible")
            }
            FleetEvent::PairingChanged { change } => {
                ensure(self.nodes.pairing.admits(change), "a pairing event is not possible")
            }
            FleetEvent::DispatchChanged { change } => {
                ensure(self.nodes.dispatch.is_possible(change), "a dispatch event is not possible")
            }
            // That the run is known and its last lease was this one is found while it is folded, with the same look-up.
            FleetEvent::RunEnded { .. } => Ok(()),
            FleetEvent::FleetQuarantined { generation } => {
                let next = self.roster.quarantine_generation.saturating_add(1);
                ensure(*generation == next, "a quarantine generation is skipped")
            }
            FleetEvent::WorkerRegistered { slot, worker, device } => {
                ensure(
                    self.roster.len() < self.policy.limits.workers,
                    "a worker is registered over the bound",
                )?;
                ensure(
                    *slot == self.roster.next_slot(),
                    "a worker is registered in another slot than the next",
                )?;
                ensure(self.roster.by_id(worker).is_none(), "a worker is registered twice")?;
                ensure(self.roster.by_device(device).is_none(), "a device runs two workers")
            }
            _ => {
                let slot = event.slot().ok_or("an event is about nobody")?;
                let record = self.roster.get(slot).ok_or("an event is about a worker that is not there")?;
                self.possible_for(at, slot, record, event)
            }
        }
    }

    fn possible_for(&self, at: Now, slot: u32, record: &WorkerRecord, event: &FleetEvent) -> Verdict {
        let live = state::held(record);
        let stage = live.map(|held| held.stage);
        let fenced =
            |fence: &Fence| ensure(live.is_some_and(|held| held.lease.fence == *fence), "a stale fence acts");
        let retired = matches!(record.activity, Activity::Retired { .. });
        match event {
            FleetEvent::WorkerForgotten { .. } => {
                return ensure(retired, "a worker is forgotten before it is retired");
            }
            _ => ensure(!retired, "a retired worker acts")?,
        }
        match event {
            FleetEvent::IncarnationBegan { incarnation, .. } => {
                ensure(live.is_none(), "an incarnation begins with a lease")?;
                ensure(*incarnation > self.roster.generation(slot), "an incarnation does not grow")
            }
            // Folding checks that its nonce is unspent, with the same look-up.
            FleetEvent::EvidenceAccepted { evidence, .. } => ensure(
                evidence.generation == self.policy_generation,
                "evidence of another policy is accepted",
            ),
            FleetEvent::EvidenceKept { generation, valid_until, valid_until_mono, .. } => {
                let held = record.evidence.as_ref().map(|evidence| &evidence.record);
                let held = held.ok_or("evidence is kept that is not there")?;
                ensure(
                    held.generation < *generation && *generation == self.policy_generation,
                    "evidence is judged under another policy than the next",
                )?;
                ensure(
                    *valid_until <= held.valid_until && *valid_until_mono <= held.valid_until_mono,
                    "evidence lasts longer when it is judged again",
                )
            }
            FleetEvent::WorkerSilent { .. } => ensure(
                matches!(record.activity, Activity::Available),
                "a worker that is not idle falls silent",
            ),
            FleetEvent::LeaseGranted { lease, .. } => {
                let quarantined = self.roster.is_quarantined(record);
                ensure(
                    table::is_open(Act::Acquire, record.activity.kind()) && !quarantined && !record.draining,
                    "a lease goes to a worker that may not have one",
                )?;
                let marks = record.marks();
                ensure(
                    !marks.set_aside || marks.probing,
                    "a worker that is set aside gets more than a probe",
                )?;
                ensure(
                    self.evidence_in_force(record, at),
                    "a lease goes to a worker without evidence in force",
                )?;
                ensure(
                    lease.fence > self.last_fence() && lease.fence.epoch == self.epoch,
                    "a fence does not grow",
                )?;
                ensure(
                    at.mono < lease.expires && lease.expires <= lease.horizon,
                    "a lease is over when it is granted",
                )?;
                ensure(
                    lease.worker == record.id
                        && lease.device == record.device
                        && lease.incarnation == self.roster.generation(slot),
                    "a lease names another worker",
                )?;
                ensure(self.quiet_until <= at.mono, "a lease is granted in the quiet period")
                // Folding checks that its grant is unspent and its run is free, with the same look-ups.
            }
            FleetEvent::RunStarted { fence, .. } => {
                fenced(fence)?;
                ensure(stage == Some(LeaseStage::Assigned), "a run starts twice")
            }
            FleetEvent::LeaseRenewed { fence, expires, .. } => {
                fenced(fence)?;
                let fits = live.is_some_and(|held| {
                    held.lease.is_live(at.mono)
                        && held.lease.expires < *expires
                        && *expires <= held.lease.horizon
                });
                ensure(fits, "a renewal passes the horizon, or revives a lease")
            }
            FleetEvent::LeaseBounded { fence, expires, horizon, .. } => {
                fenced(fence)?;
                let open = matches!(stage, Some(LeaseStage::Assigned | LeaseStage::Running));
                let sooner = live.is_some_and(|held| *expires <= held.lease.expires && expires <= horizon);
                ensure(open && sooner, "a lease is bounded that does not run, or gets more time by that")
            }
            FleetEvent::LeaseRevoked { fence, .. } => {
                fenced(fence)?;
                let open = matches!(stage, Some(LeaseStage::Assigned | LeaseStage::Running));
                ensure(open, "a lease is revoked that does not run")
            }
            FleetEvent::CleanupAwaited { fence, .. } => {
                fenced(fence)?;
                ensure(stage == Some(LeaseStage::Running), "a run is cleaned up that did not run")
            }
            FleetEvent::LeaseReturned { fence, .. } | FleetEvent::LeaseLost { fence, .. } => fenced(fence),
            FleetEvent::CleanupVerified { fence, .. } => {
                let owed = state::debt(record).is_some_and(|debt| debt.fence == *fence && debt.cleanup);
                ensure(owed, "a cleanup is verified that nobody owed")
            }
            FleetEvent::QuarantineReleased { .. } => {
                ensure(record.quarantine().release, "a quarantine is released that no operator closed")
            }
            FleetEvent::DrainBegan { .. } => ensure(!record.draining, "draining begins twice"),
            FleetEvent::DrainPlanned { .. } => {
                ensure(record.draining, "a drain is planned that did not begin")
            }
            FleetEvent::ProbeBegan { .. } => {
                let idle = matches!(record.activity, Activity::Available);
                ensure(idle && record.marks().set_aside, "a probe begins of a worker that is not set aside")
            }
            FleetEvent::WorkerRated { bad_in_a_row, set_aside, .. } => {
                let former = record.marks().bad_in_a_row;
                let counted = *bad_in_a_row == 0 || *bad_in_a_row == former.saturating_add(1);
                ensure(counted, "a run that ended badly is not counted once")?;
                ensure(
                    live.is_some() || *bad_in_a_row == 0 && !set_aside,
                    "a worker is set aside without a lease that ended",
                )
            }
            FleetEvent::WorkerDisplaced { times, .. } => ensure(
                *times == record.marks().displaced.saturating_add(1),
                "a displaced incarnation is not counted once",
            ),
            FleetEvent::DrainEnded { .. } => ensure(record.draining, "draining ends that did not begin"),
            FleetEvent::WorkerRetired { .. } => ensure(live.is_none(), "a worker is retired with a lease"),
            _ => Ok(()),
        }
    }
}
