//! Host rules: an exact host, or a DNS suffix at a label boundary.

use alloc::{borrow::Cow, boxed::Box, string::String};
use core::fmt;

use idna::uts46::{Hyphens, Uts46};

use super::host::{Host, HostError, HostView};
use crate::code::{self, Code, Coded};

/// Why a text is not a host rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
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

fn parse(text: &str) -> Result<Host, HostRuleError> {
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

    /// Whether the rule matches `host`. An address matches only an equal exact rule. Cost: one comparison.
    pub fn matches(&self, host: &Host) -> bool {
        match (&self.0, host.view()) {
            (Pattern::Exact(own), _) => own == host,
            (Pattern::Suffix(suffix), HostView::Name(name)) => {
                name.strip_suffix(&**suffix).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            }
            (Pattern::Suffix(_), HostView::Ip(_)) => false,
        }
    }
}

impl fmt::Debug for HostRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Pattern::Exact(host) => write!(f, "{host}"),
            Pattern::Suffix(name) => write!(f, ".{name}"),
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

    /// ATTACKS E5.
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
