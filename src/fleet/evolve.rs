//! Folding one event into the state. Private to the crate, total, and never fails.

use alloc::boxed::Box;

use super::{
    condition::{Activity, Debt, HeldLease, LeaseStage, LossReason, Quarantine, QuarantineReason},
    event::FleetEvent,
    evidence::Evidence,
    policy::WorkerFleetPolicy,
    roster::{Roster, WorkerRecord},
    runs::Runs,
    session::Sessions,
    spent::Spent,
    state::{self, FleetState},
};
use crate::{
    lease::{Epoch, Fence},
    node::NodeRuntimeState,
    time::{Mono, Now, Wall},
};

impl FleetState {
    /// The state before the first event, under `policy`.
    pub(crate) fn blank(policy: WorkerFleetPolicy, index_key: [u8; 16]) -> Self {
        let (devices, pairing, dispatch) = policy.node_policies();
        let nodes = NodeRuntimeState::new(devices, pairing, dispatch, index_key);
        Self {
            policy_generation: 1,
            epoch: Epoch(0),
            version: 0,
            index: 0,
            last: Now::default(),
            fence_counter: 0,
            roster: Roster::new(index_key),
            runs: Runs::new(index_key),
            grants: Spent::new(index_key),
            nonces: Spent::new(index_key),
            sessions: Sessions::default(),
            nodes,
            quiet_until: Mono::START,
            floor: Wall::START,
            policy,
        }
    }

    /// Folds one event that happened at `at`.
    pub(crate) fn evolve(&mut self, at: Now, event: &FleetEvent) {
        self.version = self.version.saturating_add(1);
        // What is remembered of a command comes after its events, and must not undo a wall that one of them set.
        if !matches!(event, FleetEvent::CommandRemembered { .. }) {
            self.last = at;
        }
        match event {
            FleetEvent::Founded { policy } => self.policy = policy.clone(),
            FleetEvent::EpochBegan { epoch } => {
                self.epoch = *epoch;
                self.fence_counter = 0;
            }
            FleetEvent::RestoredStale { quiet_until, floor } => {
                self.nodes.dispatch.skip_numbers();
                self.quiet_until = *quiet_until;
                self.floor = *floor;
            }
            FleetEvent::PolicySet { policy, generation } => {
                // How a run ended is remembered for as long as grants could live. Where they may live longer from
                // now on, older ones could run again what has been forgotten.
                if policy.runs.grant_lifetime_max_ms > self.policy.runs.grant_lifetime_max_ms {
                    self.floor = self.floor.max(at.wall);
                }
                let (devices, pairing, dispatch) = policy.node_policies();
                self.nodes.set_policy(devices, pairing, dispatch);
                self.policy = policy.clone();
                self.policy_generation = *generation;
            }
            FleetEvent::WallAccepted { wall } => {
                self.last.wall = *wall;
                self.floor = *wall;
            }
            FleetEvent::DeviceChanged { change } => self.nodes.registry.evolve(change),
            FleetEvent::AnchorChanged { change } => self.nodes.anchors.evolve(change),
            FleetEvent::PairingChanged { change } => self.nodes.pairing.evolve(change),
            FleetEvent::DispatchChanged { change } => self.nodes.dispatch.evolve(change),
            FleetEvent::CommandRemembered { command, content, answer } => {
                let limits = &self.policy.limits;
                let (width, memory) = (limits.window, limits.session_memory_ms);
                self.sessions.remember(command, *content, answer.clone(), width, memory, at.mono);
            }
            FleetEvent::RunEnded { run, fence, outcome, lost, remembered_until, .. } => {
                self.runs.forget_some(at.mono);
                self.runs.ended(run, *fence, *outcome, *lost, *remembered_until, self.version);
            }
            FleetEvent::FleetQuarantined { generation } => self.roster.quarantine_all(*generation),
            _ => self.evolve_worker(at, event),
        }
    }

    fn evolve_worker(&mut self, at: Now, event: &FleetEvent) {
        let version = self.version;
        match event {
            FleetEvent::WorkerRegistered { slot, worker, device } => {
                // The registry's own copy of the id: one allocation for both, and equal at a glance.
                let known = self.nodes.registry.get(device).map_or(device, |record| record.device());
                self.roster.insert(*slot, worker.clone(), known.clone());
            }
            FleetEvent::IncarnationBegan { slot, incarnation } => {
                self.roster.begin_incarnation(*slot, *incarnation);
                self.roster.change(*slot, |record| {
                    record.evidence = None;
                    record.silent = false;
                    if matches!(record.activity, Activity::Available | Activity::Offline) {
                        record.activity = Activity::Registered;
                    }
                });
            }
            FleetEvent::EvidenceAccepted {
                slot,
                evidence,
                profile,
                capabilities,
                nonce,
                nonce_until,
                nonce_version,
            } => {
                self.nonces.insert(*nonce, nonce_until.0, at.mono.0);
                self.roster.set_capabilities(*slot, capabilities);
                let evidence =
                    Evidence { record: evidence.clone(), profile: self.roster.profiles.share(profile) };
                self.roster.change(*slot, |record| {
                    record.evidence = Some(evidence);
                    accept_evidence(record, *nonce_version);
                });
            }
            FleetEvent::EvidenceRefused { .. } => {}
            FleetEvent::EvidenceKept { slot, generation, valid_until, valid_until_mono } => {
                self.roster.change(*slot, |record| {
                    if let Some(evidence) = &mut record.evidence {
                        evidence.record.generation = *generation;
                        evidence.record.valid_until = *valid_until;
                        evidence.record.valid_until_mono = *valid_until_mono;
                    }
                });
            }
            FleetEvent::EvidenceWithdrawn { slot } => self.roster.change(*slot, |record| {
                record.evidence = None;
                if matches!(record.activity, Activity::Available) {
                    record.activity = Activity::Registered;
                }
            }),
            FleetEvent::WorkerHeard { slot } => self.roster.change(*slot, |record| {
                record.silent = false;
                if matches!(record.activity, Activity::Registered | Activity::Offline) {
                    record.activity = idle(record, at);
                }
            }),
            FleetEvent::WorkerSilent { slot } => self.roster.change(*slot, |record| {
                record.silent = true;
                record.activity = Activity::Offline;
            }),
            FleetEvent::Quarantined { slot, reason } => {
                let fleet = self.roster.quarantine_generation;
                self.roster.change(*slot, |record| {
                    let pending = record.quarantine_generation < fleet;
                    record.change_latch(|latch| {
                        if pending {
                            latch.close(QuarantineReason::Operator, version);
                        }
                        latch.close(*reason, version);
                    });
                    record.quarantine_generation = fleet;
                });
            }
            FleetEvent::QuarantineReleased { slot } => self.roster.change(*slot, |record| {
                record.change_latch(|latch| {
                    latch.release = false;
                    open_latch(latch);
                });
            }),
            FleetEvent::DrainBegan { slot } => self.roster.change(*slot, |record| record.draining = true),
            FleetEvent::DrainEnded { slot } => self.roster.change(*slot, |record| record.draining = false),
            FleetEvent::WorkerRetired { slot } => {
                self.roster.release_device(*slot);
                self.roster.change(*slot, |record| {
                    record.silent = false;
                    record.evidence = None;
                    record.activity = Activity::Retired { since: at.mono };
                });
            }
            FleetEvent::WorkerForgotten { slot } => self.roster.forget(*slot),
            FleetEvent::CleanupVerified { slot, .. } => self.roster.change(*slot, |record| {
                record.change_latch(|latch| {
                    latch.cleanup = false;
                    open_latch(latch);
                });
                if let Activity::Orphaned(debt) = &mut record.activity {
                    debt.cleanup = false;
                    settle(record);
                }
            }),
            _ => self.evolve_lease(at, event),
        }
    }

    fn evolve_lease(&mut self, at: Now, event: &FleetEvent) {
        let version = self.version;
        match event {
            FleetEvent::LeaseGranted { slot, lease } => {
                let terms = &lease.terms;
                self.fence_counter = lease.fence.counter;
                self.grants.insert(terms.spent_as(), terms.grant_expires.0, at.wall.0);
                self.runs.forget_some(at.mono);
                self.runs.leased(&terms.run, *slot, lease.fence);
                self.roster.ready.remember_shape(&terms.capabilities);
                let held = HeldLease { lease: lease.clone(), stage: LeaseStage::Assigned, revoked: None };
                self.roster.change(*slot, |record| record.activity = Activity::Leased(held));
            }
            FleetEvent::RunStarted { slot, .. } => {
                self.on_lease(*slot, |held| held.stage = LeaseStage::Running)
            }
            FleetEvent::LeaseRenewed { slot, expires, .. } => {
                self.on_lease(*slot, |held| held.lease.expires = *expires);
            }
            FleetEvent::LeaseRevoked { slot, reason, acknowledge_by, .. } => self.on_lease(*slot, |held| {
                held.stage = LeaseStage::Revoking;
                held.revoked = Some((*reason, *acknowledge_by));
            }),
            FleetEvent::CleanupAwaited { slot, .. } => {
                self.on_lease(*slot, |held| held.stage = LeaseStage::CleaningUp);
            }
            FleetEvent::LeaseReturned { slot, fence } => {
                let memory = at.mono.plus(self.policy.runs.grant_lifetime_max_ms);
                self.free_run(*slot, *fence, None, at.mono, memory);
                self.roster.change(*slot, |record| record.activity = idle(record, at));
            }
            FleetEvent::LeaseLost { slot, fence, reason, run_held_until } => {
                let memory = run_held_until.plus(self.policy.runs.grant_lifetime_max_ms);
                self.free_run(*slot, *fence, Some(*reason), *run_held_until, memory);
                self.roster.change(*slot, |record| {
                    if let Some(held) = state::held(record) {
                        let lease = held.lease.digest();
                        record.silent |= *reason == LossReason::Silent;
                        record.activity = Activity::Orphaned(Box::new(Debt {
                            fence: *fence,
                            lease,
                            reason: *reason,
                            cleanup: true,
                            evidence_since: Some(version),
                        }));
                    }
                });
            }
            _ => {}
        }
    }

    fn on_lease(&mut self, slot: u32, change: impl FnOnce(&mut HeldLease)) {
        self.roster.change(slot, |record| {
            if let Activity::Leased(held) = &mut record.activity {
                change(held);
            }
        });
    }

    fn free_run(&mut self, slot: u32, fence: Fence, reason: Option<LossReason>, until: Mono, memory: Mono) {
        if let Some(held) = self.roster.get(slot).and_then(state::held) {
            self.runs.held(&held.lease.terms.run, fence, reason, until, memory, self.version);
        }
    }
}

/// What a worker without a lease does: available where its evidence lets it work, else registered.
fn idle(record: &WorkerRecord, at: Now) -> Activity {
    if FleetState::evidence_in_time(record, at) { Activity::Available } else { Activity::Registered }
}

/// Evidence over a nonce issued at `nonce_version` pays what was owed since that version or before (invariant 5).
fn accept_evidence(record: &mut WorkerRecord, nonce_version: u64) {
    if record.quarantine().evidence_since.is_some_and(|since| nonce_version >= since) {
        record.change_latch(|latch| {
            latch.evidence_since = None;
            open_latch(latch);
        });
    }
    match &mut record.activity {
        Activity::Orphaned(debt) if debt.evidence_since.is_some_and(|since| nonce_version >= since) => {
            debt.evidence_since = None;
            settle(record);
        }
        Activity::Offline => record.activity = Activity::Registered,
        _ => {}
    }
}

fn open_latch(latch: &mut Quarantine) {
    if latch.is_settled() {
        latch.reasons.clear();
    }
}

fn settle(record: &mut WorkerRecord) {
    if let Activity::Orphaned(debt) = &record.activity
        && debt.is_settled()
    {
        record.activity = Activity::Registered;
    }
}
