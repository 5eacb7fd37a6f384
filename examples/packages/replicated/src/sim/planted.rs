//! Mistakes that the simulation has to find, and a machine that can make those of a machine.

use leasehold::{
    attestation::signature::DefaultVerifier,
    digest::{FieldHasher, Sha256Digest},
    fleet::{Drain, FleetEvent, Follower, LogId, Setup, Term, WorkerFleetManager},
    lease::Epoch,
    testing::World,
    time::{Millis, Mono, Now},
};

use crate::{
    code::Code,
    fleet::{Fleet, FleetLeader},
    machine::{Failed, Leader, Machine, Proposal, Refused},
};

/// A mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// A node speaks before what it says lasts.
    SpeaksEarly,
    /// Some nodes' disks lose what they called synced when power is lost.
    LosesDisk,
    /// A leader answers with a fence of its own counter.
    OwnFence,
    /// One node decides where it should only fold.
    DecidesAlone,
    /// A leader answers reads from its state without asking a quorum.
    ReadsAlone,
    /// Snapshots leave out which grants are spent.
    ForgetsGrants,
    /// A leader answers when it has decided, not when that is committed.
    AnswersEarly,
}

impl Bug {
    /// All of them, with their names.
    pub const ALL: [(&'static str, Self); 7] = [
        ("speaks-early", Self::SpeaksEarly),
        ("loses-disk", Self::LosesDisk),
        ("own-fence", Self::OwnFence),
        ("decides-alone", Self::DecidesAlone),
        ("reads-alone", Self::ReadsAlone),
        ("forgets-grants", Self::ForgetsGrants),
        ("answers-early", Self::AnswersEarly),
    ];
}

/// What every coordinator of a simulated fleet is set up with.
pub fn setup() -> Setup {
    Setup::new([7; 64], Sha256Digest::of(b"coordinator"), Box::new(DefaultVerifier))
}

/// A fleet's replica, with or without a mistake in it.
#[derive(Clone)]
pub struct SimMachine {
    fleet: Fleet,
    bug: Option<Bug>,
    alone: bool,
}

/// What decides while it leads.
pub struct SimLeader {
    leader: FleetLeader,
    bug: Option<Bug>,
    alone: bool,
}

impl SimMachine {
    /// An empty replica; `alone` is the one that [`Bug::DecidesAlone`] means.
    pub fn new(hold: Millis, key: u8, bug: Option<Bug>, alone: bool) -> Self {
        Self { fleet: Fleet::new(setup, hold, [key; 16]), bug, alone }
    }

    /// The replica.
    pub fn follower(&self) -> &Follower {
        self.fleet.follower()
    }

    fn decide_alone(&mut self, entry: &[u8]) {
        let mut after = self.fleet.follower().clone();
        let mut granted = false;
        let folded = after.apply_with(entry, |record| {
            granted |= record.events.iter().any(|event| matches!(event, FleetEvent::LeaseGranted { .. }));
        });
        if folded.is_err() || !granted {
            return;
        }
        let Some(state) = after.state() else { return };
        let (epoch, now) = (Epoch(state.epoch().0 + 1), state.last());
        let Ok(mut manager) = WorkerFleetManager::lead(after, setup(), Term::new(epoch, Millis(0)), now)
        else {
            return;
        };
        let drain = Drain { worker: World::worker_id(0) };
        if let Ok(prepared) = manager.decide(&drain, &World::operator(), None, now) {
            let _ticket = manager.accept(prepared);
        }
        if let Some(batch) = manager.propose() {
            let _ = manager.committed(batch.last);
        }
        if let Ok(follower) = manager.step_down() {
            self.fleet = self.fleet.with(follower);
        }
    }
}

impl SimLeader {
    /// What decides.
    pub fn manager(&self) -> &WorkerFleetManager {
        self.leader.manager()
    }

    /// What decides.
    pub fn manager_mut(&mut self) -> &mut WorkerFleetManager {
        self.leader.manager_mut()
    }
}

/// The same chunks in one chain, without those that hold spent grants.
fn forget_grants(snapshot: &[u8]) -> Vec<u8> {
    const GRANTS: u8 = 4;
    let link = |version: u8, former: Sha256Digest, body: &[u8]| {
        FieldHasher::new("fleet-snapshot.v3")
            .number(version.into())
            .field(former.as_bytes())
            .field(body)
            .finish()
    };
    let (mut rest, mut out) = (snapshot, Vec::new());
    let mut chain = FieldHasher::new("fleet-snapshot.v3").finish();
    while let Some((length, tail)) = rest.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*length) as usize;
        let (frame, tail) = tail.split_at(length);
        rest = tail;
        let (version, body) = (frame[0], &frame[1..length - 32]);
        if body.first() == Some(&GRANTS) {
            continue;
        }
        chain = link(version, chain, body);
        out.extend_from_slice(&(length as u32).to_be_bytes());
        out.push(version);
        out.extend_from_slice(body);
        out.extend_from_slice(chain.as_bytes());
    }
    out
}

fn spoil(snapshot: Vec<u8>, bug: Option<Bug>) -> Vec<u8> {
    if bug == Some(Bug::ForgetsGrants) { forget_grants(&snapshot) } else { snapshot }
}

impl Machine for SimMachine {
    type Leader = SimLeader;

    fn apply(&mut self, entry: &[u8]) -> Result<(), Refused> {
        if self.bug == Some(Bug::DecidesAlone) && self.alone {
            let before = self.follower().at();
            self.decide_alone(entry);
            if self.follower().at() != before {
                return Ok(());
            }
        }
        self.fleet.apply(entry)
    }

    fn line(&self) -> Mono {
        self.fleet.line()
    }

    fn snapshot(&self) -> Result<Vec<u8>, Code> {
        Ok(spoil(self.fleet.snapshot()?, self.bug))
    }

    fn load(&self, snapshot: &[u8]) -> Result<Self, Code> {
        Ok(Self { fleet: self.fleet.load(snapshot)?, bug: self.bug, alone: self.alone })
    }

    fn lead(self, epoch: u64, now: Now) -> Result<SimLeader, Failed<Self>> {
        let Self { fleet, bug, alone } = self;
        match fleet.lead(epoch, now) {
            Ok(leader) => Ok(SimLeader { leader, bug, alone }),
            Err(Failed { back, code }) => Err(Failed { back: Self { fleet: back, bug, alone }, code }),
        }
    }
}

impl Leader for SimLeader {
    type Machine = SimMachine;

    fn propose(&mut self) -> Option<Proposal> {
        let proposal = self.leader.propose()?;
        if self.bug == Some(Bug::AnswersEarly) {
            let _ = self.manager_mut().committed(proposal.id);
        }
        Some(proposal)
    }

    fn committed(&mut self, id: LogId, now: Now) -> Result<(), Code> {
        self.leader.committed(id, now)
    }

    fn snapshot(&self) -> Result<Vec<u8>, Code> {
        Ok(spoil(self.leader.snapshot()?, self.bug))
    }

    fn step_down(self) -> Result<SimMachine, Code> {
        let Self { leader, bug, alone } = self;
        Ok(SimMachine { fleet: leader.step_down()?, bug, alone })
    }
}
