//! What is legal in a policy and unwise.

use alloc::{format, string::String, vec::Vec};
use core::net::IpAddr;

use super::{EgressPolicy, EgressProxyPolicyService, EgressRule, ranges::parse_net};
use crate::{
    code::{self, Code, Coded},
    egress::{address::classify, host_rule::HostRule},
};
use core::fmt;

/// One thing that is legal and unwise.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PolicyWarning {
    /// A code of the group `egress.lint`.
    pub code: Code,
    /// The rule's id.
    pub rule: String,
    /// What and why, for people.
    pub message: String,
}

impl fmt::Display for PolicyWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rule {}: {}", self.rule, self.message)
    }
}

impl Coded for PolicyWarning {
    fn code(&self) -> Code {
        self.code
    }
}

/// The public suffix list, as far as the linter needs it. It is asked at load time only, never in a decision.
pub trait PublicSuffixes {
    /// Whether anyone can register names directly below `name` (lowercase ASCII).
    fn is_public_suffix(&self, name: &str) -> bool;
}

/// No list: the linter then warns about top-level names only.
impl PublicSuffixes for () {
    fn is_public_suffix(&self, _name: &str) -> bool {
        false
    }
}

/// The public suffix list that is compiled into the `psl` crate.
#[cfg(feature = "public-suffix")]
#[derive(Clone, Copy, Debug, Default)]
#[allow(clippy::exhaustive_structs)]
pub struct Psl;

#[cfg(feature = "public-suffix")]
impl PublicSuffixes for Psl {
    fn is_public_suffix(&self, name: &str) -> bool {
        psl::suffix(name.as_bytes()).is_some_and(|suffix| suffix.is_known() && suffix == name)
    }
}

/// Looks for what is legal and unwise in `policy`, of which `service` is the compiled form. Cost: linear.
pub fn lint(
    policy: &EgressPolicy,
    service: &EgressProxyPolicyService,
    suffixes: &dyn PublicSuffixes,
) -> Vec<PolicyWarning> {
    let mut warnings = Vec::new();
    for (slot, rule) in (0_u32..).zip(&policy.rules) {
        let mut warn = |code, message: String| {
            warnings.push(PolicyWarning { code, rule: rule.id.clone(), message });
        };
        if rule.any_host {
            warn(code::EGRESS_LINT_ANY_HOST, String::from("any_host lets the lease talk to everyone"));
        }
        for suffix in &rule.suffixes {
            let name = HostRule::suffix(suffix).map(|rule| format!("{rule:?}")).unwrap_or_default();
            let name = name.trim_start_matches('.');
            if !name.contains('.') || suffixes.is_public_suffix(name) {
                let message = format!("{name} is a public suffix: anyone can have names below it");
                warn(code::EGRESS_LINT_PUBLIC_SUFFIX, message);
            }
        }
        let has_http = rule.schemes.iter().flatten().any(|scheme| scheme.eq_ignore_ascii_case("http"));
        if has_http && !rule.credentials.is_empty() {
            let message = "credentials never go over http; requests over it are refused or go without";
            warn(code::EGRESS_LINT_CLEARTEXT_CREDENTIALS, String::from(message));
        }
        for range in rule.private_addresses.iter().filter_map(|text| parse_net(text)) {
            if range.prefix_len() < 16 {
                warn(code::EGRESS_LINT_WIDE_PRIVATE_RANGE, format!("{range} is wider than /16"));
            }
            let bounds: [IpAddr; 2] = [range.network(), range.broadcast()];
            let single = range.prefix_len() == range.max_prefix_len();
            let floor = bounds.iter().all(|ip| classify(*ip).floor);
            if floor && (single || bounds.iter().all(IpAddr::is_multicast)) {
                warn(code::EGRESS_LINT_FLOOR, format!("{range} is under the floor and never reached"));
            }
        }
        if let Some((code, message)) = reach(rule, slot, service) {
            warn(code, String::from(message));
        }
    }
    warnings
}

/// Whether `rule` can win any request at all.
fn reach(rule: &EgressRule, slot: u32, service: &EgressProxyPolicyService) -> Option<(Code, &'static str)> {
    let unreachable = |why| Some((code::EGRESS_LINT_UNREACHABLE_RULE, why));
    let compiled = service.rule(slot)?;
    let exact = rule.hosts.iter().filter_map(|text| HostRule::exact(text).ok());
    let patterns: Vec<HostRule> =
        exact.chain(rule.suffixes.iter().filter_map(|text| HostRule::suffix(text).ok())).collect();
    if patterns.is_empty() && !rule.any_host {
        return unreachable("the rule names no host");
    }
    let hosts = service.hosts();
    let live: Vec<&HostRule> = patterns.iter().filter(|pattern| !hosts.denies_all_of(pattern)).collect();
    if live.is_empty() && !rule.any_host {
        return unreachable("the deny list covers every host of the rule");
    }
    let only_connect =
        rule.methods.as_ref().is_some_and(|list| list.iter().all(|method| method == "CONNECT"));
    if only_connect && (rule.paths.is_some() || !compiled.schemes.has(super::Scheme::Https)) {
        return unreachable("a tunnel shows no path and counts as https");
    }
    // Within a group, an earlier rule that matches the same requests always wins.
    let shadowed_in = |group: &[u32]| {
        let earlier = group.iter().take_while(|other| **other != slot);
        earlier
            .filter_map(|other| service.rules().get(usize::try_from(*other).ok()?))
            .any(|other| other.same_requests(compiled))
    };
    let shadowed = live.iter().all(|pattern| shadowed_in(hosts.group_of(pattern)))
        && (!rule.any_host || shadowed_in(hosts.any_group()));
    shadowed
        .then_some((code::EGRESS_LINT_SHADOWED_RULE, "another rule wins every request that this one matches"))
}
