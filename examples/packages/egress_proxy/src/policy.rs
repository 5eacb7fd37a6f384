//! The policy file: compiled as a whole or not at all, and what about it looks like a mistake.

use std::{fs, path::Path};

use leasehold::{
    code::Coded as _,
    egress::{EgressPolicy, EgressProxyPolicyService, PolicyWarning, Psl, lint},
};

/// The policy in the file at `path`, compiled, and what the linter says about it.
pub fn load(path: &Path) -> Result<(EgressProxyPolicyService, Vec<PolicyWarning>), String> {
    let failed = |why: &dyn ToString| format!("{}: {}", path.display(), why.to_string());
    let bytes = fs::read(path).map_err(|error| failed(&error))?;
    let policy = EgressPolicy::from_json(&bytes).map_err(|error| failed(&error))?;
    let compiled = EgressProxyPolicyService::compile(&policy);
    let compiled = compiled.map_err(|error| failed(&format!("{}: {error}", error.code())))?;
    let warnings = lint(&policy, &compiled, &Psl);
    Ok((compiled, warnings))
}
