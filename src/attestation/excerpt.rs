//! Pieces of documents that nobody has vouched for, made fit to be shown.

use alloc::{format, string::String, sync::Arc};
use core::fmt;

/// The most characters of a document that are shown.
const SHOWN: usize = 96;

/// The beginning of a text that a document states, for messages and records.
///
/// It is never the raw text: everything but printable ASCII is escaped, so that it is one line in any log, and at most
/// 96 characters of it are kept. As text it stands between backticks, with the length in bytes where it was cut.
///
/// ```
/// use leasehold::attestation::Excerpt;
/// assert_eq!(Excerpt::of("text/plain").to_string(), "`text/plain`");
/// assert_eq!(Excerpt::of("a\n`\u{202e}").to_string(), r"`a\n\u{60}\u{202e}`");
/// assert!(Excerpt::of(&"x".repeat(1000)).to_string().ends_with("...` (1000 bytes)"));
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Excerpt(Arc<str>);

impl Excerpt {
    /// The beginning of `text`. Cost: bounded, whatever the length of the text.
    pub fn of(text: &str) -> Self {
        let mut shown = String::from("`");
        let mut characters = text.chars();
        for character in characters.by_ref().take(SHOWN) {
            match character {
                '`' => shown.push_str("\\u{60}"),
                ' '..='~' if character != '\\' => shown.push(character),
                _ => shown.extend(character.escape_default()),
            }
        }
        let whole = characters.as_str().is_empty();
        shown.push_str(if whole { "`" } else { "...`" });
        if !whole {
            shown.push_str(&format!(" ({} bytes)", text.len()));
        }
        Self(Arc::from(shown))
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
