//! Kind `fleet`: a sequence of commands, each as the peer or operator would send it, against a fleet of its own.
//!
//! The commands and their members are documented in `commands.rs`, `nodes.rs` and `anchors.rs`. Every deadline that has passed at a command's
//! time takes effect before the command is decided; its events are the step's `deadlines`.

use leasehold::{
    attestation::{AttestationPolicy, signature::DefaultVerifier},
    code::{self, Code, Coded},
    fleet::{FleetEvent, Setup, WorkerFleetManager, WorkerFleetPolicy, WorkerFleetPolicyForm, WorkerView},
    lease::Epoch,
    time::Now,
};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Map, Value, json};

use super::Refused;

mod anchors;
mod commands;
mod nodes;
mod pairing;
mod peers;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    #[serde(rename = "kind")]
    _kind: IgnoredAny,
    #[serde(rename = "id")]
    _id: Option<IgnoredAny>,
    policy: Map<String, Value>,
    commands: Vec<Command>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Command {
    /// The fleet's line, in milliseconds.
    at: u64,
    /// The wall clock, in milliseconds since the Unix epoch.
    wall: u64,
    #[serde(rename = "as")]
    role: Role,
    #[serde(rename = "do")]
    act: Map<String, Value>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Role {
    Worker,
    Service,
    Operator,
}

/// A step that was refused.
pub struct Rejection {
    code: Code,
    message: String,
}

impl Rejection {
    fn malformed(error: impl ToString) -> Self {
        Self { code: code::EXPLAIN_MALFORMED, message: error.to_string() }
    }
}

impl<E: Coded> From<E> for Rejection {
    fn from(error: E) -> Self {
        Self { code: error.code(), message: error.to_string() }
    }
}

/// The policy; `"evidence":"plain"` is this tool's own word for taking unsigned documents too.
fn read_policy(mut policy: Map<String, Value>) -> Result<WorkerFleetPolicy, Refused> {
    let evidence = policy.remove("evidence");
    match evidence.as_ref().map(Value::as_str) {
        None | Some(Some("signed")) => {}
        Some(Some("plain")) => {
            if let Some(attestation) = policy.get_mut("attestation").and_then(Value::as_object_mut) {
                attestation.insert("accept".into(), json!(["dsse", "json"]));
            }
        }
        Some(_) => return Err(Refused::new(code::EXPLAIN_MALFORMED, "evidence is \"plain\" or \"signed\"")),
    }
    let form: WorkerFleetPolicyForm = serde_json::from_value(Value::Object(policy))
        .map_err(|error| Refused::new(code::POLICY_INVALID, error.to_string()))?;
    let _: &AttestationPolicy = &form.attestation;
    WorkerFleetPolicy::try_from(form).map_err(|error| Refused::new(error.code(), error.to_string()))
}

pub fn answer(line: &[u8]) -> Result<Value, Refused> {
    let case: Case = serde_json::from_slice(line)?;
    let policy = read_policy(case.policy)?;
    let start = case.commands.first().map_or(Now::new(0, 0), |first| Now::new(first.at, first.wall));
    // The same case gives the same answer, so the entropy of this fleet is none. It guards nothing.
    let setup = Setup::new([0; 64], anchors::own(), Box::new(DefaultVerifier));
    let fleet = WorkerFleetManager::found(policy, setup, Epoch(1), start)
        .map_err(|error| Refused::new(error.code(), error.to_string()))?;
    let mut peers = peers::Peers::new(fleet);
    peers.write();
    let steps: Vec<Value> = case.commands.iter().map(|command| step(&mut peers, command)).collect();
    let state = peers.fleet.state();
    let workers: Vec<Value> = state.workers().map(|worker| show(&worker)).collect();
    let (devices, requests) = nodes::show(&peers.fleet);
    let mut shown = json!({
        "steps": steps, "snapshot": state.counts(), "workers": workers, "devices": devices, "requests": requests,
    });
    if let (Some(object), Some(anchors)) = (shown.as_object_mut(), anchors::show(&peers.fleet)) {
        object.insert("anchors".into(), anchors);
    }
    Ok(shown)
}

fn step(peers: &mut peers::Peers, command: &Command) -> Value {
    peers.now = Now::new(command.at, command.wall);
    let deadlines = match peers.expire() {
        Ok(deadlines) => deadlines,
        Err(rejection) => return refused(&rejection),
    };
    let outcome = match command.role {
        Role::Worker => commands::worker(peers, &command.act),
        Role::Service => commands::service(peers, &command.act),
        Role::Operator => commands::operator(peers, &command.act),
    };
    let mut shown = match outcome {
        Ok((events, answer)) => json!({"ok": true, "events": events, "answer": answer}),
        Err(rejection) => refused(&rejection),
    };
    if let (Some(object), false) = (shown.as_object_mut(), deadlines.is_empty()) {
        object.insert("deadlines".into(), json!(deadlines));
    }
    shown
}

fn refused(rejection: &Rejection) -> Value {
    json!({"ok": false, "code": rejection.code, "message": rejection.message})
}

fn show(worker: &WorkerView<'_>) -> Value {
    json!({
        "id": worker.id,
        "state": worker.state,
        "draining": worker.draining,
        "quarantine": worker.reasons,
        "lease": worker.lease.map(|lease| json!({
            "run": lease.terms.run,
            "fence": lease.fence,
            "stage": worker.stage,
            "attempt": lease.attempt,
            "expires": lease.expires,
            "horizon": lease.horizon,
        })),
    })
}

/// What an accepted step did, and what its peer was told.
type Done = (Vec<FleetEvent>, Value);
