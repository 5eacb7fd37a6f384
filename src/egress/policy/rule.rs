//! One compiled rule, and whether it matches a request.

use alloc::boxed::Box;
use core::{cmp::Ordering, fmt};

use serde::Serialize;

use super::{Tunnel, path::Prefix, place::Place, ranges::AddressRanges};
use crate::{
    egress::{header::HeaderName, sign::Signer},
    id::RuleId,
    lease::SecretRef,
};

/// The schemes that this crate judges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(clippy::exhaustive_enums)]
pub enum Scheme {
    /// Plain HTTP.
    Http,
    /// HTTP over TLS; tunnels count as this.
    Https,
}

impl Scheme {
    /// The scheme's text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port that a URL without one means.
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }

    pub(in crate::egress) fn parse(text: &str) -> Option<Self> {
        [Self::Http, Self::Https].into_iter().find(|scheme| text.eq_ignore_ascii_case(scheme.as_str()))
    }

    const fn bit(self) -> u8 {
        match self {
            Self::Http => 1,
            Self::Https => 2,
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The byte limits of a request. `None` is no limit of the rule's own; budgets of the lease still count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct EgressLimits {
    /// The largest request body in bytes.
    pub max_request_bytes: Option<u64>,
    /// The largest response body in bytes.
    pub max_response_bytes: Option<u64>,
}

/// A set of schemes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Schemes(u8);

impl Schemes {
    pub(super) fn add(&mut self, scheme: Scheme) {
        self.0 |= scheme.bit();
    }

    pub(in crate::egress) const fn has(self, scheme: Scheme) -> bool {
        self.0 & scheme.bit() != 0
    }
}

/// The methods that get a bit each; others are compared as text.
const KNOWN: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

/// A set of methods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Methods {
    known: u16,
    other: Box<[Box<str>]>,
}

fn known_bit(method: &str) -> Option<u16> {
    let at = KNOWN.iter().position(|known| *known == method)?;
    1_u16.checked_shl(u32::try_from(at).ok()?)
}

impl Methods {
    pub(super) fn new<'a>(methods: impl IntoIterator<Item = &'a str>) -> Self {
        let mut known = 0;
        let mut other = alloc::vec::Vec::new();
        for method in methods {
            match known_bit(method) {
                Some(bit) => known |= bit,
                None => other.push(Box::from(method)),
            }
        }
        other.sort_unstable();
        other.dedup();
        Self { known, other: other.into_boxed_slice() }
    }

    pub(super) fn has(&self, method: &str) -> bool {
        match known_bit(method) {
            Some(bit) => self.known & bit != 0,
            None => self.other.iter().any(|own| **own == *method),
        }
    }

    fn len(&self) -> usize {
        self.other.len().saturating_add(usize::try_from(self.known.count_ones()).unwrap_or(usize::MAX))
    }

    pub(super) fn overlaps(&self, other: &Self) -> bool {
        self.known & other.known != 0 || self.other.iter().any(|method| other.other.contains(method))
    }
}

/// A credential, validated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::egress) struct Credential {
    pub(in crate::egress) place: Place,
    pub(in crate::egress) secret: SecretRef,
    pub(in crate::egress) prefix: Box<str>,
    pub(in crate::egress) required: bool,
    pub(in crate::egress) mask_echoes: bool,
}

impl Credential {
    /// The header fields that are written for it, in place of the worker's own.
    pub(in crate::egress) fn headers(&self) -> impl Iterator<Item = &str> {
        self.place.headers().iter().map(HeaderName::as_str)
    }

    /// The parameters of the query that are the credential's to say.
    pub(in crate::egress) fn parameters(&self) -> impl Iterator<Item = &str> {
        let (own, presigned): (_, &[&str]) = match &self.place {
            Place::Query(name) => (Some(&**name), &[]),
            Place::Sign(signer) => (None, signer.parameters()),
            _ => (None, &[]),
        };
        own.into_iter().chain(presigned.iter().copied())
    }

    /// Every secret that it needs.
    pub(in crate::egress) fn secrets(&self) -> impl Iterator<Item = &SecretRef> {
        core::iter::once(&self.secret).chain(self.signer().into_iter().flat_map(Signer::more_secrets))
    }

    /// The signer, where the secret is the key of a signature.
    pub(in crate::egress) fn signer(&self) -> Option<&Signer> {
        match &self.place {
            Place::Sign(signer) => Some(signer),
            _ => None,
        }
    }
}

/// What a rule is asked.
#[derive(Clone, Copy)]
pub(in crate::egress) struct Wanted<'a> {
    pub(in crate::egress) scheme: Scheme,
    pub(in crate::egress) port: u16,
    pub(in crate::egress) method: &'a str,
    /// The canonical path; none in a tunnel, where it cannot be seen.
    pub(in crate::egress) path: Option<&'a str>,
}

/// The first thing that keeps a rule from matching a request to a host of its own, in the order of judgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::egress) enum NoRule {
    Host,
    Scheme,
    Port,
    Method,
    Path,
}

/// A compiled rule.
#[derive(Clone, Debug)]
pub(in crate::egress) struct Rule {
    pub(in crate::egress) id: RuleId,
    pub(super) schemes: Schemes,
    /// None: the default port of the scheme.
    pub(super) ports: Option<Box<[u16]>>,
    pub(super) methods: Methods,
    /// Empty: every path.
    pub(super) paths: Box<[Prefix]>,
    pub(super) private: Option<Box<AddressRanges>>,
    pub(in crate::egress) limits: EgressLimits,
    pub(in crate::egress) hidden_server_name: bool,
    pub(in crate::egress) tunnel: Tunnel,
    pub(in crate::egress) credentials: Box<[Credential]>,
    /// The override headers that may pass.
    pub(in crate::egress) override_headers: Box<[HeaderName]>,
    /// The slot of the one name that the rule has, where it has exactly one host and nothing else.
    pub(super) only_name: Option<u32>,
}

impl Rule {
    /// How specific the match is by path (the length of the longest prefix that holds), or why there is none.
    pub(super) fn matches(&self, wanted: &Wanted<'_>) -> Result<usize, NoRule> {
        if !self.schemes.has(wanted.scheme) {
            return Err(NoRule::Scheme);
        }
        if !self.has_port(wanted.scheme, wanted.port) {
            return Err(NoRule::Port);
        }
        if !self.methods.has(wanted.method) {
            return Err(NoRule::Method);
        }
        if self.paths.is_empty() {
            return Ok(0);
        }
        let path = wanted.path.ok_or(NoRule::Path)?;
        let under = self.paths.iter().filter(|prefix| prefix.holds(path));
        under.map(Prefix::len).max().ok_or(NoRule::Path)
    }

    fn has_port(&self, scheme: Scheme, port: u16) -> bool {
        match &self.ports {
            None => port == scheme.default_port(),
            Some(ports) => ports.contains(&port),
        }
    }

    /// The order in which rules of one host and one path are asked: the narrower first, and then by id, so that the
    /// order of the document does not matter.
    pub(super) fn order(&self, other: &Self) -> Ordering {
        let width = |rule: &Self| {
            (
                rule.methods.len(),
                rule.ports.as_ref().map_or(0, |ports| ports.len()),
                rule.schemes.0.count_ones(),
            )
        };
        width(self).cmp(&width(other)).then_with(|| self.id.cmp(&other.id))
    }

    /// Whether some request is matched by both through one path prefix, or through none.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        let paths = self.paths.is_empty() && other.paths.is_empty()
            || self.paths.iter().any(|path| other.paths.contains(path));
        paths && self.methods.overlaps(&other.methods) && self.shares_a_port(other)
    }

    fn shares_a_port(&self, other: &Self) -> bool {
        [Scheme::Http, Scheme::Https].into_iter().any(|scheme| {
            let own = self.ports.as_deref().unwrap_or(&[]);
            let theirs = other.ports.as_deref().unwrap_or(&[]);
            let mut ports = own.iter().chain(theirs).copied().chain([scheme.default_port()]);
            self.schemes.has(scheme)
                && other.schemes.has(scheme)
                && ports.any(|port| self.has_port(scheme, port) && other.has_port(scheme, port))
        })
    }

    /// Whether both match exactly the same requests of a host.
    pub(super) fn same_requests(&self, other: &Self) -> bool {
        self.schemes == other.schemes
            && self.ports == other.ports
            && self.methods == other.methods
            && self.paths == other.paths
    }

    pub(in crate::egress) fn may_reach_private(&self, ip: core::net::IpAddr) -> bool {
        self.private.as_ref().is_some_and(|ranges| ranges.contains(ip))
    }

    /// The one https port of this rule, for routes by base URL.
    pub(super) fn only_https_port(&self) -> Option<u16> {
        if !self.schemes.has(Scheme::Https) {
            return None;
        }
        match self.ports.as_deref() {
            None => Some(Scheme::Https.default_port()),
            Some([port]) => Some(*port),
            Some(_) => None,
        }
    }
}
