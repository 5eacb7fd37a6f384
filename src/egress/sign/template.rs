//! HMAC over a text that a template makes of the request: the scheme that many services have in their own words.

use alloc::{boxed::Box, format, string::String, vec::Vec};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use zeroize::Zeroizing;

use super::{
    mac::{hmac_sha256, hmac_sha512, secret_field},
    request::{Request, SignError},
};
use crate::{
    attestation::rfc3339,
    digest::Sha256Digest,
    egress::{
        credentials::Secret,
        header::{HeaderName, OutgoingHeader},
    },
    time::Wall,
};

/// One part of the text that is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::egress) enum Part {
    Text(Box<str>),
    Method,
    Host,
    Path,
    Query,
    Target,
    Timestamp,
    BodySha256,
    Body,
}

/// The hash under the MAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::egress) enum Hash {
    Sha256,
    Sha512,
}

/// How the MAC is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::egress) enum Encoding {
    Hex,
    Base64,
    Base64Url,
}

/// What the secret is of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::egress) enum KeyForm {
    Text,
    Base64,
}

/// How the time is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::egress) enum TimeUnit {
    Seconds,
    Milliseconds,
    Rfc3339,
}

impl TimeUnit {
    fn write(self, now: Wall) -> Result<String, SignError> {
        match self {
            Self::Seconds => Ok(format!("{}", now.0 / 1000)),
            Self::Milliseconds => Ok(format!("{}", now.0)),
            Self::Rfc3339 => rfc3339::format(now).ok_or(SignError::Time),
        }
    }
}

/// Reads a template. `None` for a brace that is neither a placeholder nor doubled, and for a placeholder that is not known.
pub(in crate::egress) fn parse(template: &str) -> Option<Box<[Part]>> {
    let mut parts = Vec::new();
    let mut text = String::new();
    let mut rest = template;
    while let Some(first) = rest.chars().next() {
        let doubled = rest.strip_prefix("{{").map(|tail| ('{', tail));
        let doubled = doubled.or_else(|| rest.strip_prefix("}}").map(|tail| ('}', tail)));
        if let Some((brace, tail)) = doubled {
            text.push(brace);
            rest = tail;
            continue;
        }
        match first {
            '{' => {
                let (name, tail) = rest.strip_prefix('{')?.split_once('}')?;
                let part = match name {
                    "method" => Part::Method,
                    "host" => Part::Host,
                    "path" => Part::Path,
                    "query" => Part::Query,
                    "target" => Part::Target,
                    "timestamp" => Part::Timestamp,
                    "body_sha256" => Part::BodySha256,
                    "body" => Part::Body,
                    _ => return None,
                };
                if !text.is_empty() {
                    parts.push(Part::Text(core::mem::take(&mut text).into_boxed_str()));
                }
                parts.push(part);
                rest = tail;
            }
            '}' => return None,
            other => {
                text.push(other);
                rest = rest.strip_prefix(other)?;
            }
        }
    }
    if !text.is_empty() {
        parts.push(Part::Text(text.into_boxed_str()));
    }
    Some(parts.into_boxed_slice())
}

/// A validated signer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::egress) struct TemplateSigner {
    /// Where the signature goes, and behind it where the time goes.
    pub(in crate::egress) headers: Box<[HeaderName]>,
    pub(in crate::egress) parts: Box<[Part]>,
    pub(in crate::egress) hash: Hash,
    pub(in crate::egress) encoding: Encoding,
    pub(in crate::egress) key: KeyForm,
    pub(in crate::egress) time: TimeUnit,
}

impl TemplateSigner {
    pub(super) fn needs_body(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::BodySha256 | Part::Body))
    }

    /// The text that is signed.
    fn text(&self, request: &Request<'_>, time: &str) -> Result<Zeroizing<Vec<u8>>, SignError> {
        let (path, query) = request.path_and_query();
        let mut out = Zeroizing::new(Vec::new());
        for part in &self.parts {
            match part {
                Part::Text(text) => out.extend_from_slice(text.as_bytes()),
                Part::Method => out.extend_from_slice(request.method.as_bytes()),
                Part::Host => out.extend_from_slice(request.authority.as_bytes()),
                Part::Path => out.extend_from_slice(path.as_bytes()),
                Part::Query => out.extend_from_slice(query.unwrap_or_default().as_bytes()),
                Part::Target => out.extend_from_slice(request.target.as_bytes()),
                Part::Timestamp => out.extend_from_slice(time.as_bytes()),
                Part::BodySha256 => {
                    out.extend_from_slice(format!("{}", Sha256Digest::of(request.body()?)).as_bytes());
                }
                Part::Body => out.extend_from_slice(request.body()?),
            }
        }
        Ok(out)
    }

    pub(super) fn sign(
        &self,
        request: &Request<'_>,
        prefix: &str,
        key: &Secret,
    ) -> Result<Vec<OutgoingHeader>, SignError> {
        let time = self.time.write(request.now)?;
        let text = self.text(request, &time)?;
        let key = match self.key {
            KeyForm::Text => Zeroizing::new(key.expose().to_vec()),
            KeyForm::Base64 => Zeroizing::new(STANDARD.decode(key.expose()).map_err(|_| SignError::Key)?),
        };
        let mac = match self.hash {
            Hash::Sha256 => Zeroizing::new(hmac_sha256(&key, &text).to_vec()),
            Hash::Sha512 => Zeroizing::new(hmac_sha512(&key, &text).to_vec()),
        };
        let written = match self.encoding {
            Encoding::Hex => hex::encode(&*mac),
            Encoding::Base64 => STANDARD.encode(&*mac),
            Encoding::Base64Url => URL_SAFE_NO_PAD.encode(&*mac),
        };
        let mut out = Vec::with_capacity(2);
        let mut names = self.headers.iter();
        if let Some(name) = names.next() {
            out.push(secret_field(name, prefix, written).map_err(|_| SignError::Key)?);
        }
        out.extend(names.next().map(|name| OutgoingHeader::plain(name.as_str(), time.as_bytes())));
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::egress::SignedBody;

    fn signed(template: &str, hash: Hash, encoding: Encoding, key: (KeyForm, &str)) -> String {
        let signer = TemplateSigner {
            headers: ["x-signature", "x-time"].iter().map(|name| HeaderName::new(name).unwrap()).collect(),
            parts: parse(template).unwrap(),
            hash,
            encoding,
            key: key.0,
            time: TimeUnit::Seconds,
        };
        let request = Request {
            method: "POST",
            authority: "api.example.com",
            target: "/v1/x?a=1",
            fields: &[],
            body: SignedBody::Whole(b"what do ya want for nothing?"),
            now: Wall(1_700_000_000_999),
        };
        let fields = signer.sign(&request, "v1=", &Secret::new(key.1.into()).unwrap()).unwrap();
        assert_eq!(format!("{:?}", fields), "[x-signature: v1=***, x-time: 1700000000]");
        String::from_utf8(fields[0].expose_value()[1].to_vec()).unwrap()
    }

    /// RFC 4231 section 4.3: the key `Jefe`.
    #[test]
    fn the_body_alone_is_signed_as_rfc_4231_has_it() {
        let jefe = (KeyForm::Text, "Jefe");
        let sha256 = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        let sha512 = "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737";
        assert_eq!(signed("{body}", Hash::Sha256, Encoding::Hex, jefe), sha256);
        assert_eq!(signed("{body}", Hash::Sha512, Encoding::Hex, jefe), sha512);
        let bytes = hex::decode(sha256).unwrap();
        let base64_key = (KeyForm::Base64, "SmVmZQ==");
        assert_eq!(signed("{body}", Hash::Sha256, Encoding::Base64, base64_key), STANDARD.encode(&bytes));
        assert_eq!(signed("{body}", Hash::Sha256, Encoding::Base64Url, jefe), URL_SAFE_NO_PAD.encode(&bytes));
    }

    #[test]
    fn a_template_makes_one_text_of_the_request() {
        let signer = |template: &str| TemplateSigner {
            headers: Box::default(),
            parts: parse(template).unwrap(),
            hash: Hash::Sha256,
            encoding: Encoding::Hex,
            key: KeyForm::Text,
            time: TimeUnit::Rfc3339,
        };
        let request = Request {
            method: "GET",
            authority: "a.example:8443",
            target: "/p/q?x=1",
            fields: &[],
            body: SignedBody::Streamed,
            now: Wall(0),
        };
        let text = |template: &str| {
            let time = TimeUnit::Rfc3339.write(request.now)?;
            signer(template).text(&request, &time).map(|text| String::from_utf8(text.to_vec()).unwrap())
        };
        assert_eq!(
            text("{method}\n{host} {path}|{query}|{target} {{{timestamp}}}").unwrap(),
            "GET\na.example:8443 /p/q|x=1|/p/q?x=1 {1970-01-01T00:00:00.000Z}"
        );
        assert_eq!(text("{body_sha256}"), Err(SignError::Body));
        assert!(signer("{body}").needs_body() && !signer("{target}").needs_body());
        for bad in ["{", "}", "{nothing}", "{method", "a}b", "{ method}"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
