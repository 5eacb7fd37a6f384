//! Where in a request a credential goes.

use alloc::{boxed::Box, format, string::String};

use super::{CredentialBinding, error::PolicyReason};
use crate::egress::{
    header::{HeaderName, HeaderNameError},
    sign::Signer,
};

/// The longest user name, parameter or placeholder, in bytes.
const MAX_PLACE_BYTES: usize = 128;

/// The place of a credential, validated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::egress) enum Place {
    /// A header field.
    Header(HeaderName),
    /// The password of a Basic pair (RFC 7617), which goes into `authorization`.
    Basic { header: HeaderName, user: Box<str> },
    /// A parameter of the query.
    Query(Box<str>),
    /// The segments of the path that read so.
    PathSegment(Box<str>),
    /// None: the secret is the key of a signature.
    Sign(Box<Signer>),
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

fn fits(text: &str, most: impl Fn(u8) -> bool) -> bool {
    text.len() <= MAX_PLACE_BYTES && text.bytes().all(most)
}

impl Place {
    /// The one place that `binding` names.
    pub(super) fn of(binding: &CredentialBinding) -> Result<Self, (&'static str, PolicyReason)> {
        let header = |text: &str| {
            HeaderName::new(text).map_err(|error: HeaderNameError| ("credentials.header", error.into()))
        };
        let own = (&binding.header, &binding.basic, &binding.query, &binding.path_segment, &binding.sign);
        match own {
            (Some(name), None, None, None, None) => Ok(Self::Header(header(name)?)),
            (None, Some(user), None, None, None) => {
                if !fits(user, |byte| (0x20..0x7f).contains(&byte) && byte != b':') {
                    return Err(("credentials.basic", PolicyReason::BasicUser));
                }
                Ok(Self::Basic { header: header("authorization")?, user: Box::from(user.as_str()) })
            }
            (None, None, Some(name), None, None) => {
                if name.is_empty()
                    || !fits(name, |byte| is_unreserved(byte) || matches!(byte, b'[' | b']' | b'$'))
                {
                    return Err(("credentials.query", PolicyReason::QueryName));
                }
                Ok(Self::Query(Box::from(name.as_str())))
            }
            (None, None, None, Some(text), None) => {
                if matches!(text.as_str(), "" | "." | "..") || !fits(text, is_unreserved) {
                    return Err(("credentials.path_segment", PolicyReason::PathSegment));
                }
                Ok(Self::PathSegment(Box::from(text.as_str())))
            }
            (None, None, None, None, Some(sign)) => Ok(Self::Sign(Box::new(sign.compile(&binding.prefix)?))),
            _ => Err(("credentials", PolicyReason::CredentialPlace)),
        }
    }

    /// The header fields that are written for it.
    pub(in crate::egress) fn headers(&self) -> &[HeaderName] {
        match self {
            Self::Header(header) | Self::Basic { header, .. } => core::slice::from_ref(header),
            Self::Sign(signer) => signer.headers(),
            Self::Query(_) | Self::PathSegment(_) => &[],
        }
    }

    /// Whether the secret goes into the request target.
    pub(in crate::egress) const fn is_in_target(&self) -> bool {
        matches!(self, Self::Query(_) | Self::PathSegment(_))
    }

    /// Whether both would write to the same place.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Query(one), Self::Query(two)) => one.eq_ignore_ascii_case(two),
            (Self::PathSegment(one), Self::PathSegment(two)) => one == two,
            _ => self.headers().iter().any(|name| other.headers().contains(name)),
        }
    }

    /// The place for people.
    pub(in crate::egress) fn named(&self) -> String {
        match self {
            Self::Header(header) | Self::Basic { header, .. } => format!("header {}", header.as_str()),
            Self::Query(name) => format!("query parameter {name}"),
            Self::PathSegment(text) => format!("path segment {text}"),
            Self::Sign(signer) => {
                let header = signer.headers().first().map(HeaderName::as_str).unwrap_or_default();
                format!("signature in header {header}")
            }
        }
    }
}
