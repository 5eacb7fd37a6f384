//! Asking for a lease: everything that the lease will say, validated before anybody decides.

use alloc::sync::Arc;
use core::fmt;

use serde::{Deserialize, Serialize};

use super::{
    artifact::{ArtifactError, ArtifactTransport},
    grant::{GrantError, WorkerRunGrant},
    scope::{EgressScope, SecretScope},
    workspace::WorkspaceScope,
};
use crate::{
    capability::CapabilitySet,
    code::{Code, Coded},
    digest::{FieldHasher, Sha256Digest},
    id::{GrantId, IssuerId, RunId, ToolId, WorkerId},
    time::{Millis, Wall},
};

/// What a lease says about the run: fixed when it is asked for, the same for whoever gets it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct LeaseTerms {
    /// The run.
    pub run: RunId,
    /// Who made the grant.
    pub issuer: IssuerId,
    /// The grant that this attempt spends.
    pub grant: GrantId,
    /// When that grant ends.
    pub grant_expires: Wall,
    /// The tool.
    pub tool: ToolId,
    /// The capabilities that the run needs and may use.
    pub capabilities: CapabilitySet,
    /// The part of the workspace that is open to it.
    pub workspace: WorkspaceScope,
    /// What goes in and may come out.
    pub artifacts: ArtifactTransport,
    /// The egress rules that its requests may use.
    pub egress: EgressScope,
    /// The secrets that its requests may use.
    pub secrets: SecretScope,
    /// See [`Self::spent_as`]. Derived, and absent in terms that were read back.
    #[serde(skip)]
    spent_as: SpentAs,
}

/// A digest that is derived from its neighbours: it takes no part in equality.
#[derive(Clone, Copy, Default)]
struct SpentAs(Option<Sha256Digest>);

impl fmt::Debug for SpentAs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Equal terms look equal, whether they were read back or not.
        f.write_str("..")
    }
}

impl PartialEq for SpentAs {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for SpentAs {}

impl SpentAs {
    fn of(issuer: &IssuerId, grant: &GrantId) -> Sha256Digest {
        FieldHasher::new("spent-grant.v1")
            .field(issuer.as_str().as_bytes())
            .field(grant.as_str().as_bytes())
            .finish()
    }
}

impl LeaseTerms {
    /// What the grant is remembered by once it is spent: its issuer and its id together, since ids are unique per
    /// issuer. Hashed once, when the request is built, however often the fleet looks it up.
    pub(crate) fn spent_as(&self) -> Sha256Digest {
        self.spent_as.0.unwrap_or_else(|| SpentAs::of(&self.issuer, &self.grant))
    }
}

/// Why a request cannot be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The grant does not cover what is asked for.
    #[error(transparent)]
    Grant(#[from] GrantError),
    /// The artifacts contradict themselves.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
}

impl Coded for RequestError {
    fn code(&self) -> Code {
        match self {
            Self::Grant(error) => error.code(),
            Self::Artifact(error) => error.code(),
        }
    }
}

/// A request for a lease, complete and within its grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WorkerLeaseRequest {
    grant: WorkerRunGrant,
    terms: Arc<LeaseTerms>,
    ttl: Millis,
    worker: Option<WorkerId>,
}

impl WorkerLeaseRequest {
    /// A request to run `tool` under `grant` with `capabilities`, for `ttl` at a time, in `workspace`.
    /// Artifacts, egress and secrets are nothing until they are given.
    ///
    /// # Errors
    /// [`GrantError::OtherTool`], [`GrantError::NoCapabilities`], [`GrantError::Capabilities`].
    pub fn new(
        grant: WorkerRunGrant,
        tool: ToolId,
        capabilities: CapabilitySet,
        ttl: Millis,
        workspace: WorkspaceScope,
    ) -> Result<Self, RequestError> {
        let granted = grant.terms();
        if granted.tool != tool {
            return Err(GrantError::OtherTool.into());
        }
        if capabilities.is_empty() {
            return Err(GrantError::NoCapabilities.into());
        }
        if !capabilities.is_subset_of(&granted.capabilities) {
            return Err(GrantError::Capabilities.into());
        }
        let terms = Arc::new(LeaseTerms {
            run: granted.run.clone(),
            issuer: granted.issuer.clone(),
            grant: granted.id.clone(),
            grant_expires: granted.expires,
            tool,
            capabilities,
            workspace,
            artifacts: ArtifactTransport::nothing(),
            egress: EgressScope::none(),
            secrets: SecretScope::none(),
            spent_as: SpentAs(Some(SpentAs::of(&granted.issuer, &granted.id))),
        });
        Ok(Self { grant, terms, ttl, worker: None })
    }

    /// With these artifacts.
    ///
    /// # Errors
    /// [`ArtifactError`] where the lists are over their bounds or demand what they do not allow.
    pub fn with_artifacts(mut self, artifacts: ArtifactTransport) -> Result<Self, RequestError> {
        artifacts.check()?;
        Arc::make_mut(&mut self.terms).artifacts = artifacts;
        Ok(self)
    }

    /// With these egress rules and secrets.
    #[must_use]
    pub fn with_egress(mut self, egress: EgressScope, secrets: SecretScope) -> Self {
        let terms = Arc::make_mut(&mut self.terms);
        terms.egress = egress;
        terms.secrets = secrets;
        self
    }

    /// On this worker and no other. The answer says the same about the worker as if the fleet had chosen it.
    #[must_use]
    pub fn on_worker(mut self, worker: WorkerId) -> Self {
        self.worker = Some(worker);
        self
    }

    /// The grant that it spends.
    pub fn grant(&self) -> &WorkerRunGrant {
        &self.grant
    }

    /// What the lease will say.
    pub fn terms(&self) -> &Arc<LeaseTerms> {
        &self.terms
    }

    /// How long the lease shall last before it must be renewed.
    pub fn ttl(&self) -> Millis {
        self.ttl
    }

    /// The worker that it must be, where one was named.
    pub fn worker(&self) -> Option<&WorkerId> {
        self.worker.as_ref()
    }
}
