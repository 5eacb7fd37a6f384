//! Whether a path can leave the place where it begins, in any reading that a server may have of it.
//!
//! Servers differ in how often they decode percent signs, which of the results are separators, whether backslashes are,
//! whether empty segments count, whether parameters (`;a=b`) belong to a segment, and in which order they do all that
//! before they follow dot segments. Here each doubt is settled against the path, at every place on its own: what may be
//! a dot segment goes up, what may be empty does not go down, and what may be one segment goes down by one only. That
//! covers every server that is consistent in its doubts, and some that are not.

use alloc::{borrow::Cow, string::String, vec::Vec};

/// The most rounds of percent-decoding after which something is still encoded.
const MAX_DECODINGS: usize = 3;

/// Whether some reading of `rest`, the end of a canonical path, goes above where it begins, even if it comes back.
///
/// So counts what cannot be read at all: control characters, bytes that are no UTF-8 once decoded (servers drop them,
/// replace them, or read overlong forms of `.` and `/` in them), or more percent-encoding than anybody needs.
pub(super) fn may_climb(rest: &str) -> bool {
    if !rest.bytes().any(|byte| matches!(byte, b'%' | b';' | b'\\')) {
        return false;
    }
    let mut depth = 0;
    rest.split('/').any(|segment| match read(segment).and_then(|text| least_depth(&text, depth)) {
        Some(after) => {
            depth = after;
            false
        }
        None => true,
    })
}

/// What one segment does to the depth.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Effect {
    Up,
    None,
    Down,
}

impl Effect {
    /// The effect of a name without its parameters. Windows drops blanks at the end of a name, and servers that know ASCII
    /// only drop the rest.
    fn of(name: &str) -> Self {
        let ascii: Cow<'_, str> = match name.is_ascii() {
            true => Cow::Borrowed(name),
            false => Cow::Owned(name.chars().filter(char::is_ascii).collect()),
        };
        match ascii.trim() {
            "" | "." => Self::None,
            ".." => Self::Up,
            _ => Self::Down,
        }
    }

    /// `None` above the beginning.
    fn after(self, depth: usize) -> Option<usize> {
        match self {
            Self::Up => depth.checked_sub(1),
            Self::None => Some(depth),
            Self::Down => Some(depth.saturating_add(1)),
        }
    }
}

/// The least depth after `segment`, which begins at `depth`, over all readings; `None` where one goes above zero.
///
/// A slash in `segment` was encoded, so that a server may or may not see it. The pieces between them are segments of
/// their own, or some that follow each other are one. Such a one is a name, unless its parameters begin in its first
/// piece: then that piece alone is what a server sees that drops parameters.
fn least_depth(segment: &str, depth: usize) -> Option<usize> {
    let mut least = depth;
    let mut joined: Option<usize> = None;
    for piece in segment.split(['/', '\\']) {
        // What a query or a fragment would begin with ends a path for a server that decodes before it splits.
        let name = piece.split([';', '?', '#']).next().unwrap_or(piece);
        let alone = Effect::of(name).after(least)?;
        let first_of_more = if name.len() < piece.len() { alone } else { Effect::Down.after(least)? };
        least = joined.map_or(alone, |joined| joined.min(alone));
        joined = Some(joined.map_or(first_of_more, |joined| joined.min(first_of_more)));
    }
    Some(least)
}

/// `segment` with everything decoded and folded that some server decodes or folds.
fn read(segment: &str) -> Option<Cow<'_, str>> {
    let mut text = Cow::Borrowed(segment);
    if !segment.contains('%') {
        return Some(text);
    }
    for _ in 0..=MAX_DECODINGS {
        let decoded = String::from_utf8(decode(text.as_bytes())).ok()?;
        if decoded.contains(char::is_control) {
            return None;
        }
        let folded = fold(&decoded);
        if folded == *text {
            return Some(text);
        }
        text = Cow::Owned(folded);
    }
    None
}

/// One round of percent-decoding. What is not two hex digits stays as it is.
fn decode(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path;
    while let [byte, tail @ ..] = rest {
        let pair = match (byte, tail) {
            (b'%', [high, low, ..]) => hex_digit(*high).zip(hex_digit(*low)),
            _ => None,
        };
        if let Some((high, low)) = pair {
            out.push(high << 4 | low);
            rest = tail.get(2..).unwrap_or_default();
        } else {
            out.push(*byte);
            rest = tail;
        }
    }
    out
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// `text` as the most lenient server normalises it: compatibility forms (NFKC) and best-fit forms of code pages become
/// the ASCII characters that matter in paths, and characters that some file systems ignore disappear.
fn fold(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for found in text.chars() {
        match found {
            '\u{ff01}'..='\u{ff5e}' => {
                let ascii = u32::from(found).saturating_sub(0xfee0);
                out.extend(char::from_u32(ascii));
            }
            '\u{2024}' | '\u{3002}' | '\u{fe52}' | '\u{ff61}' => out.push('.'),
            '\u{2025}' => out.push_str(".."),
            '\u{2026}' => out.push_str("..."),
            '\u{2044}' | '\u{2215}' | '\u{29f8}' => out.push('/'),
            '\u{a5}' | '\u{20a9}' | '\u{2216}' | '\u{29f5}' | '\u{29f9}' | '\u{fe68}' => out.push('\\'),
            '\u{37e}' | '\u{fe54}' => out.push(';'),
            '\u{66a}' | '\u{fe6a}' => out.push('%'),
            '\u{fe56}' => out.push('?'),
            '\u{fe5f}' => out.push('#'),
            '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{e0000}'..='\u{e0fff}' => {}
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Attack E4, in the path: what an upstream may read as an escape from the prefix is one.
    #[test]
    fn e4_what_some_server_reads_above_the_beginning_climbs() {
        for rest in [
            // Encoded once, twice, and too often.
            "..%2fadmin",
            "..%2Fadmin",
            "%2e%2e%2fadmin",
            "%252e%252e%252fadmin",
            "x/..%2f..%2fadmin",
            "/..%2f..%2fadmin",
            "%25252525252525252e%25252525252525252e/admin",
            // Backslashes.
            "..%5cadmin",
            "x%5c..%5c..%5cadmin",
            // Parameters, kept or dropped, before or after decoding.
            "..;/admin",
            "..;a=b/admin",
            "%2e%2e;x%2fadmin",
            "..%3b/admin",
            "..%253b/admin",
            // A segment that may be empty lends no depth.
            ";a/..;/x",
            ";a/..%2fx",
            ";a%2f..;/x",
            "/;a/..;b/x",
            ".;a/..;/x",
            "%20/..%2fx",
            // An encoded slash that is not decoded makes one segment of two, which lend one level.
            "a%2fb/..;/..;/x",
            "a%2fb%2fc/..;/..;/x",
            "x;%2fy/..;/..;/x",
            // A query or fragment that appears by decoding.
            "..%3f/x",
            "..%23x",
            // Blanks at the end of a name, as Windows reads it.
            "..%20/x",
            "%20..%20;a/x",
            // Compatibility and best-fit forms, characters that are ignored, overlong forms.
            "%ef%bc%8e%ef%bc%8e%ef%bc%8fx",
            "%e2%80%a5/x",
            "%e2%80%a5%e2%88%95x",
            "..%c2%a5x",
            ".%e2%80%8b./x",
            "%ef%bc%852e%ef%bc%852e%2fx",
            "%c0%ae%c0%ae/x",
            "%c0%ae%c0%ae%c0%afx",
            ".%ff./x",
            "%e2%98%83/..;/x",
            ".%c3%a9./x",
            "%e0%80%ae%e0%80%ae/x",
            // What nobody can read.
            "%00",
            "a%0d%0ab",
            "a%c2%85b",
            "a%ff",
            "caf%e9",
        ] {
            assert!(may_climb(rest), "{rest}");
        }
    }

    #[test]
    fn ordinary_paths_do_not_climb() {
        for rest in [
            "",
            "/",
            "x",
            "group%2Fproject",
            "a;b=c/d",
            "a;b=c;d/..;e/f",
            ";a",
            "100%25",
            "a%20b",
            "x/..%2fy",
            "x%2f..%2fy",
            "caf%c3%a9",
            "...%20",
            "main...dev;x",
            "%e3%83%86%ef%bc%8f%e3%82%b9",
            "a%3fb",
            "%40scope%2fname/-/name-1.0.0.tgz",
            "https:%2F%2Fexample.com%2Fa",
            "https%3A%2F%2Fexample.com%2Fa%3Fb",
        ] {
            assert!(!may_climb(rest), "{rest}");
        }
    }
}
