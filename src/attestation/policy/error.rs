//! Which rule a policy breaks.

use crate::code::{self, Code, Coded};

/// A policy that contradicts itself, with the rule that it breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("attestation policy: {rule}")]
pub struct PolicyError {
    rule: &'static str,
}

impl PolicyError {
    pub(super) const fn new(rule: &'static str) -> Self {
        Self { rule }
    }

    /// The rule that does not hold.
    pub const fn rule(&self) -> &'static str {
        self.rule
    }
}

impl Coded for PolicyError {
    fn code(&self) -> Code {
        code::ATTESTATION_POLICY_INVALID
    }
}
