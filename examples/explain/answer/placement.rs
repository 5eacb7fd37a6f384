//! Kind `placement`: where may this tool run? The shapes are on the page of `leasehold::placement`.

use leasehold::{
    code::{self, Coded},
    fleet::WorkerFleetCounts,
    placement::{
        Approval, Inventory, InventoryDocument, PlacementPolicy, PlacementPolicyDocument, PlacementRequest,
        PostureLookup, ToolRequirements, decide, preflight,
    },
    time::Now,
};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Value, json};

use super::Refused;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    #[serde(rename = "kind")]
    _kind: IgnoredAny,
    #[serde(rename = "id", default)]
    _id: IgnoredAny,
    tool: ToolRequirements,
    #[serde(default)]
    posture: Option<String>,
    policy: PlacementPolicyDocument,
    inventory: InventoryDocument,
    #[serde(default)]
    fleet: Option<WorkerFleetCounts>,
    #[serde(default)]
    approval: Option<Approval>,
    now: u64,
}

/// A policy or inventory that is not valid places nothing, like every other refusal.
fn refused(error: &impl Coded) -> Value {
    json!({"executor": null, "code": error.code(), "message": error.to_string(), "rejected": []})
}

pub fn answer(line: &[u8]) -> Result<Value, Refused> {
    let question: Question = serde_json::from_slice(line)?;
    let policy = match PlacementPolicy::try_from(question.policy) {
        Ok(policy) => policy,
        Err(error) => return Ok(refused(&error)),
    };
    let inventory = match Inventory::try_from(question.inventory) {
        Ok(inventory) => inventory,
        Err(error) => return Ok(refused(&error)),
    };
    let request = PlacementRequest {
        tool: &question.tool,
        posture: PostureLookup::read(question.posture.as_deref()),
        inventory: &inventory,
        fleet: question.fleet.as_ref(),
        approval: question.approval.as_ref(),
    };
    let now = Now::new(0, question.now);
    let report = preflight(&policy, &request, now);
    Ok(match decide(&policy, &request, now) {
        Ok(placed) => json!({
            "executor": placed.executor,
            "executor_kind": placed.kind,
            "code": code::PLACEMENT_CHOSEN,
            "posture": placed.posture,
            "container": placed.container,
            "workspace": placed.workspace,
            "rejected": placed.rejected,
            "preflight": report.executors,
        }),
        Err(refusal) => json!({
            "executor": null,
            "code": refusal.code,
            "message": refusal.to_string(),
            "rejected": refusal.rejected,
            "preflight": report.executors,
        }),
    })
}
