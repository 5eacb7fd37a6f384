//! The command documents: one member, named after the operation.
//!
//! As `worker` (each with `device`, and optionally `certificate_sha256`: the channel that it comes over):
//! `challenge`, `attest` (`document` as an object whose nonce may be `"@challenge"`, or `evidence` as base64; `attachments`;
//! `form`; `resume`), `heartbeat`, `start`, `renew`, `complete` (`outcome`, `artifacts` and `log` as the bytes that
//! arrive in base64, `claim` where it differs from them, `cleanup`), `report_cleanup`, `acknowledge_revocation`.
//! As `service`: `acquire` (`grant`, `ttl_ms`, and optionally `capabilities`, `tool`, `worker`, `workspace`,
//! `artifacts`, `egress`, `secrets`), `revoke`, `tick`. As `operator`: `quarantine`, `quarantine_all`, `release`, `drain`, `undrain`, `reverify`, `force_cleanup`, `retire`,
//! `set_policy`, `accept_wall`, `revoke`, `tick`. A `fence` or `handle` that is left out is the one that the peer was told last.
//! What is about devices, pairing and dispatch is in `nodes.rs`, what is about trust anchors in `anchors.rs`.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use leasehold::{
    attestation::EvidenceForm,
    capability::CapabilitySet,
    digest::Sha256Digest,
    fleet::*,
    id::*,
    lease::*,
    time::{Millis, Wall},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};

use super::{Done, Rejection, anchors, nodes, peers::Peers};

const WORKER: [&str; 8] = [
    "challenge",
    "attest",
    "heartbeat",
    "start",
    "renew",
    "complete",
    "report_cleanup",
    "acknowledge_revocation",
];
const SERVICE: [&str; 1] = ["acquire"];
const OPERATOR: [&str; 10] = [
    "accept_wall",
    "quarantine",
    "quarantine_all",
    "release",
    "drain",
    "undrain",
    "reverify",
    "force_cleanup",
    "retire",
    "set_policy",
];

/// The one member of a command document.
fn only(act: &Map<String, Value>) -> Result<(&str, &Value), Rejection> {
    match act.iter().collect::<Vec<_>>()[..] {
        [(name, body)] => Ok((name, body)),
        _ => Err(Rejection::malformed("a command has exactly one member")),
    }
}

pub fn read<T: DeserializeOwned>(body: &Value) -> Result<T, Rejection> {
    serde_json::from_value(body.clone()).map_err(Rejection::malformed)
}

/// A command that is not in the group: another group's act is not for this principal, anything else is no command.
fn elsewhere(name: &str) -> Rejection {
    let groups: [&[&str]; 7] =
        [&WORKER, &SERVICE, &OPERATOR, &nodes::WORKER, &nodes::SERVICE, &nodes::OPERATOR, &anchors::OPERATOR];
    if groups.iter().any(|group| group.contains(&name)) || name == "revoke" {
        CommandError::Principal.into()
    } else {
        Rejection::malformed("no such command")
    }
}

fn bytes(text: &str) -> Result<Vec<u8>, Rejection> {
    STANDARD.decode(text).map_err(Rejection::malformed)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AttestForm {
    device: DeviceId,
    certificate_sha256: Option<Sha256Digest>,
    #[serde(default = "json_form")]
    form: EvidenceForm,
    document: Option<Value>,
    #[serde(default)]
    attachments: Vec<String>,
    evidence: Option<String>,
    nonce: Option<String>,
    #[serde(default)]
    resume: bool,
}

fn json_form() -> EvidenceForm {
    EvidenceForm::Json
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OverChannel {
    device: DeviceId,
    certificate_sha256: Option<Sha256Digest>,
    handle: Option<WorkerHandle>,
    fence: Option<Fence>,
    outcome: Option<RunOutcome>,
    claim: Option<OutputClaim>,
    #[serde(default)]
    artifacts: BTreeMap<RelativePath, String>,
    #[serde(default)]
    log: String,
    cleanup: Option<CleanupForm>,
    /// What the coordinator's own look found.
    inspection: Option<u64>,
}

/// A cleanup report; what is left out is as an honest worker would say it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CleanupForm {
    fence: Option<Fence>,
    lease: Option<Sha256Digest>,
    workspace: Option<Removal>,
    artifacts: Option<Removal>,
    logs: Option<Removal>,
    scratch: Option<Removal>,
}

impl CleanupForm {
    fn report(&self, lease: &WorkerLease) -> WorkerCleanupReport {
        let honest = Peers::clean(lease);
        WorkerCleanupReport {
            fence: self.fence.unwrap_or(honest.fence),
            lease: self.lease.unwrap_or(honest.lease),
            workspace: self.workspace.unwrap_or(honest.workspace),
            artifacts: self.artifacts.unwrap_or(honest.artifacts),
            logs: self.logs.unwrap_or(honest.logs),
            scratch: self.scratch.unwrap_or(honest.scratch),
        }
    }
}

pub fn worker(peers: &mut Peers, act: &Map<String, Value>) -> Result<Done, Rejection> {
    let (name, body) = only(act)?;
    if name == "attest" {
        return attest(peers, &read(body)?);
    }
    if nodes::WORKER.contains(&name) {
        return nodes::worker(peers, name, body);
    }
    if !WORKER.contains(&name) {
        return Err(elsewhere(name));
    }
    let form: OverChannel = read(body)?;
    let principal = peers.channel(&form.device, form.certificate_sha256);
    let handle = form.handle.unwrap_or_else(|| peers.handle(&form.device));
    let lease = peers.leases.get(&form.device).cloned();
    let fence = form.fence.or_else(|| lease.as_ref().map(|lease| lease.fence));
    let fence = fence.unwrap_or(Fence::new(Epoch(0), 0));
    let inspection = form.inspection.map(Inspection::found);
    let report = match (&form.cleanup, &lease) {
        (Some(form), Some(lease)) => Some(form.report(lease)),
        (Some(_), None) => {
            return Err(Rejection::malformed("this device was never given a lease to clean up after"));
        }
        (None, _) => None,
    };
    match name {
        "challenge" => {
            let (events, answer) = peers.ask(&Challenge {}, &principal)?;
            let shown = json!({"nonce": hex::encode(&answer.nonce), "ttl_ms": answer.ttl});
            peers.nonces.insert(form.device, answer.nonce);
            Ok((events, shown))
        }
        "heartbeat" => {
            let now = peers.now;
            match peers.fleet.heartbeat(handle, &principal, now)? {
                Some(prepared) => peers.finish(prepared).map(|(events, ())| (events, Value::Null)),
                None => Ok((Vec::new(), Value::Null)),
            }
        }
        "start" => peers.tell(&Start { worker: handle, fence }, &principal),
        "renew" => peers.tell(&Renew { worker: handle, fence }, &principal),
        "complete" => {
            let mut receiver = ArtifactReceiver::new(64 << 20);
            for (path, content) in &form.artifacts {
                receiver.output(path, &bytes(content)?)?;
            }
            receiver.log(&bytes(&form.log)?)?;
            let received = receiver.finish()?;
            let arrived = OutputClaim { outputs: received.outputs().clone(), log: received.log() };
            let outcome = form.outcome.unwrap_or(RunOutcome::Succeeded);
            let mut complete = Complete::new(handle, fence, outcome, form.claim.unwrap_or(arrived), received);
            complete.cleanup = report;
            complete.inspection = inspection;
            peers.tell(&complete, &principal)
        }
        "report_cleanup" => {
            let report = report.or_else(|| lease.as_ref().map(Peers::clean));
            let report = report.ok_or_else(|| Rejection::malformed("nothing to clean up after"))?;
            peers.tell(&ReportCleanup::new(handle, report, inspection), &principal)
        }
        _ => peers.tell(&AcknowledgeRevocation::new(handle, fence, report, inspection), &principal),
    }
}

fn attest(peers: &mut Peers, form: &AttestForm) -> Result<Done, Rejection> {
    let principal = peers.channel(&form.device, form.certificate_sha256);
    let nonce = match &form.nonce {
        Some(text) => hex::decode(text).map_err(Rejection::malformed)?,
        None => peers.nonces.get(&form.device).cloned().unwrap_or_default(),
    };
    let evidence = match (&form.document, &form.evidence) {
        (Some(document), None) => {
            let mut document = document.clone();
            if let Some(place) = document.get_mut("nonce")
                && place == "@challenge"
            {
                *place = json!(hex::encode(&nonce));
            }
            serde_json::to_vec(&document).map_err(Rejection::malformed)?
        }
        (None, Some(text)) => bytes(text)?,
        _ => return Err(Rejection::malformed("attest carries either document or evidence")),
    };
    let resume = form.resume.then(|| peers.handle(&form.device));
    let attachments = form.attachments.iter().map(|text| bytes(text)).collect::<Result<_, _>>()?;
    let attest = Attest { nonce, form: form.form, evidence, attachments, resume };
    let (events, answer) = peers.ask(&attest, &principal)?;
    let shown = peers.attested(&form.device, &answer);
    Ok((events, shown))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GrantForm {
    id: GrantId,
    fleet: Option<FleetId>,
    issuer: Option<IssuerId>,
    run: RunId,
    tool: ToolId,
    capabilities: CapabilitySet,
    issued: Wall,
    expires: Wall,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AcquireForm {
    grant: GrantForm,
    tool: Option<ToolId>,
    capabilities: Option<CapabilitySet>,
    ttl_ms: Millis,
    worker: Option<WorkerId>,
    workspace: Option<WorkspaceScope>,
    artifacts: Option<ArtifactTransport>,
    #[serde(default)]
    egress: EgressScope,
    #[serde(default)]
    secrets: SecretScope,
}

fn acquire(peers: &mut Peers, form: AcquireForm) -> Result<Done, Rejection> {
    let fleet = peers.fleet.state().policy().fleet.clone();
    let GrantForm { id, fleet: other, issuer, run, tool, capabilities, issued, expires } = form.grant;
    let issuer = issuer.map_or_else(|| IssuerId::new("service"), Ok)?;
    let fleet = other.unwrap_or(fleet);
    // The service mints its own grants: it is the issuer.
    let grant = WorkerRunGrant::mint(GrantTerms {
        id,
        fleet,
        issuer,
        run,
        tool: tool.clone(),
        capabilities: capabilities.clone(),
        issued,
        expires,
    })?;
    let workspace = match form.workspace {
        Some(workspace) => workspace,
        None => WorkspaceScope::new(RelativePath::new("run")?, [RelativePath::new("out")?])?,
    };
    let tool = form.tool.unwrap_or(tool);
    let capabilities = form.capabilities.unwrap_or(capabilities);
    let mut request = WorkerLeaseRequest::new(grant, tool, capabilities, form.ttl_ms, workspace)?
        .with_egress(form.egress, form.secrets);
    if let Some(artifacts) = form.artifacts {
        request = request.with_artifacts(artifacts)?;
    }
    if let Some(worker) = form.worker {
        request = request.on_worker(worker);
    }
    let (events, answer) = peers.ask(&Acquire::new(request), &Peers::service()?)?;
    let shown = peers.acquired(&answer);
    Ok((events, shown))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RevokeForm {
    run: RunId,
    fence: Option<Fence>,
}

fn revoke(peers: &mut Peers, form: RevokeForm, principal: &Principal) -> Result<Done, Rejection> {
    let told = peers.runs.get(&form.run).map(|lease| lease.fence);
    let fence = form.fence.or(told).unwrap_or(Fence::new(Epoch(0), 0));
    peers.tell(&RevokeRun::new(form.run, fence), principal)
}

pub fn service(peers: &mut Peers, act: &Map<String, Value>) -> Result<Done, Rejection> {
    let (name, body) = only(act)?;
    match name {
        "acquire" => acquire(peers, read(body)?),
        "revoke" => revoke(peers, read(body)?, &Peers::service()?),
        _ if nodes::SERVICE.contains(&name) => nodes::service(peers, name, body),
        "tick" => Ok((Vec::new(), Value::Null)),
        _ => Err(elsewhere(name)),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ForceForm {
    worker: WorkerId,
    fence: Option<Fence>,
}

pub fn operator(peers: &mut Peers, act: &Map<String, Value>) -> Result<Done, Rejection> {
    let (name, body) = only(act)?;
    let operator = Peers::operator()?;
    match name {
        _ if nodes::OPERATOR.contains(&name) => nodes::operator(peers, name, body),
        _ if anchors::OPERATOR.contains(&name) => anchors::operator(peers, name, body),
        "quarantine" => peers.tell(&read::<QuarantineWorker>(body)?, &operator),
        "quarantine_all" => peers.tell(&read::<QuarantineAll>(body)?, &operator),
        "release" => peers.tell(&read::<Release>(body)?, &operator),
        "drain" => peers.tell(&read::<Drain>(body)?, &operator),
        "undrain" => peers.tell(&read::<Undrain>(body)?, &operator),
        "reverify" => peers.tell(&read::<Reverify>(body)?, &operator),
        "retire" => peers.tell(&read::<Retire>(body)?, &operator),
        "force_cleanup" => {
            let form: ForceForm = read(body)?;
            let device = peers.fleet.state().worker(&form.worker).map(|worker| worker.device.clone());
            let told = device.and_then(|device| peers.leases.get(&device)).map(|lease| lease.fence);
            let fence = form.fence.or(told).unwrap_or(Fence::new(Epoch(0), 0));
            peers.tell(&ForceCleanup { worker: form.worker, fence }, &operator)
        }
        "accept_wall" => peers.tell(&read::<AcceptWall>(body)?, &operator),
        "set_policy" => {
            let policy = body.get("policy").and_then(Value::as_object).cloned();
            let policy = policy.ok_or_else(|| Rejection::malformed("set_policy carries a policy"))?;
            let policy = super::read_policy(policy)
                .map_err(|refused| Rejection { code: refused.code, message: refused.message })?;
            peers.tell(&SetPolicy { policy }, &operator)
        }
        "revoke" => revoke(peers, read(body)?, &operator),
        "tick" => Ok((Vec::new(), Value::Null)),
        _ => Err(elsewhere(name)),
    }
}
