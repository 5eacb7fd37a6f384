//! The grammar of header names, and the names that a credential may not have.

use alloc::boxed::Box;

/// The longest header name of a credential.
const MAX_NAME_BYTES: usize = 128;

/// Why a text is not the header of a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderNameError {
    /// Not a token (RFC 9110 section 5.6.2), or too long.
    #[error("a header name is an RFC 9110 token of at most {MAX_NAME_BYTES} bytes")]
    NotAToken,
    /// The framing, the route or the connection depends on this field, so no credential may set it.
    #[error("this header frames or routes the message and cannot carry a credential")]
    Forbidden,
}

/// RFC 9110 section 5.6.2.
pub(in crate::egress) fn is_token(text: &[u8]) -> bool {
    let tchar = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !text.is_empty() && text.iter().all(tchar)
}

/// Whether an upstream may take one field name for the other: case never counts, and CGI turns hyphens into
/// underscores.
pub(in crate::egress) fn is_same_field(one: &str, two: &str) -> bool {
    let fold = |byte: u8| if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    one.bytes().map(fold).eq(two.bytes().map(fold))
}

/// The name of a credential's header, in lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::egress) struct HeaderName(Box<str>);

impl HeaderName {
    pub(in crate::egress) fn new(text: &str) -> Result<Self, HeaderNameError> {
        if !is_token(text.as_bytes()) || text.len() > MAX_NAME_BYTES {
            return Err(HeaderNameError::NotAToken);
        }
        let name = text.to_ascii_lowercase();
        if is_framing(&name) || is_hop_by_hop(&name) || matches!(name.as_str(), "expect" | "via") {
            return Err(HeaderNameError::Forbidden);
        }
        Ok(Self(name.into_boxed_str()))
    }

    pub(in crate::egress) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Fields that say where a message ends or where it goes. `name` in lower case.
pub(in crate::egress) fn is_framing(name: &str) -> bool {
    matches!(name, "host" | "content-length" | "transfer-encoding")
}

/// Fields that mean one connection only (RFC 9110 section 7.6.1), and all of `Proxy-*`. `name` in lower case.
pub(in crate::egress) fn is_hop_by_hop(name: &str) -> bool {
    name.starts_with("proxy-")
        || matches!(
            name,
            "connection"
                | "keep-alive"
                | "te"
                | "trailer"
                | "transfer-encoding"
                | "upgrade"
                | "http2-settings"
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Attack E7.
    #[test]
    fn e7_forbidden_and_malformed_credential_headers_do_not_build() {
        for text in ["", "a b", "a:b", "a\r\nb", "a\n", ":authority", "caf\u{e9}", "a\0"] {
            assert_eq!(HeaderName::new(text), Err(HeaderNameError::NotAToken), "{text}");
        }
        for text in [
            "Host",
            "content-length",
            "Transfer-Encoding",
            "Connection",
            "TE",
            "Upgrade",
            "Trailer",
            "Keep-Alive",
            "Proxy-Authorization",
            "proxy-anything",
            "Via",
            "Expect",
            "HTTP2-Settings",
        ] {
            assert_eq!(HeaderName::new(text), Err(HeaderNameError::Forbidden), "{text}");
        }
        assert_eq!(HeaderName::new("X-Api-Key").unwrap().as_str(), "x-api-key");
    }
}
