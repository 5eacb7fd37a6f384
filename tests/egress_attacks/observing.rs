//! Observe mode reports what rules would refuse, and lends what it lets through nothing of a rule but its limits.

use leasehold::{
    egress::{EgressRequest, PermitError, TlsHello},
    time::Mono,
};
use serde_json::json;

use crate::world::*;

fn observing(rule: serde_json::Value) -> World {
    let mut policy = one_rule(rule);
    policy["mode"] = json!("observe");
    world(policy)
}

/// Invariant 9.
#[test]
fn observing_lends_nobody_the_private_ranges_of_a_rule() {
    let world =
        observing(json!({"ports": [443], "private_addresses": ["10.0.0.0/8"]})).answering(&["10.0.0.1"]);
    assert_eq!(world.code("https://other.example.com/"), "egress.address.private");
    assert_eq!(world.code("https://api.example.com/"), "egress.allowed");
}

/// Invariant 10.
#[test]
fn observing_lends_nobody_the_credentials_of_a_rule() {
    let world = observing(json!({"credentials": [credential()]}));
    let plan = world.plan(&EgressRequest::url("GET", "https://other.example.com/"));
    assert_eq!(plan.injected().count(), 0);
    assert!(plan.headers(&[], &Vault).unwrap().iter().all(|header| !header.is_injected()));
    let plan = world.plan(&EgressRequest::url("GET", "https://api.example.com/"));
    assert_eq!(plan.injected().collect::<Vec<_>>(), ["authorization"]);
}

/// Invariant 9.
#[test]
fn observing_lends_nobody_the_hidden_server_name_of_a_rule() {
    let world = observing(json!({"methods": ["CONNECT"], "hidden_server_name": true}));
    let nameless =
        [&[0x16, 3, 1, 0, 47, 1, 0, 0, 43, 3, 3][..], &[7; 32], &[0, 0, 2, 0x13, 1, 1, 0, 0, 0]].concat();
    let nameless = TlsHello::read(&nameless).unwrap().unwrap();
    let judge = |authority| world.plan(&EgressRequest::tunnel("CONNECT", authority)).check_hello(&nameless);
    assert_eq!(judge("other.example.com:443"), Err(PermitError::ServerName));
    assert_eq!(judge("api.example.com:443"), Ok(()));
}

/// The report is there, and the permit is one like any other.
#[test]
fn observing_reports_what_the_rules_would_refuse() {
    let world = observing(json!({}));
    let verdict = world.get("https://other.example.com/");
    assert_eq!(verdict.would_refuse().unwrap().code.as_str(), "egress.host.not_allowed");
    let permit = verdict.into_permit().unwrap();
    assert!(permit.redeem(&world.bearer, &world.leases, Mono(0)).is_ok());
}
