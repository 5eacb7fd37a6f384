//! A reader for the little DER (X.690) that this crate needs: definite lengths, low tag numbers, no copies.
//!
//! It walks a certificate or a certificate request as far as the public key and the validity. It does not
//! judge names, extensions or signatures: that is the work of the host's TLS library and of the issuer.

use crate::{
    code::{self, Code, Coded},
    time::Wall,
};

pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const UTC_TIME: u8 = 0x17;
pub(super) const GENERALIZED_TIME: u8 = 0x18;
pub(super) const SEQUENCE: u8 = 0x30;

/// Why bytes are not the DER that was expected, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {offset}: {kind}")]
#[non_exhaustive]
pub struct DerError {
    /// What is wrong.
    pub kind: DerErrorKind,
    /// Where in the document, from 0: where the value begins that is wrong.
    pub offset: usize,
}

/// What is wrong with a DER value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DerErrorKind {
    /// The input ends inside a value, or before it.
    #[error("the DER ends inside of this value")]
    Truncated,
    /// A length is indefinite, not minimal, or over four bytes.
    #[error("a definite length in as few bytes as it takes, at most four, is due")]
    Length,
    /// A value has another tag than its place asks for.
    #[error("{0} is due")]
    Tag(&'static str),
    /// Bytes follow the value.
    #[error("nothing is due here, and bytes follow")]
    Trailing,
    /// A validity time is outside RFC 5280 section 4.1.2.5.
    #[error("a validity time as RFC 5280 writes it (YYMMDDHHMMSSZ, from 2050 on YYYYMMDDHHMMSSZ) is due")]
    Time,
}

impl DerErrorKind {
    const fn at(self, offset: usize) -> DerError {
        DerError { kind: self, offset }
    }
}

impl Coded for DerError {
    fn code(&self) -> Code {
        code::CERTIFICATE_MALFORMED
    }
}

/// One value: its content, and the whole of it with tag and length.
#[derive(Clone, Copy, Debug)]
pub(super) struct Value<'a> {
    pub(super) tag: u8,
    pub(super) content: &'a [u8],
    pub(super) whole: &'a [u8],
    /// Where the whole begins in the document.
    at: usize,
}

impl<'a> Value<'a> {
    /// The values in its content.
    pub(super) fn inside(self) -> Reader<'a> {
        let head = self.whole.len().saturating_sub(self.content.len());
        Reader { rest: self.content, at: self.at.saturating_add(head) }
    }
}

/// Reads values one after the other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    at: usize,
}

/// What people call the values that are asked for.
const fn name(tag: u8) -> &'static str {
    match tag {
        INTEGER => "an INTEGER",
        BIT_STRING => "a BIT STRING",
        SEQUENCE => "a SEQUENCE",
        _ => "another value",
    }
}

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, at: 0 }
    }

    /// The next value, whatever its tag.
    pub(super) fn any(&mut self) -> Result<Value<'a>, DerError> {
        let (all, at) = (self.rest, self.at);
        let truncated = DerErrorKind::Truncated.at(at);
        let (&tag, rest) = all.split_first().ok_or(truncated)?;
        // Tag numbers over 30 take more bytes; X.509 has none.
        if tag & 0x1f == 0x1f {
            return Err(DerErrorKind::Tag("a tag number below 31").at(at));
        }
        let (&first, rest) = rest.split_first().ok_or(truncated)?;
        let (length, rest) = if first < 0x80 {
            (usize::from(first), rest)
        } else {
            long_length(usize::from(first & 0x7f), rest).map_err(|kind| kind.at(at))?
        };
        let (content, after) = rest.split_at_checked(length).ok_or(truncated)?;
        let used = all.len().saturating_sub(after.len());
        let whole = all.get(..used).ok_or(truncated)?;
        *self = Self { rest: after, at: at.saturating_add(used) };
        Ok(Value { tag, content, whole, at })
    }

    /// The next value, which must have `tag`.
    pub(super) fn expect(&mut self, tag: u8) -> Result<Value<'a>, DerError> {
        let value = self.any()?;
        if value.tag == tag { Ok(value) } else { Err(DerErrorKind::Tag(name(tag)).at(value.at)) }
    }

    /// The next value where it has `tag`; nothing is read where it has not.
    pub(super) fn optional(&mut self, tag: u8) -> Result<Option<Value<'a>>, DerError> {
        if self.rest.first() == Some(&tag) { self.any().map(Some) } else { Ok(None) }
    }

    /// Nothing may be left.
    pub(super) fn end(&self) -> Result<(), DerError> {
        if self.rest.is_empty() { Ok(()) } else { Err(DerErrorKind::Trailing.at(self.at)) }
    }
}

/// A length in the long form of X.690 section 8.1.3.5, as section 10.1 restricts it for DER.
fn long_length(count: usize, rest: &[u8]) -> Result<(usize, &[u8]), DerErrorKind> {
    if count == 0 || count > 4 {
        return Err(DerErrorKind::Length);
    }
    let (digits, rest) = rest.split_at_checked(count).ok_or(DerErrorKind::Truncated)?;
    let length = digits.iter().fold(0_u32, |length, byte| (length << 8) | u32::from(*byte));
    // Minimal: no leading zero byte, and not what the short form could say.
    if digits.first() == Some(&0) || length < 0x80 {
        return Err(DerErrorKind::Length);
    }
    Ok((usize::try_from(length).map_err(|_| DerErrorKind::Length)?, rest))
}

/// A validity time (RFC 5280 section 4.1.2.5): two-digit years are 1950 to 2049, always seconds, always `Z`.
/// An instant before 1970 is the start of the line.
pub(super) fn time(value: Value<'_>) -> Result<Wall, DerError> {
    instant(value).map_err(|kind| kind.at(value.at))
}

fn instant(value: Value<'_>) -> Result<Wall, DerErrorKind> {
    let (digits, two_digit_year) = match (value.tag, value.content) {
        (UTC_TIME, [digits @ .., b'Z']) if digits.len() == 12 => (digits, true),
        (GENERALIZED_TIME, [digits @ .., b'Z']) if digits.len() == 14 => (digits, false),
        (UTC_TIME | GENERALIZED_TIME, _) => return Err(DerErrorKind::Time),
        _ => return Err(DerErrorKind::Tag("a UTCTime or GeneralizedTime")),
    };
    let mut pairs = digits.chunks_exact(2).map(|pair| match pair {
        [tens @ b'0'..=b'9', ones @ b'0'..=b'9'] => {
            Ok(u64::from(tens & 0x0f).saturating_mul(10).saturating_add(u64::from(ones & 0x0f)))
        }
        _ => Err(DerErrorKind::Time),
    });
    let mut next = || pairs.next().unwrap_or(Err(DerErrorKind::Time));
    let year = if two_digit_year {
        let year = next()?;
        if year < 50 { year.saturating_add(2000) } else { year.saturating_add(1900) }
    } else {
        next()?.saturating_mul(100).saturating_add(next()?)
    };
    let (month, day, hour, minute, second) = (next()?, next()?, next()?, next()?, next()?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days_in_month = match month {
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        1..=12 => 31,
        _ => return Err(DerErrorKind::Time),
    };
    if day == 0 || day > days_in_month || hour > 23 || minute > 59 || second > 59 {
        return Err(DerErrorKind::Time);
    }
    // Days since the epoch, counted in years that begin in March, so that the leap day comes last.
    let (shifted_year, shifted_month) = if month > 2 {
        (year, month.saturating_sub(3))
    } else {
        (year.saturating_sub(1), month.saturating_add(9))
    };
    let day_of_year = shifted_month.saturating_mul(153).saturating_add(2) / 5;
    let days = shifted_year
        .saturating_mul(365)
        .saturating_add(shifted_year / 4)
        .saturating_sub(shifted_year / 100)
        .saturating_add(shifted_year / 400)
        .saturating_add(day_of_year)
        .saturating_add(day.saturating_sub(1))
        .saturating_sub(719_468);
    if year < 1970 {
        return Ok(Wall::START);
    }
    let seconds = days
        .saturating_mul(24)
        .saturating_add(hour)
        .saturating_mul(60)
        .saturating_add(minute)
        .saturating_mul(60)
        .saturating_add(second);
    Ok(Wall(seconds.saturating_mul(1000)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(tag: u8, text: &str) -> Result<Wall, DerErrorKind> {
        time(Value { tag, content: text.as_bytes(), whole: &[], at: 0 }).map_err(|error| error.kind)
    }

    /// Instants from `date -u -d ... +%s`.
    #[test]
    fn validity_times_are_read_as_rfc_5280_writes_them() {
        for (tag, text, seconds) in [
            (UTC_TIME, "700101000000Z", 0),
            (UTC_TIME, "491231235959Z", 2_524_607_999),
            (UTC_TIME, "500101000000Z", 0),
            (UTC_TIME, "240229120000Z", 1_709_208_000),
            (GENERALIZED_TIME, "20500101000000Z", 2_524_608_000),
            (GENERALIZED_TIME, "20000301000000Z", 951_868_800),
            (GENERALIZED_TIME, "99991231235959Z", 253_402_300_799),
        ] {
            assert_eq!(at(tag, text), Ok(Wall(seconds * 1000)), "{text}");
        }
        for (tag, text) in [
            (UTC_TIME, "2402291200Z"),
            (UTC_TIME, "240229120000+"),
            (UTC_TIME, "230229120000Z"),
            (UTC_TIME, "241301000000Z"),
            (UTC_TIME, "240100000000Z"),
            (UTC_TIME, "240101240000Z"),
            (UTC_TIME, "2401010000 0Z"),
            (GENERALIZED_TIME, "20240101000000.5Z"),
            (GENERALIZED_TIME, "19000229000000Z"),
        ] {
            assert_eq!(at(tag, text), Err(DerErrorKind::Time), "{text}");
        }
        assert_eq!(at(INTEGER, "240101000000Z"), Err(DerErrorKind::Tag("a UTCTime or GeneralizedTime")));
    }

    #[test]
    fn lengths_have_one_spelling() {
        for (bytes, want) in [
            (&[0x30, 0x80, 0, 0][..], DerErrorKind::Length),
            (&[0x30, 0x81, 0x01, 0], DerErrorKind::Length),
            (&[0x30, 0x82, 0x00, 0x80], DerErrorKind::Length),
            (&[0x30, 0x85, 0, 0, 0, 0, 1], DerErrorKind::Length),
            (&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff], DerErrorKind::Truncated),
            (&[0x30, 2, 0], DerErrorKind::Truncated),
            (&[0x3f, 1, 0], DerErrorKind::Tag("a tag number below 31")),
            (&[0x30], DerErrorKind::Truncated),
            (&[], DerErrorKind::Truncated),
        ] {
            assert_eq!(Reader::new(bytes).any().map(|value| value.tag), Err(want.at(0)), "{bytes:?}");
        }
    }
}
