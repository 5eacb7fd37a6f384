//! From the worker's header fields to those that the upstream gets: cleaned, then each credential put in once.

use alloc::{boxed::Box, vec::Vec};
use core::fmt;

use super::name::{is_framing, is_hop_by_hop, is_token};
use crate::{
    code::{self, Code, Coded},
    egress::{
        HeaderField,
        credentials::{Secret, SecretError, SecretStore},
        policy::Credential,
    },
};

/// The most header fields of a request.
pub const MAX_HEADERS: usize = 128;
/// The most bytes of names and values together.
pub const MAX_HEADER_BYTES: usize = 64 * 1024;

/// Why the header fields of a request are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// A name that is not a token, or a control character in a value.
    #[error("header field {0} has a name that is not a token or a value with control characters")]
    Malformed(usize),
    /// Over [`MAX_HEADERS`] or [`MAX_HEADER_BYTES`].
    #[error("more than {MAX_HEADERS} header fields or {MAX_HEADER_BYTES} bytes of them")]
    TooMany,
    /// Content-Length, Transfer-Encoding and Host that repeat, contradict each other, or contradict the body.
    #[error("the framing fields repeat or contradict each other or the body")]
    Framing,
    /// Connection names a framing field or one that a credential goes into (RFC 9110 section 7.6.1).
    #[error("Connection names a field that may not be removed")]
    Nominated,
}

impl Coded for HeaderError {
    fn code(&self) -> Code {
        match self {
            Self::Malformed(_) => code::EGRESS_HEADERS_MALFORMED,
            Self::TooMany => code::EGRESS_HEADERS_TOO_MANY,
            Self::Framing => code::EGRESS_HEADERS_FRAMING,
            Self::Nominated => code::EGRESS_HEADERS_NOMINATED,
        }
    }
}

/// Whether an upstream may take one field name for the other: case never counts, and CGI turns hyphens into
/// underscores.
pub(in crate::egress) fn is_same_field(one: &str, two: &str) -> bool {
    let fold = |byte: u8| if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    one.bytes().map(fold).eq(two.bytes().map(fold))
}

fn is_named(field: &HeaderField<'_>, name: &str) -> bool {
    field.name.eq_ignore_ascii_case(name)
}

/// The field names that Connection lists.
fn nominated<'a>(headers: &'a [HeaderField<'a>]) -> impl Iterator<Item = &'a [u8]> {
    let values = headers.iter().filter(|field| is_named(field, "connection")).map(|field| field.value);
    values.flat_map(|value| value.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
}

/// Checks the worker's fields. The answer is the body's size by Content-Length.
pub(in crate::egress) fn check(
    headers: &[HeaderField<'_>],
    credentials: &[Credential],
) -> Result<Option<u64>, HeaderError> {
    if headers.is_empty() {
        return Ok(None);
    }
    let bytes = headers.iter().map(|field| field.name.len().saturating_add(field.value.len()));
    if headers.len() > MAX_HEADERS || bytes.fold(0_usize, usize::saturating_add) > MAX_HEADER_BYTES {
        return Err(HeaderError::TooMany);
    }
    let is_value = |value: &[u8]| value.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~' | 0x80..));
    if let Some(at) =
        headers.iter().position(|field| !is_token(field.name.as_bytes()) || !is_value(field.value))
    {
        return Err(HeaderError::Malformed(at));
    }
    for name in nominated(headers) {
        let name = core::str::from_utf8(name).unwrap_or_default();
        let bound = credentials.iter().any(|credential| is_same_field(credential.header.as_str(), name));
        if bound || is_framing(&name.to_ascii_lowercase()) {
            return Err(HeaderError::Nominated);
        }
    }
    framing(headers)
}

fn framing(headers: &[HeaderField<'_>]) -> Result<Option<u64>, HeaderError> {
    let mut length = None;
    let mut chunked = false;
    let mut hosts = 0_u8;
    for field in headers {
        if is_named(field, "content-length") {
            let digits = core::str::from_utf8(field.value).map_err(|_| HeaderError::Framing)?;
            let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            let said = digits.parse().ok().filter(|_| is_number).ok_or(HeaderError::Framing)?;
            if length.replace(said).is_some() {
                return Err(HeaderError::Framing);
            }
        } else if is_named(field, "transfer-encoding") {
            // RFC 9112 section 6.1: what is not exactly `chunked`, once, is read differently by different parsers.
            if chunked || !field.value.eq_ignore_ascii_case(b"chunked") {
                return Err(HeaderError::Framing);
            }
            chunked = true;
        } else if is_named(field, "host") {
            hosts = hosts.saturating_add(1);
        }
    }
    if chunked && length.is_some() || hosts > 1 { Err(HeaderError::Framing) } else { Ok(length) }
}

/// One header field as the upstream gets it. A secret in it prints as `***`.
pub struct OutgoingHeader {
    name: Box<str>,
    value: Value,
}

enum Value {
    Plain(Box<[u8]>),
    Secret { prefix: Box<str>, secret: Secret },
}

impl OutgoingHeader {
    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether a secret was put in.
    pub fn is_injected(&self) -> bool {
        matches!(self.value, Value::Secret { .. })
    }

    /// The value in two parts, to write one after the other to the upstream and to nothing else.
    pub fn expose_value(&self) -> [&[u8]; 2] {
        match &self.value {
            Value::Plain(value) => [value, b""],
            Value::Secret { prefix, secret } => [prefix.as_bytes(), secret.expose()],
        }
    }
}

/// `name: value`, the secret as `***` and what is not ASCII escaped.
impl fmt::Display for OutgoingHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.shown())
    }
}

impl fmt::Debug for OutgoingHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

struct Shown<'a>(&'a Value);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::Plain(value) => match core::str::from_utf8(value) {
                Ok(text) if text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) => f.write_str(text),
                _ => fmt::Display::fmt(&value.escape_ascii(), f),
            },
            Value::Secret { prefix, .. } => write!(f, "{prefix}***"),
        }
    }
}

impl OutgoingHeader {
    /// The value as it may be shown: the secret as `***`.
    pub fn shown(&self) -> impl fmt::Display + '_ {
        Shown(&self.value)
    }
}

/// The header fields of a request as the upstream gets them. Host and framing are the connector's to write; the
/// secrets wipe themselves when this is dropped.
#[derive(Debug, Default)]
pub struct OutgoingHeaders(Vec<OutgoingHeader>);

impl OutgoingHeaders {
    /// The fields, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &OutgoingHeader> {
        self.0.iter()
    }
}

/// Cleans `headers`, which [`check`] accepted, and puts `credentials` in. `tls` is whether any may go in at all: where
/// not, what the worker sent under their names is removed all the same.
pub(in crate::egress) fn build(
    headers: &[HeaderField<'_>],
    credentials: &[Credential],
    tls: bool,
    store: &dyn SecretStore,
) -> Result<OutgoingHeaders, SecretError> {
    let mut out = Vec::with_capacity(headers.len().saturating_add(credentials.len()));
    let is_nominated =
        |name: &str| nominated(headers).any(|nominee| nominee.eq_ignore_ascii_case(name.as_bytes()));
    for field in headers {
        let name = field.name.to_ascii_lowercase();
        let bound = credentials.iter().any(|credential| is_same_field(credential.header.as_str(), &name));
        if !bound && !is_hop_by_hop(&name) && name != "host" && !is_nominated(&name) {
            let value = Value::Plain(field.value.into());
            out.push(OutgoingHeader { name: field.name.into(), value });
        }
    }
    for credential in credentials.iter().filter(|_| tls) {
        match store.secret(&credential.secret)? {
            Some(secret) => out.push(OutgoingHeader {
                name: credential.header.as_str().into(),
                value: Value::Secret { prefix: credential.prefix.clone(), secret },
            }),
            None if credential.required => return Err(SecretError::Missing),
            None => {}
        }
    }
    Ok(OutgoingHeaders(out))
}

#[cfg(test)]
mod tests {
    use alloc::{format, string::String, vec};

    use proptest::prelude::*;

    use super::*;
    use crate::{egress::header::HeaderName, lease::SecretRef};

    struct One;

    impl SecretStore for One {
        fn secret(&self, reference: &SecretRef) -> Result<Option<Secret>, SecretError> {
            if reference.as_str() == "vault:gone" {
                Ok(None)
            } else {
                Secret::new(b"s3cret".to_vec()).map(Some)
            }
        }
    }

    fn credential(header: &str, secret: &str, required: bool) -> Credential {
        Credential {
            header: HeaderName::new(header).unwrap(),
            secret: SecretRef::new(secret).unwrap(),
            prefix: "Bearer ".into(),
            required,
        }
    }

    fn fields<'a>(pairs: &'a [(&'a str, &'a str)]) -> Vec<HeaderField<'a>> {
        pairs.iter().map(|(name, value)| HeaderField { name, value: value.as_bytes() }).collect()
    }

    fn sent(pairs: &[(&str, &str)], credentials: &[Credential]) -> Vec<String> {
        let out = build(&fields(pairs), credentials, true, &One).unwrap();
        out.iter().map(|header| format!("{header}")).collect()
    }

    /// ATTACKS E9: in another case, twice, with underscores.
    #[test]
    fn e9_the_workers_own_copies_are_replaced_once() {
        let bound = [credential("authorization", "vault:a", true), credential("x-api-key", "vault:b", true)];
        let worker = [
            ("Accept", "*/*"),
            ("AUTHORIZATION", "Bearer mine"),
            ("authorization", "Bearer mine too"),
            ("X_Api_Key", "mine"),
        ];
        assert_eq!(
            sent(&worker, &bound),
            ["Accept: */*", "authorization: Bearer ***", "x-api-key: Bearer ***"]
        );
    }

    #[test]
    fn fields_of_one_connection_stay_on_it() {
        let worker = [
            ("Connection", "close, X-Mine"),
            ("X-Mine", "1"),
            ("Keep-Alive", "5"),
            ("TE", "trailers"),
            ("Upgrade", "h2c"),
            ("Proxy-Authorization", "Bearer lease"),
            ("Proxy-Connection", "keep-alive"),
            ("Transfer-Encoding", "chunked"),
            ("Host", "elsewhere.example"),
            ("Accept", "a"),
        ];
        assert_eq!(sent(&worker, &[]), ["Accept: a"]);
    }

    #[test]
    fn a_missing_secret_refuses_where_it_is_required_and_is_left_out_where_not() {
        let gone = |required| [credential("authorization", "vault:gone", required)];
        assert_eq!(build(&[], &gone(true), true, &One).unwrap_err(), SecretError::Missing);
        let worker = [("authorization", "mine")];
        assert_eq!(build(&fields(&worker), &gone(false), true, &One).unwrap().iter().len(), 0);
    }

    /// ATTACKS E8: without TLS nothing goes in, and the worker's copy does not go either.
    #[test]
    fn e8_nothing_is_put_in_without_tls() {
        let bound = [credential("authorization", "vault:a", false)];
        let out = build(&fields(&[("Authorization", "mine"), ("a", "b")]), &bound, false, &One).unwrap();
        assert_eq!(format!("{out:?}"), "OutgoingHeaders([a: b])");
    }

    /// ATTACKS E14.
    #[test]
    fn e14_a_header_with_a_secret_prints_as_stars() {
        let out = build(&[], &[credential("authorization", "vault:a", true)], true, &One).unwrap();
        assert!(!format!("{out:?} {out:#?}").contains("s3cret"));
        let only = out.iter().next().unwrap();
        assert_eq!(only.expose_value(), [&b"Bearer "[..], b"s3cret"]);
    }

    #[test]
    fn contradicting_framing_is_refused() {
        let refused: &[&[(&str, &str)]] = &[
            &[("Content-Length", "5"), ("Transfer-Encoding", "chunked")],
            &[("Content-Length", "5"), ("content-length", "6")],
            &[("Content-Length", "5"), ("content-length", "5")],
            &[("Content-Length", "5, 5")],
            &[("Content-Length", "+5")],
            &[("Content-Length", "")],
            &[("Content-Length", "99999999999999999999")],
            &[("Transfer-Encoding", "gzip, chunked")],
            &[("Transfer-Encoding", "xchunked")],
            &[("Transfer-Encoding", "chunked"), ("Transfer-Encoding", "chunked")],
            &[("Host", "a"), ("host", "a")],
        ];
        for pairs in refused {
            assert_eq!(check(&fields(pairs), &[]), Err(HeaderError::Framing), "{pairs:?}");
        }
        assert_eq!(check(&fields(&[("content-length", "5")]), &[]), Ok(Some(5)));
    }

    #[test]
    fn connection_may_not_name_what_must_stay() {
        let bound = [credential("x-api-key", "vault:a", true)];
        for name in ["Host", "content-length", "Transfer-Encoding", "X-API-KEY", "x_api_key"] {
            let value = format!("close, {name}");
            assert_eq!(check(&fields(&[("Connection", &value)]), &bound), Err(HeaderError::Nominated));
        }
    }

    #[test]
    fn malformed_and_endless_headers_are_refused() {
        for (name, value) in
            [("a b", ""), ("", ""), ("a:", ""), ("a", "b\r\nc: d"), ("a", "\0"), ("a\n", "b")]
        {
            assert_eq!(check(&fields(&[(name, value)]), &[]), Err(HeaderError::Malformed(0)), "{name:?}");
        }
        let many = vec![("a", "b"); MAX_HEADERS + 1];
        assert_eq!(check(&fields(&many), &[]), Err(HeaderError::TooMany));
        let long = "x".repeat(MAX_HEADER_BYTES);
        assert_eq!(check(&fields(&[("a", &long)]), &[]), Err(HeaderError::TooMany));
    }

    proptest! {
        /// Whatever is accepted goes out clean: every bound name once, nothing of one connection, no line breaks.
        #[test]
        fn what_goes_out_is_clean(
            pairs in prop::collection::vec(
                (
                    prop_oneof![
                        "[A-Za-z_-]{1,12}",
                        prop::sample::select(vec![
                            "Connection", "authorization", "AUTHORIZATION", "Host", "TE", "Proxy-X", "X-A", "content-length",
                        ]).prop_map(String::from),
                    ],
                    prop_oneof!["[ -~]{0,12}", "(x-a|close|authorization|te)(, ?x-a)?", "[0-9]{1,3}", "\\PC{0,4}"],
                ),
                0..8,
            ),
        ) {
            let pairs: Vec<(&str, &str)> = pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            let bound = [credential("authorization", "vault:a", true)];
            if check(&fields(&pairs), &bound).is_ok() {
                let out = build(&fields(&pairs), &bound, true, &One).unwrap();
                let named = out.iter().filter(|h| is_same_field(h.name(), "authorization")).count();
                prop_assert_eq!(named, 1);
                for header in out.iter() {
                    let name = header.name().to_ascii_lowercase();
                    prop_assert!(!is_hop_by_hop(&name) && name != "host");
                    let clean = header.expose_value().concat().iter().all(|b| !matches!(b, b'\r' | b'\n' | 0));
                    prop_assert!(clean);
                }
            }
        }
    }
}
