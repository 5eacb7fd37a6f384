//! The compiled policy.

use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::{
    net::IpAddr,
    sync::atomic::{AtomicBool, Ordering},
};

pub(in crate::egress) use super::rule::{NoRule, Wanted};
use ipnet::IpNet;

use super::{
    EgressPolicy, MAX_DENY_LIST, Mode, compile,
    conflict::check_group,
    error::{PolicyError, PolicyReason},
    index::{Builder, Denied, HostIndex},
    ranges::AddressRanges,
    rule::Rule,
};
use crate::{
    digest::Sha256Digest,
    egress::{
        address::{AddressVerdict, Nat64, Nat64Prefix, Translators, classify_with, leads_to},
        host::HostView,
        host_rule::HostRule,
    },
    id::RuleId,
    index::KeyedIndex,
};

/// A compiled [`EgressPolicy`]: an immutable value with a digest, cheap to clone, that a host
/// [replaces](EgressProxyPolicyService::replace) while it runs.
///
/// ```
/// use leasehold::egress::{EgressPolicy, EgressProxyPolicyService};
/// let policy: EgressPolicy =
///     serde_json::from_str(r#"{"rules":[{"id":"models","hosts":["api.example.com"]}]}"#)?;
/// let service = EgressProxyPolicyService::compile(&policy)?;
/// assert_eq!(service.rule_count(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct EgressProxyPolicyService(Arc<Compiled>);

#[derive(Debug)]
struct Compiled {
    rules: Vec<Rule>,
    hosts: HostIndex,
    ids: KeyedIndex,
    denied: AddressRanges,
    mode: Mode,
    nat64: Nat64,
    nat64_prefixes: Box<[Nat64Prefix]>,
    max_redirects: u8,
    digest: Sha256Digest,
    /// Whether another policy has taken its place.
    superseded: AtomicBool,
}

fn id_in(rules: &[Rule], slot: u32) -> Option<&[u8]> {
    Some(rules.get(usize::try_from(slot).ok()?)?.id.as_str().as_bytes())
}

fn find_id(ids: &KeyedIndex, rules: &[Rule], id: &str) -> Option<u32> {
    ids.get(id.as_bytes(), |slot| id_in(rules, slot))
}

impl EgressProxyPolicyService {
    /// Validates and compiles `policy`. Cost: linear in its size, and one SHA-256 pass.
    ///
    /// # Errors
    /// [`PolicyError`] with the rule and the field, codes `egress.policy.*`.
    pub fn compile(policy: &EgressPolicy) -> Result<Self, PolicyError> {
        compile::check_policy(policy)?;
        let digest = compile::digest(policy);
        let [key, _] = halves(&digest);
        let full = || PolicyError::of_policy("rules", PolicyReason::TooMany(super::MAX_RULES));

        let mut rules: Vec<Rule> = Vec::with_capacity(policy.rules.len());
        let mut ids = KeyedIndex::with_capacity(key, policy.rules.len());
        let mut hosts = Builder::new(key, policy.rules.len());
        let mut patterns = Vec::new();
        for (index, document) in policy.rules.iter().enumerate() {
            let mut rule = compile::rule(index, document, &mut patterns)?;
            let slot = u32::try_from(index).map_err(|_| full())?;
            let hash = ids.hash(rule.id.as_str().as_bytes());
            let is_it = |slot: u32| id_in(&rules, slot) == Some(rule.id.as_str().as_bytes());
            if ids.get_hashed(hash, is_it).is_some() {
                return Err(PolicyError::of_rule(index, rule.id.as_str(), "id", PolicyReason::DuplicateId));
            }
            for pattern in &patterns {
                let name = hosts.add(pattern, slot).ok_or_else(full)?;
                rule.only_name = name.filter(|_| patterns.len() == 1 && !document.any_host);
            }
            if document.any_host {
                hosts.add_any(slot);
            }
            rules.push(rule);
            ids.insert_hashed(hash, slot);
        }

        let fault = |(field, reason)| PolicyError::of_policy(field, reason);
        let mut denied = Vec::new();
        compile::add_hosts("deny.hosts", &policy.deny.hosts, HostRule::exact, &mut denied).map_err(fault)?;
        compile::add_hosts("deny.suffixes", &policy.deny.suffixes, HostRule::suffix, &mut denied)
            .map_err(fault)?;
        for pattern in &denied {
            hosts.deny(pattern).ok_or_else(full)?;
        }
        // An address among the hosts is denied to names that lead to it, too.
        let hosts_denied = denied.iter().filter_map(HostRule::address).map(IpNet::from);
        let denied = compile::ranges("deny.addresses", &policy.deny.addresses, hosts_denied, MAX_DENY_LIST)
            .map_err(fault)?;

        let hosts = hosts.finish(&rules, |group| check_group(group, &rules))?;
        Ok(Self(Arc::new(Compiled {
            rules,
            hosts,
            ids,
            denied,
            mode: policy.mode,
            nat64: policy.nat64,
            nat64_prefixes: compile::nat64_prefixes(&policy.nat64_prefixes).map_err(fault)?,
            max_redirects: policy.max_redirects,
            digest,
            superseded: AtomicBool::new(false),
        })))
    }

    /// Puts `next` in this policy's place, from this moment on and for every clone of this one: permits that it made are
    /// refused when they are redeemed, and plans say that it is no longer in force. Where both say the same, this one stays.
    pub fn replace(&mut self, next: Self) {
        if self.digest() != next.digest() {
            self.0.superseded.store(true, Ordering::Release);
            *self = next;
        }
    }

    /// Whether no other policy has taken the place of this one.
    pub fn is_in_force(&self) -> bool {
        !self.0.superseded.load(Ordering::Acquire)
    }

    /// The digest of the policy's content; permits name it.
    pub fn digest(&self) -> Sha256Digest {
        self.0.digest
    }

    /// Enforce or observe.
    pub fn mode(&self) -> Mode {
        self.0.mode
    }

    /// How many redirects one request may follow.
    pub fn max_redirects(&self) -> u8 {
        self.0.max_redirects
    }

    /// How many rules.
    pub fn rule_count(&self) -> usize {
        self.0.rules.len()
    }

    /// Whether the policy has a rule with this id. Cost: one probe.
    pub fn has_rule(&self, id: &RuleId) -> bool {
        self.rule_named(id).is_some()
    }

    pub(in crate::egress) fn rule_named(&self, id: &RuleId) -> Option<&Rule> {
        let slot = find_id(&self.0.ids, &self.0.rules, id.as_str())?;
        self.rule(slot)
    }

    /// The one https origin of `rule`: its host and port.
    pub(in crate::egress) fn origin_of(&self, rule: &Rule) -> Option<(&str, u16)> {
        self.0.hosts.name(rule.only_name?).zip(rule.only_https_port())
    }

    pub(in crate::egress) fn rule(&self, slot: u32) -> Option<&Rule> {
        self.0.rules.get(usize::try_from(slot).ok()?)
    }

    pub(super) fn rules(&self) -> &[Rule] {
        &self.0.rules
    }

    pub(super) fn hosts(&self) -> &HostIndex {
        &self.0.hosts
    }

    /// The winner for a request, or the first thing that no rule matched.
    pub(in crate::egress) fn search(
        &self,
        host: HostView<'_>,
        wanted: &Wanted<'_>,
    ) -> Result<Result<u32, NoRule>, Denied> {
        self.0.hosts.search(host, wanted, &self.0.rules)
    }

    /// What this policy knows of `ip`, and whether its deny list has the address or one hidden in it.
    pub(in crate::egress) fn address(&self, ip: IpAddr) -> (AddressVerdict, bool) {
        let translators = Translators { well_known: self.0.nat64, prefixes: &self.0.nat64_prefixes };
        let verdict = classify_with(ip, translators);
        let denied = !self.0.denied.is_empty()
            && (self.0.denied.contains(verdict.pinned)
                || leads_to(ip, translators).any(|inner| self.0.denied.contains(IpAddr::V4(inner))));
        (verdict, denied)
    }
}

fn halves(digest: &Sha256Digest) -> [[u8; 16]; 2] {
    let mut halves = [[0; 16]; 2];
    for (half, bytes) in halves.iter_mut().zip(digest.as_bytes().chunks_exact(16)) {
        half.copy_from_slice(bytes);
    }
    halves
}
