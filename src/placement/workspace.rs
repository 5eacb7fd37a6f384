//! What a tool sees of the host's files: plain absolute paths, and workspaces that cannot show the host itself.

use alloc::{string::String, sync::Arc};
use core::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{
    code::{self, Code, Coded},
    id::ProfileId,
};

/// The longest host path, in bytes.
pub const MAX_HOST_PATH_BYTES: usize = 512;

/// Directories through which a tool would reach the host itself. A path at, below or above one of them is never
/// shown to a tool: above, because the directory would come along.
const SYSTEM_DIRECTORIES: &[&str] = &[
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/lib",
    "/lib64",
    "/proc",
    "/root",
    "/run",
    "/sbin",
    "/sys",
    "/usr",
    "/var/lib/containerd",
    "/var/lib/containers",
    "/var/lib/docker",
    "/var/lib/kubelet",
    "/var/run",
];

/// Why a text is not a host path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a host path is absolute, printable ASCII, at most {MAX_HOST_PATH_BYTES} bytes, without empty, `.` or `..` components"
)]
pub struct HostPathError;

impl Coded for HostPathError {
    fn code(&self) -> Code {
        code::PLACEMENT_CONTAINER_MOUNT
    }
}

/// An absolute path in its one plain spelling: no empty, `.` or `..` components, no slash at the end but in `/`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPath(Arc<str>);

fn is_at_or_below(path: &str, directory: &str) -> bool {
    path.strip_prefix(directory)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || directory == "/")
}

impl HostPath {
    /// Parses a path. Nothing is repaired: `/srv/`, `//srv` and `/srv/.` are refused.
    ///
    /// # Errors
    /// [`HostPathError`], code `placement.container.mount`.
    pub fn new(text: &str) -> Result<Self, HostPathError> {
        let plain = text.len() <= MAX_HOST_PATH_BYTES
            && text.bytes().all(|byte| (b' '..=b'~').contains(&byte) && !b"\\:*?\"<>|".contains(&byte))
            && text.strip_prefix('/').is_some_and(|rest| {
                rest.is_empty() || rest.split('/').all(|part| !matches!(part, "" | "." | ".."))
            });
        if plain { Ok(Self(Arc::from(text))) } else { Err(HostPathError) }
    }

    /// The path's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is `root`, or a path below it.
    pub fn is_within(&self, root: &Self) -> bool {
        is_at_or_below(&self.0, &root.0)
    }

    /// Whether a tool that sees this path would see the host: the root, or a system directory at, below or above it.
    ///
    /// Symbolic links are resolved by the host that mounts, not here: it must mount what it resolved and judge that.
    ///
    /// ```
    /// use leasehold::placement::HostPath;
    /// assert!(HostPath::new("/").unwrap().exposes_host());
    /// assert!(HostPath::new("/var").unwrap().exposes_host());
    /// assert!(!HostPath::new("/srv/runs").unwrap().exposes_host());
    /// ```
    pub fn exposes_host(&self) -> bool {
        SYSTEM_DIRECTORIES
            .iter()
            .any(|system| is_at_or_below(&self.0, system) || is_at_or_below(system, &self.0))
    }
}

impl fmt::Display for HostPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for HostPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl Serialize for HostPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for HostPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// How a tool gets files. There is no strategy that writes into a tree of the host: changes come back as artifacts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WorkspaceStrategy {
    /// No files at all.
    None,
    /// An empty directory that is wiped afterwards.
    Ephemeral,
    /// A copy of a tree of the host, wiped afterwards.
    Snapshot,
    /// A tree of the host, for reading only.
    ReadOnly,
}

/// A named workspace of a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkspaceProfile {
    /// The name by which tools ask for it.
    pub id: ProfileId,
    /// How the files get there.
    pub strategy: WorkspaceStrategy,
    /// The tree of the host: for snapshot and read-only, and for nothing else.
    #[serde(default)]
    pub source: Option<HostPath>,
    /// The most that the tool may write, in bytes: more than zero for ephemeral and snapshot, zero otherwise.
    #[serde(default)]
    pub max_bytes: u64,
}

/// Why a workspace is refused when its policy is built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WorkspaceProfileError {
    /// The strategy needs a source and has none, or has one and takes none.
    #[error("workspace `{0}`: snapshot and read_only have a source, and only they")]
    Source(ProfileId),
    /// The strategy needs a size and has none, or has one and takes none.
    #[error("workspace `{0}`: ephemeral and snapshot have max_bytes over zero, and only they")]
    Size(ProfileId),
    /// The source is the root of the host, or a system directory, or above one.
    #[error("workspace `{0}`: its source shows the host itself")]
    HostRoot(ProfileId),
}

impl Coded for WorkspaceProfileError {
    fn code(&self) -> Code {
        match self {
            Self::Source(_) | Self::Size(_) => code::PLACEMENT_WORKSPACE_INVALID,
            Self::HostRoot(_) => code::PLACEMENT_WORKSPACE_HOST_ROOT,
        }
    }
}

impl WorkspaceProfile {
    /// Whether the fields agree with each other and hide the host. Policies call this when they are built.
    ///
    /// # Errors
    /// [`WorkspaceProfileError`], the first that applies.
    pub fn check(&self) -> Result<(), WorkspaceProfileError> {
        let (reads_host, writes) = match self.strategy {
            WorkspaceStrategy::None => (false, false),
            WorkspaceStrategy::Ephemeral => (false, true),
            WorkspaceStrategy::Snapshot => (true, true),
            WorkspaceStrategy::ReadOnly => (true, false),
        };
        if self.source.as_ref().is_some_and(HostPath::exposes_host) {
            return Err(WorkspaceProfileError::HostRoot(self.id.clone()));
        }
        if self.source.is_some() != reads_host {
            return Err(WorkspaceProfileError::Source(self.id.clone()));
        }
        if (self.max_bytes > 0) != writes {
            return Err(WorkspaceProfileError::Size(self.id.clone()));
        }
        Ok(())
    }
}
