//! [`World::step`]: one step of a random sequence, done by who would do it, with what that party was told.

use alloc::vec::Vec;

use super::{
    strategies::{
        CleanupChoice, DEVICES, FleetStep, LeaseStep, NonceChoice, OperatorStep, OutputChoice, Sender,
    },
    told::number_in,
    world::{Outcome, World},
};
use crate::{
    attestation::policy::AttestationPolicyForm,
    capability::CapabilitySet,
    code::{Code, Coded},
    digest::Sha256Digest,
    fleet::{
        AcknowledgeRevocation, Acquire, Challenge, CommandError, CommandId, Complete, Decide, Drain,
        FleetEvent, ForceCleanup, ManageDevice, QuarantineAll, QuarantineWorker, Release, Renew,
        ReportCleanup, Retire, Reverify, RevokeRun, RunOutcome, SetPolicy, Start, Undrain, WorkerFleetPolicy,
        WorkerFleetPolicyForm, WorkerHandle,
    },
    id::ClientId,
    identity::{DeviceCommand, RevocationReason, RevocationSubject},
    lease::{ArtifactReceiver, Inspection, WorkerCleanupReport, WorkerLease, WorkerRunGrant},
    time::{Millis, Now, Wall},
};

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stepped {
    /// It was done, and led to these events.
    Done(Vec<FleetEvent>),
    /// It was refused with this code, which changes nothing.
    Refused(Code),
    /// Nobody can do it: who would was never told what it takes, such as the end of a lease where none was given.
    Idle,
}

/// The last one, or the one before.
fn pick<T: Clone>(all: Option<&Vec<T>>, former: bool) -> Option<T> {
    let all = all?;
    all.get(all.len().checked_sub(if former { 2 } else { 1 })?).or(all.last()).cloned()
}

fn session(client: &str, number: Option<u64>) -> Option<CommandId> {
    number.map(|sequence| CommandId { client: ClientId::new(client).expect("an id"), sequence })
}

/// The policies that [`FleetStep::SetPolicy`] chooses from: the given one, one with shorter times, one that trusts fewer
/// capabilities.
fn policies(given: &WorkerFleetPolicy) -> [WorkerFleetPolicy; 3] {
    let mut shorter = WorkerFleetPolicyForm::from(given.clone());
    let half = |span: Millis| Millis(span.0.div_ceil(2));
    let beat = shorter.liveness.heartbeat_every_ms.plus(Millis(1));
    shorter.liveness.offline_after_ms = half(shorter.liveness.offline_after_ms).max(beat);
    shorter.lease.start_ms = half(shorter.lease.start_ms);
    shorter.lease.acknowledge_ms = half(shorter.lease.acknowledge_ms);
    shorter.runs.max_attempts = shorter.runs.max_attempts.div_ceil(2);
    let mut narrower = WorkerFleetPolicyForm::from(given.clone());
    let mut attestation = AttestationPolicyForm::from(narrower.attestation.clone());
    let trusted = attestation.capabilities.trusted.iter().filter(|name| name.as_str() != "b");
    attestation.capabilities.trusted =
        CapabilitySet::parse(trusted.map(|name| name.as_str())).expect("fewer capabilities");
    narrower.attestation = attestation.try_into().expect("a policy that trusts fewer capabilities");
    let valid = |form: WorkerFleetPolicyForm| form.try_into().expect("a policy like the given one");
    [given.clone(), valid(shorter), valid(narrower)]
}

fn ended<A, E: Coded>(outcome: Result<Outcome<A>, E>) -> Stepped {
    match outcome {
        Ok(outcome) => Stepped::Done(outcome.events),
        Err(error) => Stepped::Refused(error.code()),
    }
}

/// A report, and what an inspection saw.
fn report(lease: &WorkerLease, choice: CleanupChoice) -> (WorkerCleanupReport, Option<Inspection>) {
    let mut report = World::clean(lease);
    let inspection = match choice {
        CleanupChoice::Clean => Some(Inspection::found(0)),
        CleanupChoice::Found => Some(Inspection::found(2)),
        CleanupChoice::Remaining => {
            report.scratch.remaining = 1;
            None
        }
        CleanupChoice::OtherLease => {
            report.lease = Sha256Digest::of(b"another lease");
            None
        }
    };
    (report, inspection)
}

impl World {
    /// A world with [`DEVICES`] registered devices, each with a worker that is available: what the sequences of
    /// [`fleet_steps`](super::strategies::fleet_steps) begin with.
    ///
    /// # Panics
    /// Where the policy contradicts itself, or accepts nobody.
    pub fn populated(rules: impl FnOnce(&mut WorkerFleetPolicyForm)) -> Self {
        let mut world = Self::new(rules);
        for (device, capabilities) in (0..DEVICES).zip(["ab", "a", "abc", "b"]) {
            world.register(device);
            let attest = FleetStep::Attest {
                device,
                worker: device,
                resume: None,
                nonce: NonceChoice::Fresh,
                good: true,
                lifetime: 3_000_000,
                capabilities,
            };
            for step in
                [attest, FleetStep::Heartbeat(Sender { worker: device, former: false, stranger: false })]
            {
                let stepped = world.step(&step);
                assert!(matches!(stepped, Stepped::Done(_)), "{step:?}: {stepped:?}");
            }
        }
        world
    }

    /// Does one step: whoever acts in it says what a real worker, service or operator would say that was told what this one
    /// was. The fleet changes as it would in a service; what the step led to is in the answer, for your own assertions.
    pub fn step(&mut self, step: &FleetStep) -> Stepped {
        match step {
            FleetStep::Pass(millis) => self.pass(*millis),
            FleetStep::ToDeadline(offset) => {
                let Some(at) = self.fleet.next_deadline() else { return Stepped::Idle };
                let at = at.0.saturating_add_signed((*offset).into());
                self.pass(at.saturating_sub(self.now.mono.0));
            }
            FleetStep::Expire => return Stepped::Done(self.expire()),
            FleetStep::Challenge(device) => {
                if let Err(code) = self.nonce(*device) {
                    return Stepped::Refused(code);
                }
            }
            FleetStep::Attest { .. } => return self.step_attest(step),
            FleetStep::Heartbeat(from) => {
                let (worker, device) = self.sender(*from);
                return match self.beat(device, worker) {
                    Ok(events) => Stepped::Done(events),
                    Err(error) => Stepped::Refused(error.code()),
                };
            }
            FleetStep::Acquire { .. } => return self.step_acquire(step),
            FleetStep::Lease { from, former_fence, act } => {
                return self.step_lease(*from, *former_fence, *act);
            }
            FleetStep::RevokeRun { run, former_fence, operator } => {
                let fences = &self.told.fences;
                let fence = pick(fences.get(run), *former_fence)
                    .or_else(|| fences.values().flatten().last().copied());
                let Some(fence) = fence else { return Stepped::Idle };
                let by = if *operator { Self::operator() } else { Self::service() };
                return ended(self.ask(&RevokeRun::new(Self::run_id(*run), fence), &by));
            }
            FleetStep::Operate { act, worker, number } => return self.step_operate(*act, *worker, *number),
            FleetStep::ForceCleanup { worker, former_fence } => {
                let Some(lease) = self.lease_of(*worker, *former_fence) else { return Stepped::Idle };
                let force = ForceCleanup { worker: Self::worker_id(*worker), fence: lease.fence };
                return ended(self.ask(&force, &Self::operator()));
            }
            FleetStep::QuarantineAll => return ended(self.ask(&QuarantineAll {}, &Self::operator())),
            FleetStep::SetPolicy(number) => {
                let [given, shorter, narrower] = policies(&self.founded);
                let policy = match number % 3 {
                    0 => given,
                    1 => shorter,
                    _ => narrower,
                };
                return ended(self.ask(&SetPolicy { policy }, &Self::operator()));
            }
            FleetStep::RevokeDevice(device) => {
                let subject = RevocationSubject::Device(Self::device_id(*device));
                let command = DeviceCommand::Revoke { subject, reason: RevocationReason::KeyCompromise };
                return ended(self.ask(&ManageDevice::new(command), &Self::operator()));
            }
            FleetStep::Checkpoint => drop(self.checkpoint()),
            FleetStep::Crash => self.crash(),
        }
        Stepped::Done(Vec::new())
    }

    fn nonce(&mut self, device: u32) -> Result<Vec<u8>, Code> {
        let asked = self.ask(&Challenge {}, &Self::device(device));
        let nonce = asked.map_err(|error| error.code())?.answer.nonce;
        self.told.nonces.insert(device, nonce.clone());
        Ok(nonce)
    }

    fn sender(&self, from: Sender) -> (WorkerHandle, u32) {
        let unknown = WorkerHandle { slot: 99, generation: 1 };
        let handle = pick(self.told.handles.get(&from.worker), from.former).unwrap_or(unknown);
        let own = self.told.device_of.get(&from.worker).copied().unwrap_or(from.worker % DEVICES);
        (handle, if from.stranger { (own + 1) % DEVICES } else { own })
    }

    fn lease_of(&self, worker: u32, former: bool) -> Option<WorkerLease> {
        // Who was given nothing takes somebody else's.
        let leases = &self.told.leases;
        pick(leases.get(&worker), former).or_else(|| leases.values().flatten().last().cloned())
    }

    fn step_attest(&mut self, step: &FleetStep) -> Stepped {
        let FleetStep::Attest { device, worker, resume, nonce, good, lifetime, capabilities } = step else {
            return Stepped::Idle;
        };
        let (device, worker) = (*device, *worker);
        let known = match nonce {
            NonceChoice::Last => self.told.nonces.get(&device).cloned(),
            NonceChoice::Foreign => self.told.nonces.get(&((device + 1) % DEVICES)).cloned(),
            NonceChoice::Fresh => None,
        };
        let nonce = match known.map_or_else(|| self.nonce(device), Ok) {
            Ok(nonce) => nonce,
            Err(code) => return Stepped::Refused(code),
        };
        let resume = resume.and_then(|named| {
            if named {
                pick(self.told.handles.get(&worker), false)
            } else {
                self.told.by_device.get(&device).copied()
            }
        });
        let mut claims = self.claims(device, capabilities, nonce);
        claims.worker = Self::worker_id(worker);
        claims.expires = self.now.wall.plus(Millis(*lifetime));
        if !good {
            claims.image = Sha256Digest::of(b"another image");
        }
        let attested = self.attest_with(device, &claims, resume);
        if let Ok(Outcome { answer, .. }) = &attested
            && answer.failures.is_empty()
        {
            if resume.is_none() {
                self.told.handles.entry(worker).or_default().push(answer.handle);
            }
            self.told.by_device.insert(device, answer.handle);
            self.told.device_of.insert(worker, device);
        }
        ended(attested)
    }

    fn step_acquire(&mut self, step: &FleetStep) -> Stepped {
        let FleetStep::Acquire { run, capabilities, on, again, grant_lifetime, number, leap } = step else {
            return Stepped::Idle;
        };
        let repeated = self.told.asked.clone().filter(|_| *again);
        let (grant, on, sequence) = repeated.unwrap_or_else(|| {
            let mut terms = self.grant(*run, capabilities).terms().clone();
            terms.expires = self.now.wall.plus(Millis(*grant_lifetime));
            (WorkerRunGrant::mint(terms).expect("a grant"), *on, *number)
        });
        self.told.asked = Some((grant.clone(), on, sequence));
        let mut request = Self::request(grant);
        if let Some(worker) = on {
            request = request.on_worker(Self::worker_id(worker));
        }
        let now = self.now;
        if *leap {
            self.now = Now { mono: now.mono, wall: Wall(now.wall.0 + 86_400_000) };
        }
        let command = session("service", sequence);
        let acquired = self.ask_as(&Acquire::new(request), &Self::service(), command.as_ref());
        self.now = now;
        if let Ok(Outcome { answer, .. }) = &acquired {
            let lease = &answer.lease;
            let (worker, run) = (number_in(lease.worker.as_str()), number_in(lease.terms.run.as_str()));
            self.told.fences.entry(run).or_default().push(lease.fence);
            self.told.leases.entry(worker).or_default().push(lease.clone());
        }
        ended(acquired)
    }

    fn step_lease(&mut self, from: Sender, former_fence: bool, act: LeaseStep) -> Stepped {
        let Some(lease) = self.lease_of(from.worker, former_fence) else { return Stepped::Idle };
        let (worker, device) = self.sender(from);
        let (fence, device) = (lease.fence, Self::device(device));
        match act {
            LeaseStep::Start => ended(self.ask(&Start { worker, fence }, &device)),
            LeaseStep::Renew => ended(self.ask(&Renew { worker, fence }, &device)),
            LeaseStep::Complete { succeeded, outputs, cleanup } => {
                let mut complete: Complete = Self::completion(worker, &lease);
                complete.outcome = if succeeded { RunOutcome::Succeeded } else { RunOutcome::Failed };
                complete.cleanup = None;
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
                if let Some(choice) = cleanup {
                    let (report, inspection) = report(&lease, choice);
                    complete = complete.with_cleanup(report, inspection);
                }
                ended(self.ask(&complete, &device))
            }
            LeaseStep::ReportCleanup(choice) => {
                let (report, inspection) = report(&lease, choice);
                ended(self.ask(&ReportCleanup::new(worker, report, inspection), &device))
            }
            LeaseStep::Acknowledge(choice) => {
                let (report, inspection) = choice
                    .map(|choice| report(&lease, choice))
                    .map_or((None, None), |(report, inspection)| (Some(report), inspection));
                let acknowledge = AcknowledgeRevocation::new(worker, fence, report, inspection);
                ended(self.ask(&acknowledge, &device))
            }
        }
    }

    fn step_operate(&mut self, act: OperatorStep, worker: u32, number: Option<u64>) -> Stepped {
        fn act_on<O: Decide>(world: &mut World, operation: &O, number: Option<u64>) -> Stepped
        where
            O::Error: From<CommandError>,
        {
            let command = session("operator", number);
            ended(world.ask_as(operation, &World::operator(), command.as_ref()))
        }
        let worker = Self::worker_id(worker);
        match act {
            OperatorStep::Quarantine => act_on(self, &QuarantineWorker { worker }, number),
            OperatorStep::Release => act_on(self, &Release { worker }, number),
            OperatorStep::Drain => act_on(self, &Drain { worker }, number),
            OperatorStep::Undrain => act_on(self, &Undrain { worker }, number),
            OperatorStep::Reverify => act_on(self, &Reverify { worker }, number),
            OperatorStep::Retire => act_on(self, &Retire { worker }, number),
        }
    }
}
