//! What a code is, and how codes are declared.

use core::fmt;

use serde::{Serialize, Serializer};

/// A stable, machine-readable name of an outcome, such as `lease.stale_fence`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code(pub(super) &'static str);

impl Code {
    /// The code's text.
    pub const fn as_str(self) -> &'static str {
        self.0
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
pub(super) use codes;
