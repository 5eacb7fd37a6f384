//! The host grammar of requests: what a name or literal may look like before any URL library sees it.

use alloc::{boxed::Box, string::String};
use core::{fmt, net::IpAddr};

use super::address::parse_literal;
use crate::code::{self, Code, Coded};

/// The longest host name in bytes, without the trailing dot (RFC 1035 section 2.3.4 gives 255 octets on the wire).
pub const MAX_NAME_BYTES: usize = 253;
/// The longest label in bytes (RFC 1035 section 2.3.4).
pub const MAX_LABEL_BYTES: usize = 63;

/// Why a text is not the host of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// No host.
    #[error("the host is empty")]
    Empty,
    /// A byte outside ASCII.
    #[error("byte {0} of the host is not ASCII; the host of a request is written in ASCII")]
    NotAscii(usize),
    /// A byte outside the grammar.
    #[error("byte {0} of the host is not a letter, digit, hyphen, underscore or dot")]
    Character(usize),
    /// Two dots in a row, or one at the beginning.
    #[error("the host has an empty label")]
    EmptyLabel,
    /// A label over [`MAX_LABEL_BYTES`].
    #[error("a label of the host is over {MAX_LABEL_BYTES} bytes")]
    LabelTooLong,
    /// A name over [`MAX_NAME_BYTES`].
    #[error("the host is over {MAX_NAME_BYTES} bytes")]
    TooLong,
    /// A label that begins or ends with a hyphen (RFC 952; TLS libraries cannot name it).
    #[error("a label of the host begins or ends with a hyphen, so no certificate can prove the name")]
    Hyphen,
    /// Some parsers would read it as an IPv4 address, and it is not written as one.
    #[error("the host ends in a number and is not a canonical dotted quad")]
    Numeric,
    /// In brackets, and not an RFC 4291 literal.
    #[error("the host is not an RFC 4291 literal in brackets")]
    Literal,
}

impl Coded for HostError {
    fn code(&self) -> Code {
        match self {
            Self::Empty => code::EGRESS_HOST_EMPTY,
            Self::NotAscii(_) => code::EGRESS_HOST_NOT_ASCII,
            Self::Character(_) => code::EGRESS_HOST_CHARACTER,
            Self::EmptyLabel => code::EGRESS_HOST_EMPTY_LABEL,
            Self::LabelTooLong => code::EGRESS_HOST_LABEL_TOO_LONG,
            Self::TooLong => code::EGRESS_HOST_TOO_LONG,
            Self::Hyphen => code::EGRESS_HOST_HYPHEN,
            Self::Numeric => code::EGRESS_HOST_NUMERIC,
            Self::Literal => code::EGRESS_HOST_LITERAL,
        }
    }
}

/// A host as it was written, found to be good: nothing is folded or copied yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written<'a> {
    /// A name without its trailing dot, in any case.
    Name(&'a str),
    /// A literal; a mapped one is the IPv4 address that would be dialled.
    Ip(IpAddr),
}

/// Checks `text` against the grammar. Brackets mark an IPv6 literal, as in a URL.
pub(super) fn check(text: &str) -> Result<Written<'_>, HostError> {
    if let Some(rest) = text.strip_prefix('[') {
        let literal = rest.strip_suffix(']').filter(|inner| inner.contains(':')).ok_or(HostError::Literal)?;
        return parse_literal(literal)
            .map(|ip| Written::Ip(ip.to_canonical()))
            .map_err(|_| HostError::Literal);
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    check_name(name)?;
    if !ends_in_a_number(name) {
        return Ok(Written::Name(name));
    }
    parse_literal(name).map(Written::Ip).map_err(|_| HostError::Numeric)
}

fn check_name(name: &str) -> Result<(), HostError> {
    if name.is_empty() {
        return Err(HostError::Empty);
    }
    if name.len() > MAX_NAME_BYTES {
        return Err(HostError::TooLong);
    }
    let mut label = 0_usize;
    let mut hyphens = false;
    for (at, byte) in name.bytes().enumerate() {
        match byte {
            b'.' if label == 0 => return Err(HostError::EmptyLabel),
            b'.' => label = 0,
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'A'..=b'Z' | b'_' => {
                label = label.saturating_add(1);
                hyphens |= byte == b'-';
                if label > MAX_LABEL_BYTES {
                    return Err(HostError::LabelTooLong);
                }
            }
            0x80.. => return Err(HostError::NotAscii(at)),
            _ => return Err(HostError::Character(at)),
        }
    }
    if label == 0 {
        return Err(HostError::EmptyLabel);
    }
    let at_an_end = |label: &[u8]| label.first() == Some(&b'-') || label.last() == Some(&b'-');
    if hyphens && name.as_bytes().split(|byte| *byte == b'.').any(at_an_end) {
        return Err(HostError::Hyphen);
    }
    Ok(())
}

/// The WHATWG URL standard's "ends in a number": such a host is an IPv4 address to many parsers, in decimal, octal,
/// hexadecimal or with parts missing.
fn ends_in_a_number(name: &str) -> bool {
    let last = name.as_bytes().rsplit(|byte| *byte == b'.').next().unwrap_or_default();
    match last {
        [b'0', b'x' | b'X', rest @ ..] => rest.iter().all(u8::is_ascii_hexdigit),
        _ => last.iter().all(u8::is_ascii_digit),
    }
}

/// The host of a request in its one canonical spelling: a lowercase ASCII name without a trailing dot, or an address.
///
/// ```
/// use leasehold::egress::Host;
/// assert_eq!(Host::parse("API.Example.com.")?, Host::parse("api.example.com")?);
/// assert!(Host::parse("0x7f.1").is_err());
/// # Ok::<(), leasehold::egress::HostError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Host(Kind);

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Kind {
    Name(Box<str>),
    Ip(IpAddr),
}

impl Host {
    /// Parses a host as it stands in a URL: a name, a dotted quad, or an IPv6 literal in brackets. An IPv6 literal
    /// without brackets is taken too, because documents write them so. A mapped literal becomes its IPv4 address.
    ///
    /// Case is folded and one trailing dot dropped. Everything else is refused and never repaired.
    ///
    /// # Errors
    /// [`HostError`], codes `egress.host.*`.
    pub fn parse(text: &str) -> Result<Self, HostError> {
        if !text.starts_with('[')
            && text.contains(':')
            && let Ok(ip) = parse_literal(text)
        {
            return Ok(Self(Kind::Ip(ip.to_canonical())));
        }
        check(text).map(Self::from_written)
    }

    pub(super) fn from_written(written: Written<'_>) -> Self {
        match written {
            Written::Ip(ip) => Self(Kind::Ip(ip)),
            Written::Name(name) => {
                let mut folded = String::from(name);
                folded.make_ascii_lowercase();
                Self(Kind::Name(folded.into_boxed_str()))
            }
        }
    }

    /// The name, where the host is one.
    pub fn name(&self) -> Option<&str> {
        match &self.0 {
            Kind::Name(name) => Some(name),
            Kind::Ip(_) => None,
        }
    }

    /// The address, where the host is a literal.
    pub fn ip(&self) -> Option<IpAddr> {
        match &self.0 {
            Kind::Name(_) => None,
            Kind::Ip(ip) => Some(*ip),
        }
    }

    pub(super) fn view(&self) -> HostView<'_> {
        match &self.0 {
            Kind::Name(name) => HostView::Name(name),
            Kind::Ip(ip) => HostView::Ip(*ip),
        }
    }
}

/// A canonical host, borrowed: the name is in lower case and without a trailing dot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HostView<'a> {
    Name(&'a str),
    Ip(IpAddr),
}

impl fmt::Display for HostView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Ip(IpAddr::V4(v4)) => write!(f, "{v4}"),
            Self::Ip(IpAddr::V6(v6)) => write!(f, "[{v6}]"),
        }
    }
}

/// As it stands in a URL: IPv6 in brackets.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.view(), f)
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.view(), f)
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use proptest::prelude::*;

    use super::*;

    /// Attack E4: hostile spellings are refused with a code, and good ones have one canonical form.
    #[test]
    fn e4_hostile_hosts_are_refused_and_good_ones_have_one_spelling() {
        let long_label = "a".repeat(64);
        let long_name = ("a".repeat(62) + ".").repeat(4) + "aa";
        let refused: &[(&str, HostError)] = &[
            ("", HostError::Empty),
            (".", HostError::Empty),
            ("..", HostError::EmptyLabel),
            (".a", HostError::EmptyLabel),
            ("a..b", HostError::EmptyLabel),
            ("a..", HostError::EmptyLabel),
            ("a%2eb", HostError::Character(1)),
            ("a b", HostError::Character(1)),
            ("a\tb", HostError::Character(1)),
            ("a\0", HostError::Character(1)),
            ("a:80", HostError::Character(1)),
            ("*.a", HostError::Character(0)),
            ("a\\b", HostError::Character(1)),
            ("u@a", HostError::Character(1)),
            ("b\u{fc}cher.test", HostError::NotAscii(1)),
            ("\u{2460}.0.0.1", HostError::NotAscii(0)),
            ("127\u{3002}0.0.1", HostError::NotAscii(3)),
            ("2130706433", HostError::Numeric),
            ("127.1", HostError::Numeric),
            ("0177.0.0.1", HostError::Numeric),
            ("0x7f.1", HostError::Numeric),
            ("a.0x", HostError::Numeric),
            ("a.0X1f", HostError::Numeric),
            ("example.34", HostError::Numeric),
            ("1.2.3.4.5", HostError::Numeric),
            ("256.1.1.1", HostError::Numeric),
            ("[127.0.0.1]", HostError::Literal),
            ("[::1", HostError::Literal),
            ("[fe80::1%eth0]", HostError::Literal),
            ("[example.com]", HostError::Literal),
            ("::1%1", HostError::Character(0)),
            (&long_label, HostError::LabelTooLong),
            (&long_name, HostError::TooLong),
        ];
        for (text, want) in refused {
            assert_eq!(Host::parse(text).unwrap_err(), *want, "{text}");
        }
        let good = [
            ("API.Example.COM.", "api.example.com"),
            ("a_b.test", "a_b.test"),
            ("a--b.test", "a--b.test"),
            ("xn--bcher-kva.test", "xn--bcher-kva.test"),
            ("1.2.3.4", "1.2.3.4"),
            ("1.2.3.4.", "1.2.3.4"),
            ("[2606:4700:0:0::1]", "[2606:4700::1]"),
            ("2606:4700::1", "[2606:4700::1]"),
            ("[::ffff:1.2.3.4]", "1.2.3.4"),
            ("34.example", "34.example"),
            ("0x7g", "0x7g"),
        ];
        for (text, want) in good {
            assert_eq!(Host::parse(text).unwrap().to_string(), want);
        }
    }

    proptest! {
        #[test]
        fn a_canonical_host_parses_to_itself(text in "[a-zA-Z0-9._:\\[\\]%-]{0,80}|\\PC{0,20}") {
            if let Ok(host) = Host::parse(&text) {
                prop_assert_eq!(Host::parse(&host.to_string()), Ok(host.clone()));
                let name = host.name().unwrap_or("");
                let folded = !name.bytes().any(|b| b.is_ascii_uppercase());
                prop_assert!(name.len() <= MAX_NAME_BYTES && folded, "{}", name);
            }
        }
    }
}
