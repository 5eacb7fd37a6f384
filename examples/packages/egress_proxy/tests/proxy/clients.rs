//! What real clients and origins say that a strict reader must not stop, row by row of what HTTP asks of a proxy.

use std::{net::Ipv4Addr, thread, time::Duration};

use crate::support::{Line, Script, World, code, hello, raw, silent, status};

fn scripted(name: &str, more: &[&str], script: &Script) -> World {
    World::ruled(name, more, &script.rules(), |_, _, _| Vec::new())
}

/// A request for the script's origin, without the end of its head.
fn ask(world: &World, script: &Script, method: &str, path: &str) -> String {
    let token = &world.token;
    format!(
        "{method} http://script.test:{}{path} HTTP/1.1\r\nhost: a\r\nproxy-authorization: Bearer {token}\r\n",
        script.port
    )
}

fn connect(world: &World, script: &Script) -> Line {
    let mut line = Line::to(world.proxy);
    let (token, port) = (&world.token, script.port);
    line.say(format!(
        "CONNECT script.test:{port} HTTP/1.1\r\nhost: script.test:{port}\r\nproxy-authorization: Bearer {token}\r\n\r\n"
    ));
    let head = line.head();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    line
}

/// RFC 9110 section 9.3.6: a tunnel is idle when both directions are. One that only downloads is not cut, and an idle end
/// is a failure with a code.
#[test]
fn a_tunnel_that_moves_one_way_is_not_idle() {
    let script = Script::start(|mut line| {
        line.until("\u{1}");
        for _ in 0..12 {
            line.say("x");
            thread::sleep(Duration::from_millis(150));
        }
        line.head();
    });
    let world = scripted("one-way", &["--idle", "300", "--tunnel-idle", "700"], &script);
    let mut line = connect(&world, &script);
    line.say(hello("script.test"));
    assert_eq!(line.exactly(12), "x".repeat(12), "longer than any idle limit");
    assert_eq!(line.rest(), "", "and then both are silent");
    let failed = world.wait_for("the idle end", |line| line["code"] == "proxy.tunnel.idle");
    assert!(failed["event"] == "failed" && failed["received"] == 12, "{failed}");
}

/// RFC 9112 section 7.1.2: trailers are no reason to lose a body.
#[test]
fn trailers_are_read_on_both_sides() {
    let script = Script::start(|mut line| {
        let head = line.head();
        if head.contains("transfer-encoding") {
            line.until("0\r\n\r\n");
        }
        line.say("HTTP/1.1 200 OK\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-sum: 1\r\nhost: b\r\n\r\n");
        line.head();
    });
    let world = scripted("trailers", &[], &script);
    let answer = raw(world.proxy, (ask(&world, &script, "GET", "/") + "\r\n").as_bytes());
    assert!(answer.ends_with("3\r\nabc\r\n0\r\nx-sum: 1\r\n\r\n"), "{answer}");
    let head = ask(&world, &script, "POST", "/") + "transfer-encoding: chunked\r\n\r\n";
    let answer = raw(world.proxy, format!("{head}2\r\nok\r\n0\r\nx-mine: 1\r\n\r\n").as_bytes());
    assert_eq!(status(&answer), 200, "{answer}");
}

/// RFC 8305 section 3, RFC 4074: one family is enough. RFC 9209 section 2.3: failures are told apart.
#[test]
fn half_an_answer_is_an_answer_and_failures_are_told_apart() {
    let script = Script::start(|mut line| {
        line.head();
        line.say("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    });
    let world = scripted("halves", &[], &script);
    let get = |host: &str| {
        let head = ask(&world, &script, "GET", "/").replace("script.test", host) + "\r\n";
        let answer = raw(world.proxy, head.as_bytes());
        (status(&answer), code(&answer))
    };
    for half in ["servfail6", "refused6", "notimp6", "noname6", "silent6"] {
        let (status, code) = get(&format!("{half}.script.test"));
        assert_eq!((status, code.as_str()), (200, ""), "{half}");
    }
    for (name, status, code) in [
        ("noname", 502, "egress.dns.nxdomain"),
        ("servfail", 502, "egress.dns.servfail"),
        ("refused", 502, "egress.dns.refused"),
        ("silent", 504, "egress.dns.timeout"),
    ] {
        assert_eq!(get(&format!("{name}.script.test")), (status, code.to_owned()), "{name}");
    }
}

/// RFC 9110 section 10.1.1: an expectation is answered by the final status or passed on, and never by both.
#[test]
fn expectations_are_passed_on_and_final_answers_heard_at_once() {
    let script = Script::start(|mut line| {
        let head = line.head();
        if head.contains("/refused") {
            line.say("HTTP/1.1 401 Unauthorized\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
        } else {
            assert!(head.contains("expect: 100-continue"), "{head}");
            line.say("HTTP/1.1 100 Continue\r\n\r\n");
            line.exactly(3);
            line.say("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok");
        }
        line.rest();
    });
    let world = scripted("expect", &["--idle", "600"], &script);
    let post = |path: &str, length: usize| {
        let mut line = Line::to(world.proxy);
        line.say(
            ask(&world, &script, "POST", path)
                + &format!("expect: 100-continue\r\ncontent-length: {length}\r\n\r\n"),
        );
        line
    };
    let mut line = post("/", 3);
    assert_eq!(line.head(), "HTTP/1.1 100 Continue\r\n\r\n");
    line.say("abc");
    assert!(line.head().starts_with("HTTP/1.1 200 OK"));
    // The answer comes in place of the leave to send, and nothing is sent.
    assert!(post("/refused", 3).head().starts_with("HTTP/1.1 401 Unauthorized"));
    let large = post("/", 1_000_000).head();
    assert_eq!((status(&large), code(&large).as_str()), (413, "egress.limits.request_bytes"), "{large}");
    // Without an expectation, in the middle of the upload.
    let mut line = Line::to(world.proxy);
    line.say(ask(&world, &script, "POST", "/refused") + "content-length: 9\r\n\r\nabc");
    assert!(line.head().starts_with("HTTP/1.1 401 Unauthorized"));
    // A body that stalls is the client's failure.
    let mut line = post("/", 3);
    line.head();
    let stalled = line.head();
    assert_eq!((status(&stalled), code(&stalled).as_str()), (408, "proxy.request.body"), "{stalled}");
}

/// RFC 9110 section 15.2, RFC 9112 sections 2.2 and 3.2.4.
#[test]
fn interim_answers_empty_lines_and_the_asterisk_pass() {
    let script = Script::start(|mut line| {
        let head = line.head();
        for _ in 0..12 {
            line.say("HTTP/1.1 103 Early Hints\r\nlink: x\r\nconnection: y\r\ny: z\r\n\r\n");
        }
        let first = head.lines().next().unwrap_or_default().to_owned();
        line.say(format!(
            "HTTP/1.1 200 Fine\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{first}",
            first.len()
        ));
        line.rest();
    });
    let world = scripted("interim", &[], &script);
    let answer = raw(world.proxy, format!("\r\n{}\r\n", ask(&world, &script, "GET", "/?a='b'")).as_bytes());
    assert_eq!(answer.matches("HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n").count(), 12, "{answer}");
    assert!(answer.contains("HTTP/1.1 200 Fine\r\n"), "{answer}");
    let answer = raw(world.proxy, (ask(&world, &script, "OPTIONS", "") + "\r\n").as_bytes());
    assert!(answer.ends_with("OPTIONS * HTTP/1.1"), "{answer}");
    let answer = raw(world.proxy, (ask(&world, &script, "OPTIONS", "/") + "\r\n").as_bytes());
    assert!(answer.ends_with("OPTIONS / HTTP/1.1"), "{answer}");
}

/// What a client of the wrong protocol hears says what to do, in words that it understands.
#[test]
fn who_speaks_another_protocol_hears_so_in_its_own_words() {
    let script = Script::start(|mut line| drop(line.rest()));
    let world = scripted("words", &[], &script);
    let tls = raw(world.proxy, &hello("script.test"));
    assert_eq!((status(&tls), code(&tls).as_str()), (400, "egress.http.tls"), "{tls}");
    let socks = raw(world.proxy, &[5, 1, 0]);
    assert_eq!((status(&socks), code(&socks).as_str()), (400, "egress.http.socks"), "{socks}");
    let mut line = connect(&world, &script);
    line.say("GET / HTTP/1.1\r\nhost: script.test\r\n\r\n");
    let plain = line.rest();
    assert_eq!((status(&plain), code(&plain).as_str()), (403, "egress.hello.malformed"), "{plain}");
    let mut line = connect(&world, &script);
    line.say(hello("other.test"));
    assert_eq!(line.rest().as_bytes()[0], 0x15, "an alert of TLS");
    // Many clients show the reason phrase of a refused CONNECT and nothing else.
    let refused = world.says("CONNECT elsewhere.test:443 HTTP/1.1\r\nhost: elsewhere.test:443", "");
    assert!(refused.starts_with("HTTP/1.1 403 egress.host.not_allowed\r\n"), "{refused}");
}

/// An origin's 407 would be taken for the proxy's own.
#[test]
fn an_origin_cannot_ask_for_the_proxys_credentials() {
    let script = Script::start(|mut line| {
        line.head();
        line.say(
            "HTTP/1.1 407 No\r\nproxy-authenticate: Basic\r\nleasehold-code: x\r\ncontent-length: 0\r\n\r\n",
        );
        line.rest();
    });
    let world = scripted("407", &[], &script);
    let answer = raw(world.proxy, (ask(&world, &script, "GET", "/") + "\r\n").as_bytes());
    assert_eq!((status(&answer), code(&answer).as_str()), (502, "proxy.upstream.head"), "{answer}");
    assert!(!answer.contains("proxy-authenticate"), "{answer}");
}

/// Invariant 9 with connections that are kept: each request is judged, and a connection serves only what it was made for.
#[test]
fn connections_are_kept_and_no_verdict_is_used_twice() {
    let script = Script::start(|mut line| {
        // Three on each, and then it closes without a word.
        for _ in 0..3 {
            if line.head().is_empty() {
                return;
            }
            line.say("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        }
    });
    let world = scripted("kept", &["--keep-alive", "5000"], &script);
    let get = ask(&world, &script, "GET", "/") + "\r\n";
    let mut line = Line::to(world.proxy);
    let answer = |line: &mut Line, text: &str| {
        line.say(text);
        let head = line.head();
        let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
        line.exactly(length.and_then(|length| length.parse().ok()).unwrap_or(0));
        head
    };
    for turn in 0..7 {
        assert_eq!(status(&answer(&mut line, &get)), 200, "turn {turn}");
    }
    // One for each three: what the origin has closed is not used, and nothing is lost.
    assert_eq!(script.connections(), 3);
    let elsewhere = get.replace("script.test", "elsewhere.test");
    assert_eq!(code(&answer(&mut line, &elsewhere)), "egress.host.not_allowed", "judged anew");
    assert_eq!(status(&answer(&mut line, &get)), 200, "and the connection goes on");
    let nobody = get.replace("proxy-authorization", "x-nothing");
    assert_eq!(status(&answer(&mut line, &nobody)), 407, "identity is for one request");
    let judged = || world.log().iter().filter(|line| line["event"] == "judged").count();
    while judged() < 9 {
        thread::yield_now();
    }
    assert_eq!(judged(), 9);
    // A connection of one policy does not serve another.
    let before = script.connections();
    let mut rules = script.rules();
    rules[0]["max_request_bytes"] = 5.into();
    let other = crate::support::policy(world.http, world.https, &rules);
    world.scratch.file("policy.json", other);
    world.wait_for("the policy", |line| line["event"] == "policy" && line["before"].is_string());
    assert_eq!(status(&answer(&mut line, &get)), 200);
    assert_eq!(script.connections(), before + 1);
}

/// RFC 8305 section 5: silent addresses cost a quarter of a second each and not a timeout, and there is one deadline.
#[test]
fn silent_addresses_hold_nobody_up() {
    let script = Script::start(|mut line| {
        line.head();
        line.say("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    });
    let _silent = [12, 13, 14].map(|last| silent(Ipv4Addr::new(127, 0, 0, last), script.port));
    let world = scripted("silent", &["--connect", "1500"], &script);
    let get = |host: &str| {
        let head =
            ask(&world, &script, "GET", "/").replace("script.test", host) + "connection: close\r\n\r\n";
        raw(world.proxy, head.as_bytes())
    };
    // One after the other the silent ones would use up the time for all.
    let answer = get("slow.test");
    assert_eq!(status(&answer), 200, "{answer}");
    let answer = get("dead.test");
    assert_eq!((status(&answer), code(&answer).as_str()), (504, "proxy.upstream.timeout"), "{answer}");
    // Nobody dials for a client that has left.
    let mut line = Line::to(world.proxy);
    line.say(ask(&world, &script, "GET", "/").replace("script.test", "dead.test") + "\r\n");
    thread::sleep(Duration::from_millis(100));
    drop(line);
    world.wait_for("the client that left", |line| line["code"] == "proxy.client.gone");
}

/// A rule may let a tunnel carry anything: plain HTTP, and protocols in which the server speaks first.
#[test]
fn a_tunnel_for_anything_carries_what_is_not_tls() {
    let script = Script::start(|mut line| {
        line.say("220 ready\r\n");
        let heard = line.exactly(4);
        line.say(format!("echo {heard}"));
    });
    let mut rules = script.rules();
    rules[1]["tunnel"] = "any".into();
    let world = World::ruled("any", &[], &rules, |_, _, _| Vec::new());
    let mut line = connect(&world, &script);
    assert_eq!(line.exactly(11), "220 ready\r\n");
    line.say("ping");
    assert_eq!(line.rest(), "echo ping");
}
