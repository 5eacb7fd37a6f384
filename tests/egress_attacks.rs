//! ATTACKS.md, family "Egress": every row that needs no socket, by its number.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use leasehold::{
    code::{Code, Coded},
    egress::{
        Bearer, ConnectPlan, EgressEvent, EgressLog, EgressPermit, EgressPolicy, EgressProxyPolicyService,
        EgressRequest, EgressSink, EgressVerdict, HeaderField, LeaseCheck, LeaseRefusal, LeaseStanding,
        PERMIT_LIFETIME, PermitError, Secret, SecretError, SecretStore, Stage, Step,
        address::{METADATA, blocks},
    },
    id::{RuleId, WorkerId},
    lease::{EgressScope, Epoch, Fence, SecretRef, SecretScope},
    time::Mono,
};
use serde_json::{Value, json};

const SECRET: &str = "tok-4f9c2e";

/// Leases that tests change under way.
struct Leases(RefCell<BTreeMap<Fence, Result<LeaseStanding, LeaseRefusal>>>);

impl LeaseCheck for Leases {
    fn standing(&self, fence: Fence, _now: Mono) -> Result<LeaseStanding, LeaseRefusal> {
        self.0.borrow().get(&fence).cloned().unwrap_or(Err(LeaseRefusal::Unknown))
    }
}

struct Vault;

impl SecretStore for Vault {
    fn secret(&self, reference: &SecretRef) -> Result<Option<Secret>, SecretError> {
        match reference.as_str() {
            "vault:gone" => Ok(None),
            "vault:sealed" => Err(SecretError::Store),
            _ => Secret::new(SECRET.as_bytes().to_vec()).map(Some),
        }
    }
}

struct World {
    service: EgressProxyPolicyService,
    leases: Leases,
    bearer: Bearer,
    answers: Vec<IpAddr>,
    lookups: Cell<u32>,
}

const FENCE: Fence = Fence::new(Epoch(1), 7);

fn worker(name: &str) -> WorkerId {
    WorkerId::new(name).unwrap()
}

fn standing() -> LeaseStanding {
    LeaseStanding {
        worker: worker("w1"),
        expires: Mono(600_000),
        egress: EgressScope::all(),
        secrets: SecretScope::all(),
    }
}

fn compile(policy: Value) -> Result<EgressProxyPolicyService, Code> {
    let policy: EgressPolicy = serde_json::from_value(policy).expect("the form of the policy");
    EgressProxyPolicyService::compile(&policy).map_err(|error| error.code())
}

fn world(policy: Value) -> World {
    World {
        service: compile(policy).expect("the policy"),
        leases: Leases(RefCell::new(BTreeMap::from([(FENCE, Ok(standing()))]))),
        bearer: Bearer { worker: worker("w1"), fence: FENCE },
        answers: vec!["93.184.216.34".parse().unwrap()],
        lookups: Cell::new(0),
    }
}

impl World {
    fn judge(&self, request: &EgressRequest<'_>) -> EgressVerdict {
        self.service.decide(request, &self.bearer, &self.leases, Mono(0), |_| {
            self.lookups.set(self.lookups.get() + 1);
            self.answers.clone()
        })
    }

    fn get(&self, url: &str) -> EgressVerdict {
        self.judge(&EgressRequest::url("GET", url))
    }

    fn code(&self, url: &str) -> &'static str {
        self.get(url).code().as_str()
    }

    fn answering(mut self, answers: &[&str]) -> Self {
        self.answers = answers.iter().map(|text| text.parse().unwrap()).collect();
        self
    }

    fn plan(&self, request: &EgressRequest<'_>) -> ConnectPlan {
        let permit = self.judge(request).into_permit().expect("allowed");
        permit.redeem(&self.bearer, &self.leases, Mono(0)).expect("redeemed")
    }

    fn set(&self, standing: Result<LeaseStanding, LeaseRefusal>) {
        self.leases.0.borrow_mut().insert(FENCE, standing);
    }
}

fn one_rule(extra: Value) -> Value {
    let mut rule = json!({"id": "api", "hosts": ["api.example.com"]});
    for (key, value) in extra.as_object().unwrap() {
        rule[key] = value.clone();
    }
    json!({"rules": [rule]})
}

fn credential() -> Value {
    json!({"header": "authorization", "secret": "vault:team/api", "prefix": "Bearer "})
}

fn fields<'a>(pairs: &'a [(&'a str, &'a str)]) -> Vec<HeaderField<'a>> {
    pairs.iter().map(|(name, value)| HeaderField { name, value: value.as_bytes() }).collect()
}

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

#[test]
fn e3_no_special_address_is_reached_by_name_or_by_literal() {
    let special = blocks().filter(|block| block.class.as_str() != "public").map(|block| block.network);
    let all: Vec<IpAddr> = special.chain(METADATA.iter().map(|(ip, _)| *ip)).collect();
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
        ("http://api.test:/", "egress.url.port"),
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
#[test]
fn e4_the_judged_spelling_is_the_one_that_is_sent() {
    let world = world(one_rule(json!({"hosts": [], "suffixes": ["example.com"]})));
    for (url, sent) in [
        ("HTTPS://API.Example.COM.:443/a/../b?c", "https://api.example.com/b?c"),
        ("https://xn--bcher-kva.example.com", "https://xn--bcher-kva.example.com/"),
        ("https://XN--a.example.com/%2e%2e/x", "https://xn--a.example.com/x"),
        ("https://a.example.com/\"<x>?y", "https://a.example.com/%22%3Cx%3E?y"),
    ] {
        let plan = world.plan(&EgressRequest::url("GET", url));
        assert_eq!(plan.url(), sent);
        assert_eq!(format!("https://{}{}", plan.host(), plan.path_and_query()), sent);
    }
}

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

#[test]
fn e11_every_hop_is_judged_and_bodies_stay_at_home() {
    let policy = json!({
        "rules": [
            {"id": "api", "hosts": ["api.example.com", "10.0.0.1"], "methods": ["GET", "POST", "PUT", "HEAD"]},
            {"id": "other", "hosts": ["other.example.com"], "methods": ["GET", "POST", "PUT"]},
        ],
        "max_redirects": 2,
    });
    let world = world(policy);
    let url = "https://api.example.com/a/b?q";
    let own = fields(&[("content-type", "text/plain"), ("content-length", "3"), ("accept", "x")]);
    let post = world.plan(&EgressRequest::url("POST", url).headers(&own));
    let code =
        |plan: &ConnectPlan, status, location: Option<&str>| match plan.redirect(status, location, &own) {
            Ok(next) => format!("{} {} {}", next.method(), next.url(), next.keeps_body()),
            Err(error) => error.code().as_str().to_string(),
        };
    for (status, location, want) in [
        (302, Some("c"), "GET https://api.example.com/a/c false"),
        (301, Some("/c"), "GET https://api.example.com/c false"),
        (303, Some("?x"), "GET https://api.example.com/a/b?x false"),
        (307, Some("../c#frag"), "POST https://api.example.com/c true"),
        (308, Some("//api.example.com/d"), "POST https://api.example.com/d true"),
        (302, Some("//other.example.com"), "GET https://other.example.com/ false"),
        (307, Some("https://other.example.com/"), "egress.redirect.body"),
        (308, Some("https://api.example.com:8443/"), "egress.redirect.body"),
        (302, Some("http://api.example.com/"), "egress.redirect.downgrade"),
        (302, None, "egress.redirect.location"),
        (302, Some("https://u@api.example.com/"), "egress.redirect.location"),
        (302, Some("ftp://api.example.com/"), "egress.redirect.location"),
        (302, Some("\\\\other.example.com/"), "egress.redirect.location"),
        (302, Some("/a\r\nb"), "egress.redirect.location"),
        (302, Some("https:other.example.com"), "egress.redirect.location"),
        (300, Some("/c"), "egress.redirect.status"),
        (304, Some("/c"), "egress.redirect.status"),
        (200, Some("/c"), "egress.redirect.status"),
    ] {
        assert_eq!(code(&post, status, location), want, "{status} {location:?}");
    }
    let put = world.plan(&EgressRequest::url("PUT", url).headers(&own));
    assert_eq!(code(&put, 302, Some("/c")), "PUT https://api.example.com/c true");
    assert_eq!(code(&put, 302, Some("https://other.example.com/")), "egress.redirect.body");
    let head = world.plan(&EgressRequest::url("HEAD", url));
    assert_eq!(code(&head, 303, Some("/c")), "HEAD https://api.example.com/c false");

    // Fields of the body go with the body.
    let next = post.redirect(302, Some("/c"), &own).unwrap();
    assert_eq!(next.fields(), fields(&[("accept", "x")]));

    // To a private address, to an unlisted host: judged from the beginning.
    let private = post.redirect(302, Some("https://10.0.0.1/"), &own).unwrap();
    let carried = private.fields();
    assert_eq!(world.judge(&private.request(&carried)).code().as_str(), "egress.address.private");
    let unlisted = post.redirect(302, Some("https://evil.example/"), &own).unwrap();
    let carried = unlisted.fields();
    assert_eq!(world.judge(&unlisted.request(&carried)).code().as_str(), "egress.host.not_allowed");

    // Endless: the third hop of two.
    let first = post.redirect(302, Some("/1"), &[]).unwrap();
    let second = world.plan(&first.request(&[])).redirect(302, Some("/2"), &[]).unwrap();
    let third = world.plan(&second.request(&[])).redirect(302, Some("/3"), &[]).unwrap_err();
    assert_eq!(third.code().as_str(), "egress.redirect.too_many");
    // A policy that was swapped in under way counts too.
    let stricter = compile(one_rule(json!({}))).unwrap();
    let verdict = stricter.decide(&second.request(&[]), &world.bearer, &world.leases, Mono(0), |_| []);
    assert_eq!(verdict.refusal().unwrap().stage(), Stage::Redirect);
}

fn permit(world: &World) -> EgressPermit {
    world.get("https://api.example.com/").into_permit().unwrap()
}

// invariant 9
#[test]
fn e12_a_permit_hangs_on_the_lease_the_worker_the_time_and_the_policy() {
    let world = world(one_rule(json!({"credentials": [credential()]})));
    let redeem =
        |now: Mono| permit(&world).redeem(&world.bearer, &world.leases, now).map_err(|e| e.code().as_str());
    assert!(redeem(Mono(0)).is_ok());
    assert_eq!(redeem(Mono(0).plus(PERMIT_LIFETIME)).err(), Some("egress.permit.expired"));

    let other = Bearer { worker: worker("w2"), fence: FENCE };
    let stolen = permit(&world).redeem(&other, &world.leases, Mono(0)).unwrap_err();
    assert_eq!(stolen.code().as_str(), "egress.lease.other_worker");
    let newer = Bearer { worker: worker("w1"), fence: Fence::new(Epoch(1), 8) };
    assert!(permit(&world).redeem(&newer, &world.leases, Mono(0)).is_err());

    let cases = [
        (Err(LeaseRefusal::Ended), "egress.lease.ended"),
        (Err(LeaseRefusal::StaleFence), "egress.lease.stale_fence"),
        (Err(LeaseRefusal::ViewStale), "egress.lease.view_stale"),
        (Err(LeaseRefusal::Unknown), "egress.lease.unknown"),
        (Err(LeaseRefusal::Expired), "egress.lease.expired"),
        (Ok(LeaseStanding { worker: worker("w2"), ..standing() }), "egress.lease.other_worker"),
        (Ok(LeaseStanding { expires: Mono(5), ..standing() }), "egress.lease.expired"),
        (Ok(LeaseStanding { egress: EgressScope::none(), ..standing() }), "egress.lease.rule_out_of_scope"),
        (Ok(LeaseStanding { secrets: SecretScope::none(), ..standing() }), "egress.credentials.out_of_scope"),
    ];
    for (now_stands, code) in cases {
        let held = permit(&world);
        world.set(now_stands.clone());
        let late = held.redeem(&world.bearer, &world.leases, Mono(5)).unwrap_err();
        assert_eq!(late.code().as_str(), code);
        // The same lease gets no new permit either.
        let request = EgressRequest::url("GET", "https://api.example.com/");
        let verdict =
            world.service.decide(&request, &world.bearer, &world.leases, Mono(5), |_| world.answers.clone());
        assert_eq!(verdict.code().as_str(), code);
        world.set(Ok(standing()));
    }

    let replaced = compile(one_rule(json!({"paths": ["/"], "credentials": [credential()]}))).unwrap();
    let refused = permit(&world).redeem_under(&replaced, &world.bearer, &world.leases, Mono(0)).unwrap_err();
    assert_eq!(refused, PermitError::Policy);
    assert!(permit(&world).redeem_under(&world.service, &world.bearer, &world.leases, Mono(0)).is_ok());
}

/// A shorter lease ends the plan sooner, and a permit never outlives the lease that it was made under (invariant 3).
#[test]
fn e12_a_permit_never_outlives_its_lease() {
    let world = world(one_rule(json!({})));
    world.set(Ok(LeaseStanding { expires: Mono(100), ..standing() }));
    let held = permit(&world);
    assert_eq!(held.expires(), Mono(100));
    world.set(Ok(standing()));
    assert_eq!(held.redeem(&world.bearer, &world.leases, Mono(100)).unwrap_err(), PermitError::Expired);
    let plan = world.plan(&EgressRequest::url("GET", "https://api.example.com/"));
    assert_eq!(plan.lease_expires(), standing().expires);
}

/// A tunnel shows its destination in the TLS hello only, and the name there must be the judged host.
#[test]
fn e12_a_tunnel_goes_where_its_server_name_says_it_goes() {
    let world = world(one_rule(json!({"methods": ["CONNECT"]})));
    let plan = world.plan(&EgressRequest::tunnel("CONNECT", "api.example.com:443"));
    assert!(plan.is_tunnel() && plan.check_server_name(Some("API.example.com")).is_ok());
    for name in [None, Some("other.example.com"), Some(""), Some("93.184.216.34"), Some("api.example.com\0")]
    {
        assert_eq!(plan.check_server_name(name), Err(PermitError::ServerName), "{name:?}");
    }
    assert_eq!(plan.headers(&fields(&[("a", "b")]), &Vault).unwrap().iter().len(), 0);
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
