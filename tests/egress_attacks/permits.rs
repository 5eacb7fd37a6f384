//! Redirects and permits (E11, E12).

use leasehold::{
    code::Coded,
    egress::{
        Bearer, ConnectPlan, EgressPermit, EgressRequest, LeaseRefusal, LeaseStanding, PERMIT_LIFETIME,
        PermitError, Stage, TlsHello,
    },
    lease::{EgressScope, Epoch, Fence, SecretScope},
    time::Mono,
};
use serde_json::{Value, json};

use crate::world::*;

/// Invariants 9 and 10.
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
/// Invariant 9.
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
/// Invariant 9.
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

/// A client hello with these extensions.
fn hello(name: Option<&str>, encrypted: bool) -> TlsHello {
    let counted = |bytes: Vec<u8>| [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], &bytes].concat();
    let mut extensions = Vec::new();
    if let Some(name) = name {
        let entry = [vec![0], counted(name.as_bytes().to_vec())].concat();
        extensions.extend([vec![0, 0], counted(counted(entry))].concat());
    }
    if encrypted {
        extensions.extend([vec![0xfe, 0x0d], counted(vec![0, 1, 2])].concat());
    }
    let body = [vec![3, 3], vec![7; 32], vec![0, 0, 2, 0x13, 1, 1, 0], counted(extensions)].concat();
    let record = counted([vec![1, 0], counted(body)].concat());
    TlsHello::read(&[vec![0x16, 3, 1], record].concat()).unwrap().unwrap()
}

/// A hello that hides where it goes is refused, unless the rule says otherwise; a name that it shows always counts.
/// Invariant 9.
#[test]
fn e12_a_hidden_server_name_needs_a_rule_that_says_so() {
    let plan =
        |rule: Value| world(one_rule(rule)).plan(&EgressRequest::tunnel("CONNECT", "api.example.com:443"));
    let strict = plan(json!({"methods": ["CONNECT"]}));
    let open = plan(json!({"methods": ["CONNECT"], "hidden_server_name": true}));
    let (own, other) = (Some("api.example.com"), Some("other.example.com"));
    for (name, encrypted, by_strict, by_open) in [
        (own, false, Ok(()), Ok(())),
        // Browsers send random bytes in that place (GREASE).
        (own, true, Ok(()), Ok(())),
        (None, false, Err(PermitError::ServerName), Ok(())),
        (None, true, Err(PermitError::EncryptedName), Ok(())),
        (other, false, Err(PermitError::ServerName), Err(PermitError::ServerName)),
        (other, true, Err(PermitError::EncryptedName), Err(PermitError::ServerName)),
    ] {
        let hello = hello(name, encrypted);
        assert_eq!(strict.check_hello(&hello), by_strict, "{hello:?}");
        assert_eq!(open.check_hello(&hello), by_open, "{hello:?}");
    }
}

/// A permit is good under the policy that made it and no other, whichever way it is redeemed.
/// Invariant 9.
#[test]
fn e12_a_permit_of_a_replaced_policy_is_refused() {
    let mut world = world(one_rule(json!({})));
    let (early, late) = (permit(&world), permit(&world));
    let plan = early.redeem(&world.bearer, &world.leases, Mono(1)).unwrap();
    assert!(plan.is_in_force());
    let same = compile(one_rule(json!({}))).unwrap();
    world.service.replace(same);
    assert!(plan.is_in_force(), "the same policy again changes nothing");

    let clone = world.service.clone();
    world.service.replace(compile(one_rule(json!({"methods": ["GET"]}))).unwrap());
    assert!(!clone.is_in_force() && world.service.is_in_force() && !plan.is_in_force());
    assert_eq!(late.redeem(&world.bearer, &world.leases, Mono(1)).unwrap_err(), PermitError::Policy);
    assert!(permit(&world).redeem(&world.bearer, &world.leases, Mono(1)).is_ok());
}

/// Invariant 3: a plan knows the end of the lease as it is when the permit is redeemed.
#[test]
fn e12_a_plan_ends_with_the_lease_as_it_is_when_redeemed() {
    let world = world(one_rule(json!({})));
    let permit = permit(&world);
    world.set(Ok(LeaseStanding { expires: Mono(5_000), ..standing() }));
    let plan = permit.redeem(&world.bearer, &world.leases, Mono(1)).unwrap();
    assert_eq!(plan.lease_expires(), Mono(5_000));
}
