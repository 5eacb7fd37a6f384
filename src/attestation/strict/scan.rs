//! The scanner: one loop over the bytes, an explicit stack, no recursion.

use alloc::{borrow::Cow, collections::BTreeSet, vec::Vec};

use super::{Limits, StrictError, StrictErrorKind as Kind, number};

/// Up to this many keys an object's keys are compared one by one; beyond, they go into a set.
const FEW_KEYS: usize = 16;

/// A key after unescaping.
type Key<'a> = Cow<'a, [u8]>;

enum Frame<'a> {
    Array,
    Object {
        /// Where this object's keys start in the list of keys; unused once `wide` holds them.
        from: usize,
        wide: Option<BTreeSet<Key<'a>>>,
    },
}

struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    limits: &'a Limits,
    members: usize,
    stack: Vec<Frame<'a>>,
    keys: Vec<Key<'a>>,
}

pub(super) fn run(bytes: &[u8], limits: &Limits) -> Result<(), StrictError> {
    if bytes.len() > limits.bytes {
        return Err(StrictError::new(Kind::TooLarge, limits.bytes));
    }
    if bytes.starts_with(b"\xef\xbb\xbf") {
        return Err(StrictError::new(Kind::ByteOrderMark, 0));
    }
    if let Err(error) = core::str::from_utf8(bytes) {
        return Err(StrictError::new(Kind::Utf8, error.valid_up_to()));
    }
    let mut scanner = Scanner { bytes, at: 0, limits, members: 0, stack: Vec::new(), keys: Vec::new() };
    scanner.document().map_err(|(kind, offset)| StrictError::new(kind, offset))
}

type Step<T = ()> = Result<T, (Kind, usize)>;

impl<'a> Scanner<'a> {
    fn document(&mut self) -> Step {
        self.space();
        if self.limits.object && self.peek().is_some_and(|byte| byte != b'{') {
            return self.refuse(Kind::NotAnObject);
        }
        loop {
            if self.begin_value()? {
                continue;
            }
            if self.after_value()? {
                return Ok(());
            }
        }
    }

    /// Reads a scalar, or opens a container. True where another value must follow.
    fn begin_value(&mut self) -> Step<bool> {
        self.space();
        match self.peek() {
            Some(b'{') => {
                self.open(Frame::Object { from: self.keys.len(), wide: None })?;
                self.space();
                if self.peek() == Some(b'}') {
                    return Ok(false);
                }
                self.key()?;
                Ok(true)
            }
            Some(b'[') => {
                self.open(Frame::Array)?;
                self.space();
                if self.peek() == Some(b']') {
                    return Ok(false);
                }
                self.count()?;
                Ok(true)
            }
            Some(b'"') => self.string().map(|_| false),
            Some(b'-' | b'0'..=b'9') => self.number().map(|()| false),
            Some(b't') => self.literal(b"true"),
            Some(b'f') => self.literal(b"false"),
            Some(b'n') => self.literal(b"null"),
            _ => self.refuse(Kind::Grammar),
        }
    }

    /// Closes what ends here. True at the end of the document, false where another value must follow.
    fn after_value(&mut self) -> Step<bool> {
        loop {
            self.space();
            let next = self.peek();
            match (self.stack.last(), next) {
                (None, None) => return Ok(true),
                (None, Some(_)) => return Err((Kind::Trailing, self.at)),
                (Some(Frame::Array), Some(b',')) => {
                    self.step();
                    self.count()?;
                    return Ok(false);
                }
                (Some(Frame::Object { .. }), Some(b',')) => {
                    self.step();
                    self.space();
                    self.key()?;
                    return Ok(false);
                }
                (Some(Frame::Array), Some(b']')) => {
                    self.step();
                    self.stack.pop();
                }
                (Some(Frame::Object { from, .. }), Some(b'}')) => {
                    let from = *from;
                    self.step();
                    self.keys.truncate(from);
                    self.stack.pop();
                }
                _ => return self.refuse(Kind::Grammar),
            }
        }
    }

    fn open(&mut self, frame: Frame<'a>) -> Step {
        if self.stack.len() >= self.limits.depth {
            return Err((Kind::TooDeep, self.at));
        }
        self.stack.push(frame);
        self.step();
        Ok(())
    }

    fn count(&mut self) -> Step {
        self.members = self.members.saturating_add(1);
        if self.members > self.limits.members { Err((Kind::TooManyMembers, self.at)) } else { Ok(()) }
    }

    fn key(&mut self) -> Step {
        self.count()?;
        let start = self.at;
        if self.peek() != Some(b'"') {
            return self.refuse(Kind::Grammar);
        }
        let (raw, escaped) = self.string()?;
        let key: Key<'a> = if escaped { Cow::Owned(unescape(raw)) } else { Cow::Borrowed(raw) };
        let Some(Frame::Object { from, wide }) = self.stack.last_mut() else {
            return Err((Kind::Grammar, start));
        };
        let fresh = if let Some(set) = wide {
            set.insert(key)
        } else {
            let held = self.keys.get(*from..).unwrap_or_default();
            if held.contains(&key) {
                false
            } else if held.len() < FEW_KEYS {
                self.keys.push(key);
                true
            } else {
                let mut set: BTreeSet<Key<'a>> = self.keys.drain(*from..).collect();
                let fresh = set.insert(key);
                *wide = Some(set);
                fresh
            }
        };
        if !fresh {
            return Err((Kind::DuplicateKey, start));
        }
        self.space();
        if self.peek() != Some(b':') {
            return self.refuse(Kind::Grammar);
        }
        self.step();
        Ok(())
    }

    /// Reads a string. Gives what stands between its quotes, and whether that holds escapes.
    fn string(&mut self) -> Step<(&'a [u8], bool)> {
        let start = self.at.saturating_add(1);
        self.at = start;
        let mut escaped = false;
        loop {
            self.plain_run();
            match self.peek() {
                Some(b'"') => {
                    let raw = self.bytes.get(start..self.at).unwrap_or_default();
                    if raw.len() > self.limits.string {
                        return Err((Kind::StringTooLong, start.saturating_add(self.limits.string)));
                    }
                    self.step();
                    return Ok((raw, escaped));
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(_) => return Err((Kind::Control, self.at)),
                None => return Err((Kind::Truncated, self.at)),
            }
        }
    }

    /// Moves to the next quote, backslash or control character; eight bytes at a time where it can.
    fn plain_run(&mut self) {
        const ONES: u64 = 0x0101_0101_0101_0101;
        const HIGH: u64 = 0x8080_8080_8080_8080;
        let zero_byte = |word: u64| word.wrapping_sub(ONES) & !word & HIGH;
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let (words, _) = rest.as_chunks::<8>();
        let plain = words.iter().take_while(|chunk| {
            let word = u64::from_ne_bytes(**chunk);
            let control = word.wrapping_sub(ONES.wrapping_mul(0x20)) & !word & HIGH;
            let quote = zero_byte(word ^ ONES.wrapping_mul(0x22));
            let backslash = zero_byte(word ^ ONES.wrapping_mul(0x5c));
            control | quote | backslash == 0
        });
        let skipped = plain.count().saturating_mul(8);
        let tail = rest.get(skipped..).unwrap_or_default();
        let more = tail.iter().take_while(|byte| **byte >= 0x20 && **byte != b'"' && **byte != b'\\').count();
        self.at = self.at.saturating_add(skipped).saturating_add(more);
    }

    fn escape(&mut self) -> Step {
        let start = self.at;
        self.step();
        match self.next() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(()),
            Some(b'u') => match self.hex4(start)? {
                0xd800..=0xdbff => {
                    if (self.next(), self.next()) != (Some(b'\\'), Some(b'u')) {
                        return Err((Kind::LoneSurrogate, start));
                    }
                    match self.hex4(start)? {
                        0xdc00..=0xdfff => Ok(()),
                        _ => Err((Kind::LoneSurrogate, start)),
                    }
                }
                0xdc00..=0xdfff => Err((Kind::LoneSurrogate, start)),
                _ => Ok(()),
            },
            Some(_) => Err((Kind::Escape, start)),
            None => Err((Kind::Truncated, self.bytes.len())),
        }
    }

    fn hex4(&mut self, escape: usize) -> Step<u32> {
        let mut unit = 0u32;
        for _ in 0..4 {
            let byte = self.next().ok_or((Kind::Truncated, self.bytes.len()))?;
            let digit = char::from(byte).to_digit(16).ok_or((Kind::Escape, escape))?;
            unit = unit << 4 | digit;
        }
        Ok(unit)
    }

    fn number(&mut self) -> Step {
        let start = self.at;
        let negative = self.peek() == Some(b'-');
        if negative {
            self.step();
        }
        let integer = self.digits()?;
        if integer.len() > 1 && integer.first() == Some(&b'0') {
            return Err((Kind::Grammar, start));
        }
        let mut fraction: &[u8] = &[];
        if self.peek() == Some(b'.') {
            self.step();
            fraction = self.digits()?;
        }
        let mut exponent: &[u8] = &[];
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.step();
            let from = self.at;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.step();
            }
            self.digits()?;
            exponent = self.bytes.get(from..self.at).unwrap_or_default();
        }
        number::judge(self.limits.numbers, negative, integer, fraction, exponent)
            .map_err(|kind| (kind, start))
    }

    /// One digit or more.
    fn digits(&mut self) -> Step<&'a [u8]> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let length = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at = self.at.saturating_add(length);
        if length == 0 {
            return self.refuse(Kind::Grammar);
        }
        Ok(rest.get(..length).unwrap_or_default())
    }

    fn literal(&mut self, word: &[u8]) -> Step<bool> {
        for expected in word {
            if self.peek() != Some(*expected) {
                return self.refuse(Kind::Grammar);
            }
            self.step();
        }
        Ok(false)
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.step();
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.step();
        Some(byte)
    }

    fn step(&mut self) {
        self.at = self.at.saturating_add(1);
    }

    /// Refuses the byte here; at the end of the input every such refusal is that the document ends early.
    fn refuse<T>(&self, kind: Kind) -> Step<T> {
        Err((if self.at >= self.bytes.len() { Kind::Truncated } else { kind }, self.at))
    }
}

/// The bytes that a checked string stands for.
fn unescape(raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        let Some((&which, tail)) = rest.split_first() else { break };
        rest = tail;
        match which {
            b'b' => out.push(8),
            b'f' => out.push(12),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'u' => {
                let mut scalar = take_unit(&mut rest);
                if (0xd800..0xdc00).contains(&scalar) {
                    rest = rest.get(2..).unwrap_or_default();
                    let low = take_unit(&mut rest);
                    scalar = 0x10000u32.saturating_add((scalar & 0x3ff) << 10 | low & 0x3ff);
                }
                let mut utf8 = [0; 4];
                let text =
                    char::from_u32(scalar).unwrap_or(char::REPLACEMENT_CHARACTER).encode_utf8(&mut utf8);
                out.extend_from_slice(text.as_bytes());
            }
            other => out.push(other),
        }
    }
    out
}

fn take_unit(rest: &mut &[u8]) -> u32 {
    let (digits, tail) = rest.split_at_checked(4).unwrap_or((rest, &[]));
    *rest = tail;
    digits.iter().fold(0, |unit, digit| unit << 4 | char::from(*digit).to_digit(16).unwrap_or(0))
}
