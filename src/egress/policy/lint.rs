//! What is legal in a policy and unwise.

use alloc::{format, string::String, vec::Vec};
use core::net::IpAddr;

use super::{EgressPolicy, EgressProxyPolicyService, EgressRule, Tunnel, ranges::parse_net, rule::Rule};
use crate::{
    code::{self, Code, Coded},
    egress::{
        address::{METADATA, classify},
        host_rule::HostRule,
    },
};
use core::fmt;

/// One thing that is legal and unwise.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PolicyWarning {
    /// A code of the group `egress.lint`.
    pub code: Code,
    /// The rule's id; empty where the policy itself is meant.
    pub rule: String,
    /// What and why, for people.
    pub message: String,
}

impl fmt::Display for PolicyWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.rule {
            "" => f.write_str(&self.message),
            rule => write!(f, "rule {rule}: {}", self.message),
        }
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

/// Private ranges wider than these are warned about: more than a site has.
const WIDEST_V4: u8 = 16;
const WIDEST_V6: u8 = 48;

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
                let message = format!(
                    "{name} is a public suffix: anyone can have names below it; list the names below it that are meant"
                );
                warn(code::EGRESS_LINT_PUBLIC_SUFFIX, message);
            }
        }
        for pattern in rule.patterns.iter().filter_map(|text| HostRule::pattern(text).ok()) {
            let behind = pattern.behind_star().unwrap_or_default();
            if suffixes.is_public_suffix(behind) {
                let message = format!(
                    "{behind} is a public suffix: anyone can have a name in place of the star of {pattern:?}; list the names that are meant"
                );
                warn(code::EGRESS_LINT_PUBLIC_SUFFIX, message);
            } else if !rule.credentials.is_empty() {
                let message = format!(
                    "whatever stands in place of the star of {pattern:?} gets the rule's credentials; list the names that are meant"
                );
                warn(code::EGRESS_LINT_STARRED_CREDENTIALS, message);
            }
        }
        let has_http = rule.schemes.iter().flatten().any(|scheme| scheme.eq_ignore_ascii_case("http"));
        if has_http && !rule.credentials.is_empty() {
            let message = "credentials never go over http; requests over it are refused or go without";
            warn(code::EGRESS_LINT_CLEARTEXT_CREDENTIALS, String::from(message));
        }
        for range in rule.private_addresses.iter().filter_map(|text| parse_net(text)) {
            let widest = if range.addr().is_ipv4() { WIDEST_V4 } else { WIDEST_V6 };
            if range.prefix_len() < widest {
                warn(code::EGRESS_LINT_WIDE_PRIVATE_RANGE, format!("{range} is wider than /{widest}"));
            }
            let holds = |ip: &IpAddr| range.prefix_len() < range.max_prefix_len() && range.contains(ip);
            let metadata: Vec<_> = METADATA.iter().filter(|own| holds(&own.address)).collect();
            if let [first, others @ ..] = &*metadata {
                let more =
                    if others.is_empty() { String::new() } else { format!(" and {} more", others.len()) };
                let message = format!(
                    "{range} holds {} ({}){more}, which stays refused; declare the hosts that are meant",
                    first.address, first.service
                );
                warn(code::EGRESS_LINT_METADATA_RANGE, message);
            }
            let bounds: [IpAddr; 2] = [range.network(), range.broadcast()];
            let single = range.prefix_len() == range.max_prefix_len();
            let floor = bounds.iter().all(|ip| classify(*ip).floor);
            if floor && (single || bounds.iter().all(IpAddr::is_multicast)) {
                warn(code::EGRESS_LINT_FLOOR, format!("{range} is under the floor and never reached"));
            }
        }
        spelling(rule, &mut warn);
        tunnels(rule, &mut warn);
        private_hosts(rule, service.rule(slot), &mut warn);
        if let Some((code, message)) = reach(rule, slot, service) {
            warn(code, String::from(message));
        }
    }
    for host in &policy.deny.hosts {
        if HostRule::exact(host).is_ok_and(|rule| rule.address().is_some()) {
            let message =
                format!("deny.hosts has the address {host}; deny.addresses is where ranges of them go");
            warnings.push(PolicyWarning {
                code: code::EGRESS_LINT_DENY_ADDRESS,
                rule: String::new(),
                message,
            });
        }
    }
    warnings
}

/// Takes a warning about one rule.
type Warn<'a> = &'a mut dyn FnMut(Code, String);

/// What reads like more than it is: stars, methods in lower case, the default port of the other scheme.
fn spelling(rule: &EgressRule, warn: Warn<'_>) {
    for method in rule.methods.iter().flatten() {
        if method.contains('*') {
            warn(
                code::EGRESS_LINT_METHOD,
                format!("no method is called {method}; list the methods that are meant"),
            );
        } else if method.bytes().any(|byte| byte.is_ascii_lowercase()) {
            let upper = method.to_ascii_uppercase();
            warn(
                code::EGRESS_LINT_METHOD,
                format!("methods are case-sensitive, so that {method} is not {upper}"),
            );
        }
    }
    for path in rule.paths.iter().flatten().filter(|path| path.contains('*')) {
        let message =
            format!("paths are prefixes, and the star in {path} stands for itself; end the path before it");
        warn(code::EGRESS_LINT_PATH_STAR, message);
    }
    let has = |name: &str| match &rule.schemes {
        Some(schemes) => schemes.iter().any(|scheme| scheme.eq_ignore_ascii_case(name)),
        None => name == "https",
    };
    for (own, other, port) in [("https", "http", 80), ("http", "https", 443)] {
        if has(own) && !has(other) && rule.ports.iter().flatten().any(|listed| *listed == port) {
            let message =
                format!("the rule allows {own} on port {port}, where {other} is spoken; see schemes");
            warn(code::EGRESS_LINT_SCHEME_PORT, message);
        }
    }
}

/// Rules that name CONNECT for nothing, or that let tunnels hide where they go.
fn tunnels(rule: &EgressRule, warn: Warn<'_>) {
    let connect = rule.methods.iter().flatten().any(|method| method == "CONNECT");
    if connect && rule.paths.is_some() {
        let message = "a tunnel shows no path, so a rule with paths never allows CONNECT; put it into a rule without paths";
        warn(code::EGRESS_LINT_CONNECT, String::from(message));
    }
    if connect && rule.credentials.iter().any(|own| own.required) {
        let message =
            "nothing can be put into a tunnel, so CONNECT is refused while a credential is required";
        warn(code::EGRESS_LINT_CONNECT, String::from(message));
    }
    if rule.tunnel == Tunnel::Any {
        let message = if connect {
            "anything may be spoken in the rule's tunnels, so that nothing in them can be checked; use it for listed hosts only"
        } else {
            "tunnel is about CONNECT, which is not among the rule's methods"
        };
        warn(code::EGRESS_LINT_ANY_TUNNEL, String::from(message));
    }
    if rule.hidden_server_name {
        let message = if connect {
            "tunnels need not say which server they are for, so that they reach every server at the host's addresses"
        } else {
            "hidden_server_name is about tunnels, and the rule has no CONNECT among its methods"
        };
        warn(code::EGRESS_LINT_HIDDEN_SERVER_NAME, String::from(message));
    }
}

/// Top labels and suffixes of names that lead into one's own network (RFC 6761, RFC 6762, RFC 8375, ICANN's `internal`,
/// and usage).
const PRIVATE_SUFFIXES: [&str; 10] = [
    "localhost",
    "local",
    "internal",
    "home.arpa",
    "localdomain",
    "lan",
    "intranet",
    "corp",
    "private",
    "home",
];

/// Hosts that lead to private addresses by their name, where the rule declares none.
fn private_hosts(rule: &EgressRule, compiled: Option<&Rule>, warn: Warn<'_>) {
    for text in rule.hosts.iter().chain(&rule.suffixes) {
        let Ok(host) = HostRule::exact(text) else { continue };
        let is_private = match host.address() {
            Some(ip) => !classify(ip).public && !compiled.is_some_and(|rule| rule.may_reach_private(ip)),
            None => {
                let name = format!("{host:?}");
                let below = |suffix: &&str| {
                    name.strip_suffix(*suffix).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
                };
                rule.private_addresses.is_empty()
                    && (PRIVATE_SUFFIXES.iter().any(below) || is_single_label(rule, text, &name))
            }
        };
        if is_private {
            let message = format!(
                "{text} leads to private addresses, which are refused; declare them in private_addresses"
            );
            warn(code::EGRESS_LINT_PRIVATE_HOST, message);
        }
    }
}

/// A host without a dot is looked up in the own network; as a suffix it is a top-level name.
fn is_single_label(rule: &EgressRule, text: &str, name: &str) -> bool {
    !name.contains('.') && rule.hosts.iter().any(|host| host == text)
}

/// Whether `rule` can win any request at all.
fn reach(rule: &EgressRule, slot: u32, service: &EgressProxyPolicyService) -> Option<(Code, &'static str)> {
    let unreachable = |why| Some((code::EGRESS_LINT_UNREACHABLE_RULE, why));
    let compiled = service.rule(slot)?;
    let exact = rule.hosts.iter().filter_map(|text| HostRule::exact(text).ok());
    let patterns: Vec<HostRule> = exact
        .chain(rule.suffixes.iter().filter_map(|text| HostRule::suffix(text).ok()))
        .chain(rule.patterns.iter().filter_map(|text| HostRule::pattern(text).ok()))
        .collect();
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
