//! Statements whose signers are known: what a memory keeps.

use alloc::vec::Vec;

use crate::{
    attestation::{keyless::BuilderIdentity, provenance::Provenance},
    digest::Sha256Digest,
};

/// A statement whose signers are known, whatever they may say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Signed {
    pub(super) signers: Signers,
    /// SHA-256 of the payload.
    pub(super) payload: Sha256Digest,
    pub(super) provenance: Provenance,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Signers {
    Keys(Vec<Sha256Digest>),
    Identity(BuilderIdentity),
}

impl Signed {
    /// Whether it depends on nothing but the policy: who an identity is depends on the time, too.
    pub(super) const fn lasts(&self) -> bool {
        matches!(self.signers, Signers::Keys(_))
    }
}
