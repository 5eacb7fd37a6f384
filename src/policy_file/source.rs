//! The text of a policy file: checked, filled into types, and turned into lines and columns.

use alloc::{
    borrow::Cow,
    boxed::Box,
    format,
    string::{String, ToString},
    vec::Vec,
};

use serde::de::DeserializeOwned;

use super::{
    Notation,
    finding::{Finding, bare, position},
    location::{self, Location},
};
use crate::{
    attestation::strict::{self, Limits, Outline, StrictError, StrictErrorKind},
    code::{Code, Coded as _},
};

/// The longest value that a finding shows, in characters.
const MAX_SHOWN: usize = 60;

/// A policy file whose text the strict reader accepted.
pub(super) struct Source<'a> {
    /// The file as it is written.
    written: &'a str,
    /// The same as JSON: the file itself, or what its TOML says.
    json: Cow<'a, str>,
    limits: Limits,
    /// Where the values and keys of `json` stand in `written`, where that is another text: by their starts, in order.
    #[cfg(feature = "cli")]
    origins: Vec<(usize, usize)>,
}

impl<'a> Source<'a> {
    /// Checks the text strictly and within `limits`.
    pub(super) fn read(text: &'a [u8], notation: Notation, limits: &Limits) -> Result<Self, Finding> {
        let limits = limits.top_object();
        match notation {
            Notation::Json => {
                strict::check(text, &limits).map_err(|error| json_error(text, &error))?;
                // What passed the check is UTF-8.
                let written = core::str::from_utf8(text).unwrap_or_default();
                Ok(Self {
                    written,
                    json: Cow::Borrowed(written),
                    limits,
                    #[cfg(feature = "cli")]
                    origins: Vec::new(),
                })
            }
            #[cfg(feature = "cli")]
            Notation::Toml => {
                let (written, json, origins) = super::toml::to_json(text, &limits)?;
                let source = Self { written, json: Cow::Owned(json), limits, origins };
                match strict::check(source.json.as_bytes(), &limits) {
                    Ok(()) => Ok(source),
                    Err(error) => {
                        let (line, column) = position(source.written, source.origin(error.offset));
                        Err(bare(error.code(), line, column, error.kind.to_string()))
                    }
                }
            }
        }
    }

    /// Fills a type. On failure: the offset in the JSON, and serde's words.
    pub(super) fn fill<T: DeserializeOwned>(&self) -> Result<T, (usize, String)> {
        strict::fill_explained(self.json.as_bytes()).map_err(|(error, reason)| (error.offset, reason))
    }

    fn locations(&self) -> Vec<Location> {
        let outline = Outline::read(self.json.as_bytes(), &self.limits);
        outline.map(|outline| location::all(&self.json, outline.top())).unwrap_or_default()
    }

    /// Where in the file a place of the JSON stands.
    #[cfg(feature = "cli")]
    fn origin(&self, offset: usize) -> usize {
        if self.origins.is_empty() {
            return offset;
        }
        let after = self.origins.partition_point(|(json, _)| *json <= offset);
        after.checked_sub(1).and_then(|at| self.origins.get(at)).map_or(0, |(_, written)| *written)
    }

    #[cfg(not(feature = "cli"))]
    #[allow(clippy::unused_self, reason = "the text is the file itself without TOML")]
    const fn origin(&self, offset: usize) -> usize {
        offset
    }

    /// A finding about the member with this path, or about what is around it where it is left out.
    pub(super) fn finding(&self, code: Code, path: &str, message: String) -> Finding {
        let locations = self.locations();
        let location = location::at_path(&locations, path);
        self.at(code, &locations, location, path.to_string(), message)
    }

    /// A finding about what stands at an offset of the JSON, and the path of what that is in.
    pub(super) fn finding_at(&self, code: Code, offset: usize, message: String) -> Finding {
        let locations = self.locations();
        let location = location::at_offset(&locations, offset);
        let path = location.map(|location| location.path.clone()).unwrap_or_default();
        self.at(code, &locations, location, path, message)
    }

    /// Whether the file itself has this member.
    pub(super) fn has(&self, path: &str) -> bool {
        self.locations().iter().any(|location| location.path == path)
    }

    fn at(
        &self,
        code: Code,
        locations: &[Location],
        location: Option<&Location>,
        path: String,
        message: String,
    ) -> Finding {
        let start = location
            .map_or(0, |location| location.key.as_ref().map_or(location.value.start, |key| key.start));
        let (line, column) = position(self.written, self.origin(start));
        let value = location
            .filter(|location| location.scalar && location.path == path)
            .map(|location| self.shown(location));
        let rule = path.strip_prefix("rules[").and_then(|rest| rest.split_once(']')).and_then(|(nth, _)| {
            let id = format!("rules[{nth}].id");
            let location = locations.iter().find(|location| location.path == id && location.scalar)?;
            Some(self.shown(location).trim_matches('"').into())
        });
        Finding { code, line, column, path, rule, value, message, help: None }
    }

    fn shown(&self, location: &Location) -> Box<str> {
        let raw = self.json.get(location.value.clone()).unwrap_or_default();
        match raw.char_indices().nth(MAX_SHOWN) {
            Some((cut, _)) => format!("{}...", raw.get(..cut).unwrap_or_default()).into(),
            None => raw.into(),
        }
    }
}

/// What the strict reader refused, with the mistakes that people make most.
fn json_error(text: &[u8], error: &StrictError) -> Finding {
    let lossy = String::from_utf8_lossy(text);
    let (line, column) = position(&lossy, error.offset);
    let mut finding = bare(error.code(), line, column, error.kind.to_string());
    let last = text.get(..error.offset).unwrap_or_default().trim_ascii_end().last();
    let help = match (error.kind, text.get(error.offset), last) {
        (StrictErrorKind::Grammar, Some(b'}' | b']'), Some(b',')) => "remove the comma after the last entry",
        (StrictErrorKind::Grammar, Some(b'/' | b'#'), _) => {
            "JSON has no comments; remove them, or write TOML"
        }
        (StrictErrorKind::Grammar, Some(b'\''), _) => "strings stand between double quotes",
        (StrictErrorKind::Grammar, Some(b'"' | b'{' | b'['), Some(b'"' | b'}' | b']')) => {
            "a comma is missing before this"
        }
        (StrictErrorKind::Truncated, ..) => "a closing bracket or quote is missing",
        (StrictErrorKind::DuplicateKey, ..) => "keep one of the two members",
        (StrictErrorKind::NumberInteger | StrictErrorKind::NumberRange, ..) => {
            "write a whole number; times are in milliseconds, sizes in bytes"
        }
        (StrictErrorKind::ByteOrderMark, ..) => "save the file as UTF-8 without a byte order mark",
        _ => return finding,
    };
    finding.help = Some(help.into());
    finding
}
