//! Messages that arrive, and workers with clocks of their own.

use leasehold::{
    fleet::*,
    lease::{Fence, WorkerLease},
    testing::World,
    time::{Millis, Mono},
};

use crate::state::{Hand, Held, Message, State};

impl State {
    /// When nothing of a run acts any more whose worker asked at `sent` and was told that `remaining` was left.
    ///
    /// Worker 0 is as late as the policy lets anybody be: its clock is slow by the clock budget, and its processes and its
    /// connections take the grace to die. The clock of every other worker is right, and its run is over at its deadline.
    fn gone_at(&self, n: u8, sent: Mono, remaining: Millis) -> Mono {
        let lease = &self.world.fleet.state().policy().lease;
        let told = sent.plus(remaining);
        if n == 0 { told.plus(lease.grace_ms) } else { told.minus(lease.clock_budget_ms) }
    }

    /// Runs that are over by their own clock stop.
    pub fn stop_overdue(&mut self) {
        let now = self.world.now.mono;
        for worker in &mut self.workers {
            if let Hand::Running(lease, gone) = &worker.hand
                && now >= *gone
            {
                worker.hand = Hand::Ending(lease.clone());
            }
        }
    }

    /// Whether the message is for a worker that it does not find as it was: then nothing happens.
    pub fn deliver(&mut self, message: Message) {
        match message {
            Message::Assign(n, lease) => self.assigned(n, lease),
            Message::Revoke(n, fence) => {
                let worker = &mut self.workers[usize::from(n)];
                let (Hand::Starting(lease) | Hand::Running(lease, _) | Hand::Ending(lease)) = &worker.hand
                else {
                    return;
                };
                let Some(handle) = worker.handle.filter(|_| lease.fence == fence) else { return };
                let lease = lease.clone();
                worker.hand = Hand::Ending(lease.clone());
                self.send(Message::Acknowledge(n, handle, lease));
            }
            Message::Told(n, fence, remaining, sent) => {
                let gone = self.gone_at(n, sent, remaining);
                let now = self.world.now.mono;
                let hand = &mut self.workers[usize::from(n)].hand;
                match hand {
                    Hand::Starting(lease) if lease.fence == fence => {
                        *hand = if now < gone {
                            Hand::Running(lease.clone(), gone)
                        } else {
                            Hand::Ending(lease.clone())
                        };
                    }
                    Hand::Running(lease, until) if lease.fence == fence => *until = gone.max(*until),
                    _ => {}
                }
            }
            Message::Start(n, worker, fence, sent) => {
                self.act(n, worker, fence);
                let operation = Start { worker, fence };
                self.ask(&operation, &self.device(n), |ticket| Held::Remaining(n, sent, ticket));
            }
            Message::Renew(n, worker, fence, sent) => {
                self.act(n, worker, fence);
                let operation = Renew { worker, fence };
                self.ask(&operation, &self.device(n), |ticket| Held::Remaining(n, sent, ticket));
            }
            Message::Complete(n, worker, lease) => {
                self.act(n, worker, lease.fence);
                let complete = World::completion(worker, &lease);
                self.ask(&complete, &self.device(n), |ticket| Held::Verdict(n, lease.fence, ticket));
            }
            Message::Acknowledge(n, worker, lease) => {
                let cleanup = Some(World::clean(&lease));
                let acknowledge = AcknowledgeRevocation::new(worker, lease.fence, cleanup, None);
                self.ask(&acknowledge, &self.device(n), |ticket| Held::Verdict(n, lease.fence, ticket));
            }
            Message::Cleanup(n, worker, lease) => {
                let report = ReportCleanup::new(worker, World::clean(&lease), None);
                self.ask(&report, &self.device(n), |ticket| Held::Verdict(n, lease.fence, ticket));
            }
        }
    }

    /// Invariant 6: under a stale fence, or as an older incarnation, nobody can act.
    fn act(&mut self, n: u8, worker: WorkerHandle, fence: Fence) {
        let current = self.view(n).is_some_and(|view| {
            view.handle == worker && view.lease.is_some_and(|lease| lease.fence == fence)
        });
        let live = |lease: &WorkerLease| self.world.now.mono < lease.expires;
        let live = self.view(n).and_then(|view| view.lease).is_some_and(live);
        if current && live {
            return;
        }
        let (principal, now) = (self.device(n), self.world.now);
        let fleet = &self.world.fleet;
        if fleet.decide(&Start { worker, fence }, &principal, None, now).is_ok()
            || fleet.decide(&Renew { worker, fence }, &principal, None, now).is_ok()
        {
            self.break_promise("invariant 6: a stale message is accepted");
        }
    }

    /// An agent takes one lease at a time, and none that is older than one that it has seen.
    fn assigned(&mut self, n: u8, lease: WorkerLease) {
        let now = self.world.now.mono;
        let worker = &mut self.workers[usize::from(n)];
        let Some(handle) = worker.handle else { return };
        if worker.last.as_ref().is_some_and(|last| last.fence >= lease.fence) {
            return;
        }
        // The coordinator would not give another lease if the former one were not over: what ran under it is stopped.
        let fence = lease.fence;
        (worker.hand, worker.last) = (Hand::Starting(lease.clone()), Some(lease));
        self.send(Message::Start(n, handle, fence, now));
    }

    /// What holds in every state, whatever led to it.
    pub fn probe(&mut self) {
        let now = self.world.now.mono;
        for n in 0..self.workers.len() {
            let others = |m: &usize| *m != n;
            let Hand::Running(lease, gone) = &self.workers[n].hand else { continue };
            let run = &lease.terms.run;
            let twice = (0..self.workers.len()).filter(others).any(|m| match &self.workers[m].hand {
                Hand::Running(other, until) => other.terms.run == *run && now < *until && now < *gone,
                _ => false,
            });
            if twice {
                return self.break_promise("invariant 1: two workers act for one run at once");
            }
        }
        if let Err(broken) = self.world.fleet.state().check_invariants() {
            return self.break_promise(broken);
        }
        let state = self.world.fleet.state();
        let outlives = |lease: &WorkerLease| {
            state.worker(&lease.worker).and_then(|view| view.evidence).is_some_and(|evidence| {
                lease.expires > evidence.valid_until_mono.min(evidence.certificate_until_mono)
            })
        };
        if state.live_leases().any(outlives) {
            return self.break_promise("invariant 3: a lease outlives what it hangs on");
        }
        if let Some(gate) = &self.gate
            && let Err(broken) = gate.check(&self.world, &self.promises)
        {
            return self.break_promise(broken);
        }
        self.replays();
    }

    /// What was used once is not used again (invariants 1 and 5), and other devices cannot use it (invariant 6).
    fn replays(&mut self) {
        let fleet = &self.world.fleet;
        let now = self.world.now;
        for grant in self.grants.iter().flatten() {
            let acquire = Acquire::new(World::request(grant.clone()));
            if fleet.decide(&acquire, &World::service(), None, now).is_ok() {
                return self.break_promise("invariant 1: a grant is spent twice");
            }
        }
        for n in 0..u8::try_from(self.workers.len()).unwrap_or(u8::MAX) {
            let worker = &self.workers[usize::from(n)];
            if worker.nonce.as_ref().is_some_and(|nonce| nonce.used)
                && let Some(attest) = self.attestation(n)
                && self.world.fleet.decide(&attest, &self.device(n), None, now).is_ok()
            {
                return self.break_promise("invariant 5: a nonce is used twice");
            }
            if let (Some(worker), Some(lease)) = (worker.handle, &worker.last) {
                let complete = World::completion(worker, lease);
                let stranger = World::device(u32::from(n) + 7);
                if self.world.fleet.decide(&complete, &stranger, None, now).is_ok() {
                    return self.break_promise("invariant 6: another device acts");
                }
            }
        }
    }
}
