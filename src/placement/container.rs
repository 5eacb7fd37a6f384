//! Container profiles: what an OS-isolated executor may be started with, checked once when the policy is built.

use alloc::{collections::BTreeSet, string::String, vec::Vec};

use serde::{Deserialize, Serialize};

use super::workspace::HostPath;
use crate::{
    code::{self, Code, Coded},
    digest::Sha256Digest,
    id::ProfileId,
};

/// The most mounts of one profile.
pub const MAX_MOUNTS: usize = 16;
/// The longest image reference, in bytes.
pub const MAX_IMAGE_BYTES: usize = 512;

/// The network of a container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ContainerNetwork {
    /// No network but loopback.
    #[default]
    None,
    /// The egress enforcement point, and nothing else.
    EgressGate,
}

/// A directory of the host that a container sees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mount {
    /// Where it is on the host. Never the root, nor a system directory, nor above one; within the roots that the policy
    /// names ([`PlacementPolicyDocument::mount_roots`](super::PlacementPolicyDocument::mount_roots)).
    pub source: String,
    /// Where the container sees it. Never its root; each target once.
    pub target: String,
    /// Whether the container may only read it. Left out: yes.
    #[serde(default = "yes")]
    pub read_only: bool,
}

/// A directory of the host at or below which the policy lets mounts lie.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MountRoot {
    /// The directory. Never the root of the host, nor a system directory, nor above one.
    pub path: HostPath,
    /// Whether a container may write there. Left out: no.
    #[serde(default)]
    pub writable: bool,
}

const fn yes() -> bool {
    true
}

/// A container profile, as documents state it.
///
/// The fields that ask for privilege exist so that a profile that was written for another tool is refused with a
/// code that says why; the only value that passes is the one that they have when left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContainerProfile {
    /// The name by which executors use it.
    pub id: ProfileId,
    /// The image, pinned: `name@sha256:` and 64 lowercase hex digits. A tag before the `@` is only a remark.
    pub image: String,
    /// The user inside, not 0.
    pub user: u32,
    /// The group inside, not 0.
    pub group: u32,
    /// Memory limit in bytes, over zero.
    pub memory_bytes: u64,
    /// Limit of processes and threads, over zero.
    pub processes: u32,
    /// Processor time, in thousandths of one core, over zero.
    pub cpu_millis: u32,
    /// The network. Left out: none.
    #[serde(default)]
    pub network: ContainerNetwork,
    /// What the container sees of the host, at most [`MAX_MOUNTS`].
    #[serde(default)]
    pub mounts: Vec<Mount>,
    /// Whether the container's own root file system is read-only. Must be true.
    #[serde(default = "yes")]
    pub read_only_root: bool,
    /// Privileged mode. Must be false.
    #[serde(default)]
    pub privileged: bool,
    /// Whether processes may gain rights, as through setuid files. Must be false.
    #[serde(default)]
    pub privilege_escalation: bool,
    /// Kernel capabilities to add. Must be empty.
    #[serde(default)]
    pub kernel_capabilities: Vec<String>,
    /// Devices of the host. Must be empty.
    #[serde(default)]
    pub devices: Vec<String>,
    /// Namespaces shared with the host. Must be empty.
    #[serde(default)]
    pub host_namespaces: Vec<String>,
}

/// Why a container profile is refused when its policy is built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ContainerError {
    /// The image is not pinned by digest.
    #[error("container `{0}`: an image is `name@sha256:` and 64 lowercase hex digits")]
    MutableImage(ProfileId),
    /// User or group 0.
    #[error("container `{0}`: user and group are not 0")]
    Root(ProfileId),
    /// It asks for privilege in the named field.
    #[error("container `{0}`: `{1}` asks for privilege")]
    Privileged(ProfileId, &'static str),
    /// Its root file system would be writable.
    #[error("container `{0}`: the root file system is read-only")]
    WritableRoot(ProfileId),
    /// A mount source shows the host itself.
    #[error("container `{0}`: mount {1} shows the host itself")]
    HostRoot(ProfileId, usize),
    /// A mount path is not plain and absolute, a target is `/` or used twice, or there are too many mounts.
    #[error("container `{0}`: mount {1} is not an absolute plain path onto a target of its own")]
    Mount(ProfileId, usize),
    /// A mount source is outside the roots that the policy names: all of them, or those that may be written to.
    #[error(
        "container `{0}`: mount {1} is outside the `mount_roots` of the policy, or writable where they are not"
    )]
    MountRoot(ProfileId, usize),
    /// A limit is zero.
    #[error("container `{0}`: memory, processes and processor time are limited, and not to zero")]
    Unlimited(ProfileId),
}

impl Coded for ContainerError {
    fn code(&self) -> Code {
        match self {
            Self::MutableImage(_) => code::PLACEMENT_CONTAINER_MUTABLE_IMAGE,
            Self::Root(_) => code::PLACEMENT_CONTAINER_ROOT,
            Self::Privileged(..) => code::PLACEMENT_CONTAINER_PRIVILEGED,
            Self::WritableRoot(_) => code::PLACEMENT_CONTAINER_WRITABLE_ROOT,
            Self::HostRoot(..) => code::PLACEMENT_CONTAINER_HOST_ROOT,
            Self::Mount(..) => code::PLACEMENT_CONTAINER_MOUNT,
            Self::MountRoot(..) => code::PLACEMENT_MOUNT_ROOT,
            Self::Unlimited(_) => code::PLACEMENT_CONTAINER_UNLIMITED,
        }
    }
}

fn is_pinned(image: &str) -> bool {
    let Some((name, digest)) = image.rsplit_once("@sha256:") else { return false };
    let spelled = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"./:_-".contains(&byte);
    image.len() <= MAX_IMAGE_BYTES
        && name.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric)
        && name.bytes().all(spelled)
        && digest.parse::<Sha256Digest>().is_ok()
}

impl ContainerProfile {
    /// Whether the profile may be used at all. Policies call this when they are built.
    ///
    /// ```
    /// use leasehold::placement::ContainerProfile;
    /// let image = format!("tools/hash@sha256:{}", "0".repeat(64));
    /// let mut profile: ContainerProfile = serde_json::from_value(serde_json::json!({
    ///     "id": "plain", "image": image, "user": 1000, "group": 1000,
    ///     "memory_bytes": 1 << 28, "processes": 64, "cpu_millis": 500
    /// })).unwrap();
    /// assert_eq!(profile.check(), Ok(()));
    /// profile.user = 0;
    /// assert!(profile.check().is_err());
    /// ```
    ///
    /// # Errors
    /// [`ContainerError`], the first that applies.
    pub fn check(&self) -> Result<(), ContainerError> {
        let id = || self.id.clone();
        if !is_pinned(&self.image) {
            return Err(ContainerError::MutableImage(id()));
        }
        if self.user == 0 || self.group == 0 {
            return Err(ContainerError::Root(id()));
        }
        let privileges = [
            (self.privileged, "privileged"),
            (self.privilege_escalation, "privilege_escalation"),
            (!self.kernel_capabilities.is_empty(), "kernel_capabilities"),
            (!self.devices.is_empty(), "devices"),
            (!self.host_namespaces.is_empty(), "host_namespaces"),
        ];
        if let Some((_, field)) = privileges.into_iter().find(|(asked, _)| *asked) {
            return Err(ContainerError::Privileged(id(), field));
        }
        if !self.read_only_root {
            return Err(ContainerError::WritableRoot(id()));
        }
        if self.memory_bytes == 0 || self.processes == 0 || self.cpu_millis == 0 {
            return Err(ContainerError::Unlimited(id()));
        }
        self.check_mounts()
    }

    /// Whether every mount lies where a policy lets mounts lie.
    ///
    /// A list of directories that must not be shown is never complete, so what a container writes to lies within a root
    /// that the policy says may be written to. What it reads may lie anywhere else on a host where no root is named, and
    /// within a root where one is.
    pub(super) fn check_roots(&self, roots: &[MountRoot]) -> Result<(), ContainerError> {
        for (at, mount) in self.mounts.iter().enumerate() {
            let wrong = |_| ContainerError::Mount(self.id.clone(), at);
            let source = HostPath::new(&mount.source).map_err(wrong)?;
            let within =
                |root: &MountRoot| source.is_within(&root.path) && (mount.read_only || root.writable);
            let anywhere = mount.read_only && roots.is_empty();
            if !anywhere && !roots.iter().any(within) {
                return Err(ContainerError::MountRoot(self.id.clone(), at));
            }
        }
        Ok(())
    }

    fn check_mounts(&self) -> Result<(), ContainerError> {
        let mut targets = BTreeSet::new();
        for (at, mount) in self.mounts.iter().enumerate() {
            let wrong = || ContainerError::Mount(self.id.clone(), at);
            if at >= MAX_MOUNTS {
                return Err(wrong());
            }
            // `//`, `/.` and `/srv/..` are the root to a kernel; spelt like that they are not even paths here.
            let source = HostPath::new(&mount.source).map_err(|_| wrong())?;
            let target = HostPath::new(&mount.target).map_err(|_| wrong())?;
            if source.exposes_host() {
                return Err(ContainerError::HostRoot(self.id.clone(), at));
            }
            if target.exposes_host() || !targets.insert(target) {
                return Err(wrong());
            }
        }
        Ok(())
    }
}
