//! Why bytes are not strict JSON: a kind and an offset, never the content.

use crate::code::{self, Code, Coded};

/// What is wrong with a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum StrictErrorKind {
    /// The document is over the byte limit.
    TooLarge,
    /// The document starts with a byte order mark.
    ByteOrderMark,
    /// The document is not UTF-8.
    Utf8,
    /// A byte that the grammar does not allow here.
    Grammar,
    /// The document ends inside its value, or is empty.
    Truncated,
    /// Bytes follow the value.
    Trailing,
    /// An unescaped control character in a string.
    Control,
    /// An escape that JSON does not have.
    Escape,
    /// Half of a surrogate pair.
    LoneSurrogate,
    /// The same key twice in one object, after unescaping.
    DuplicateKey,
    /// A number that a double cannot hold finitely.
    NumberRange,
    /// A number that is not an integer within plus or minus 2^53 - 1, or is minus zero, where only such are taken.
    NumberInteger,
    /// Containers nested too deep.
    TooDeep,
    /// Too many members and elements in the whole document.
    TooManyMembers,
    /// A string over the limit.
    StringTooLong,
    /// The value at the top is not an object where one is due.
    NotAnObject,
    /// Strict JSON that does not have the shape its reader asks for.
    Shape,
}

/// Where and why a document was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} at byte {offset}", self.kind.text())]
#[non_exhaustive]
pub struct StrictError {
    /// What is wrong.
    pub kind: StrictErrorKind,
    /// The offset of the byte that showed it, from 0; the length of the input where the input ended.
    pub offset: usize,
}

impl StrictError {
    pub(super) const fn new(kind: StrictErrorKind, offset: usize) -> Self {
        Self { kind, offset }
    }
}

impl StrictErrorKind {
    const fn text(self) -> &'static str {
        match self {
            Self::TooLarge => "the document is too large",
            Self::ByteOrderMark => "a byte order mark",
            Self::Utf8 => "not UTF-8",
            Self::Grammar => "not JSON",
            Self::Truncated => "the document ends early",
            Self::Trailing => "bytes after the value",
            Self::Control => "a control character in a string",
            Self::Escape => "no such escape",
            Self::LoneSurrogate => "half of a surrogate pair",
            Self::DuplicateKey => "the same key again",
            Self::NumberRange => "a number beyond a double",
            Self::NumberInteger => "not an integer within 2^53 - 1",
            Self::TooDeep => "nested too deep",
            Self::TooManyMembers => "too many members",
            Self::StringTooLong => "a string is too long",
            Self::NotAnObject => "not an object",
            Self::Shape => "not the shape that is due",
        }
    }
}

impl core::fmt::Display for StrictErrorKind {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.text())
    }
}

impl Coded for StrictError {
    fn code(&self) -> Code {
        match self.kind {
            StrictErrorKind::TooLarge => code::JSON_TOO_LARGE,
            StrictErrorKind::ByteOrderMark => code::JSON_BYTE_ORDER_MARK,
            StrictErrorKind::Utf8 => code::JSON_UTF8,
            StrictErrorKind::Grammar => code::JSON_GRAMMAR,
            StrictErrorKind::Truncated => code::JSON_TRUNCATED,
            StrictErrorKind::Trailing => code::JSON_TRAILING,
            StrictErrorKind::Control => code::JSON_CONTROL,
            StrictErrorKind::Escape => code::JSON_ESCAPE,
            StrictErrorKind::LoneSurrogate => code::JSON_LONE_SURROGATE,
            StrictErrorKind::DuplicateKey => code::JSON_DUPLICATE_KEY,
            StrictErrorKind::NumberRange => code::JSON_NUMBER_RANGE,
            StrictErrorKind::NumberInteger => code::JSON_NUMBER_INTEGER,
            StrictErrorKind::TooDeep => code::JSON_TOO_DEEP,
            StrictErrorKind::TooManyMembers => code::JSON_TOO_MANY_MEMBERS,
            StrictErrorKind::StringTooLong => code::JSON_STRING_TOO_LONG,
            StrictErrorKind::NotAnObject => code::JSON_NOT_AN_OBJECT,
            StrictErrorKind::Shape => code::JSON_SHAPE,
        }
    }
}
