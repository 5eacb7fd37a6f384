//! The claims on the wire: one closed form for the plain document and for the predicate of the statement.

use alloc::{string::String, vec::Vec};
use core::str::FromStr;

use serde::Serialize;

use super::{Claim, EvidenceLimits, MAX_WIT_INTERFACES, NONCE_BYTES, WorkerAttestation};
use crate::{
    attestation::{
        dsse::{self, Envelope},
        strict::{Node, StrictError},
        version::{ProtocolRange, RangeForm},
    },
    capability::{CapabilityName, CapabilitySet, MAX_CAPABILITIES},
    digest,
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
    for (name, member) in node.members()? {
        match &*name {
            "version" => version = present(member).map(Node::short).transpose()?,
            "worker_id" => claims.worker = text(member)?,
            "device_id" => claims.device = text(member)?,
            "audience" => claims.audience = text(member)?,
            "image" => claims.image = text(member)?,
            "build" => claims.build = text(member)?,
            "artifact" => claims.artifact = text(member)?,
            "certificate_sha256" => claims.certificate = text(member)?,
            "nonce" => claims.nonce = claim(member, |node| Ok(parse_nonce(&node.text()?)))?,
            "issued_at_ms" => claims.issued = claim(member, |node| Ok(Some(Wall(node.integer()?))))?,
            "expires_at_ms" => claims.expires = claim(member, |node| Ok(Some(Wall(node.integer()?))))?,
            "sdk_protocol" => claims.protocol = claim(member, range)?,
            "wit" => {
                claims.wit = claim(member, |node| list(node, MAX_WIT_INTERFACES, |text| text.parse().ok()))?
            }
            "capabilities" => claims.capabilities = claim(member, capabilities)?,
            "capability_authority" => claims.authority = text(member)?,
            "egress" => claims.egress = egress(member, limits)?,
            "extensions" if member.is_null() || member.is_object() => {}
            _ => return Err(member.shape()),
        }
        let measured = matches!(&*name, "version" | "image" | "build" | "artifact");
        document |= measured && !member.is_null();
    }
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

/// A list of texts, at most `max`, all of which parse. Every element is a text, whether it is looked at or not.
fn list<T>(node: Node<'_>, max: usize, parse: impl Fn(&str) -> Option<T>) -> Shape<Option<Vec<T>>> {
    let mut items = Vec::new();
    let mut fits = true;
    for element in node.elements()? {
        let text = element.text()?;
        match parse(&text) {
            Some(item) if fits && items.len() < max => items.push(item),
            _ => fits = false,
        }
    }
    Ok(fits.then_some(items))
}

/// A list that names a capability twice, or too many, is not a set.
fn capabilities(node: Node<'_>) -> Shape<Option<CapabilitySet>> {
    let Some(names) = list(node, MAX_CAPABILITIES, |text| CapabilityName::new(text).ok())? else {
        return Ok(None);
    };
    let count = names.len();
    Ok(CapabilitySet::new(names).ok().filter(|set| set.len() == count))
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
