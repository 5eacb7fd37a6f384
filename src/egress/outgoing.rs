//! The request target as the upstream gets it: path and query, with the secrets that go there.

use alloc::{format, string::String, vec::Vec};
use core::fmt;

use zeroize::Zeroizing;

use super::{
    credentials::{Secret, SecretError, SecretStore},
    echo::{EchoMask, Echoes},
    header::OutgoingHeaders,
    policy::{Credential, Place},
};

/// Path and query for the request line. A secret in it prints as `***`; the text wipes itself when it is dropped.
pub struct OutgoingTarget {
    text: Zeroizing<String>,
    shown: String,
    injected: bool,
}

impl OutgoingTarget {
    /// Path and query, to write to the upstream and to nothing else.
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// Whether a secret was put in.
    pub fn is_injected(&self) -> bool {
        self.injected
    }
}

/// The secrets as `***`.
impl fmt::Display for OutgoingTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for OutgoingTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What is sent for a request: target and header fields, with the secrets and signatures in them.
#[derive(Debug)]
#[non_exhaustive]
pub struct OutgoingRequest {
    /// Path and query.
    pub target: OutgoingTarget,
    /// The header fields.
    pub headers: OutgoingHeaders,
    /// What is to be masked in the answer, before anybody but the sender sees it.
    pub echo: Option<EchoMask>,
}

/// One secret for its place: as it goes out, and as it may be shown.
struct Put<'a> {
    place: &'a Place,
    text: Zeroizing<String>,
    shown: String,
}

/// Percent-encodes what is not unreserved (RFC 3986 section 2.3), but for colons, which tokens of path segments have.
fn encode(prefix: &str, secret: &Secret) -> Zeroizing<String> {
    // Three bytes for each are enough, so that no copy is left behind by growing.
    let bytes = prefix.len().saturating_add(secret.expose().len());
    let mut out = Zeroizing::new(String::with_capacity(bytes.saturating_mul(3)));
    for byte in prefix.bytes().chain(secret.expose().iter().copied()) {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b':') {
            out.push(char::from(byte));
        } else {
            out.push('%');
            for digit in [byte >> 4, byte & 15] {
                out.push(char::from_digit(digit.into(), 16).unwrap_or('0').to_ascii_uppercase());
            }
        }
    }
    out
}

/// The parameters of `query` but for those called `names`, in any case and any encoding: `&`-separated, as they came.
pub(super) fn without_parameters<'a>(query: &'a str, names: &[&str]) -> Vec<&'a str> {
    let is_bound = |parameter: &str| {
        let name = parameter.split('=').next().unwrap_or(parameter);
        let name = decoded(name);
        names.iter().any(|own| name.eq_ignore_ascii_case(own.as_bytes()))
    };
    query.split('&').filter(|parameter| !is_bound(parameter)).collect()
}

/// One round of percent-decoding, and plus as a space.
fn decoded(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    loop {
        match rest {
            [] => return out,
            [b'%', high, low, tail @ ..] if digit(high).is_some() && digit(low).is_some() => {
                out.push(digit(high).unwrap_or(0) << 4 | digit(low).unwrap_or(0));
                rest = tail;
            }
            [byte, tail @ ..] => {
                out.push(if *byte == b'+' { b' ' } else { *byte });
                rest = tail;
            }
        }
    }
}

/// Puts `path` and `query` together, with what `put` has for them.
fn compose(
    path: &str,
    query: Option<&str>,
    bound: &[&str],
    put: &[Put<'_>],
    own: for<'p> fn(&'p Put<'_>) -> &'p str,
) -> Zeroizing<String> {
    let room =
        put.iter().map(|put| own(put).len().saturating_add(MAX_NAME)).fold(path.len(), usize::saturating_add);
    let room = room.saturating_add(query.map_or(0, str::len)).saturating_add(1);
    let mut out = Zeroizing::new(String::with_capacity(room));
    for (at, segment) in path.split('/').enumerate() {
        if at > 0 {
            out.push('/');
        }
        let found =
            put.iter().find(|put| matches!(put.place, Place::PathSegment(text) if **text == *segment));
        out.push_str(found.map_or(segment, own));
    }
    let mut separator = '?';
    let mut parameter = |out: &mut String, name: &str, value: Option<&str>| {
        out.push(separator);
        separator = '&';
        out.push_str(name);
        if let Some(value) = value {
            out.push('=');
            out.push_str(value);
        }
    };
    for kept in query.into_iter().flat_map(|query| without_parameters(query, bound)) {
        parameter(&mut out, kept, None);
    }
    for put in put {
        if let Place::Query(name) = put.place {
            parameter(&mut out, name, Some(own(put)));
        }
    }
    out
}

/// The room for a parameter's name and its separators.
const MAX_NAME: usize = 256;

/// Puts the credentials that go there into `target`, path and query. `tls` is whether any may go in at all: where not, what the
/// worker sent under their names is removed from the query all the same.
pub(super) fn build(
    target: &str,
    credentials: &[Credential],
    tls: bool,
    store: &dyn SecretStore,
    echoes: &mut Echoes,
) -> Result<OutgoingTarget, SecretError> {
    let names: Vec<&str> = credentials.iter().flat_map(Credential::parameters).collect();
    let in_target = credentials.iter().filter(|own| own.place.is_in_target());
    let mut put = Vec::new();
    for credential in in_target.filter(|_| tls) {
        match store.secret(&credential.secret)? {
            Some(secret) => {
                let text = encode(&credential.prefix, &secret);
                if matches!(text.as_str(), "." | "..") {
                    return Err(SecretError::Value);
                }
                if credential.mask_echoes {
                    echoes.secret(&secret);
                    echoes.written(text.as_bytes());
                }
                let shown = format!("{}***", credential.prefix);
                put.push(Put { place: &credential.place, text, shown });
            }
            None if credential.required => return Err(SecretError::Missing),
            None => {}
        }
    }
    if put.is_empty() && names.is_empty() {
        return Ok(OutgoingTarget {
            text: Zeroizing::new(target.into()),
            shown: target.into(),
            injected: false,
        });
    }
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let text = compose(path, query, &names, &put, |put| &put.text);
    let mut shown = compose(path, query, &names, &put, |put| &put.shown);
    Ok(OutgoingTarget { text, shown: core::mem::take(&mut *shown), injected: !put.is_empty() })
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;
    use crate::lease::SecretRef;

    struct One(&'static [u8]);

    impl SecretStore for One {
        fn secret(&self, reference: &SecretRef) -> Result<Option<Secret>, SecretError> {
            if reference.as_str() == "vault:gone" { Ok(None) } else { Secret::new(self.0.to_vec()).map(Some) }
        }
    }

    fn credential(place: Place, secret: &str, prefix: &str, required: bool) -> Credential {
        let secret = SecretRef::new(secret).unwrap();
        Credential { place, secret, prefix: prefix.into(), required, mask_echoes: false }
    }

    fn built(
        target: &str,
        credentials: &[Credential],
        tls: bool,
        secret: &'static [u8],
    ) -> Result<OutgoingTarget, SecretError> {
        build(target, credentials, tls, &One(secret), &mut Echoes::default())
    }

    fn sent(target: &str, credentials: &[Credential]) -> (String, String) {
        let out = built(target, credentials, true, b"12:a/b &=%").unwrap();
        (out.expose().to_string(), out.to_string())
    }

    #[test]
    fn a_parameter_goes_in_once_in_place_of_the_workers() {
        let key = [credential(Place::Query("key".into()), "vault:a", "", true)];
        let secret = "12:a%2Fb%20%26%3D%25";
        for (target, kept) in [
            ("/x", "?"),
            ("/x?", "?&"),
            ("/x?a=it's&b", "?a=it's&b&"),
            ("/x?key=mine&a=1&KEY=mine&k%65y=mine&key", "?a=1&"),
            ("/x?keys=1", "?keys=1&"),
        ] {
            let (text, shown) = sent(target, &key);
            assert_eq!(text, format!("/x{kept}key={secret}"), "{target}");
            assert_eq!(shown, format!("/x{kept}key=***"), "{target}");
        }
        let gone = [credential(Place::Query("key".into()), "vault:gone", "", false)];
        assert_eq!(sent("/x?key=mine&a", &gone).0, "/x?a");
        let out = built("/x?key=mine", &key, false, b"s").unwrap();
        assert_eq!((out.expose(), out.is_injected()), ("/x", false));
    }

    #[test]
    fn a_segment_goes_in_where_its_placeholder_stands() {
        let token = [credential(Place::PathSegment("TOKEN".into()), "vault:a", "bot", true)];
        let (text, shown) = sent("/TOKEN/send/TOKENS?q=TOKEN", &token);
        assert_eq!(text, "/bot12:a%2Fb%20%26%3D%25/send/TOKENS?q=TOKEN");
        assert_eq!(shown, "/bot***/send/TOKENS?q=TOKEN");
        let bare = [credential(Place::PathSegment("TOKEN".into()), "vault:a", "", true)];
        assert_eq!(built("/TOKEN/x", &bare, true, b"..").unwrap_err(), SecretError::Value);
    }

    /// Attack E14.
    #[test]
    fn e14_a_target_with_a_secret_prints_as_stars() {
        let key = [credential(Place::Query("key".into()), "vault:a", "", true)];
        let out = built("/x", &key, true, b"hunter2").unwrap();
        assert!(out.is_injected() && out.expose().contains("hunter2"));
        assert!(!format!("{out} {out:?} {out:#?}").contains("hunter2"));
    }
}
