#![allow(missing_docs)]
use serde::{Deserialize, Serialize};

/// The policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttestationPolicy {}
