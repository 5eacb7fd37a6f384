//! From a job to a request for a lease: grant, workspace, artifacts, egress.

use leasehold::{
    capability::CapabilitySet,
    id::{FleetId, GrantId, RunId, ToolId},
    lease::{
        Artifact, ArtifactManifest, ArtifactTransport, EgressScope, GrantTerms, RelativePath, SecretScope,
        WorkerLeaseRequest, WorkerRunGrant, WorkspaceScope,
    },
    time::{Millis, Now},
};

use crate::{
    Failure,
    jobs::{Job, Work},
    policy,
    work::{INPUT, OUTPUTS, TASK},
};

/// How long a grant is good for.
const GRANT: Millis = Millis::from_secs(300);
/// The most bytes that a job may give back.
pub const MAX_OUTPUT: u64 = 8 << 20;
/// The most bytes of its log.
const MAX_LOG: u64 = 64 << 10;

/// Everything that says what one attempt may do. `attempt` counts from 1; `grant` is the grant's name.
pub fn lease(
    job: &Job,
    attempt: u32,
    grant: &str,
    inputs: &Inputs,
    fleet: &FleetId,
    ttl: Millis,
    now: Now,
) -> Result<WorkerLeaseRequest, Failure> {
    let path = |text: &str| RelativePath::new(text).map_err(Failure::coded);
    let kind = job.work.kind();
    let capabilities = CapabilitySet::parse([policy::capability(kind).as_str()]).map_err(Failure::coded)?;
    let tool = ToolId::new(kind).map_err(Failure::coded)?;
    let grant = WorkerRunGrant::mint(GrantTerms {
        id: GrantId::new(grant).map_err(Failure::coded)?,
        fleet: fleet.clone(),
        issuer: policy::issuer()?,
        run: job.id.clone(),
        tool: tool.clone(),
        capabilities: capabilities.clone(),
        issued: now.wall,
        expires: now.wall.plus(GRANT),
    })
    .map_err(Failure::coded)?;
    let workspace = WorkspaceScope::new(path(&workspace(&job.id, attempt))?, [path("in")?, path(OUTPUTS)?])
        .map_err(Failure::coded)?;
    let mut artifacts = ArtifactTransport::nothing();
    artifacts.inputs =
        ArtifactManifest::new(inputs.iter().map(|(path, content)| Artifact::of(path.clone(), content)))
            .map_err(Failure::coded)?;
    artifacts.outputs_within = vec![path(OUTPUTS)?];
    artifacts.outputs_required =
        required(&job.work).iter().map(|name| path(name)).collect::<Result<_, _>>()?;
    artifacts.max_output_bytes = MAX_OUTPUT;
    artifacts.max_log_bytes = MAX_LOG;
    artifacts.max_scratch_bytes = MAX_OUTPUT;
    let egress = match job.work {
        Work::Fetch { .. } => policy::egress_scope()?,
        _ => EgressScope::none(),
    };
    WorkerLeaseRequest::new(grant, tool, capabilities, ttl, workspace)
        .and_then(|request| request.with_artifacts(artifacts))
        .map(|request| request.with_egress(egress, SecretScope::none()))
        .map_err(Failure::coded)
}

/// The directory of one attempt, below the one of its worker.
pub fn workspace(run: &RunId, attempt: u32) -> String {
    format!("{run}.{attempt}")
}

/// Files by path.
pub type Inputs = Vec<(RelativePath, Vec<u8>)>;

/// What goes into every attempt of a job.
pub fn inputs(job: &Job) -> Result<Inputs, Failure> {
    let path = |text: &str| RelativePath::new(text).map_err(Failure::coded);
    let mut inputs = vec![(path(TASK)?, serde_json::to_vec(job)?)];
    if let Some(content) = input(job)? {
        inputs.push((path(INPUT)?, content));
    }
    Ok(inputs)
}

/// What the job works on, where it works on something.
fn input(job: &Job) -> Result<Option<Vec<u8>>, Failure> {
    match (&job.work, job.work.file()) {
        (Work::Transform { text: Some(text), .. }, _) => Ok(Some(text.clone().into_bytes())),
        (_, Some(file)) => Ok(Some(std::fs::read(file)?)),
        _ => Ok(None),
    }
}

/// The outputs without which a job is not done.
fn required(work: &Work) -> &'static [&'static str] {
    match work {
        Work::Hash { .. } => &["out/sha256.txt"],
        Work::Words { .. } => &["out/counts.json"],
        Work::Transform { .. } => &["out/result"],
        Work::Fetch { .. } => &["out/body"],
        _ => &[],
    }
}
