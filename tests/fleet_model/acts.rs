//! Evidence, leases, and acts under leases: done to the fleet and to the model.

use super::{walk::*, *};

impl Walk {
    pub(super) fn attest(&mut self, step: &FleetStep) {
        let FleetStep::Attest { device, worker, resume, nonce, good, lifetime, capabilities } = step else {
            return;
        };
        let (device, worker) = (*device, *worker);
        let nonce = match nonce {
            NonceChoice::Last => self.nonces.get(&device).cloned(),
            NonceChoice::Foreign => self.nonces.get(&((device + 1) % DEVICES)).cloned(),
            NonceChoice::Fresh => None,
        };
        let Some((bytes, nonce)) = nonce.or_else(|| self.challenge(device)) else { return };
        let resume = resume.and_then(|named| {
            if named { pick(self.handles.get(&worker), false) } else { self.by_device.get(&device).copied() }
        });
        let mut claims = self.world.claims(device, capabilities, bytes);
        claims.worker = World::worker_id(worker);
        claims.expires = self.world.now.wall.plus(Millis(*lifetime));
        if !good {
            claims.image = Sha256Digest::of(b"another image");
        }
        let evidence = naive::Evidence {
            good: *good,
            until: self.world.now.mono.0 + lifetime,
            capabilities: bits(capabilities),
        };
        let from = resume.map(|(_, worker, incarnation)| naive::Sender { worker, incarnation, device });
        let expected = self.model.attest(device, worker, from, nonce, &evidence);
        let handle = resume.map(|(handle, ..)| handle);
        let attested = self.same("attest", expected, |world| world.attest_with(device, &claims, handle));
        let Some((outcome, incarnation)) = attested else { return };
        let answer = outcome.answer;
        let id = answer.handle.slot;
        let now = self.world.fleet.state().workers().find(|view| view.handle.slot == id).expect("a worker");
        assert_eq!((answer.state, answer.owes), (now.state, now.owes), "the answer shows another worker");
        assert_eq!(answer.handle, now.handle);
        assert_eq!(answer.failures.is_empty(), incarnation.is_some());
        let Some(incarnation) = incarnation else { return };
        if resume.is_none() {
            // Invariant 6: no handle is ever used for a second incarnation.
            assert!(self.incarnations.insert(answer.handle), "{:?} was in use before", answer.handle);
            self.handles.entry(worker).or_default().push((answer.handle, worker, incarnation));
        }
        self.by_device.insert(device, (answer.handle, worker, incarnation));
        self.device_of.insert(worker, device);
    }

    pub(super) fn acquire(&mut self, step: &FleetStep) {
        let FleetStep::Acquire { run, capabilities, on, again, grant_lifetime, number, leap } = step else {
            return;
        };
        let repeated = self.asked.clone().filter(|_| *again);
        let (grant, ask, number) = repeated.unwrap_or_else(|| {
            self.grants += 1;
            let mut terms = self.world.grant(*run, capabilities).terms().clone();
            terms.expires = self.world.now.wall.plus(Millis(*grant_lifetime));
            let ask = Ask {
                run: *run,
                grant: self.grants,
                grant_ends: self.world.now.mono.0 + grant_lifetime,
                capabilities: bits(capabilities),
                ttl: 30_000,
                on: *on,
            };
            (WorkerRunGrant::mint(terms).expect("a grant"), ask, *number)
        });
        self.asked = Some((grant.clone(), ask.clone(), number));
        let mut request = World::request(grant);
        if let Some(worker) = ask.on {
            request = request.on_worker(World::worker_id(worker));
        }
        let remembered = self.remembered("service", number, &format!("{ask:?}"));
        let expected = match &remembered {
            Some(Ok(_)) => Ok(None),
            Some(Err(code)) => Err(*code),
            None if *leap => Err("time.wall_leap"),
            None => self.model.acquire(&ask).map(Some),
        };
        let acquire = Acquire::new(request);
        let command = command("service", number);
        let now = self.world.now;
        if *leap {
            self.world.now = Now { mono: now.mono, wall: Wall(now.wall.0 + 86_400_000) };
        }
        let outcome = self
            .same("acquire", expected, |world| world.ask_as(&acquire, &World::service(), command.as_ref()));
        self.world.now = now;
        let Some((outcome, expected)) = outcome else { return };
        let answer = format!("{:?}", outcome.answer);
        let Some((worker, expected)) = expected else {
            assert_eq!(Some(Ok(answer)), remembered, "a repeat is answered as before");
            assert!(outcome.events.is_empty() && outcome.effects.is_empty(), "a repeat does nothing");
            self.saw("repeat");
            return;
        };
        self.remember("service", number, format!("{ask:?}"), answer);
        let lease = outcome.answer.lease;
        assert_eq!(lease.worker, World::worker_id(worker), "least recently used first");
        assert_eq!(Some(outcome.answer.worker), pick(self.handles.get(&worker), false).map(|(h, ..)| h));
        assert_eq!(
            (lease.granted.0, lease.expires.0, lease.horizon.0, lease.attempt),
            (expected.granted, expected.expires, expected.horizon, expected.attempt)
        );
        // Invariant 2, over the whole history: a fence is larger than every one before.
        assert!(Some(lease.fence) > self.top, "{} after {:?}", lease.fence, self.top);
        assert_eq!(plain(lease.fence), expected.fence);
        self.top = Some(lease.fence);
        // Invariant 1, over the whole history: the last holder gave the run up, or cannot believe in it any more.
        let grace = self.world.fleet.state().policy().lease.grace_ms;
        if let Some(Some(believed)) = self.holders.insert(ask.run, Some(lease.expires)) {
            assert!(
                believed.plus(grace) <= now.mono,
                "the last holder believes in its lease until {believed}"
            );
        }
        self.fences.entry(ask.run).or_default().push(lease.fence);
        self.leases.entry(worker).or_default().push(lease);
    }

    pub(super) fn lease_of(&self, worker: u32, former: bool) -> Option<WorkerLease> {
        // Who was given nothing takes somebody else's.
        pick(self.leases.get(&worker), former).or_else(|| self.leases.values().flatten().last().cloned())
    }

    pub(super) fn under_lease(&mut self, from: Sender, former_fence: bool, act: LeaseStep) {
        let Some(lease) = self.lease_of(from.worker, former_fence) else { return };
        let (worker, device, sender) = self.sender(from);
        let (fence, device) = (lease.fence, World::device(device));
        let run: u32 =
            lease.terms.run.as_str().trim_start_matches("run-").parse().expect("a run of the walk");
        match act {
            LeaseStep::Start => {
                let expected = self.model.start(sender, plain(fence));
                let start = Start { worker, fence };
                if let Some((outcome, left)) = self.same("start", expected, |w| w.ask(&start, &device)) {
                    assert_eq!(outcome.answer.remaining, Millis(left));
                }
            }
            LeaseStep::Renew => {
                let expected = self.model.renew(sender, plain(fence));
                let renew = Renew { worker, fence };
                if let Some((outcome, left)) = self.same("renew", expected, |w| w.ask(&renew, &device)) {
                    assert_eq!(outcome.answer.remaining, Millis(left));
                    // Invariant 3: never past what ends first.
                    let (granted, longest) =
                        (lease.granted, self.world.fleet.state().policy().lease.longest_ms);
                    assert!(self.world.now.mono.plus(Millis(left)) <= granted.plus(longest));
                    self.holders.insert(run, Some(self.world.now.mono.plus(Millis(left))));
                }
            }
            LeaseStep::Complete { succeeded, outputs, cleanup } => {
                let outcome = if succeeded { RunOutcome::Succeeded } else { RunOutcome::Failed };
                let mut complete = World::completion(worker, &lease);
                (complete.outcome, complete.cleanup) = (outcome, None);
                match outputs {
                    OutputChoice::Fine => {}
                    OutputChoice::Lie => complete.claim.log = Sha256Digest::of(b"another log"),
                    OutputChoice::Excess => {
                        let mut receiver = ArtifactReceiver::new(1);
                        receiver.log(b"x").expect("a byte");
                        complete.received = receiver.finish().expect("a log");
                        complete.claim.log = complete.received.log();
                    }
                }
                let outputs = match outputs {
                    OutputChoice::Fine => naive::Outputs::Fine,
                    OutputChoice::Lie => naive::Outputs::Lie,
                    OutputChoice::Excess => naive::Outputs::Excess,
                };
                let reported = cleanup.map(|cleanup| report(&lease, cleanup));
                let worth = reported.as_ref().map(|(_, _, worth)| *worth);
                if let Some((report, inspection, _)) = reported {
                    complete = complete.with_cleanup(report, inspection);
                }
                let expected = self.model.complete(sender, plain(fence), outcome, outputs, worth);
                self.verdict("complete", expected, &complete, &device, Some(run));
            }
            LeaseStep::ReportCleanup(cleanup) => {
                let (report, inspection, worth) = report(&lease, cleanup);
                let expected = self.model.report_cleanup(sender, plain(fence), worth);
                let report = ReportCleanup::new(worker, report, inspection);
                self.verdict("report cleanup", expected, &report, &device, None);
            }
            LeaseStep::Acknowledge(cleanup) => {
                let reported = cleanup.map(|cleanup| report(&lease, cleanup));
                let worth = reported.as_ref().map(|(_, _, worth)| *worth);
                let expected = self.model.acknowledge(sender, plain(fence), worth);
                let (report, inspection) = reported.map_or((None, None), |(r, i, _)| (Some(r), i));
                let acknowledge = AcknowledgeRevocation::new(worker, fence, report, inspection);
                self.verdict("acknowledge", expected, &acknowledge, &device, Some(run));
            }
        }
    }

    pub(super) fn verdict<O>(
        &mut self,
        what: &str,
        expected: Result<Verdict, naive::Code>,
        operation: &O,
        device: &Principal,
        gives_up: Option<u32>,
    ) where
        O: Decide<Answer = Verdict, Error = LeaseError>,
    {
        let Some((outcome, verdict)) = self.same(what, expected, |world| world.ask(operation, device)) else {
            return;
        };
        assert_eq!(outcome.answer, verdict);
        self.saw(&format!("{what}: {verdict:?}"));
        if let Some(run) =
            gives_up.filter(|_| !matches!(verdict, Verdict::OutputRefused | Verdict::OutputExcess))
        {
            self.holders.insert(run, None);
        }
    }

    pub(super) fn operate(&mut self, act: OperatorStep, worker: u32, number: Option<u64>) {
        let content = format!("{act:?} {worker}");
        let expected = match self.remembered("operator", number, &content) {
            Some(Ok(answer)) => Ok(Some(answer)),
            Some(Err(code)) => Err(code),
            None => match act {
                OperatorStep::Quarantine => self.model.quarantine_worker(worker),
                OperatorStep::Release => self.model.release(worker),
                OperatorStep::Drain => self.model.drain(worker, true),
                OperatorStep::Undrain => self.model.drain(worker, false),
                OperatorStep::Reverify => self.model.reverify(worker),
                OperatorStep::Retire => self.model.retire(worker),
            }
            .map(|_| None),
        };
        let (id, by) = (World::worker_id(worker), World::operator());
        let number_of = command("operator", number);
        let ask = |world: &mut World| match act {
            OperatorStep::Quarantine => {
                world.ask_as(&QuarantineWorker { worker: id }, &by, number_of.as_ref())
            }
            OperatorStep::Release => world.ask_as(&Release { worker: id }, &by, number_of.as_ref()),
            OperatorStep::Drain => world.ask_as(&Drain { worker: id }, &by, number_of.as_ref()),
            OperatorStep::Undrain => world.ask_as(&Undrain { worker: id }, &by, number_of.as_ref()),
            OperatorStep::Reverify => world.ask_as(&Reverify { worker: id }, &by, number_of.as_ref()),
            OperatorStep::Retire => world.ask_as(&Retire { worker: id }, &by, number_of.as_ref()),
        };
        let Some((outcome, repeated)) = self.same(&format!("{act:?}"), expected, ask) else { return };
        let answer = format!("{:?}", outcome.answer);
        match repeated {
            Some(before) => assert_eq!(answer, before, "a repeat is answered as before"),
            None => {
                assert_eq!(outcome.answer.state, Some(self.model.view(worker)));
                self.remember("operator", number, content, answer);
            }
        }
    }
}

pub(super) fn command(client: &str, number: Option<u64>) -> Option<CommandId> {
    number.map(|sequence| CommandId { client: ClientId::new(client).expect("an id"), sequence })
}

/// A report, what an inspection saw, and what it is worth.
pub(super) fn report(
    lease: &WorkerLease,
    choice: CleanupChoice,
) -> (WorkerCleanupReport, Option<Inspection>, Result<(), naive::Code>) {
    let mut report = World::clean(lease);
    match choice {
        CleanupChoice::Clean => (report, Some(Inspection::found(0)), Ok(())),
        CleanupChoice::Remaining => {
            report.scratch.remaining = 1;
            (report, None, Err("cleanup.remaining"))
        }
        CleanupChoice::Found => (report, Some(Inspection::found(2)), Err("cleanup.found")),
        CleanupChoice::OtherLease => {
            report.lease = Sha256Digest::of(b"another lease");
            (report, None, Err("cleanup.other_lease"))
        }
    }
}
