//! May this worker join, and on what evidence? (RFC 9334: evidence, reference values, appraisal.)

use serde::{Deserialize, Serialize};

/// The policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttestationPolicy {}
