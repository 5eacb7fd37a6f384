//! From the document to rules: every field checked, every list bounded.

use alloc::{boxed::Box, string::String, vec::Vec};

use ipnet::IpNet;

use super::{
    CredentialBinding, EgressPolicy, EgressRule, MAX_DENY_LIST, MAX_NAT64_PREFIXES, MAX_REDIRECTS,
    MAX_RULE_HOSTS, MAX_RULE_LIST, MAX_RULES, Mode, SignBinding, SignedPayload, Tunnel,
    error::{PolicyError, PolicyReason},
    path::Prefix,
    place::Place,
    ranges::{AddressRanges, parse_net},
    rule::{Credential, EgressLimits, Methods, Rule, Scheme, Schemes},
};
use crate::{
    digest::{FieldHasher, Sha256Digest},
    egress::{
        address::Nat64Prefix,
        header::{HeaderName, is_token},
        host_rule::HostRule,
    },
    id::RuleId,
    lease::SecretRef,
};

/// The longest prefix before a secret, in bytes.
const MAX_PREFIX_BYTES: usize = 128;
/// The longest method, in bytes.
const MAX_METHOD_BYTES: usize = 32;
/// The longest path prefix, in bytes.
const MAX_PATH_BYTES: usize = 1024;

/// What is wrong with a field, before the rule is named.
type Fault = (&'static str, PolicyReason);

/// The policy's own limits, without its rules.
pub(super) fn check_policy(policy: &EgressPolicy) -> Result<(), PolicyError> {
    let too_many = |field, len: usize, most| {
        if len > most { Err(PolicyError::of_policy(field, PolicyReason::TooMany(most))) } else { Ok(()) }
    };
    too_many("rules", policy.rules.len(), MAX_RULES)?;
    too_many("deny.hosts", policy.deny.hosts.len(), MAX_DENY_LIST)?;
    too_many("deny.suffixes", policy.deny.suffixes.len(), MAX_DENY_LIST)?;
    too_many("deny.addresses", policy.deny.addresses.len(), MAX_DENY_LIST)?;
    if policy.max_redirects > MAX_REDIRECTS {
        return Err(PolicyError::of_policy("max_redirects", PolicyReason::Redirects(MAX_REDIRECTS)));
    }
    if policy.mode == Mode::Observe && policy.rules.is_empty() {
        return Err(PolicyError::of_policy("mode", PolicyReason::ObserveNeedsRules));
    }
    Ok(())
}

/// Compiles one rule. Its hosts and suffixes are left in `patterns`, which is used again for every rule.
pub(super) fn rule(
    index: usize,
    rule: &EgressRule,
    patterns: &mut Vec<HostRule>,
) -> Result<Rule, PolicyError> {
    patterns.clear();
    build(rule, patterns).map_err(|(field, reason)| PolicyError::of_rule(index, &rule.id, field, reason))
}

fn build(rule: &EgressRule, patterns: &mut Vec<HostRule>) -> Result<Rule, Fault> {
    let id = RuleId::new(&rule.id).map_err(|error| ("id", error.into()))?;
    add_hosts("hosts", &rule.hosts, HostRule::exact, patterns)?;
    add_hosts("suffixes", &rule.suffixes, HostRule::suffix, patterns)?;
    add_hosts("patterns", &rule.patterns, HostRule::pattern, patterns)?;
    let private = ranges("private_addresses", &rule.private_addresses, None, MAX_RULE_LIST)?;
    if !rule.private_addresses.is_empty() {
        let exact =
            !rule.hosts.is_empty() && rule.suffixes.is_empty() && rule.patterns.is_empty() && !rule.any_host;
        if !exact || rule.ports.is_none() {
            return Err(("private_addresses", PolicyReason::PrivateRule));
        }
    }
    if rule.any_host && !rule.credentials.is_empty() {
        return Err(("credentials", PolicyReason::CredentialAnyHost));
    }
    Ok(Rule {
        id,
        schemes: schemes(rule.schemes.as_deref())?,
        ports: ports(rule.ports.as_deref())?,
        methods: methods(rule.methods.as_deref())?,
        paths: paths(rule.paths.as_deref())?,
        private: (!rule.private_addresses.is_empty()).then(|| Box::new(private)),
        limits: EgressLimits {
            max_request_bytes: rule.max_request_bytes,
            max_response_bytes: rule.max_response_bytes,
        },
        hidden_server_name: rule.hidden_server_name,
        tunnel: rule.tunnel,
        credentials: credentials(&rule.credentials)?,
        override_headers: override_headers(&rule.override_headers)?,
        only_name: None,
    })
}

fn bounded<T>(field: &'static str, list: &[T], most: usize) -> Result<(), Fault> {
    if list.len() > most { Err((field, PolicyReason::TooMany(most))) } else { Ok(()) }
}

/// The prefixes of translators: each with a layout, none within another.
pub(super) fn nat64_prefixes(texts: &[String]) -> Result<Box<[Nat64Prefix]>, Fault> {
    const FIELD: &str = "nat64_prefixes";
    bounded(FIELD, texts, MAX_NAT64_PREFIXES)?;
    let mut prefixes: Vec<Nat64Prefix> = Vec::with_capacity(texts.len());
    for (at, text) in texts.iter().enumerate() {
        let net = match parse_net(text) {
            Some(IpNet::V6(net)) => Nat64Prefix::new(net),
            _ => None,
        };
        let prefix = net.filter(|own| !prefixes.iter().any(|held| held.overlaps(*own)));
        prefixes.push(prefix.ok_or((FIELD, PolicyReason::Nat64Prefix(at)))?);
    }
    Ok(prefixes.into_boxed_slice())
}

/// An allow list that is written: bounded, and not empty.
fn written<T>(field: &'static str, list: &[T]) -> Result<(), Fault> {
    bounded(field, list, MAX_RULE_LIST)?;
    if list.is_empty() { Err((field, PolicyReason::EmptyList)) } else { Ok(()) }
}

pub(super) fn add_hosts(
    field: &'static str,
    texts: &[String],
    parse: impl Fn(&str) -> Result<HostRule, crate::egress::host_rule::HostRuleError>,
    into: &mut Vec<HostRule>,
) -> Result<(), Fault> {
    // Deny lists are bounded before, and by more.
    if !field.starts_with("deny.") {
        bounded(field, texts, MAX_RULE_HOSTS)?;
    }
    for (at, text) in texts.iter().enumerate() {
        into.push(parse(text).map_err(|error| (field, PolicyReason::Host { at, error }))?);
    }
    Ok(())
}

pub(super) fn ranges(
    field: &'static str,
    texts: &[String],
    more: impl IntoIterator<Item = IpNet>,
    most: usize,
) -> Result<AddressRanges, Fault> {
    bounded(field, texts, most)?;
    let mut nets: Vec<IpNet> = more.into_iter().collect();
    for (at, text) in texts.iter().enumerate() {
        nets.push(parse_net(text).ok_or((field, PolicyReason::Address(at)))?);
    }
    Ok(AddressRanges::new(nets))
}

fn schemes(texts: Option<&[String]>) -> Result<Schemes, Fault> {
    let mut schemes = Schemes::default();
    let Some(texts) = texts else {
        schemes.add(Scheme::Https);
        return Ok(schemes);
    };
    written("schemes", texts)?;
    for (at, text) in texts.iter().enumerate() {
        schemes.add(Scheme::parse(text).ok_or(("schemes", PolicyReason::Scheme(at)))?);
    }
    Ok(schemes)
}

fn ports(ports: Option<&[u16]>) -> Result<Option<Box<[u16]>>, Fault> {
    let Some(ports) = ports else { return Ok(None) };
    written("ports", ports)?;
    if ports.contains(&0) {
        return Err(("ports", PolicyReason::Port));
    }
    let mut sorted = ports.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    Ok(Some(sorted.into_boxed_slice()))
}

fn methods(texts: Option<&[String]>) -> Result<Methods, Fault> {
    let Some(texts) = texts else { return Ok(Methods::new(["GET", "HEAD"])) };
    written("methods", texts)?;
    match texts.iter().position(|text| !is_token(text.as_bytes()) || text.len() > MAX_METHOD_BYTES) {
        Some(at) => Err(("methods", PolicyReason::Method(at))),
        None => Ok(Methods::new(texts.iter().map(String::as_str))),
    }
}

fn paths(texts: Option<&[String]>) -> Result<Box<[Prefix]>, Fault> {
    let Some(texts) = texts else { return Ok(Box::default()) };
    written("paths", texts)?;
    let mut sorted = Vec::with_capacity(texts.len());
    for (at, text) in texts.iter().enumerate() {
        let prefix =
            Some(text).filter(|text| text.len() <= MAX_PATH_BYTES).and_then(|text| Prefix::new(text));
        sorted.push(prefix.ok_or(("paths", PolicyReason::Path(at)))?);
    }
    sorted.sort_unstable();
    sorted.dedup();
    Ok(sorted.into_boxed_slice())
}

fn override_headers(texts: &[String]) -> Result<Box<[HeaderName]>, Fault> {
    bounded("override_headers", texts, MAX_RULE_LIST)?;
    let names =
        texts.iter().map(|text| HeaderName::new(text).map_err(|error| ("override_headers", error.into())));
    names.collect()
}

fn credentials(bindings: &[CredentialBinding]) -> Result<Box<[Credential]>, Fault> {
    bounded("credentials", bindings, MAX_RULE_LIST)?;
    let mut credentials: Vec<Credential> = Vec::with_capacity(bindings.len());
    for binding in bindings {
        let place = Place::of(binding)?;
        let secret = SecretRef::new(&binding.secret).map_err(|error| ("credentials.secret", error.into()))?;
        let visible = binding.prefix.bytes().all(|byte| (0x20..0x7f).contains(&byte));
        if !visible || binding.prefix.len() > MAX_PREFIX_BYTES {
            return Err(("credentials.prefix", PolicyReason::Prefix));
        }
        if credentials.iter().any(|held| held.place.is_same(&place)) {
            return Err(("credentials", PolicyReason::CredentialConflict(place.named())));
        }
        let prefix = Box::from(binding.prefix.as_str());
        credentials.push(Credential {
            place,
            secret,
            prefix,
            required: binding.required,
            mask_echoes: binding.mask_echoes,
        });
    }
    Ok(credentials.into_boxed_slice())
}

impl SignBinding {
    fn digest(&self, into: &mut Canonical) {
        match self {
            Self::AwsSigv4(aws) => {
                into.0.push(0);
                for text in [&aws.region, &aws.service, &aws.access_key] {
                    into.text(text);
                }
                into.maybe(aws.session_token.as_deref(), |own, text| own.text(text));
                into.0.push(u8::from(aws.payload == SignedPayload::Unsigned));
            }
            Self::Hmac(hmac) => {
                into.0.push(1);
                into.text(&hmac.header);
                into.text(&hmac.template);
                let choices = [hmac.hash as u8, hmac.encoding as u8, hmac.key as u8, hmac.timestamp as u8];
                into.0.extend_from_slice(&choices);
                into.maybe(hmac.timestamp_header.as_deref(), |own, text| own.text(text));
            }
        }
    }
}

/// One policy's bytes, each field with its length before it. A list that is left out differs from every list.
#[derive(Default)]
struct Canonical(Vec<u8>);

impl Canonical {
    /// LEB128: lengths are short, and every byte goes through SHA-256.
    fn number(&mut self, mut value: u64) {
        while value > 0x7f {
            self.0.push(0x80 | value.to_le_bytes()[0]);
            value >>= 7;
        }
        self.0.push(value.to_le_bytes()[0]);
    }

    fn text(&mut self, text: &str) {
        self.number(u64::try_from(text.len()).unwrap_or(u64::MAX));
        self.0.extend_from_slice(text.as_bytes());
    }

    fn list<T>(&mut self, list: &[T], mut each: impl FnMut(&mut Self, &T)) {
        self.number(u64::try_from(list.len()).unwrap_or(u64::MAX));
        for entry in list {
            each(self, entry);
        }
    }

    fn maybe<T: ?Sized>(&mut self, value: Option<&T>, each: impl FnOnce(&mut Self, &T)) {
        self.0.push(u8::from(value.is_some()));
        if let Some(value) = value {
            each(self, value);
        }
    }

    fn texts(&mut self, list: &[String]) {
        self.list(list, |own, text| own.text(text));
    }
}

/// The digest of the policy's content. Cost: one SHA-256 pass over about as many bytes as its JSON has.
pub(super) fn digest(policy: &EgressPolicy) -> Sha256Digest {
    let mut hasher = FieldHasher::new("egress.policy.v1")
        .field(&[u8::from(policy.mode == Mode::Observe), u8::from(policy.nat64 != Default::default())])
        .number(policy.max_redirects.into());
    let mut bytes = Canonical::default();
    bytes.texts(&policy.deny.hosts);
    bytes.texts(&policy.deny.suffixes);
    bytes.texts(&policy.deny.addresses);
    bytes.texts(&policy.nat64_prefixes);
    hasher = hasher.field(&bytes.0);
    for rule in &policy.rules {
        bytes.0.clear();
        bytes.text(&rule.id);
        bytes.texts(&rule.hosts);
        bytes.texts(&rule.suffixes);
        bytes.texts(&rule.patterns);
        bytes.0.push(u8::from(rule.any_host));
        bytes.0.push(u8::from(rule.hidden_server_name));
        bytes.0.push(u8::from(rule.tunnel == Tunnel::Any));
        bytes.maybe(rule.schemes.as_deref(), |own, list| own.texts(list));
        bytes
            .maybe(rule.ports.as_deref(), |own, list| own.list(list, |own, port| own.number((*port).into())));
        bytes.maybe(rule.methods.as_deref(), |own, list| own.texts(list));
        bytes.maybe(rule.paths.as_deref(), |own, list| own.texts(list));
        bytes.texts(&rule.private_addresses);
        bytes.maybe(rule.max_request_bytes.as_ref(), |own, limit| own.number(*limit));
        bytes.maybe(rule.max_response_bytes.as_ref(), |own, limit| own.number(*limit));
        bytes.texts(&rule.override_headers);
        bytes.list(&rule.credentials, |own, binding| {
            for place in [&binding.header, &binding.basic, &binding.query, &binding.path_segment] {
                own.maybe(place.as_deref(), |own, text| own.text(text));
            }
            own.maybe(binding.sign.as_ref(), |own, sign| sign.digest(own));
            own.text(&binding.secret);
            own.text(&binding.prefix);
            own.0.push(u8::from(binding.required) | u8::from(binding.mask_echoes) << 1);
        });
        hasher = hasher.field(&bytes.0);
    }
    hasher.finish()
}
