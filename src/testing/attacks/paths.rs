//! Escapes from a path prefix: spellings that some server reads as a path outside.

use alloc::{format, string::String, vec::Vec};

/// Parent segments that a URL parser does not follow, each with what ends it. What reads them as `..`: servers that
/// decode percent signs once or twice, take backslashes for slashes, or drop `;parameters`.
const HIDDEN: &[&str] = &[
    "..%2f",
    "..%2F",
    "%2e%2e%2f",
    "..%5c",
    "%2e%2e%5c",
    "..;/",
    "..;x=y/",
    "%2e%2e;/",
    "..;%2f",
    "..%252f",
    "%252e%252e/",
    "%252e%252e%252f",
    "..%255c",
    "..%3b/",
    "..%3bx%2f",
];

/// Parent segments that a URL parser follows by itself.
const PLAIN: &[&str] = &["../", "%2e%2e/", ".%2E/", "..\\"];

/// What stands between prefix and parents: nothing, or segments that are there for one server and not for another.
const BEFORE: &[&str] = &["", ";a/", ";/", "/", "%2f", ";a%2f", "%3ba/", "./", "%2e/"];

/// Paths that some server reads as `/leasehold-outside`, or as something else outside of `prefix`. None for `/`, which
/// has no outside.
pub(super) fn escapes(prefix: &str) -> Vec<String> {
    let prefix = prefix.trim_end_matches('/');
    let depth = prefix.bytes().filter(|byte| *byte == b'/').count();
    if depth == 0 {
        return Vec::new();
    }
    let mut paths = Vec::new();
    for before in BEFORE {
        for parent in HIDDEN {
            paths.push(format!("{prefix}/{before}{}leasehold-outside", parent.repeat(depth)));
        }
    }
    for parent in PLAIN {
        paths.push(format!("{prefix}/{}leasehold-outside", parent.repeat(depth)));
        // One more, since the segment before it takes one away where it is not merged.
        paths.push(format!("{prefix}//{}leasehold-outside", parent.repeat(depth.saturating_add(1))));
    }
    // Bytes that are no UTF-8: overlong forms of a dot and a slash, which old decoders take for them.
    paths.push(format!("{prefix}/..%c0%af{}leasehold-outside", "..%c0%af".repeat(depth)));
    paths.push(format!("{prefix}/{}leasehold-outside", "%c0%ae%c0%ae/".repeat(depth)));
    // Controls that end a path or a line for some.
    paths.push(format!("{prefix}/..%00/leasehold-outside"));
    paths.push(format!("{prefix}/%0d%0aleasehold-outside"));
    // A neighbour that begins with the same bytes.
    paths.push(format!("{prefix}leasehold-outside/x"));
    paths
}
