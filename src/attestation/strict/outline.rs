//! Where the parts of a checked document are: one token per value and key, written down by the scan itself. Readers of
//! our own formats take their members from here, so that untrusted bytes are gone through once and nothing is copied.

use alloc::{borrow::Cow, vec::Vec};

use super::{Limits, StrictError, StrictErrorKind, scan, unescape::unescape};

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

#[derive(Clone, Copy)]
struct Token {
    kind: Kind,
    start: u32,
    /// Where a scalar ends; for a container, the token after everything that is in it.
    end: u32,
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

/// A document is at most 8 MiB long, by the limits.
fn narrow(offset: usize) -> u32 {
    u32::try_from(offset).unwrap_or(u32::MAX)
}

fn wide(offset: u32) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

struct Tokens(Vec<Token>);

impl Sink for Tokens {
    fn scalar(&mut self, kind: Kind, start: usize, end: usize) {
        self.0.push(Token { kind, start: narrow(start), end: narrow(end) });
    }

    fn open(&mut self, kind: Kind, start: usize) -> usize {
        let at = self.0.len();
        self.scalar(kind, start, start);
        at
    }

    fn close(&mut self, opened: usize) {
        let next = narrow(self.0.len());
        if let Some(token) = self.0.get_mut(opened) {
            token.end = next;
        }
    }
}

/// A statement without extensions has about so many, in one kilobyte.
const FEW_TOKENS: usize = 84;

/// A document that the scanner accepted, with its places.
pub(crate) struct Outline<'a> {
    text: &'a str,
    tokens: Vec<Token>,
}

impl<'a> Outline<'a> {
    /// Checks `bytes` as [`check`](super::check) does; an object stands at the top.
    pub(crate) fn read(bytes: &'a [u8], limits: &Limits) -> Result<Self, StrictError> {
        let mut tokens = Tokens(Vec::with_capacity(FEW_TOKENS));
        let text = scan::run(bytes, &limits.top_object(), &mut tokens)?;
        Ok(Self { text, tokens: tokens.0 })
    }

    /// The value at the top.
    pub(crate) fn top(&self) -> Node<'_> {
        Node { text: self.text, tokens: &self.tokens, at: 0 }
    }
}

/// A value in a checked document.
#[derive(Clone, Copy)]
pub(crate) struct Node<'d> {
    text: &'d str,
    tokens: &'d [Token],
    at: usize,
}

impl<'d> Node<'d> {
    fn token(self) -> Option<Token> {
        self.tokens.get(self.at).copied()
    }

    fn raw(self, token: Token) -> &'d str {
        self.text.get(wide(token.start)..wide(token.end)).unwrap_or_default()
    }

    /// That this value, or what is missing in it, is not what its reader asks for.
    pub(crate) fn shape(self) -> StrictError {
        StrictError::new(StrictErrorKind::Shape, self.token().map_or(0, |token| wide(token.start)))
    }

    pub(crate) fn is_null(self) -> bool {
        self.token().is_some_and(|token| token.kind == Kind::Null)
    }

    pub(crate) fn is_object(self) -> bool {
        self.token().is_some_and(|token| token.kind == Kind::Object)
    }

    /// The string that stands here.
    pub(crate) fn text(self) -> Result<Cow<'d, str>, StrictError> {
        match self.token() {
            Some(token @ Token { kind: Kind::Text { escaped }, .. }) => {
                let raw = self.raw(token);
                Ok(if escaped { Cow::Owned(unescape(raw)) } else { Cow::Borrowed(raw) })
            }
            _ => Err(self.shape()),
        }
    }

    /// The number that stands here, written as an integer that 64 bits hold.
    pub(crate) fn integer(self) -> Result<u64, StrictError> {
        let token = self.token().filter(|token| token.kind == Kind::Number).ok_or(self.shape())?;
        // The scanner took no sign but a minus, and that does not parse.
        self.raw(token).parse().map_err(|_| self.shape())
    }

    /// As [`Self::integer`], in 32 bits.
    pub(crate) fn short(self) -> Result<u32, StrictError> {
        u32::try_from(self.integer()?).map_err(|_| self.shape())
    }

    /// The members of the object that stands here, in its order.
    pub(crate) fn members(self) -> Result<impl Iterator<Item = (Cow<'d, str>, Node<'d>)>, StrictError> {
        let mut keys = self.within(Kind::Object)?;
        Ok(core::iter::from_fn(move || {
            let key = keys.next()?;
            let value = keys.next()?;
            Some((key.text().ok()?, value))
        }))
    }

    /// The elements of the array that stands here.
    pub(crate) fn elements(self) -> Result<impl Iterator<Item = Self>, StrictError> {
        self.within(Kind::Array)
    }

    /// The tokens right below this one.
    fn within(self, kind: Kind) -> Result<impl Iterator<Item = Self>, StrictError> {
        let container = self.token().filter(|token| token.kind == kind).ok_or(self.shape())?;
        let mut at = self.at.saturating_add(1);
        Ok(core::iter::from_fn(move || {
            let node = Node { at, ..self };
            let token = node.token().filter(|_| at < wide(container.end))?;
            at = match token.kind {
                Kind::Object | Kind::Array => wide(token.end),
                _ => at.saturating_add(1),
            };
            Some(node)
        }))
    }
}
