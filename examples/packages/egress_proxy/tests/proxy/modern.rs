//! HTTP/2 on both sides, WebSockets, and a parent proxy.

use std::{net::Ipv4Addr, sync::Arc, thread};

use bytes::Bytes;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::support::{Authority, SECRET, Script, World, raw, status};

/// An origin of HTTP/2 with TLS that answers with trailers and says what it was sent in a field. The port.
fn origin(authority: &Authority) -> u16 {
    let (config, _) = authority.server_of(&["grpc.test"]);
    let mut config = Arc::unwrap_or_clone(config);
    config.alpn_protocols = vec![b"h2".to_vec()];
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    listener.set_nonblocking(true).unwrap();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            let acceptor = TlsAcceptor::from(Arc::new(config));
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let tls = acceptor.accept(socket).await.unwrap();
                    let mut connection = h2::server::handshake(tls).await.unwrap();
                    while let Some(Ok((request, respond))) = connection.accept().await {
                        tokio::spawn(call(request, respond));
                    }
                });
            }
        });
    });
    port
}

async fn call(request: http::Request<h2::RecvStream>, mut respond: h2::server::SendResponse<Bytes>) {
    let (head, mut body) = request.into_parts();
    let mut received = 0;
    while let Some(piece) = body.data().await {
        let piece = piece.unwrap();
        body.flow_control().release_capacity(piece.len()).unwrap();
        received += piece.len();
    }
    let seen = |name: &str| head.headers.get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
    let response = http::Response::builder()
        .header("content-type", "application/grpc")
        .header("x-authorization", seen("authorization"))
        .header("x-te", seen("te"))
        .header("x-path", head.uri.path())
        .header("x-received", received.to_string())
        .body(())
        .unwrap();
    let mut stream = respond.send_response(response, false).unwrap();
    let mut trailers = http::HeaderMap::new();
    if head.uri.path().ends_with("/Echo") {
        let said = seen("authorization").into_bytes();
        trailers.insert("x-echo", said.as_slice().try_into().unwrap());
        let (one, two) = said.split_at(said.len() / 2);
        for piece in [one, two] {
            stream.send_data(Bytes::copy_from_slice(piece), false).unwrap();
        }
    } else {
        stream.send_data(Bytes::from_static(b"message"), false).unwrap();
    }
    trailers.insert("grpc-status", "0".parse().unwrap());
    stream.send_trailers(trailers).unwrap();
}

/// A client of the proxy that speaks HTTP/2 over TLS.
async fn client(world: &World) -> h2::client::SendRequest<Bytes> {
    let mut roots = RootCertStore::empty();
    let pem = world.scratch.0.join("roots.pem");
    roots.add_parsable_certificates(CertificateDer::pem_file_iter(pem).unwrap().map(Result::unwrap));
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let socket = TcpStream::connect(world.proxy).await.unwrap();
    let name = ServerName::try_from("proxy.test").unwrap();
    let tls = TlsConnector::from(Arc::new(config)).connect(name, socket).await.unwrap();
    let (sender, connection) = h2::client::handshake(tls).await.unwrap();
    tokio::spawn(async move { drop(connection.await) });
    sender
}

struct Heard {
    head: http::response::Parts,
    body: Vec<u8>,
    trailers: Option<http::HeaderMap>,
}

async fn hear(response: h2::client::ResponseFuture) -> Heard {
    let (head, mut body) = response.await.unwrap().into_parts();
    let mut bytes = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece.unwrap();
        body.flow_control().release_capacity(piece.len()).unwrap();
        bytes.extend_from_slice(&piece);
    }
    let trailers = body.trailers().await.unwrap();
    Heard { head, body: bytes, trailers }
}

/// A call of gRPC is HTTP/2 from end to end: the trailers arrive, the secret is put in, and each stream is judged.
#[test]
fn grpc_passes_through_a_route_with_the_rules_credential() {
    let authority = Authority::new();
    let port = origin(&authority);
    let rules = [
        json!({"id": "grpc", "hosts": ["grpc.test"], "ports": [port], "methods": ["POST"],
        "paths": ["/pkg.Service/"], "private_addresses": ["127.0.0.1/32"],
        "credentials": [{"header": "authorization", "secret": "vault:team/models", "prefix": "Bearer "}]}),
        json!({"id": "masked", "hosts": ["grpc.test"], "ports": [port], "methods": ["POST"],
        "paths": ["/masked.Service/"], "private_addresses": ["127.0.0.1/32"],
        "credentials": [{"header": "authorization", "secret": "vault:team/models", "prefix": "Bearer ",
            "mask_echoes": true}]}),
    ];
    let world = World::of("grpc", &[], &rules, authority, |scratch, authority, _| {
        let (chain, key, _) = authority.issue(&["proxy.test"]);
        let mut arguments = Vec::new();
        for (flag, name, text) in [("--cert", "proxy.pem", chain), ("--key", "proxy.key", key)] {
            arguments.extend([flag.to_owned(), scratch.file(name, text).display().to_string()]);
        }
        arguments
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut sender = client(&world).await.ready().await.unwrap();
        let post = |path: &str, token: &str| {
            http::Request::builder()
                .method("POST")
                .uri(format!("https://proxy.test{path}"))
                .header("te", "trailers")
                .header("content-type", "application/grpc")
                .header("authorization", format!("Bearer {token}"))
                .body(())
                .unwrap()
        };
        let (response, mut stream) =
            sender.send_request(post("/r/grpc/pkg.Service/Call", &world.token), false).unwrap();
        stream.send_data(vec![b'x'; 100_000].into(), true).unwrap();
        let heard = hear(response).await;
        let field = |name: &str| heard.head.headers[name].to_str().unwrap().to_owned();
        assert_eq!((heard.head.status.as_u16(), field("x-path").as_str()), (200, "/pkg.Service/Call"));
        assert_eq!(
            (field("x-authorization"), field("x-te")),
            (format!("Bearer {SECRET}"), "trailers".into())
        );
        assert_eq!((field("x-received").as_str(), heard.body.as_slice()), ("100000", b"message".as_slice()));
        assert_eq!(heard.trailers.unwrap()["grpc-status"], "0");
        // Over HTTP/2 on both sides an echo is masked in fields, in pieces of the body, and in trailers.
        let (response, _) =
            sender.send_request(post("/r/masked/masked.Service/Echo", &world.token), true).unwrap();
        let echoed = hear(response).await;
        let masked = format!("Bearer {}", "*".repeat(SECRET.len()));
        assert_eq!(echoed.head.headers["x-authorization"], masked.as_str());
        assert_eq!(String::from_utf8(echoed.body).unwrap(), masked);
        assert_eq!(echoed.trailers.unwrap()["x-echo"], masked.as_str());
        // Other streams of the same connection are judged on their own.
        let (other, _) = sender.send_request(post("/r/grpc/other.Service/Call", &world.token), true).unwrap();
        let other = hear(other).await;
        assert_eq!(other.head.status.as_u16(), 403);
        assert_eq!(other.head.headers["leasehold-code"], "egress.path.not_allowed");
        let (nobody, _) = sender.send_request(post("/r/grpc/pkg.Service/Call", "x"), true).unwrap();
        assert_eq!(hear(nobody).await.head.status.as_u16(), 401);
        // A request for a URL, and a tunnel, over the same connection.
        let plain = http::Request::builder()
            .uri(world.plain("/hello"))
            .header("proxy-authorization", format!("Bearer {}", world.token))
            .body(())
            .unwrap();
        let (plain, _) = sender.send_request(plain, true).unwrap();
        let plain = hear(plain).await;
        assert_eq!((plain.head.status.as_u16(), plain.body.as_slice()), (200, b"hello\n".as_slice()));
        let tunnel = http::Request::builder()
            .method("CONNECT")
            .uri(format!("origin.test:{}", world.https))
            .header("proxy-authorization", format!("Bearer {}", world.token))
            .body(())
            .unwrap();
        let (tunnel, mut stream) = sender.send_request(tunnel, false).unwrap();
        let (head, mut body) = tunnel.await.unwrap().into_parts();
        assert_eq!(head.status.as_u16(), 200);
        stream.send_data(crate::support::hello("origin.test").into(), false).unwrap();
        let first = body.data().await.unwrap().unwrap();
        assert_eq!(first[0], 0x16, "the origin's own hello");
    });
}

/// A WebSocket on plain http: the switch is passed on, and bytes go both ways behind it. Other protocols are not
/// switched to.
#[test]
fn a_websocket_is_carried_and_nothing_else_is_switched_to() {
    let script = Script::start(|mut line| {
        let head = line.head();
        assert!(head.contains("connection: upgrade\r\n"), "{head}");
        line.say("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: x\r\nx-other: y\r\n\r\nfirst");
        let heard = line.exactly(4);
        line.say(format!("echo {heard}"));
    });
    let world = World::ruled("websocket", &["--idle", "300"], &script.rules(), |_, _, _| Vec::new());
    let ask = |upgrade: &str| {
        let mut line = crate::support::Line::to(world.proxy);
        line.say(format!(
            "GET http://script.test:{}/ws HTTP/1.1\r\nhost: a\r\nproxy-authorization: Bearer {}\r\nconnection: Upgrade\r\nupgrade: {upgrade}\r\nsec-websocket-key: k\r\nsec-websocket-version: 13\r\n\r\n",
            script.port, world.token
        ));
        line
    };
    let mut line = ask("websocket");
    let head = line.head();
    assert!(head.starts_with("HTTP/1.1 101 ") && head.contains("sec-websocket-accept: x\r\n"), "{head}");
    assert_eq!(line.exactly(5), "first");
    // Silence in it is a tunnel's, and not an exchange's.
    thread::sleep(std::time::Duration::from_millis(600));
    line.say("ping");
    assert_eq!(line.rest(), "echo ping");
    let other = ask("h2c").head();
    assert_ne!(status(&other), 101, "{other}");
}

/// A parent proxy is asked for the pinned address and for no name, and what it refuses is no answer of the origin.
#[test]
fn a_parent_proxy_is_asked_for_the_pinned_address() {
    let parent = Script::start(|mut line| {
        let head = line.head();
        let first = head.lines().next().unwrap_or_default().to_owned();
        if !first.starts_with("CONNECT 127.0.0.1:") || !head.contains("\r\nhost: origin.test:") {
            line.say("HTTP/1.1 403 No\r\ncontent-length: 0\r\n\r\n");
            return;
        }
        assert!(head.contains("proxy-authorization: Basic dXNlcjpwYXNz\r\n"), "{head}");
        line.say("HTTP/1.1 200 OK\r\n\r\n");
        let head = line.head();
        let first = head.lines().next().unwrap_or_default();
        line.say(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{first}", first.len()));
        line.rest();
    });
    let url = format!("http://user:pass@127.0.0.1:{}", parent.port);
    let world = World::start("parent", &["--parent", &url]);
    let answer = world.says(&format!("GET {} HTTP/1.1\r\nhost: a", world.plain("/x")), "");
    assert!(answer.ends_with("GET /x HTTP/1.1"), "{answer}");
    let token = format!("proxy-authorization: Bearer {}\r\n", world.token);
    let other = format!("GET http://rebind.test:{}/ HTTP/1.1\r\nhost: a\r\n{token}\r\n", world.http);
    assert_eq!(crate::support::code(&raw(world.proxy, other.as_bytes())), "proxy.parent");
    assert_eq!(world.origin.served(), 0, "nothing goes around it");
}
