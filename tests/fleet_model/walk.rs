//! The walk: one fleet, one model, and everything that those outside were told.

use super::*;

/// The rules of the walk, in seconds, so that its steps straddle them.
pub(super) fn rules(form: &mut WorkerFleetPolicyForm) {
    form.lease.ttl_max_ms = Millis(40_000);
    form.lease.renew_every_ms = Millis(10_000);
    form.lease.longest_ms = Millis(100_000);
    form.challenge_ttl_ms = Millis(20_000);
    form.limits.retired_memory_ms = Millis(100_000);
    form.limits.window = 1;
    form.liveness.brake_min_workers = 3;
}

/// Another policy: everything is shorter.
pub(super) fn shorter(form: &mut WorkerFleetPolicyForm) {
    rules(form);
    form.liveness.offline_after_ms = Millis(12_000);
    form.lease.start_ms = Millis(5_000);
    form.lease.acknowledge_ms = Millis(4_000);
    form.lease.ttl_max_ms = Millis(20_000);
    form.runs.max_attempts = 2;
}

/// Another policy: workers with one of the capabilities are not let in any more.
pub(super) fn narrower(form: &mut WorkerFleetPolicyForm) {
    rules(form);
    let mut attestation = AttestationPolicyForm::from(form.attestation.clone());
    attestation.capabilities.trusted = World::capabilities("acdefgh");
    form.attestation = attestation.try_into().expect("a policy");
}

const RULES: [fn(&mut WorkerFleetPolicyForm); strategies::POLICIES as usize] = [rules, shorter, narrower];

pub(super) fn policy(number: u8) -> WorkerFleetPolicy {
    World::policy(RULES[usize::from(number)])
}

pub(super) fn bits(letters: &str) -> u8 {
    letters.bytes().fold(0, |set, letter| set | 1 << (letter - b'a'))
}

pub(super) fn plain(fence: Fence) -> naive::Fence {
    (fence.epoch.0, fence.counter)
}

/// The last one, or the one before.
pub(super) fn pick<T: Clone>(all: Option<&Vec<T>>, former: bool) -> Option<T> {
    let all = all?;
    all.get(all.len().checked_sub(if former { 2 } else { 1 })?).or(all.last()).cloned()
}

/// What a handle stands for: where it is in the fleet, and whose it is in the model.
pub(super) type Handle = (WorkerHandle, u32, u64);

/// A remembered operation: what it was, and what was answered.
pub(super) type Sessions = BTreeMap<&'static str, (u64, BTreeMap<u64, (String, String)>)>;

/// The fleet, the model, and what everybody outside was told.
pub(super) struct Walk {
    pub(super) world: World,
    pub(super) model: Model,
    pub(super) handles: BTreeMap<u32, Vec<Handle>>,
    pub(super) by_device: BTreeMap<u32, Handle>,
    pub(super) incarnations: BTreeSet<WorkerHandle>,
    pub(super) device_of: BTreeMap<u32, u32>,
    pub(super) leases: BTreeMap<u32, Vec<WorkerLease>>,
    pub(super) fences: BTreeMap<u32, Vec<Fence>>,
    pub(super) nonces: BTreeMap<u32, (Vec<u8>, naive::Nonce)>,
    pub(super) asked: Option<(WorkerRunGrant, Ask, Option<u64>)>,
    pub(super) grants: u64,
    pub(super) sessions: Sessions,
    /// The largest fence that anybody ever saw.
    pub(super) top: Option<Fence>,
    /// Until when the last holder of a run believes in its lease; `None` once it gave it up.
    pub(super) holders: BTreeMap<u32, Option<Mono>>,
    pub(super) seen: BTreeMap<String, u32>,
}

impl Walk {
    pub(super) fn new() -> Self {
        let world = World::new(rules);
        let model = Model::new(world.now.mono.0, world.fleet.state().epoch().0, policy(0).into());
        let mut walk = Self {
            world,
            model,
            handles: BTreeMap::new(),
            by_device: BTreeMap::new(),
            incarnations: BTreeSet::new(),
            device_of: BTreeMap::new(),
            leases: BTreeMap::new(),
            fences: BTreeMap::new(),
            nonces: BTreeMap::new(),
            asked: None,
            grants: 0,
            sessions: BTreeMap::new(),
            top: None,
            holders: BTreeMap::new(),
            seen: BTreeMap::new(),
        };
        for device in 0..DEVICES {
            walk.world.register(device);
        }
        for (worker, capabilities) in [(0, "ab"), (1, "a"), (2, "abc"), (3, "b")] {
            walk.step(&FleetStep::Attest {
                device: worker,
                worker,
                resume: None,
                nonce: NonceChoice::Fresh,
                good: true,
                lifetime: 3_000_000,
                capabilities,
            });
            walk.step(&FleetStep::Heartbeat(Sender { worker, former: false, stranger: false }));
        }
        walk
    }

    /// Does `act` on the fleet and compares the outcome with what the model said.
    ///
    /// Invariant 8: a refusal changes nothing.
    pub(super) fn same<A: Debug, M: Debug, E: Coded + Debug>(
        &mut self,
        what: &str,
        expected: Result<M, naive::Code>,
        act: impl FnOnce(&mut World) -> Result<A, E>,
    ) -> Option<(A, M)> {
        let before = self.world.fleet.state().clone();
        let outcome = act(&mut self.world);
        match (outcome, expected) {
            (Ok(answer), Ok(expected)) => {
                self.saw(what);
                Some((answer, expected))
            }
            (Err(error), Err(code)) if error.code().as_str() == code => {
                assert!(*self.world.fleet.state() == before, "{what}: a refusal changed something");
                self.saw(code);
                None
            }
            (outcome, expected) => panic!("{what}: {outcome:?}, and the model says {expected:?}"),
        }
    }

    pub(super) fn saw(&mut self, what: &str) {
        *self.seen.entry(what.into()).or_default() += 1;
    }

    pub(super) fn sender(&self, from: Sender) -> (WorkerHandle, u32, naive::Sender) {
        let unknown = (WorkerHandle { slot: 99, generation: 1 }, from.worker, 0);
        let (handle, worker, incarnation) =
            pick(self.handles.get(&from.worker), from.former).unwrap_or(unknown);
        let own = self.device_of.get(&from.worker).copied().unwrap_or(from.worker % DEVICES);
        let device = if from.stranger { (own + 1) % DEVICES } else { own };
        (handle, device, naive::Sender { worker, incarnation, device })
    }

    pub(super) fn step(&mut self, step: &FleetStep) {
        match step {
            FleetStep::Pass(millis) => self.world.pass(*millis),
            FleetStep::ToDeadline(offset) => {
                if let Some(at) = self.world.fleet.next_deadline() {
                    let at = at.0.saturating_add_signed((*offset).into());
                    self.world.pass(at.saturating_sub(self.world.now.mono.0));
                }
            }
            _ => {}
        }
        self.model.now = self.world.now.mono.0;
        match step {
            FleetStep::Pass(_) | FleetStep::ToDeadline(_) => {}
            FleetStep::Expire => {
                self.world.expire();
                self.model.expire();
                let next = self.world.fleet.next_deadline();
                assert!(next.is_none_or(|at| at > self.world.now.mono), "{next:?} is left undone");
            }
            FleetStep::Challenge(device) => {
                self.challenge(*device);
            }
            FleetStep::Attest { .. } => self.attest(step),
            FleetStep::Heartbeat(from) => {
                let (handle, device, sender) = self.sender(*from);
                let expected = self.model.heartbeat(sender);
                self.same("heartbeat", expected, |world| world.beat(device, handle));
            }
            FleetStep::Acquire { .. } => self.acquire(step),
            FleetStep::Lease { from, former_fence, act } => self.under_lease(*from, *former_fence, *act),
            FleetStep::RevokeRun { run, former_fence, operator } => {
                let Some(fence) = pick(self.fences.get(run), *former_fence)
                    .or_else(|| self.fences.values().flatten().last().copied())
                else {
                    return;
                };
                let (principal, why) = if *operator {
                    (World::operator(), LossReason::Operator)
                } else {
                    (World::service(), LossReason::Service)
                };
                let expected = self.model.revoke_run(*run, plain(fence), why);
                let revoke = RevokeRun::new(World::run_id(*run), fence);
                self.same("revoke", expected, |world| world.ask(&revoke, &principal));
            }
            FleetStep::Operate { act, worker, number } => self.operate(*act, *worker, *number),
            FleetStep::ForceCleanup { worker, former_fence } => {
                let Some(lease) = self.lease_of(*worker, *former_fence) else { return };
                let expected = self.model.force_cleanup(*worker, plain(lease.fence));
                let force = ForceCleanup { worker: World::worker_id(*worker), fence: lease.fence };
                self.same("force cleanup", expected, |world| world.ask(&force, &World::operator()));
            }
            FleetStep::QuarantineAll => {
                self.model.quarantine_all();
                self.same("quarantine all", Ok(()), |world| world.ask(&QuarantineAll {}, &World::operator()));
            }
            FleetStep::SetPolicy(number) => {
                self.model.set_policy(policy(*number).into());
                let set = SetPolicy { policy: policy(*number) };
                self.same("set policy", Ok(()), |world| world.ask(&set, &World::operator()));
            }
            FleetStep::RevokeDevice(device) => {
                let subject = RevocationSubject::Device(World::device_id(*device));
                let command = DeviceCommand::Revoke { subject, reason: RevocationReason::KeyCompromise };
                let expected = self.model.revoke_device(*device);
                let manage = ManageDevice::new(command);
                self.same("revoke device", expected, |world| world.ask(&manage, &World::operator()));
            }
            FleetStep::Checkpoint => drop(self.world.checkpoint()),
            FleetStep::Crash => self.crash(),
        }
        self.compare();
    }

    pub(super) fn challenge(&mut self, device: u32) -> Option<(Vec<u8>, naive::Nonce)> {
        let expected = self.model.challenge(device);
        let (outcome, nonce) =
            self.same("challenge", expected, |world| world.ask(&Challenge {}, &World::device(device)))?;
        assert!(outcome.events.is_empty(), "a stranger cannot make the coordinator write");
        self.nonces.insert(device, (outcome.answer.nonce.clone(), nonce));
        Some((outcome.answer.nonce, nonce))
    }

    /// What a session says to this number: the answer of then, a refusal, or nothing.
    pub(super) fn remembered(
        &self,
        client: &'static str,
        number: Option<u64>,
        content: &str,
    ) -> Option<Result<String, naive::Code>> {
        let number = number?;
        let (base, entries) = self.sessions.get(client)?;
        match entries.get(&number) {
            Some((before, answer)) if before == content => Some(Ok(answer.clone())),
            Some(_) => Some(Err("command.id_conflict")),
            None if number < *base => Some(Err("command.too_old")),
            None => None,
        }
    }

    pub(super) fn remember(
        &mut self,
        client: &'static str,
        number: Option<u64>,
        content: String,
        answer: String,
    ) {
        let Some(number) = number else { return };
        let window = self.world.fleet.state().policy().limits.window as usize;
        let (base, entries) = self.sessions.entry(client).or_default();
        entries.insert(number, (content, answer));
        while entries.len() > window {
            let (lowest, _) = entries.pop_first().expect("an entry");
            *base = (*base).max(lowest + 1);
        }
    }

    /// Invariant 8: what the journal folds to is what was live, whether it begins at a snapshot or at the beginning.
    pub(super) fn crash(&mut self) {
        let setup = || Setup::new([7; 64], Sha256Digest::of(b"coordinator"), Box::new(DefaultVerifier));
        let epoch = Epoch(self.world.fleet.state().epoch().0 + 1);
        let recover = |snapshot: Option<&[u8]>, journal: &[u8]| {
            WorkerFleetManager::recover(snapshot, journal, setup(), epoch, self.world.now).expect("a journal")
        };
        let live = self.world.fleet.snapshot().expect("everything is written");
        let (live, folded) = (recover(Some(&live), &[]), recover(None, &self.world.journal));
        assert!(live.state() == folded.state(), "the journal does not fold to the live state");
        assert_eq!(live.state().digest(), folded.state().digest());
        let last = self.world.fleet.state().last().mono.0;
        self.world.crash();
        assert!(self.world.fleet.state() == folded.state(), "snapshot and rest are not the whole");
        self.model.crash(last);
    }
}
