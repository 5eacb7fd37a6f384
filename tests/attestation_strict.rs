//! The strict reader as its users see it: what it refuses, with which code, and that serde never sees more.

use std::collections::BTreeSet;

use leasehold::{
    attestation::strict::{Limits, StrictErrorKind as Kind, check},
    code::Coded as _,
};
use proptest::prelude::*;
use serde_json::Value;

fn kind(bytes: &[u8]) -> Option<Kind> {
    check(bytes, &Limits::GENERAL).err().map(|error| error.kind)
}

/// Attack A8, invariant 11: everything that a verifier must not take, and where it was seen.
#[test]
fn a8_what_is_not_strict_is_refused_with_its_kind_and_offset() {
    let cases: &[(&[u8], Kind, usize)] = &[
        (b"", Kind::Truncated, 0),
        (b" \n", Kind::Truncated, 2),
        (b"{", Kind::Truncated, 1),
        (b"[1", Kind::Truncated, 2),
        (b"\"ab", Kind::Truncated, 3),
        (b"tru", Kind::Truncated, 3),
        (b"-", Kind::Truncated, 1),
        (b"\xef\xbb\xbf{}", Kind::ByteOrderMark, 0),
        (b"[\"\xff\"]", Kind::Utf8, 2),
        (b"\"\xc0\xaf\"", Kind::Utf8, 1),
        (b"\"\xed\xa0\x80\"", Kind::Utf8, 1),
        (b"{} {}", Kind::Trailing, 3),
        (b"1\0", Kind::Trailing, 1),
        (b"{},", Kind::Trailing, 2),
        (b"[1,]", Kind::Grammar, 3),
        (b"{\"a\":1,}", Kind::Grammar, 7),
        (b"{a:1}", Kind::Grammar, 1),
        (b"[01]", Kind::Grammar, 1),
        (b"[1 2]", Kind::Grammar, 3),
        (b"[+1]", Kind::Grammar, 1),
        (b"[.5]", Kind::Grammar, 1),
        (b"[1.]", Kind::Grammar, 3),
        (b"[1e]", Kind::Grammar, 3),
        (b"[NaN]", Kind::Grammar, 1),
        (b"[nul]", Kind::Grammar, 4),
        (b"// c\n1", Kind::Grammar, 0),
        (b"\"a\nb\"", Kind::Control, 2),
        (b"\"longer than eight\x1f\"", Kind::Control, 18),
        (b"\"\\x41\"", Kind::Escape, 1),
        (b"\"\\u00g0\"", Kind::Escape, 1),
        (b"\"\\ud800\"", Kind::LoneSurrogate, 1),
        (b"\"\\udc00\"", Kind::LoneSurrogate, 1),
        (b"\"\\ud800\\ud800\"", Kind::LoneSurrogate, 1),
        (b"{\"a\":1,\"a\":2}", Kind::DuplicateKey, 7),
        (b"{\"a\":1,\"\\u0061\":2}", Kind::DuplicateKey, 7),
        (b"{\"\xf0\x9f\x98\x80\":1,\"\\ud83d\\ude00\":2}", Kind::DuplicateKey, 10),
        (b"[{\"x\":{\"b\":{},\"b\":{}}}]", Kind::DuplicateKey, 14),
        (b"[1e309]", Kind::NumberRange, 1),
        (b"-1e400", Kind::NumberRange, 0),
    ];
    for (bytes, want, offset) in cases {
        let error = check(bytes, &Limits::GENERAL).expect_err(&String::from_utf8_lossy(bytes));
        assert_eq!((error.kind, error.offset), (*want, *offset), "{}", String::from_utf8_lossy(bytes));
        assert!(error.code().as_str().starts_with("json."));
    }
}

#[test]
fn what_rfc_8259_allows_is_accepted() {
    for good in [
        "{}",
        "[]",
        "0",
        "-0",
        "-0.0e-0",
        "1e308",
        "1E+2",
        "null",
        "true",
        "\"\"",
        " [ 1 , { \"a\" : [ ] } ] \r\n\t",
        "\"\\u0000\\\"\\\\\\/\\b\\f\\n\\r\\t\"",
        "\"\\ud83d\\ude00\"",
        "{\"a\":1,\"A\":2,\"\":3}",
        "[{\"a\":1},{\"a\":1}]",
        "1e-400",
    ] {
        assert_eq!(check(good.as_bytes(), &Limits::GENERAL), Ok(()), "{good}");
    }
}

/// Attack A8: a depth bomb and 32 MiB cost nothing; 127 levels are the most.
#[test]
fn a8_depth_and_size_have_limits() {
    let nested = |depth: usize| ["[".repeat(depth), "]".repeat(depth)].concat().into_bytes();
    assert_eq!(kind(&nested(127)), None);
    assert_eq!(kind(&nested(128)), Some(Kind::TooDeep));
    assert_eq!(kind(&"{\"a\":".repeat(1_000_000).into_bytes()), Some(Kind::TooDeep));
    assert_eq!(kind(&vec![b' '; 32 << 20]), Some(Kind::TooLarge));
    let document = Limits::DOCUMENT;
    assert_eq!(check(&nested(1), &document).unwrap_err().kind, Kind::NotAnObject);
    let wide = format!("{{\"a\":[{}1]}}", "1,".repeat(4096));
    assert_eq!(check(wide.as_bytes(), &document).unwrap_err().kind, Kind::TooManyMembers);
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat(9));
    assert_eq!(check(long.as_bytes(), &document.string(8)).unwrap_err().kind, Kind::StringTooLong);
    assert_eq!(
        check(long.as_bytes(), &document.string(8).string(1 << 20)).unwrap_err().kind,
        Kind::StringTooLong
    );
}

/// Wide objects change how keys are kept; the verdict must not change with it.
#[test]
fn a_duplicate_is_found_in_wide_objects_too() {
    for count in 1..60 {
        let members: Vec<String> = (0..count).map(|n| format!("\"k{n}\":{{\"k0\":0}}")).collect();
        let unique = format!("{{{}}}", members.join(","));
        assert_eq!(kind(unique.as_bytes()), None, "{count}");
        for again in 0..count {
            let text = format!("{{{},\"k{again}\":0}}", members.join(","));
            let error = check(text.as_bytes(), &Limits::GENERAL).unwrap_err();
            assert_eq!((error.kind, error.offset), (Kind::DuplicateKey, unique.len()), "{text}");
        }
    }
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 64, 20, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..24)
                .prop_map(|map| map.into_iter().collect()),
        ]
    })
}

fn keys(value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::Array(list) => list.iter().for_each(|item| keys(item, into)),
        Value::Object(map) => map.iter().for_each(|(key, item)| {
            into.insert(key.clone());
            keys(item, into);
        }),
        _ => {}
    }
}

proptest! {
    /// What serde_json writes is strict: the reader refuses nothing that an honest writer makes.
    #[test]
    fn honest_documents_pass(value in value()) {
        prop_assert_eq!(check(&serde_json::to_vec(&value).unwrap(), &Limits::GENERAL), Ok(()));
        prop_assert_eq!(check(&serde_json::to_vec_pretty(&value).unwrap(), &Limits::GENERAL), Ok(()));
    }

    /// One byte changed anywhere: no panic, and whatever still passes serde_json reads to the same end.
    #[test]
    fn what_passes_serde_json_accepts(value in value(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = serde_json::to_vec(&value).unwrap();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if check(&bytes, &Limits::GENERAL).is_ok() {
            prop_assert!(serde_json::from_slice::<Value>(&bytes).is_ok(), "{}", String::from_utf8_lossy(&bytes));
        }
    }

    /// Repeating any object's key is refused, whatever stands between.
    #[test]
    fn a_repeated_key_never_passes(map in prop::collection::btree_map(any::<String>(), value(), 1..24),
                                   pick in any::<prop::sample::Index>()) {
        let again = pick.get(&map.keys().cloned().collect::<Vec<_>>()).clone();
        let mut text = serde_json::to_string(&map).unwrap();
        text.pop();
        text.push_str(&format!(",{}:0}}", serde_json::to_string(&again).unwrap()));
        prop_assert_eq!(kind(text.as_bytes()), Some(Kind::DuplicateKey));
        let mut seen = BTreeSet::new();
        keys(&serde_json::from_str(&text).unwrap(), &mut seen);
        prop_assert!(seen.contains(&again));
    }
}
