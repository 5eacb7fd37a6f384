//! What an envelope may cost, and how large its parts may be.

use crate::attestation::strict::Limits;

/// The most signatures of one envelope.
pub const MAX_SIGNATURES: usize = 16;

/// The longest payload type, in bytes.
pub const MAX_PAYLOAD_TYPE_BYTES: usize = 256;

/// What an envelope may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EnvelopeLimits {
    json: Limits,
    pub(super) signatures: usize,
    pub(super) verifications: usize,
}

impl EnvelopeLimits {
    /// 64 KiB, [`MAX_SIGNATURES`] signatures, 256 verifications.
    pub const DEFAULT: Self = Self { json: Limits::DOCUMENT, signatures: MAX_SIGNATURES, verifications: 256 };

    /// The most verifications for signatures that carry a key id.
    const NAMED: usize = 128;

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

    /// At most `count` signature checks, for one envelope or for a whole submission; never more than before. At most
    /// 128 of them are spent on signatures that carry a key id.
    ///
    /// Pairs of a signature and a key that carry the same key id come first, then the signatures without a key id, then
    /// those whose key id led nowhere, each with the rest of the keys. With the default, two signatures need no key id
    /// even where a policy has [`MAX_POLICY_KEYS`](crate::attestation::policy::MAX_POLICY_KEYS) keys. Where the checks
    /// are spent and too few signers were found, the code is `dsse.verifications`.
    #[must_use]
    pub const fn verifications(mut self, count: usize) -> Self {
        if count < self.verifications {
            self.verifications = count;
        }
        self
    }

    pub(super) const fn named_verifications(&self) -> usize {
        if self.verifications < Self::NAMED { self.verifications } else { Self::NAMED }
    }

    /// For provenance: as many signatures as these limits admit, and documents of up to `bytes`. What stands around an
    /// envelope, and in it, is nested deeper than evidence.
    pub(crate) const fn for_provenance(mut self, bytes: usize) -> Self {
        self.json = Limits::PROVENANCE.bytes(bytes);
        self
    }

    /// What the reader of the envelope's own JSON obeys.
    pub(crate) const fn json(&self) -> &Limits {
        &self.json
    }
}
