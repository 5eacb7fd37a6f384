//! What an operator may ask of a node: one line of JSON each way, on a connection of its own.

use std::{
    io,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
    time::{Duration, Instant},
};

use leasehold::{
    code::Coded,
    coordinator::{LocalAnswer, OperatorCommand},
    fleet::{AcceptWall, Drain, FleetState, ForceCleanup, QuarantineWorker, Release, Retire, Undrain},
    id::WorkerId,
    lease::{Epoch, Fence},
};
use replicated::{Change, NodeId};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{Failure, config::NodeAddress, duplex::Duplex, greeting::Greeting, ledger::word};

/// The longest line either way.
const MAX_LINE: usize = 256 << 10;
/// How long an answer may take: an election, and a commit after it.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// What is asked.
#[derive(Clone, Debug, Serialize, Deserialize, clap::Subcommand)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Ask {
    /// How the node stands, and the fleet where it leads
    Status {},
    /// Who belongs to the cluster
    Members {},
    /// Have another node lead
    Transfer {
        /// Its number
        to: u64,
    },
    /// Have the node that answers make a snapshot and shorten its log
    Snapshot {},
    /// Let a node in as a learner: its entry in the cluster's file says where it is
    Add {
        /// Its number
        id: u64,
        #[arg(skip)]
        about: Option<NodeAddress>,
    },
    /// Have a learner that has caught up vote
    Promote {
        /// Its number
        id: u64,
    },
    /// Have a node leave
    Remove {
        /// Its number
        id: u64,
    },
    /// Give a worker no new lease
    Drain { worker: WorkerId },
    /// Give it leases again
    Undrain { worker: WorkerId },
    /// Distrust a worker
    Quarantine { worker: WorkerId },
    /// Open a latch as far as an operator can
    Release { worker: WorkerId },
    /// End a worker for good
    Retire { worker: WorkerId },
    /// Vouch for a cleanup that is owed
    ForceCleanup { worker: WorkerId },
    /// Believe the clock after a step
    AcceptWall {},
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Answer {
    /// It was done, or this is how things stand.
    Done { text: String },
    /// It was refused, and nothing has changed.
    Refused { code: String, message: String },
    /// Another node leads, or nobody does.
    Elsewhere { leader: Option<u64> },
}

impl Answer {
    /// A refusal of the library.
    pub fn refused(error: &(impl Coded + ToString)) -> Self {
        Self::Refused { code: error.code().to_string(), message: error.to_string() }
    }

    /// The coordinator's answer.
    pub fn of(answer: &LocalAnswer) -> Self {
        match answer {
            LocalAnswer::Managed(Ok(managed)) => {
                let text = managed.state.map_or("done".into(), |state| format!("done: {}", word(&state)));
                Self::Done { text }
            }
            LocalAnswer::Managed(Err(error)) => Self::refused(error),
            other => Self::Done { text: format!("{other:?}") },
        }
    }
}

/// Where an answer goes. An operator who is gone has asked for nothing.
pub type Reply = SyncSender<Answer>;

/// A question, and where its answer goes.
pub struct Asked {
    pub ask: Ask,
    pub reply: Reply,
}

/// What the leader has to do for this question.
pub enum Act {
    /// The fleet decides.
    Command(Box<OperatorCommand>),
    /// The members change.
    Change(Change),
    /// Another one leads.
    Transfer(NodeId),
    /// It answers from its state, when a quorum has confirmed the lead.
    Tell,
    /// Any node does this itself.
    Compact,
}

impl Act {
    /// What `ask` comes to, where the fleet is in `state`.
    pub fn of(ask: &Ask, state: &FleetState) -> Result<Self, Answer> {
        let command = match ask.clone() {
            Ask::Status {} | Ask::Members {} => return Ok(Self::Tell),
            Ask::Snapshot {} => return Ok(Self::Compact),
            Ask::Transfer { to } => return Ok(Self::Transfer(NodeId(to))),
            Ask::Add { id, about } => {
                let about =
                    about.filter(|about| about.id == id).and_then(|about| serde_json::to_vec(&about).ok());
                return match about {
                    Some(about) => Ok(Self::Change(Change::Add(NodeId(id), about))),
                    None => Err(Answer::Refused {
                        code: "members.about".into(),
                        message: "say where the node is, and its certificate".into(),
                    }),
                };
            }
            Ask::Promote { id } => return Ok(Self::Change(Change::Promote(NodeId(id)))),
            Ask::Remove { id } => return Ok(Self::Change(Change::Remove(NodeId(id)))),
            Ask::Drain { worker } => OperatorCommand::Drain(Drain { worker }),
            Ask::Undrain { worker } => OperatorCommand::Undrain(Undrain { worker }),
            Ask::Quarantine { worker } => OperatorCommand::QuarantineWorker(QuarantineWorker { worker }),
            Ask::Release { worker } => OperatorCommand::Release(Release { worker }),
            Ask::Retire { worker } => OperatorCommand::Retire(Retire { worker }),
            Ask::AcceptWall {} => OperatorCommand::AcceptWall(AcceptWall {}),
            Ask::ForceCleanup { worker } => {
                let owes = state.worker(&worker).and_then(|view| view.owes);
                // Where nothing is owed, or nobody has that name, the fleet says so.
                let fence = owes.map_or(Fence::new(Epoch(0), 0), |debt| debt.fence);
                OperatorCommand::ForceCleanup(ForceCleanup { worker, fence })
            }
        };
        Ok(Self::Command(Box::new(command)))
    }
}

/// The fleet, for people.
pub fn fleet(state: &FleetState) -> Vec<String> {
    let counts = state.counts();
    let mut lines = vec![format!(
        "epoch {}: {} workers, {} available, {} leased, {} offline, {} draining, {} orphaned, {} quarantined, {} retired",
        state.epoch(),
        counts.total,
        counts.available,
        counts.leased,
        counts.offline,
        counts.draining,
        counts.orphaned,
        counts.quarantined,
        counts.retired,
    )];
    for worker in state.workers() {
        let mut line = format!("{}: {}", worker.id, word(&worker.state));
        if let Some(lease) = worker.lease {
            line += &format!(", holds {} for {}", lease.fence, lease.terms.run);
        }
        if let Some(debt) = worker.owes {
            line += &format!(", owes for {}", debt.fence);
        }
        lines.push(line);
    }
    lines
}

/// Serves one operator on `duplex`, in a thread of its own: `ask` hands the question to the node.
pub fn serve(
    duplex: Duplex,
    greeting: Greeting,
    ask: impl FnOnce(Asked) -> bool + Send + 'static,
) -> Result<(), Failure> {
    thread::Builder::new().name("operator".into()).spawn(move || {
        let exchange = || -> Result<(), Failure> {
            duplex.set_timeouts(Some(PATIENCE), Some(PATIENCE))?;
            duplex.write_all(&greeting.encode())?;
            let question: Ask = read_line(&duplex)?;
            let (reply, answered): (Reply, Receiver<Answer>) = sync_channel(1);
            let answer = match ask(Asked { ask: question, reply }) {
                true => answered.recv_timeout(PATIENCE).unwrap_or(Answer::Elsewhere { leader: None }),
                false => Answer::Elsewhere { leader: None },
            };
            write_line(&duplex, &answer)?;
            Ok(duplex.finish()?)
        };
        // Whoever does not keep to it hears nothing more.
        let _ = exchange();
        duplex.close();
    })?;
    Ok(())
}

/// One line of JSON.
pub fn write_line(duplex: &Duplex, value: &impl Serialize) -> Result<(), Failure> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    Ok(duplex.write_all(&line)?)
}

/// One line of JSON, within [`PATIENCE`] and bounded.
pub fn read_line<T: DeserializeOwned>(duplex: &Duplex) -> Result<T, Failure> {
    let deadline = Instant::now() + PATIENCE + Duration::from_secs(1);
    let (mut line, mut piece) = (Vec::new(), [0; 4096]);
    while line.last() != Some(&b'\n') {
        match duplex.read_by(&mut piece, Some(deadline))? {
            0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            count => line.extend_from_slice(&piece[..count]),
        }
        if line.len() > MAX_LINE {
            return Err(Failure::new("operator.line: the line is too long"));
        }
    }
    Ok(serde_json::from_slice(&line)?)
}
