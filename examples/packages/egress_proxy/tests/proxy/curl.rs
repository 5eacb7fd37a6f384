//! What the real curl gets through, and what it does not.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use crate::support::{SECRET, World, code, has_curl, status};

#[test]
fn plain_http_goes_where_a_rule_says_and_nowhere_else() {
    if !has_curl("plain_http_goes_where_a_rule_says_and_nowhere_else") {
        return;
    }
    let world = World::start("plain", &[]);
    let hello = world.through(&[&world.plain("/hello?x=1"), "-H", "Connection: x-mine", "-H", "X-Mine: 1"]);
    assert_eq!((hello.exit, hello.status), (0, 200), "{hello:?}");
    assert!(
        hello.text.ends_with("hello\n") && hello.text.contains("via: 1.1 proxy-of-the-test"),
        "{hello:?}"
    );
    let seen = world.origin.last();
    assert_eq!((seen.head.method.as_str(), seen.head.target.as_str()), ("GET", "/hello?x=1"));
    assert_eq!(seen.values("host"), [format!("origin.test:{}", world.http)]);
    assert_eq!(seen.values("via"), ["1.1 proxy-of-the-test"]);
    for gone in ["proxy-authorization", "proxy-connection", "x-mine"] {
        assert!(seen.values(gone).is_empty(), "{gone} belongs to one connection");
    }
    let before = world.origin.served();
    for (arguments, want) in [
        (&["-x", "http://PROXY", "PLAIN/"][..], (407, "proxy.identity.missing")),
        (&["-x", "http://lease:nonsense@PROXY", "PLAIN/"], (407, "egress.token.malformed")),
        (&["-x", "http://PROXY", "-U", "lease:FORGED", "PLAIN/"], (403, "egress.token.forged")),
        (
            &["-x", "http://PROXY", "-U", "lease:TOKEN", "http://elsewhere.test/"],
            (403, "egress.host.not_allowed"),
        ),
        (&["-x", "http://PROXY", "-U", "lease:TOKEN", "http://denied.test/"], (403, "egress.host.denied")),
        (
            &["-x", "http://PROXY", "-U", "lease:TOKEN", "http://origin.test:1/"],
            (403, "egress.port.not_allowed"),
        ),
        (
            &["-x", "http://PROXY", "-U", "lease:TOKEN", "-X", "DELETE", "PLAIN/"],
            (403, "egress.method.not_allowed"),
        ),
        (&["-x", "http://PROXY", "-U", "lease:TOKEN", "-X", "TRACE", "PLAIN/"], (403, "egress.method.trace")),
        (&["-x", "http://PROXY", "-U", "lease:TOKEN", "http://127.0.0.1/"], (403, "egress.host.not_allowed")),
    ] {
        let other = if world.token.starts_with('0') { "1" } else { "0" };
        let forged = format!("{other}{}", &world.token[1..]);
        let arguments: Vec<String> = arguments
            .iter()
            .map(|text| text.replace("PROXY", &world.proxy.to_string()).replace("TOKEN", &world.token))
            .map(|text| text.replace("FORGED", &forged).replace("PLAIN", &world.plain("")))
            .collect();
        let answer = world.curl(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!((answer.status, answer.code.as_str()), want, "{arguments:?} {answer:?}");
        assert!(answer.text.contains(&format!("{{\"code\":\"{}\"", want.1)), "{answer:?}");
        assert_eq!(answer.text.to_ascii_lowercase().contains("proxy-authenticate"), want.0 == 407);
    }
    assert_eq!(world.origin.served(), before, "nothing of that reached an origin");
}

#[test]
fn a_tunnel_leads_to_the_host_that_its_hello_names() {
    if !has_curl("a_tunnel_leads_to_the_host_that_its_hello_names") {
        return;
    }
    let world = World::start("tunnel", &[]);
    let hello = world.through(&[&world.secure("/hello")]);
    assert_eq!((hello.exit, hello.status), (0, 200), "{hello:?}");
    let before = world.origin.served();
    // The tunnel is to the judged host, and the hello in it names another, or none.
    let to = format!("other.origin.test:{0}:origin.test:{0}", world.https);
    let fronted =
        world.through(&[&format!("https://other.origin.test:{}/", world.https), "--connect-to", &to]);
    assert_ne!(fronted.exit, 0, "{fronted:?}");
    let line = world.wait_for("a refused hello", |line| line["code"] == "egress.permit.server_name");
    assert_eq!(line["event"], "failed");
    let nameless = |host: &str| {
        let to = format!("127.0.0.1:{0}:{host}:{0}", world.https);
        let url = format!("https://127.0.0.1:{}/", world.https);
        world.through(&[&url, "-k", "--connect-to", &to])
    };
    assert_ne!(nameless("origin.test").exit, 0);
    assert_eq!(world.origin.served(), before);
    // A rule may say otherwise.
    assert_eq!(nameless("hidden.origin.test").status, 200);
    // And never for another name.
    let to = format!("other.origin.test:{0}:hidden.origin.test:{0}", world.https);
    let url = format!("https://other.origin.test:{}/", world.https);
    assert_ne!(world.through(&[&url, "--connect-to", &to]).exit, 0);
    for (host, want) in [
        ("elsewhere.test:443", "egress.host.not_allowed"),
        ("origin.test:1", "egress.port.not_allowed"),
        ("169.254.169.254:443", "egress.host.not_allowed"),
    ] {
        let refused = world.through(&[&format!("https://{host}/")]);
        assert_eq!((refused.status, refused.code.as_str()), (403, want), "{refused:?}");
    }
    // Not TLS at all.
    let target = format!("CONNECT origin.test:{0} HTTP/1.1\r\nhost: origin.test:{0}", world.https);
    let early = world.says(&target, "GET / HTTP/1.1\r\n\r\n");
    assert_eq!((status(&early), code(&early).as_str()), (400, "proxy.tunnel.early"), "{early}");
}

/// Invariant 10: what the origin gets, and nobody else.
#[test]
fn a_route_puts_the_secret_in_over_the_proxys_own_tls() {
    if !has_curl("a_route_puts_the_secret_in_over_the_proxys_own_tls") {
        return;
    }
    let world = World::start("route", &[]);
    let base = format!("http://{}/r/models/v1/chat?stream=1", world.proxy);
    // As an SDK with a base URL would send it: the token where its key would stand.
    for key in ["Authorization: Bearer TOKEN", "X-Api-Key: TOKEN", "Proxy-Authorization: Bearer TOKEN"] {
        let key = key.replace("TOKEN", &world.token);
        let routed = world.curl(&[&base, "-H", &key, "-d", "{}", "-H", "AUTHORIZATION: Basic bWluZQ=="]);
        let mine = key.starts_with("Authorization");
        // The worker's own credential beside the token is removed as well.
        if mine {
            let seen = world.curl(&[&base, "-H", &key, "-d", "{}"]);
            assert_eq!(seen.status, 200, "{seen:?}");
        } else {
            assert_eq!(routed.status, 200, "{routed:?}");
        }
        let seen = world.origin.last();
        assert_eq!(seen.head.target, "/v1/chat?stream=1");
        assert_eq!(seen.values("authorization"), [format!("Bearer {SECRET}")]);
        assert_eq!((seen.body, seen.values("content-length")), (2, vec!["2".to_owned()]));
        let all: Vec<_> = seen.head.fields.iter().map(|(_, value)| String::from_utf8_lossy(value)).collect();
        assert!(!all.iter().any(|value| value.contains(&world.token)), "{all:?}");
    }
    // Absolute-form https, which curl only sends when it is told to.
    let url = world.secure("/v1/x");
    let absolute = world.curl(&[
        &format!("http://{}/", world.proxy),
        "--request-target",
        &url,
        "-H",
        &format!("Proxy-Authorization: Bearer {}", world.token),
    ]);
    assert_eq!(absolute.status, 200, "{absolute:?}");
    assert_eq!(world.origin.last().values("authorization"), [format!("Bearer {SECRET}")]);
    let before = world.origin.served();
    let proxied = format!("Proxy-Authorization: Bearer {}", world.token);
    for (path, want) in [
        ("/r/models/v2/", (403, "egress.path.not_allowed")),
        ("/r/models/v1/..%2fadmin", (403, "egress.path.not_allowed")),
        ("/r/none/v1/", (403, "egress.route.unknown_rule")),
        ("/r/open/v1/", (403, "egress.route.no_origin")),
        ("/r/models@evil.test/v1/", (403, "egress.route.malformed")),
        ("/elsewhere", (404, "proxy.no_such_page")),
    ] {
        let url = format!("http://{}{path}", world.proxy);
        let answer = world.curl(&["--path-as-is", &url, "-H", &proxied]);
        assert_eq!((answer.status, answer.code.as_str()), want, "{path} {answer:?}");
    }
    let nobody = world.curl(&[&base]);
    assert_eq!((nobody.status, nobody.code.as_str()), (401, "proxy.identity.missing"));
    assert!(nobody.text.to_ascii_lowercase().contains("www-authenticate: bearer"), "{nobody:?}");
    assert_eq!(world.origin.served(), before);
    world.wait_for("the last word", |line| line["code"] == "proxy.identity.missing");
    let log = format!("{:?}", world.log());
    assert!(log.contains("models") && !log.contains(SECRET) && !log.contains(&world.token), "{log}");
}

/// Attack E4, by targets that curl would repair if they stood in its URL.
#[test]
fn e4_hostile_targets_are_refused_as_they_are() {
    if !has_curl("e4_hostile_targets_are_refused_as_they_are") {
        return;
    }
    let world = World::start("hostile", &[]);
    let http = world.http;
    let proxied = format!("Proxy-Authorization: Bearer {}", world.token);
    for (target, want) in [
        (format!("http://user@origin.test:{http}/"), (400, "egress.url.userinfo")),
        (format!("http://origin.test:{http}@127.0.0.1/"), (400, "egress.url.userinfo")),
        (format!("http://origin.test:{http}/#x"), (400, "egress.url.fragment")),
        (format!("http://origin.test:+{http}/"), (400, "egress.url.port")),
        (format!("http://origin.test:0{http}/"), (400, "egress.url.port")),
        (format!("http://origin.test\\@127.0.0.1:{http}/"), (400, "egress.url.backslash")),
        (format!("http://or%69gin.test:{http}/"), (400, "egress.host.character")),
        ("http://2130706433/".into(), (400, "egress.host.numeric")),
        ("http://0x7f.0.0.1/".into(), (400, "egress.host.numeric")),
        ("http://127.1/".into(), (400, "egress.host.numeric")),
        ("http://[::ffff:127.0.0.1]/".into(), (403, "egress.host.not_allowed")),
        ("http://[fe80::1%25lo]/".into(), (400, "egress.host.literal")),
        ("ftp://origin.test/".into(), (403, "egress.scheme.unsupported")),
        ("*".into(), (400, "egress.http.target")),
        ("origin.test:80".into(), (400, "egress.http.target")),
        ("http:/origin.test/".into(), (400, "egress.http.target")),
    ] {
        let proxy = format!("http://{}/", world.proxy);
        let answer = world.curl(&[&proxy, "--request-target", &target, "-H", &proxied]);
        assert_eq!((answer.status, answer.code.as_str()), want, "{target} {answer:?}");
    }
    assert_eq!(world.origin.served(), 0);
    // One trailing dot and another case are the same host.
    let target = format!("http://ORIGIN.test.:{http}/x/../hello");
    let same =
        world.curl(&[&format!("http://{}/", world.proxy), "--request-target", &target, "-H", &proxied]);
    assert_eq!((same.status, world.origin.last().head.target.as_str()), (200, "/hello"), "{same:?}");
}

/// Attack E11: each hop is a request of its own.
#[test]
fn e11_each_hop_of_a_redirect_is_judged() {
    if !has_curl("e11_each_hop_of_a_redirect_is_judged") {
        return;
    }
    let world = World::start("redirect", &[]);
    let chain = world.through(&["-L", &world.plain("/redirect/3")]);
    assert!(chain.exit == 0 && chain.text.ends_with("at the end\n"), "{chain:?}");
    assert_eq!(world.origin.served(), 4);
    for (to, want) in [
        ("http://169.254.169.254/latest/", (403, "egress.host.not_allowed")),
        ("http://elsewhere.test/", (403, "egress.host.not_allowed")),
        ("http://metadata.test/", (403, "egress.address.metadata")),
        ("http://origin.test:1/", (403, "egress.port.not_allowed")),
    ] {
        let hop = world.through(&["-L", &world.plain(&format!("/away?to={to}"))]);
        assert_eq!((hop.status, hop.code.as_str()), want, "{to} {hop:?}");
    }
    assert_eq!(world.origin.served(), 8);
    let endless = world.through(&["-L", "--max-redirs", "3", &world.plain("/redirect/9")]);
    assert_eq!(endless.exit, 47, "{endless:?}");
}

#[test]
fn uploads_arrive_whole_or_are_refused() {
    if !has_curl("uploads_arrive_whole_or_are_refused") {
        return;
    }
    let world = World::start("upload", &[]);
    let file = |bytes: usize| {
        let path = world.scratch.file(&format!("upload-{bytes}"), vec![b'u'; bytes]);
        format!("@{}", path.display())
    };
    // Over 1 MiB curl asks first (Expect: 100-continue). The origin is asked in turn, and this one does not know the word.
    for (bytes, more) in [(10, None), (2_000_000, None), (2_000_000, Some("Transfer-Encoding: chunked"))] {
        let mut arguments = vec!["--data-binary".to_owned(), file(bytes), world.plain("/upload")];
        arguments.extend(more.into_iter().flat_map(|field| ["-H".to_owned(), field.to_owned()]));
        let up = world.through(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(up.text.ends_with(&format!("{bytes} bytes\n")), "{bytes} {more:?} {up:?}");
        let seen = world.origin.last();
        assert_eq!(seen.body, bytes);
        assert_eq!(seen.values("transfer-encoding").len(), usize::from(more.is_some()));
    }
    let before = world.origin.served();
    let large = world.through(&["--data-binary", &file(3_000_001), &world.plain("/upload")]);
    assert_eq!((large.status, large.code.as_str()), (413, "egress.limits.request_bytes"), "{large:?}");
    // Without a length the limit is counted, and the origin sees no end of a body that is over it.
    let chunked = "Transfer-Encoding: chunked";
    let large = world.through(&["--data-binary", &file(3_000_001), "-H", chunked, &world.plain("/upload")]);
    assert_eq!((large.status, large.code.as_str()), (413, "proxy.request.body"), "{large:?}");
    assert_eq!(world.origin.served(), before);
    // An origin that answers before it has read.
    let early = world.through(&["--data-binary", &file(2_000_000), &world.plain("/early")]);
    assert!(early.status == 413 && early.code.is_empty(), "{early:?}");
}

/// Attack E15: a response without end.
#[test]
fn e15_a_download_over_its_limit_never_looks_whole() {
    if !has_curl("e15_a_download_over_its_limit_never_looks_whole") {
        return;
    }
    let world = World::start("download", &[]);
    let large = world.through(&[&world.plain("/large")]);
    assert_eq!((large.status, large.code.as_str()), (502, "proxy.response.too_large"), "{large:?}");
    let endless = world.through(&[&world.plain("/endless")]);
    assert!(endless.exit == 18 && endless.text.len() < 1_100_000, "{} {}", endless.exit, endless.text.len());
    world.wait_for("the cut", |line| line["code"] == "proxy.response.too_large" && line["received"] != 0);
    let cut = world.through(&[&world.plain("/cut")]);
    assert_eq!(cut.exit, 18, "{cut:?}");
    for path in ["/large", "/endless", "/cut"] {
        let tunnel = world.through(&[&world.secure(path)]);
        assert!(tunnel.exit != 0 && tunnel.text.len() < 1_100_000, "{path} {}", tunnel.exit);
    }
    for (path, want) in [
        ("/switch", (502, "proxy.upstream.head")),
        ("/both", (502, "proxy.upstream.head")),
        ("/folded", (502, "proxy.upstream.head")),
    ] {
        let answer = world.through(&[&world.plain(path)]);
        assert_eq!((answer.status, answer.code.as_str()), want, "{path} {answer:?}");
    }
    for (path, end) in
        [("/chunks", "first\nsecond\n"), ("/until-close", "old server\n"), ("/interim", "after the hint\n")]
    {
        let answer = world.through(&[&world.plain(path)]);
        assert!(answer.exit == 0 && answer.text.ends_with(end), "{path} {answer:?}");
        assert!(!answer.text.contains("keep-alive"), "{answer:?}");
    }
    let head = world.through(&["-I", &world.plain("/hello")]);
    assert!(head.exit == 0 && head.text.contains("content-length: 6"), "{head:?}");
    // A client of HTTP/1.0 hears the end of a body of unknown length by the end of the connection, and a cut by its reset.
    let old = |path: &str| {
        let token = &world.token;
        let url = world.plain(path);
        let head = format!("GET {url} HTTP/1.0\r\nproxy-authorization: Bearer {token}\r\n\r\n");
        let mut stream = TcpStream::connect(world.proxy).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = Vec::new();
        let ended = stream.read_to_end(&mut answer);
        (String::from_utf8_lossy(&answer).into_owned(), ended.map_err(|error| error.kind()))
    };
    let (whole, ended) = old("/until-close");
    assert!(ended.is_ok() && whole.ends_with("\r\n\r\nold server\n"), "{whole}");
    assert!(!whole.contains("transfer-encoding") && !whole.contains("content-length"), "{whole}");
    let (_, ended) = old("/endless");
    assert_eq!(ended, Err(ErrorKind::ConnectionReset), "a cut is no end");
}
