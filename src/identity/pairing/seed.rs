//! What the secrets of enrolment keys follow from.

use core::fmt;

use zeroize::Zeroizing;

/// 32 random bytes that the host keeps over restarts, and shows nobody: what the secrets of enrolment keys follow from.
/// Nothing else has to be kept for a key that is good for days; whoever has the seed has every key.
pub struct EnrolmentSeed(Zeroizing<[u8; 32]>);

impl EnrolmentSeed {
    /// The seed.
    pub fn new(seed: [u8; 32]) -> Self {
        Self(Zeroizing::new(seed))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &*self.0
    }
}

impl fmt::Debug for EnrolmentSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EnrolmentSeed(..)")
    }
}
