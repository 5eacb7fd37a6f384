//! Where the parts of a checked document are: one token per value and key, written down by the scan itself. Readers of
//! our own formats take their members from here, so that untrusted bytes are gone through once and nothing is copied.

use alloc::{borrow::Cow, vec::Vec};

use super::{
    Limits, StrictError, StrictErrorKind, scan,
    sink::{Kind, Sink},
    unescape::unescape,
};

#[derive(Clone, Copy)]
struct Token {
    kind: Kind,
    start: u32,
    /// Where a scalar ends; for a container, the token after everything that is in it.
    end: u32,
}

/// A document is at most 8 MiB long, by the limits.
fn narrow(offset: usize) -> u32 {
    u32::try_from(offset).unwrap_or(u32::MAX)
}

fn wide(offset: u32) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

struct Tokens {
    list: Vec<Token>,
    /// How long the document is, and how many tokens the limits let it have.
    bytes: usize,
    most: usize,
}

impl Tokens {
    /// Makes room for as many tokens as the rest of the document has, if it goes on as it began: a long document is
    /// written down in one or two allocations.
    #[cold]
    fn grow(&mut self, at: usize) {
        let held = self.list.len();
        let rest = self.bytes.saturating_sub(at);
        let more = held.saturating_mul(rest).checked_div(at).unwrap_or(0);
        // By half at least, so that a document which becomes denser is copied a bounded number of times.
        let more = more.saturating_add(more / 16).max(held / 2).saturating_add(FEW_TOKENS);
        self.list.reserve_exact(more.min(self.most.saturating_sub(held)).max(1));
    }
}

impl Sink for Tokens {
    fn scalar(&mut self, kind: Kind, start: usize, end: usize) {
        if self.list.len() == self.list.capacity() {
            self.grow(start);
        }
        self.list.push(Token { kind, start: narrow(start), end: narrow(end) });
    }

    fn open(&mut self, kind: Kind, start: usize) -> usize {
        let at = self.list.len();
        self.scalar(kind, start, start);
        at
    }

    fn close(&mut self, opened: usize) {
        let next = narrow(self.list.len());
        if let Some(token) = self.list.get_mut(opened) {
            token.end = next;
        }
    }
}

/// 2^53: up to here every whole number is a double.
const LAST_EXACT: u64 = 1 << 53;

/// A whole number that the scanner accepted as a number, with or without `.0` behind it.
fn whole(text: &str) -> Option<u64> {
    // The scanner took no sign but a minus, and that does not parse.
    let Some((integer, fraction)) = text.split_once('.') else { return text.parse().ok() };
    let zeros = fraction.bytes().all(|digit| digit == b'0');
    integer.parse().ok().filter(|value| zeros && *value <= LAST_EXACT)
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
        // A member is a key and a value.
        let most = limits.members.saturating_mul(2).saturating_add(1);
        let mut tokens = Tokens { list: Vec::with_capacity(FEW_TOKENS), bytes: bytes.len(), most };
        let text = scan::run(bytes, &limits.top_object(), &mut tokens)?;
        Ok(Self { text, tokens: tokens.list })
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

    /// The whole number that stands here, in 64 bits.
    ///
    /// A writer that knows doubles alone, such as protobuf's `Struct`, puts `.0` behind it: taken up to 2^53, where every
    /// double is the number that was meant.
    pub(crate) fn integer(self) -> Result<u64, StrictError> {
        let token = self.token().filter(|token| token.kind == Kind::Number).ok_or(self.shape())?;
        whole(self.raw(token)).ok_or(self.shape())
    }

    /// As [`Self::integer`], in 32 bits.
    pub(crate) fn short(self) -> Result<u32, StrictError> {
        u32::try_from(self.integer()?).map_err(|_| self.shape())
    }

    /// What stands here, where it is no container: the text of a string, any other value as it is written.
    pub(crate) fn scalar(self) -> Option<Cow<'d, str>> {
        let token = self.token()?;
        match token.kind {
            Kind::Object | Kind::Array => None,
            Kind::Text { .. } => self.text().ok(),
            Kind::Number | Kind::Bool | Kind::Null => Some(Cow::Borrowed(self.raw(token))),
        }
    }

    /// The value of the member `name` of the object that stands here. `None` where there is no such member, or no object.
    pub(crate) fn member(self, name: &str) -> Option<Self> {
        self.members().ok()?.find(|(held, _)| held == name).map(|(_, value)| value)
    }

    /// The string that the member `name` of the object that stands here holds.
    pub(crate) fn member_text(self, name: &str) -> Option<Cow<'d, str>> {
        self.member(name)?.text().ok()
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

    /// The members of the object that stands here, with the places of their keys.
    #[cfg(feature = "std")]
    pub(crate) fn places(self) -> Result<impl Iterator<Item = (Node<'d>, Node<'d>)>, StrictError> {
        let mut keys = self.within(Kind::Object)?;
        Ok(core::iter::from_fn(move || Some((keys.next()?, keys.next()?))))
    }

    /// Where a scalar or key is written, the quotes of a text included; of a container, where it begins.
    #[cfg(feature = "std")]
    pub(crate) fn written(self) -> core::ops::Range<usize> {
        match self.token() {
            Some(Token { kind: Kind::Text { .. }, start, end }) => {
                wide(start).saturating_sub(1)..wide(end).saturating_add(1)
            }
            Some(Token { kind: Kind::Object | Kind::Array, start, .. }) => wide(start)..wide(start),
            Some(Token { start, end, .. }) => wide(start)..wide(end),
            None => 0..0,
        }
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

#[cfg(test)]
mod tests {
    use alloc::{format, string::String, vec::Vec};

    use super::*;

    /// How many bytes were asked for in all to write the places of `text` down: room that was too small is asked for again.
    fn asked(text: &str) -> usize {
        struct Asked(Tokens, usize);
        impl Asked {
            fn note(&mut self, before: usize) {
                let after = self.0.list.capacity();
                self.1 += if after == before { 0 } else { after * size_of::<Token>() };
            }
        }
        impl Sink for Asked {
            fn scalar(&mut self, kind: Kind, start: usize, end: usize) {
                let before = self.0.list.capacity();
                self.0.scalar(kind, start, end);
                self.note(before);
            }

            fn open(&mut self, kind: Kind, start: usize) -> usize {
                let before = self.0.list.capacity();
                let at = self.0.open(kind, start);
                self.note(before);
                at
            }

            fn close(&mut self, opened: usize) {
                self.0.close(opened);
            }
        }
        let limits = Limits::PROVENANCE;
        let list = Vec::with_capacity(FEW_TOKENS);
        let first = list.capacity() * size_of::<Token>();
        let tokens = Tokens { list, bytes: text.len(), most: limits.members * 2 + 1 };
        let mut sink = Asked(tokens, first);
        scan::run(text.as_bytes(), &limits, &mut sink).unwrap();
        sink.1
    }

    /// Invariant 11: the places of a megabyte of provenance take less than the megabyte, and a document that becomes denser
    /// the further it goes takes a few times what its places need.
    #[test]
    fn places_take_less_than_what_they_are_in() {
        let one = |n: usize| {
            format!(
                r#"{{"uri":"git+https://git.example/acme/{n:05}","digest":{{"gitCommit":"{}"}}}}"#,
                "a".repeat(40)
            )
        };
        let list: Vec<String> = (0..9_500).map(one).collect();
        let provenance = format!(r#"{{"predicate":{{"resolvedDependencies":[{}]}}}}"#, list.join(","));
        assert!(provenance.len() > 1 << 20, "{}", provenance.len());
        let asked_for = asked(&provenance);
        assert!(asked_for <= provenance.len(), "{asked_for} for {}", provenance.len());
        let denser = format!(r#"{{"long":"{}","dense":[{}0]}}"#, "x".repeat(1 << 19), "0,".repeat(1 << 17));
        let tokens = (1 << 17) + 6;
        assert!(asked(&denser) <= 5 * tokens * size_of::<Token>(), "{}", asked(&denser));
    }

    /// A whole number is written without a point, or with zeros alone behind it up to 2^53.
    #[test]
    fn whole_numbers() {
        for (text, want) in [
            ("0", Some(0)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("1763999999000.0", Some(1_763_999_999_000)),
            ("9007199254740992.0", Some(1 << 53)),
            ("9007199254740993.0", None),
            ("1.5", None),
            ("1.0e0", None),
            ("1e3", None),
            ("-1", None),
            ("-0.0", None),
        ] {
            assert_eq!(whole(text), want, "{text}");
        }
    }
}
