//! Constants that folding depends on.

use serde::{Deserialize, Serialize};

/// The constants that a coordinator's build decides with. Every build folds with the constants of the epoch,
/// so a journal and all its replicas give the same state whichever build reads them. The first record of each
/// epoch names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Folding {
    /// How many entries of each collection one operation forgets at most, among those that have expired. The
    /// number is larger than what an operation can add, so expired entries do not pile up, and small, so no
    /// operation pays for what an idle hour has left behind.
    pub forgotten: u32,
}

impl Folding {
    /// What the first stored form was folded with. That form does not name it.
    pub(crate) const V1: Self = Self { forgotten: 8 };

    /// What this build decides with.
    pub(crate) const OWN: Self = Self { forgotten: 8 };

    pub(crate) fn forgotten(self) -> usize {
        usize::try_from(self.forgotten).unwrap_or(usize::MAX)
    }
}
