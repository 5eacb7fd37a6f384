//! Whether an event is possible in a state. A journal that says otherwise is not the journal of this fleet.
//!
//! Decisions make only possible events; recovery believes nothing and asks here first.

use super::{
    condition::{Activity, LeaseStage},
    event::FleetEvent,
    roster::WorkerRecord,
    runs::RunState,
    state::{self, FleetState},
    table::{Act, TABLE},
};
use crate::{lease::Fence, time::Now};

type Verdict = Result<(), &'static str>;

fn ensure(holds: bool, otherwise: &'static str) -> Verdict {
    if holds { Ok(()) } else { Err(otherwise) }
}

impl FleetState {
    /// Whether `event` can have happened here at `at`.
    pub(crate) fn possible(&self, at: Now, event: &FleetEvent) -> Verdict {
        let remembered = matches!(event, FleetEvent::CommandRemembered { .. });
        ensure(self.last.mono <= at.mono && (remembered || self.last.wall <= at.wall), "time goes back")?;
        match event {
            FleetEvent::Founded { .. } => ensure(self.version == 0, "a fleet begins once"),
            FleetEvent::EpochBegan { epoch } => ensure(*epoch > self.epoch, "an epoch does not grow"),
            FleetEvent::RestoredStale { .. }
            | FleetEvent::CommandRemembered { .. }
            | FleetEvent::WallAccepted { .. } => Ok(()),
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
            FleetEvent::RunEnded { run, fence, .. } => {
                let record = self.run(run).ok_or("a run ends that is not known")?;
                ensure(!matches!(record.state, RunState::Ended { .. }), "a run ends twice")?;
                let last = match record.state {
                    RunState::Leased { fence, .. }
                    | RunState::Held { fence, .. }
                    | RunState::Ended { fence, .. } => fence,
                };
                ensure(last == *fence, "a run ends under a lease that is not its last")
            }
            FleetEvent::FleetQuarantined { generation } => {
                let next = self.roster.quarantine_generation.saturating_add(1);
                ensure(*generation == next, "a quarantine generation is skipped")
            }
            FleetEvent::WorkerRegistered { slot, worker, device } => {
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
            FleetEvent::EvidenceAccepted { evidence, nonce, .. } => {
                ensure(!self.nonces.contains(nonce), "a nonce is spent twice")?;
                ensure(
                    evidence.generation == self.policy_generation,
                    "evidence of another policy is accepted",
                )
            }
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
                let open = TABLE
                    .iter()
                    .any(|row| row.act == Act::Acquire && row.from.contains(&record.activity.kind()));
                ensure(
                    open && !quarantined && !record.draining,
                    "a lease goes to a worker that may not have one",
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
                ensure(self.quiet_until <= at.mono, "a lease is granted in the quiet period")?;
                let terms = &lease.terms;
                ensure(!self.grants.contains(&terms.spent_as()), "a grant is spent twice")?;
                ensure(
                    self.run(&terms.run).is_none_or(
                        |run| matches!(run.state, RunState::Held { until, .. } if until <= at.mono),
                    ),
                    "a run is leased that is not free",
                )
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
            FleetEvent::DrainEnded { .. } => ensure(record.draining, "draining ends that did not begin"),
            FleetEvent::WorkerRetired { .. } => ensure(live.is_none(), "a worker is retired with a lease"),
            _ => Ok(()),
        }
    }
}
