//! Who asks: services, workers and an operator, each with one question at a time, which is asked again until it is answered.

use std::collections::VecDeque;

use leasehold::{
    attestation::WorkerClaims,
    fleet::{WorkerHandle, WorkerLifecycleState},
    id::{FleetId, GrantId, IssuerId, ToolId},
    lease::{GrantTerms, WorkerLease, WorkerRunGrant},
    testing::World,
    time::{Millis, Wall},
};

use crate::{
    members::NodeId,
    sim::{
        ask::{Ask, Asker, Reply, Standing},
        random::Random,
    },
};

/// A question that is not answered yet.
#[derive(Clone, Debug)]
pub struct Open {
    /// Its number.
    pub sequence: u64,
    /// What is asked.
    pub ask: Ask,
    /// What others had been answered when it was asked first.
    pub floor: u64,
    /// When it was asked last.
    pub asked: u64,
}

/// One who asks.
pub struct Actor {
    /// Who it is.
    pub asker: Asker,
    /// What it is at.
    pub kind: Kind,
    /// Where it thinks that the leader is.
    pub leader: NodeId,
    /// What it waits for.
    pub open: Option<Open>,
    /// Counts its questions.
    pub sequence: u64,
    /// Not before then.
    pub rest: u64,
    next: VecDeque<Ask>,
}

/// What an actor is at.
pub enum Kind {
    /// Runs, each under a grant of its own.
    Service {
        /// The run of now, and its grant.
        run: Option<Box<WorkerRunGrant>>,
        /// How often it was asked for.
        tries: u32,
        /// Counts grants.
        grants: u64,
        /// A grant that is spent.
        spent: Option<Box<WorkerRunGrant>>,
    },
    /// A worker's node.
    Worker {
        /// Its incarnation.
        handle: Option<WorkerHandle>,
        /// The lease that it had last.
        lease: Option<Box<WorkerLease>>,
        /// What is left to do under it.
        left: u32,
    },
    /// An operator.
    Operator,
    /// One who only looks.
    Reader,
}

/// What actors know of the rest.
pub struct Around<'a> {
    /// The world that the fleet was founded in, for evidence.
    pub world: &'a World,
    /// Leases that somebody was told of, the newest last.
    pub leases: &'a [WorkerLease],
    /// Counts runs.
    pub runs: &'a mut u32,
    /// The true wall clock.
    pub wall: Wall,
    /// How many workers there are.
    pub workers: u32,
}

impl Actor {
    /// An actor that begins with nothing.
    pub fn new(asker: Asker, kind: Kind) -> Self {
        Self { asker, kind, leader: NodeId(1), open: None, sequence: 0, rest: 0, next: VecDeque::new() }
    }

    /// Whether it has nothing more to say that was begun.
    pub fn is_idle(&self) -> bool {
        self.open.is_none()
    }

    /// What it asks next; `winding` begins nothing new.
    pub fn ask(
        &mut self,
        now: u64,
        winding: bool,
        random: &mut Random,
        around: &mut Around<'_>,
    ) -> Option<Ask> {
        if self.rest > now {
            return None;
        }
        if let Some(ask) = self.next.pop_front() {
            return Some(ask);
        }
        if winding {
            return None;
        }
        match &mut self.kind {
            Kind::Reader => {
                self.rest = now + random.range(50, 400);
                Some(Ask::Read)
            }
            Kind::Operator => {
                self.rest = now + random.range(500, 6_000);
                let worker =
                    World::worker_id(u32::try_from(random.below(around.workers.into())).unwrap_or(0));
                Some(match random.below(8) {
                    0 => Ask::Drain(worker),
                    1 | 2 => Ask::Undrain(worker),
                    3 => Ask::Quarantine(worker),
                    4 | 5 => Ask::Release(worker),
                    _ => {
                        let recent = around.leases.len().saturating_sub(3);
                        Ask::Revoke(random.pick(&around.leases[recent..])?.clone())
                    }
                })
            }
            Kind::Worker { handle, .. } => {
                self.rest = now + random.range(400, 1_000);
                Some(handle.map_or(Ask::Challenge, Ask::Beat))
            }
            Kind::Service { run, tries, grants, spent } => {
                if random.percent(10)
                    && let Some(spent) = spent
                {
                    return Some(Ask::Acquire(spent.as_ref().clone()));
                }
                if *tries > 6 {
                    *run = None;
                }
                let grant = match run {
                    Some(grant) => grant.as_ref().clone(),
                    None => {
                        *around.runs += 1;
                        *tries = 0;
                        *grants += 1;
                        let grant = grant(self.asker.actor, *grants, *around.runs, around.wall);
                        *run = Some(Box::new(grant.clone()));
                        grant
                    }
                };
                *tries += 1;
                Some(Ask::Acquire(grant))
            }
        }
    }

    /// Hears an answer.
    pub fn hear(&mut self, now: u64, ask: &Ask, reply: &Reply, random: &mut Random, around: &Around<'_>) {
        match &mut self.kind {
            Kind::Reader | Kind::Operator => {}
            Kind::Service { run, grants, spent, .. } => match reply {
                Reply::Acquired(acquired, _) => {
                    if let Ask::Acquire(grant) = ask {
                        *spent = Some(Box::new(grant.clone()));
                    }
                    self.rest = now + random.range(200, 1_500);
                    *run = None;
                    // Another attempt at the same run, which is refused while the first one goes on and once it has ended.
                    if random.percent(30) {
                        *grants += 1;
                        let id = acquired.lease.terms.run.as_str();
                        let number = id.rsplit('-').next().and_then(|n| n.parse().ok()).unwrap_or(0);
                        *run = Some(Box::new(grant(self.asker.actor, *grants, number, around.wall)));
                    }
                }
                _ => self.rest = now + random.range(200, 900),
            },
            Kind::Worker { handle, lease, left } => match reply {
                Reply::Nonce(nonce) => {
                    let n = self.asker.worker.unwrap_or(0);
                    let mut claims: WorkerClaims = around.world.claims(n, "a", nonce.clone());
                    claims.issued = around.wall;
                    claims.expires = around.wall.plus(Millis::from_secs(3_000));
                    self.next.push_back(Ask::Attest(Box::new(claims), *handle));
                }
                Reply::Attested(new) => {
                    *handle = Some(*new);
                    self.next.push_back(Ask::Beat(*new));
                }
                Reply::Stands(standing) => {
                    *handle = Some(standing.handle);
                    if let Some(now) = &standing.lease
                        && lease.as_ref().is_none_or(|former| former.fence != now.fence)
                    {
                        *lease = Some(Box::new(now.clone()));
                        *left = u32::try_from(random.below(5)).unwrap_or(0);
                    }
                    let next = plan(standing, lease.as_deref(), left);
                    self.next.extend(next);
                }
                Reply::Refused(code) if code.0 == "worker.stale_handle" => *handle = None,
                _ => {}
            },
        }
    }
}

/// What a worker does about how it stands.
fn plan(standing: &Standing, lease: Option<&WorkerLease>, left: &mut u32) -> Vec<Ask> {
    let Standing { state, owes, handle, .. } = standing;
    let mut next = Vec::new();
    match (state, &standing.lease) {
        (WorkerLifecycleState::Assigned, Some(lease)) => next.push(Ask::Start(*handle, lease.fence)),
        (WorkerLifecycleState::Running, Some(lease)) if *left > 0 => {
            *left -= 1;
            next.push(Ask::Renew(*handle, lease.fence));
        }
        (WorkerLifecycleState::Running, Some(lease)) => next.push(Ask::Complete(*handle, lease.clone())),
        (WorkerLifecycleState::CleaningUp, Some(lease)) => {
            next.push(Ask::Cleanup(*handle, World::clean(lease)));
        }
        (WorkerLifecycleState::Revoking, Some(lease)) => next.push(Ask::Acknowledge(*handle, lease.clone())),
        (_, Some(lease)) => next.push(Ask::Complete(*handle, lease.clone())),
        (WorkerLifecycleState::Available | WorkerLifecycleState::Draining, None) => {}
        _ => {
            if let (Some(debt), Some(lease)) = (owes, lease)
                && debt.cleanup
                && debt.fence == lease.fence
            {
                next.push(Ask::Cleanup(*handle, World::clean(lease)));
            }
            next.push(Ask::Challenge);
        }
    }
    next
}

fn grant(actor: usize, number: u64, run: u32, wall: Wall) -> WorkerRunGrant {
    let terms = GrantTerms {
        id: GrantId::new(&format!("grant-{actor}-{number}")).expect("an id"),
        fleet: FleetId::new("fleet").expect("an id"),
        issuer: IssuerId::new("service").expect("an id"),
        run: World::run_id(run),
        tool: ToolId::new("tool").expect("an id"),
        capabilities: World::capabilities("a"),
        issued: wall.minus(Millis(1_000)),
        expires: wall.plus(Millis::from_secs(7_200)),
    };
    WorkerRunGrant::mint(terms).expect("a grant")
}
