//! The envelope as it arrives, and the attempts to verify it.

use alloc::{borrow::Cow, string::String, vec::Vec};

use serde::Serialize;

use super::{DsseError, base64::decode_after, message::Message};
use crate::attestation::{
    signature::{SignatureVerifier, TrustedKey},
    strict::{Limits, Node, Outline, StrictError},
};

/// The most signatures of one envelope.
pub const MAX_SIGNATURES: usize = 16;

/// The longest payload type, in bytes.
pub const MAX_PAYLOAD_TYPE_BYTES: usize = 256;

/// What an envelope may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EnvelopeLimits {
    json: Limits,
    signatures: usize,
    verifications: usize,
}

impl EnvelopeLimits {
    /// 64 KiB, [`MAX_SIGNATURES`] signatures, 128 verifications.
    pub const DEFAULT: Self = Self { json: Limits::DOCUMENT, signatures: MAX_SIGNATURES, verifications: 128 };

    /// At most `bytes` in the envelope; never more than before.
    #[must_use]
    pub const fn bytes(mut self, bytes: usize) -> Self {
        self.json = self.json.bytes(bytes);
        self
    }

    /// At most `depth` nested containers in the envelope's own JSON; never more than before.
    #[must_use]
    pub const fn depth(mut self, depth: usize) -> Self {
        self.json = self.json.depth(depth);
        self
    }

    /// At most `count` signatures; never more than before.
    #[must_use]
    pub const fn signatures(mut self, count: usize) -> Self {
        if count < self.signatures {
            self.signatures = count;
        }
        self
    }

    /// At most `count` signature checks for one envelope; never more than before.
    ///
    /// Pairs of a signature and a key that carry the same key id come first, then each signature with the rest of
    /// the keys. With the default, an envelope of two signatures needs no key id even where a root has
    /// [`MAX_ROOT_KEYS`](super::MAX_ROOT_KEYS) keys.
    #[must_use]
    pub const fn verifications(mut self, count: usize) -> Self {
        if count < self.verifications {
            self.verifications = count;
        }
        self
    }
}

#[derive(Serialize)]
pub(crate) struct EnvelopeForm {
    pub(super) payload: String,
    #[serde(rename = "payloadType")]
    pub(super) payload_type: String,
    pub(super) signatures: Vec<SignatureForm>,
}

#[derive(Serialize)]
pub(crate) struct SignatureForm {
    pub(super) keyid: String,
    pub(super) sig: String,
}

#[derive(Clone, PartialEq, Eq)]
struct Signature {
    /// The key id, empty where there is none, and the signature after it.
    held: Vec<u8>,
    keyid_bytes: usize,
}

impl Signature {
    /// `None` where the signature is not base64.
    fn read(node: Node<'_>) -> Result<Option<Self>, StrictError> {
        let (mut keyid, mut sig) = (Cow::Borrowed(""), None);
        for (name, member) in node.members()? {
            match &*name {
                "keyid" => keyid = member.text()?,
                "sig" => sig = Some(member.text()?),
                _ => {}
            }
        }
        let sig = sig.ok_or(node.shape())?;
        let mut held = Vec::with_capacity(keyid.len().saturating_add(sig.len()));
        held.extend_from_slice(keyid.as_bytes());
        Ok(decode_after(&mut held, &sig).map(|()| Self { held, keyid_bytes: keyid.len() }))
    }

    fn keyid(&self) -> &[u8] {
        self.held.get(..self.keyid_bytes).unwrap_or_default()
    }

    fn bytes(&self) -> &[u8] {
        self.held.get(self.keyid_bytes..).unwrap_or_default()
    }
}

/// An envelope that was read and not yet believed.
#[derive(Clone, PartialEq, Eq)]
pub struct Envelope {
    message: Message,
    signatures: Vec<Signature>,
}

impl Envelope {
    /// Reads an envelope. Members that DSSE does not know are ignored, as its specification says; they still obey
    /// the strict reader.
    ///
    /// # Errors
    /// [`DsseError`] for JSON that is not strict, missing or ill-typed members, base64 that is not strict, no or too
    /// many signatures, and a payload type over [`MAX_PAYLOAD_TYPE_BYTES`].
    pub fn parse(bytes: &[u8], limits: &EnvelopeLimits) -> Result<Self, DsseError> {
        Self::from_node(Outline::read(bytes, &limits.json)?.top(), limits)
    }

    /// An envelope in a document that was read strictly.
    pub(crate) fn from_node(node: Node<'_>, limits: &EnvelopeLimits) -> Result<Self, DsseError> {
        let (mut payload, mut payload_type, mut signatures) = (None, None, None);
        for (name, member) in node.members()? {
            match &*name {
                "payload" => payload = Some(member.text()?),
                "payloadType" => payload_type = Some(member.text()?),
                "signatures" => {
                    signatures = Some(member.elements()?.map(Signature::read).collect::<Result<Vec<_>, _>>()?)
                }
                _ => {}
            }
        }
        let (Some(payload), Some(payload_type), Some(signatures)) = (payload, payload_type, signatures)
        else {
            return Err(node.shape().into());
        };
        if signatures.is_empty() {
            return Err(DsseError::NoSignatures);
        }
        if signatures.len() > limits.signatures {
            return Err(DsseError::TooManySignatures(signatures.len()));
        }
        if payload_type.len() > MAX_PAYLOAD_TYPE_BYTES {
            return Err(DsseError::PayloadTypeTooLong);
        }
        let message = Message::decode(&payload_type, &payload).ok_or(DsseError::Base64)?;
        let signatures: Option<_> = signatures.into_iter().collect();
        let signatures = signatures.ok_or(DsseError::Base64)?;
        Ok(Self { message, signatures })
    }

    /// The type that the envelope states. Nobody has vouched for it yet.
    pub fn unverified_type(&self) -> &str {
        self.message.payload_type()
    }

    /// The payload that the envelope carries. Nobody has vouched for it yet.
    pub fn unverified_payload(&self) -> &[u8] {
        self.message.payload()
    }

    /// Which of `keys`, all different, signed this payload under this type, in the order of `keys`.
    ///
    /// Cost: at most the limit's number of verifications, each over the whole payload.
    pub(crate) fn signed_by<'k>(
        &self,
        keys: &[&'k TrustedKey],
        verifier: &dyn SignatureVerifier,
        limits: &EnvelopeLimits,
    ) -> Vec<&'k TrustedKey> {
        let mut left = limits.verifications;
        let mut signers: Vec<&TrustedKey> = Vec::new();
        let has = |signers: &[&TrustedKey], key| signers.iter().any(|held| core::ptr::eq(*held, key));
        // The limits admit no more signatures.
        let mut spent = [false; MAX_SIGNATURES];
        for hinted in [true, false] {
            for (signature, spent) in self.signatures.iter().zip(&mut spent) {
                for key in keys {
                    if *spent || left == 0 {
                        break;
                    }
                    let matches = key.keyid().as_bytes() == signature.keyid();
                    if matches != hinted || has(&signers, *key) || !plausible(key, signature.bytes()) {
                        continue;
                    }
                    left = left.saturating_sub(1);
                    if verifier.verify(key.key(), self.message.as_bytes(), signature.bytes()) {
                        *spent = true;
                        signers.push(key);
                    }
                }
            }
        }
        if signers.len() > 1 {
            let signed = keys.iter().filter(|key| has(&signers, **key));
            signers = signed.copied().collect();
        }
        signers
    }
}

/// A signature that is too long for the key's algorithm costs no verification.
fn plausible(key: &TrustedKey, signature: &[u8]) -> bool {
    signature.len() <= key.key().algorithm().max_signature_bytes()
}

impl core::fmt::Debug for Envelope {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Envelope")
            .field("payload_type", &self.unverified_type())
            .field("payload_bytes", &self.unverified_payload().len())
            .field("signatures", &self.signatures.len())
            .finish()
    }
}
