//! Which egress rules and which secrets a lease may use.

use alloc::{string::String, vec::Vec};

use serde::{Deserialize, Serialize};

use crate::id::RuleId;

/// The egress rules that a lease may use. Empty reaches nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EgressScope(Vec<RuleId>);

impl EgressScope {
    /// No rule at all.
    pub const fn nothing() -> Self {
        Self(Vec::new())
    }
}

/// The secrets that a lease's requests may use. Empty uses none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretScope(Vec<String>);

impl SecretScope {
    /// No secret at all.
    pub const fn nothing() -> Self {
        Self(Vec::new())
    }
}
