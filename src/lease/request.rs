//! Requests for a lease. A request contains everything that the lease will say and is validated when it is
//! built.

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

/// The terms of a lease: what it says about the run. They are fixed by the request and the same for every
/// worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct LeaseTerms {
    /// The run.
    pub run: RunId,
    /// The issuer of the grant.
    pub issuer: IssuerId,
    /// The grant that this attempt spends.
    pub grant: GrantId,
    /// When the grant expires.
    pub grant_expires: Wall,
    /// The tool.
    pub tool: ToolId,
    /// The capabilities that the run needs and may use.
    pub capabilities: CapabilitySet,
    /// The part of the workspace that the run may touch.
    pub workspace: WorkspaceScope,
    /// The inputs of the run, and the outputs that it may return.
    pub artifacts: ArtifactTransport,
    /// The egress rules that the run's requests may use.
    pub egress: EgressScope,
    /// The secrets that the run's requests may use.
    pub secrets: SecretScope,
    /// The digest of [`Self::spent_as`]. Derived, and absent in terms that were deserialised.
    #[serde(skip)]
    spent_as: SpentAs,
}

/// A digest that is derived from other members. It takes no part in equality.
#[derive(Clone, Copy, Default)]
struct SpentAs(Option<Sha256Digest>);

impl fmt::Debug for SpentAs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Equal terms have equal output, whether they were deserialised or not.
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
    /// The digest by which a spent grant is remembered. It covers the issuer and the id, because ids are
    /// unique per issuer. It is computed once, when the request is built.
    pub(crate) fn spent_as(&self) -> Sha256Digest {
        self.spent_as.0.unwrap_or_else(|| SpentAs::of(&self.issuer, &self.grant))
    }
}

/// Why a request cannot be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The grant does not allow what is requested.
    #[error(transparent)]
    Grant(#[from] GrantError),
    /// The artifact rules contradict themselves.
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

/// A request for a lease. It is complete, and its grant allows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WorkerLeaseRequest {
    grant: WorkerRunGrant,
    terms: Arc<LeaseTerms>,
    ttl: Millis,
    worker: Option<WorkerId>,
    at_least: Millis,
    probe: bool,
}

impl WorkerLeaseRequest {
    /// A request to run `tool` under `grant` with `capabilities` in `workspace`, with a lease of `ttl` at a
    /// time. It allows no artifacts, egress or secrets until they are added.
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
        Ok(Self { grant, terms, ttl, worker: None, at_least: Millis::ZERO, probe: false })
    }

    /// Sets the artifact rules.
    ///
    /// # Errors
    /// [`ArtifactError`] if a list is too long or a required output is not allowed.
    pub fn with_artifacts(mut self, artifacts: ArtifactTransport) -> Result<Self, RequestError> {
        artifacts.check()?;
        Arc::make_mut(&mut self.terms).artifacts = artifacts;
        Ok(self)
    }

    /// Sets the egress rules and secrets.
    #[must_use]
    pub fn with_egress(mut self, egress: EgressScope, secrets: SecretScope) -> Self {
        let terms = Arc::make_mut(&mut self.terms);
        terms.egress = egress;
        terms.secrets = secrets;
        self
    }

    /// Requests the lease on this worker and no other. The same checks apply as if the fleet had chosen the
    /// worker.
    #[must_use]
    pub fn on_worker(mut self, worker: WorkerId) -> Self {
        self.worker = Some(worker);
        self
    }

    /// Requests the lease on this worker even if it is set aside because too many runs in a row ended badly
    /// on it. If the run ends well, the worker is no longer set aside.
    #[must_use]
    pub fn as_probe_of(mut self, worker: WorkerId) -> Self {
        self.worker = Some(worker);
        self.probe = true;
        self
    }

    /// Whether the lease may go to a worker that is set aside.
    pub const fn is_probe(&self) -> bool {
        self.probe
    }

    /// Requires a worker that can be leased for at least `span` in all, renewals included: its evidence and
    /// its certificate must last so long. The default is the fleet's shortest lease.
    #[must_use]
    pub const fn for_at_least(mut self, span: Millis) -> Self {
        self.at_least = span;
        self
    }

    /// For how long the worker must be leasable at least. Zero means the fleet's shortest lease.
    pub const fn at_least(&self) -> Millis {
        self.at_least
    }

    /// The grant that the attempt spends.
    pub fn grant(&self) -> &WorkerRunGrant {
        &self.grant
    }

    /// The terms of the lease.
    pub fn terms(&self) -> &Arc<LeaseTerms> {
        &self.terms
    }

    /// How long the lease lasts before it must be renewed.
    pub fn ttl(&self) -> Millis {
        self.ttl
    }

    /// The worker that the request names.
    pub fn worker(&self) -> Option<&WorkerId> {
        self.worker.as_ref()
    }
}
