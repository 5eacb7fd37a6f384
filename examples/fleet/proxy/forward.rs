//! Carrying out a request for a URL: the request as the plan has it, the credentials put in, the answer streamed back
//! within its limits.

use std::{io, net::TcpStream, sync::Arc, time::Instant};

use leasehold::egress::{
    BudgetError, ConnectPlan, EchoError, PermitError, Scheme, SignedBody,
    http1::{Field, Framing, ResponseHead},
};

use super::{
    Moved, Proxy, Refused,
    channel::Channel,
    duplex::Duplex,
    exchange::{Asked, Stopped, connect},
    refused::{
        CLIENT_GONE, LENGTH_UNKNOWN, REQUEST_BODY, RESPONSE_TOO_LARGE, UPSTREAM_BODY, UPSTREAM_HEAD,
        UPSTREAM_TLS,
    },
    wire::{self, BodyError},
};

/// The most interim answers (1xx) before the real one.
const INTERIM: usize = 8;

/// Why a body stops.
enum Stop {
    Body(BodyError),
    TooLarge,
    Budget(BudgetError),
    Write(io::Error),
}

impl From<BodyError> for Stop {
    fn from(error: BodyError) -> Self {
        Self::Body(error)
    }
}

/// Carries out `plan`.
pub fn carry(proxy: &Proxy, client: &Channel, asked: &Asked, plan: &ConnectPlan) -> Result<Moved, Stopped> {
    let deadline = Instant::now() + proxy.setup.times.exchange;
    let (upstream, _registered) = connect(proxy, client, plan, |socket| with_tls(proxy, plan, socket))?;
    upstream
        .write_all(&head(proxy, asked, plan)?)
        .map_err(|error| Refused::upstream(UPSTREAM_HEAD, &error))?;
    if asked.waits && asked.framing != Framing::Length(0) && asked.early.is_empty() {
        let told = client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n");
        told.map_err(|error| Refused::new(400, CLIENT_GONE, error))?;
    }
    let mut moved = Moved::default();
    send(proxy, client, &upstream, asked, plan, deadline, &mut moved).map_err(|refused| Stopped {
        refused,
        moved,
        begun: false,
    })?;
    let stopped = |refused, moved| Stopped { refused, moved, begun: false };
    let (response, early) = answer(proxy, &upstream).map_err(|refused| stopped(refused, moved))?;
    let framing = response
        .framing(plan.method())
        .map_err(|error| stopped(Refused::new(502, UPSTREAM_HEAD, error), moved))?;
    let limit = plan.limits().max_response_bytes.unwrap_or(proxy.setup.max_body);
    let too_large = || Refused::new(502, RESPONSE_TOO_LARGE, format!("the answer is over {limit} bytes"));
    let out = match framing {
        Framing::Length(length) if length > limit => return Err(stopped(too_large(), moved)),
        Framing::Length(_) => framing,
        // Chunks end with a word, and what is cut lacks it.
        _ if asked.minor > 0 => Framing::Chunked,
        _ => {
            let message = "an HTTP/1.0 client could not tell whether the answer is whole";
            return Err(stopped(Refused::new(502, LENGTH_UNKNOWN, message), moved));
        }
    };
    let gone = |error: io::Error| Refused::new(400, CLIENT_GONE, error);
    client.write_all(&response_head(proxy, &response, plan.method(), out)).map_err(|error| Stopped {
        refused: gone(error),
        moved,
        begun: true,
    })?;
    let received = &mut moved.received;
    let passed = wire::payload(
        |buffer| upstream.read(buffer, Some(deadline)),
        &early,
        framing,
        |piece| {
            pass(client, out, piece, limit, received, |bytes| {
                proxy.spend(plan.fence(), |own| own.receive(bytes))
            })
        },
    );
    let ended = passed.and_then(|()| match out {
        Framing::Chunked => client.write_all(b"0\r\n\r\n").map_err(Stop::Write),
        _ => Ok(()),
    });
    match ended {
        Ok(()) => Ok(moved),
        Err(stop) => {
            let refused = match stop {
                Stop::Body(error) => Refused::upstream_body(&error),
                Stop::TooLarge => too_large(),
                Stop::Budget(error) => Refused::coded(429, &error),
                Stop::Write(error) => gone(error),
            };
            Err(Stopped { refused, moved, begun: true })
        }
    }
}

fn with_tls(proxy: &Proxy, plan: &ConnectPlan, socket: TcpStream) -> Result<Channel, Refused> {
    let tls = |error: &io::Error| Refused::upstream(UPSTREAM_TLS, error);
    if plan.scheme() == Scheme::Http {
        return Channel::plain(socket).map_err(|error| tls(&error));
    }
    // A certificate has the address without the brackets of a URL.
    let host = plan.host().to_string();
    let name = host.trim_start_matches('[').trim_end_matches(']');
    let duplex = Duplex::connect(socket, Arc::clone(&proxy.setup.upstream), name, None);
    duplex.map(Channel::Tls).map_err(|error| tls(&error))
}

/// The head as the origin gets it. Secrets are asked for here, and are in nothing but these bytes.
fn head(proxy: &Proxy, asked: &Asked, plan: &ConnectPlan) -> Result<Vec<u8>, Refused> {
    // Bodies are sent as they come, so what signs them is refused.
    let body = match asked.framing {
        Framing::Length(0) => SignedBody::Whole(&[]),
        _ => SignedBody::Streamed,
    };
    let now = proxy.setup.clock.now().wall;
    let sent =
        plan.request(&asked.header_fields(), body, now, &*proxy.setup.secrets).map_err(
            |error| match &error {
                PermitError::Headers(_) => Refused::coded(400, &error),
                PermitError::Secret(_) => Refused::coded(502, &error),
                _ => Refused::coded(403, &error),
            },
        )?;
    // Answers are passed on as they come, so what is to be masked in them is refused.
    if sent.echo.is_some() {
        return Err(Refused::coded(403, &EchoError::Needed));
    }
    let mut head =
        format!("{} {} HTTP/1.1\r\nhost: {}\r\n", plan.method(), sent.target.expose(), plan.authority())
            .into_bytes();
    let fields = sent.headers;
    // Framing is said once, and below.
    for field in fields.iter().filter(|field| !field.name().eq_ignore_ascii_case("content-length")) {
        head.extend([field.name().as_bytes(), b": "].concat());
        field.expose_value().iter().for_each(|part| head.extend(*part));
        head.extend(b"\r\n");
    }
    match asked.framing {
        Framing::Length(0) if !matches!(plan.method(), "POST" | "PUT" | "PATCH") => {}
        Framing::Length(length) => head.extend(format!("content-length: {length}\r\n").into_bytes()),
        _ => head.extend(b"transfer-encoding: chunked\r\n"),
    }
    head.extend(
        format!("via: 1.{} {}\r\nconnection: close\r\n\r\n", asked.minor, proxy.setup.name).into_bytes(),
    );
    Ok(head)
}

/// Sends the body on. An origin that does not read it may have answered already, so that is not the end.
fn send(
    proxy: &Proxy,
    client: &Channel,
    upstream: &Channel,
    asked: &Asked,
    plan: &ConnectPlan,
    deadline: Instant,
    moved: &mut Moved,
) -> Result<(), Refused> {
    let limit = plan.limits().max_request_bytes.unwrap_or(proxy.setup.max_body);
    let too_large = || Refused::new(413, REQUEST_BODY, format!("the body is over {limit} bytes"));
    if matches!(asked.framing, Framing::Length(length) if length > limit) {
        return Err(too_large());
    }
    let sent = wire::payload(
        |buffer| client.read(buffer, Some(deadline)),
        &asked.early,
        asked.framing,
        |piece| {
            pass(upstream, asked.framing, piece, limit, &mut moved.sent, |bytes| {
                proxy.spend(plan.fence(), |own| own.send(bytes))
            })
        },
    );
    let sent = sent.and_then(|()| match asked.framing {
        Framing::Chunked => upstream.write_all(b"0\r\n\r\n").map_err(Stop::Write),
        _ => Ok(()),
    });
    match sent {
        Ok(()) | Err(Stop::Write(_)) => Ok(()),
        Err(Stop::TooLarge) => Err(too_large()),
        Err(Stop::Budget(error)) => Err(Refused::coded(429, &error)),
        Err(Stop::Body(BodyError::Http(error))) => Err(Refused::coded(error.http_status(), &error)),
        Err(Stop::Body(error)) => Err(Refused::new(400, REQUEST_BODY, error)),
    }
}

/// Counts one piece and writes it, as a chunk where the body is in chunks.
fn pass(
    to: &Channel,
    framing: Framing,
    piece: &[u8],
    limit: u64,
    count: &mut u64,
    spend: impl FnOnce(u64) -> Result<(), BudgetError>,
) -> Result<(), Stop> {
    let bytes = piece.len() as u64;
    if count.saturating_add(bytes) > limit {
        return Err(Stop::TooLarge);
    }
    spend(bytes).map_err(Stop::Budget)?;
    *count += bytes;
    match framing {
        Framing::Chunked => {
            let size = format!("{bytes:x}\r\n").into_bytes();
            to.write_all(&[size.as_slice(), piece, b"\r\n"].concat()).map_err(Stop::Write)
        }
        _ => to.write_all(piece).map_err(Stop::Write),
    }
}

/// The head of the real answer. Interim ones stay here; another protocol is not switched to.
fn answer(proxy: &Proxy, upstream: &Channel) -> Result<(ResponseHead, Vec<u8>), Refused> {
    let within = proxy.setup.times.first_byte;
    let deadline = Instant::now() + within;
    let mut early: Vec<u8> = Vec::new();
    for _ in 0..INTERIM {
        let read = |buffer: &mut [u8]| {
            let count = early.len().min(buffer.len());
            if count == 0 {
                return upstream.read(buffer, Some(deadline));
            }
            buffer[..count].copy_from_slice(&early[..count]);
            early.drain(..count);
            Ok(count)
        };
        let (head, rest) = wire::response(read, within).map_err(|error| Refused::upstream_head(&error))?;
        match head.status {
            101 => return Err(Refused::new(502, UPSTREAM_HEAD, "the origin switches to another protocol")),
            100..=199 => early.splice(..0, rest).for_each(drop),
            _ => return Ok((head, [rest, early].concat())),
        }
    }
    Err(Refused::new(502, UPSTREAM_BODY, "the origin does not come to its answer"))
}

fn response_head(proxy: &Proxy, response: &ResponseHead, method: &str, framing: Framing) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {} \r\n", response.status).into_bytes();
    let own = hop_by_hop(&response.fields);
    let length = response.fields.iter().find(|(name, _)| name == "content-length");
    for (name, value) in response.fields.iter().filter(|(name, _)| !own.contains(name)) {
        head.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
    }
    match (framing, length) {
        // What a GET would have got; no body follows.
        (_, Some((_, value))) if method == "HEAD" || response.status == 304 => {
            head.extend([b"content-length: ", value.as_slice(), b"\r\n"].concat());
        }
        _ if method == "HEAD" || matches!(response.status, 204 | 304) => {}
        (Framing::Length(length), _) => head.extend(format!("content-length: {length}\r\n").into_bytes()),
        _ => head.extend(b"transfer-encoding: chunked\r\n"),
    }
    head.extend(format!("via: 1.{} {}\r\n", response.minor, proxy.setup.name).into_bytes());
    head.extend(b"connection: close\r\n\r\n");
    head
}

/// The fields of an answer that belong to one connection: those that RFC 9110 section 7.6.1 lists, the framing, and
/// those that `connection` names.
fn hop_by_hop(fields: &[Field]) -> Vec<String> {
    let listed = [
        "connection",
        "content-length",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        // Ours alone to say.
        "leasehold-code",
    ];
    let connection = fields.iter().filter(|(name, _)| name == "connection");
    let named = connection.flat_map(|(_, value)| {
        let value = String::from_utf8_lossy(value).to_ascii_lowercase();
        value.split(',').map(|name| name.trim().to_owned()).collect::<Vec<_>>()
    });
    listed.into_iter().map(str::to_owned).chain(named).collect()
}
