//! The policy file: compiled as a whole or not at all.

use std::{fs, path::Path};

use leasehold::{
    attestation::strict::{self, Limits},
    code::Coded as _,
    egress::{EgressPolicy, EgressProxyPolicyService},
};

/// The policy in the file at `path`, compiled.
pub fn load(path: &Path) -> Result<EgressProxyPolicyService, String> {
    let failed = |why: &dyn ToString| format!("{}: {}", path.display(), why.to_string());
    let bytes = fs::read(path).map_err(|error| failed(&error))?;
    // Two readings of one policy are one too many: unique keys, nothing behind it.
    let policy: EgressPolicy = strict::read(&bytes, &Limits::GENERAL).map_err(|error| failed(&error))?;
    EgressProxyPolicyService::compile(&policy).map_err(|error| failed(&format!("{}: {error}", error.code())))
}
