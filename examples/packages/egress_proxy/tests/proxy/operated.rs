//! What an operator sees and does: limits, pages, signals, files that change.

use std::{fs, process::Command, thread};

use rcgen::{CertificateParams, KeyPair};
use serde_json::json;

use crate::support::{Line, SECRET, Script, World, code, executable, hello, policy, raw, status};

fn get(world: &World, url: &str) -> String {
    format!("GET {url} HTTP/1.1\r\nhost: a\r\nproxy-authorization: Bearer {}\r\n\r\n", world.token)
}

fn page(world: &World, path: &str) -> String {
    raw(world.admin.unwrap(), format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes())
}

fn signal(world: &World, name: &str) {
    assert!(Command::new("kill").args([name, &world.process.id().to_string()]).status().unwrap().success());
}

/// Who finds no place is told so, with a record, and who has not said who it is takes none of the others' places.
#[test]
fn who_finds_no_place_is_told_and_written_down() {
    let world = World::start("full", &["--connections", "3", "--unproven", "2"]);
    let _waiting = [Line::to(world.proxy), Line::to(world.proxy)];
    // Their places are taken when they are accepted, which is a moment later.
    let answer = loop {
        let answer = raw(world.proxy, get(&world, &world.plain("/hello")).as_bytes());
        if status(&answer) == 503 {
            break answer;
        }
        thread::yield_now();
    };
    assert!(code(&answer) == "proxy.full.unproven" && answer.contains("retry-after: "), "{answer}");
    world.wait_for("the record", |line| line["code"] == "proxy.full.unproven");
}

/// One lease cannot take every place.
#[test]
fn one_lease_takes_no_more_than_its_places() {
    let world = World::start("per-lease", &["--per-lease", "1"]);
    thread::scope(|scope| {
        let slow = scope.spawn(|| raw(world.proxy, get(&world, &world.plain("/gate")).as_bytes()));
        while world.origin.served() == 0 {
            thread::yield_now();
        }
        let answer = raw(world.proxy, get(&world, &world.plain("/hello")).as_bytes());
        assert_eq!((status(&answer), code(&answer).as_str()), (503, "proxy.full.lease"), "{answer}");
        world.origin.open_gate();
        assert_eq!(status(&slow.join().unwrap()), 200);
    });
    assert_eq!(status(&raw(world.proxy, get(&world, &world.plain("/hello")).as_bytes())), 200);
}

/// SIGTERM lets what is under way end, takes nothing new, and says what it did.
#[test]
#[cfg(unix)]
fn a_stop_drains() {
    let mut world = World::start("drain", &["--admin", "127.0.0.1:0"]);
    assert!(page(&world, "/healthz").ends_with("ok\n"));
    thread::scope(|scope| {
        let slow = scope.spawn(|| raw(world.proxy, get(&world, &world.plain("/gate")).as_bytes()));
        while world.origin.served() == 0 {
            thread::yield_now();
        }
        signal(&world, "-TERM");
        world.wait_for("the drain", |line| line["event"] == "drain");
        assert_eq!(status(&page(&world, "/healthz")), 503);
        world.origin.open_gate();
        let whole = slow.join().unwrap();
        assert!(whole.contains("after\n") && whole.ends_with("0\r\n\r\n"), "{whole}");
    });
    let stopped = world.wait_for("the stop", |line| line["event"] == "stopped");
    assert_eq!(stopped["cut"], 0);
    assert_eq!(world.process.wait().unwrap().code(), Some(0));
}

/// What cannot end in time is cut, and says so.
#[test]
#[cfg(unix)]
fn a_stop_has_a_deadline() {
    let mut world = World::start("deadline", &["--drain", "200"]);
    let cut = thread::scope(|scope| {
        let slow = scope.spawn(|| raw(world.proxy, get(&world, &world.plain("/gate")).as_bytes()));
        while world.origin.served() == 0 {
            thread::yield_now();
        }
        signal(&world, "-TERM");
        slow.join().unwrap()
    });
    assert!(!cut.ends_with("0\r\n\r\n"), "{cut}");
    world.wait_for("the cut", |line| line["event"] == "failed" && line["code"] == "proxy.draining");
    assert_eq!(world.process.wait().unwrap().code(), Some(0));
}

/// Counts by code, and nothing of anybody's request.
#[test]
fn the_pages_count_and_show_nobody() {
    let world = World::start("pages", &["--admin", "127.0.0.1:0"]);
    raw(world.proxy, get(&world, &world.plain("/hello?key=hunter3")).as_bytes());
    raw(world.proxy, get(&world, "http://elsewhere.test/?key=hunter3").as_bytes());
    raw(world.proxy, b"GET http://origin.test/?key=hunter3 HTTP/1.1\r\nhost: a\r\n\r\n");
    world.wait_for("the refusal", |line| line["code"] == "proxy.identity.missing");
    let page = page(&world, "/metrics");
    for line in [
        "egress_proxy_allowed_total 1\n",
        "egress_proxy_done_total 1\n",
        "egress_proxy_refused_total{code=\"egress.host.not_allowed\"} 1\n",
        "egress_proxy_refused_total{code=\"proxy.identity.missing\"} 1\n",
        "# TYPE egress_proxy_connections gauge\n",
    ] {
        assert!(page.contains(line), "{line} is not in {page}");
    }
    let log = fs::read_to_string(world.scratch.0.join("log.jsonl")).unwrap();
    assert!(log.contains("/hello?...") && !log.contains("hunter3"), "{log}");
    // Everything on the wire counts: heads, too.
    let moved = world.wait_for("the bytes", |line| line["event"] == "moved");
    assert!(moved["sent"].as_u64() > Some(40) && moved["received"].as_u64() > Some(30), "{moved}");
}

/// A tightened policy ends what it no longer allows, an open tunnel too; what it allows goes on.
#[test]
fn a_tightened_policy_ends_open_tunnels() {
    let script = Script::start(|mut line| drop(line.rest()));
    let world = World::ruled("tightened", &["--policy-grace", "100"], &script.rules(), |_, _, _| Vec::new());
    let open = |host: &str, port: u16| {
        let mut line = Line::to(world.proxy);
        let token = &world.token;
        line.say(format!(
            "CONNECT {host}:{port} HTTP/1.1\r\nhost: {host}\r\nproxy-authorization: Bearer {token}\r\n\r\n"
        ));
        assert!(line.head().starts_with("HTTP/1.1 200 "));
        line.say(hello(host));
        line
    };
    let mut closed = open("script.test", script.port);
    let mut kept = open("origin.test", world.https);
    kept.exactly(5);
    while script.connections() == 0 {
        thread::yield_now();
    }
    world.scratch.file("policy.json", policy(world.http, world.https, &[]));
    assert_eq!(closed.rest(), "");
    let cut = world.wait_for("the cut", |line| line["event"] == "cut");
    assert!(cut["streams"] == 1 && cut["code"] == "proxy.policy.changed", "{cut}");
    // The other one is still there: it is the origin that ends it, after an alert about what follows the hello.
    kept.say(b"\x17\x03\x03\x00\x01x");
    assert!(!kept.rest().is_empty());
}

/// An authority whose time is over vouches for nobody, and neither does one of the future.
#[test]
fn an_expired_authority_is_refused_when_it_is_read() {
    let world = World::start("expired", &[]);
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["authority.test".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let old = world.scratch.file("old.pem", params.self_signed(&key).unwrap().pem());
    let own = world.scratch.file(
        "own.pem",
        CertificateParams::new(vec!["a.test".to_owned()]).unwrap().self_signed(&key).unwrap().pem(),
    );
    let private = world.scratch.file("own.key", key.serialize_pem());
    let started = Command::new(executable())
        .args(["--listen", "127.0.0.1:0", "--policy"])
        .arg(world.scratch.0.join("policy.json"))
        .arg("--leases")
        .arg(world.scratch.0.join("leases.json"))
        .arg("--roots")
        .arg(world.scratch.0.join("roots.pem"))
        .arg("--cert")
        .arg(own)
        .arg("--key")
        .arg(private)
        .arg("--client-ca")
        .arg(old)
        .output()
        .unwrap();
    assert_eq!(started.status.code(), Some(1));
    let said = String::from_utf8_lossy(&started.stderr).into_owned();
    assert!(said.contains("is valid from"), "{said}");
}

/// Secrets are read again, and a bad file leaves those in force that were.
#[test]
fn secrets_are_read_again() {
    let world = World::start("secrets", &[]);
    let call = || {
        let head = format!(
            "POST /r/models/v1/x HTTP/1.1\r\nhost: a\r\nx-goog-api-key: {}\r\ncontent-length: 0\r\n\r\n",
            world.token
        );
        let answer = raw(world.proxy, head.as_bytes());
        assert_eq!(status(&answer), 200, "{answer}");
        world.origin.last().values("authorization")
    };
    assert_eq!(call(), [format!("Bearer {SECRET}")]);
    world.scratch.file("secrets.json", "{");
    world.wait_for("the bad secrets", |line| line["event"] == "secrets" && line["in_force"] == false);
    assert_eq!(call(), [format!("Bearer {SECRET}")]);
    world.scratch.file("secrets.json", json!({"vault:team/models": "another"}).to_string());
    world.wait_for("the secrets", |line| line["event"] == "secrets" && line["in_force"] == true);
    assert_eq!(call(), ["Bearer another"]);
}

/// On a route the token may stand wherever an SDK puts its key, and goes no further.
#[test]
fn a_token_may_stand_where_an_sdk_puts_its_key() {
    let world = World::start("sdk", &[]);
    let basic = |token: &str| {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(format!("user:{token}"))
    };
    for field in [
        "authorization: Bearer TOKEN",
        "authorization: Basic BASIC",
        "x-api-key: TOKEN",
        "api-key: TOKEN",
        "x-goog-api-key: TOKEN",
        "ocp-apim-subscription-key: TOKEN",
        "private-token: TOKEN",
    ] {
        let field = field.replace("TOKEN", &world.token).replace("BASIC", &basic(&world.token));
        let head = format!("GET /r/models/v1/x HTTP/1.1\r\nhost: a\r\n{field}\r\n\r\n");
        let answer = raw(world.proxy, head.as_bytes());
        assert_eq!(status(&answer), 200, "{field}: {answer}");
        let seen = world.origin.last();
        assert_eq!(seen.values("authorization"), [format!("Bearer {SECRET}")]);
        let all = format!("{:?}", seen.head);
        assert!(!all.contains(&world.token) && !all.contains(&basic(&world.token)), "{all}");
    }
}

/// The linter's word stands in the log at the start and at each reload.
#[test]
fn warnings_are_written_down() {
    let world = World::start("lint", &[]);
    let open = json!({"id": "wide", "suffixes": ["co.uk"]});
    world.scratch.file("policy.json", policy(world.http, world.https, &[open]));
    let warned = world.wait_for("the warning", |line| line["event"] == "warning" && line["rule"] == "wide");
    assert!(warned["code"].as_str().is_some_and(|code| code.starts_with("egress.lint.")), "{warned}");
}

/// Invariant 10: a secret of the query or the path reaches its origin, and neither the log nor the client.
#[test]
fn secrets_of_queries_and_paths_reach_the_origin_only() {
    let rules = |https: u16| {
        let rule = |id: &str, host: &str, credential: serde_json::Value| {
            json!({"id": id, "hosts": [host], "ports": [https], "methods": ["GET"], "paths": ["/q/"],
                   "private_addresses": ["127.0.0.1/32"], "credentials": [credential]})
        };
        [
            rule("query", "other.origin.test", json!({"query": "key", "secret": "vault:team/models"})),
            rule("basic", "hidden.origin.test", json!({"basic": "user", "secret": "vault:team/models"})),
        ]
    };
    let world = World::start("places", &[]);
    world.scratch.file("policy.json", policy(world.http, world.https, &rules(world.https)));
    world.wait_for("the policy", |line| line["event"] == "policy" && line["before"].is_string());
    let route = |rule: &str, path: &str| {
        let head = format!("GET /r/{rule}{path} HTTP/1.1\r\nhost: a\r\nx-api-key: {}\r\n\r\n", world.token);
        let answer = raw(world.proxy, head.as_bytes());
        assert!(status(&answer) == 200 && !answer.contains(SECRET), "{rule}: {answer}");
        world.origin.last()
    };
    let seen = route("query", "/q/x?a=1&KEY=mine");
    assert_eq!(seen.head.target, format!("/q/x?a=1&key={SECRET}"));
    let seen = route("basic", "/q/x");
    use base64::Engine as _;
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("user:{SECRET}"));
    assert_eq!(seen.values("authorization"), [format!("Basic {pair}")]);
    world.wait_for("the end", |line| line["event"] == "moved" && line["target"] == "/r/basic/q/x");
    let log = fs::read_to_string(world.scratch.0.join("log.jsonl")).unwrap();
    assert!(!log.contains(SECRET) && !log.contains(&pair), "{log}");
}
