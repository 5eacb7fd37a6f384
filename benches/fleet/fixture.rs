//! A fleet of any size: every worker attested and heard, nine of ten at work, 32 capability classes.

use std::time::{Duration, Instant};

use leasehold::{
    attestation::EvidenceForm,
    digest::Sha256Digest,
    fleet::*,
    id::{DeviceId, GrantId, IssuerId, RunId, ToolId, WorkerId},
    identity::{DeviceCertificate, DeviceCommand, DeviceKind},
    lease::{
        Fence, GrantTerms, RelativePath, WorkerLease, WorkerLeaseRequest, WorkerRunGrant, WorkspaceScope,
    },
    testing::World,
    time::{Millis, Wall},
};

use crate::allocator;

/// Operations between two looks at the clock; fewer than the smallest fleet has idle workers.
pub const BATCH: usize = 32;

pub fn rules(form: &mut WorkerFleetPolicyForm) {
    form.lease.ttl_max_ms = Millis::from_secs(900);
    form.lease.start_ms = Millis::from_secs(2_000);
    form.liveness.offline_after_ms = Millis::from_secs(2_900);
    let limits = &mut form.limits;
    (limits.workers, limits.devices, limits.nonces) = (2_000_000, 2_000_000, 2_000_000);
    (limits.runs, limits.grants) = (64_000_000, 64_000_000);
    limits.retired_memory_ms = Millis(1);
}

/// A capability set of the 32 that hold `a`.
pub fn letters(n: usize) -> String {
    let rest = "bcdef".chars().enumerate().filter(|(bit, _)| n >> bit & 1 == 1).map(|(_, letter)| letter);
    ["a"].into_iter().map(String::from).chain(rest.map(String::from)).collect()
}

/// xorshift64*: the same workers in the same order in every run.
pub struct Random(pub u64);

impl Default for Random {
    fn default() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }
}

impl Random {
    pub fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).unwrap() % n
    }
}

/// What the measured parts took.
#[derive(Clone, Default)]
pub struct Meter {
    /// What is run here only prepares a measurement.
    aside: bool,
    pub spent: Duration,
    pub allocations: u64,
    pub operations: u64,
    /// Nanoseconds for each operation, batch by batch.
    each: Vec<f64>,
}

/// Callgrind counts what happens in here and nothing else.
#[inline(never)]
fn measured_region<T>(act: impl FnOnce() -> T) -> T {
    act()
}

impl Meter {
    pub fn aside() -> Self {
        Self { aside: true, ..Self::default() }
    }

    /// Runs `act`, which is `operations` operations.
    pub fn measure<T>(&mut self, operations: usize, act: impl FnOnce() -> T) -> T {
        if self.aside {
            return act();
        }
        let calls = allocator::calls();
        let began = Instant::now();
        let out = measured_region(act);
        let spent = began.elapsed();
        self.allocations += allocator::calls() - calls;
        self.spent += spent;
        self.operations += operations as u64;
        self.each.push(spent.as_secs_f64() * 1e9 / operations as f64);
        out
    }

    /// What an operation takes in the batch in the middle: one that was interrupted says nothing about the fleet.
    pub fn median(&self) -> f64 {
        let mut each = self.each.clone();
        each.sort_by(f64::total_cmp);
        each.get(each.len() / 2).copied().unwrap_or_default()
    }
}

/// A worker as its connection knows it.
pub struct Peer {
    pub id: WorkerId,
    pub handle: WorkerHandle,
    pub principal: Principal,
    pub lease: Option<Fence>,
}

pub struct Fixture {
    pub world: World,
    pub peers: Vec<Peer>,
    pub busy: Vec<usize>,
    pub random: Random,
    /// Devices that are paired and have no worker.
    pub spare: Vec<usize>,
    /// What the fleet takes for each idle worker.
    pub bytes_per_worker: u64,
    terms: GrantTerms,
    workspace: WorkspaceScope,
    service: Principal,
    runs: u32,
}

/// An id of 32 bytes.
fn id(kind: &str, n: usize) -> String {
    format!("{kind}-{n:0width$}", width = 31 - kind.len())
}

pub fn worker_id(n: usize) -> WorkerId {
    WorkerId::new(&id("worker", n)).unwrap()
}

fn device_id(n: usize) -> DeviceId {
    DeviceId::new(&id("device", n)).unwrap()
}

fn certificate(n: usize) -> Sha256Digest {
    Sha256Digest::of(format!("certificate {n}").as_bytes())
}

pub fn device(n: usize) -> Principal {
    Principal::Device { device: device_id(n), certificate: certificate(n) }
}

impl Fixture {
    pub fn new(size: usize) -> Self {
        let mut world = World::new(rules);
        let terms = world.grant(0, "a").terms().clone();
        let path = |text| RelativePath::new(text).unwrap();
        let workspace = WorkspaceScope::new(path("run"), [path("out")]).unwrap();
        let mut fixture = Self {
            world,
            peers: Vec::with_capacity(size),
            busy: Vec::with_capacity(size),
            random: Random::default(),
            spare: (size..size + BATCH).collect(),
            bytes_per_worker: 0,
            terms,
            workspace,
            service: World::service(),
            runs: 0,
        };
        let mut handles = Vec::with_capacity(size);
        let before = allocator::live();
        for n in 0..size {
            fixture.pair(n);
            let attest = fixture.evidence(n, None);
            let handle = fixture.world.ask(&attest, &device(n)).unwrap().answer.handle;
            fixture.beat_at_once(handle, &device(n));
            handles.push(handle);
            // Slowly, so that spent nonces are forgotten on the way as they are in a fleet that grew.
            fixture.world.pass((1_000_000 / size).clamp(1, 400) as u64);
        }
        fixture.drain();
        fixture.bytes_per_worker = (allocator::live() - before) / size as u64;
        for (n, handle) in handles.into_iter().enumerate() {
            // As a connection has it: the device's id is the registry's own, found by the certificate.
            let devices = fixture.world.fleet.state().devices();
            let device = devices.by_certificate(&certificate(n)).unwrap().0.device().clone();
            let principal = Principal::Device { device, certificate: certificate(n) };
            fixture.peers.push(Peer { id: worker_id(n), handle, principal, lease: None });
        }
        for n in fixture.spare.clone() {
            fixture.pair(n);
        }
        for _ in 0..size * 9 / 10 {
            let ask = fixture.ask(900);
            let acquired = fixture.world.ask(&ask, &World::service()).unwrap().answer;
            let slot = fixture.start(&acquired);
            fixture.busy.push(slot);
        }
        fixture.world.pass(1);
        fixture.drain();
        fixture.world.expire();
        // Everybody was heard once as they are now: what follows is the steady state.
        for n in 0..size {
            let (handle, principal) = (fixture.peers[n].handle, fixture.peers[n].principal.clone());
            fixture.beat_at_once(handle, &principal);
        }
        fixture
    }

    /// What was accepted goes to the journal, where nobody looks at it.
    pub fn drain(&mut self) {
        self.world.write();
        self.world.journal.clear();
    }

    fn pair(&mut self, n: usize) {
        let key = Sha256Digest::of(format!("key {n}").as_bytes());
        let certificate = DeviceCertificate::new(certificate(n), key, Wall(0), Wall::NEVER).unwrap();
        let command = DeviceCommand::Register { device: device_id(n), kind: DeviceKind::Worker, certificate };
        self.world.ask(&ManageDevice::new(command), &World::operator()).unwrap();
    }

    /// Evidence of worker `n` over a fresh nonce.
    pub fn evidence(&mut self, n: usize, resume: Option<WorkerHandle>) -> Attest {
        let nonce = self.world.ask(&Challenge {}, &device(n)).unwrap().answer.nonce;
        let mut claims = self.world.claims(0, &letters(n), nonce);
        (claims.worker, claims.device, claims.certificate) = (worker_id(n), device_id(n), certificate(n));
        self.world.journal.clear();
        Attest {
            evidence: claims.to_document(),
            nonce: claims.nonce,
            form: EvidenceForm::Json,
            attachments: Vec::new(),
            resume,
        }
    }

    pub fn beat_at_once(&mut self, handle: WorkerHandle, principal: &Principal) {
        if let Some(change) = self.world.fleet.heartbeat(handle, principal, self.world.now).unwrap() {
            self.world.finish(change);
        }
    }

    /// A request for a run of its own, with the capabilities of one class.
    pub fn ask(&mut self, ttl: u64) -> Acquire {
        self.runs += 1;
        // Few idle workers have everything: where not many are left, the request is one that all can serve.
        let available = self.world.fleet.state().counts().available;
        let class = if available > 64 * 32 { self.random.below(32) } else { 0 };
        let capabilities = World::capabilities(&letters(class));
        let terms = GrantTerms {
            id: GrantId::new(&id("grant", self.runs as usize)).unwrap(),
            issuer: IssuerId::new("bench").unwrap(),
            run: RunId::new(&id("run", self.runs as usize)).unwrap(),
            tool: ToolId::new("tool").unwrap(),
            capabilities: capabilities.clone(),
            issued: self.world.now.wall,
            expires: self.world.now.wall.plus(Millis::from_secs(7_200)),
            ..self.terms.clone()
        };
        let tool = terms.tool.clone();
        let grant = WorkerRunGrant::mint(terms).unwrap();
        let ttl = Millis::from_secs(ttl);
        Acquire::new(WorkerLeaseRequest::new(grant, tool, capabilities, ttl, self.workspace.clone()).unwrap())
    }

    /// The worker begins the run; gives which one it is.
    pub fn start(&mut self, acquired: &Acquired) -> usize {
        let at = usize::try_from(acquired.worker.slot).unwrap();
        let start = Start { worker: acquired.worker, fence: acquired.lease.fence };
        self.world.ask(&start, &self.peers[at].principal).unwrap();
        self.world.journal.clear();
        self.peers[at].lease = Some(acquired.lease.fence);
        at
    }

    /// Leases `BATCH` runs, decided and accepted in the meter; not started.
    pub fn acquire(&mut self, meter: &mut Meter, ttl: u64) -> Vec<(WorkerHandle, WorkerLease)> {
        let asks: Vec<_> = (0..BATCH).map(|_| self.ask(ttl)).collect();
        let mut tickets = Vec::with_capacity(BATCH);
        let (fleet, now, service) = (&mut self.world.fleet, self.world.now, &self.service);
        meter.measure(BATCH, || {
            for ask in &asks {
                let prepared = fleet.decide(ask, service, None, now).unwrap();
                tickets.push(fleet.accept(prepared).unwrap());
            }
        });
        self.drain();
        let redeem = |ticket: Ticket<Acquired>| {
            let acquired = ticket.redeem(&self.world.fleet).unwrap().answer;
            (acquired.worker, acquired.lease)
        };
        tickets.into_iter().map(redeem).collect()
    }

    /// Gives the leases back, decided and accepted in the meter.
    pub fn complete(&mut self, meter: &mut Meter, leases: &[(WorkerHandle, WorkerLease)]) {
        let mut completions = Vec::new();
        for (worker, lease) in leases {
            let acquired = Acquired { worker: *worker, lease: lease.clone() };
            let at = self.start(&acquired);
            completions.push((self.peers[at].principal.clone(), World::completion(*worker, lease)));
        }
        let mut tickets = Vec::with_capacity(BATCH);
        let (fleet, now) = (&mut self.world.fleet, self.world.now);
        meter.measure(leases.len(), || {
            for (principal, completion) in &completions {
                let prepared = fleet.decide(completion, principal, None, now).unwrap();
                tickets.push(fleet.accept(prepared).unwrap());
            }
        });
        self.drain();
        for ticket in tickets {
            assert_eq!(ticket.redeem(&self.world.fleet).unwrap().answer, Verdict::Clean);
        }
    }

    /// A random worker, as its connection has it in hand: the arguments are warm, what the fleet knows is not.
    pub fn anybody(&mut self) -> (WorkerHandle, Principal) {
        let at = self.random.below(self.peers.len());
        (self.peers[at].handle, self.peers[at].principal.clone())
    }

    /// A random worker that runs something.
    pub fn somebody_busy(&mut self) -> (Renew, Principal) {
        let at = self.busy[self.random.below(self.busy.len())];
        let peer = &self.peers[at];
        (Renew { worker: peer.handle, fence: peer.lease.unwrap() }, peer.principal.clone())
    }
}
