//! What can run a tool: kinds of executors, the isolation that each gives, and the inventory of a host.

use alloc::{collections::BTreeSet, vec::Vec};
use core::fmt;

use serde::{Deserialize, Serialize};

use super::workspace::WorkspaceStrategy;
use crate::{
    capability::CapabilitySet,
    code::{self, Code, Coded},
    id::{ExecutorId, ProfileId},
};

/// The most executors of one inventory.
pub const MAX_EXECUTORS: usize = 1024;

/// A place where a tool can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ExecutorKind {
    /// Tier A: a sandbox inside the process of the host, such as a WebAssembly runtime.
    InProcess,
    /// Tier B: a process of its own on this host, with dropped rights.
    LocalProcess,
    /// Tier C: isolated by the operating system on this host: a container or a virtual machine.
    OsIsolated,
    /// An attested worker of the fleet, under a lease, on another machine.
    NetworkedWorker,
    /// A paired desktop node: the machine of a person, with that person's screen and files.
    PairedNode,
    /// A machine at the end of a tunnel that an operator opened.
    SshTunnel,
}

impl ExecutorKind {
    /// Every kind, in the order in which a policy without preferences tries them: the least that suffices first.
    pub const ALL: [Self; 6] = [
        Self::InProcess,
        Self::LocalProcess,
        Self::OsIsolated,
        Self::NetworkedWorker,
        Self::PairedNode,
        Self::SshTunnel,
    ];

    /// The posture that this kind gives.
    pub const fn posture(self) -> Posture {
        match self {
            Self::InProcess => Posture::InProcess,
            Self::LocalProcess => Posture::LocalProcess,
            Self::OsIsolated => Posture::OsIsolated,
            Self::NetworkedWorker => Posture::NetworkedWorker,
            Self::PairedNode => Posture::PairedNode,
            Self::SshTunnel => Posture::SshTunnel,
        }
    }

    /// The kind's name in documents.
    pub const fn as_str(self) -> &'static str {
        self.posture().as_str()
    }
}

impl fmt::Display for ExecutorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The isolation that a tool demands.
///
/// The first four are a ladder: a demand is met by its own rung and by every higher one. The last two are places,
/// not rungs: the machine of a person is neither stronger nor weaker than a sandbox, so such a demand is met by
/// that kind alone, and that kind meets no other demand.
///
/// ```
/// use leasehold::placement::{ExecutorKind, Posture};
/// assert!(Posture::LocalProcess.is_met_by(ExecutorKind::OsIsolated));
/// assert!(!Posture::NetworkedWorker.is_met_by(ExecutorKind::OsIsolated));
/// assert!(!Posture::InProcess.is_met_by(ExecutorKind::PairedNode));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Posture {
    /// At least a sandbox inside the process (Tier A).
    InProcess,
    /// At least a process of its own (Tier B).
    LocalProcess,
    /// At least isolation by the operating system (Tier C).
    OsIsolated,
    /// Off this host, on an attested worker.
    NetworkedWorker,
    /// On a paired desktop node, and nowhere else.
    PairedNode,
    /// Through the operator's tunnel, and nowhere else.
    SshTunnel,
}

impl Posture {
    /// The height on the ladder; none for a place that is not on it.
    const fn rung(self) -> Option<u8> {
        match self {
            Self::InProcess => Some(1),
            Self::LocalProcess => Some(2),
            Self::OsIsolated => Some(3),
            Self::NetworkedWorker => Some(4),
            Self::PairedNode | Self::SshTunnel => None,
        }
    }

    /// Whether this is a rung of the ladder.
    pub const fn is_on_ladder(self) -> bool {
        self.rung().is_some()
    }

    /// Whether an executor of `kind` gives at least what is demanded here (invariant 15).
    pub fn is_met_by(self, kind: ExecutorKind) -> bool {
        match (self.rung(), kind.posture().rung()) {
            (Some(demanded), Some(given)) => given >= demanded,
            _ => self == kind.posture(),
        }
    }

    /// The higher demand of the two. A place stays what it is: no floor turns it into a sandbox.
    #[must_use]
    pub fn raised_to(self, floor: Self) -> Self {
        match (self.rung(), floor.rung()) {
            (Some(own), Some(least)) if least > own => floor,
            _ => self,
        }
    }

    /// The posture's name in documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InProcess => "in_process",
            Self::LocalProcess => "local_process",
            Self::OsIsolated => "os_isolated",
            Self::NetworkedWorker => "networked_worker",
            Self::PairedNode => "paired_node",
            Self::SshTunnel => "ssh_tunnel",
        }
    }
}

impl fmt::Display for Posture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What the lookup of a tool's posture gave. There is no default: a lookup that failed refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PostureLookup {
    /// The posture was found.
    Found(Posture),
    /// The catalogue could not be asked, or knows nothing of the tool.
    Unavailable,
    /// The catalogue answered with a word that means nothing here.
    Unknown,
}

impl PostureLookup {
    /// Reads the answer of a catalogue: `None` where it had none.
    pub fn read(word: Option<&str>) -> Self {
        let Some(word) = word else { return Self::Unavailable };
        ExecutorKind::ALL
            .into_iter()
            .map(ExecutorKind::posture)
            .find(|posture| posture.as_str() == word)
            .map_or(Self::Unknown, Self::Found)
    }
}

/// How far an executor is rolled out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RolloutMode {
    /// Takes nothing. What a policy does not mention is disabled.
    #[default]
    Disabled,
    /// Takes the tools on the policy's preview list, and no other.
    Preview,
    /// Takes every tool that fits.
    Enabled,
}

/// The condition of an executor, as the host knows it at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ExecutorState {
    /// Has room and was heard in time.
    Ready,
    /// Has no room now.
    Busy,
    /// Was not heard in time.
    Stale,
    /// Takes no new work.
    Draining,
    /// Is not trusted.
    Quarantined,
    /// Its identity was revoked.
    Revoked,
}

impl ExecutorState {
    /// Why an executor in this state takes nothing; none where it is ready.
    pub const fn obstacle(self) -> Option<Code> {
        match self {
            Self::Ready => None,
            Self::Busy => Some(code::PLACEMENT_EXECUTOR_BUSY),
            Self::Stale => Some(code::PLACEMENT_EXECUTOR_STALE),
            Self::Draining => Some(code::PLACEMENT_EXECUTOR_DRAINING),
            Self::Quarantined => Some(code::PLACEMENT_EXECUTOR_QUARANTINED),
            Self::Revoked => Some(code::PLACEMENT_EXECUTOR_REVOKED),
        }
    }
}

/// One executor. Every field but `container` must be given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Executor {
    /// Its name in answers.
    pub id: ExecutorId,
    /// What it is.
    pub kind: ExecutorKind,
    /// How far this one is rolled out. The policy's mode for its kind counts too, and the lesser of the two wins.
    pub mode: RolloutMode,
    /// Its condition now.
    pub state: ExecutorState,
    /// What this one executor holds. Capabilities of several executors never add up.
    pub capabilities: CapabilitySet,
    /// The workspace strategies that it can provide.
    pub workspaces: BTreeSet<WorkspaceStrategy>,
    /// The container profile that it runs tools in: required for [`ExecutorKind::OsIsolated`].
    #[serde(default)]
    pub container: Option<ProfileId>,
}

/// Why executors are not an inventory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InventoryError {
    /// More than [`MAX_EXECUTORS`].
    #[error("an inventory has at most {MAX_EXECUTORS} executors, this has {0}")]
    TooMany(usize),
    /// Two executors have this id.
    #[error("executor `{0}` appears twice")]
    Repeated(ExecutorId),
}

impl Coded for InventoryError {
    fn code(&self) -> Code {
        match self {
            Self::TooMany(_) => code::PLACEMENT_INVENTORY_TOO_MANY,
            Self::Repeated(_) => code::PLACEMENT_INVENTORY_REPEATED,
        }
    }
}

/// The executors that a host has: bounded, each id once, in the order given.
///
/// Its document is `{"executors":[...]}`; read that as an [`InventoryDocument`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory(Vec<Executor>);

/// The serde form of an [`Inventory`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InventoryDocument {
    /// The executors.
    pub executors: Vec<Executor>,
}

impl TryFrom<InventoryDocument> for Inventory {
    type Error = InventoryError;

    fn try_from(document: InventoryDocument) -> Result<Self, InventoryError> {
        Self::new(document.executors)
    }
}

impl Inventory {
    /// An inventory of `executors`.
    ///
    /// # Errors
    /// [`InventoryError`]: too many of them, or an id twice.
    pub fn new(executors: Vec<Executor>) -> Result<Self, InventoryError> {
        if executors.len() > MAX_EXECUTORS {
            return Err(InventoryError::TooMany(executors.len()));
        }
        let mut seen = BTreeSet::new();
        if let Some(twice) = executors.iter().find(|executor| !seen.insert(&executor.id)) {
            return Err(InventoryError::Repeated(twice.id.clone()));
        }
        Ok(Self(executors))
    }

    /// The executors, in the order given.
    pub fn executors(&self) -> &[Executor] {
        &self.0
    }
}
