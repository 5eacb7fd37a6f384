//! Host rules: an exact host, a DNS suffix at a label boundary, or a name in which one label may be any.

use alloc::{borrow::Cow, boxed::Box, format, string::String};
use core::{fmt, net::IpAddr};

use idna::uts46::{Hyphens, Uts46};

use super::{
    address::parse_literal,
    host::{Host, HostError, HostView},
};
use crate::code::{self, Code, Coded};

/// Why a text is not a host rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HostRuleError {
    /// Not a host, by the grammar of hosts.
    #[error(transparent)]
    Host(#[from] HostError),
    /// Unicode that IDNA (UTS 46) does not turn into ASCII.
    #[error("the name has no ASCII form by IDNA")]
    Idna,
    /// An address has no subdomains.
    #[error("a suffix is a name, not an address")]
    SuffixIsAddress,
    /// Unicode characters that fold to an address: written so, it can only mislead.
    #[error("a name outside ASCII that folds to an address")]
    DisguisedAddress,
    /// `*.example.com`, `.example.com`, or a star elsewhere.
    #[error(
        "stars and leading dots mean nothing here: for a name with every name below it write suffixes: [\"{0}\"]"
    )]
    Wildcard(Box<str>),
    /// A star in a pattern that is not one whole label inside the name.
    #[error(
        "a pattern has one star, as a whole label with one before it and two behind it: api.*.example.com"
    )]
    Pattern,
    /// A port behind the host.
    #[error("a host is written without its port; write ports: [{0}]")]
    Port(u16),
    /// A URL.
    #[error("a host is written without scheme and path; write schemes and paths for those")]
    Url,
    /// An address range.
    #[error("an address range is no host: private_addresses and deny.addresses take those")]
    Range,
}

impl Coded for HostRuleError {
    fn code(&self) -> Code {
        code::EGRESS_HOST_RULE
    }
}

/// A rule about hosts, validated. Unicode becomes ASCII here (UTS 46, non-transitional), never in a decision.
///
/// ```
/// use leasehold::egress::{Host, HostRule};
/// let rule = HostRule::suffix("example.com")?;
/// assert!(rule.matches(&Host::parse("api.example.com")?));
/// assert!(!rule.matches(&Host::parse("badexample.com")?));
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostRule(pub(super) Pattern);

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Pattern {
    Exact(Host),
    Suffix(Box<str>),
    /// A name with a star as one label: no name of a host has one.
    Starred(Box<str>),
}

/// `text` in ASCII. ASCII passes as it is: what an `xn--` label decodes to depends on tables that change.
fn to_ascii(text: &str) -> Result<Cow<'_, str>, HostRuleError> {
    if text.is_ascii() {
        return Ok(Cow::Borrowed(text));
    }
    Uts46::new()
        .to_ascii(text.as_bytes(), idna::AsciiDenyList::URL, Hyphens::Allow, idna::uts46::DnsLength::Ignore)
        .map(|ascii| Cow::Owned(String::from(ascii)))
        .map_err(|_| HostRuleError::Idna)
}

/// What somebody who wrote `text` most likely meant, where it is the spelling of another tool.
fn other_spelling(text: &str) -> Option<HostRuleError> {
    if text.contains("://") {
        return Some(HostRuleError::Url);
    }
    if let Some((host, tail)) = text.split_once('/') {
        let is_range = !tail.is_empty() && tail.bytes().all(|byte| byte.is_ascii_digit());
        let is_address = parse_literal(host).is_ok();
        return Some(if is_range && is_address { HostRuleError::Range } else { HostRuleError::Url });
    }
    let below = text.trim_start_matches(['*', '.']);
    if below.len() < text.len() || text.contains('*') {
        let name = below.rsplit('*').next().unwrap_or_default().trim_start_matches('.');
        return Some(HostRuleError::Wildcard(if name.is_empty() {
            "example.com".into()
        } else {
            name.into()
        }));
    }
    let (host, port) = text.rsplit_once(':')?;
    let is_host = !host.contains(':') || host.ends_with(']');
    port.parse().ok().filter(|_| is_host).map(HostRuleError::Port)
}

fn parse(text: &str) -> Result<Host, HostRuleError> {
    if let Some(meant) = other_spelling(text) {
        return Err(meant);
    }
    let ascii = to_ascii(text)?;
    let host = Host::parse(&ascii)?;
    if host.ip().is_some() && !text.is_ascii() {
        return Err(HostRuleError::DisguisedAddress);
    }
    Ok(host)
}

impl HostRule {
    /// A rule that matches exactly the host `text`: a name or an address literal.
    ///
    /// # Errors
    /// [`HostRuleError`], code `egress.policy.host`, for wildcards, ports, empty or long labels, long names, and what
    /// only looks like an address.
    pub fn exact(text: &str) -> Result<Self, HostRuleError> {
        parse(text).map(|host| Self(Pattern::Exact(host)))
    }

    /// A rule that matches the name `text` and every name below it.
    ///
    /// # Errors
    /// As [`HostRule::exact`], and for addresses.
    pub fn suffix(text: &str) -> Result<Self, HostRuleError> {
        let host = parse(text)?;
        let name = host.name().ok_or(HostRuleError::SuffixIsAddress)?;
        Ok(Self(Pattern::Suffix(name.into())))
    }

    /// A rule that matches the names that have exactly one label, whichever, in place of the star in `text`:
    /// `api.*.example.com`.
    ///
    /// # Errors
    /// As [`HostRule::suffix`], and where the star is not one whole label with a label before it and two behind it.
    pub fn pattern(text: &str) -> Result<Self, HostRuleError> {
        let (before, behind) = text.split_once(".*.").ok_or(HostRuleError::Pattern)?;
        if before.contains('*') || behind.contains('*') {
            return Err(HostRuleError::Pattern);
        }
        let behind = parse(behind)?;
        let behind = behind.name().filter(|name| name.contains('.')).ok_or(HostRuleError::Pattern)?;
        // Both sides as one name, with the shortest label in place of the star: what is before it may be a number.
        let whole = parse(&format!("{before}.x.{behind}"))?;
        let before = whole.name().and_then(|name| name.strip_suffix(behind)?.strip_suffix(".x."));
        let before = before.ok_or(HostRuleError::Pattern)?;
        Ok(Self(Pattern::Starred(format!("{before}.*.{behind}").into_boxed_str())))
    }

    /// What stands behind the star, where the rule has one.
    pub(super) fn behind_star(&self) -> Option<&str> {
        match &self.0 {
            Pattern::Starred(text) => text.split_once(".*.").map(|(_, behind)| behind),
            Pattern::Exact(_) | Pattern::Suffix(_) => None,
        }
    }

    /// The address, where the rule is one.
    pub(super) fn address(&self) -> Option<IpAddr> {
        match &self.0 {
            Pattern::Exact(host) => host.ip(),
            Pattern::Suffix(_) | Pattern::Starred(_) => None,
        }
    }

    /// Whether the rule matches `host`. An address matches only an equal exact rule. Cost: one comparison.
    pub fn matches(&self, host: &Host) -> bool {
        match (&self.0, host.view()) {
            (Pattern::Exact(own), _) => own == host,
            (Pattern::Suffix(suffix), HostView::Name(name)) => {
                name.strip_suffix(&**suffix).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            }
            (Pattern::Starred(own), HostView::Name(name)) => {
                let sides = own
                    .split_once('*')
                    .and_then(|(before, behind)| name.strip_prefix(before)?.strip_suffix(behind));
                sides.is_some_and(|label| !label.is_empty() && !label.contains('.'))
            }
            (Pattern::Suffix(_) | Pattern::Starred(_), HostView::Ip(_)) => false,
        }
    }
}

impl fmt::Debug for HostRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Pattern::Exact(host) => write!(f, "{host}"),
            Pattern::Suffix(name) => write!(f, ".{name}"),
            Pattern::Starred(text) => f.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::{
        string::{String, ToString},
        vec::Vec,
    };

    use proptest::prelude::*;

    use super::*;

    fn suffix_matches(suffix: &str, host: &str) -> bool {
        HostRule::suffix(suffix).unwrap().matches(&Host::parse(host).unwrap())
    }

    /// Attack E5.
    #[test]
    fn e5_suffix_rules_stop_at_labels() {
        for (suffix, host, want) in [
            ("example.com", "example.com", true),
            ("example.com", "a.b.example.com", true),
            ("example.com", "EXAMPLE.com.", true),
            ("example.com", "badexample.com", false),
            ("example.com", "example.com.evil.net", false),
            ("example.com", "com", false),
            ("example.com", "xample.com", false),
            ("com", "93.184.216.34", false),
        ] {
            assert_eq!(suffix_matches(suffix, host), want, "{suffix} {host}");
        }
        for part_of_address in ["34", "216.34", "93.184.216.34", "::1", "[::1]", "0x22"] {
            assert!(HostRule::suffix(part_of_address).is_err(), "{part_of_address}");
        }
    }

    /// Attack E5: a star is one label, no less and no more, and never an address.
    #[test]
    fn e5_a_star_is_exactly_one_label() {
        let rule = HostRule::pattern("API.*.ex\u{e4}mple.com").unwrap();
        assert_eq!(alloc::format!("{rule:?}"), "api.*.xn--exmple-cua.com");
        for (host, want) in [
            ("api.eu.xn--exmple-cua.com", true),
            ("API.eu.xn--exmple-cua.com.", true),
            ("api.xn--exmple-cua.com", false),
            ("api.a.b.xn--exmple-cua.com", false),
            ("x.api.eu.xn--exmple-cua.com", false),
            ("api.eu.xn--exmple-cua.com.evil.net", false),
            ("apis.eu.xn--exmple-cua.com", false),
            ("api.93.184.216.34", false),
            ("93.184.216.34", false),
        ] {
            assert_eq!(Host::parse(host).is_ok_and(|host| rule.matches(&host)), want, "{host}");
        }
        for bad in [
            "*.example.com",
            "api.*.com",
            "api.*",
            "api.*.example.*",
            "a.*.b.*.example.com",
            "api.e*.example.com",
            "api.example.com",
            "api.*.1.2",
            ".*.example.com",
            "api..*.example.com",
            "api.*.example.com:443",
        ] {
            assert!(HostRule::pattern(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn addresses_match_only_an_equal_exact_rule() {
        let rule = HostRule::exact("93.184.216.34").unwrap();
        assert!(rule.matches(&Host::parse("93.184.216.34").unwrap()));
        assert!(rule.matches(&Host::parse("[::ffff:93.184.216.34]").unwrap()));
        assert!(!rule.matches(&Host::parse("93.184.216.35").unwrap()));
    }

    #[test]
    fn rules_in_unicode_become_ascii_when_built() {
        let rule = HostRule::exact("B\u{dc}cher.example").unwrap();
        assert!(rule.matches(&Host::parse("xn--bcher-kva.example").unwrap()));
        assert_eq!(HostRule::exact("\u{ff11}27.0.0.1"), Err(HostRuleError::DisguisedAddress));
        assert_eq!(
            HostRule::suffix("a\u{200b}\u{301}..\u{e9}"),
            Err(HostRuleError::Host(HostError::EmptyLabel))
        );
    }

    #[test]
    fn rules_that_are_not_hosts_do_not_build() {
        for text in [
            "*.example.com",
            "example.com:443",
            ".example.com",
            "a..b",
            "",
            "1.2.3",
            "ex ample",
            "a/b",
            "10.0.0.0/8",
        ] {
            assert!(HostRule::exact(text).is_err(), "{text}");
            assert!(HostRule::suffix(text).is_err(), "{text}");
        }
    }

    /// Spellings of other tools are refused with what to write instead.
    #[test]
    fn the_refusal_of_another_spelling_says_what_to_write() {
        for (text, hint) in [
            ("*.example.com", "suffixes: [\"example.com\"]"),
            (".example.com", "suffixes: [\"example.com\"]"),
            ("*", "suffixes: [\"example.com\"]"),
            ("a.*.example.com", "suffixes: [\"example.com\"]"),
            ("a.example.com:8443", "ports: [8443]"),
            ("[2001:db8::1]:443", "ports: [443]"),
            ("https://a.example.com", "schemes"),
            ("a.example.com/v1", "paths"),
            ("10.0.0.0/8", "private_addresses"),
        ] {
            for rule in [HostRule::exact(text), HostRule::suffix(text)] {
                let message = rule.unwrap_err().to_string();
                assert!(message.contains(hint), "{text}: {message}");
            }
        }
        assert!(HostRule::exact("2001:db8::1").is_ok() && HostRule::exact("[2001:db8::1]").is_ok());
    }

    proptest! {
        /// The rule against a second reading of it: compare the labels, from the right.
        #[test]
        fn suffix_rules_are_what_comparing_labels_says(
            rule in "[ab]{1,2}(\\.[ab]{1,2}){0,2}",
            host in "[ab]{1,2}(\\.[ab]{1,2}){0,3}",
        ) {
            let labels = |text: &str| text.split('.').rev().map(ToString::to_string).collect::<Vec<String>>();
            let (own, asked) = (labels(&rule), labels(&host));
            prop_assert_eq!(suffix_matches(&rule, &host), asked.starts_with(&own));
            let exact = HostRule::exact(&rule).unwrap().matches(&Host::parse(&host).unwrap());
            prop_assert_eq!(exact, own == asked);
        }
    }
}
