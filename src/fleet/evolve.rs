//! Folds one event into the state.
//!
//! Folding looks up the grant, the nonce and the run of an event anyway, so it also checks here that they are
//! free. Every other condition is checked before folding (`possible.rs`).

use alloc::{boxed::Box, sync::Arc};

use super::{
    bounds::Bounds,
    condition::{Activity, Debt, HeldLease, LeaseStage, LossReason, Orphan, Quarantine, QuarantineReason},
    event::FleetEvent,
    evidence::Evidence,
    folding::Folding,
    policy::WorkerFleetPolicy,
    possible::{Verdict, ensure},
    roster::{Roster, WorkerRecord},
    runs::{Left, RunState, Runs},
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
            held_until: Mono::START,
            floor: Wall::START,
            bounds: Bounds::default(),
            folding: Folding::V1,
            policy,
        }
    }

    /// Folds one event that happened at `at` and is [possible](Self::possible). An error means that the event
    /// spends a grant or a nonce twice, or leases a run that is not free; the state must not be used
    /// afterwards.
    #[must_use = "a state that an event did not fit is of no use"]
    pub(crate) fn evolve(&mut self, at: Now, event: &FleetEvent) -> Verdict {
        self.version = self.version.saturating_add(1);
        let before = self.last;
        // `CommandRemembered` is the record's last event. It carries the time of the record, so it must not
        // overwrite a wall time that an earlier event of the same record has set.
        if !matches!(event, FleetEvent::CommandRemembered { .. }) {
            self.last = at;
        }
        match event {
            FleetEvent::Founded { policy } => self.policy = policy.clone(),
            FleetEvent::EpochBegan { epoch, folding, held_until } => {
                self.held_until = self.held_until.max(*held_until);
                self.epoch = *epoch;
                self.folding = *folding;
                self.fence_counter = 0;
                // Before the fleet's first record nobody was told anything.
                if self.index > 1 {
                    let mut bounds = self.bounds;
                    bounds.jumped(self.version, before.mono, at.mono, || self.latest_promise());
                    self.bounds = bounds;
                }
            }
            FleetEvent::RestoredStale { quiet_until, floor } => {
                self.nodes.dispatch.skip_numbers();
                self.quiet_until = *quiet_until;
                self.floor = *floor;
                self.bounds.since = self.bounds.since.max(*floor);
            }
            FleetEvent::PolicySet { policy, generation } => {
                // The end of a run is remembered for as long as a grant could live until now. With a longer
                // lifetime, an older grant could repeat a run that has been forgotten.
                if policy.runs.grant_lifetime_max_ms > self.policy.runs.grant_lifetime_max_ms {
                    self.floor = self.floor.max(at.wall);
                    self.bounds.since = self.floor;
                }
                // A spent nonce is remembered only for as long as it could live when it was spent.
                if policy.challenge_ttl_ms > self.policy.challenge_ttl_ms {
                    self.bounds.nonces_since = at.mono;
                }
                let (devices, pairing, dispatch) = policy.node_policies();
                self.nodes.set_policy(devices, pairing, dispatch);
                self.policy = policy.clone();
                self.policy_generation = *generation;
            }
            FleetEvent::WallAccepted { wall } => {
                self.last.wall = *wall;
                self.floor = self.bounds.since.max(*wall);
                let memory = self.policy.runs.grant_lifetime_max_ms;
                self.bounds.set_back(at.mono, at.wall.since(*wall), memory);
            }
            FleetEvent::DeviceChanged { change } => self.nodes.registry.evolve(change),
            FleetEvent::AnchorChanged { change } => self.nodes.anchors.evolve(change),
            FleetEvent::PairingChanged { change } => self.nodes.pairing.evolve(change),
            FleetEvent::DispatchChanged { change } => self.nodes.dispatch.evolve(change),
            FleetEvent::CommandRemembered { command, content, answer } => {
                let limits = &self.policy.limits;
                let (width, memory) = (limits.window, limits.session_memory_ms);
                self.sessions.remember(
                    command,
                    *content,
                    answer.clone(),
                    width,
                    memory,
                    at.mono,
                    self.folding,
                );
            }
            FleetEvent::RunEnded { run, fence, outcome, lost, remembered_until, .. } => {
                let ended = self.runs.ended(run, *fence, *outcome, *lost, *remembered_until, self.version);
                ensure(ended, "a run ends that is not known, twice, or under a lease that is not its last")?;
                self.runs.forget_some(self.bounds.forgotten(at.mono), self.folding.forgotten());
            }
            FleetEvent::EverythingLost { run_held_until } => {
                return self.lose_everything(at, *run_held_until);
            }
            FleetEvent::FleetQuarantined { generation } => self.roster.quarantine_all(*generation),
            _ => return self.evolve_worker(at, event),
        }
        Ok(())
    }

    /// Has the effect of withdrawing each worker's evidence and losing each lease, one after the other, and
    /// of ending the runs that lost their last attempt by that.
    fn lose_everything(&mut self, at: Now, run_held_until: Mono) -> Verdict {
        for slot in 0..self.roster.slots() {
            let Some(record) = self.roster.get(slot) else { continue };
            let lease = state::held(record).map(|held| (held.lease.fence, held.lease.terms.run.clone()));
            if record.evidence.is_some() {
                self.evolve(at, &FleetEvent::EvidenceWithdrawn { slot })?;
            }
            if let Some((fence, run)) = lease {
                let reason = LossReason::Restored;
                self.evolve(at, &FleetEvent::LeaseLost { slot, fence, reason, run_held_until })?;
                // The run has lost its last attempt, so it ends, as everywhere else.
                let rules = &self.policy.runs;
                let exhausted = self.run(&run).is_some_and(|record| {
                    record.counted(rules.max_spared, false) >= rules.max_attempts
                        && matches!(record.state, RunState::Held { fence: last, .. } if last == fence)
                });
                if exhausted {
                    let (lost, remembered_until) =
                        (Some(reason), run_held_until.plus(self.policy.runs.grant_lifetime_max_ms));
                    let (outcome, outputs) = (None, None);
                    self.evolve(
                        at,
                        &FleetEvent::RunEnded { run, fence, outcome, lost, outputs, remembered_until },
                    )?;
                }
            }
        }
        Ok(())
    }

    fn evolve_worker(&mut self, at: Now, event: &FleetEvent) -> Verdict {
        let version = self.version;
        match event {
            FleetEvent::WorkerRegistered { slot, worker, device } => {
                // The record shares the registry's own copy of the id, which saves an allocation and makes
                // comparisons cheap.
                let known = self.nodes.registry.get(device).map_or(device, |record| record.device());
                self.roster.insert(*slot, worker.clone(), known.clone());
            }
            FleetEvent::IncarnationBegan { slot, incarnation } => {
                self.roster.begin_incarnation(*slot, *incarnation);
                self.roster.change(*slot, |record| {
                    record.evidence = None;
                    record.silent = None;
                    match &mut record.activity {
                        Activity::Available | Activity::Offline => record.activity = Activity::Registered,
                        // The new incarnation does not complete what the former one held.
                        Activity::Orphaned(orphan) => orphan.late = None,
                        _ => {}
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
                let most = self.folding.forgotten();
                ensure(self.nonces.insert(*nonce, nonce_until.0, at.mono.0, most), "a nonce is spent twice")?;
                self.roster.set_capabilities(*slot, capabilities);
                let evidence =
                    Evidence { record: (**evidence).clone(), profile: self.roster.profiles.share(profile) };
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
                record.silent = None;
                if matches!(record.activity, Activity::Registered | Activity::Offline) {
                    record.activity = idle(record, at);
                }
            }),
            FleetEvent::WorkerSilent { slot } => {
                let wave = self.roster.fall_silent(at.mono, self.policy.liveness.offline_after_ms);
                self.roster.change(*slot, |record| {
                    record.silent = record.silent.or(Some(wave));
                    record.activity = Activity::Offline;
                });
            }
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
                record.change_marks(|marks| marks.displaced = 0);
            }),
            FleetEvent::DrainBegan { slot } => self.roster.change(*slot, |record| record.draining = true),
            FleetEvent::DrainEnded { slot } => self.roster.change(*slot, |record| {
                record.draining = false;
                record.change_marks(|marks| marks.drain = None);
            }),
            FleetEvent::DrainPlanned { slot, plan } => {
                self.roster.change(*slot, |record| record.change_marks(|marks| marks.drain = Some(*plan)));
            }
            FleetEvent::WorkerRated { slot, bad_in_a_row, set_aside } => {
                self.roster.change(*slot, |record| {
                    record.change_marks(|marks| {
                        (marks.bad_in_a_row, marks.set_aside) = (*bad_in_a_row, *set_aside);
                    });
                })
            }
            FleetEvent::ProbeBegan { slot } => {
                self.roster.change(*slot, |record| record.change_marks(|marks| marks.probing = true));
            }
            FleetEvent::WorkerDisplaced { slot, times } => {
                self.roster.change(*slot, |record| record.change_marks(|marks| marks.displaced = *times));
            }
            FleetEvent::WorkerRetired { slot } => {
                self.roster.release_device(*slot);
                self.roster.change(*slot, |record| {
                    record.silent = None;
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
                if let Activity::Orphaned(orphan) = &mut record.activity {
                    orphan.debt.cleanup = false;
                    orphan.late = None;
                    settle(record);
                }
            }),
            _ => return self.evolve_lease(at, event),
        }
        Ok(())
    }

    fn evolve_lease(&mut self, at: Now, event: &FleetEvent) -> Verdict {
        let version = self.version;
        match event {
            FleetEvent::LeaseGranted { slot, lease } => {
                let terms = &lease.terms;
                self.fence_counter = lease.fence.counter;
                let most = self.folding.forgotten();
                let (bounds, held_until) = (self.bounds, self.held_until);
                let forgotten = bounds.forgotten(at.mono);
                let until = Self::mono_at(at, terms.grant_expires).0;
                let fresh = self.grants.insert(terms.spent_as(), until, forgotten.0, most);
                ensure(fresh, "a grant is spent twice")?;
                self.runs.forget_some(forgotten, most);
                let free = self.runs.leased(&terms.run, *slot, lease.fence, |run| match run.state {
                    RunState::Held { until, .. } => {
                        bounds.held_until(until, run.left_at).max(held_until) <= at.mono
                    }
                    _ => false,
                });
                ensure(free, "a run is leased that is not free")?;
                self.roster.ready.remember_shape(&terms.capabilities);
                let (lease, promised) = (lease.clone(), lease.expires);
                let held = HeldLease { lease, stage: LeaseStage::Assigned, revoked: None, promised };
                self.roster.change(*slot, |record| record.activity = Activity::Leased(held));
            }
            FleetEvent::RunStarted { slot, .. } => {
                self.on_lease(*slot, |held| held.stage = LeaseStage::Running)
            }
            FleetEvent::LeaseRenewed { slot, expires, .. } => {
                self.on_lease(*slot, |held| {
                    held.lease.expires = *expires;
                    held.promised = held.promised.max(*expires);
                });
            }
            FleetEvent::LeaseBounded { slot, expires, horizon, .. } => {
                self.on_lease(*slot, |held| held.lease.bound(*expires, *horizon));
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
                self.roster.change(*slot, |record| {
                    record.end_probe();
                    record.activity = idle(record, at);
                });
            }
            FleetEvent::LeaseLost { slot, fence, reason, run_held_until } => {
                let memory = run_held_until.plus(self.policy.runs.grant_lifetime_max_ms);
                self.free_run(*slot, *fence, Some(*reason), *run_held_until, memory);
                let apart = self.policy.liveness.offline_after_ms;
                let wave = (*reason == LossReason::Silent).then(|| self.roster.fall_silent(at.mono, apart));
                let late = self.policy.lease.complete_late && reason.is_by_time();
                self.roster.change(*slot, |record| {
                    record.end_probe();
                    if let Some(held) = state::held(record) {
                        let debt = Debt {
                            fence: *fence,
                            lease: held.lease.digest(),
                            reason: *reason,
                            cleanup: true,
                            evidence_since: Some(version),
                        };
                        // The completion of a lease that was revoked, or whose run has ended, is not accepted
                        // late.
                        let late = late && held.stage == LeaseStage::Running;
                        let late = late.then(|| Arc::clone(&held.lease.terms));
                        record.silent = record.silent.or(wave);
                        record.activity = Activity::Orphaned(Box::new(Orphan { debt, late }));
                    }
                });
            }
            _ => {}
        }
        Ok(())
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
            let rules = &self.policy.runs;
            let spared = rules.max_spared > 0 && held.cause(reason).is_some_and(LossReason::is_spared);
            let (version, elsewhere) = (self.version, rules.retry_elsewhere);
            let left = Left { fence, reason, until, memory, version, spared, elsewhere };
            self.runs.held(&held.lease.terms.run, &left);
        }
    }
}

/// The activity of a worker without a lease: available if its evidence is in time, registered otherwise.
fn idle(record: &WorkerRecord, at: Now) -> Activity {
    if FleetState::evidence_in_time(record, at) { Activity::Available } else { Activity::Registered }
}

/// Settles what evidence over a nonce issued at `nonce_version` pays for: everything that is owed since that
/// version or an earlier one (invariant 5).
fn accept_evidence(record: &mut WorkerRecord, nonce_version: u64) {
    if record.quarantine().evidence_since.is_some_and(|since| nonce_version >= since) {
        record.change_latch(|latch| {
            latch.evidence_since = None;
            open_latch(latch);
        });
    }
    match &mut record.activity {
        Activity::Orphaned(orphan)
            if orphan.debt.evidence_since.is_some_and(|since| nonce_version >= since) =>
        {
            orphan.debt.evidence_since = None;
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
    if let Activity::Orphaned(orphan) = &record.activity
        && orphan.debt.is_settled()
    {
        record.activity = Activity::Registered;
    }
}
