//! Egress policies: the document, its validation, and the compiled form that decides.

use alloc::{string::String, vec::Vec};

use serde::{Deserialize, Serialize};

use super::address::Nat64;

mod compile;
mod conflict;
mod error;
mod index;
mod lint;
mod path;
mod ranges;
mod rule;
mod service;

pub use error::{PolicyError, PolicyReason};
#[cfg(feature = "public-suffix")]
pub use lint::Psl;
pub use lint::{PolicyWarning, PublicSuffixes, lint};
pub use rule::{EgressLimits, Scheme};
pub use service::EgressProxyPolicyService;

pub(super) use rule::{Credential, Rule};
pub(super) use service::{NoRule, Wanted};

/// The most rules of one policy.
pub const MAX_RULES: usize = 1 << 21;
/// The most hosts or suffixes of one rule.
pub const MAX_RULE_HOSTS: usize = 1 << 20;
/// The most ports, methods, paths, ranges or credentials in one list of a rule.
pub const MAX_RULE_LIST: usize = 1 << 10;
/// The most rules that name the same host, the same suffix, or any host.
pub const MAX_RULES_PER_HOST: usize = 256;
/// The most entries in one deny list.
pub const MAX_DENY_LIST: usize = 1 << 20;
/// The largest redirect limit.
pub const MAX_REDIRECTS: u8 = 32;

/// An egress policy as a document. [`EgressProxyPolicyService::compile`] validates it.
///
/// What is left out: `schemes` is https only, `ports` the scheme's default port, `methods` GET and HEAD, `paths` all.
/// An allow list that is written and empty does not compile: it would allow more than it says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(clippy::exhaustive_structs)]
pub struct EgressPolicy {
    /// The rules. None reaches nothing.
    pub rules: Vec<EgressRule>,
    /// What is refused in every mode, whatever the rules say.
    pub deny: DenyList,
    /// Whether refusals by rules are enforced.
    pub mode: Mode,
    /// How NAT64 addresses are judged.
    pub nat64: Nat64,
    /// How many redirects one request may follow.
    pub max_redirects: u8,
}

/// One rule: which requests it matches, and what they get.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(clippy::exhaustive_structs)]
pub struct EgressRule {
    /// The rule's name, unique in the policy; grammar of [`RuleId`](crate::id::RuleId).
    pub id: String,
    /// Hosts that match exactly: names or address literals.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Names that match with every name below them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub suffixes: Vec<String>,
    /// Matches every name. Address literals need a `hosts` entry even so.
    #[serde(default)]
    pub any_host: bool,
    /// `http`, `https`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schemes: Option<Vec<String>>,
    /// Ports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ports: Option<Vec<u16>>,
    /// Methods, case-sensitive (RFC 9110 section 9.1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub methods: Option<Vec<String>>,
    /// Prefixes of the canonical path, at a segment boundary. A rule with paths does not match CONNECT.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paths: Option<Vec<String>>,
    /// The non-public addresses that this rule may reach: prefixes or single addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub private_addresses: Vec<String>,
    /// Tunnels may hide where they go: the TLS hello names no server, or carries an encrypted one. A name that it
    /// shows must be the judged host even so.
    #[serde(default, skip_serializing_if = "is_false")]
    pub hidden_server_name: bool,
    /// The largest request body in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_request_bytes: Option<u64>,
    /// The largest response body in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_response_bytes: Option<u64>,
    /// Credentials to put in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub credentials: Vec<CredentialBinding>,
}

/// A secret that goes into a header of the requests that a rule wins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(clippy::exhaustive_structs)]
pub struct CredentialBinding {
    /// The header.
    pub header: String,
    /// The secret's reference, such as `vault:team/models`.
    pub secret: String,
    /// What stands before the secret, such as `Bearer `.
    #[serde(default)]
    pub prefix: String,
    /// Whether a request without the secret is refused.
    #[serde(default = "yes")]
    pub required: bool,
}

const fn yes() -> bool {
    true
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

/// What no rule can allow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(clippy::exhaustive_structs)]
pub struct DenyList {
    /// Exact hosts.
    pub hosts: Vec<String>,
    /// Suffixes.
    pub suffixes: Vec<String>,
    /// Prefixes or single addresses. An IPv4 entry also covers the address hidden in an IPv6 one.
    pub addresses: Vec<String>,
}

/// Whether refusals by host, port, method and path rules are enforced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Mode {
    /// They are.
    #[default]
    Enforce,
    /// They are reported and let through under the limits of the first rule, to roll a policy out. Deny lists, URLs,
    /// schemes, addresses and credentials are enforced as always.
    Observe,
}
