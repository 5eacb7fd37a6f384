//! Path prefixes: what a path is under, in every reading that an upstream may have of it.

use alloc::{vec, vec::Vec};

/// How often a path may be percent-encoded on top of itself before it is under nothing.
const MAX_DECODINGS: usize = 4;

/// Whether `path`, canonical, is under `prefix` at a segment boundary.
///
/// The bytes must say so, and so must every reading of an upstream that decodes percent signs (again), takes
/// backslashes for slashes, merges slashes, or drops `;parameters`: `/v1/..%2fadmin` is not under `/v1/`.
pub(super) fn is_under(path: &str, prefix: &str) -> bool {
    let boundary = match path.strip_prefix(prefix) {
        None => false,
        Some(rest) => rest.is_empty() || prefix.ends_with('/') || rest.starts_with('/'),
    };
    if !boundary {
        return false;
    }
    if !path.bytes().any(|byte| matches!(byte, b'%' | b';' | b'\\')) {
        return true;
    }
    let wanted = resolve(prefix.as_bytes());
    let mut reading = path.as_bytes().to_vec();
    for _ in 0..MAX_DECODINGS {
        let decoded = decode(&reading);
        let has_control = decoded.iter().any(u8::is_ascii_control);
        if has_control || !resolve(&decoded).starts_with(&wanted) {
            return false;
        }
        if decoded == reading {
            return true;
        }
        reading = decoded;
    }
    false
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

/// The segments that are left when slashes are merged and dot segments are followed.
fn resolve(path: &[u8]) -> Vec<&[u8]> {
    let mut segments = vec![];
    for segment in path.split(|byte| matches!(byte, b'/' | b'\\')) {
        let name = segment.split(|byte| *byte == b';').next().unwrap_or_default();
        match name {
            b"" if segment.is_empty() => {}
            b"." => {}
            b".." => {
                segments.pop();
            }
            _ => segments.push(segment),
        }
    }
    segments
}

/// Whether `path` may stand in a policy: canonical as the URL parser writes it, with nothing to read twice.
pub(super) fn is_prefix(path: &str) -> bool {
    let plain =
        path.starts_with('/') && !path.bytes().any(|b| matches!(b, b'%' | b';' | b'\\' | b'?' | b'#'));
    let url = alloc::format!("https://a.invalid{path}");
    plain && url::Url::parse(&url).is_ok_and(|parsed| parsed.path() == path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_at_a_segment() {
        for (path, prefix, want) in [
            ("/v1/models", "/v1/", true),
            ("/v1/", "/v1/", true),
            ("/v1", "/v1/", false),
            ("/v1", "/v1", true),
            ("/v1/x", "/v1", true),
            ("/v10", "/v1", false),
            ("/v2", "/v1", false),
            ("/", "/", true),
            ("/x", "/", true),
            ("/V1/x", "/v1/", false),
        ] {
            assert_eq!(is_under(path, prefix), want, "{path} {prefix}");
        }
    }

    /// ATTACKS E4, in the path: what an upstream may read as an escape from the prefix is one.
    #[test]
    fn e4_no_reading_of_a_path_leaves_its_prefix() {
        for path in [
            "/v1/..%2fadmin",
            "/v1/..%2Fadmin",
            "/v1/%2e%2e%2fadmin",
            "/v1/..%5cadmin",
            "/v1/%252e%252e%252fadmin",
            "/v1/..;/admin",
            "/v1/..;a=b/admin",
            "/v1/x/..%2f..%2fadmin",
            "/v1/%00",
            "/v1/%2e%2e;x%2fadmin",
            "/v1/a%0d%0ab",
            "/v1//..%2f..%2fadmin",
            "/v1/%25252525252525252e%25252525252525252e/admin",
        ] {
            assert!(!is_under(path, "/v1/"), "{path}");
        }
        for path in
            ["/v1/group%2Fproject", "/v1/a;b=c/d", "/v1/100%25", "/v1/a%20b", "/v1/x/..%2fy", "/v1/caf%c3%a9"]
        {
            assert!(is_under(path, "/v1/"), "{path}");
        }
    }

    #[test]
    fn prefixes_are_canonical_paths() {
        assert!(["/", "/v1", "/v1/", "/a.b/c-d_e~"].iter().all(|path| is_prefix(path)));
        for path in [
            "", "v1", "/v1/../x", "/./", "/a?b", "/a#b", "/a b", "/a\\b", "/a%2fb", "/a;b", "/\u{e9}", "/a\n",
        ] {
            assert!(!is_prefix(path), "{path}");
        }
    }
}
