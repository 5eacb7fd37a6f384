//! The envelope as it arrives, and the attempts to verify it.

use alloc::{borrow::Cow, string::String, vec::Vec};

use serde::Serialize;

use super::{
    Budget, DsseError, EnvelopeLimits, MAX_PAYLOAD_TYPE_BYTES, MAX_SIGNATURES, base64::decode_after,
    message::Message,
};
use crate::attestation::{
    signature::{SignatureVerifier, TrustedKey},
    strict::{Node, Outline, StrictError},
};

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
                // Protobuf's JSON and some signers write a key id that is not there as null.
                "keyid" if member.is_null() => {}
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
        Self::from_node(Outline::read(bytes, limits.json())?.top(), limits)
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
            return Err(DsseError::TooManySignatures { have: signatures.len(), most: limits.signatures });
        }
        if payload_type.len() > MAX_PAYLOAD_TYPE_BYTES {
            return Err(DsseError::PayloadTypeTooLong(payload_type.len()));
        }
        let message = Message::decode(&payload_type, &payload).ok_or(DsseError::Base64("payload"))?;
        let signatures: Option<_> = signatures.into_iter().collect();
        let signatures = signatures.ok_or(DsseError::Base64("sig"))?;
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

    /// Which of `keys`, all different, signed this payload under this type.
    ///
    /// Cost: at most what is left of the budget, each check over the whole payload.
    pub(crate) fn signed_by<'k>(
        &self,
        keys: &[&'k TrustedKey],
        verifier: &dyn SignatureVerifier,
        budget: &mut Budget,
    ) -> Signers<'k> {
        let mut signers: Vec<&TrustedKey> = Vec::new();
        let has = |signers: &[&TrustedKey], key| signers.iter().any(|held| core::ptr::eq(*held, key));
        // The limits admit no more signatures.
        let mut spent = [false; MAX_SIGNATURES];
        let mut complete = true;
        for pass in [Pass::Same, Pass::None, Pass::Other] {
            // Key by key, so that no signature comes before all others.
            for key in keys {
                for (signature, spent) in self.signatures.iter().zip(&mut spent) {
                    let tried = !*spent && pass.admits(key, signature) && plausible(key, signature.bytes());
                    if !tried || has(&signers, *key) {
                        continue;
                    }
                    if !budget.take(!signature.keyid().is_empty()) {
                        complete = false;
                    } else if verifier.verify(key.key(), self.message.as_bytes(), signature.bytes()) {
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
        Signers { keys: signers, complete }
    }
}

/// Who signed, as far as it was tried.
pub(crate) struct Signers<'k> {
    /// The keys, in the order in which they were asked about.
    pub(crate) keys: Vec<&'k TrustedKey>,
    /// Whether every signature was tried with every key. Where not, the budget was spent before.
    pub(crate) complete: bool,
}

/// In which order signatures and keys are paired.
#[derive(Clone, Copy)]
enum Pass {
    /// The signature carries the key's id.
    Same,
    /// The signature carries none.
    None,
    /// The signature carries another one, which is a hint and decides nothing.
    Other,
}

impl Pass {
    fn admits(self, key: &TrustedKey, signature: &Signature) -> bool {
        let (keyid, named) = (signature.keyid(), key.keyid().as_bytes());
        match self {
            Self::Same => keyid == named,
            Self::None => keyid.is_empty(),
            Self::Other => !keyid.is_empty() && keyid != named,
        }
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
