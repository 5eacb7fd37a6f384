//! The origin's side of an exchange: a connection to a pinned address, and messages on it in the version that was agreed
//! on.

use std::{future::poll_fn, io, net::SocketAddr, task::Poll};

use bytes::Bytes;
use h2::{
    RecvStream, SendStream,
    client::{ResponseFuture, SendRequest},
};
use leasehold::egress::{
    ConnectPlan, OutgoingRequest, Scheme,
    http1::{Field, Framing, HeadLimits, HeadReader},
};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use super::{
    Proxy, Refused,
    ask::Asked,
    body::{BodyReader, BodyWriter, H1Body, io_error},
    dial::{dial, within},
    message::{self, Reply},
    parent::Tunnel,
    pool::{Connection, Key},
    refused::{UPSTREAM_HEAD, UPSTREAM_TLS},
    stream::{Reader, Stream, Writer, split},
    streams::Registered,
};

/// How much an origin may send before it is read, on one stream and on all of a connection.
const WINDOW: u32 = 1 << 20;

/// A connection, and what it is for.
pub struct Reached {
    /// The connection.
    pub connection: Connection,
    /// Where it leads.
    pub peer: SocketAddr,
    /// What it may be used again for.
    pub key: Key,
    /// Whether it has carried nothing before.
    pub fresh: bool,
}

/// A connection for `plan`: one that waits, or a new one. HTTP/2 is offered where `h2` says so.
pub async fn reach(
    proxy: &Proxy,
    plan: &ConnectPlan,
    stream: &Registered<'_>,
    h2: bool,
    fresh: bool,
) -> Result<Reached, Refused> {
    let key = Key::of(plan, h2);
    if !fresh && let Some((connection, peer)) = proxy.pool.take(&key, plan) {
        stream.reached(peer);
        return Ok(Reached { connection, peer, key, fresh: false });
    }
    let secure = plan.scheme() == Scheme::Https;
    let (tunnel, peer) = open(proxy, plan, stream).await?;
    let connection = if secure { secured(proxy, plan, tunnel, h2).await? } else { plain(tunnel) };
    let connection = match connection {
        stream if stream.is_h2() => {
            let sender = within(proxy, multiplexed(stream)).await?;
            proxy.pool.give(key.clone(), Connection::H2(sender.clone()), peer);
            Connection::H2(sender)
        }
        stream => {
            let (reader, writer) = split(stream);
            Connection::H1(reader, writer)
        }
    };
    Ok(Reached { connection, peer, key, fresh: true })
}

/// A connection to a pinned address as it is, for a tunnel.
pub async fn open(
    proxy: &Proxy,
    plan: &ConnectPlan,
    stream: &Registered<'_>,
) -> Result<(Tunnel, SocketAddr), Refused> {
    let (tunnel, peer) = match &proxy.setup.parent {
        None => {
            let socket = dial(proxy, plan).await?;
            let peer = socket.peer_addr().map_err(|error| Refused::upstream(UPSTREAM_HEAD, &error))?;
            (Tunnel::Plain(socket), peer)
        }
        Some(parent) => within(proxy, parent.open(plan)).await?,
    };
    stream.reached(peer);
    // The lease may have ended and the policy may have changed while it was dialled, and then nobody cut this one.
    proxy.lease_lives(plan)?;
    let policy = proxy.policy();
    if policy.digest() != plan.policy() {
        return Err(Refused::coded(403, &leasehold::egress::PermitError::Policy));
    }
    Ok((tunnel, peer))
}

/// What a tunnel is without TLS of one's own in it.
pub fn plain(tunnel: Tunnel) -> Stream {
    match tunnel {
        Tunnel::Plain(socket) => Stream::Plain(socket),
        Tunnel::Tls(tls) => Stream::Tls(tls),
    }
}

async fn secured(proxy: &Proxy, plan: &ConnectPlan, tunnel: Tunnel, h2: bool) -> Result<Stream, Refused> {
    let upstream = proxy.in_force().upstream.clone();
    let connector = TlsConnector::from(if h2 { upstream.h2 } else { upstream.h1 });
    // A certificate has the address without the brackets of a URL.
    let host = plan.host().to_string();
    let name = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(name)
        .map_err(|_| Refused::new(502, UPSTREAM_TLS, "the host is no name that a certificate can have"))?;
    let failed = |error: io::Error| Refused::upstream(UPSTREAM_TLS, &error);
    let shake = async {
        match tunnel {
            Tunnel::Plain(socket) => {
                let tls = connector.connect(name, socket).await.map_err(failed)?;
                Ok(Stream::Tls(Box::new(tls.into())))
            }
            Tunnel::Tls(outer) => {
                let tls = connector.connect(name, *outer).await.map_err(failed)?;
                Ok(Stream::Nested(Box::new(tls.into())))
            }
        }
    };
    within(proxy, shake).await
}

async fn multiplexed<T>(stream: T) -> Result<SendRequest<Bytes>, Refused>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(WINDOW).initial_connection_window_size(WINDOW).enable_push(false);
    builder.max_header_list_size(64 << 10);
    let failed = |error: h2::Error| Refused::upstream(UPSTREAM_HEAD, &io_error(error));
    let (sender, connection) = builder.handshake(stream).await.map_err(failed)?;
    // It ends with its last sender and stream.
    tokio::spawn(async move {
        let _ = connection.await;
    });
    Ok(sender)
}

/// An origin that was told the head of a request.
pub struct Told {
    /// Where the body goes.
    pub body: BodyWriter,
    /// Where the answer comes from.
    pub answer: Answering,
    /// How many bytes the head took.
    pub bytes: u64,
}

/// Where an answer comes from.
pub enum Answering {
    /// HTTP/1.
    H1(Reader),
    /// HTTP/2.
    H2(ResponseFuture),
}

/// The head of an answer as it comes.
pub enum Heard {
    /// An interim one.
    Interim {
        /// Its status.
        status: u16,
        /// Its reason phrase.
        reason: String,
        /// Its fields.
        fields: Vec<Field>,
    },
    /// The origin speaks another protocol from here on. The fields that say so are the caller's.
    Switched {
        /// Its fields.
        fields: Vec<Field>,
        /// What comes next.
        body: BodyReader,
    },
    /// The real one, and its body.
    Real(Reply, BodyReader),
}

/// Tells the head. It may wait in a buffer until the body is flushed.
pub async fn tell(
    proxy: &Proxy,
    asked: &Asked,
    plan: &ConnectPlan,
    outgoing: &OutgoingRequest,
    connection: Connection,
) -> Result<Told, Refused> {
    match connection {
        Connection::H1(reader, mut writer) => {
            let head = message::write_h1(proxy, asked, plan, outgoing);
            let bytes = head.len() as u64;
            writer.queue(&head);
            let framing = asked.framing;
            Ok(Told { body: BodyWriter::H1 { writer, framing }, answer: Answering::H1(reader), bytes })
        }
        Connection::H2(sender) => {
            let request = message::write_h2(proxy, asked, plan, outgoing)?;
            let bytes = request
                .headers()
                .iter()
                .map(|(name, value)| (name.as_str().len() + value.len() + 4) as u64)
                .sum::<u64>()
                + request.uri().path().len() as u64;
            let failed = |error: h2::Error| Refused::upstream(UPSTREAM_HEAD, &io_error(error));
            let mut sender = sender.ready().await.map_err(failed)?;
            let ended = asked.framing == Framing::Length(0);
            let (answer, stream): (_, SendStream<Bytes>) =
                sender.send_request(request, ended).map_err(failed)?;
            Ok(Told { body: BodyWriter::H2 { stream, ended }, answer: Answering::H2(answer), bytes })
        }
    }
}

impl Answering {
    /// The next head, to a request with `method`.
    pub async fn next(self, method: &str) -> Result<(Heard, Option<Self>), Refused> {
        match self {
            Self::H1(reader) => by_h1(reader, method).await,
            Self::H2(response) => by_h2(response, method).await,
        }
    }
}

async fn by_h1(mut reader: Reader, method: &str) -> Result<(Heard, Option<Answering>), Refused> {
    let failed = |error: &dyn ToString| Refused::new(502, UPSTREAM_HEAD, error.to_string());
    let mut head = HeadReader::new(HeadLimits::default());
    loop {
        let buffer = reader.buffer.split();
        if head.push(&buffer).map_err(|error| failed(&error))? {
            break;
        }
        let filled = reader.fill_head().await.map_err(|error| Refused::upstream(UPSTREAM_HEAD, &error))?;
        if filled == 0 {
            return Err(failed(&match head.is_empty() {
                true => "the origin closed without an answer",
                false => "the origin closed in the middle of its head",
            }));
        }
    }
    let (head, rest) = head.response().map_err(|error| failed(&error))?;
    reader.buffer.extend_from_slice(&rest);
    match head.status {
        101 => {
            let body = BodyReader::H1(H1Body::new(reader, Framing::UntilClose));
            Ok((Heard::Switched { fields: head.fields, body }, None))
        }
        status @ 100..=199 => {
            // Fields that are of the connection stay on it.
            let reason = head.reason.clone();
            let reply = Reply::h1(head, method).map_err(|error| failed(&error))?;
            Ok((Heard::Interim { status, reason, fields: reply.fields }, Some(Answering::H1(reader))))
        }
        _ => {
            let reply = Reply::h1(head, method).map_err(|error| failed(&error))?;
            let body = BodyReader::H1(H1Body::new(reader, reply.framing));
            Ok((Heard::Real(reply, body), None))
        }
    }
}

async fn by_h2(mut response: ResponseFuture, method: &str) -> Result<(Heard, Option<Answering>), Refused> {
    enum Next {
        Interim(http::Response<()>),
        Real(Result<http::Response<RecvStream>, h2::Error>),
    }
    let next = poll_fn(|cx| {
        if let Poll::Ready(Some(interim)) = response.poll_informational(cx) {
            return Poll::Ready(match interim {
                Ok(interim) => Next::Interim(interim),
                Err(error) => Next::Real(Err(error)),
            });
        }
        std::pin::Pin::new(&mut response).poll(cx).map(Next::Real)
    });
    match next.await {
        Next::Interim(head) => {
            let reply = Reply::h2(&head, true, method);
            let interim =
                Heard::Interim { status: reply.status, reason: String::new(), fields: reply.fields };
            Ok((interim, Some(Answering::H2(response))))
        }
        Next::Real(Ok(real)) => {
            let reply = Reply::h2(&real, real.body().is_end_stream(), method);
            let length = match reply.framing {
                Framing::Length(length) => Some(length),
                _ => None,
            };
            Ok((Heard::Real(reply, BodyReader::h2(real.into_body(), length)), None))
        }
        Next::Real(Err(error)) => Err(Refused::upstream(UPSTREAM_HEAD, &io_error(error))),
    }
}

/// Puts a connection of HTTP/1 whose exchange is over back among those that wait.
pub fn give_back(proxy: &Proxy, key: Key, peer: SocketAddr, reader: Reader, writer: Writer) {
    if reader.buffer.is_empty() && !proxy.is_draining() && proxy.policy().digest() == key.policy() {
        proxy.pool.give(key, Connection::H1(reader, writer), peer);
    }
}
