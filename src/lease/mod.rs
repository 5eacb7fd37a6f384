//! The lease: what a run is granted, what a holder may touch, and what it reports when it gives the work back.

mod fence;
mod scope;

pub use fence::{Epoch, Fence};
pub use scope::{
    EgressScope, MAX_SCOPE, MAX_SECRET_REF_BYTES, ScopeError, SecretRef, SecretRefError, SecretScope,
};
