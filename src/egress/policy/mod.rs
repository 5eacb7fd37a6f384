//! Egress policies: the document, its validation, and the compiled form that decides.

use alloc::{string::String, vec::Vec};

use serde::{Deserialize, Serialize};

use super::address::Nat64;
use crate::attestation::strict::{self, Limits, StrictError};

mod climb;
mod compile;
mod conflict;
mod error;
mod index;
mod lint;
mod path;
mod place;
mod ranges;
mod rule;
mod service;
mod signing;

pub use error::{PolicyError, PolicyReason};
#[cfg(feature = "public-suffix")]
pub use lint::Psl;
pub use lint::{PolicyWarning, PublicSuffixes, lint};
pub use rule::{EgressLimits, Scheme};
pub use service::EgressProxyPolicyService;
pub use signing::{
    AwsSigv4, HmacEncoding, HmacHash, HmacKey, HmacTemplate, HmacTimestamp, SignBinding, SignedPayload,
};

pub(super) use place::Place;
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
/// The most prefixes of translators.
pub const MAX_NAT64_PREFIXES: usize = 64;
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
    /// How addresses of the NAT64 well-known prefix are judged.
    pub nat64: Nat64,
    /// Prefixes behind which the own network translates to IPv4 (RFC 6052; 32, 40, 48, 56, 64 or 96 bits). An address there
    /// is judged as the IPv4 address that it reaches.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nat64_prefixes: Vec<String>,
    /// How many redirects one request may follow.
    pub max_redirects: u8,
}

impl EgressPolicy {
    /// The bounds within which [`EgressPolicy::from_json`] reads: rules for a million hosts take about 100 MiB.
    pub const LIMITS: Limits = Limits::LARGE_POLICY;

    /// Reads a policy from JSON, strictly and within [`EgressPolicy::LIMITS`]: no duplicate keys, no arrays in place of
    /// objects, nothing after the document.
    ///
    /// # Errors
    /// [`StrictError`] with the offset.
    ///
    /// ```
    /// use leasehold::egress::EgressPolicy;
    /// assert!(EgressPolicy::from_json(br#"{"rules":[{"id":"a","hosts":["a.example"]}]}"#).is_ok());
    /// assert!(EgressPolicy::from_json(br#"{"rules":[["a",["a.example"]]]}"#).is_err());
    /// ```
    pub fn from_json(bytes: &[u8]) -> Result<Self, StrictError> {
        strict::read(bytes, &Self::LIMITS)
    }
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
    /// Names with a star as one whole label inside, such as `api.*.example.com`: exactly one label stands there. Asked after
    /// `hosts` and before `suffixes`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub patterns: Vec<String>,
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
    /// Tunnels may hide where they go: the TLS hello names no server. A name that it shows must be the judged host even so,
    /// also beside an encrypted hello.
    #[serde(default, skip_serializing_if = "is_false")]
    pub hidden_server_name: bool,
    /// What may be spoken in tunnels.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tunnel: Tunnel,
    /// The largest request body in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_request_bytes: Option<u64>,
    /// The largest response body in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_response_bytes: Option<u64>,
    /// Header fields by which a server may take another method or path, such as `X-HTTP-Method-Override`, that may pass.
    /// The others are refused with `egress.headers.override`, because they would undo `methods` and `paths`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub override_headers: Vec<String>,
    /// Credentials to put in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub credentials: Vec<CredentialBinding>,
}

/// A secret that goes into the requests that a rule wins: into exactly one of the places that it can name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(clippy::exhaustive_structs)]
pub struct CredentialBinding {
    /// The header that it goes into.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// The user name, which may be empty, of a Basic pair in `Authorization` (RFC 7617); the secret is the password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basic: Option<String>,
    /// The parameter of the query that it becomes, in place of the worker's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// What stands for it in the path: a whole segment that reads so becomes the secret. Rules see the path with this text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_segment: Option<String>,
    /// How the request is signed, with the secret as the key. The signature covers what the other credentials put in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sign: Option<SignBinding>,
    /// The secret's reference, such as `vault:team/models`.
    pub secret: String,
    /// What stands before the secret or the signature, such as `Bearer `.
    #[serde(default)]
    pub prefix: String,
    /// Whether a request without the secret is refused.
    #[serde(default = "yes")]
    pub required: bool,
    /// Whether the secret is masked where the answer repeats it, in fields and body: each byte by `*`. The origin is asked for
    /// whole and unencoded answers, and what cannot be masked is refused ([`EchoError`](crate::egress::EchoError)): other
    /// answers, WebSockets, and secrets under 8 bytes. Found are the secret and what was made of it for its place; of a
    /// signature, what it wrote.
    #[serde(default, skip_serializing_if = "is_false")]
    pub mask_echoes: bool,
}

const fn yes() -> bool {
    true
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What may be spoken in the tunnels of a rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Tunnel {
    /// TLS, with a hello that names the judged host.
    #[default]
    Tls,
    /// Anything: SSH, databases, plain HTTP of clients that tunnel it. Nothing in it can be checked; the pinned addresses
    /// are all that holds.
    Any,
}

/// What no rule can allow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(clippy::exhaustive_structs)]
pub struct DenyList {
    /// Exact hosts. An address is denied to names that lead to it as well.
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
