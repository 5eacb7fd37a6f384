//! A client's connection of HTTP/2: each stream is a request of its own, judged as one.

use std::sync::Arc;

use bytes::Bytes;
use h2::{RecvStream, server::SendResponse};
use leasehold::{
    digest::Sha256Digest,
    egress::http1::{Field, Framing},
};
use tokio::{
    sync::Mutex,
    time::{sleep, timeout},
};

use super::{
    Proxy, Record, Refused,
    admission::Seat,
    ask::{Form, Said, Version, redacted, worker},
    body::BodyReader,
    forward::{Client, carry_out, refuse_h2},
    stream::Stream,
};

/// How much a client may send before it is read, on one stream and on all of a connection.
const WINDOW: u32 = 1 << 20;
/// The most requests of one connection at a time.
const STREAMS: u32 = 128;
/// The most bytes of a head.
const HEAD: u32 = 32 << 10;

/// Serves one connection to its end. `name` is the server that the client asked TLS for: this proxy, under that name.
pub async fn serve(proxy: &Arc<Proxy>, stream: Stream, address: &str, name: Option<String>, seat: Seat) {
    let certificate = stream.certificate();
    let peer: Arc<str> = worker(proxy, certificate).as_ref().map_or(address, |worker| worker.as_str()).into();
    let own: Arc<str> =
        name.or_else(|| stream.local().ok().map(|local| local.to_string())).unwrap_or_default().into();
    let mut builder = h2::server::Builder::new();
    builder.initial_window_size(WINDOW).initial_connection_window_size(WINDOW);
    builder.max_concurrent_streams(STREAMS).max_header_list_size(HEAD);
    let times = proxy.setup.times;
    let Ok(Ok(mut connection)) = timeout(times.head, builder.handshake(stream)).await else { return };
    let seat = Arc::new(Mutex::new(seat));
    let mut drain = proxy.drain.subscribe();
    let mut draining = false;
    loop {
        let accepted = tokio::select! {
            accepted = connection.accept() => accepted,
            _ = drain.wait_for(|draining| *draining), if !draining => {
                draining = true;
                connection.graceful_shutdown();
                continue;
            }
            // Silence between requests; the count of the proxy's handles says whether one is under way.
            () = sleep(times.keep_alive), if Arc::strong_count(&seat) == 1 => {
                connection.graceful_shutdown();
                draining = true;
                continue;
            }
        };
        let Some(Ok((request, respond))) = accepted else { return };
        let (proxy, peer, own) = (Arc::clone(proxy), Arc::clone(&peer), Arc::clone(&own));
        let seat = Arc::clone(&seat);
        tokio::spawn(async move {
            exchange(&proxy, request, respond, &peer, &own, certificate, &seat).await;
        });
    }
}

async fn exchange(
    proxy: &Proxy,
    request: http::Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    peer: &str,
    own: &str,
    certificate: Option<Sha256Digest>,
    seat: &Mutex<Seat>,
) {
    let target = request.uri().to_string();
    let (said, body) = said(request, own);
    let asked = match said.and_then(|said| said.admit(proxy, certificate)) {
        Ok(asked) => asked,
        Err(refused) => {
            let (peer, target) = (peer.to_owned(), redacted(&target));
            proxy.tell(Record::Unjudged { peer, target, refused: refused.clone() });
            refuse_h2(&mut respond, &refused);
            return;
        }
    };
    seat.lock().await.proven();
    carry_out(proxy, &asked, Client::h2(body, respond)).await;
}

/// What an HTTP/2 head says. h2 has refused what RFC 9113 section 8.2 and 8.3 refuse.
fn said(request: http::Request<RecvStream>, own: &str) -> (Result<Said, Refused>, BodyReader) {
    let (head, body) = request.into_parts();
    let mut fields: Vec<Field> = head
        .headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
        .collect();
    let length = fields.iter().find(|(name, _)| name == "content-length");
    let length: Option<u64> = length.and_then(|(_, value)| std::str::from_utf8(value).ok()?.parse().ok());
    let framing = match length {
        _ if body.is_end_stream() || head.method == http::Method::CONNECT => Framing::Length(0),
        Some(length) => Framing::Length(length),
        None => Framing::Chunked,
    };
    let authority = head.uri.authority().map(|authority| authority.as_str().to_owned());
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let form = match (&authority, head.uri.scheme_str()) {
        (Some(authority), _) if head.method == http::Method::CONNECT => Some(Form::Tunnel(authority.clone())),
        // The proxy itself is who is meant where its own name stands.
        (Some(authority), _) if is_own(authority, own) => {
            path.starts_with("/r/").then(|| Form::Route(path.to_owned()))
        }
        (Some(authority), Some(scheme)) => Some(Form::Url(format!("{scheme}://{authority}{path}"))),
        (None, _) => path.starts_with("/r/").then(|| Form::Route(path.to_owned())),
        _ => None,
    };
    // The authority takes its place (RFC 9113 section 8.3.1), and two hosts are two readings.
    let host = fields.iter().find(|(name, _)| name == "host").map(|(_, value)| value.clone());
    fields.retain(|(name, _)| name != "host" && name != "content-length");
    let agrees = match (&host, &authority) {
        (Some(host), Some(authority)) => host.eq_ignore_ascii_case(authority.as_bytes()),
        _ => true,
    };
    // The library looks at the length like at that of HTTP/1.
    if let Some(length) = length {
        fields.push(("content-length".into(), length.to_string().into_bytes()));
    }
    let said = Said { method: head.method.to_string(), form, fields, framing, version: Version::H2 };
    let said = match agrees {
        true => Ok(said),
        false => Err(Refused::malformed(leasehold::egress::http1::HttpError::Host)),
    };
    let counted = matches!(framing, Framing::Length(1..));
    (said, BodyReader::h2(body, length.filter(|_| counted)))
}

/// Whether `authority` is the server that the client asked TLS for, with or without a port.
fn is_own(authority: &str, own: &str) -> bool {
    let host = authority.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    !own.is_empty()
        && (authority.eq_ignore_ascii_case(own)
            || host.is_some_and(|(host, _)| host.eq_ignore_ascii_case(own)))
}
