//! Text that others sent, made safe for a terminal and for the event log.

use std::io;

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, Serializer};

/// The longest text shown of one peer's word.
const SHOWN: usize = 240;

/// `text` with everything but printable ASCII escaped, and cut.
///
/// Not only control characters: text that runs from right to left, or that looks like other text, can also make a
/// terminal say what nobody wrote.
pub fn shown(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if out.len() >= SHOWN {
            out.push_str("...");
            break;
        }
        match c {
            ' '..='~' => out.push(c),
            _ => out.extend(c.escape_unicode()),
        }
    }
    out
}

/// JSON in printable ASCII only.
struct Ascii(CompactFormatter);

impl Formatter for Ascii {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        if fragment.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return writer.write_all(fragment.as_bytes());
        }
        for c in fragment.chars() {
            if matches!(c, ' '..='~') {
                writer.write_all(&[c as u8])?;
            } else {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(writer, "\\u{unit:04x}")?;
                }
            }
        }
        Ok(())
    }
}

/// One line of JSON in printable ASCII, with its line feed.
pub fn line(value: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    value.serialize(&mut Serializer::with_formatter(&mut bytes, Ascii(CompactFormatter)))?;
    bytes.push(b'\n');
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What peers send is never written raw to a terminal or log.
    #[test]
    fn nothing_but_printable_ascii_comes_out() {
        let hostile = "a\u{1b}[2J\u{7}\u{9b}\u{202e}\u{1f600}\r\n\u{7f}";
        let printable = |bytes: &[u8]| bytes.iter().all(|byte| matches!(byte, b' '..=b'~'));
        assert!(printable(shown(hostile).as_bytes()));
        let json = line(&hostile).unwrap_or_default();
        assert!(printable(&json[..json.len() - 1]));
        assert_eq!(serde_json::from_slice::<String>(&json).unwrap_or_default(), hostile);
        assert!(shown(&"x".repeat(1 << 20)).len() < 300);
    }
}
