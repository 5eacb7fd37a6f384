//! Every stable code of this crate. A code never changes its meaning and is never reused.
//!
//! Codes are grouped by the part that gives them; [`all`] lists them with their meanings. Match on the error
//! enums in Rust; use codes across processes, in logs and in tests.

mod attestation;
mod dispatch;
mod egress;
mod entry;
mod fleet;
mod identity;
mod placement;
mod protocol;
mod remedy;

use self::entry::codes;
pub use self::{attestation::*, dispatch::*, egress::*, fleet::*, identity::*, placement::*, protocol::*};
pub use self::{
    entry::{Code, CodeEntry, Coded},
    remedy::{page, remedy},
};

impl Code {
    /// The code with this text, where there is one. Cost: linear in the number of codes; for reading documents.
    pub fn parse(text: &str) -> Option<Self> {
        all().find(|entry| entry.code.0 == text).map(|entry| entry.code)
    }
}

codes! { CORE:
    ID_MALFORMED = "id.malformed", "an id is empty, too long, or outside the id grammar";
    DIGEST_MALFORMED = "digest.malformed", "a digest is not exactly 64 lowercase hex digits";
    CAPABILITY_TOO_MANY = "capability.too_many", "a capability set is over its bound";
}

/// Every code with its meaning, group by group.
pub fn all() -> impl Iterator<Item = CodeEntry> {
    [
        CORE,
        fleet::FLEET,
        attestation::ATTESTATION,
        egress::EGRESS,
        identity::IDENTITY,
        dispatch::DISPATCH,
        placement::PLACEMENT,
        protocol::PROTOCOL,
    ]
    .into_iter()
    .flatten()
    .copied()
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;

    use super::*;

    #[test]
    fn codes_are_unique_and_well_formed() {
        let mut seen = BTreeSet::new();
        for entry in all() {
            let text = entry.code.as_str();
            assert!(seen.insert(text), "{text} is declared twice");
            assert!(text.contains('.'), "{text} has no group");
            assert!(
                text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._".contains(&b)),
                "{text}"
            );
            assert!(!entry.meaning.is_empty());
        }
    }
}
