//! What is signed, and making an envelope.

use alloc::{string::ToString, vec::Vec};

use super::{
    encode,
    envelope::{EnvelopeForm, SignatureForm},
};
use crate::attestation::signature::{Signer, SignerError};

/// The pre-authentication encoding (DSSE protocol.md): what a signature is over. Lengths count bytes.
///
/// ```
/// use leasehold::attestation::dsse::pae;
/// assert_eq!(pae("http://example.com/HelloWorld", b"hello world"),
///            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
/// ```
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let (type_length, length) = (payload_type.len().to_string(), payload.len().to_string());
    let parts: [&[u8]; 9] = [
        b"DSSEv1",
        b" ",
        type_length.as_bytes(),
        b" ",
        payload_type.as_bytes(),
        b" ",
        length.as_bytes(),
        b" ",
        payload,
    ];
    parts.concat()
}

/// Signs `payload` under `payload_type` with every signer, as the JSON of an envelope.
///
/// # Errors
/// [`SignerError`] where a signer gives no signature.
pub fn seal(payload_type: &str, payload: &[u8], signers: &[&dyn Signer]) -> Result<Vec<u8>, SignerError> {
    let message = pae(payload_type, payload);
    let sign = |signer: &&dyn Signer| {
        Ok(SignatureForm { keyid: signer.key_id().into(), sig: encode(&signer.sign(&message)?) })
    };
    let form = EnvelopeForm {
        payload: encode(payload),
        payload_type: payload_type.into(),
        signatures: signers.iter().map(sign).collect::<Result<_, SignerError>>()?,
    };
    // Strings and lists alone: writing them cannot fail.
    Ok(serde_json::to_vec(&form).unwrap_or_default())
}
