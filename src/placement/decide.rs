//! The decision: every executor is judged by the same list of checks, and the first that passes all is chosen.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::{
    approval::{self, Approval},
    executor::{Executor, ExecutorKind, Inventory, Posture, PostureLookup, RolloutMode},
    policy::PlacementPolicy,
};
use crate::{
    capability::CapabilitySet,
    code::{self, Code, Coded},
    fleet::WorkerFleetCounts,
    id::{ExecutorId, ProfileId, ToolId},
    time::Now,
};

/// What a tool needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolRequirements {
    /// The tool.
    pub id: ToolId,
    /// What one executor must hold, all of it. Never empty.
    pub capabilities: CapabilitySet,
    /// The workspace of the policy that it works in. Left out: it needs no files.
    #[serde(default)]
    pub workspace: Option<ProfileId>,
    /// Whether it needs an approval wherever it runs. Left out: only where the policy says so.
    #[serde(default)]
    pub needs_approval: bool,
}

/// Everything that a decision looks at.
#[derive(Clone, Copy, Debug)]
pub struct PlacementRequest<'a> {
    /// What the tool needs.
    pub tool: &'a ToolRequirements,
    /// The isolation that it demands, as it was looked up.
    pub posture: PostureLookup,
    /// The executors that there are.
    pub inventory: &'a Inventory,
    /// How many workers the fleet has. None: nobody said, and no networked worker is chosen.
    pub fleet: Option<&'a WorkerFleetCounts>,
    /// The approval, where somebody was asked.
    pub approval: Option<&'a Approval>,
}

/// An executor that was not chosen, and the first reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RejectedExecutor {
    /// The executor.
    pub executor: ExecutorId,
    /// Why.
    pub code: Code,
}

/// Where the tool may run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Placement {
    /// The executor.
    pub executor: ExecutorId,
    /// Its kind.
    pub kind: ExecutorKind,
    /// What was demanded in the end: the tool's posture, raised to the floor of the policy.
    pub posture: Posture,
    /// The container profile to start it in, where its kind runs containers.
    pub container: Option<ProfileId>,
    /// The workspace to give it, where it asked for one.
    pub workspace: Option<ProfileId>,
    /// The executors that were tried before this one, each with its reason, in the order tried.
    pub rejected: Vec<RejectedExecutor>,
}

/// The tool does not run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the tool does not run: {code} ({} executors rejected)", rejected.len())]
#[non_exhaustive]
pub struct PlacementRefusal {
    /// Why. [`code::PLACEMENT_NO_EXECUTOR`] where each executor has a reason of its own.
    pub code: Code,
    /// The executors that were judged, each with its reason, in the order tried.
    pub rejected: Vec<RejectedExecutor>,
}

impl Coded for PlacementRefusal {
    fn code(&self) -> Code {
        self.code
    }
}

/// What must hold before any executor is looked at: the demand, or the reason why there is none.
pub(super) fn demand(
    policy: &PlacementPolicy,
    request: &PlacementRequest<'_>,
    now: Now,
) -> Result<Posture, Code> {
    let posture = match request.posture {
        PostureLookup::Found(posture) => posture,
        PostureLookup::Unavailable => return Err(code::PLACEMENT_POSTURE_UNAVAILABLE),
        PostureLookup::Unknown => return Err(code::PLACEMENT_POSTURE_UNKNOWN),
    };
    let tool = request.tool;
    if tool.capabilities.is_empty() {
        return Err(code::PLACEMENT_CAPABILITY_NONE);
    }
    if tool.workspace.as_ref().is_some_and(|id| policy.workspace(id).is_none()) {
        return Err(code::PLACEMENT_WORKSPACE_UNKNOWN);
    }
    match request.approval {
        Some(given) => match approval::obstacle(given, &tool.id, now.wall) {
            Some(code) => Err(code),
            None => Ok(posture.raised_to(policy.floor())),
        },
        None if tool.needs_approval => Err(code::PLACEMENT_APPROVAL_MISSING),
        None => Ok(posture.raised_to(policy.floor())),
    }
}

/// Every reason against `executor`, the gravest first. None: it may run the tool.
pub(super) fn obstacles<'a>(
    policy: &'a PlacementPolicy,
    request: &PlacementRequest<'a>,
    demanded: Posture,
    executor: &'a Executor,
) -> impl Iterator<Item = Code> + 'a {
    let tool = request.tool;
    let isolation = (!demanded.is_met_by(executor.kind)).then_some(code::PLACEMENT_POSTURE_TOO_WEAK);
    let rollout = match executor.mode.min(policy.rollout(executor.kind)) {
        RolloutMode::Enabled => None,
        RolloutMode::Preview if policy.previews(&tool.id) => None,
        RolloutMode::Preview => Some(code::PLACEMENT_ROLLOUT_PREVIEW),
        RolloutMode::Disabled => Some(code::PLACEMENT_ROLLOUT_DISABLED),
    };
    let fleet = match (executor.kind, request.fleet) {
        (ExecutorKind::NetworkedWorker, None) => Some(code::PLACEMENT_FLEET_UNKNOWN),
        (ExecutorKind::NetworkedWorker, Some(counts)) if counts.available == 0 => {
            Some(code::PLACEMENT_FLEET_EXHAUSTED)
        }
        _ => None,
    };
    let held = tool.capabilities.is_subset_of(&executor.capabilities);
    let capability = (!held).then_some(code::PLACEMENT_CAPABILITY_MISSING);
    let workspace = tool
        .workspace
        .as_ref()
        .and_then(|id| policy.workspace(id))
        .filter(|profile| !executor.workspaces.contains(&profile.strategy))
        .map(|_| code::PLACEMENT_WORKSPACE_UNSUPPORTED);
    let container = match (executor.kind, &executor.container) {
        (_, Some(id)) if policy.container(id).is_none() => Some(code::PLACEMENT_CONTAINER_UNKNOWN),
        (ExecutorKind::OsIsolated, None) => Some(code::PLACEMENT_CONTAINER_UNKNOWN),
        _ => None,
    };
    let approval = match request.approval {
        None if policy.needs_approval(executor.kind) => Some(code::PLACEMENT_APPROVAL_MISSING),
        Some(Approval { kinds: Some(kinds), .. }) if !kinds.contains(&executor.kind) => {
            Some(code::PLACEMENT_APPROVAL_OTHER_KIND)
        }
        _ => None,
    };
    [isolation, executor.state.obstacle(), rollout, fleet, capability, workspace, container, approval]
        .into_iter()
        .flatten()
}

/// The inventory in the order in which it is tried: by kind as the policy prefers, then as given.
pub(super) fn in_order<'a>(
    policy: &'a PlacementPolicy,
    inventory: &'a Inventory,
) -> impl Iterator<Item = &'a Executor> {
    policy
        .order()
        .flat_map(move |kind| inventory.executors().iter().filter(move |executor| executor.kind == kind))
}

/// Decides where a tool runs. Pure; cost: a few comparisons for each executor.
///
/// ```
/// use leasehold::{placement::{self, *}, capability::CapabilitySet, code, time::Now};
/// let policy: PlacementPolicy = serde_json::from_str(r#"{"rollout":{"in_process":"enabled"}}"#).unwrap();
/// let document: InventoryDocument = serde_json::from_str(r#"{"executors":[{
///     "id":"wasm","kind":"in_process","mode":"enabled","state":"ready",
///     "capabilities":["tool:hash"],"workspaces":["none"]}]}"#).unwrap();
/// let inventory = Inventory::try_from(document).unwrap();
/// let tool: ToolRequirements = serde_json::from_str(r#"{"id":"hash","capabilities":["tool:hash"]}"#).unwrap();
/// let mut request = PlacementRequest {
///     tool: &tool, posture: PostureLookup::Found(Posture::InProcess), inventory: &inventory,
///     fleet: None, approval: None,
/// };
/// assert_eq!(placement::decide(&policy, &request, Now::new(0, 0)).unwrap().executor.as_str(), "wasm");
/// // Off this host was demanded and there is no worker: nothing runs, and least of all here.
/// request.posture = PostureLookup::Found(Posture::NetworkedWorker);
/// let refusal = placement::decide(&policy, &request, Now::new(0, 0)).unwrap_err();
/// assert_eq!(refusal.code, code::PLACEMENT_NO_EXECUTOR);
/// assert_eq!(refusal.rejected[0].code, code::PLACEMENT_POSTURE_TOO_WEAK);
/// ```
///
/// # Errors
/// [`PlacementRefusal`]: the posture is not known, an approval is missing or does not count, or no single executor
/// passes every check. Nothing weaker is ever chosen instead.
pub fn decide(
    policy: &PlacementPolicy,
    request: &PlacementRequest<'_>,
    now: Now,
) -> Result<Placement, PlacementRefusal> {
    let posture =
        demand(policy, request, now).map_err(|code| PlacementRefusal { code, rejected: Vec::new() })?;
    let mut rejected = Vec::new();
    for executor in in_order(policy, request.inventory) {
        match obstacles(policy, request, posture, executor).next() {
            Some(code) => rejected.push(RejectedExecutor { executor: executor.id.clone(), code }),
            None => {
                return Ok(Placement {
                    executor: executor.id.clone(),
                    kind: executor.kind,
                    posture,
                    container: executor.container.clone(),
                    workspace: request.tool.workspace.clone(),
                    rejected,
                });
            }
        }
    }
    Err(PlacementRefusal { code: code::PLACEMENT_NO_EXECUTOR, rejected })
}
