//! Which keys of the policy count for a role, here and now.

use alloc::vec::Vec;

use super::SignerFacts;
use crate::{
    attestation::{
        dsse::DsseError,
        policy::{AttestationPolicyForm, KeyRole, ScopedKey},
        signature::{SignatureVerifier, TrustedKey},
    },
    digest::Sha256Digest,
    time::Wall,
};

/// The distinct keys that `keep` lets through, in the order of the policy. A key with several entries is one key; the
/// two encodings of its signatures are two ways to try it.
pub(super) fn distinct(form: &AttestationPolicyForm, keep: impl Fn(&ScopedKey) -> bool) -> Vec<&TrustedKey> {
    let mut keys: Vec<&TrustedKey> = Vec::new();
    for scoped in form.keys.iter().filter(|scoped| keep(scoped)) {
        if keys.iter().all(|key| key.key() != scoped.key.key()) {
            keys.push(&scoped.key);
        }
    }
    keys
}

/// Why none of `candidates` signed.
pub(super) fn nobody(candidates: &[&TrustedKey], verifier: &dyn SignatureVerifier) -> DsseError {
    let supported = candidates.iter().all(|key| verifier.supports(key.key().algorithm()));
    if supported { DsseError::Untrusted } else { DsseError::UnsupportedAlgorithm }
}

/// The entry of `key` for `role` that `allows` and lasts longest.
pub(super) fn entry(
    form: &AttestationPolicyForm,
    key: Sha256Digest,
    role: KeyRole,
    now: Wall,
    allows: impl Fn(&ScopedKey) -> bool,
) -> Option<&ScopedKey> {
    form.keys
        .iter()
        .filter(|scoped| scoped.key.fingerprint() == key && scoped.has_role(role) && scoped.is_current(now))
        .filter(|scoped| allows(scoped))
        .max_by_key(|scoped| scoped.window.end())
}

pub(super) fn is_revoked(form: &AttestationPolicyForm, key: Sha256Digest) -> bool {
    form.revoked.keys.contains(&key)
}

/// A key as a record of who signed.
pub(super) fn signer(key: &TrustedKey, paired: bool) -> SignerFacts {
    SignerFacts { key: key.fingerprint(), paired }
}
