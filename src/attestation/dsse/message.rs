//! What a signature is over: the type and the payload in one encoding, from which both can be had again.

use alloc::vec::Vec;
use core::ops::Range;

use super::base64::{decode_after, decoded_bytes};

/// The pre-authentication encoding (DSSE protocol.md): what a signature is over. Lengths count bytes.
///
/// ```
/// use leasehold::attestation::dsse::pae;
/// assert_eq!(pae("http://example.com/HelloWorld", b"hello world"),
///            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
/// ```
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let (mut message, _) = head(payload_type, payload.len());
    message.extend_from_slice(payload);
    message
}

/// What comes before a payload of `length` bytes, with room for it, and where the type stands in there.
fn head(payload_type: &str, length: usize) -> (Vec<u8>, Range<usize>) {
    // Two lengths of at most 20 digits, and what the decoder of a payload wants beyond its end.
    let mut head = Vec::with_capacity(payload_type.len().saturating_add(length).saturating_add(52));
    head.extend_from_slice(b"DSSEv1 ");
    decimal(&mut head, payload_type.len());
    head.push(b' ');
    let start = head.len();
    head.extend_from_slice(payload_type.as_bytes());
    let range = start..head.len();
    head.push(b' ');
    decimal(&mut head, length);
    head.push(b' ');
    (head, range)
}

/// Writes a number without going through a text of its own.
fn decimal(to: &mut Vec<u8>, mut number: usize) {
    let start = to.len();
    loop {
        to.push(u8::try_from(number % 10).unwrap_or(0) | b'0');
        number /= 10;
        if number == 0 {
            break;
        }
    }
    to.get_mut(start..).unwrap_or_default().reverse();
}

/// A payload and its type, kept once: as what their signatures should be over.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Message {
    bytes: Vec<u8>,
    payload_type: Range<usize>,
    payload_at: usize,
}

impl Message {
    /// The message of a payload that comes as base64.
    pub(super) fn decode(payload_type: &str, payload: &str) -> Option<Self> {
        let length = decoded_bytes(payload);
        let (mut bytes, payload_type) = head(payload_type, length);
        let payload_at = bytes.len();
        decode_after(&mut bytes, payload)?;
        let whole = bytes.len() == payload_at.saturating_add(length);
        whole.then_some(Self { bytes, payload_type, payload_at })
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn payload_type(&self) -> &str {
        let bytes = self.bytes.get(self.payload_type.clone()).unwrap_or_default();
        // It came as a text.
        core::str::from_utf8(bytes).unwrap_or_default()
    }

    pub(super) fn payload(&self) -> &[u8] {
        self.bytes.get(self.payload_at..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::attestation::dsse::encode;

    proptest! {
        /// What was decoded is the encoding of what it gives back, which is what was encoded.
        #[test]
        fn a_message_holds_what_it_is_made_of(kind in ".{0,130}", payload in prop::collection::vec(any::<u8>(), 0..1100)) {
            let message = Message::decode(&kind, &encode(&payload)).unwrap();
            prop_assert_eq!((message.payload_type(), message.payload()), (&*kind, &*payload));
            prop_assert_eq!(message.as_bytes(), pae(&kind, &payload));
            let head = alloc::format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len());
            prop_assert_eq!(message.as_bytes(), [head.as_bytes(), &payload].concat());
        }
    }
}
