//! Secrets that an origin repeats are masked where the rule says so (invariant 10), and what cannot be masked is refused.

use serde_json::{Value, json};

use crate::support::{Line, SECRET, World, code, status};

fn rule(id: &str, https: u16, credential: &Value) -> Value {
    json!({"id": id, "hosts": ["origin.test"], "ports": [https], "methods": ["GET"], "paths": [format!("/v1/{id}")],
           "private_addresses": ["127.0.0.1/32"], "credentials": [credential]})
}

fn credential(place: Value, masks: bool) -> Value {
    let mut credential = place;
    credential["secret"] = json!("vault:team/models");
    if masks {
        credential["mask_echoes"] = json!(true);
    }
    credential
}

fn ask(world: &World, rule: &str, target: &str, fields: &str) -> String {
    world.says(&format!("GET /r/{rule}{target} HTTP/1.1\r\nhost: a\r\nconnection: close{fields}"), "")
}

/// In the head, the interim answer, the body and the trailers, in pieces that cut the secret, with the length kept; the
/// secret as it is and as its place has it. The same request under a rule that does not say so shows what is masked.
#[test]
fn an_echoed_secret_is_masked_wherever_it_stands() {
    let percent = SECRET.replace('-', "%2D");
    let world = World::late("echoes", &[], |https| {
        vec![
            rule("echo", https, &credential(json!({"header": "authorization", "prefix": "Bearer "}), true)),
            rule("echo-chunks", https, &credential(json!({"basic": "user"}), true)),
        ]
    });
    let answer = ask(&world, "echo", "/v1/echo?q=1", "\r\naccept-encoding: gzip\r\nrange: bytes=0-5");
    let stars = "*".repeat(SECRET.len());
    assert_eq!(status(&answer), 200, "{answer}");
    assert!(!answer.contains(SECRET) && !answer.contains(&percent), "{answer}");
    assert_eq!(answer.matches(&format!("Bearer {stars}")).count(), 4, "{answer}");
    let seen = world.origin.last();
    assert_eq!(seen.values("accept-encoding"), ["identity"], "an encoded answer hides what is in it");
    assert!(seen.values("range").is_empty(), "a part may begin in a secret");
    assert_eq!(seen.values("authorization"), [format!("Bearer {SECRET}")], "the origin gets the secret");
    let (_, body) = answer.rsplit_once("\r\n\r\n").unwrap();
    assert!(answer.contains(&format!("content-length: {}\r\n", body.len())), "{answer}");

    let answer = ask(&world, "echo-chunks", "/v1/echo-chunks", "\r\nte: trailers");
    assert_eq!(status(&answer), 200, "{answer}");
    let pair = world.origin.last().values("authorization").remove(0);
    let pair = pair.strip_prefix("Basic ").unwrap().to_owned();
    assert!(!answer.contains(&pair) && answer.contains(&"*".repeat(pair.len())), "{answer}");
    assert!(answer.contains("\r\nx-echo: Basic ***"), "the trailer: {answer}");
}

/// Without the member everything stays as it was: the answer as it came, ranges and encodings as they were asked for.
#[test]
fn a_rule_that_does_not_mask_changes_nothing() {
    let world = World::late("unmasked", &[], |https| {
        vec![
            rule("echo", https, &credential(json!({"header": "x-key"}), false)),
            rule("gzip", https, &credential(json!({"header": "x-key"}), false)),
        ]
    });
    let answer = ask(&world, "echo", "/v1/echo", "\r\naccept-encoding: gzip\r\nrange: bytes=0-5");
    assert!(answer.contains(&format!("x-key: {SECRET}\n")), "{answer}");
    assert_eq!(world.origin.last().values("range"), ["bytes=0-5"]);
    let answer = ask(&world, "gzip", "/v1/gzip", "");
    assert_eq!(status(&answer), 200, "{answer}");
}

/// What cannot be searched is refused: encoded and partial answers, and a WebSocket before the origin hears of it.
#[test]
fn what_cannot_be_masked_is_refused() {
    let world = World::late("unmaskable", &[], |https| {
        let query = credential(json!({"query": "key"}), true);
        vec![rule("gzip", https, &query), rule("part", https, &query), rule("socket", https, &query)]
    });
    for (rule, due) in [("gzip", "egress.echo.encoded"), ("part", "egress.echo.partial")] {
        let answer = ask(&world, rule, &format!("/v1/{rule}"), "");
        assert_eq!((status(&answer), code(&answer).as_str()), (502, due), "{answer}");
    }
    let served = world.origin.served();
    let mut line = Line::to(world.proxy);
    line.say(format!(
        "GET /r/socket/v1/socket HTTP/1.1\r\nhost: a\r\nproxy-authorization: Bearer {}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
        world.token
    ));
    let answer = line.head();
    assert_eq!((status(&answer), code(&answer).as_str()), (403, "egress.echo.switched"), "{answer}");
    assert_eq!(world.origin.served(), served);
}
