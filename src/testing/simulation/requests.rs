//! What services have asked, and what they were told.

use alloc::{
    boxed::Box,
    collections::BTreeMap,
    format,
    string::{String, ToString as _},
    vec::Vec,
};

use super::{
    random::Random,
    report::{Breach, Counts, breach},
    terms,
};
use crate::{
    code::{self, Coded as _},
    coordinator::{LocalAnswer, RequestTag, ServiceRequest},
    fleet::Acquire,
    id::{FleetId, GrantId, IssuerId, RunId, ToolId},
    lease::{
        Artifact, ArtifactManifest, ArtifactTransport, Fence, GrantTerms, RelativePath, WorkerLeaseRequest,
        WorkerRunGrant, WorkspaceScope,
    },
    testing::World,
    time::{Millis, Now},
};

/// A run that a service wants done.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) run: RunId,
    letters: &'static str,
    has_inputs: bool,
}

/// The service's own memory: it outlives the coordinator's processes.
#[derive(Debug)]
pub(super) struct Requests {
    pub(super) runs: Vec<Wanted>,
    grants: u64,
    sequence: u64,
    /// What was asked last, by the service's own number.
    asked: BTreeMap<u64, Acquire>,
    /// The lease that each number was answered with.
    told: BTreeMap<u64, Fence>,
    refused: Option<String>,
}

impl Requests {
    pub(super) fn new(runs: u32) -> Self {
        let wanted = |n: u32| Wanted {
            run: World::run_id(n),
            letters: ["a", "b", "ab"][n as usize % 3],
            has_inputs: n.is_multiple_of(2),
        };
        let runs = (0..runs).map(wanted).collect();
        Self { runs, grants: 0, sequence: 0, asked: BTreeMap::new(), told: BTreeMap::new(), refused: None }
    }

    /// Why a lease was refused last.
    pub(super) fn last_refusal(&self) -> &str {
        self.refused.as_deref().unwrap_or("none")
    }

    /// The one input that runs have.
    pub(super) fn input() -> (RelativePath, Vec<u8>) {
        (RelativePath::new("in/data").expect("a path"), b"input".to_vec())
    }

    /// A request for a lease under a grant of its own. The tag is the number under which it is remembered.
    pub(super) fn acquire(
        &mut self,
        wanted: &Wanted,
        fleet: &FleetId,
        ttl: Millis,
        lifetime: Millis,
        now: Now,
    ) -> (u64, ServiceRequest) {
        self.grants += 1;
        self.sequence += 1;
        let capabilities = World::capabilities(wanted.letters);
        let tool = ToolId::new("tool").expect("an id");
        let grant = WorkerRunGrant::mint(GrantTerms {
            id: GrantId::new(&terms::grant_name(self.grants)).expect("an id"),
            fleet: fleet.clone(),
            issuer: IssuerId::new("service").expect("an id"),
            run: wanted.run.clone(),
            tool: tool.clone(),
            capabilities: capabilities.clone(),
            issued: now.wall,
            expires: now.wall.plus(lifetime),
        })
        .expect("a grant");
        let path = |text: &str| RelativePath::new(text).expect("a path");
        let scope = WorkspaceScope::new(path(wanted.run.as_str()), [path("out")]).expect("a scope");
        let request = WorkerLeaseRequest::new(grant, tool, capabilities, ttl, scope).expect("a request");
        let request = request.with_artifacts(artifacts(wanted.has_inputs)).expect("artifacts");
        let acquire = Acquire::new(request);
        self.asked.insert(self.sequence, acquire.clone());
        while self.asked.len() > 8 {
            self.asked.pop_first();
        }
        (self.sequence, ServiceRequest::Acquire(Box::new(acquire)))
    }

    /// One of the last requests once more, under its number, as it was.
    pub(super) fn again(&self, random: &mut Random) -> Option<(u64, ServiceRequest)> {
        let (sequence, acquire) = self.asked.iter().nth(random.index(self.asked.len()))?;
        Some((*sequence, ServiceRequest::Acquire(Box::new(acquire.clone()))))
    }

    /// The grant of one of the last requests in a new request.
    pub(super) fn replayed(&mut self, random: &mut Random) -> Option<(u64, ServiceRequest)> {
        let acquire = self.asked.values().nth(random.index(self.asked.len()))?.clone();
        self.sequence += 1;
        self.asked.insert(self.sequence, acquire.clone());
        Some((self.sequence, ServiceRequest::Acquire(Box::new(acquire))))
    }

    /// Takes in an answer. The same number has the same one for ever (the answer that lasts, or a refusal that says that it is
    /// too old).
    pub(super) fn answered(
        &mut self,
        tag: RequestTag,
        answer: &LocalAnswer,
        counts: &mut Counts,
    ) -> Result<(), Breach> {
        let LocalAnswer::Acquired(outcome) = answer else {
            counts.refused += u64::from(is_refusal(answer));
            return Ok(());
        };
        let before = self.told.get(&tag.0).copied();
        match outcome {
            Ok(acquired) => {
                let fence = acquired.lease.fence;
                counts.repeated += u64::from(before.is_some());
                if before.is_some_and(|before| before != fence) {
                    return Err(breach(
                        1,
                        format!("request {} is answered with {fence} and {before:?}", tag.0),
                    ));
                }
                self.told.insert(tag.0, fence);
            }
            Err(error) => {
                counts.refused += 1;
                let code = error.code();
                self.refused = Some(format!("{code}: {error}"));
                if before.is_some() && [code::GRANT_SPENT, code::RUN_LEASED].contains(&code) {
                    let told = before.map(|fence| fence.to_string());
                    return Err(breach(8, format!("request {} got {told:?}, and now {code}", tag.0)));
                }
            }
        }
        Ok(())
    }
}

const fn is_refusal(answer: &LocalAnswer) -> bool {
    matches!(
        answer,
        LocalAnswer::Revoked(Err(_))
            | LocalAnswer::Managed(Err(_))
            | LocalAnswer::Enqueued(Err(_))
            | LocalAnswer::Done(Err(_))
    )
}

fn artifacts(has_inputs: bool) -> ArtifactTransport {
    let (path, content) = Requests::input();
    let inputs = has_inputs.then(|| Artifact::of(path, &content));
    let mut artifacts = ArtifactTransport::nothing();
    artifacts.inputs = ArtifactManifest::new(inputs).expect("one input");
    artifacts.outputs_within = Vec::from([RelativePath::new("out").expect("a path")]);
    artifacts.max_output_bytes = 100;
    artifacts.max_log_bytes = 100;
    artifacts
}
