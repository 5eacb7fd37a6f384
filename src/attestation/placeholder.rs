#![allow(missing_docs)]
use crate::code::{self, Code, Coded};
use serde::{Deserialize, Serialize};

/// The policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttestationPolicy {}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nonce")]
pub struct NonceError;
impl Coded for NonceError {
    fn code(&self) -> Code {
        code::ATTEST_NONCE_SPENT
    }
}
