//! Patterns for URIs of builders, sources and identities: exact text, or `*` for whole segments.

use alloc::string::String;

use super::PolicyError;

/// The most entries of each list of a provenance rule or of an identity.
pub(super) const MAX_ENTRIES: usize = 64;

/// The longest text of an entry, in bytes.
pub(super) const MAX_ENTRY_BYTES: usize = 512;

/// The most `*` of one pattern.
const MAX_STARS: usize = 8;

/// Texts that are patterns, and not too many.
pub(super) fn patterns(list: &[String]) -> Result<(), PolicyError> {
    if list.len() > MAX_ENTRIES {
        return Err(PolicyError::new("a list of patterns has at most 64 entries"));
    }
    if list.iter().any(|entry| entry.is_empty() || entry.len() > MAX_ENTRY_BYTES) {
        return Err(PolicyError::new("a pattern has 1 to 512 bytes"));
    }
    if !list.iter().all(|entry| is_valid(entry)) {
        return Err(PolicyError::new(
            "a `*` is a whole segment of a pattern: after `/` or `@`, or after a dot at the end of a version",
        ));
    }
    Ok(())
}

/// Whether `pattern` is one: every `*` is a whole segment, after a `/` or an `@` and before a `/`, an `@` or the end. At
/// the end of a version, behind the `@`, it may follow a dot.
pub(super) fn is_valid(pattern: &str) -> bool {
    let mut stars = 0_usize;
    pattern.match_indices('*').all(|(at, _)| {
        stars = stars.saturating_add(1);
        let (before, after) = (pattern.get(..at).unwrap_or_default(), pattern.get(at.saturating_add(1)..));
        let after = after.unwrap_or_default();
        let segment = before.ends_with(['/', '@']) && (after.is_empty() || after.starts_with(['/', '@']));
        let version = before.ends_with('.') && after.is_empty() && before.contains('@');
        stars <= MAX_STARS && (segment || version)
    })
}

/// Whether `text` matches `pattern`.
///
/// Without a `*` both are the same text. A `*` within stands for one segment, which is not empty. A `*` at the end stands
/// for all that follows, at least one character and no `.` or `..` as a segment; behind an `@` it is a version, with no
/// further `@` in it, and after a dot no `/` either.
///
/// Cost: O(text).
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let (mut pattern, mut text) = (pattern, text);
    let mut version = false;
    while let Some((before, after)) = pattern.split_once('*') {
        let Some(rest) = text.strip_prefix(before) else { return false };
        version |= before.contains('@');
        if after.is_empty() {
            let other = version && rest.contains('@') || before.ends_with('.') && rest.contains('/');
            return !rest.is_empty() && !other && !rest.split('/').any(is_dots);
        }
        let end = rest.find(['/', '@']).unwrap_or(rest.len());
        let (segment, rest) = rest.split_at(end);
        if segment.is_empty() || is_dots(segment) {
            return false;
        }
        (pattern, text) = (after, rest);
    }
    pattern == text
}

fn is_dots(segment: &str) -> bool {
    matches!(segment, "." | "..")
}

/// Whether any of `patterns` matches `text`.
pub(crate) fn any(patterns: &[alloc::string::String], text: &str) -> bool {
    patterns.iter().any(|pattern| matches(pattern, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_a_whole_segment() {
        for (pattern, text, want) in [
            ("https://ci.example/1", "https://ci.example/1", true),
            ("https://ci.example/1", "https://ci.example/10", false),
            ("https://ci.example/1", "https://ci.example/1@v1", false),
            ("https://ci.example/b@*", "https://ci.example/b@v1", true),
            ("https://ci.example/b@*", "https://ci.example/b@refs/tags/v1.2.3", true),
            ("https://ci.example/b@*", "https://ci.example/b", false),
            ("https://ci.example/b@*", "https://ci.example/b@", false),
            ("https://ci.example/b@*", "https://ci.example/b@v1@v2", false),
            ("https://ci.example/b@*", "https://ci.example/bad@v1", false),
            ("https://ci.example/b@v1.*", "https://ci.example/b@v1.9.0", true),
            ("https://ci.example/b@v1.*", "https://ci.example/b@v10.0", false),
            ("https://ci.example/b@v1.*", "https://ci.example/b@v1.0/x", false),
            ("https://ci.example/b@refs/tags/*", "https://ci.example/b@refs/heads/main", false),
            ("https://ci.example/*", "https://ci.example/a/b@v1", true),
            ("https://ci.example/*", "https://ci.example/", false),
            ("https://ci.example/*", "https://ci.example.evil/a", false),
            ("https://ci.example/*", "https://ci.example/a/../../b", false),
            ("https://g/acme/*/w.yml@refs/tags/*", "https://g/acme/app/w.yml@refs/tags/v1", true),
            ("https://g/acme/*/w.yml@refs/tags/*", "https://g/acme/app/x/w.yml@refs/tags/v1", false),
            ("https://g/acme/*/w.yml", "https://g/acme//w.yml", false),
            ("https://g/acme/*/w.yml", "https://g/acme/../w.yml", false),
        ] {
            assert!(is_valid(pattern), "{pattern}");
            assert_eq!(matches(pattern, text), want, "{pattern} against {text}");
        }
        for bad in
            ["*", "a*", "https://ci.example/b*", "https://ci/*x", "https://ci/v1.*", "https://ci/**", "a@*."]
        {
            assert!(!is_valid(bad), "{bad}");
        }
    }
}
