//! Secrets, headers, fingerprints and the log (E7 to E9, E13, E14, E16).

use leasehold::{
    code::Coded,
    egress::{
        Bearer, EchoError, EgressEvent, EgressLog, EgressRequest, EgressSink, LeaseStanding, PermitError,
        Secret, SecretError, SecretStore, SignedBody, Tunnel,
    },
    id::RuleId,
    lease::{Epoch, Fence, SecretRef, SecretScope},
    time::{Mono, Wall},
};
use serde_json::json;

use crate::world::*;

/// Invariant 10.
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

/// Invariant 10.
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

/// Invariant 10.
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

/// Invariant 9.
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
/// Invariant 10.
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

/// Invariant 10.
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
/// Invariant 13.
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

/// A body that contradicts its Content-Length is two bodies to two readers.
/// Invariant 9.
#[test]
fn e15_a_body_that_contradicts_its_length_is_refused() {
    let world = world(one_rule(json!({"methods": ["POST"]})));
    let own = fields(&[("content-length", "5")]);
    let post = EgressRequest::url("POST", "https://api.example.com/").headers(&own);
    assert_eq!(world.judge(&post.body_bytes(1)).code().as_str(), "egress.headers.framing");
    assert!(world.judge(&post.body_bytes(5)).allowed());
}

/// E8, E11: what a worker sent under the name of a binding is a credential too, and stays at its origin.
/// Invariant 10.
#[test]
fn e11_the_workers_own_copy_of_a_bound_header_stays_at_its_origin() {
    let world = world(json!({"max_redirects": 2, "rules": [
        {"id": "a", "hosts": ["a.example"], "credentials": [{"header": "x-key", "secret": "vault:a"}]},
        {"id": "b", "hosts": ["b.example"]},
    ]}));
    let own = fields(&[("X-Key", "mine"), ("Accept", "*/*")]);
    let plan = world.plan(&EgressRequest::url("GET", "https://a.example/").headers(&own));
    let next = plan.redirect(302, Some("https://b.example/"), &own).unwrap();
    assert_eq!(next.fields(), fields(&[("Accept", "*/*")]));
}

/// RFC 9110 section 10.1.1: Expect is about a body, and a redirect may drop that.
/// Invariant 9.
#[test]
fn e11_an_expectation_does_not_outlive_the_body() {
    let world = world(json!({"max_redirects": 2, "rules": [
        {"id": "a", "hosts": ["a.example"], "methods": ["GET", "POST"]},
    ]}));
    let own = fields(&[("Expect", "100-continue"), ("Content-Type", "text/plain"), ("Accept", "*/*")]);
    let plan = world.plan(&EgressRequest::url("POST", "https://a.example/").headers(&own).body_bytes(3));
    assert_eq!(plan.redirect(303, Some("/b"), &own).unwrap().fields(), fields(&[("Accept", "*/*")]));
    assert_eq!(plan.redirect(307, Some("/b"), &own).unwrap().fields(), own);
}

/// A header by which a server takes another method or path undoes a rule about them.
/// Invariant 9.
#[test]
fn override_headers_are_refused_unless_the_rule_lists_them() {
    let post = EgressRequest::url("POST", "https://api.example.com/");
    let own = fields(&[("X_HTTP_Method_Override", "DELETE")]);
    let strict = world(one_rule(json!({"methods": ["POST"]})));
    assert_eq!(strict.judge(&post.headers(&own)).code().as_str(), "egress.headers.override");
    let listed = json!({"methods": ["POST"], "override_headers": ["X-HTTP-Method-Override"]});
    let listing = world(one_rule(listed));
    let plan = listing.plan(&post.headers(&own));
    assert_eq!(plan.headers(&own, &Vault).unwrap().iter().len(), 1);
    assert!(plan.headers(&fields(&[("X-Original-URL", "/x")]), &Vault).is_err());
}

/// A credential has one place, and a place that can be written.
#[test]
fn a_credential_names_exactly_one_place() {
    let compiled = |binding: serde_json::Value| {
        let mut binding = binding;
        binding["secret"] = json!("vault:a");
        compile(one_rule(json!({"credentials": [binding]}))).err().map(|code| code.as_str())
    };
    for good in [
        json!({"header": "x-key"}),
        json!({"basic": ""}),
        json!({"basic": "user name"}),
        json!({"query": "api_key"}),
        json!({"path_segment": "TOKEN", "prefix": "bot"}),
    ] {
        assert_eq!(compiled(good.clone()), None, "{good}");
    }
    for bad in [
        json!({}),
        json!({"header": "x-key", "query": "key"}),
        json!({"basic": "a:b"}),
        json!({"query": ""}),
        json!({"query": "a&b"}),
        json!({"path_segment": ".."}),
        json!({"path_segment": "a/b"}),
    ] {
        assert_eq!(compiled(bad.clone()), Some("egress.policy.credential_place"), "{bad}");
    }
    let twice = |one: serde_json::Value, two: serde_json::Value| {
        compile(one_rule(json!({"credentials": [one, two]}))).err().map(|code| code.as_str())
    };
    let (basic, header) =
        (json!({"basic": "u", "secret": "vault:a"}), json!({"header": "Authorization", "secret": "vault:b"}));
    assert_eq!(twice(basic.clone(), header), Some("egress.policy.credential_conflict"));
    assert_eq!(twice(basic, json!({"query": "key", "secret": "vault:b"})), None);
}

/// Invariant 10: a secret in the query or the path is seen by the upstream only.
#[test]
fn e14_a_secret_of_the_target_is_visible_to_the_upstream_only() {
    let world = world(json!({"max_redirects": 2, "rules": [{
        "id": "api", "hosts": ["api.example.com"], "methods": ["GET"], "paths": ["/TOKEN/"],
        "credentials": [
            {"query": "key", "secret": "vault:team/api"},
            {"path_segment": "TOKEN", "secret": "vault:team/bot", "prefix": "bot"},
        ],
    }, {"id": "tunnels", "hosts": ["api.example.com"], "methods": ["CONNECT"], "tunnel": "any"}]}));
    let plan = world.plan(&EgressRequest::url("GET", "https://api.example.com/TOKEN/send?key=mine&u=it's"));
    assert!(plan.injects_target());
    let target = plan.target(&Vault).unwrap();
    assert_eq!(target.expose(), format!("/bot{SECRET}/send?u=it's&key={SECRET}"));
    assert_eq!(target.to_string(), "/bot***/send?u=it's&key=***");
    assert!(!format!("{plan:?} {target:?} {}", plan.url()).contains(SECRET));
    // What an upstream repeats in a Location does not come back into the next URL.
    let location = format!("/TOKEN/next?a=1&key={SECRET}");
    assert_eq!(
        plan.redirect(302, Some(&location), &[]).unwrap().url(),
        "https://api.example.com/TOKEN/next?a=1"
    );

    let code = |url| world.code(url);
    assert_eq!(code("https://api.example.com/other/send"), "egress.path.not_allowed");
    let tunnel = world.plan(&EgressRequest::tunnel("CONNECT", "api.example.com:443"));
    assert_eq!((tunnel.tunnel(), tunnel.injects_target()), (Tunnel::Any, false));
    assert_eq!(plan.tunnel(), Tunnel::Tls);
}

/// A required secret that has no place in the path is a request without it.
#[test]
fn a_required_path_segment_must_stand_in_the_path() {
    let rule = |required: bool| json!({"credentials": [{"path_segment": "TOKEN", "secret": "vault:a", "required": required}]});
    let url = "https://api.example.com/other";
    assert_eq!(world(one_rule(rule(true))).code(url), "egress.credentials.no_place");
    assert_eq!(world(one_rule(rule(false))).code(url), "egress.allowed");
}

/// Invariant 10: what a rule with `mask_echoes` puts in is masked in the answer as it is and as its place has it; the origin is
/// asked for an answer in which it can be found, and who would not mask gets nothing to send.
#[test]
fn what_a_rule_masks_is_masked_in_every_place_or_not_sent() {
    const PERCENT: &str = "hunter2%20of%2Fthe%20vault";
    struct Spaced;
    impl SecretStore for Spaced {
        fn secret(&self, reference: &SecretRef) -> Result<Option<Secret>, SecretError> {
            let text: &[u8] =
                if reference.as_str().ends_with("short") { b"1234567" } else { b"hunter2 of/the vault" };
            Secret::new(text.to_vec()).map(Some)
        }
    }
    let world = |place: serde_json::Value, secret: &str, masks: bool| {
        let mut credential = place;
        credential["secret"] = json!(secret);
        credential["mask_echoes"] = json!(masks);
        world(json!({"rules": [{"id": "api", "hosts": ["api.example.com"], "credentials": [credential]}]}))
    };
    let own = fields(&[
        ("Accept-Encoding", "gzip"),
        ("Range", "bytes=0-1"),
        ("if_range", "x"),
        ("A-IM", "vcdiff"),
        ("a", "b"),
    ]);
    let sign = json!({"sign": {"hmac": {"header": "x-signature", "template": "{method} {target}"}}});
    for (place, written) in [
        (json!({"header": "x-key", "prefix": "Key "}), "hunter2 of/the vault"),
        (json!({"basic": "u"}), "dTpodW50ZXIyIG9mL3RoZSB2YXVsdA=="),
        (json!({"query": "key"}), PERCENT),
        (json!({"path_segment": "TOKEN"}), PERCENT),
        // What the signature wrote; its key goes nowhere.
        (sign, ""),
    ] {
        let url = "https://api.example.com/TOKEN/x";
        let plan = world(place.clone(), "vault:a", true).plan(&EgressRequest::url("GET", url));
        assert!(plan.masks_echoes());
        let needed = PermitError::Echo(EchoError::Needed);
        if !plan.signs() {
            assert_eq!(plan.headers(&own, &Spaced).unwrap_err(), needed, "{place}");
        }
        assert_eq!(plan.target(&Spaced).unwrap_err(), needed, "{place}");
        let sent = plan.request(&own, SignedBody::Whole(b""), Wall(1_700_000_000_000), &Spaced).unwrap();
        let names: Vec<&str> = sent.headers.iter().map(|field| field.name()).collect();
        assert_eq!(names.first_chunk(), Some(&["a", "accept-encoding"]), "{place}");
        let signature = sent.headers.iter().find(|field| field.name() == "x-signature");
        let written =
            signature.map_or(written.into(), |field| String::from_utf8_lossy(field.expose_value()[1]));
        let raw = if signature.is_some() { "" } else { "hunter2 of/the vault" };
        let mut answer = format!("{written} and {raw}.").into_bytes();
        sent.echo.unwrap().mask(&mut answer);
        let due = format!("{} and {}.", "*".repeat(written.len()), "*".repeat(raw.len()));
        assert_eq!(String::from_utf8(answer).unwrap(), due, "{place}");

        let plan = world(place, "vault:a", false).plan(&EgressRequest::url("GET", url));
        let sent = plan.request(&own, SignedBody::Whole(b""), Wall(1_700_000_000_000), &Spaced).unwrap();
        assert!(sent.echo.is_none() && !plan.masks_echoes());
        assert_eq!(sent.headers.iter().next().map(|field| field.name()), Some("Accept-Encoding"));
    }
    let short = world(json!({"header": "x-key"}), "vault:short", true);
    let short = short.plan(&EgressRequest::url("GET", "https://api.example.com/"));
    let refused = short.request(&own, SignedBody::Whole(b""), Wall(1_700_000_000_000), &Spaced).unwrap_err();
    assert_eq!(refused.code().as_str(), "egress.echo.short_secret");
}
