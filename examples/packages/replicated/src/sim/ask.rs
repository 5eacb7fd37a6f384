//! What simulated clients ask, and how a node answers: decided by the leader, and answered when that is committed.

use leasehold::{
    attestation::{EvidenceForm, WorkerClaims},
    code::Coded,
    fleet::*,
    id::{ClientId, WorkerId},
    lease::{Fence, WorkerCleanupReport, WorkerLease, WorkerRunGrant},
    testing::World,
    time::Now,
};

use crate::code::Code;

/// A question.
#[derive(Clone, Debug)]
pub enum Ask {
    /// A lease under this grant.
    Acquire(WorkerRunGrant),
    /// The run begins.
    Start(WorkerHandle, Fence),
    /// More time.
    Renew(WorkerHandle, Fence),
    /// The run is over.
    Complete(WorkerHandle, WorkerLease),
    /// The lease that was taken back is given back.
    Acknowledge(WorkerHandle, WorkerLease),
    /// Cleanup that was owed.
    Cleanup(WorkerHandle, WorkerCleanupReport),
    /// A nonce for evidence.
    Challenge,
    /// Evidence.
    Attest(Box<WorkerClaims>, Option<WorkerHandle>),
    /// I am here; how do I stand?
    Beat(WorkerHandle),
    /// Where is the fleet?
    Read,
    /// Operator's acts.
    Drain(WorkerId),
    /// The end of draining.
    Undrain(WorkerId),
    /// Distrust.
    Quarantine(WorkerId),
    /// An operator's part of trust.
    Release(WorkerId),
    /// Takes the lease of a run back, whatever it is.
    Revoke(WorkerLease),
}

/// How a worker stands, as a leader sees it.
#[derive(Clone, Debug)]
pub struct Standing {
    /// Its condition.
    pub state: WorkerLifecycleState,
    /// What it owes.
    pub owes: Option<Debt>,
    /// Its lease.
    pub lease: Option<WorkerLease>,
    /// Its incarnation.
    pub handle: WorkerHandle,
}

/// An answer.
#[derive(Clone, Debug)]
pub enum Reply {
    /// A lease, and the fence of it that is passed on.
    Acquired(Box<Acquired>, Fence),
    /// A nonce.
    Nonce(Vec<u8>),
    /// An incarnation.
    Attested(WorkerHandle),
    /// To a heartbeat.
    Stands(Box<Standing>),
    /// To a read: where the fleet is at least.
    At(u64),
    /// It is done.
    Done,
    /// It is refused, and this is final unless something changes.
    Refused(Code),
}

/// An answer that waits for its record.
pub struct Held {
    /// Whose.
    pub to: (usize, u64),
    redeem: Redeem,
    /// The record that has to be committed.
    pub id: LogId,
}

/// Gives the answer, where the manager lets it go.
type Redeem = Box<dyn FnOnce(&WorkerFleetManager) -> Option<Reply>>;

impl Held {
    /// The answer; `None` where its ticket is not redeemed.
    pub fn redeem(self, manager: &WorkerFleetManager) -> Option<Reply> {
        (self.redeem)(manager)
    }
}

/// What a leader says at once.
pub enum Outcome {
    /// Later.
    Held(Held),
    /// Refused: to be said once a quorum has confirmed the lead.
    Refused(Code),
    /// Now.
    Now(Reply),
}

fn decided<O: Decide>(
    fleet: &mut WorkerFleetManager,
    operation: &O,
    principal: &Principal,
    command: &CommandId,
    now: Now,
    to: (usize, u64),
    reply: impl FnOnce(O::Answer) -> Reply + 'static,
) -> Outcome
where
    O::Error: From<CommandError> + Coded,
    O::Answer: 'static,
{
    let prepared = match fleet.decide(operation, principal, Some(command), now) {
        Ok(prepared) => prepared,
        Err(error) => return Outcome::Refused(error.code().into()),
    };
    match fleet.accept(prepared) {
        Ok(ticket) => {
            let id = ticket.id();
            let redeem = move |manager: &WorkerFleetManager| {
                ticket.redeem(manager).ok().map(|released| reply(released.answer))
            };
            Outcome::Held(Held { to, redeem: Box::new(redeem), id })
        }
        Err(error) => Outcome::Refused(error.code().into()),
    }
}

/// Who asks, as the device or under the name that an actor has.
#[derive(Clone, Debug)]
pub struct Asker {
    /// Its place among the actors.
    pub actor: usize,
    /// The device, of a worker.
    pub worker: Option<u32>,
}

/// Has the leader decide.
pub fn decide(fleet: &mut WorkerFleetManager, asker: &Asker, sequence: u64, ask: &Ask, now: Now) -> Outcome {
    let to = (asker.actor, sequence);
    let Ok(client) = ClientId::new(&format!("actor-{}", asker.actor)) else {
        return Outcome::Refused(Code("client"));
    };
    let command = &CommandId { client, sequence };
    let principal = match (asker.worker, ask) {
        (Some(n), _) => World::device(n),
        (None, Ask::Acquire(_)) => World::service(),
        (None, _) => World::operator(),
    };
    let (by, done) = (&principal, |_: Managed| Reply::Done);
    match ask {
        Ask::Acquire(grant) => {
            let acquire = Acquire::new(World::request(grant.clone()));
            decided(fleet, &acquire, by, command, now, to, |acquired| {
                let fence = acquired.lease.fence;
                Reply::Acquired(Box::new(acquired), fence)
            })
        }
        Ask::Start(worker, fence) => {
            let start = Start { worker: *worker, fence: *fence };
            decided(fleet, &start, by, command, now, to, |_| Reply::Done)
        }
        Ask::Renew(worker, fence) => {
            let renew = Renew { worker: *worker, fence: *fence };
            decided(fleet, &renew, by, command, now, to, |_| Reply::Done)
        }
        Ask::Complete(worker, lease) => {
            decided(fleet, &World::completion(*worker, lease), by, command, now, to, |_| Reply::Done)
        }
        Ask::Acknowledge(worker, lease) => {
            let report = World::clean(lease);
            let acknowledge = AcknowledgeRevocation::new(*worker, lease.fence, Some(report), None);
            decided(fleet, &acknowledge, by, command, now, to, |_| Reply::Done)
        }
        Ask::Cleanup(worker, report) => {
            let report = ReportCleanup::new(*worker, report.clone(), None);
            decided(fleet, &report, by, command, now, to, |_| Reply::Done)
        }
        Ask::Challenge => {
            let prepared = match fleet.decide(&Challenge {}, by, None, now) {
                Ok(prepared) => prepared,
                Err(error) => return Outcome::Refused(error.code().into()),
            };
            match fleet.accept(prepared) {
                Ok(ticket) => {
                    let id = ticket.id();
                    let redeem = move |manager: &WorkerFleetManager| {
                        ticket.redeem(manager).ok().map(|released| Reply::Nonce(released.answer.nonce))
                    };
                    Outcome::Held(Held { to, redeem: Box::new(redeem), id })
                }
                Err(error) => Outcome::Refused(error.code().into()),
            }
        }
        Ask::Attest(claims, resume) => {
            let attest = Attest {
                nonce: claims.nonce.clone(),
                form: EvidenceForm::Json,
                evidence: claims.to_document(),
                attachments: Vec::new(),
                resume: *resume,
            };
            decided(fleet, &attest, by, command, now, to, |attested| match attested.failures.first() {
                None => Reply::Attested(attested.handle),
                Some(_) => Reply::Refused(Code("attest.failures")),
            })
        }
        Ask::Beat(worker) => {
            match fleet.heartbeat(*worker, by, now) {
                Ok(None) => {}
                Ok(Some(prepared)) => drop(fleet.accept(prepared)),
                Err(error) => return Outcome::Now(Reply::Refused(error.code().into())),
            }
            let stands =
                asker.worker.and_then(|n| fleet.state().worker(&World::worker_id(n))).map(|view| Standing {
                    state: view.state,
                    owes: view.owes,
                    lease: view.lease.cloned(),
                    handle: view.handle,
                });
            match stands {
                Some(standing) => Outcome::Now(Reply::Stands(Box::new(standing))),
                None => Outcome::Now(Reply::Refused(Code("worker.unknown"))),
            }
        }
        Ask::Read => Outcome::Refused(Code("read")),
        Ask::Drain(worker) => decided(fleet, &Drain { worker: worker.clone() }, by, command, now, to, done),
        Ask::Undrain(worker) => {
            decided(fleet, &Undrain { worker: worker.clone() }, by, command, now, to, done)
        }
        Ask::Quarantine(worker) => {
            decided(fleet, &QuarantineWorker { worker: worker.clone() }, by, command, now, to, done)
        }
        Ask::Release(worker) => {
            decided(fleet, &Release { worker: worker.clone() }, by, command, now, to, done)
        }
        Ask::Revoke(lease) => {
            let revoke = RevokeRun::new(lease.terms.run.clone(), lease.fence);
            decided(fleet, &revoke, by, command, now, to, |_| Reply::Done)
        }
    }
}
