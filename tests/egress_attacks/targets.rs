//! Where requests go: hosts, addresses, ports, methods, and what is looked up (E1 to E6, E10).

use std::net::{IpAddr, SocketAddr};

use leasehold::{
    egress::{
        EgressRequest, LeaseRefusal, LookupFailure, PermitError, Stage, Step,
        address::{METADATA, blocks},
    },
    time::Mono,
};
use serde_json::json;

use crate::world::*;

/// Invariant 9.
#[test]
fn e1_an_empty_policy_reaches_nothing() {
    let world = world(json!({}));
    for url in ["https://api.example.com/", "http://93.184.216.34/", "https://localhost/"] {
        assert_eq!(world.code(url), "egress.host.not_allowed", "{url}");
    }
    let tunnel = EgressRequest::tunnel("CONNECT", "api.example.com:443");
    assert!(!world.judge(&tunnel).allowed());
    assert_eq!(world.lookups.get(), 0);
}

/// Invariant 9.
#[test]
fn e2_one_bad_answer_refuses_and_only_pinned_addresses_are_dialled() {
    let url = "https://api.example.com/";
    let mixed = world(one_rule(json!({}))).answering(&["93.184.216.34", "10.0.0.1"]);
    let verdict = mixed.get(url);
    assert_eq!(verdict.code().as_str(), "egress.address.private");
    assert!(verdict.addresses()[0].allowed && !verdict.addresses()[1].allowed);

    // A later lookup would answer something else; the plan knows only what was judged.
    let mut rebinding =
        world(one_rule(json!({}))).answering(&["93.184.216.34", "2606:4700::1", "93.184.216.34"]);
    let plan = rebinding.plan(&EgressRequest::url("GET", url));
    rebinding.answers = vec!["127.0.0.1".parse().unwrap()];
    let pinned: Vec<SocketAddr> =
        ["93.184.216.34:443", "[2606:4700::1]:443"].map(|text| text.parse().unwrap()).to_vec();
    assert_eq!(plan.addresses(), pinned);
    assert!(plan.confirm(pinned[0]).is_ok());
    // What a dual-stack socket reports for the same peer.
    assert!(plan.confirm("[::ffff:93.184.216.34]:443".parse().unwrap()).is_ok());
    for other in ["127.0.0.1:443", "93.184.216.34:80", "93.184.216.35:443"] {
        assert_eq!(plan.confirm(other.parse().unwrap()), Err(PermitError::Peer), "{other}");
    }
    assert_eq!(rebinding.code(url), "egress.address.loopback");
}

/// Invariant 9.
#[test]
fn e3_no_special_address_is_reached_by_name_or_by_literal() {
    let special = blocks().filter(|block| block.class.as_str() != "public").map(|block| block.network);
    let all: Vec<IpAddr> = special.chain(METADATA.iter().map(|own| own.address)).collect();
    assert!(all.len() > 70);
    for ip in all {
        let by_name = world(one_rule(json!({}))).answering(&[&ip.to_string()]);
        assert_eq!(
            by_name.get("https://api.example.com/").refusal().unwrap().stage(),
            Stage::Address,
            "{ip}"
        );
        let host = if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() };
        let by_literal = world(one_rule(json!({"hosts": [ip.to_string()]})));
        let verdict = by_literal.get(&format!("https://{host}/"));
        assert_eq!(verdict.refusal().unwrap().stage(), Stage::Address, "{ip}");
        assert_eq!(by_literal.lookups.get(), 0);
    }
}

/// Spellings that URL parsers disagree about, and those of public advisories: each is refused, or judged as what is dialled.
/// Invariant 9.
#[test]
fn e4_hostile_spellings_are_refused_or_judged_by_what_is_dialled() {
    let rule = json!({"any_host": true, "hosts": ["127.0.0.1", "api.test"], "schemes": ["http", "https"]});
    let world = world(one_rule(rule));
    for (url, code) in [
        ("http://2130706433/", "egress.host.numeric"),
        ("http://0x7f.1/", "egress.host.numeric"),
        ("http://0177.0.0.1/", "egress.host.numeric"),
        ("http://127.1/", "egress.host.numeric"),
        ("http://127.0.0.01/", "egress.host.numeric"),
        ("http://\u{2460}\u{2461}\u{2466}.0.0.1/", "egress.host.not_ascii"),
        ("http://\u{ff11}27.0.0.1/", "egress.host.not_ascii"),
        ("http://127\u{3002}0\u{3002}0\u{3002}1/", "egress.host.not_ascii"),
        ("http://169.254.169.254\u{200b}/", "egress.host.not_ascii"),
        ("http://localho\u{17f}t/", "egress.host.not_ascii"),
        ("http://%31%32%37.0.0.1/", "egress.host.character"),
        ("http://api.test\\@127.0.0.1/", "egress.url.backslash"),
        ("http://127.0.0.1\\@api.test/", "egress.url.backslash"),
        ("http://api.test@127.0.0.1/", "egress.url.userinfo"),
        ("http://:@api.test/", "egress.url.userinfo"),
        ("http:api.test/", "egress.url.malformed"),
        ("http:/api.test/", "egress.url.malformed"),
        ("http:///api.test/", "egress.host.empty"),
        (" http://api.test/", "egress.url.character"),
        ("http://api.test/ ", "egress.url.character"),
        ("http://api\t.test/", "egress.url.character"),
        ("http://api.test/\n", "egress.url.character"),
        ("ht\ntp://api.test/", "egress.url.character"),
        ("http://api.test\0/", "egress.url.character"),
        ("http://[127.0.0.1]/", "egress.host.literal"),
        ("http://[fe80::1%25eth0]/", "egress.host.literal"),
        ("http://[::1]x/", "egress.url.malformed"),
        ("http://[api.test]/", "egress.host.literal"),
        ("http://api.test:+80/", "egress.url.port"),
        ("http://api.test:080/", "egress.url.port"),
        ("http://api.test:/", "egress.allowed"),
        ("http://2606:4700::1/", "egress.host.literal"),
        ("http://2606:4700::1:80/", "egress.host.literal"),
        ("http://-a.test/", "egress.host.hyphen"),
        ("http://a-.test/", "egress.host.hyphen"),
        ("http://api.test:0/", "egress.url.port"),
        ("http://api.test:65536/", "egress.url.port"),
        ("http://api.test:80:80/", "egress.url.port"),
        ("http://api..test/", "egress.host.empty_label"),
        ("http://api.test../", "egress.host.empty_label"),
        ("http://api.test/#x", "egress.url.fragment"),
        ("http://api.test/%zz", "egress.url.percent"),
        ("//api.test/", "egress.url.malformed"),
        ("/", "egress.url.malformed"),
        ("", "egress.url.malformed"),
        ("ftp://api.test/", "egress.scheme.unsupported"),
        ("file:///etc/passwd", "egress.scheme.unsupported"),
        ("javascript:alert(1)", "egress.scheme.unsupported"),
        ("http://127.0.0.1./", "egress.address.loopback"),
        ("http://[::ffff:127.0.0.1]/", "egress.address.loopback"),
        ("http://[::ffff:7f00:1]/", "egress.address.loopback"),
        ("HTTP://API.TEST./", "egress.allowed"),
        ("http://api.test?x=\"<>", "egress.allowed"),
    ] {
        assert_eq!(world.code(url), code, "{url:?}");
    }
    let long = format!("https://api.test/{}", "a".repeat(20_000));
    assert_eq!(world.code(&long), "egress.url.too_long");
    for (authority, code) in [
        ("api.test", "egress.url.port"),
        ("api.test:+443", "egress.url.port"),
        ("api.test:", "egress.url.port"),
        ("2606:4700::1:443", "egress.host.literal"),
        ("https://api.test:443", "egress.url.malformed"),
        ("u@api.test:443", "egress.url.userinfo"),
        ("api.test:443/", "egress.url.malformed"),
        ("[api.test]:443", "egress.host.literal"),
        ("api.test:443 ", "egress.url.character"),
    ] {
        let request = EgressRequest::tunnel("CONNECT", authority);
        assert_eq!(world.judge(&request).code().as_str(), code, "{authority:?}");
    }
    for request in
        [EgressRequest::url("CONNECT", "https://api.test/"), EgressRequest::tunnel("GET", "api.test:443")]
    {
        assert_eq!(world.judge(&request).code().as_str(), "egress.url.form");
    }
}

/// What goes to the upstream is the canonical URL that was judged.
/// Invariant 9.
#[test]
fn e4_the_judged_spelling_is_the_one_that_is_sent() {
    let world = world(one_rule(json!({"hosts": [], "suffixes": ["example.com"]})));
    for (url, sent) in [
        ("HTTPS://API.Example.COM.:443/a/../b?c", "https://api.example.com/b?c"),
        ("https://xn--bcher-kva.example.com", "https://xn--bcher-kva.example.com/"),
        ("https://XN--a.example.com/%2e%2e/x", "https://xn--a.example.com/x"),
        ("https://a.example.com/\"<x>?y", "https://a.example.com/%22%3Cx%3E?y"),
        // The query leaves byte for byte: signatures are over it.
        (
            "https://a.example.com/x?u=it's&v=\"<>`{|}^[]%zz&?/../",
            "https://a.example.com/x?u=it's&v=\"<>`{|}^[]%zz&?/../",
        ),
        ("https://XN--a.example.com?it's", "https://xn--a.example.com/?it's"),
        ("https://a.example.com:/", "https://a.example.com/"),
    ] {
        let plan = world.plan(&EgressRequest::url("GET", url));
        assert_eq!(plan.url(), sent);
        assert_eq!(format!("https://{}{}", plan.host(), plan.path_and_query()), sent);
    }
}

/// Invariant 9.
#[test]
fn e5_suffix_rules_stop_at_labels() {
    let world = world(one_rule(json!({"hosts": [], "suffixes": ["example.com"]})));
    for (url, code) in [
        ("https://example.com/", "egress.allowed"),
        ("https://a.b.example.com/", "egress.allowed"),
        ("https://badexample.com/", "egress.host.not_allowed"),
        ("https://example.com.evil.net/", "egress.host.not_allowed"),
        ("https://93.184.216.34/", "egress.host.not_allowed"),
    ] {
        assert_eq!(world.code(url), code, "{url}");
    }
    assert_eq!(compile(one_rule(json!({"suffixes": ["34"]}))).err(), Some(leasehold::code::EGRESS_HOST_RULE));
}

/// Invariant 9.
#[test]
fn e6_ports_schemes_and_methods_that_no_rule_lists() {
    let world = world(one_rule(json!({"methods": ["GET", "TRACE"]})));
    assert_eq!(world.code("https://api.example.com:25/"), "egress.port.not_allowed");
    assert_eq!(world.code("http://api.example.com/"), "egress.scheme.not_allowed");
    assert_eq!(world.code("ftp://api.example.com/"), "egress.scheme.unsupported");
    let tunnel = EgressRequest::tunnel("CONNECT", "api.example.com:443");
    assert_eq!(world.judge(&tunnel).code().as_str(), "egress.method.not_allowed");
    for (method, code) in [
        ("G\r\nET", "egress.method.malformed"),
        ("", "egress.method.malformed"),
        ("GET /", "egress.method.malformed"),
        ("get", "egress.method.not_allowed"),
        ("TRACE", "egress.method.trace"),
    ] {
        let request = EgressRequest::url(method, "https://api.example.com/");
        assert_eq!(world.judge(&request).code().as_str(), code, "{method:?}");
    }
}

/// Invariant 9.
#[test]
fn e10_nothing_is_looked_up_for_a_request_that_is_refused_anyway() {
    let world = world(json!({
        "rules": [{
            "id": "api", "hosts": ["api.example.com"], "schemes": ["http", "https"], "methods": ["GET", "CONNECT"],
            "max_request_bytes": 1, "credentials": [credential()],
        }],
        "deny": {"hosts": ["denied.example.com"]},
    }));
    let bad = fields(&[("a", "b\r\nc")]);
    let https = "https://api.example.com/";
    for request in [
        EgressRequest::url("GET", "https://c2-data.evil.example/"),
        EgressRequest::url("GET", "https://denied.example.com/"),
        EgressRequest::url("GET", "https://api.example.com:8443/"),
        EgressRequest::url("POST", https),
        EgressRequest::url("GET", https).body_bytes(2),
        EgressRequest::url("GET", https).headers(&bad),
        EgressRequest::url("GET", "http://api.example.com/"),
        EgressRequest::tunnel("CONNECT", "api.example.com:443"),
        EgressRequest::url("GET", "https://api.example.com/%zz"),
    ] {
        let step = world.service.judge(&request, &world.bearer, &world.leases, Mono(0));
        assert!(matches!(&step, Step::Decided(verdict) if !verdict.allowed()), "{request:?}");
    }
    world.set(Err(LeaseRefusal::Ended));
    let request = EgressRequest::url("GET", https);
    assert!(matches!(world.service.judge(&request, &world.bearer, &world.leases, Mono(0)), Step::Decided(_)));
}

/// An address on the deny list is denied to whatever leads there: by name, by literal, and behind translators.
/// Invariant 9.
#[test]
fn a_denied_address_is_denied_however_it_is_reached() {
    let denied = |deny: serde_json::Value, rule: serde_json::Value, answer: &str| {
        let mut policy = one_rule(rule);
        policy["deny"] = deny;
        policy["nat64"] = json!("judge_inner");
        policy["nat64_prefixes"] = json!(["2a00:1098:2b::/96"]);
        world(policy).answering(&[answer]).code("https://api.example.com/")
    };
    for deny in [json!({"addresses": ["93.184.216.0/24"]}), json!({"hosts": ["93.184.216.34"]})] {
        for answer in
            ["93.184.216.34", "::ffff:93.184.216.34", "64:ff9b::93.184.216.34", "2a00:1098:2b::93.184.216.34"]
        {
            assert_eq!(denied(deny.clone(), json!({}), answer), "egress.address.denied", "{deny} {answer}");
        }
        assert_eq!(denied(deny, json!({}), "2a00:1098:2b::8.8.8.8"), "egress.allowed");
    }
    let declared = json!({"ports": [443], "private_addresses": ["64:ff9b:1::/48"]});
    let private = || json!({"addresses": ["10.0.0.0/8"]});
    for answer in ["64:ff9b:1:a00:0:100:0:1", "64:ff9b:1:0:a:0:100::", "64:ff9b:1::10.0.0.1"] {
        assert_eq!(denied(private(), declared.clone(), answer), "egress.address.denied", "{answer}");
    }
    assert_eq!(denied(json!({}), declared.clone(), "64:ff9b:1:a00:0:100:0:1"), "egress.allowed");
    assert_eq!(denied(json!({}), declared, "64:ff9b:1:0:a9:fea9:fe00:0"), "egress.address.metadata");
}

/// A failed lookup is not an empty answer, and each failure has its own code; one family is enough.
/// Invariant 9.
#[test]
fn a_failed_lookup_says_how_it_failed() {
    let world = world(one_rule(json!({})));
    let request = EgressRequest::url("GET", "https://api.example.com/");
    let pending = || match world.service.judge(&request, &world.bearer, &world.leases, Mono(0)) {
        Step::Lookup(pending) => pending,
        Step::Decided(verdict) => panic!("{verdict:?}"),
    };
    for (failure, code, status) in [
        (LookupFailure::NxDomain, "egress.dns.nxdomain", 502),
        (LookupFailure::ServFail, "egress.dns.servfail", 502),
        (LookupFailure::Refused, "egress.dns.refused", 502),
        (LookupFailure::Timeout, "egress.dns.timeout", 504),
    ] {
        let verdict = pending().failed(failure);
        assert_eq!((verdict.code().as_str(), verdict.rule().map(|rule| rule.as_str())), (code, Some("api")));
        let refusal = verdict.refusal().unwrap();
        assert_eq!((refusal.stage(), refusal.http_status()), (Stage::Dns, status));
    }
    assert_eq!(pending().answers([]).code().as_str(), "egress.dns.no_answer");
    assert!(pending().answers(["93.184.216.34".parse().unwrap()]).allowed());
}

/// Messages say what to write instead.
#[test]
fn a_refusal_says_what_to_do_instead() {
    let world = world(one_rule(json!({"methods": ["GET", "CONNECT"], "paths": ["/v1/"]})));
    let message = |request: EgressRequest<'_>| world.judge(&request).refusal().unwrap().to_string();
    assert!(message(EgressRequest::tunnel("CONNECT", "api.example.com:443")).contains("leave its paths out"));
    assert!(message(EgressRequest::tunnel("CONNECT", "2606:4700::1:443")).contains("needs brackets"));
}
