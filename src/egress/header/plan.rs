//! From the worker's header fields to those that the upstream gets: cleaned, then each credential put in once.

use alloc::{boxed::Box, vec::Vec};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

use super::{
    field::{OutgoingHeader, OutgoingHeaders},
    name::{HeaderName, is_framing, is_hop_by_hop, is_same_field, is_token},
    overrides::overrides,
    received::HeaderField,
};
use crate::{
    code::{self, Code, Coded},
    egress::{
        credentials::{Secret, SecretError, SecretStore},
        echo::{self, Echoes},
        policy::{Credential, Place},
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
    /// A field by which a server may take another method or path than the one that was judged.
    #[error("header field {0} overrides the method or path; the rule may list it in override_headers")]
    Override(usize),
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
            Self::Override(_) => code::EGRESS_HEADERS_OVERRIDE,
            Self::Nominated => code::EGRESS_HEADERS_NOMINATED,
        }
    }
}

fn is_named(field: &HeaderField<'_>, name: &str) -> bool {
    field.name.eq_ignore_ascii_case(name)
}

/// The field names that Connection lists.
fn nominated<'a>(headers: &'a [HeaderField<'a>]) -> impl Iterator<Item = &'a [u8]> {
    let values = headers.iter().filter(|field| is_named(field, "connection")).map(|field| field.value);
    values.flat_map(|value| value.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
}

/// Checks the worker's fields. The answer is the body's size by Content-Length. `overrides_allowed` are the override
/// headers that may pass; `None` where no rule restricts the request.
pub(in crate::egress) fn check(
    headers: &[HeaderField<'_>],
    credentials: &[Credential],
    overrides_allowed: Option<&[HeaderName]>,
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
    if let Some(allowed) = overrides_allowed
        && let Some(at) = headers.iter().position(|field| overrides(field.name, allowed))
    {
        return Err(HeaderError::Override(at));
    }
    for name in nominated(headers) {
        let name = core::str::from_utf8(name).unwrap_or_default();
        let bound = credentials.iter().flat_map(Credential::headers).any(|own| is_same_field(own, name));
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
        } else if is_same_field(field.name, "content-length")
            || is_same_field(field.name, "transfer-encoding")
        {
            // Hosts that read underscores as hyphens would frame the message by it.
            return Err(HeaderError::Framing);
        }
    }
    if chunked && length.is_some() || hosts > 1 { Err(HeaderError::Framing) } else { Ok(length) }
}

/// Cleans `headers`, which [`check`] accepted, and puts `credentials` in. `tls` is whether any may go in at all: where
/// not, what the worker sent under their names is removed all the same.
pub(in crate::egress) fn build(
    headers: &[HeaderField<'_>],
    credentials: &[Credential],
    tls: bool,
    store: &dyn SecretStore,
    echoes: &mut Echoes,
) -> Result<OutgoingHeaders, SecretError> {
    let mut out = Vec::with_capacity(headers.len().saturating_add(credentials.len()));
    let masks = tls && credentials.iter().any(|own| own.mask_echoes);
    let is_nominated =
        |name: &str| nominated(headers).any(|nominee| nominee.eq_ignore_ascii_case(name.as_bytes()));
    for field in headers {
        let name = field.name.to_ascii_lowercase();
        let bound = credentials.iter().flat_map(Credential::headers).any(|own| is_same_field(own, &name));
        let hinders = masks && echo::hinders(&name);
        if !bound
            && !hinders
            && !is_hop_by_hop(&name.replace('_', "-"))
            && name != "host"
            && !is_nominated(&name)
        {
            out.push(OutgoingHeader::plain(field.name, field.value));
        }
    }
    if masks {
        out.push(OutgoingHeader::plain("accept-encoding", b"identity"));
    }
    for credential in credentials.iter().filter(|_| tls) {
        let (name, user) = match &credential.place {
            Place::Header(name) => (name, None),
            Place::Basic { header, user } => (header, Some(user)),
            Place::Query(_) | Place::PathSegment(_) | Place::Sign(_) => continue,
        };
        match store.secret(&credential.secret)? {
            Some(secret) => {
                if credential.mask_echoes {
                    echoes.secret(&secret);
                }
                let value = match user {
                    Some(user) => basic(user, &credential.prefix, &secret)?,
                    None => (credential.prefix.clone(), secret),
                };
                if credential.mask_echoes {
                    echoes.written(value.1.expose());
                }
                out.push(OutgoingHeader::secret(name.as_str(), value.0, value.1));
            }
            None if credential.required => return Err(SecretError::Missing),
            None => {}
        }
    }
    Ok(OutgoingHeaders::new(out))
}

/// `Basic` and the pair in base64 (RFC 7617): as secret as the password in it.
fn basic(user: &str, prefix: &str, secret: &Secret) -> Result<(Box<str>, Secret), SecretError> {
    let room =
        [user.len(), 1, prefix.len(), secret.expose().len()].into_iter().fold(0, usize::saturating_add);
    let mut pair = Zeroizing::new(Vec::with_capacity(room));
    for part in [user.as_bytes(), b":", prefix.as_bytes(), secret.expose()] {
        pair.extend_from_slice(part);
    }
    let secret = Secret::new(STANDARD.encode(&*pair).into_bytes())?;
    Ok(("Basic ".into(), secret))
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
            place: Place::Header(HeaderName::new(header).unwrap()),
            secret: SecretRef::new(secret).unwrap(),
            prefix: "Bearer ".into(),
            required,
            mask_echoes: false,
        }
    }

    fn fields<'a>(pairs: &'a [(&'a str, &'a str)]) -> Vec<HeaderField<'a>> {
        pairs.iter().map(|(name, value)| HeaderField { name, value: value.as_bytes() }).collect()
    }

    fn built(
        headers: &[HeaderField<'_>],
        credentials: &[Credential],
        tls: bool,
        store: &dyn SecretStore,
    ) -> Result<OutgoingHeaders, SecretError> {
        build(headers, credentials, tls, store, &mut Echoes::default())
    }

    fn sent(pairs: &[(&str, &str)], credentials: &[Credential]) -> Vec<String> {
        let out = built(&fields(pairs), credentials, true, &One).unwrap();
        out.iter().map(|header| format!("{header}")).collect()
    }

    /// Attack E9: in another case, twice, with underscores.
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
        assert_eq!(built(&[], &gone(true), true, &One).unwrap_err(), SecretError::Missing);
        let worker = [("authorization", "mine")];
        assert_eq!(built(&fields(&worker), &gone(false), true, &One).unwrap().iter().len(), 0);
    }

    /// Attack E8: without TLS nothing goes in, and the worker's copy does not go either.
    #[test]
    fn e8_nothing_is_put_in_without_tls() {
        let bound = [credential("authorization", "vault:a", false)];
        let out = built(&fields(&[("Authorization", "mine"), ("a", "b")]), &bound, false, &One).unwrap();
        assert_eq!(format!("{out:?}"), "OutgoingHeaders([a: b])");
    }

    /// RFC 7617 section 2: the pair of `Aladdin` and `open sesame` is in base64 behind the scheme.
    #[test]
    fn a_basic_pair_goes_into_authorization() {
        let header = HeaderName::new("authorization").unwrap();
        let place = Place::Basic { header, user: "Aladdin".into() };
        let bound = [Credential { place, prefix: "".into(), ..credential("x", "vault:a", true) }];
        let out = built(&fields(&[("Authorization", "mine")]), &bound, true, &One).unwrap();
        let only = out.iter().next().unwrap();
        assert_eq!(only.expose_value().concat(), b"Basic QWxhZGRpbjpzM2NyZXQ=");
        assert_eq!((out.iter().len(), format!("{only}").as_str()), (1, "authorization: Basic ***"));
    }

    /// Attack E14.
    #[test]
    fn e14_a_header_with_a_secret_prints_as_stars() {
        let out = built(&[], &[credential("authorization", "vault:a", true)], true, &One).unwrap();
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
            &[("Transfer_Encoding", "chunked")],
            &[("Content_Length", "5")],
            &[("content_length", "5"), ("content-length", "5")],
        ];
        for pairs in refused {
            assert_eq!(check(&fields(pairs), &[], Some(&[])), Err(HeaderError::Framing), "{pairs:?}");
        }
        assert_eq!(check(&fields(&[("content-length", "5")]), &[], Some(&[])), Ok(Some(5)));
    }

    /// What undoes a rule's methods or paths does not pass, in any spelling, unless the rule lists it.
    #[test]
    fn override_headers_are_refused_unless_they_are_listed() {
        let listed = [HeaderName::new("X-HTTP-Method-Override").unwrap()];
        for name in ["X-HTTP-Method-Override", "x_http_method_override", "X-Original-URL", "X-REWRITE-URL"] {
            let worker = [("a", "b"), (name, "DELETE")];
            assert_eq!(check(&fields(&worker), &[], Some(&[])), Err(HeaderError::Override(1)), "{name}");
            assert_eq!(check(&fields(&worker), &[], None), Ok(None), "{name}");
            let passes = name.to_ascii_lowercase().contains("method");
            assert_eq!(check(&fields(&worker), &[], Some(&listed)).is_ok(), passes, "{name}");
        }
        assert_eq!(check(&fields(&[("X-Original-Thing", "a")]), &[], Some(&[])), Ok(None));
    }

    #[test]
    fn connection_may_not_name_what_must_stay() {
        let bound = [credential("x-api-key", "vault:a", true)];
        for name in ["Host", "content-length", "Transfer-Encoding", "X-API-KEY", "x_api_key"] {
            let value = format!("close, {name}");
            assert_eq!(
                check(&fields(&[("Connection", &value)]), &bound, Some(&[])),
                Err(HeaderError::Nominated)
            );
        }
    }

    #[test]
    fn malformed_and_endless_headers_are_refused() {
        for (name, value) in
            [("a b", ""), ("", ""), ("a:", ""), ("a", "b\r\nc: d"), ("a", "\0"), ("a\n", "b")]
        {
            assert_eq!(
                check(&fields(&[(name, value)]), &[], Some(&[])),
                Err(HeaderError::Malformed(0)),
                "{name:?}"
            );
        }
        let many = vec![("a", "b"); MAX_HEADERS + 1];
        assert_eq!(check(&fields(&many), &[], Some(&[])), Err(HeaderError::TooMany));
        let long = "x".repeat(MAX_HEADER_BYTES);
        assert_eq!(check(&fields(&[("a", &long)]), &[], Some(&[])), Err(HeaderError::TooMany));
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
            if check(&fields(&pairs), &bound, Some(&[])).is_ok() {
                let out = built(&fields(&pairs), &bound, true, &One).unwrap();
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
