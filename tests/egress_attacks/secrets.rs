//! Secrets, headers, fingerprints and the log (E7 to E9, E13, E14, E16).

use leasehold::{
    code::Coded,
    egress::{Bearer, EgressEvent, EgressLog, EgressRequest, EgressSink, LeaseStanding},
    id::RuleId,
    lease::{Epoch, Fence, SecretRef, SecretScope},
    time::Mono,
};
use serde_json::json;

use crate::world::*;

#[test]
fn e7_headers_that_no_credential_may_set_do_not_build() {
    for header in [
        "a\r\nb",
        "a:b",
        "a b",
        "",
        "Host",
        "Content-Length",
        "Transfer-Encoding",
        "Connection",
        "TE",
        "Trailer",
        "Upgrade",
        "Proxy-Authorization",
        "proxy-x",
    ] {
        let mut binding = credential();
        binding["header"] = header.into();
        let code = compile(one_rule(json!({"credentials": [binding]}))).err();
        assert_eq!(code, Some(leasehold::code::EGRESS_POLICY_HEADER), "{header:?}");
    }
    for prefix in ["a\r\nb: c", "a\0"] {
        let mut binding = credential();
        binding["prefix"] = prefix.into();
        assert!(compile(one_rule(json!({"credentials": [binding]}))).is_err());
    }
}

#[test]
fn e8_credentials_go_over_tls_to_their_origin_only() {
    let policy = json!({
        "rules": [
            {"id": "api", "hosts": ["api.example.com"], "schemes": ["http", "https"], "credentials": [credential()]},
            {"id": "other", "hosts": ["other.example.com"]},
        ],
        "max_redirects": 3,
    });
    let world = world(policy);
    assert_eq!(world.code("http://api.example.com/"), "egress.credentials.not_tls");

    let worker = [("authorization", "mine"), ("cookie", "a=b"), ("accept", "x")];
    let own = fields(&worker);
    let plan = world.plan(&EgressRequest::url("GET", "https://api.example.com/").headers(&own));
    assert_eq!(plan.injected().collect::<Vec<_>>(), ["authorization"]);

    let next = plan.redirect(302, Some("https://other.example.com/"), &own).unwrap();
    let carried = next.fields();
    assert_eq!(carried, fields(&[("accept", "x")]));
    let plan = world.plan(&next.request(&carried));
    assert_eq!(plan.injected().count(), 0);
    // Back again: the binding of the first origin applies, and what was dropped does not come back.
    let back = plan.redirect(302, Some("https://api.example.com/"), &carried).unwrap();
    let carried = back.fields();
    let plan = world.plan(&back.request(&carried));
    let sent = plan.headers(&carried, &Vault).unwrap();
    assert_eq!(format!("{sent:?}"), "OutgoingHeaders([accept: x, authorization: Bearer ***])");

    let down = plan.redirect(301, Some("http://api.example.com/"), &carried).unwrap_err();
    assert_eq!(down.code().as_str(), "egress.redirect.downgrade");
}

#[test]
fn e9_a_workers_own_credential_is_replaced_once() {
    let world = world(one_rule(json!({"credentials": [credential()]})));
    let worker = [
        ("AUTHORIZATION", "Bearer mine"),
        ("Authorization", "Basic mine"),
        ("Connection", "close"),
        ("a", "b"),
    ];
    let own = fields(&worker);
    let plan = world.plan(&EgressRequest::url("GET", "https://api.example.com/").headers(&own));
    let sent = plan.headers(&own, &Vault).unwrap();
    let lines: Vec<String> = sent.iter().map(ToString::to_string).collect();
    assert_eq!(lines, ["a: b", "authorization: Bearer ***"]);
    let value = sent.iter().last().unwrap().expose_value().concat();
    assert_eq!(value, format!("Bearer {SECRET}").as_bytes());
}

#[test]
fn e13_different_requests_have_different_fingerprints() {
    let one = fields(&[("ab", "c")]);
    let two = fields(&[("a", "bc")]);
    let twice = fields(&[("ab", "c"), ("ab", "c")]);
    let (api, bpi) = (RuleId::new("api").unwrap(), RuleId::new("bpi").unwrap());
    let base = || EgressRequest::url("GET", "https://a.example/");
    let requests = [
        base(),
        EgressRequest::url("GE", "Thttps://a.example/"),
        EgressRequest::url("GET", "https://a.example/?"),
        EgressRequest::tunnel("GET", "https://a.example/"),
        base().headers(&one),
        base().headers(&two),
        base().headers(&twice),
        base().body_bytes(0),
        base().body_bytes(1),
        base().body_of_unknown_size(),
        base().through_rule(&api),
        base().through_rule(&bpi),
    ];
    let bearers = [("w1", 7), ("w1", 8), ("w2", 7)]
        .map(|(name, counter)| Bearer { worker: worker(name), fence: Fence::new(Epoch(1), counter) });
    let policies = [compile(json!({})).unwrap().digest(), compile(one_rule(json!({}))).unwrap().digest()];
    let mut seen = std::collections::BTreeSet::new();
    for request in &requests {
        for bearer in &bearers {
            for policy in policies {
                assert!(seen.insert(request.fingerprint(bearer, policy)), "{request:?} {bearer:?}");
                assert_eq!(request.fingerprint(bearer, policy), request.fingerprint(bearer, policy));
            }
        }
    }
}

// invariant 10
#[test]
fn e14_a_secret_is_visible_to_the_upstream_only() {
    let world = world(one_rule(json!({"credentials": [credential()], "max_request_bytes": 1})));
    let own = fields(&[("authorization", "worker-token-77"), ("a", "b")]);
    let request = EgressRequest::url("GET", "https://api.example.com/").headers(&own);
    let verdict = world.judge(&request);
    let event = EgressEvent::of(&verdict, &request, &world.bearer, world.service.digest(), Mono(0));
    let mut seen = vec![
        format!("{request:?}"),
        format!("{verdict:?}"),
        format!("{event:?}"),
        serde_json::to_string(&event).unwrap(),
    ];
    let plan = verdict.into_permit().unwrap().redeem(&world.bearer, &world.leases, Mono(0)).unwrap();
    seen.push(format!("{plan:?}"));
    let headers = plan.headers(&own, &Vault).unwrap();
    seen.push(format!("{headers:?} {:?}", headers.iter().map(ToString::to_string).collect::<Vec<_>>()));
    seen.push(format!("{:?}", world.service));
    for text in seen {
        assert!(!text.contains(SECRET) && !text.contains("worker-token"), "{text}");
    }
    // The one place where it is.
    assert!(headers.iter().any(|header| header.expose_value()[1] == SECRET.as_bytes()));

    for (secret, code) in
        [("vault:gone", "egress.credentials.missing"), ("vault:sealed", "egress.credentials.store")]
    {
        let binding = json!({"header": "x-key", "secret": secret});
        let world = self::world(one_rule(json!({"credentials": [binding]})));
        let plan = world.plan(&EgressRequest::url("GET", "https://api.example.com/"));
        assert_eq!(plan.headers(&[], &Vault).unwrap_err().code().as_str(), code);
    }
}

#[test]
fn e16_only_vault_references_within_the_lease_are_used() {
    for secret in ["env:TOKEN", "file:/run/secret", "exec:print-token", "vault:", "TOKEN", "vault:../x"] {
        let binding = json!({"header": "x-key", "secret": secret});
        let code = compile(one_rule(json!({"credentials": [binding]}))).err();
        assert_eq!(code, Some(leasehold::code::EGRESS_POLICY_SECRET), "{secret}");
    }
    for required in [true, false] {
        let binding = json!({"header": "x-key", "secret": "vault:team/api", "required": required});
        let world = world(one_rule(json!({"credentials": [binding]})));
        let scope = |text: &str| SecretScope::only([SecretRef::new(text).unwrap()]).unwrap();
        world.set(Ok(LeaseStanding { secrets: scope("vault:team/api"), ..standing() }));
        assert_eq!(world.code("https://api.example.com/"), "egress.allowed");
        world.set(Ok(LeaseStanding { secrets: scope("vault:team/other"), ..standing() }));
        assert_eq!(world.code("https://api.example.com/"), "egress.credentials.out_of_scope");
        assert_eq!(world.lookups.get(), 1);
    }
}

/// A worker cannot push earlier refusals out of the log, and allowed verdicts are sampled.
#[test]
fn the_log_is_bounded_and_keeps_what_came_first() {
    let world = world(one_rule(json!({})));
    let mut log = EgressLog::new(3, 10);
    let mut record = |url: &str| {
        let request = EgressRequest::url("GET", url);
        let verdict = world.judge(&request);
        log.record(EgressEvent::of(&verdict, &request, &world.bearer, world.service.digest(), Mono(1)));
    };
    record("https://first.example/");
    for _ in 0..20 {
        record("https://api.example.com/");
    }
    for _ in 0..5 {
        record("https://flood.example/");
    }
    assert_eq!((log.lost(), log.allowed()), (5, 20));
    let kept: Vec<EgressEvent> = log.drain().collect();
    assert_eq!(kept.iter().map(|event| event.allowed).collect::<Vec<_>>(), [false, true, true]);
    assert_eq!(kept[0].host.as_deref(), Some("first.example"));
}
