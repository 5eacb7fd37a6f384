//! The scanner: one loop over the bytes, an explicit stack, no recursion.

use alloc::{borrow::Cow, vec::Vec};

use super::{
    Limits, StrictError, StrictErrorKind as Kind,
    keys::{Keys, ObjectKeys},
    number,
    sink::{Kind as Value, Sink},
    unescape::unescape,
};

/// An open container.
struct Frame<'a> {
    /// What the sink wants to know when it closes.
    opened: usize,
    /// `None` for an array.
    keys: Option<ObjectKeys<'a>>,
}

struct Scanner<'a, 's, S> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    limits: &'s Limits,
    members: usize,
    stack: Vec<Frame<'a>>,
    keys: Keys<'a>,
    sink: &'s mut S,
}

/// Checks `bytes`, tells `sink` what is where, and gives them as text.
pub(super) fn run<'a, S: Sink>(
    bytes: &'a [u8],
    limits: &Limits,
    sink: &mut S,
) -> Result<&'a str, StrictError> {
    if bytes.len() > limits.bytes {
        return Err(StrictError::new(Kind::TooLarge, limits.bytes));
    }
    if bytes.starts_with(b"\xef\xbb\xbf") {
        return Err(StrictError::new(Kind::ByteOrderMark, 0));
    }
    let text =
        core::str::from_utf8(bytes).map_err(|error| StrictError::new(Kind::Utf8, error.valid_up_to()))?;
    let (stack, keys) = (Vec::with_capacity(8), Keys::new());
    let mut scanner = Scanner { text, bytes, at: 0, limits, members: 0, stack, keys, sink };
    scanner.document().map_err(|(kind, offset)| StrictError::new(kind, offset))?;
    Ok(text)
}

type Step<T = ()> = Result<T, (Kind, usize)>;

impl<'a, S: Sink> Scanner<'a, '_, S> {
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
                let keys = self.keys.open();
                self.open(Value::Object, Some(keys))?;
                self.space();
                if self.peek() == Some(b'}') {
                    return Ok(false);
                }
                self.key()?;
                Ok(true)
            }
            Some(b'[') => {
                self.open(Value::Array, None)?;
                self.space();
                if self.peek() == Some(b']') {
                    return Ok(false);
                }
                self.count()?;
                Ok(true)
            }
            Some(b'"') => self.string().map(|_| false),
            Some(b'-' | b'0'..=b'9') => self.number().map(|()| false),
            Some(b't') => self.literal(b"true", Value::Bool),
            Some(b'f') => self.literal(b"false", Value::Bool),
            Some(b'n') => self.literal(b"null", Value::Null),
            _ => self.refuse(Kind::Grammar),
        }
    }

    /// Closes what ends here. True at the end of the document, false where another value must follow.
    fn after_value(&mut self) -> Step<bool> {
        loop {
            self.space();
            let next = self.peek();
            let Some(frame) = self.stack.last() else {
                return if next.is_none() { Ok(true) } else { Err((Kind::Trailing, self.at)) };
            };
            match (frame.keys.is_some(), next) {
                (false, Some(b',')) => {
                    self.step();
                    self.count()?;
                    return Ok(false);
                }
                (true, Some(b',')) => {
                    self.step();
                    self.space();
                    self.key()?;
                    return Ok(false);
                }
                (false, Some(b']')) | (true, Some(b'}')) => self.close(),
                _ => return self.refuse(Kind::Grammar),
            }
        }
    }

    fn open(&mut self, kind: Value, keys: Option<ObjectKeys<'a>>) -> Step {
        if self.stack.len() >= self.limits.depth {
            return Err((Kind::TooDeep, self.at));
        }
        let opened = self.sink.open(kind, self.at);
        self.stack.push(Frame { opened, keys });
        self.step();
        Ok(())
    }

    fn close(&mut self) {
        self.step();
        if let Some(frame) = self.stack.pop() {
            self.sink.close(frame.opened);
            if let Some(keys) = &frame.keys {
                self.keys.close(keys);
            }
        }
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
        let escaped = self.string()?;
        let raw = self.text.get(start.saturating_add(1)..self.at.saturating_sub(1)).unwrap_or_default();
        let key =
            if escaped { Cow::Owned(unescape(raw).into_bytes()) } else { Cow::Borrowed(raw.as_bytes()) };
        let frame = self.stack.last_mut().and_then(|frame| frame.keys.as_mut());
        let fresh = frame.is_some_and(|frame| self.keys.insert(frame, key));
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

    /// Reads a string. Gives whether it holds escapes.
    fn string(&mut self) -> Step<bool> {
        let start = self.at.saturating_add(1);
        self.at = start;
        let mut escaped = false;
        loop {
            self.plain_run();
            match self.peek() {
                Some(b'"') => {
                    if self.at.saturating_sub(start) > self.limits.string {
                        return Err((Kind::StringTooLong, start.saturating_add(self.limits.string)));
                    }
                    self.sink.scalar(Value::Text { escaped }, start, self.at);
                    self.step();
                    return Ok(escaped);
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

    /// Moves to the next quote, backslash or control character.
    fn plain_run(&mut self) {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        self.at = self.at.saturating_add(plain(rest));
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
            .map_err(|kind| (kind, start))?;
        self.sink.scalar(Value::Number, start, self.at);
        Ok(())
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

    fn literal(&mut self, word: &[u8], kind: Value) -> Step<bool> {
        let start = self.at;
        for expected in word {
            if self.peek() != Some(*expected) {
                return self.refuse(Kind::Grammar);
            }
            self.step();
        }
        self.sink.scalar(kind, start, self.at);
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

/// How many bytes come before the next quote, backslash or control character.
fn plain(bytes: &[u8]) -> usize {
    // Most strings are short. A long one is an envelope's payload.
    const SHORT: usize = 128;
    let mut run = pairs(bytes.get(..SHORT).unwrap_or(bytes));
    if run == SHORT {
        run = run.saturating_add(blocks(bytes.get(run..).unwrap_or_default()));
        run = run.saturating_add(pairs(bytes.get(run..).unwrap_or_default()));
    }
    run
}

const fn ends_run(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// How many bytes there are in the whole blocks before the first one that holds a byte which ends a run. The compiler
/// asks that of all bytes of a block at once.
fn blocks(bytes: &[u8]) -> usize {
    const BLOCK: usize = 64;
    let clean = |block: &&[u8; BLOCK]| !block.iter().fold(false, |found, byte| found | ends_run(*byte));
    bytes.as_chunks().0.iter().take_while(clean).count().saturating_mul(BLOCK)
}

/// As [`plain`], in words of eight bytes, two of them at a time.
fn pairs(bytes: &[u8]) -> usize {
    let (pairs, tail) = bytes.as_chunks::<16>();
    let mut run = 0_usize;
    for pair in pairs {
        if let ([low, high], _) = pair.as_chunks() {
            let (low, high) = (ends(*low), ends(*high));
            if low | high != 0 {
                let (skipped, ends) = if low == 0 { (8, high) } else { (0, low) };
                let before = usize::try_from(ends.trailing_zeros() / 8).unwrap_or(0);
                return run.saturating_add(skipped).saturating_add(before);
            }
        }
        run = run.saturating_add(16);
    }
    run.saturating_add(tail.iter().take_while(|byte| !ends_run(**byte)).count())
}

/// The high bit of the first byte of `word` that ends a run, and of some after it; 0 where there is none.
const fn ends(word: [u8; 8]) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = ONES << 7;
    let word = u64::from_le_bytes(word);
    // A subtraction borrows into the high bit of a byte that is too small. Only bytes above the first such byte can be
    // taken for one.
    let control = word.wrapping_sub(ONES.wrapping_mul(0x20));
    let quote = (word ^ ONES.wrapping_mul(0x22)).wrapping_sub(ONES);
    let backslash = (word ^ ONES.wrapping_mul(0x5c)).wrapping_sub(ONES);
    (control | quote | backslash) & !word & HIGH
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// By words and by blocks, a run ends where it ends byte by byte.
        #[test]
        fn a_run_ends_where_it_ends(
            plains in prop::collection::vec(0x20_u8.., 0..400), end in any::<u8>(), after in prop::collection::vec(any::<u8>(), 0..90),
        ) {
            let bytes = [&plains[..], &[end], &after].concat();
            let want = bytes.iter().take_while(|byte| !ends_run(**byte)).count();
            prop_assert_eq!((plain(&bytes), pairs(&bytes)), (want, want));
            let clean: Vec<u8> = bytes.iter().copied().filter(|byte| !ends_run(*byte)).collect();
            prop_assert_eq!((plain(&clean), pairs(&clean)), (clean.len(), clean.len()));
        }
    }
}
