//! Every stable code of this crate. A code never changes its meaning and is never reused.
//!
//! Codes are grouped by the part that gives them; [`all`] lists them with their meanings. Match on the error
//! enums in Rust; use codes across processes, in logs and in tests.

use core::fmt;

use serde::{Serialize, Serializer};

mod attestation;
mod dispatch;
mod egress;
mod fleet;
mod identity;
mod placement;
mod protocol;

pub use self::{attestation::*, dispatch::*, egress::*, fleet::*, identity::*, placement::*, protocol::*};

/// A stable, machine-readable name of an outcome, such as `lease.stale_fence`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code(&'static str);

impl Code {
    /// The code's text.
    pub const fn as_str(self) -> &'static str {
        self.0
    }

    /// The code with this text, where there is one. Cost: linear in the number of codes; for reading documents.
    pub fn parse(text: &str) -> Option<Self> {
        all().find(|entry| entry.code.0 == text).map(|entry| entry.code)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0)
    }
}

/// What every refusal of this crate can say about itself.
pub trait Coded: fmt::Display {
    /// The stable code of this outcome.
    fn code(&self) -> Code;
}

/// A code and what it means.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct CodeEntry {
    /// The code.
    pub code: Code,
    /// Its meaning, one sentence.
    pub meaning: &'static str,
}

/// Declares codes: a constant each, and the table that [`all`] reads.
macro_rules! codes {
    ($table:ident: $($name:ident = $text:literal, $meaning:literal;)*) => {
        $(#[doc = concat!("`", $text, "`: ", $meaning)] pub const $name: $crate::code::Code = $crate::code::Code($text);)*
        pub(super) const $table: &[$crate::code::CodeEntry] =
            &[$($crate::code::CodeEntry { code: $name, meaning: $meaning }),*];
    };
}
use codes;

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
