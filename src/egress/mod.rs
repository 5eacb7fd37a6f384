//! May this lease holder reach that host, at which addresses, with which injected secret?

pub mod address;
mod host;
mod host_rule;

pub use host::{Host, HostError, MAX_LABEL_BYTES, MAX_NAME_BYTES};
pub use host_rule::{HostRule, HostRuleError};
