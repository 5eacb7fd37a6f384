//! One thing after the other, and what must be so after each; then the calm phase.

use alloc::{collections::VecDeque, format, string::String, vec::Vec};

use super::{
    parts::{Happening, Peer, PeerInput, Simulation},
    report::{Breach, Broken, Counts, Report, breach},
    terms,
};
use crate::{
    coordinator::{ConnectionId, CoordinatorInput},
    fleet::{UsedOnce, WorkerLifecycleState},
    lease::Inspection,
    testing::World,
    time::Millis,
};

impl Simulation {
    /// Lets this many things happen, with everything going wrong that can.
    ///
    /// # Errors
    /// [`Broken`]: a promise does not hold. The simulation is of no use then.
    pub fn run(&mut self, steps: u64) -> Result<(), Broken> {
        for _ in 0..steps {
            self.step()?;
        }
        Ok(())
    }

    /// From here on nothing goes wrong any more: the network delivers, clocks are right, workers do what is asked of them,
    /// hostile ones are gone, and an operator undoes what an operator did. Ends when every worker that is left works
    /// again, every run has ended, once, and every enforcement point knows so.
    ///
    /// # Errors
    /// [`Broken`]: a promise does not hold, or something does not come to its end in a time that is generous by the policy.
    pub fn calm(&mut self) -> Result<Report, Broken> {
        self.begin_calm();
        let rules = &self.policy;
        let spans = [
            rules.lease.longest_ms.min(Millis(rules.lease.ttl_max_ms.0.saturating_mul(10))),
            rules.lease.grace_ms,
            rules.lease.start_ms,
            rules.lease.acknowledge_ms,
            rules.liveness.offline_after_ms,
            rules.liveness.brake_hold_ms,
            rules.limits.admission_window_ms,
        ];
        let round = spans.into_iter().fold(Millis::ZERO, Millis::plus).0;
        let attempts = u64::from(rules.runs.max_attempts).min(20);
        let longest = round.saturating_mul(attempts + 4).saturating_add(self.largest_jump * 4);
        let until = self.at.saturating_add(longest);
        while !self.is_well() {
            if self.at > until {
                let why = self.what_is_left();
                return Err(self.broken(Breach(None, format!("after {longest} ms of calm: {why}"))));
            }
            self.step()?;
        }
        Ok(self.report())
    }

    /// What the simulation was so far.
    pub fn report(&self) -> Report {
        let mut counts = self.counts.clone();
        counts.add(self.watch.counts());
        Report { seed: self.seed, simulated_ms: self.at, trace: self.trace, counts }
    }

    fn broken(&self, Breach(invariant, what): Breach) -> Broken {
        Broken { seed: self.seed, step: self.counts.steps, at_ms: self.at, invariant, what }
    }

    /// The next thing happens, and everything that must be so is looked at.
    fn step(&mut self) -> Result<(), Broken> {
        self.counts.steps += 1;
        let Some(happening) = self.next() else {
            return Err(self.broken(Breach(None, String::from("nothing happens any more"))));
        };
        self.happen(happening);
        let sound = self.check();
        self.hold(sound);
        match self.broken.take() {
            Some(breach) => Err(self.broken(breach)),
            None => Ok(()),
        }
    }

    fn happen(&mut self, happening: Happening) {
        // What is for a process that stands still waits.
        let for_coordinator = match &happening {
            Happening::CoordinatorDue(_)
            | Happening::Written(_)
            | Happening::Inspected(..)
            | Happening::Connect(_)
            | Happening::Local => true,
            Happening::Bytes { up, .. } | Happening::Ended { up, .. } => *up,
            _ => false,
        };
        if for_coordinator && let Some(waiting) = &mut self.paused {
            waiting.push_back(happening);
            return;
        }
        match happening {
            Happening::CoordinatorDue(number) => {
                if self.is_due(number) {
                    self.tell(CoordinatorInput::Timeout);
                }
            }
            Happening::PeerDue(at, number) => {
                if self.is_peer_due(at, number) {
                    self.drive(at, PeerInput::Timeout);
                }
            }
            Happening::Bytes { wire, up, bytes } => self.arrive(wire, up, &bytes),
            Happening::Ended { wire, up } => self.end(wire, up),
            Happening::Connect(at) => self.connect(at),
            Happening::Written(epoch) => self.written(epoch),
            Happening::Inspected(epoch, inspection) if epoch == self.epoch => {
                let found = self.calm || !self.random.one_in(8);
                let found = found.then(|| Inspection::found(0));
                self.tell(CoordinatorInput::Inspected { inspection, found });
            }
            Happening::Inspected(..) => {}
            Happening::Resume(epoch) => self.resume(epoch),
            Happening::Restart => {
                if self.process.is_none() {
                    let begun = self.begin_process();
                    self.hold(begun);
                }
            }
            Happening::Local => {
                if self.is_up() {
                    if self.calm {
                        self.mend();
                    }
                    self.ask_for_leases();
                }
                self.ask_later();
            }
            Happening::Strike if !self.calm => self.strike(),
            Happening::Strike => {}
            Happening::Calm => self.network.delay = (self.beat() / 10).max(1),
        }
    }

    /// What came while the process stood still comes now, in its order.
    fn resume(&mut self, epoch: u64) {
        if epoch != self.epoch {
            return;
        }
        let waiting: VecDeque<Happening> = self.paused.take().unwrap_or_default();
        for happening in waiting {
            self.happen(happening);
        }
    }

    fn written(&mut self, epoch: u64) {
        let Some(process) = self.process.as_mut().filter(|_| epoch == self.epoch) else { return };
        let Some(batch) = process.writing.take() else { return };
        if !process.write(&batch) {
            self.broken.get_or_insert(breach(8, "a disk without a fault does not take a batch"));
            return;
        }
        self.note("written", batch.last.index, &batch.bytes);
        self.watch.lasts(self.at);
        self.tell(CoordinatorInput::Durable(batch.last));
    }

    fn arrive(&mut self, wire: ConnectionId, up: bool, bytes: &[u8]) {
        if !self.arrives(wire, up) {
            return;
        }
        let peer = self.network.wires[&wire].peer;
        self.counts.bytes += bytes.len() as u64;
        self.note(if up { "up" } else { "down" }, wire.0, bytes);
        if up {
            if let Some(process) = &self.process {
                let device = World::device_id(self.peers[peer].number());
                self.watch.heard.insert(device, process.clock.now(self.at).mono);
            }
            self.tell(CoordinatorInput::Received { connection: wire, bytes });
        } else {
            // What has arrived was taken.
            if self.is_up() && self.network.wires[&wire].open_at_coordinator {
                self.tell(CoordinatorInput::Sent { connection: wire, bytes: bytes.len() });
            }
            self.drive(peer, PeerInput::Received(bytes));
        }
    }

    /// One end of a connection learns that it is over.
    fn end(&mut self, id: ConnectionId, up: bool) {
        let Some(wire) = self.network.wires.get_mut(&id) else { return };
        let peer = wire.peer;
        if up && core::mem::take(&mut wire.open_at_coordinator) {
            self.tell(CoordinatorInput::Closed { connection: id });
        } else if !up && core::mem::take(&mut wire.open_at_peer) {
            self.drive(peer, PeerInput::Closed);
            self.reconnect(peer);
        }
        self.network.sweep(id);
    }

    fn connect(&mut self, at: usize) {
        if self.network.of_peer(at).is_some() || self.calm && self.hostile == Some(at) {
            return;
        }
        if !self.is_up() {
            return self.reconnect(at);
        }
        self.counts.connections += 1;
        let id = self.network.open(at);
        let (n, turn) = match &self.peers[at] {
            Peer::Worker(worker) => (worker.n, worker.turn),
            Peer::Enforcement(point) => (point.n, 0),
        };
        self.note("connect", n.into(), &[]);
        let leaf = terms::leaf(n, turn);
        if let Some(process) = &self.process {
            self.watch.heard.insert(World::device_id(n), process.clock.now(self.at).mono);
        }
        self.tell(CoordinatorInput::Connected { connection: id, leaf: &leaf });
        if self.network.wires.get(&id).is_some_and(|wire| wire.open_at_peer) {
            self.drive(at, PeerInput::Connected);
        }
    }

    /// What must be so after every step, by true time and by what each party really does.
    fn check(&self) -> Result<(), Breach> {
        let acting: Vec<_> = self
            .peers
            .iter()
            .filter_map(|peer| match peer {
                Peer::Worker(worker) => worker.acting.as_ref().map(|acting| (worker.n, acting)),
                Peer::Enforcement(_) => None,
            })
            .collect();
        for (at, (n, one)) in acting.iter().enumerate() {
            if let Some((other, second)) = acting.iter().skip(at + 1).find(|(_, other)| other.run == one.run)
            {
                let (run, first, second) = (&one.run, one.fence, second.fence);
                let what = format!(
                    "{run} goes on at worker {n} under {first}, and at worker {other} under {second}"
                );
                return Err(breach(1, what));
            }
        }
        self.peers.iter().try_for_each(|peer| match peer {
            Peer::Enforcement(point) => self.check_point(point),
            Peer::Worker(_) => Ok(()),
        })
    }

    /// Invariants 9 and 12: no permit for a lease that is over for longer than a view may be stale, and none for the former
    /// lease of a run that was leased again.
    fn check_point(&self, point: &super::enforcement::Enforcement) -> Result<(), Breach> {
        let now = point.clock.now(self.at);
        let stale = self.policy.lease.max_staleness_ms.0;
        // The point's own clock may run slow.
        let stale = stale + stale * self.drift / 900_000 + 2;
        for (fence, since) in &self.watch.over_since {
            if self.at - since > stale && point.gate.check(*fence, now).is_ok() {
                let late = self.at - since;
                return Err(breach(12, format!("lease {fence} is live in a view, and over for {late} ms")));
            }
        }
        for wanted in &self.requests.runs {
            let mut live =
                self.watch.leases_of(&wanted.run).filter(|fence| point.gate.check(*fence, now).is_ok());
            if let (Some(one), Some(other)) = (live.next(), live.next()) {
                return Err(breach(9, format!("{} may act under {one} and under {other}", wanted.run)));
            }
        }
        Ok(())
    }

    fn begin_calm(&mut self) {
        self.calm = true;
        self.note("calm", 0, &[]);
        self.network.delay = 5;
        for wire in self.network.wires.values_mut() {
            wire.stalled_until = 0;
        }
        self.ahead = 0;
        self.drift = 0;
        let at = self.at;
        for peer in &mut self.peers {
            peer.clock().correct(at);
            if let Peer::Worker(worker) = peer {
                worker.habits.bad = 0;
            }
        }
        if let Some(process) = &mut self.process {
            process.clock.correct(at);
        }
        if let Some(id) = self.hostile.and_then(|at| self.network.of_peer(at)) {
            self.cut(id);
        }
        self.resume(self.epoch);
        for at in 0..self.peers.len() {
            self.drive(at, PeerInput::Timeout);
        }
        self.tell(CoordinatorInput::Timeout);
    }

    /// The peers that have to converge, with how the fleet sees them.
    fn honest(&self) -> impl Iterator<Item = (u32, Option<WorkerLifecycleState>)> + '_ {
        let state = self.process.as_ref().map(|process| process.coordinator.fleet().state());
        self.peers.iter().enumerate().filter_map(move |(at, peer)| match peer {
            Peer::Worker(worker) if self.hostile != Some(at) => {
                let view = state.and_then(|state| state.worker(&World::worker_id(worker.n)));
                Some((worker.n, view.map(|view| view.state)))
            }
            _ => None,
        })
    }

    /// Where every worker is used once, there may be nobody left for what remains.
    fn may_run_out(&self) -> bool {
        self.policy.workers.used_once != UsedOnce::Nobody
    }

    fn is_well(&self) -> bool {
        use WorkerLifecycleState as State;
        let settled = |state: Option<State>| matches!(state, Some(State::Available | State::Retired));
        let used_up = self.may_run_out() && self.honest().any(|(_, state)| state == Some(State::Retired));
        let ended = self.requests.runs.iter().all(|wanted| self.watch.has_ended(&wanted.run));
        let synced = |peer: &Peer| match peer {
            Peer::Enforcement(point) => {
                let now = point.clock.now(self.at);
                point.gate.view().epoch().0 == self.epoch
                    && self.watch.fences().all(|fence| point.gate.check(fence, now).is_err())
            }
            Peer::Worker(worker) => worker.acting.is_none(),
        };
        self.is_up()
            && (ended || used_up)
            && self.honest().all(|(_, state)| settled(state))
            && self.peers.iter().all(synced)
    }

    fn what_is_left(&self) -> String {
        let runs: Vec<_> = self
            .requests
            .runs
            .iter()
            .filter(|wanted| !self.watch.has_ended(&wanted.run))
            .map(|wanted| format!("{} is {:?}", wanted.run, self.run_state(&wanted.run)))
            .collect();
        let workers: Vec<_> = self.honest().map(|(n, state)| format!("worker {n} is {state:?}")).collect();
        let points: Vec<_> = self
            .peers
            .iter()
            .filter_map(|peer| match peer {
                Peer::Enforcement(point) => Some(format!("a view is of {}", point.gate.view().epoch())),
                Peer::Worker(_) => None,
            })
            .collect();
        let refused = self.requests.last_refusal();
        format!(
            "{}; {}; {}; the last refusal was {refused}",
            runs.join(", "),
            workers.join(", "),
            points.join(", ")
        )
    }
}

/// What many simulations were, together.
#[must_use]
pub fn total<'a>(reports: impl IntoIterator<Item = &'a Report>) -> (u64, Counts) {
    let mut counts = Counts::default();
    let mut simulated = 0_u64;
    for report in reports {
        counts.add(&report.counts);
        simulated = simulated.saturating_add(report.simulated_ms);
    }
    (simulated, counts)
}
