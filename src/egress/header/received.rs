//! A header field as it was received.

use core::fmt;

/// One header field of a request, as it was received.
#[derive(Clone, Copy, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs)]
pub struct HeaderField<'a> {
    /// The name, in any case.
    pub name: &'a str,
    /// The value, without the blanks around it.
    pub value: &'a [u8],
}

/// Without the value: workers send tokens in some.
impl fmt::Debug for HeaderField<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ({} bytes)", self.name.escape_debug(), self.value.len())
    }
}
