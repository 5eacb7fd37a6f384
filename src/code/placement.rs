//! Codes of the placement part.

use super::entry::codes;

codes! { PLACEMENT:
    PLACEMENT_CHOSEN = "placement.chosen", "the tool may run on the executor that the answer names";
    PLACEMENT_NO_EXECUTOR = "placement.no_executor", "every executor of the inventory was rejected, each for its own reason";
    PLACEMENT_POSTURE_UNAVAILABLE = "placement.posture.unavailable", "the posture that the tool needs could not be looked up";
    PLACEMENT_POSTURE_UNKNOWN = "placement.posture.unknown", "the posture that was looked up has no meaning here";
    PLACEMENT_POSTURE_TOO_WEAK = "placement.posture.too_weak", "the executor isolates less than the tool or the policy demands, or isolates from something else";
    PLACEMENT_ROLLOUT_DISABLED = "placement.rollout.disabled", "the executor, or its whole kind, is switched off or was never switched on";
    PLACEMENT_ROLLOUT_PREVIEW = "placement.rollout.preview", "the executor is in preview and the tool is not on the preview list";
    PLACEMENT_EXECUTOR_BUSY = "placement.executor.busy", "the executor has no room now";
    PLACEMENT_EXECUTOR_STALE = "placement.executor.stale", "the executor was not heard in time";
    PLACEMENT_EXECUTOR_DRAINING = "placement.executor.draining", "the executor takes no new work";
    PLACEMENT_EXECUTOR_QUARANTINED = "placement.executor.quarantined", "the executor is not trusted";
    PLACEMENT_EXECUTOR_REVOKED = "placement.executor.revoked", "the identity of the executor was revoked";
    PLACEMENT_FLEET_UNKNOWN = "placement.fleet.unknown", "a networked worker was considered and nobody said how many workers there are";
    PLACEMENT_FLEET_EXHAUSTED = "placement.fleet.exhausted", "the fleet has no available worker";
    PLACEMENT_CAPABILITY_MISSING = "placement.capability.missing", "this one executor does not hold every capability that the tool needs";
    PLACEMENT_CAPABILITY_NONE = "placement.capability.none", "the tool names no capability, so nothing can be checked";
    PLACEMENT_WORKSPACE_UNKNOWN = "placement.workspace.unknown", "the policy has no workspace of this name";
    PLACEMENT_WORKSPACE_UNSUPPORTED = "placement.workspace.unsupported", "the executor cannot give the tool the workspace that it needs";
    PLACEMENT_WORKSPACE_INVALID = "placement.workspace.invalid", "a workspace of the policy contradicts itself";
    PLACEMENT_WORKSPACE_HOST_ROOT = "placement.workspace.host_root", "a workspace would show the root or a system directory of the host";
    PLACEMENT_CONTAINER_UNKNOWN = "placement.container.unknown", "an executor that runs containers names no profile, or one that the policy does not have";
    PLACEMENT_CONTAINER_ROOT = "placement.container.root", "a container profile runs as user or group 0";
    PLACEMENT_CONTAINER_PRIVILEGED = "placement.container.privileged", "a container profile asks for privilege: privileged mode, escalation, kernel capabilities, devices, or a namespace of the host";
    PLACEMENT_CONTAINER_WRITABLE_ROOT = "placement.container.writable_root", "a container profile makes the root file system of the container writable";
    PLACEMENT_CONTAINER_HOST_ROOT = "placement.container.host_root", "a container profile mounts the root or a system directory of the host";
    PLACEMENT_MOUNT_ROOT = "placement.mount_root", "a mount, or the source of a workspace, is outside the directories that the policy names for that, or one of those shows the host";
    PLACEMENT_CONTAINER_MOUNT = "placement.container.mount", "a mount of a container profile has a path that is not absolute and plain, or a target used twice";
    PLACEMENT_CONTAINER_MUTABLE_IMAGE = "placement.container.mutable_image", "a container image is not pinned by a SHA-256 digest";
    PLACEMENT_CONTAINER_UNLIMITED = "placement.container.unlimited", "a container profile lacks a limit of memory, processes or processor time";
    PLACEMENT_APPROVAL_MISSING = "placement.approval.missing", "an approval is needed and there is none";
    PLACEMENT_APPROVAL_PENDING = "placement.approval.pending", "nobody has decided about the approval yet";
    PLACEMENT_APPROVAL_DENIED = "placement.approval.denied", "the approval was denied";
    PLACEMENT_APPROVAL_EXPIRED = "placement.approval.expired", "the approval has expired";
    PLACEMENT_APPROVAL_OTHER_TOOL = "placement.approval.other_tool", "the approval is for another tool";
    PLACEMENT_APPROVAL_OTHER_KIND = "placement.approval.other_kind", "the approval does not cover this kind of executor";
    PLACEMENT_POLICY_FLOOR = "placement.policy.floor", "the floor of a policy must be a rung of the isolation ladder";
    PLACEMENT_POLICY_REPEATED = "placement.policy.repeated", "a name or kind appears twice in a policy";
    PLACEMENT_POLICY_TOO_MANY = "placement.policy.too_many", "a list of a policy is over its bound";
    PLACEMENT_POLICY_RECOVERY = "placement.policy.recovery", "a recovery rule of a policy allows no attempt or no time";
    PLACEMENT_INVENTORY_TOO_MANY = "placement.inventory.too_many", "an inventory is over its bound";
    PLACEMENT_INVENTORY_REPEATED = "placement.inventory.repeated", "an executor id appears twice in an inventory";
}
