//! The claims on the wire: one closed form for the plain document and for the predicate of the statement.

use alloc::{boxed::Box, string::String, vec::Vec};
use core::str::FromStr;

use serde::Serialize;

use super::{
    Claim, EvidenceLimits, MAX_WIT_INTERFACES, MalformedEntry, NONCE_BYTES, Sha512Claims, WorkerAttestation,
};
use crate::{
    attestation::{
        dsse::{self, Envelope},
        excerpt::Excerpt,
        strict::{Node, StrictError},
        version::{ProtocolRange, RangeForm},
    },
    capability::{CapabilityName, CapabilitySet, MAX_CAPABILITIES},
    digest::{self, Sha512Digest},
    time::Wall,
};

/// The claims as they are written. The plain document has all members; in a statement the digests are its subjects and
/// the predicate type is its version, so those four are absent from the predicate.
#[derive(Default, Serialize)]
pub(super) struct ClaimsForm {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) version: Option<u32>,
    pub(super) worker_id: Option<String>,
    pub(super) device_id: Option<String>,
    pub(super) audience: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) image: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) build: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) artifact: Option<String>,
    pub(super) certificate_sha256: Option<String>,
    pub(super) nonce: Option<String>,
    pub(super) issued_at_ms: Option<u64>,
    pub(super) expires_at_ms: Option<u64>,
    pub(super) sdk_protocol: Option<RangeForm>,
    pub(super) wit: Option<Vec<String>>,
    pub(super) capabilities: Option<Vec<String>>,
    pub(super) capability_authority: Option<String>,
    /// An envelope as base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) egress: Option<String>,
}

/// The claims as they are read, and the version of a plain document.
pub(super) struct Members {
    pub(super) claims: WorkerAttestation,
    pub(super) version: Option<u32>,
    /// Whether a member stands here that belongs to the plain document alone.
    pub(super) document: bool,
}

type Shape<T> = Result<T, StrictError>;

/// Reads the members of a document or of a predicate. One that is null is absent; one that is unknown, or of another
/// type than is due, refuses the whole. `extensions` is the one place for others, and nothing in it is looked at.
pub(super) fn read(node: Node<'_>, limits: &EvidenceLimits) -> Shape<Members> {
    let mut claims = WorkerAttestation::ABSENT;
    let (mut version, mut document) = (None, false);
    let mut sha512 = Sha512Claims::default();
    for (name, member) in node.members()? {
        match &*name {
            "version" => version = present(member).map(Node::short).transpose()?,
            "worker_id" => claims.worker = text(member)?,
            "device_id" => claims.device = text(member)?,
            "audience" => claims.audience = text(member)?,
            "image" => claims.image = text(member)?,
            "build" => claims.build = text(member)?,
            "artifact" => claims.artifact = text(member)?,
            "image_sha512" => sha512.image = long(member)?,
            "build_sha512" => sha512.build = long(member)?,
            "artifact_sha512" => sha512.artifact = long(member)?,
            "certificate_sha256" => claims.certificate = text(member)?,
            "nonce" => claims.nonce = claim(member, |node| Ok(parse_nonce(&node.text()?)))?,
            "issued_at_ms" => claims.issued = claim(member, |node| Ok(Some(Wall(node.integer()?))))?,
            "expires_at_ms" => claims.expires = claim(member, |node| Ok(Some(Wall(node.integer()?))))?,
            "sdk_protocol" => claims.protocol = claim(member, range)?,
            "wit" => claims.wit = list(member, MAX_WIT_INTERFACES, |text| text.parse().ok())?,
            "capabilities" => claims.capabilities = capabilities(member)?,
            "capability_authority" => claims.authority = text(member)?,
            "egress" => claims.egress = egress(member, limits)?,
            "extensions" if member.is_null() || member.is_object() => {}
            _ => return Err(member.shape()),
        }
        let measured = matches!(
            &*name,
            "version" | "image" | "build" | "artifact" | "image_sha512" | "build_sha512" | "artifact_sha512"
        );
        document |= measured && !member.is_null();
    }
    claims.sha512 = sha512.boxed();
    Ok(Members { claims, version, document })
}

fn present(node: Node<'_>) -> Option<Node<'_>> {
    Some(node).filter(|node| !node.is_null())
}

fn claim<'d, T>(node: Node<'d>, read: impl FnOnce(Node<'d>) -> Shape<Option<T>>) -> Shape<Claim<T>> {
    let Some(node) = present(node) else { return Ok(Claim::Absent) };
    Ok(read(node)?.map_or(Claim::Malformed, Claim::Stated))
}

fn text<T: FromStr>(node: Node<'_>) -> Shape<Claim<T>> {
    claim(node, |node| Ok(node.text()?.parse().ok()))
}

fn range(node: Node<'_>) -> Shape<Option<ProtocolRange>> {
    let (mut min, mut max) = (None, None);
    for (name, member) in node.members()? {
        match &*name {
            "min" => min = Some(member.short()?),
            "max" => max = Some(member.short()?),
            _ => return Err(member.shape()),
        }
    }
    let (Some(min), Some(max)) = (min, max) else { return Err(node.shape()) };
    Ok(ProtocolRange::new(min, max).ok())
}

/// A SHA-512 digest of what a member of its own names by its SHA-256.
fn long(node: Node<'_>) -> Shape<Option<Sha512Digest>> {
    let Some(node) = present(node) else { return Ok(None) };
    node.text()?.parse().map(Some).map_err(|_| node.shape())
}

/// A list of texts, at most `max`, all of which parse. Every element is a text, whether it is looked at or not.
fn list<T>(node: Node<'_>, max: usize, parse: impl Fn(&str) -> Option<T>) -> Shape<Claim<Vec<T>>> {
    let Some(node) = present(node) else { return Ok(Claim::Absent) };
    let mut items = Vec::new();
    let mut wrong = None;
    for (index, element) in node.elements()?.enumerate() {
        let text = element.text()?;
        match parse(&text) {
            Some(item) if items.len() < max => items.push(item),
            Some(_) => wrong = wrong.or(Some(Claim::Malformed)),
            None if wrong.is_none() => {
                let found = Excerpt::of(&text);
                wrong = Some(Claim::MalformedEntry(Box::new(MalformedEntry { index, found })));
            }
            None => {}
        }
    }
    Ok(wrong.unwrap_or(Claim::Stated(items)))
}

/// A list that names a capability twice, or too many, is not a set.
fn capabilities(node: Node<'_>) -> Shape<Claim<CapabilitySet>> {
    Ok(match list(node, MAX_CAPABILITIES, |text| CapabilityName::new(text).ok())? {
        Claim::Absent => Claim::Absent,
        Claim::Malformed => Claim::Malformed,
        Claim::MalformedEntry(entry) => Claim::MalformedEntry(entry),
        Claim::Stated(names) => {
            let count = names.len();
            let set = CapabilitySet::new(names).ok().filter(|set| set.len() == count);
            set.map_or(Claim::Malformed, Claim::Stated)
        }
    })
}

/// The egress binding: an envelope as an object, or its bytes as base64. Anything else is malformed, so that it fails
/// its own check and not the reading.
fn egress(node: Node<'_>, limits: &EvidenceLimits) -> Shape<Claim<Envelope>> {
    let limits = limits.envelope().bytes(16 << 10);
    claim(node, |node| {
        if node.is_object() {
            return Ok(Envelope::from_node(node, &limits).ok());
        }
        let bytes = node.text().ok().and_then(|text| dsse::decode(&text));
        Ok(bytes.and_then(|bytes| Envelope::parse(&bytes, &limits).ok()))
    })
}

/// A nonce is lowercase hex, like every digest.
pub(crate) fn parse_nonce(text: &str) -> Option<Vec<u8>> {
    let mut bytes = [0; *NONCE_BYTES.end()];
    let length = text.len() / 2;
    let bytes = bytes.get_mut(..length).filter(|_| NONCE_BYTES.contains(&length))?;
    digest::decode_hex(text, bytes)?;
    Some(bytes.to_vec())
}
