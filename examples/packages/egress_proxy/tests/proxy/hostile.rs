//! Bytes that no honest client sends.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};

use crate::support::{World, code, raw, status};

/// Attack E15, row by row: shapes that two servers read in two ways.
#[test]
fn e15_smuggling_shapes_are_refused() {
    let world = World::start("smuggling", &[]);
    let http = world.http;
    let url = world.plain("/upload");
    let post =
        |fields: &str, body: &str| world.says(&format!("POST {url} HTTP/1.1\r\nhost: a{fields}"), body);
    let long = "e".repeat(2000);
    let cases = [
        (
            "both framings",
            post("\r\ncontent-length: 4\r\ntransfer-encoding: chunked", "0\r\n\r\n"),
            "egress.http.framing",
        ),
        ("two lengths", post("\r\ncontent-length: 4\r\ncontent-length: 4", "abcd"), "egress.http.framing"),
        ("a list of lengths", post("\r\ncontent-length: 4, 4", "abcd"), "egress.http.framing"),
        ("a signed length", post("\r\ncontent-length: +4", "abcd"), "egress.http.framing"),
        ("two codings", post("\r\ntransfer-encoding: gzip, chunked", ""), "egress.http.framing"),
        (
            "a coding twice",
            post("\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked", ""),
            "egress.http.framing",
        ),
        ("an underscore", post("\r\ncontent_length: 4", "abcd"), "egress.http.framing"),
        ("a folded line", post("\r\nx: a\r\n b: c", ""), "egress.http.fold"),
        ("a bare line feed", post("\nx: a", ""), "egress.http.line_end"),
        ("a bare return", post("\r\nx: a\rb", ""), "egress.http.line_end"),
        ("a zero byte", post("\r\nx: a\0b", ""), "egress.http.line_end"),
        ("a blank before the colon", post("\r\nx : a", ""), "egress.http.malformed"),
        ("two hosts", post("\r\nhost: b", ""), "egress.http.host"),
        (
            "connection names a framing field",
            post("\r\nconnection: content-length\r\ncontent-length: 0", ""),
            "egress.headers.nominated",
        ),
        (
            "a chunk with a sign",
            post("\r\ntransfer-encoding: chunked", "+4\r\nabcd\r\n0\r\n\r\n"),
            "egress.http.chunk",
        ),
        (
            "a bare end of a chunk",
            post("\r\ntransfer-encoding: chunked", "4\nabcd\n0\n\n"),
            "egress.http.chunk",
        ),
        (
            "a long extension",
            post("\r\ntransfer-encoding: chunked", &format!("4;{long}\r\nabcd\r\n0\r\n\r\n")),
            "egress.http.chunk",
        ),
        (
            "a trailer with two readings",
            post("\r\ntransfer-encoding: chunked", "0\r\nx : y\r\n\r\n"),
            "egress.http.chunk",
        ),
    ];
    for (what, answer, want) in &cases {
        assert_eq!((status(answer), code(answer).as_str()), (400, *want), "{what}: {answer}");
    }
    let coded = world.says(&format!("POST {url} HTTP/1.0\r\ntransfer-encoding: chunked"), "0\r\n\r\n");
    assert_eq!(code(&coded), "egress.http.framing", "{coded}");
    for (target, host) in [("origin.test:443", "other.test:443"), ("origin.test:443", "origin.test:444")] {
        let answer = world.says(&format!("CONNECT {target} HTTP/1.1\r\nhost: {host}"), "");
        assert_eq!((status(&answer), code(&answer).as_str()), (400, "egress.http.host"), "{answer}");
    }
    let split = raw(world.proxy, b"G\r\nET http://origin.test/ HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(code(&split), "egress.http.malformed");
    assert_eq!(world.origin.served(), 0, "nothing of that reached the origin");
    // Two requests on one connection: two verdicts.
    let two = format!("GET http://origin.test:{http}/hello HTTP/1.1\r\nhost: a");
    let answer = world.says(&two, "GET http://origin.test/second HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!((answer.matches("HTTP/1.1 ").count(), world.origin.served()), (2, 1), "{answer}");
    assert_eq!((status(&answer), code(&answer).as_str()), (407, "proxy.identity.missing"), "{answer}");
}

/// Attack E15: heads without end, slow ones, and silence on either side.
#[test]
fn e15_limits_of_size_and_time_hold() {
    let world = World::start("limits", &["--head", "600", "--idle", "900", "--first-byte", "900"]);
    let url = world.plain("/hello");
    let answer = world.says(&format!("GET {url} HTTP/1.1\r\nhost: a\r\nx: {}", "y".repeat(40_000)), "");
    assert_eq!((status(&answer), code(&answer).as_str()), (431, "egress.http.head_too_large"));
    let answer = world.says(&format!("GET {url} HTTP/1.1\r\nhost: a{}", "\r\nx: y".repeat(101)), "");
    assert_eq!((status(&answer), code(&answer).as_str()), (431, "egress.http.too_many_fields"));
    let long = format!("GET {}?{} HTTP/1.1\r\nhost: a", world.plain("/"), "q".repeat(20_000));
    assert_eq!(code(&world.says(&long, "")), "egress.url.too_long");
    // One byte at a time is in time for nobody.
    let begun = Instant::now();
    let mut stream = TcpStream::connect(world.proxy).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let mut answer = Vec::new();
    for byte in b"GET http://origin.test/ HTTP/1.1\r\nx: ".iter().chain([b'y'; 400].iter()) {
        let _ = stream.write_all(&[*byte]);
        let mut buffer = [0; 512];
        match stream.read(&mut buffer) {
            Ok(count) if count > 0 => answer.extend_from_slice(&buffer[..count]),
            Ok(_) => break,
            Err(_) => {}
        }
    }
    let answer = String::from_utf8_lossy(&answer);
    assert_eq!((status(&answer), code(&answer).as_str()), (408, "proxy.head.too_slow"), "{answer}");
    assert!(begun.elapsed() < Duration::from_secs(10));
    // An origin that never answers, and a client that never sends its body.
    let silent = world.says(&format!("GET {} HTTP/1.1\r\nhost: a", world.plain("/silent")), "");
    assert_eq!((status(&silent), code(&silent).as_str()), (504, "proxy.upstream.timeout"), "{silent}");
    let half = format!("POST {} HTTP/1.1\r\nhost: a\r\ncontent-length: 9", world.plain("/upload"));
    let half = world.says(&half, "abc");
    assert_eq!((status(&half), code(&half).as_str()), (408, "proxy.request.body"), "{half}");
    // A tunnel in which nothing is said.
    let tunnel =
        world.says(&format!("CONNECT origin.test:{} HTTP/1.1\r\nhost: origin.test", world.https), "");
    assert!(tunnel.starts_with("HTTP/1.1 200 "), "{tunnel}");
    world.wait_for("the hello that did not come", |line| line["code"] == "proxy.tunnel.no_hello");
}

/// Research 4.1: Via and loops, Max-Forwards, TRACE, and what is nobody's business.
#[test]
fn loops_and_reflections_are_refused() {
    let world = World::start("loops", &[]);
    let url = world.plain("/hello");
    let with =
        |method: &str, field: &str| world.says(&format!("{method} {url} HTTP/1.1\r\nhost: a\r\n{field}"), "");
    for via in ["via: 1.1 proxy-of-the-test", "Via: 1.0 other, 1.1 PROXY-of-the-test (comment)"] {
        let answer = with("GET", via);
        assert_eq!((status(&answer), code(&answer).as_str()), (403, "proxy.loop"), "{answer}");
    }
    assert_eq!(status(&with("GET", "via: 1.1 other")), 200);
    assert_eq!(world.origin.last().values("via"), ["1.1 other", "1.1 proxy-of-the-test"]);
    assert_eq!(status(&with("OPTIONS", "max-forwards: 3")), 200);
    assert_eq!(world.origin.last().values("max-forwards"), ["2"]);
    assert_eq!(code(&with("OPTIONS", "max-forwards: 0")), "proxy.max_forwards");
    assert_eq!(code(&with("OPTIONS", "max-forwards: +1")), "proxy.max_forwards");
    assert_eq!(status(&with("TRACE", "x: y")), 403);
}
