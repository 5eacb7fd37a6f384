//! May this lease holder reach that host, at which addresses, with which injected secret?

pub mod address;
mod header;
mod host;
mod host_rule;
mod policy;

pub use address::Nat64;
pub use header::HeaderNameError;
pub use host::{Host, HostError, MAX_LABEL_BYTES, MAX_NAME_BYTES};
pub use host_rule::{HostRule, HostRuleError};
#[cfg(feature = "public-suffix")]
pub use policy::Psl;
pub use policy::{
    CredentialBinding, DenyList, EgressLimits, EgressPolicy, EgressProxyPolicyService, EgressRule,
    MAX_DENY_LIST, MAX_REDIRECTS, MAX_RULE_LIST, MAX_RULES, MAX_RULES_PER_HOST, Mode, PolicyError,
    PolicyReason, PolicyWarning, PublicSuffixes, Scheme, lint,
};
