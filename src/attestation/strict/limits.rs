//! How much a document may hold. Every limit can only be lowered from a preset.

/// Which numbers a document may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Numbers {
    /// Any number that a double holds finitely.
    Finite,
    /// Integers within plus or minus 2^53 - 1 only, and no minus zero: one value, one meaning for every reader.
    Integers,
}

/// Limits of the strict reader.
///
/// ```
/// use leasehold::attestation::strict::{self, Limits};
/// let flat = Limits::DOCUMENT.depth(1);
/// assert!(strict::check(b"{\"a\":1}", &flat).is_ok());
/// assert!(strict::check(b"{\"a\":[]}", &flat).is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub(super) bytes: usize,
    pub(super) depth: usize,
    pub(super) members: usize,
    pub(super) string: usize,
    pub(super) numbers: Numbers,
    pub(super) object: bool,
}

impl Limits {
    /// For JSON of any kind: 8 MiB, containers nested at most 127 deep, any type at the top.
    pub const GENERAL: Self = Self {
        bytes: 8 << 20,
        depth: 127,
        members: 8 << 20,
        string: 8 << 20,
        numbers: Numbers::Finite,
        object: false,
    };

    /// For envelopes, statements and documents of peers: an object of at most 64 KiB, 32 deep, 4096 members and
    /// elements in all.
    pub const DOCUMENT: Self = Self {
        bytes: 64 << 10,
        depth: 32,
        members: 4096,
        string: 64 << 10,
        numbers: Numbers::Finite,
        object: true,
    };

    /// For provenance, which its builders make as long as they like: an object of at most 4 MiB, 32 deep, 256 Ki members
    /// and elements in all. A policy says how much of that it takes.
    pub const PROVENANCE: Self = Self {
        bytes: 4 << 20,
        depth: 32,
        members: 256 << 10,
        string: 4 << 20,
        numbers: Numbers::Finite,
        object: true,
    };

    /// For policies of operators: an object of at most 4 MiB, 32 deep, 128 Ki members and elements, strings of
    /// at most 4 KiB, integers only.
    pub const POLICY: Self = Self {
        bytes: 4 << 20,
        depth: 32,
        members: 128 << 10,
        string: 4 << 10,
        numbers: Numbers::Integers,
        object: true,
    };

    /// For policies that list a million hosts: as [`Limits::POLICY`], with at most 512 MiB and 16 Mi members and elements.
    pub const LARGE_POLICY: Self = Self { bytes: 512 << 20, members: 16 << 20, ..Self::POLICY };

    /// At most `bytes` in the document; never more than before.
    #[must_use]
    pub const fn bytes(mut self, bytes: usize) -> Self {
        self.bytes = least(self.bytes, bytes);
        self
    }

    /// At most `depth` nested containers; never more than before.
    #[must_use]
    pub const fn depth(mut self, depth: usize) -> Self {
        self.depth = least(self.depth, depth);
        self
    }

    /// At most `members` members and elements in the whole document; never more than before.
    #[must_use]
    pub const fn members(mut self, members: usize) -> Self {
        self.members = least(self.members, members);
        self
    }

    /// At most `bytes` between the quotes of a string, as written; never more than before.
    #[must_use]
    pub const fn string(mut self, bytes: usize) -> Self {
        self.string = least(self.string, bytes);
        self
    }

    /// Only integers within plus or minus 2^53 - 1.
    #[must_use]
    pub const fn integers(mut self) -> Self {
        self.numbers = Numbers::Integers;
        self
    }

    /// Only an object at the top.
    #[must_use]
    pub const fn top_object(mut self) -> Self {
        self.object = true;
        self
    }

    /// The most bytes that a document may have.
    pub const fn max_bytes(&self) -> usize {
        self.bytes
    }

    /// The most containers that may be open at once.
    pub const fn max_depth(&self) -> usize {
        self.depth
    }
}

const fn least(a: usize, b: usize) -> usize {
    if a < b { a } else { b }
}
