//! What the scan tells of a document, and to whom.

/// What stands at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Object,
    Array,
    /// A string, or a key; its range is what stands between the quotes.
    Text {
        escaped: bool,
    },
    Number,
    Bool,
    Null,
}

/// Who hears of the values as the scan passes them.
pub(super) trait Sink {
    /// A string, a number or a literal.
    fn scalar(&mut self, kind: Kind, start: usize, end: usize);
    /// A container begins. Gives what [`Self::close`] wants to know.
    fn open(&mut self, kind: Kind, start: usize) -> usize;
    /// A container ends.
    fn close(&mut self, opened: usize);
}

/// Nobody.
impl Sink for () {
    fn scalar(&mut self, _: Kind, _: usize, _: usize) {}

    fn open(&mut self, _: Kind, _: usize) -> usize {
        0
    }

    fn close(&mut self, _: usize) {}
}
