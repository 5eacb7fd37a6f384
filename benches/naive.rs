//! The fleet once more, as maps and linear scans: what the real one is compared with, in answers and in speed.
//!
//! Written from the rules (the invariants and the documentation of the operations), not from the code: a flat
//! record for each worker, numbers for names, one clock, no events, no journal, no queues, no deadlines kept.
#![allow(
    dead_code,
    clippy::missing_panics_doc,
    reason = "the bench and the property test use different parts of it"
)]

#[path = "naive/services.rs"]
mod services;
#[path = "naive/workers.rs"]
mod workers;

use std::collections::{BTreeMap, BTreeSet};

use leasehold::fleet::{
    ActivityKind::{self, *},
    LossReason, QuarantineReason, RunOutcome, Verdict, WorkerFleetCounts, WorkerFleetPolicyForm,
    WorkerLifecycleState as View,
};

pub type Code = &'static str;
pub type Fence = (u64, u64);
type Did<T> = Result<T, Code>;

/// The incarnation that a message names, and the device over whose channel it came.
#[derive(Clone, Copy, Debug)]
pub struct Sender {
    pub worker: u32,
    pub incarnation: u64,
    pub device: u32,
}

#[derive(Clone, Debug)]
pub struct Lease {
    pub run: u32,
    pub fence: Fence,
    pub attempt: u32,
    pub granted: u64,
    pub expires: u64,
    /// The latest end that its holder was told.
    promised: u64,
    /// When its grant ends.
    grant_ends: u64,
    pub horizon: u64,
    /// While it is being taken back: why, and until when that can be acknowledged.
    pub revoked: Option<(LossReason, u64)>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Debt {
    pub fence: Fence,
    pub cleanup: bool,
    pub evidence: Option<u64>,
}

#[derive(Clone, Debug, Default)]
pub struct Latch {
    pub reasons: BTreeSet<QuarantineReason>,
    release: bool,
    cleanup: bool,
    evidence: Option<u64>,
}

#[derive(Clone, Debug)]
pub struct Worker {
    pub device: u32,
    pub incarnation: u64,
    pub doing: ActivityKind,
    pub lease: Option<Lease>,
    pub debt: Option<Debt>,
    pub latch: Latch,
    /// How many quarantines of the whole fleet it has taken in.
    taken_in: u64,
    pub draining: bool,
    /// Fell silent and was not heard since, together with whom.
    silent: Option<u64>,
    heard: u64,
    /// Until when, and under which policy.
    evidence: Option<(u64, u64)>,
    capabilities: u8,
    /// Since when it waits for work, in turns; zero while it does not.
    waits: u64,
    retired: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Run {
    Leased { worker: u32, fence: Fence },
    Held { until: u64, reason: Option<LossReason> },
    Ended(Option<RunOutcome>),
}

#[derive(Clone, Copy, Debug)]
pub struct Nonce {
    device: u32,
    epoch: u64,
    issued: u64,
    turn: u64,
}

#[derive(Clone, Debug)]
pub struct Evidence {
    pub good: bool,
    pub until: u64,
    pub capabilities: u8,
}

#[derive(Clone, Debug)]
pub struct Ask {
    pub run: u32,
    pub grant: u64,
    pub grant_ends: u64,
    pub capabilities: u8,
    pub ttl: u64,
    pub on: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outputs {
    /// What arrived is what is claimed, and what the lease allows.
    Fine,
    /// What arrived is not what is claimed.
    Lie,
    /// What arrived is what is claimed, and more than the lease allows.
    Excess,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LeaseAct {
    Start,
    Renew,
    Complete,
    Clean,
    Acknowledge,
}

#[derive(Clone, Debug)]
pub struct Model {
    pub now: u64,
    pub rules: WorkerFleetPolicyForm,
    pub epoch: u64,
    pub workers: BTreeMap<u32, Worker>,
    pub runs: BTreeMap<u32, (u32, Run)>,
    counter: u64,
    /// Counts what was accepted: whether a nonce is from after an event is a question of turns, not of time.
    turn: u64,
    policy: u64,
    /// The capabilities that the policy in force trusts.
    trusted: u8,
    incarnations: u64,
    quarantines: u64,
    spent_grants: BTreeSet<u64>,
    spent_nonces: BTreeSet<(u32, u64, u64)>,
    revoked: BTreeSet<u32>,
    /// Who fell silent together last: their number, and when the last of them did.
    wave: (u64, u64),
    /// How much later it may be than the line says, for what was promised before: from when, up to when, by how much.
    gap: (u64, u64, u64),
    /// Runs that were left before that gap are held until then.
    late: BTreeMap<u32, u64>,
}

/// What a policy trusts, of capabilities that are a letter each.
fn trusted(rules: &WorkerFleetPolicyForm) -> u8 {
    let names = rules.attestation.form().capabilities.trusted.iter();
    names.fold(0, |set, name| set | 1 << (name.as_str().as_bytes()[0] - b'a'))
}

impl Worker {
    fn new(device: u32, taken_in: u64, heard: u64) -> Self {
        Self {
            device,
            incarnation: 0,
            doing: Registered,
            lease: None,
            debt: None,
            latch: Latch::default(),
            taken_in,
            draining: false,
            silent: None,
            heard,
            evidence: None,
            capabilities: 0,
            waits: 0,
            retired: 0,
        }
    }
}

impl Debt {
    fn owes(&self, fence: Fence) -> Did<()> {
        match (self.fence == fence, self.cleanup) {
            (false, _) => Err("lease.stale_fence"),
            (_, false) => Err("lease.not_cleaning_up"),
            _ => Ok(()),
        }
    }
}

fn paid(owed: &mut Option<u64>, turn: u64) {
    *owed = owed.filter(|since| turn < *since);
}

impl Model {
    pub fn new(now: u64, epoch: u64, rules: WorkerFleetPolicyForm) -> Self {
        Self {
            now,
            trusted: trusted(&rules),
            rules,
            epoch,
            workers: BTreeMap::new(),
            runs: BTreeMap::new(),
            counter: 0,
            turn: 1,
            policy: 0,
            incarnations: 0,
            quarantines: 0,
            spent_grants: BTreeSet::new(),
            spent_nonces: BTreeSet::new(),
            revoked: BTreeSet::new(),
            wave: (0, 0),
            gap: (0, 0, 0),
            late: BTreeMap::new(),
        }
    }

    /// For benches: a worker on its own device, waiting for work, or running run `w`.
    pub fn enlist(&mut self, w: u32, capabilities: u8, busy: bool) -> Sender {
        self.incarnations += 1;
        let (until, incarnation) = (self.now + self.rules.lease.longest_ms.0, self.incarnations);
        let evidence = Some((until, self.policy));
        let worker =
            Worker { evidence, capabilities, incarnation, ..Worker::new(w, self.quarantines, self.now) };
        self.workers.insert(w, worker);
        self.go_idle(w);
        if busy {
            self.counter += 1;
            let (fence, granted) = ((self.epoch, self.counter), self.now);
            let expires = granted + self.rules.lease.ttl_max_ms.0;
            let lease = Lease {
                run: w,
                fence,
                attempt: 1,
                granted,
                expires,
                promised: expires,
                grant_ends: until,
                horizon: until,
                revoked: None,
            };
            self.runs.insert(w, (1, Run::Leased { worker: w, fence }));
            (self.at(w).doing, self.at(w).lease) = (Running, Some(lease));
        }
        self.touched(w);
        Sender { worker: w, incarnation, device: w }
    }

    // What is asked about a worker.

    pub fn quarantined(&self, w: u32) -> bool {
        let worker = &self.workers[&w];
        let latch = &worker.latch;
        worker.taken_in < self.quarantines || latch.release || latch.cleanup || latch.evidence.is_some()
    }

    pub fn view(&self, w: u32) -> View {
        match self.workers[&w].doing {
            Retired => View::Retired,
            _ if self.quarantined(w) => View::Quarantined,
            Orphaned => View::Orphaned,
            _ if self.workers[&w].draining => View::Draining,
            Registered => View::Registered,
            Available => View::Available,
            Offline => View::Offline,
            Assigned => View::Assigned,
            Running => View::Running,
            CleaningUp => View::CleaningUp,
            _ => View::Revoking,
        }
    }

    pub fn counts(&self) -> WorkerFleetCounts {
        let mut counts = WorkerFleetCounts::default();
        for w in self.workers.keys() {
            counts.total += 1;
            *match self.view(*w) {
                View::Registered => &mut counts.registered,
                View::Available => &mut counts.available,
                View::Offline => &mut counts.offline,
                View::Orphaned => &mut counts.orphaned,
                View::Quarantined => &mut counts.quarantined,
                View::Draining => &mut counts.draining,
                View::Retired => &mut counts.retired,
                _ => &mut counts.leased,
            } += 1;
        }
        counts
    }

    pub fn by_device(&self, device: u32) -> Option<u32> {
        let of = |(_, worker): &(&u32, &Worker)| worker.device == device && worker.doing != Retired;
        self.workers.iter().find(of).map(|(w, _)| *w)
    }

    /// Whether its evidence lets the worker work, under the policy in force.
    fn attested(&self, w: u32) -> bool {
        self.in_time(w) && self.workers[&w].capabilities & !self.trusted == 0
    }

    fn in_time(&self, w: u32) -> bool {
        self.workers[&w].evidence.is_some_and(|(until, _)| self.now < until)
    }

    /// Whether it could be given a lease, were it idle: attested, for no less than the shortest lease.
    fn fit(&self, w: u32) -> bool {
        let left = self.workers[&w].evidence.map_or(0, |(until, _)| until.saturating_sub(self.now));
        let known = !self.revoked.contains(&self.workers[&w].device);
        known && self.attested(w) && left >= self.rules.lease.ttl_min_ms.0
    }

    /// Whether another policy came into force since its evidence was judged.
    fn unjudged(&self, w: u32) -> bool {
        self.workers[&w].evidence.is_some_and(|(_, policy)| policy != self.policy)
    }

    fn heard(&self, w: u32) -> bool {
        self.now < self.workers[&w].heard + self.rules.liveness.offline_after_ms.0
    }

    fn at(&mut self, w: u32) -> &mut Worker {
        self.workers.get_mut(&w).expect("a worker")
    }

    // What happens to a worker.

    /// An operation was accepted that touched this worker.
    fn touched(&mut self, w: u32) {
        self.turn += 1;
        let turn = self.turn;
        let available = self.view(w) == View::Available;
        let worker = self.at(w);
        worker.waits = if !available {
            0
        } else if worker.waits == 0 {
            turn
        } else {
            worker.waits
        };
    }

    fn close(&mut self, w: u32, reason: QuarantineReason) {
        use QuarantineReason::*;
        let (all, since) = (self.quarantines, self.turn + 1);
        let worker = self.at(w);
        let pending = (worker.taken_in < all).then_some(Operator);
        worker.taken_in = all;
        for reason in pending.into_iter().chain([reason]) {
            worker.latch.reasons.insert(reason);
            worker.latch.release |= matches!(reason, Operator | FailedOutput);
            worker.latch.cleanup |= matches!(reason, FailedCleanup | FailedOutput | NotAcknowledged);
            worker.latch.evidence = Some(since);
        }
    }

    fn quarantine(&mut self, w: u32, reason: QuarantineReason) {
        if matches!(self.workers[&w].doing, Assigned | Running) {
            self.take_back(w, LossReason::Quarantined);
        }
        self.close(w, reason);
    }

    fn take_back(&mut self, w: u32, why: LossReason) {
        let by = self.now + self.rules.lease.acknowledge_ms.0;
        let worker = self.at(w);
        worker.doing = Revoking;
        worker.lease.as_mut().expect("a lease").revoked = Some((why, by));
    }

    /// What was owed may be paid: then the latch opens, and an orphan is registered again.
    fn settle(&mut self, w: u32) {
        let worker = self.at(w);
        if worker.debt.as_ref().is_some_and(|debt| !debt.cleanup && debt.evidence.is_none()) {
            worker.debt = None;
            worker.doing = Registered;
        }
        let latch = &mut worker.latch;
        if !latch.release && !latch.cleanup && latch.evidence.is_none() {
            latch.reasons.clear();
        }
    }

    fn end_lease(&mut self, w: u32, held: Run) -> Fence {
        let lease = self.at(w).lease.take().expect("a lease");
        let most = self.rules.runs.max_attempts;
        let (attempts, run) = self.runs.get_mut(&lease.run).expect("a run");
        if matches!(run, Run::Leased { fence, .. } if *fence == lease.fence) {
            *run = if *attempts >= most { Run::Ended(None) } else { held };
            self.late.remove(&lease.run);
        }
        lease.fence
    }

    fn lose(&mut self, w: u32, reason: LossReason, until: u64) {
        let fence = self.end_lease(w, Run::Held { until, reason: Some(reason) });
        let since = self.turn + 1;
        let wave = (reason == LossReason::Silent).then(|| self.fall_silent());
        let worker = self.at(w);
        worker.doing = Orphaned;
        worker.silent = worker.silent.or(wave);
        worker.debt = Some(Debt { fence, cleanup: true, evidence: Some(since) });
    }

    /// Lost while its holder may still act: the run is held until expiry plus grace.
    fn lose_hard(&mut self, w: u32, reason: LossReason) {
        let lease = self.workers[&w].lease.as_ref().expect("a lease");
        let (_, reach, by) = self.gap;
        let late = if lease.fence.0 < self.epoch && lease.promised <= reach { by } else { 0 };
        self.lose(w, reason, lease.promised + late + self.rules.lease.grace_ms.0);
    }

    /// It has nothing to do: it waits for work where it could be given a lease, and its evidence is void where not.
    fn go_idle(&mut self, w: u32) {
        let fit = self.fit(w);
        let worker = self.at(w);
        worker.doing = if fit { Available } else { Registered };
        worker.evidence = worker.evidence.filter(|_| fit);
    }

    /// A worker falls silent: with those before it, where that was not long ago.
    fn fall_silent(&mut self) -> u64 {
        if self.wave.1 + self.rules.liveness.offline_after_ms.0 < self.now {
            self.wave.0 += 1;
        }
        self.wave.1 = self.now;
        self.wave.0
    }

    /// An idle worker that can be given no lease waits no longer.
    fn take_out(&mut self, w: u32) {
        if self.heard(w) {
            self.go_idle(w);
        } else {
            let wave = self.fall_silent();
            let worker = self.at(w);
            (worker.doing, worker.silent) = (Offline, worker.silent.or(Some(wave)));
        }
        self.touched(w);
    }

    fn clean(&mut self, w: u32, cleanup: Did<()>) -> Verdict {
        if cleanup.is_ok() {
            self.end_lease(w, Run::Held { until: self.now, reason: None });
            self.go_idle(w);
            return Verdict::Clean;
        }
        self.lose(w, LossReason::Cleanup, self.now);
        self.close(w, QuarantineReason::FailedCleanup);
        Verdict::CleanupFailed
    }

    // What happens by itself.

    /// Everything that is due. Gives how many workers it changed.
    pub fn expire(&mut self) -> usize {
        let due: Vec<u32> = self.workers.keys().copied().filter(|w| self.due(*w)).collect();
        for w in &due {
            self.pass(*w);
        }
        due.len()
    }

    /// Whether anything is due.
    pub fn is_due(&self) -> bool {
        self.workers.keys().any(|w| self.due(*w))
    }

    fn lapsed(&self, w: u32) -> Option<LossReason> {
        let worker = &self.workers[&w];
        let lease = worker.lease.as_ref()?;
        let over = lease.expires <= self.now;
        let reason = match (worker.doing, lease.revoked) {
            (_, Some((_, by))) => return (by <= self.now).then_some(LossReason::NotAcknowledged),
            (Assigned, _) if lease.granted + self.rules.lease.start_ms.0 <= self.now.min(lease.expires) => {
                LossReason::NotStarted
            }
            _ if over => LossReason::Expired,
            _ => return None,
        };
        Some(if self.heard(w) { reason } else { LossReason::Silent })
    }

    fn due(&self, w: u32) -> bool {
        let worker = &self.workers[&w];
        match worker.doing {
            Retired => worker.retired + self.rules.limits.retired_memory_ms.0 <= self.now,
            _ if worker.taken_in < self.quarantines || self.unjudged(w) => true,
            Available => !self.heard(w) || !self.fit(w),
            _ => self.lapsed(w).is_some(),
        }
    }

    fn pass(&mut self, w: u32) {
        match self.workers[&w].doing {
            Retired => {
                self.workers.remove(&w);
                return;
            }
            Available if !self.heard(w) || !self.fit(w) => self.take_out(w),
            _ => {
                if let Some(reason) = self.lapsed(w) {
                    self.lose_hard(w, reason);
                    if reason == LossReason::NotAcknowledged {
                        self.close(w, QuarantineReason::NotAcknowledged);
                    }
                }
            }
        }
        if self.workers[&w].taken_in < self.quarantines {
            self.quarantine(w, QuarantineReason::Operator);
        }
        if self.unjudged(w) {
            self.judge_again(w);
        }
        self.touched(w);
    }

    /// Another policy came into force: a worker that it does not let in has no evidence any more, and no lease.
    fn judge_again(&mut self, w: u32) {
        let (passes, policy) = (self.attested(w), self.policy);
        if !passes && matches!(self.workers[&w].doing, Assigned | Running) {
            self.take_back(w, LossReason::Evidence);
        }
        let worker = self.at(w);
        worker.evidence = worker.evidence.filter(|_| passes).map(|(until, _)| (until, policy));
        if !passes && worker.doing == Available {
            worker.doing = Registered;
        }
    }

    /// The coordinator dies and comes back: everybody counts as heard, and nonces of before are void. The journal proves
    /// that it lived at `last`; how much of the time since has really passed, nobody can say.
    pub fn crash(&mut self, last: u64) {
        let (before, reach, by) = self.gap;
        if last < self.now {
            let (before, by) = if reach + by <= last { (last, 0) } else { (before, by) };
            let leases = self.workers.values().filter_map(|worker| Some(worker.lease.as_ref()?.promised));
            let held = self.runs.values().filter_map(|(_, run)| match run {
                Run::Held { until, .. } => Some(*until),
                _ => None,
            });
            let reach = leases.chain(held).max().unwrap_or(0);
            self.gap = (before, reach, by + self.now - last);
            for (run, (_, state)) in &self.runs {
                match state {
                    Run::Held { until, .. } if before < *until => self.late.insert(*run, until + self.gap.2),
                    _ => self.late.remove(run),
                };
            }
        }
        self.epoch += 1;
        self.counter = 0;
        self.turn += 1;
        let now = self.now;
        self.workers.values_mut().for_each(|worker| worker.heard = now);
    }
}
