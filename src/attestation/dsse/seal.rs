//! Making an envelope.

use alloc::vec::Vec;

use super::{
    encode,
    envelope::{EnvelopeForm, SignatureForm},
    message::pae,
};
use crate::attestation::signature::{Signer, SignerError};

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
