//! The placement policy: rollout, floor, preference, approvals, profiles and recovery, consistent once built.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use serde::{Deserialize, Serialize};

use super::{
    container::{ContainerError, ContainerProfile, MountRoot},
    executor::{ExecutorKind, Posture, RolloutMode},
    recovery::RecoveryRules,
    workspace::{HostPath, WorkspaceProfile, WorkspaceProfileError},
};
use crate::{
    code::{self, Code, Coded},
    id::{ProfileId, ToolId},
};

/// The most tools on the preview list.
pub const MAX_PREVIEW_TOOLS: usize = 256;
/// The most container profiles, the most workspaces, and the most mount roots.
pub const MAX_PROFILES: usize = 64;

/// The serde form of a [`PlacementPolicy`]. Everything may be left out; what is left out allows nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PlacementPolicyDocument {
    /// How far each kind is rolled out. A kind that is not here is disabled.
    pub rollout: BTreeMap<ExecutorKind, RolloutMode>,
    /// The tools that executors in preview take.
    pub preview_tools: BTreeSet<ToolId>,
    /// The least isolation for every tool on the ladder, whatever the tool says. Left out: `in_process`.
    pub floor: Posture,
    /// The order in which kinds are tried. Kinds left out come after, the least isolation that suffices first.
    pub preference: Vec<ExecutorKind>,
    /// The kinds that need an approval for every tool. Left out: `paired_node` and `ssh_tunnel`.
    pub approval_for: BTreeSet<ExecutorKind>,
    /// Container profiles, by name.
    pub containers: Vec<ContainerProfile>,
    /// Workspaces, by name.
    pub workspaces: Vec<WorkspaceProfile>,
    /// What is done about stuck work.
    pub recovery: RecoveryRules,
    /// The directories of the host within which mounts and the sources of workspaces lie. Left out: nothing may be
    /// mounted for writing, and for reading whatever is not the host itself.
    pub mount_roots: Vec<MountRoot>,
}

impl Default for PlacementPolicyDocument {
    fn default() -> Self {
        Self {
            rollout: BTreeMap::new(),
            preview_tools: BTreeSet::new(),
            floor: Posture::InProcess,
            preference: Vec::new(),
            approval_for: BTreeSet::from([ExecutorKind::PairedNode, ExecutorKind::SshTunnel]),
            containers: Vec::new(),
            workspaces: Vec::new(),
            recovery: RecoveryRules::default(),
            mount_roots: Vec::new(),
        }
    }
}

/// Why a document is not a placement policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlacementPolicyError {
    /// The floor is a place, not a rung of the ladder.
    #[error("`{0}` is a place, not a rung of the isolation ladder, and cannot be the floor")]
    Floor(Posture),
    /// The preference names a kind twice.
    #[error("the preference names `{0}` twice")]
    RepeatedKind(ExecutorKind),
    /// Two container profiles, or two workspaces, have this name.
    #[error("profile `{0}` appears twice")]
    RepeatedProfile(ProfileId),
    /// The named list is over its bound.
    #[error("`{0}` is over its bound")]
    TooMany(&'static str),
    /// A mount root is the root of the host, or a system directory, or above one.
    #[error("the mount root {0} shows the host itself")]
    MountRoot(HostPath),
    /// A workspace takes its files from outside the mount roots.
    #[error("workspace `{0}`: its source is outside the `mount_roots` of the policy")]
    WorkspaceRoot(ProfileId),
    /// The recovery rules leave nothing to do.
    #[error("recovery allows at least one attempt and waits longer than no time")]
    Recovery,
    /// A container profile is refused.
    #[error(transparent)]
    Container(#[from] ContainerError),
    /// A workspace is refused.
    #[error(transparent)]
    Workspace(#[from] WorkspaceProfileError),
}

impl Coded for PlacementPolicyError {
    fn code(&self) -> Code {
        match self {
            Self::Floor(_) => code::PLACEMENT_POLICY_FLOOR,
            Self::RepeatedKind(_) | Self::RepeatedProfile(_) => code::PLACEMENT_POLICY_REPEATED,
            Self::MountRoot(_) | Self::WorkspaceRoot(_) => code::PLACEMENT_MOUNT_ROOT,
            Self::TooMany(_) => code::PLACEMENT_POLICY_TOO_MANY,
            Self::Recovery => code::PLACEMENT_POLICY_RECOVERY,
            Self::Container(error) => error.code(),
            Self::Workspace(error) => error.code(),
        }
    }
}

/// A placement policy. It cannot be inconsistent: it is built from a document that was checked, and never changes.
///
/// ```
/// use leasehold::placement::PlacementPolicy;
/// let policy: PlacementPolicy = serde_json::from_str(
///     r#"{"rollout":{"networked_worker":"enabled"},"floor":"networked_worker"}"#,
/// ).unwrap();
/// assert!(serde_json::from_str::<PlacementPolicy>(r#"{"floor":"ssh_tunnel"}"#).is_err());
/// # let _ = policy;
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "PlacementPolicyDocument", into = "PlacementPolicyDocument")]
pub struct PlacementPolicy(PlacementPolicyDocument);

impl From<PlacementPolicy> for PlacementPolicyDocument {
    fn from(policy: PlacementPolicy) -> Self {
        policy.0
    }
}

impl TryFrom<PlacementPolicyDocument> for PlacementPolicy {
    type Error = PlacementPolicyError;

    fn try_from(document: PlacementPolicyDocument) -> Result<Self, PlacementPolicyError> {
        if !document.floor.is_on_ladder() {
            return Err(PlacementPolicyError::Floor(document.floor));
        }
        let bounds = [
            (document.preview_tools.len(), MAX_PREVIEW_TOOLS, "preview_tools"),
            (document.containers.len(), MAX_PROFILES, "containers"),
            (document.workspaces.len(), MAX_PROFILES, "workspaces"),
            (document.mount_roots.len(), MAX_PROFILES, "mount_roots"),
        ];
        if let Some((.., list)) = bounds.into_iter().find(|(len, most, _)| len > most) {
            return Err(PlacementPolicyError::TooMany(list));
        }
        let mut kinds = BTreeSet::new();
        if let Some(twice) = document.preference.iter().find(|kind| !kinds.insert(**kind)) {
            return Err(PlacementPolicyError::RepeatedKind(*twice));
        }
        repeated(document.containers.iter().map(|profile| &profile.id))?;
        repeated(document.workspaces.iter().map(|profile| &profile.id))?;
        document.containers.iter().try_for_each(ContainerProfile::check)?;
        document.workspaces.iter().try_for_each(WorkspaceProfile::check)?;
        let roots = &document.mount_roots;
        if let Some(root) = roots.iter().find(|root| root.path.exposes_host()) {
            return Err(PlacementPolicyError::MountRoot(root.path.clone()));
        }
        document.containers.iter().try_for_each(|profile| profile.check_roots(roots))?;
        let outside = |profile: &&WorkspaceProfile| {
            let source = profile.source.as_ref().filter(|_| !roots.is_empty());
            source.is_some_and(|source| !roots.iter().any(|root| source.is_within(&root.path)))
        };
        if let Some(profile) = document.workspaces.iter().find(outside) {
            return Err(PlacementPolicyError::WorkspaceRoot(profile.id.clone()));
        }
        if !document.recovery.is_usable() {
            return Err(PlacementPolicyError::Recovery);
        }
        Ok(Self(document))
    }
}

fn repeated<'a>(names: impl Iterator<Item = &'a ProfileId>) -> Result<(), PlacementPolicyError> {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(PlacementPolicyError::RepeatedProfile(name.clone()));
        }
    }
    Ok(())
}

impl PlacementPolicy {
    /// The mode of a kind: disabled where the policy does not mention it.
    pub fn rollout(&self, kind: ExecutorKind) -> RolloutMode {
        self.0.rollout.get(&kind).copied().unwrap_or_default()
    }

    /// Whether executors in preview take this tool.
    pub fn previews(&self, tool: &ToolId) -> bool {
        self.0.preview_tools.contains(tool)
    }

    /// The least isolation for every tool on the ladder.
    pub fn floor(&self) -> Posture {
        self.0.floor
    }

    /// Every kind once, in the order in which they are tried.
    pub fn order(&self) -> impl Iterator<Item = ExecutorKind> {
        let rest = ExecutorKind::ALL.into_iter().filter(|kind| !self.0.preference.contains(kind));
        self.0.preference.iter().copied().chain(rest)
    }

    /// Whether this kind needs an approval for every tool.
    pub fn needs_approval(&self, kind: ExecutorKind) -> bool {
        self.0.approval_for.contains(&kind)
    }

    /// The container profile of this name.
    pub fn container(&self, id: &ProfileId) -> Option<&ContainerProfile> {
        self.0.containers.iter().find(|profile| profile.id == *id)
    }

    /// The workspace of this name.
    pub fn workspace(&self, id: &ProfileId) -> Option<&WorkspaceProfile> {
        self.0.workspaces.iter().find(|profile| profile.id == *id)
    }

    /// What is done about stuck work.
    pub fn recovery(&self) -> &RecoveryRules {
        &self.0.recovery
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A fleet policy embeds this one, in JSON documents and in postcard snapshots.
    #[test]
    fn a_policy_survives_both_serde_forms_and_neither_skips_the_check() {
        let text = r#"{"rollout":{"os_isolated":"preview"},"preference":["ssh_tunnel"],
            "workspaces":[{"id":"w","strategy":"snapshot","source":"/srv/w","max_bytes":1}]}"#;
        let policy: PlacementPolicy = serde_json::from_str(text).unwrap();
        let bytes = postcard::to_allocvec(&policy).unwrap();
        assert_eq!(postcard::from_bytes::<PlacementPolicy>(&bytes).unwrap(), policy);
        let json = serde_json::to_string(&policy).unwrap();
        assert_eq!(serde_json::from_str::<PlacementPolicy>(&json).unwrap(), policy);

        let mut document = PlacementPolicyDocument::from(policy);
        document.preference.push(ExecutorKind::SshTunnel);
        let bytes = postcard::to_allocvec(&document).unwrap();
        assert!(postcard::from_bytes::<PlacementPolicy>(&bytes).is_err());
        assert_eq!(PlacementPolicy::try_from(document).unwrap_err().code(), code::PLACEMENT_POLICY_REPEATED);
    }
}
