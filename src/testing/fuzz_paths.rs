//! How servers read paths, written down a second time and in another way than the decision reads them: what the decision
//! lets through under a prefix, no chain of reading steps takes out of it.

use alloc::{format, string::String, vec::Vec};
use core::str;

use super::fuzz_egress::allows;
use crate::egress::{EgressPolicy, EgressProxyPolicyService, EgressRule};

/// One thing that a server may do to a path before it looks for the resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    /// Percent-decoding.
    Decode,
    /// Percent-decoding of everything but slashes.
    DecodeButSlashes,
    /// Each segment ends at its first semicolon.
    DropParameters,
    /// Backslashes become slashes.
    TurnBackslashes,
    /// Runs of slashes become one.
    MergeSlashes,
    /// RFC 3986 section 5.2.4.
    FollowDots,
    /// A decoder of UTF-8 that takes overlong forms and skips what it does not understand.
    LenientText,
    /// The path ends at a question mark or a number sign.
    EndAtQuery,
    /// Names lose the blanks at their ends.
    TrimBlanks,
}

/// Each step and how often it may be taken. Twice decoded is what a proxy before a server does.
const STEPS: [(Reading, usize); 9] = [
    (Reading::Decode, 2),
    (Reading::DecodeButSlashes, 1),
    (Reading::DropParameters, 1),
    (Reading::TurnBackslashes, 1),
    (Reading::MergeSlashes, 1),
    (Reading::FollowDots, 1),
    (Reading::LenientText, 1),
    (Reading::EndAtQuery, 1),
    (Reading::TrimBlanks, 1),
];

/// The longest chain of steps before the dot segments are followed for good.
const MAX_STEPS: usize = 5;

fn per_segment(path: &[u8], each: impl Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let segments: Vec<Vec<u8>> = path.split(|byte| *byte == b'/').map(each).collect();
    segments.join(&b'/')
}

fn decoded(path: &[u8], keeps: &[u8]) -> Vec<u8> {
    let mut parts = path.split(|byte| *byte == b'%');
    let mut out = parts.next().unwrap_or_default().to_vec();
    for part in parts {
        let byte = part.get(..2).and_then(|pair| str::from_utf8(pair).ok()).filter(|pair| {
            // `from_str_radix` takes a sign.
            pair.bytes().all(|digit| digit.is_ascii_hexdigit())
        });
        match byte.and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
            Some(byte) if !keeps.contains(&byte) => {
                out.push(byte);
                out.extend_from_slice(part.get(2..).unwrap_or_default());
            }
            _ => {
                out.push(b'%');
                out.extend_from_slice(part);
            }
        }
    }
    out
}

/// Two and three bytes of the old, lenient kind, and nothing else outside ASCII.
fn lenient(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = path;
    loop {
        match rest {
            [] => return out,
            [0xc0..=0xc1, low @ 0x80..=0xbf, tail @ ..] => {
                out.push((rest.first().copied().unwrap_or(0) & 1) << 6 | (low & 0x3f));
                rest = tail;
            }
            [0xe0, 0x80 | 0x81, low @ 0x80..=0xbf, tail @ ..] => {
                out.push(low & 0x3f);
                rest = tail;
            }
            [byte, tail @ ..] => {
                if byte.is_ascii() {
                    out.push(*byte);
                }
                rest = tail;
            }
        }
    }
}

/// The segments without the one before the first slash; an empty one at the end stands for the slash there.
fn followed(path: &[u8]) -> Vec<&[u8]> {
    let mut out: Vec<&[u8]> = Vec::new();
    let mut segments = path.split(|byte| *byte == b'/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_dots = matches!(segment, b"." | b"..");
        if segment == b".." {
            out.pop();
        }
        if !is_dots {
            out.push(segment);
        } else if segments.peek().is_none() {
            out.push(b"");
        }
    }
    out
}

impl Reading {
    fn of(self, path: &[u8]) -> Vec<u8> {
        match self {
            Self::Decode => decoded(path, b""),
            Self::DecodeButSlashes => decoded(path, b"/"),
            Self::DropParameters => per_segment(path, |segment| {
                segment.split(|byte| *byte == b';').next().unwrap_or_default().to_vec()
            }),
            Self::TurnBackslashes => {
                path.iter().map(|byte| if *byte == b'\\' { b'/' } else { *byte }).collect()
            }
            Self::MergeSlashes => {
                let mut merged = path.to_vec();
                merged.dedup_by(|next, held| *next == b'/' && *held == b'/');
                merged
            }
            Self::FollowDots => {
                let mut out = Vec::new();
                for segment in followed(path) {
                    out.push(b'/');
                    out.extend_from_slice(segment);
                }
                out
            }
            Self::LenientText => lenient(path),
            Self::EndAtQuery => {
                path.split(|byte| matches!(byte, b'?' | b'#')).next().unwrap_or_default().to_vec()
            }
            Self::TrimBlanks => per_segment(path, |segment| segment.trim_ascii_end().to_vec()),
        }
    }
}

/// Whether the server whose last step this is looks below `prefix`.
fn inside(path: &[u8], prefix: &[u8]) -> bool {
    let (path, mut prefix) = (followed(path), followed(prefix));
    if prefix.last() == Some(&&b""[..]) {
        prefix.pop();
    }
    path.starts_with(&prefix)
}

/// The chain of steps that takes `path` out of `prefix`, where there is one. Each step reads both.
fn way_out(path: &[u8], prefix: &[u8], left: &mut [(Reading, usize)], chain: &mut Vec<Reading>) -> bool {
    if !inside(path, prefix) {
        return true;
    }
    if chain.len() == MAX_STEPS {
        return false;
    }
    for at in 0..left.len() {
        let Some((step, count)) = left.get(at).copied().filter(|(_, count)| *count > 0) else { continue };
        let (read, read_prefix) = (step.of(path), step.of(prefix));
        // A step without an effect is a server that was looked at already.
        if read == path && read_prefix == prefix {
            continue;
        }
        let mut set = |to| left.get_mut(at).into_iter().for_each(|own| own.1 = to);
        set(count.saturating_sub(1));
        chain.push(step);
        let out = way_out(&read, &read_prefix, left, chain);
        if out {
            return true;
        }
        chain.pop();
        left.get_mut(at).into_iter().for_each(|own| own.1 = count);
    }
    false
}

/// A prefix, a line feed, a path: a rule with that prefix lets the path through only where every server that reads both
/// in the same way finds the one below the other.
pub fn paths(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let Some((prefix, path)) = text.split_once('\n') else { return };
    // Chains are many, so paths are short.
    if path.len() > 96 {
        return;
    }
    let rule = EgressRule {
        id: "r".into(),
        hosts: [String::from("api.example.com")].into(),
        paths: Some([String::from(prefix)].into()),
        ..EgressRule::default()
    };
    let policy = EgressPolicy { rules: [rule].into(), ..EgressPolicy::default() };
    let Ok(service) = EgressProxyPolicyService::compile(&policy) else { return };
    let Some(sent) = allows(&service, &format!("https://api.example.com{path}")) else { return };
    // The case of hex digits means nothing (RFC 3986 section 6.2.2.1).
    let same_case = |path: &str| path.replace("%2f", "%2F");
    let (sent, prefix) = (same_case(sent.split('?').next().unwrap_or_default()), same_case(prefix));
    let mut chain = Vec::new();
    let out = way_out(sent.as_bytes(), prefix.as_bytes(), &mut STEPS.clone(), &mut chain);
    assert!(!out, "{sent} is let through under {prefix}, and a server leaves it by {chain:?}");
}

/// Inputs to begin with.
pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let texts: [(&'static str, &str); 16] = [
        ("path-ordinary", "/v1/\n/v1/a;b=c/d%20e?f=..%2f"),
        ("path-encoded-slash", "/v1/\n/v1/group%2Fproject"),
        ("path-scope", "/@scope%2fname\n/@scope%2Fname/-/name-1.0.tgz"),
        ("path-parameter-only", "/v1/\n/v1/;a/..;/x"),
        ("path-parameter-encoded", "/v1/\n/v1/;a/..%2fx"),
        ("path-parameter-dots", "/v1/\n/v1/..;a=b/x"),
        ("path-twice", "/v1/\n/v1/%252e%252e%252fx"),
        ("path-backslash", "/v1/\n/v1/..%5cx"),
        ("path-one-segment", "/v1/\n/v1/a%2fb/..;/..;/x"),
        ("path-empty-segment", "/v1\n/v1//..%2f..%2fx"),
        ("path-up-and-down", "/v1/\n/v1/x/..%2fy"),
        ("path-query", "/v1/\n/v1/..%3fx"),
        ("path-blank", "/v1/\n/v1/..%20/x"),
        ("path-overlong", "/v1/\n/v1/%c0%ae%c0%ae%c0%afx"),
        ("path-ill-formed", "/v1/\n/v1/.%ff./x"),
        ("path-fullwidth", "/v1/\n/v1/%ef%bc%8e%ef%bc%8e/x"),
    ];
    texts.into_iter().map(|(name, text)| (name, text.as_bytes().to_vec())).collect()
}
