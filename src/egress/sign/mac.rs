//! Message authentication codes, and the field that one goes out in.

use alloc::{boxed::Box, string::String};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Sha256, Sha512};
use zeroize::Zeroizing;

use crate::egress::{
    credentials::{Secret, SecretError},
    header::{HeaderName, OutgoingHeader},
};

/// HMAC with SHA-256. HMAC takes a key of any length.
pub(super) fn hmac_sha256(key: &[u8], message: &[u8]) -> Zeroizing<[u8; 32]> {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return Zeroizing::new([0; 32]) };
    mac.update(message);
    Zeroizing::new(mac.finalize().into_bytes().into())
}

/// HMAC with SHA-512.
pub(super) fn hmac_sha512(key: &[u8], message: &[u8]) -> Zeroizing<[u8; 64]> {
    let Ok(mut mac) = Hmac::<Sha512>::new_from_slice(key) else { return Zeroizing::new([0; 64]) };
    mac.update(message);
    Zeroizing::new(mac.finalize().into_bytes().into())
}

/// The field `name` with `secret` behind `prefix`.
pub(super) fn secret_field(
    name: &HeaderName,
    prefix: &str,
    secret: String,
) -> Result<OutgoingHeader, SecretError> {
    Ok(OutgoingHeader::secret(name.as_str(), Box::from(prefix), Secret::new(secret.into_bytes())?))
}
