//! Where a request goes: a URL or the authority of a tunnel, read by our own grammar first and by `url` after it.

use alloc::{
    format,
    string::{String, ToString},
};
use core::net::IpAddr;

use url::{Position, Url};

use super::{
    Scheme,
    address::parse_literal,
    host::{self, Host, HostError, HostView, Written},
    outgoing::without_parameters,
    stage::Stage,
};
use crate::code::{self, Code, Coded};

/// The longest URL of a request, in bytes.
pub const MAX_URL_BYTES: usize = 16 * 1024;

/// Why a text is not the target of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// Over [`MAX_URL_BYTES`].
    #[error("the URL has more than {MAX_URL_BYTES} bytes")]
    TooLong,
    /// A space, a control character or a byte outside ASCII.
    #[error("byte {0} of the URL is a space, a control character or outside ASCII")]
    Character(usize),
    /// A backslash: some parsers take it for a slash.
    #[error("byte {0} of the URL is a backslash")]
    Backslash(usize),
    /// Not `scheme://authority/path`.
    #[error("the URL is not of the form scheme://host/path")]
    Malformed,
    /// Neither http nor https.
    #[error("the scheme is neither http nor https")]
    Scheme,
    /// `user@` before the host.
    #[error("the URL has user information before the host")]
    Userinfo,
    /// The host.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The port.
    #[error("a port is one to five digits from 1 to 65535, without sign or leading zero; CONNECT needs one")]
    Port,
    /// An IPv6 literal without brackets (RFC 3986 section 3.2.2).
    #[error("an IPv6 literal needs brackets, such as [2001:db8::1]:443")]
    Unbracketed,
    /// `#fragment`, which no request carries.
    #[error("the URL of a request has no fragment")]
    Fragment,
    /// A bare percent sign in the path.
    #[error("a percent sign in the path is not followed by two hex digits")]
    Percent,
    /// `url` reads something else.
    #[error("two URL parsers read different targets")]
    Disagreement,
    /// CONNECT with a URL, or another method with an authority.
    #[error("CONNECT takes host:port and every other method a URL")]
    Form,
}

impl Coded for TargetError {
    fn code(&self) -> Code {
        match self {
            Self::TooLong => code::EGRESS_URL_TOO_LONG,
            Self::Character(_) => code::EGRESS_URL_CHARACTER,
            Self::Backslash(_) => code::EGRESS_URL_BACKSLASH,
            Self::Malformed => code::EGRESS_URL_MALFORMED,
            Self::Scheme => code::EGRESS_SCHEME_UNSUPPORTED,
            Self::Userinfo => code::EGRESS_URL_USERINFO,
            Self::Host(error) => error.code(),
            Self::Port => code::EGRESS_URL_PORT,
            Self::Unbracketed => code::EGRESS_HOST_LITERAL,
            Self::Fragment => code::EGRESS_URL_FRAGMENT,
            Self::Percent => code::EGRESS_URL_PERCENT,
            Self::Disagreement => code::EGRESS_URL_DISAGREEMENT,
            Self::Form => code::EGRESS_URL_FORM,
        }
    }
}

impl TargetError {
    pub(super) fn stage(self) -> Stage {
        match self {
            Self::Scheme => Stage::Scheme,
            Self::Host(_) | Self::Unbracketed => Stage::Host,
            _ => Stage::Url,
        }
    }
}

/// Where a request goes, in one canonical spelling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    scheme: Scheme,
    port: u16,
    host: Place,
    /// The canonical URL, or `host:port` of a tunnel.
    text: String,
    /// Where the path begins in `text`; at its end in a tunnel.
    path: usize,
    /// Where the path ends and the query begins.
    path_end: usize,
    tunnel: bool,
}

/// The host within a target's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Name { start: usize, end: usize },
    Ip(IpAddr),
}

/// The parts of a URL as they were written.
struct Parts<'a> {
    scheme: Scheme,
    host_text: &'a str,
    host: Written<'a>,
    port: Option<u16>,
    /// Path and query.
    rest: &'a str,
}

impl Parts<'_> {
    /// The query as it came, with its question mark. It leaves byte for byte (RFC 9110 section 7.7): signatures are over
    /// it, and `url` would encode some of it again.
    fn query(&self) -> &str {
        self.rest.find('?').and_then(|at| self.rest.get(at..)).unwrap_or_default()
    }
}

/// One to five digits, without sign or leading zero: other parsers take `+443`.
fn port(text: &str) -> Result<u16, TargetError> {
    let canonical = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    text.parse().ok().filter(|_| canonical).ok_or(TargetError::Port)
}

/// Whether `text` is an IPv6 literal, with a port behind it or none.
fn is_unbracketed(text: &str) -> bool {
    let without_port = text.rsplit_once(':').map_or(text, |(host, _)| host);
    [text, without_port].iter().any(|host| host.contains(':') && parse_literal(host).is_ok())
}

/// Splits an authority into host and port. What stands between them is found by the brackets, or by the first colon. An
/// empty port is none (RFC 3986 section 3.2.3).
fn authority(text: &str) -> Result<(&str, Option<u16>), TargetError> {
    if is_unbracketed(text) {
        return Err(TargetError::Unbracketed);
    }
    let host_end = if text.starts_with('[') {
        text.find(']').map(|at| at.saturating_add(1)).ok_or(TargetError::Host(HostError::Literal))?
    } else {
        text.find(':').unwrap_or(text.len())
    };
    let (host, rest) = text.split_at_checked(host_end).ok_or(TargetError::Malformed)?;
    match rest.strip_prefix(':') {
        Some("") => Ok((host, None)),
        Some(digits) => Ok((host, Some(port(digits)?))),
        None if rest.is_empty() => Ok((host, None)),
        None => Err(TargetError::Malformed),
    }
}

fn scan(text: &str) -> Result<(), TargetError> {
    if text.len() > MAX_URL_BYTES {
        return Err(TargetError::TooLong);
    }
    let is_bad = |byte: u8| matches!(byte, 0..=b' ' | b'\\' | 0x7f);
    // One pass without a branch per byte; only a bad text is searched for the place.
    if !text.bytes().fold(false, |bad, byte| bad | is_bad(byte)) {
        return Ok(());
    }
    match text.bytes().position(is_bad) {
        Some(at) if text.as_bytes().get(at) == Some(&b'\\') => Err(TargetError::Backslash(at)),
        Some(at) => Err(TargetError::Character(at)),
        None => Ok(()),
    }
}

fn split(text: &str) -> Result<Parts<'_>, TargetError> {
    scan(text)?;
    let (scheme, after) = text.split_once(':').ok_or(TargetError::Malformed)?;
    let grammar = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    if !scheme.starts_with(|c: char| c.is_ascii_alphabetic()) || !scheme.bytes().all(grammar) {
        return Err(TargetError::Malformed);
    }
    let scheme = Scheme::parse(scheme).ok_or(TargetError::Scheme)?;
    let after = after.strip_prefix("//").ok_or(TargetError::Malformed)?;
    let is_end = |byte: u8| matches!(byte, b'/' | b'?' | b'#');
    let end = after.bytes().position(is_end).unwrap_or(after.len());
    let (authority_text, rest) = after.split_at_checked(end).ok_or(TargetError::Malformed)?;
    if authority_text.contains('@') {
        return Err(TargetError::Userinfo);
    }
    let (host_text, port) = authority(authority_text)?;
    let host = host::check(host_text)?;
    if rest.contains('#') {
        return Err(TargetError::Fragment);
    }
    if !rest.is_ascii() {
        let at = rest.bytes().take_while(u8::is_ascii).count();
        return Err(TargetError::Character(text.len().saturating_sub(rest.len()).saturating_add(at)));
    }
    if rest.contains('%') && !percents_are_pairs(rest.split('?').next().unwrap_or(rest).as_bytes()) {
        return Err(TargetError::Percent);
    }
    Ok(Parts { scheme, host_text, host, port, rest })
}

fn percents_are_pairs(path: &[u8]) -> bool {
    let mut parts = path.split(|byte| *byte == b'%');
    parts.next();
    parts.all(|part| matches!(part, [high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit()))
}

/// `url` gives its opinion on `xn--` labels by tables that change with a lock file, so it is not asked about them.
fn has_punycode(name: &str) -> bool {
    let mut rest = name.as_bytes();
    loop {
        if let [b'x' | b'X', b'n' | b'N', b'-', b'-', ..] = rest {
            return true;
        }
        match rest.iter().position(|byte| *byte == b'.') {
            Some(dot) => rest = rest.get(dot.saturating_add(1)..).unwrap_or_default(),
            None => return false,
        }
    }
}

/// Whether path and query are their own canonical form: only bytes that neither RFC 3986 nor `url` would touch, and no
/// segment that begins with a dot.
fn is_plain(rest: &str) -> bool {
    let plain = |byte: u8| {
        byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'/' | b'.'
                    | b'-'
                    | b'_'
                    | b'~'
                    | b'='
                    | b'&'
                    | b'?'
                    | b'+'
                    | b','
                    | b':'
                    | b'@'
                    | b'!'
                    | b'$'
            )
    };
    rest.starts_with('/') && rest.bytes().fold(true, |all, byte| all & plain(byte)) && !rest.contains("/.")
}

impl Target {
    /// Reads the URL of a request. A path that needs no canonical form gets none, and `url` is not asked; every other
    /// text it reads too.
    pub(super) fn parse(text: &str) -> Result<Self, TargetError> {
        let parts = split(text)?;
        if is_plain(parts.rest) {
            return Ok(Self::composed(&parts, parts.rest));
        }
        let as_written = match parts.host {
            Written::Name(name) => name.len() == parts.host_text.len() && !has_punycode(name),
            Written::Ip(ip) => {
                ip.is_ipv4() != parts.host_text.starts_with('[') && !parts.host_text.ends_with('.')
            }
        };
        if as_written { Self::confirmed(text, &parts) } else { Self::assembled(&parts) }
    }

    /// `url` reads the same text and must find the same host and port.
    fn confirmed(text: &str, parts: &Parts<'_>) -> Result<Self, TargetError> {
        let url = Url::parse(text).map_err(|_| TargetError::Disagreement)?;
        let scheme_end = parts.scheme.as_str().len().saturating_add("://".len());
        let found = url.host_str().ok_or(TargetError::Disagreement)?;
        let same_host = match parts.host {
            Written::Name(name) => found.eq_ignore_ascii_case(name),
            Written::Ip(ip) => host::check(found) == Ok(Written::Ip(ip)),
        };
        let port = parts.port.unwrap_or(parts.scheme.default_port());
        if !same_host || url.port_or_known_default() != Some(port) || url.scheme() != parts.scheme.as_str() {
            return Err(TargetError::Disagreement);
        }
        let host = match parts.host {
            Written::Name(name) => {
                Place::Name { start: scheme_end, end: scheme_end.saturating_add(name.len()) }
            }
            Written::Ip(ip) => Place::Ip(ip),
        };
        let path = url[..Position::BeforePath].len();
        let path_end = path.saturating_add(url.path().len());
        let mut text = String::from(url);
        text.truncate(path_end);
        text.push_str(parts.query());
        Ok(Self { scheme: parts.scheme, port, host, text, path, path_end, tunnel: false })
    }

    /// The host in its canonical spelling, with the path and query that `url` finds behind a host of no interest.
    fn assembled(parts: &Parts<'_>) -> Result<Self, TargetError> {
        let stand_in = format!("{}://h{}", parts.scheme.as_str(), parts.rest);
        let url = Url::parse(&stand_in).map_err(|_| TargetError::Disagreement)?;
        Ok(Self::composed(parts, &format!("{}{}", url.path(), parts.query())))
    }

    /// Puts the canonical URL together. `rest` is the path, canonical and not empty, and the query.
    fn composed(parts: &Parts<'_>, rest: &str) -> Self {
        let scheme = parts.scheme.as_str();
        let room = [scheme.len(), parts.host_text.len(), rest.len(), 16];
        let mut text = String::with_capacity(room.into_iter().fold(0, usize::saturating_add));
        text.push_str(scheme);
        text.push_str("://");
        let start = text.len();
        let host = match parts.host {
            Written::Name(name) => {
                text.push_str(name);
                if let Some(own) = text.get_mut(start..) {
                    own.make_ascii_lowercase();
                }
                Place::Name { start, end: text.len() }
            }
            Written::Ip(ip) => {
                text.push_str(&HostView::Ip(ip).to_string());
                Place::Ip(ip)
            }
        };
        let port = parts.port.unwrap_or(parts.scheme.default_port());
        if port != parts.scheme.default_port() {
            text.push_str(&format!(":{port}"));
        }
        let path = text.len();
        text.push_str(rest);
        let path_end = rest.find('?').map_or(text.len(), |query| path.saturating_add(query));
        Self { scheme: parts.scheme, port, host, text, path, path_end, tunnel: false }
    }

    /// Reads the authority of a CONNECT request (RFC 9112 section 3.2.3): the port is mandatory.
    pub(super) fn parse_authority(text: &str) -> Result<Self, TargetError> {
        scan(text)?;
        if text.contains('@') {
            return Err(TargetError::Userinfo);
        }
        if text.contains(['/', '?', '#']) {
            return Err(TargetError::Malformed);
        }
        let (host_text, port) = authority(text)?;
        let written = host::check(host_text)?;
        let port = port.ok_or(TargetError::Port)?;
        let mut text = Host::from_written(written).to_string();
        let host = match written {
            Written::Name(_) => Place::Name { start: 0, end: text.len() },
            Written::Ip(ip) => Place::Ip(ip),
        };
        text.push_str(&format!(":{port}"));
        let end = text.len();
        Ok(Self { scheme: Scheme::Https, port, host, text, path: end, path_end: end, tunnel: true })
    }

    /// Follows `reference`, a Location, from this target: RFC 3986 section 5.2, by our own grammar first. A fragment is
    /// dropped, because no request carries one.
    pub(super) fn follow(&self, reference: &str) -> Result<Self, TargetError> {
        scan(reference)?;
        let reference = reference.split('#').next().unwrap_or(reference);
        if reference.starts_with("//") {
            return Self::parse(&format!("{}:{reference}", self.scheme.as_str()));
        }
        let scheme = reference.split(['/', '?']).next().unwrap_or(reference);
        if scheme.contains(':') {
            return Self::parse(reference);
        }
        if !reference.is_ascii() {
            return Err(TargetError::Character(reference.bytes().take_while(u8::is_ascii).count()));
        }
        // Only the path is joined, by `url` and behind a host of no interest; a query goes along as it is.
        let (path, query) =
            reference.split_once('?').map_or((reference, None), |(path, query)| (path, Some(query)));
        let stand_in = format!("http://h{}", self.path().unwrap_or_default());
        let base = Url::parse(&stand_in).map_err(|_| TargetError::Disagreement)?;
        let joined = base.join(path).map_err(|_| TargetError::Malformed)?;
        if joined.host_str() != Some("h") {
            return Err(TargetError::Disagreement);
        }
        let own = || self.text.get(self.path_end..).unwrap_or_default();
        let query = match query {
            Some(query) => format!("?{query}"),
            None if path.is_empty() => String::from(own()),
            None => String::new(),
        };
        let origin = self.text.get(..self.path).unwrap_or_default();
        Self::parse(&format!("{origin}{}{query}", joined.path()))
    }

    /// Without the parameters of the query that are called `names`.
    pub(super) fn without_parameters(mut self, names: &[&str]) -> Self {
        let query = self.text.get(self.path_end..).and_then(|query| query.strip_prefix('?'));
        if let (Some(query), false) = (query, names.is_empty()) {
            let kept = without_parameters(query, names).join("&");
            self.text.truncate(self.path_end);
            if !kept.is_empty() {
                self.text.push('?');
                self.text.push_str(&kept);
            }
        }
        self
    }

    pub(super) fn scheme(&self) -> Scheme {
        self.scheme
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn host(&self) -> HostView<'_> {
        match self.host {
            Place::Ip(ip) => HostView::Ip(ip),
            Place::Name { start, end } => HostView::Name(self.text.get(start..end).unwrap_or_default()),
        }
    }

    pub(super) fn is_tunnel(&self) -> bool {
        self.tunnel
    }

    /// The canonical path; none in a tunnel.
    pub(super) fn path(&self) -> Option<&str> {
        if self.tunnel { None } else { self.text.get(self.path..self.path_end) }
    }

    pub(super) fn path_and_query(&self) -> &str {
        self.text.get(self.path..).unwrap_or_default()
    }

    /// The canonical URL, or `host:port`.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Scheme, host and port are the same (RFC 6454 section 5).
    pub(super) fn same_origin(&self, other: &Self) -> bool {
        (self.scheme, self.port, self.host()) == (other.scheme, other.port, other.host())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The way past `url` gives what `url` gives.
        #[test]
        fn a_plain_path_is_its_own_canonical_form(
            host in "[a-zA-Z0-9_-]{1,6}(\\.[a-z]{1,4}){0,2}",
            port in prop::option::of(1_u16..),
            rest in "/[a-zA-Z0-9/._~=&?+,:@!$-]{0,24}",
            tls: bool,
        ) {
            let scheme = if tls { "https" } else { "http" };
            let port = port.map(|port| format!(":{port}")).unwrap_or_default();
            let text = format!("{scheme}://{host}{port}{rest}");
            if let (Ok(parts), true) = (split(&text), is_plain(&rest)) {
                prop_assert_eq!(Ok(Target::composed(&parts, &rest)), Target::assembled(&parts));
                if !has_punycode(&host) {
                    prop_assert_eq!(Ok(Target::composed(&parts, &rest)), Target::confirmed(&text, &parts));
                }
            }
        }

        /// Following a reference is what `url` does, where both have an opinion.
        #[test]
        fn following_agrees_with_url(
            path in "/[a-z/]{0,8}(\\?[a-z]{0,3})?",
            reference in "(https?:|HTTPS:)?(//[a-z]{1,3}(:[0-9]{1,4})?)?[a-z./?%#=:-]{0,12}",
        ) {
            let base = format!("https://base.example{path}");
            let target = Target::parse(&base).unwrap();
            if let Ok(next) = target.follow(&reference) {
                let mut theirs = Url::parse(&base).unwrap().join(&reference).unwrap();
                theirs.set_fragment(None);
                // We drop one trailing dot of the host; `url` keeps it.
                prop_assume!(!theirs.host_str().is_some_and(|host| host.ends_with('.')));
                prop_assert_eq!(next.text(), theirs.as_str());
            }
        }
    }
}
