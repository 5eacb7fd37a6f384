//! Leases: what a run is granted, what the holder of a lease may touch, and what it reports when it returns
//! the lease.
//!
//! A service mints or opens a [`WorkerRunGrant`] and builds a [`WorkerLeaseRequest`] from it. The fleet
//! answers with a [`WorkerLease`]: worker, incarnation, terms, expiry, and the [`Fence`] that every later
//! operation under the lease carries.

mod artifact;
mod cleanup;
mod grant;
mod request;
mod scope;
mod terms;
mod workspace;

pub use crate::fence::{Epoch, Fence, FenceError};
pub use artifact::{
    Artifact, ArtifactError, ArtifactManifest, ArtifactReceiver, ArtifactTransport, MAX_ARTIFACTS,
    OutputClaim, ReceivedArtifacts,
};
pub use cleanup::{CleanupError, CleanupRule, Inspection, Removal, WorkerCleanupReport};
pub use grant::{GRANT_PAYLOAD_TYPE, GrantError, GrantIssuers, GrantTerms, WorkerRunGrant, seal_grant};
pub use request::{LeaseTerms, RequestError, WorkerLeaseRequest};
pub use scope::{
    EgressScope, MAX_SCOPE, MAX_SECRET_REF_BYTES, ScopeError, SecretRef, SecretRefError, SecretScope,
};
pub use terms::{LeaseFacts, WorkerLease};
pub use workspace::{
    MAX_PATH_BYTES, MAX_PATH_DEPTH, MAX_SCOPE_PATHS, RelativePath, WorkspaceError, WorkspaceScope,
};
