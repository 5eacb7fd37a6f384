//! A rule's way of signing, whichever it is.

use alloc::vec::Vec;

use super::{
    aws::{AwsSigner, PRESIGNED},
    request::{Request, Unsigned},
    template::TemplateSigner,
};
use crate::{
    egress::{
        credentials::{Secret, SecretStore},
        header::{HeaderName, OutgoingHeader},
    },
    lease::SecretRef,
};

/// How a rule signs, validated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::egress) enum Signer {
    Aws(AwsSigner),
    Template(TemplateSigner),
}

impl Signer {
    /// The header fields that it writes.
    pub(in crate::egress) fn headers(&self) -> &[HeaderName] {
        match self {
            Self::Aws(aws) => &aws.headers,
            Self::Template(template) => &template.headers,
        }
    }

    /// The parameters by which a client would sign the request itself.
    pub(in crate::egress) fn parameters(&self) -> &'static [&'static str] {
        match self {
            Self::Aws(_) => &PRESIGNED,
            Self::Template(_) => &[],
        }
    }

    /// The secrets that it needs beside the key.
    pub(in crate::egress) fn more_secrets(&self) -> impl Iterator<Item = &SecretRef> {
        let (one, two) = match self {
            Self::Aws(aws) => (aws.access_key.as_secret(), aws.session_token.as_ref()),
            Self::Template(_) => (None, None),
        };
        one.into_iter().chain(two)
    }

    /// Whether the signature covers the body.
    pub(in crate::egress) fn needs_body(&self) -> bool {
        match self {
            Self::Aws(aws) => !aws.unsigned_payload,
            Self::Template(template) => template.needs_body(),
        }
    }

    /// The header fields with the signature of `request`, made with `key`. `claimed` is what the client says of its body
    /// in `x-amz-content-sha256`.
    pub(in crate::egress) fn sign(
        &self,
        request: &Request<'_>,
        prefix: &str,
        key: &Secret,
        claimed: Option<&[u8]>,
        store: &dyn SecretStore,
    ) -> Result<Vec<OutgoingHeader>, Unsigned> {
        match self {
            Self::Aws(aws) => aws.sign(request, key, claimed, store),
            Self::Template(template) => Ok(template.sign(request, prefix, key)?),
        }
    }
}
