//! What stands around an envelope: nothing, a bundle, or lines of either.

use alloc::vec::Vec;

use crate::{
    attestation::{
        dsse::{DsseError, Envelope, EnvelopeLimits},
        excerpt::Excerpt,
        strict::{Node, Outline, StrictError, StrictErrorKind},
    },
    code::{self, Code, Coded},
};

/// Why there is no envelope in an attachment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ContainerError {
    /// It is no envelope, and no bundle.
    #[error(transparent)]
    Envelope(#[from] DsseError),
    /// It is a bundle of a version that is not known.
    #[error("the bundle's media type is {0}; that of a sigstore bundle v0.1, v0.2 or v0.3 is due")]
    MediaType(Excerpt),
    /// It is a bundle that signs a digest, and not a statement.
    #[error(
        "the bundle holds no `dsseEnvelope`, which is due; a message signature says nothing about a build"
    )]
    NoEnvelope,
}

impl Coded for ContainerError {
    fn code(&self) -> Code {
        match self {
            Self::Envelope(error) => error.code(),
            Self::MediaType(_) => code::BUNDLE_MEDIA_TYPE,
            Self::NoEnvelope => code::BUNDLE_NO_ENVELOPE,
        }
    }
}

impl From<StrictError> for ContainerError {
    fn from(error: StrictError) -> Self {
        Self::Envelope(error.into())
    }
}

/// An envelope that was found, or why there is none.
pub(crate) struct Carried<'a> {
    /// The line that it is in, from 1, where the attachment has several.
    pub(crate) line: Option<usize>,
    pub(crate) content: Result<Content<'a>, ContainerError>,
}

/// An envelope, and the bundle around it where that has a certificate.
pub(crate) struct Content<'a> {
    pub(crate) envelope: Envelope,
    pub(crate) certified: Option<&'a [u8]>,
}

/// The envelopes in `bytes`, at most `most` and then one more that says no more than that there are more.
///
/// Cost: one strict read, and a second one of what is lines.
pub(crate) fn open<'a>(bytes: &'a [u8], limits: &EnvelopeLimits, most: usize) -> Vec<Carried<'a>> {
    match Outline::read(bytes, limits.json()) {
        Ok(outline) => [Carried { line: None, content: one(bytes, outline.top(), limits) }].into(),
        Err(error) if is_lines(bytes, &error) => {
            let lines = bytes.split(|byte| *byte == b'\n').enumerate();
            let written = lines.filter(|(_, line)| !line.trim_ascii().is_empty());
            let carried = |(at, line): (usize, &'a [u8])| {
                let content = Outline::read(line, limits.json()).map_err(ContainerError::from);
                let content = content.and_then(|outline| one(line, outline.top(), limits));
                Carried { line: Some(at.saturating_add(1)), content }
            };
            written.take(most.saturating_add(1)).map(carried).collect()
        }
        Err(error) => [Carried { line: None, content: Err(error.into()) }].into(),
    }
}

/// Whether a document ended with its line, and more follows.
fn is_lines(bytes: &[u8], error: &StrictError) -> bool {
    let before = bytes.get(..error.offset).unwrap_or_default();
    let space = before.iter().rev().take_while(|byte| byte.is_ascii_whitespace());
    error.kind == StrictErrorKind::Trailing && space.clone().any(|byte| *byte == b'\n')
}

/// The envelope that one document is, or that a bundle holds.
fn one<'a>(bytes: &'a [u8], node: Node<'_>, limits: &EnvelopeLimits) -> Result<Content<'a>, ContainerError> {
    let (media_type, inner) = (node.member("mediaType"), node.member("dsseEnvelope"));
    if media_type.is_none() && inner.is_none() {
        return Ok(Content { envelope: Envelope::from_node(node, limits)?, certified: None });
    }
    let media_type = media_type.map(Node::text).transpose()?.unwrap_or_default();
    if !is_bundle(&media_type) {
        return Err(ContainerError::MediaType(Excerpt::of(&media_type)));
    }
    let envelope = Envelope::from_node(inner.ok_or(ContainerError::NoEnvelope)?, limits)?;
    let material = node.member("verificationMaterial");
    let certificate = material.and_then(|material| {
        material.member("certificate").or_else(|| material.member("x509CertificateChain"))
    });
    Ok(Content { envelope, certified: certificate.filter(|node| node.is_object()).map(|_| bytes) })
}

/// Both spellings of the media types of a bundle's versions.
fn is_bundle(media_type: &str) -> bool {
    let Some(rest) = media_type.strip_prefix("application/vnd.dev.sigstore.bundle") else { return false };
    let version = rest.strip_prefix("+json;version=");
    let version = version.or_else(|| rest.strip_prefix(".v").and_then(|rest| rest.strip_suffix("+json")));
    matches!(version, Some("0.1" | "0.2" | "0.3"))
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;
    use crate::attestation::dsse::seal;

    fn lines(bytes: &[u8]) -> Vec<(Option<usize>, bool)> {
        let carried = open(bytes, &EnvelopeLimits::DEFAULT, 3);
        carried.iter().map(|carried| (carried.line, carried.content.is_ok())).collect()
    }

    #[test]
    fn envelopes_are_found_in_bundles_and_in_lines() {
        let envelope = alloc::string::String::from_utf8(seal("t", b"p", &[]).unwrap()).unwrap();
        let envelope = envelope.replace("[]", r#"[{"sig":"","keyid":null}]"#);
        let bundle = |kind: &str| {
            format!(
                r#"{{"mediaType":"application/vnd.dev.sigstore.bundle{kind}","dsseEnvelope":{envelope}}}"#
            )
        };
        assert_eq!(lines(envelope.as_bytes()), [(None, true)]);
        for kind in
            ["+json;version=0.1", "+json;version=0.2", "+json;version=0.3", ".v0.1+json", ".v0.3+json"]
        {
            assert_eq!(lines(bundle(kind).as_bytes()), [(None, true)], "{kind}");
        }
        for kind in ["+json;version=0.4", "+json", ".v0.3", "+json;version=0.1;x"] {
            assert_eq!(lines(bundle(kind).as_bytes()), [(None, false)], "{kind}");
        }
        let two = format!("{envelope}\r\n\n{}\n", bundle(".v0.3+json"));
        assert_eq!(lines(two.as_bytes()), [(Some(1), true), (Some(3), true)]);
        assert_eq!(lines(format!("{envelope}\nx\n").as_bytes()), [(Some(1), true), (Some(2), false)]);
        assert_eq!(lines(format!("{envelope} {envelope}").as_bytes()), [(None, false)], "one line");
        let many = format!("{envelope}\n").repeat(9);
        assert_eq!(lines(many.as_bytes()).len(), 4, "one more than the most");
    }
}
