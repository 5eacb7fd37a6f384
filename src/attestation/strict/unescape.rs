//! What a checked string stands for.

use alloc::string::String;

/// The text that `raw`, which the scanner accepted between two quotes, stands for.
pub(super) fn unescape(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((plain, escape)) = rest.split_once('\\') {
        out.push_str(plain);
        let mut chars = escape.chars();
        match chars.next() {
            Some('b') => out.push('\u{8}'),
            Some('f') => out.push('\u{c}'),
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('t') => out.push('\t'),
            Some('u') => {
                let mut rest = chars.as_str();
                let mut scalar = take_unit(&mut rest);
                if (0xd800..0xdc00).contains(&scalar) {
                    rest = rest.get(2..).unwrap_or_default();
                    let low = take_unit(&mut rest);
                    scalar = 0x10000_u32.saturating_add((scalar & 0x3ff) << 10 | low & 0x3ff);
                }
                out.push(char::from_u32(scalar).unwrap_or(char::REPLACEMENT_CHARACTER));
                chars = rest.chars();
            }
            Some(other) => out.push(other),
            None => {}
        }
        rest = chars.as_str();
    }
    out.push_str(rest);
    out
}

fn take_unit(rest: &mut &str) -> u32 {
    let (digits, tail) = rest.split_at_checked(4).unwrap_or((rest, ""));
    *rest = tail;
    u32::from_str_radix(digits, 16).unwrap_or(0)
}
