//! Paths that servers read in different ways (E4): a rule with paths refuses what any of them may read as outside.

use serde_json::json;

use crate::world::*;

/// A parameter that is a whole segment, an encoded slash, dots that appear only by decoding: whatever reading a server
/// has, it is below the prefix (invariant 9).
#[test]
fn e4_no_reading_of_an_allowed_path_leaves_its_prefix() {
    let world = world(one_rule(json!({"paths": ["/v1/", "/@scope%2Fname"]})));
    for path in [
        "/v1/;a/..;/x",
        "/v1/;a/..%2fx",
        "/v1/;/%2e%2e;/x",
        "/v1/..;/x",
        "/v1//..%2f..%2fx",
        "/v1/a%2fb/..;/..;/x",
        "/v1/x/..;/..;/y",
        "/v1/..%5cx",
        "/v1/..%255cx",
        "/v1/%252e%252e/x",
        "/v1/..%3fx",
        "/v1/%c0%ae%c0%ae/x",
        "/v1/%ef%bc%8e%ef%bc%8e/x",
        "/v1/.%ff./x",
        "/v1/%fe",
        "/v1/x%00",
        "/v1",
        "/v1;a/x",
        "/v2/",
        "/@scope/name",
        "/@scope%252fname",
        "/@scope%2fname%2fx",
        "/@scope%2fname/..;/x",
    ] {
        assert_eq!(
            world.code(&format!("https://api.example.com{path}")),
            "egress.path.not_allowed",
            "{path}"
        );
    }
    for path in [
        "/v1/",
        "/v1/a;b=c/d",
        "/v1/group%2Fproject",
        "/v1/x/..%2fy",
        "/v1/caf%c3%a9%20au%20lait/100%25",
        "/v1/x/../y",
        "/v1/a?b=/../..%2f;c",
        "/@scope%2fname",
        "/@scope%2Fname/-/name-1.0.0.tgz",
    ] {
        assert_eq!(world.code(&format!("https://api.example.com{path}")), "egress.allowed", "{path}");
    }
}
