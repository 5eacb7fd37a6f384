//! Local sandbox or networked worker: where may this tool run at all?
//!
//! [`decide`] is a pure function of what a tool needs, the isolation that it demands, the executors that there
//! are, the state of the fleet, an approval and a [`PlacementPolicy`]. Its laws:
//!
//! * The isolation demanded is never lowered. Where nothing gives it, the tool does not run (invariant 15).
//! * Silence is a refusal: a posture that could not be looked up, a kind that the policy does not mention, fleet
//!   counts that nobody gave, an approval that nobody answered.
//! * One executor holds all capabilities; those of several never add up.
//! * Rollout modes are enforced: `disabled` takes nothing, `preview` takes the tools on the preview list.
//!
//! | posture | met by |
//! |---|---|
//! | `in_process` (Tier A) | `in_process`, `local_process`, `os_isolated`, `networked_worker` |
//! | `local_process` (Tier B) | `local_process`, `os_isolated`, `networked_worker` |
//! | `os_isolated` (Tier C) | `os_isolated`, `networked_worker` |
//! | `networked_worker` | `networked_worker` |
//! | `paired_node` | `paired_node` |
//! | `ssh_tunnel` | `ssh_tunnel` |
//!
//! [`preflight`] reports every reason against every executor; [`recovery_plan`] says what to do about stuck work.
//!
//! # A full question
//!
//! As the `placement` kind of the `explain` example takes it. `tool` is [`ToolRequirements`], `policy`
//! [`PlacementPolicyDocument`], `inventory` [`InventoryDocument`], `fleet` [`WorkerFleetCounts`], `approval`
//! [`Approval`] or null; `now` is in milliseconds since the Unix epoch. A `posture` that is null, or left out, is a
//! lookup that failed. Unknown fields are refused everywhere.
//!
//! ```
//! # let question = r#"
//! {
//!   "kind": "placement",
//!   "tool": {"id": "hash", "capabilities": ["tool:hash"], "workspace": "scratch", "needs_approval": true},
//!   "posture": "os_isolated",
//!   "policy": {
//!     "rollout": {"os_isolated": "enabled", "networked_worker": "preview"},
//!     "preview_tools": ["hash"],
//!     "floor": "local_process",
//!     "preference": ["networked_worker", "os_isolated"],
//!     "approval_for": ["paired_node", "ssh_tunnel"],
//!     "containers": [{
//!       "id": "plain",
//!       "image": "tools/hash@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
//!       "user": 1000, "group": 1000,
//!       "memory_bytes": 268435456, "processes": 64, "cpu_millis": 500,
//!       "network": "egress_gate",
//!       "mounts": [{"source": "/srv/models", "target": "/models", "read_only": true}],
//!       "read_only_root": true, "privileged": false, "privilege_escalation": false,
//!       "kernel_capabilities": [], "devices": [], "host_namespaces": []
//!     }],
//!     "workspaces": [
//!       {"id": "scratch", "strategy": "ephemeral", "max_bytes": 1048576},
//!       {"id": "tree", "strategy": "snapshot", "source": "/srv/trees", "max_bytes": 1048576}
//!     ],
//!     "recovery": {"max_attempts": 3, "quiet_ms": 300000, "grace_ms": 60000},
//!     "mount_roots": [{"path": "/srv/models"}, {"path": "/srv/trees", "writable": true}]
//!   },
//!   "inventory": {"executors": [
//!     {"id": "box", "kind": "os_isolated", "mode": "enabled", "state": "ready",
//!      "capabilities": ["tool:hash"], "workspaces": ["none", "ephemeral"], "container": "plain"},
//!     {"id": "w1", "kind": "networked_worker", "mode": "enabled", "state": "ready",
//!      "capabilities": ["tool:hash", "tool:fetch"], "workspaces": ["ephemeral", "snapshot"]}
//!   ]},
//!   "fleet": {"total": 1, "registered": 0, "available": 0, "leased": 1, "offline": 0,
//!             "orphaned": 0, "quarantined": 0, "draining": 0, "retired": 0},
//!   "approval": {"state": "approved", "tool": "hash", "expires_at": 1764000060000,
//!                "kinds": ["os_isolated", "networked_worker"]},
//!   "now": 1764000000000
//! }
//! # "#;
//! # use leasehold::{placement::*, fleet::WorkerFleetCounts, time::Now};
//! # let value: serde_json::Value = serde_json::from_str(question).unwrap();
//! # let part = |name: &str| value[name].clone();
//! # let tool: ToolRequirements = serde_json::from_value(part("tool")).unwrap();
//! # let policy: PlacementPolicy = serde_json::from_value(part("policy")).unwrap();
//! # let inventory = Inventory::try_from(serde_json::from_value::<InventoryDocument>(part("inventory")).unwrap()).unwrap();
//! # let fleet: WorkerFleetCounts = serde_json::from_value(part("fleet")).unwrap();
//! # let approval: Approval = serde_json::from_value(part("approval")).unwrap();
//! # let request = PlacementRequest {
//! #     tool: &tool, posture: PostureLookup::read(value["posture"].as_str()), inventory: &inventory,
//! #     fleet: Some(&fleet), approval: Some(&approval),
//! # };
//! # let placed = decide(&policy, &request, Now::new(0, value["now"].as_u64().unwrap())).unwrap();
//! # assert_eq!(placed.executor.as_str(), "box");
//! # assert_eq!(placed.rejected[0].code.as_str(), "placement.fleet.exhausted");
//! ```
//!
//! The answer: `{"executor":"box","executor_kind":"os_isolated","code":"placement.chosen","posture":"os_isolated",
//! "container":"plain","workspace":"scratch","rejected":[{"executor":"w1","code":"placement.fleet.exhausted"}]}`.
//! A refusal has `"executor":null` and the code that says why.
//!
//! [`WorkerFleetCounts`]: crate::fleet::WorkerFleetCounts

mod approval;
mod container;
mod decide;
mod executor;
mod policy;
mod preflight;
mod recovery;
mod workspace;

pub use self::{
    approval::{Approval, ApprovalState},
    container::{
        ContainerError, ContainerNetwork, ContainerProfile, MAX_IMAGE_BYTES, MAX_MOUNTS, Mount, MountRoot,
    },
    decide::{Placement, PlacementRefusal, PlacementRequest, RejectedExecutor, ToolRequirements, decide},
    executor::{
        Executor, ExecutorKind, ExecutorState, Inventory, InventoryDocument, InventoryError, MAX_EXECUTORS,
        Posture, PostureLookup, RolloutMode,
    },
    policy::{
        MAX_PREVIEW_TOOLS, MAX_PROFILES, PlacementPolicy, PlacementPolicyDocument, PlacementPolicyError,
    },
    preflight::{PreflightEntry, PreflightReport, preflight},
    recovery::{RecoveryRules, RecoveryStep, StuckWork, recovery_plan},
    workspace::{
        HostPath, HostPathError, MAX_HOST_PATH_BYTES, WorkspaceProfile, WorkspaceProfileError,
        WorkspaceStrategy,
    },
};
