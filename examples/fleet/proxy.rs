//! The egress proxy's socket side: reads a request, asks for a verdict, and carries out what that allows.
//!
//! One request per connection, so that no verdict is ever used twice. Who asks is known by the certificate; under
//! which lease, by `proxy-authorization: Lease EPOCH.COUNTER`, which must be that device's own and live.

use std::{
    io::Write,
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use leasehold::{
    digest::Sha256Digest,
    lease::{Epoch, Fence},
};
use rustls::ServerConfig;
use serde_json::json;

use crate::{
    Failure,
    duplex::Duplex,
    escape::{self, shown},
    head::{self, Field, Framing, HeadError, Request},
    note::Note,
    relay::{self, IDLE, Moved, Streams, Timed},
};

/// The most connections at once.
const CONNECTIONS: usize = 256;
/// How long a request's head may take.
const HEAD: Duration = Duration::from_secs(5);
/// How long a whole exchange with an origin may take.
const EXCHANGE: Duration = Duration::from_secs(20);

/// A request as it arrived, for judgement.
pub struct Asked {
    /// The certificate of who asks.
    pub peer: Sha256Digest,
    /// The lease that it is asked under.
    pub fence: Fence,
    /// The method.
    pub method: String,
    /// The target: a URL, or an authority for CONNECT.
    pub target: String,
    /// The header fields without those that were for this proxy.
    pub fields: Vec<Field>,
    /// The bytes of the body.
    pub body: u64,
}

/// What may be done.
pub struct Allowed {
    /// The rule that allows it.
    pub rule: String,
    /// The host that was judged.
    pub host: String,
    /// Host and port, as the origin is to be addressed.
    pub authority: String,
    /// Path and query, as they were judged.
    pub path: String,
    /// The addresses that were judged, and no others.
    pub addresses: Vec<SocketAddr>,
    /// The header fields as they are to be sent.
    pub fields: Vec<Field>,
    /// The most bytes of the request.
    pub max_request: u64,
    /// The most bytes of the response.
    pub max_response: u64,
}

/// A refusal, for the one who asked.
#[derive(Debug)]
pub struct Refused {
    /// The HTTP status.
    pub status: u16,
    /// The stable code.
    pub code: String,
    /// In words.
    pub message: String,
}

impl Refused {
    /// A refusal.
    pub fn new(status: u16, code: impl ToString, message: impl ToString) -> Self {
        Self { status, code: code.to_string(), message: message.to_string() }
    }
}

/// Who decides.
pub trait Judge: Send + Sync {
    /// Whether the request may leave, and how.
    fn judge(&self, asked: &Asked) -> Result<Allowed, Refused>;
    /// Whether the lease is still live.
    fn live(&self, fence: Fence) -> bool;
    /// Who has this certificate, for people.
    fn name(&self, peer: Sha256Digest) -> String;
}

/// The proxy: a judge, and what is under way.
pub struct Proxy<J> {
    /// Who decides.
    pub judge: J,
    /// What is under way.
    pub streams: Streams,
    /// Who hears about it.
    tell: fn(&Note),
    connections: AtomicUsize,
}

impl<J: Judge + 'static> Proxy<J> {
    /// A proxy that does as `judge` says.
    pub fn new(judge: J, tell: fn(&Note)) -> Arc<Self> {
        Arc::new(Self { judge, streams: Streams::default(), tell, connections: AtomicUsize::new(0) })
    }

    /// Takes connections until the process ends.
    pub fn listen(self: &Arc<Self>, listener: TcpListener, config: Arc<ServerConfig>) -> Result<(), Failure> {
        let proxy = Arc::clone(self);
        thread::Builder::new().name("accept".into()).spawn(move || {
            for socket in listener.incoming().flatten() {
                if proxy.connections.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS {
                    // Over the bound nothing is read and nobody waits.
                    proxy.connections.fetch_sub(1, Ordering::Relaxed);
                    continue;
                }
                let (serving, config) = (Arc::clone(&proxy), Arc::clone(&config));
                let started = thread::Builder::new().name("exchange".into()).spawn(move || {
                    serving.connection(socket, config);
                    serving.connections.fetch_sub(1, Ordering::Relaxed);
                });
                if started.is_err() {
                    proxy.connections.fetch_sub(1, Ordering::Relaxed);
                }
            }
        })?;
        Ok(())
    }

    /// Cuts what moves under leases that are over.
    pub fn cut(&self) -> usize {
        self.streams.cut(|fence| self.judge.live(fence))
    }

    fn connection(&self, socket: TcpStream, config: Arc<ServerConfig>) {
        let duplex = match Duplex::accept(socket, config) {
            Ok(duplex) => duplex,
            Err(error) => {
                let (peer, act) = ("a stranger".into(), "TLS handshake with the proxy".into());
                let (code, message) = ("tls.handshake".into(), error.to_string());
                return (self.tell)(&Note::Refused { peer, act, code, message });
            }
        };
        let Some(peer) = duplex.peer() else { return duplex.close() };
        if let Err(refused) = self.exchange(&duplex, peer) {
            let body = json!({ "code": refused.code, "message": refused.message });
            // The same escaping as in logs: what a worker sent may stand in the message.
            let body = escape::line(&body).unwrap_or_default();
            let authenticate = if refused.status == 407 { "proxy-authenticate: Lease\r\n" } else { "" };
            let head = format!(
                "HTTP/1.1 {} Refused\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
                 leasehold-code: {}\r\n{authenticate}connection: close\r\n\r\n",
                refused.status,
                body.len(),
                shown(&refused.code),
            );
            // A peer that does not want to hear it misses it.
            let _ = duplex.write_all(&[head.into_bytes(), body].concat());
        }
        duplex.part();
    }

    fn exchange(&self, client: &Duplex, peer: Sha256Digest) -> Result<(), Refused> {
        let internal = |error: std::io::Error| Refused::new(500, "proxy.internal", error);
        client.set_timeouts(Some(IDLE), Some(IDLE)).map_err(internal)?;
        let head = head::request(|buffer| client.read(buffer), HEAD);
        let (asked, rest) = match head.map_err(bad_head).and_then(|request| asked(peer, request)) {
            Ok(asked) => asked,
            Err(refused) => {
                self.refuse(peer, None, "", &refused);
                return Err(refused);
            }
        };
        let allowed = match self.judge.judge(&asked) {
            Ok(allowed) => allowed,
            Err(refused) => {
                self.refuse(peer, Some(asked.fence), &asked.target, &refused);
                return Err(refused);
            }
        };
        let target = shown(&asked.target);
        (self.tell)(&Note::Egress {
            peer: self.judge.name(peer),
            fence: Some(asked.fence),
            allowed: true,
            code: "egress.allowed".into(),
            message: format!("rule {}", shown(&allowed.rule)),
            target,
        });
        let moved = if asked.method == "CONNECT" {
            self.tunnel(client, &asked, &allowed, rest)
        } else {
            self.forward(client, &asked, &allowed, rest)
        };
        match moved {
            Ok(moved) => {
                let peer = self.judge.name(peer);
                (self.tell)(&Note::Moved {
                    peer,
                    fence: asked.fence,
                    sent: moved.sent,
                    received: moved.received,
                });
                Ok(())
            }
            Err(refused) => {
                let (peer, act) = (self.judge.name(peer), format!("carry out {}", shown(&asked.target)));
                let (code, message) = (refused.code.clone(), refused.message.clone());
                (self.tell)(&Note::Refused { peer, act, code, message });
                Err(refused)
            }
        }
    }

    fn refuse(&self, peer: Sha256Digest, fence: Option<Fence>, target: &str, refused: &Refused) {
        (self.tell)(&Note::Egress {
            peer: self.judge.name(peer),
            fence,
            allowed: false,
            code: refused.code.clone(),
            message: refused.message.clone(),
            target: shown(target),
        });
    }

    fn dial(
        &self,
        client: &Duplex,
        asked: &Asked,
        allowed: &Allowed,
    ) -> Result<(TcpStream, relay::Registered<'_>), Refused> {
        let unreachable = |error: std::io::Error| Refused::new(502, "proxy.upstream.unreachable", error);
        let upstream = relay::dial(&allowed.addresses).map_err(unreachable)?;
        let registered = self.streams.register(asked.fence, client, &upstream).map_err(unreachable)?;
        // The lease may have ended between verdict and registration, and then nobody cut this one.
        if self.judge.live(asked.fence) {
            Ok((upstream, registered))
        } else {
            Err(Refused::new(403, "egress.lease.over", "the lease ended on the way"))
        }
    }

    fn forward(
        &self,
        client: &Duplex,
        asked: &Asked,
        allowed: &Allowed,
        rest: Vec<u8>,
    ) -> Result<Moved, Refused> {
        let failed = |error: std::io::Error| Refused::new(502, "proxy.upstream.failed", error);
        let body = head::body(
            Timed::new(Reading(client), EXCHANGE),
            rest,
            Framing::Length(asked.body),
            allowed.max_request,
        )
        .map_err(|error| Refused::new(413, "proxy.request.body", error))?;
        let (mut upstream, _registered) = self.dial(client, asked, allowed)?;
        let mut message =
            format!("{} {} HTTP/1.1\r\nhost: {}\r\n", asked.method, allowed.path, allowed.authority)
                .into_bytes();
        for (name, value) in &allowed.fields {
            message.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
        }
        if !body.is_empty() {
            message.extend(format!("content-length: {}\r\n", body.len()).into_bytes());
        }
        message.extend(b"via: 1.1 leasehold\r\nconnection: close\r\n\r\n");
        message.extend(&body);
        upstream.write_all(&message).map_err(failed)?;
        let mut timed = Timed::new(&upstream, EXCHANGE);
        let response = head::response(|buffer| std::io::Read::read(&mut timed, buffer), IDLE)
            .map_err(|error| Refused::new(502, "proxy.upstream.head", Failure::from(error)))?;
        let framing = head::framing(&response.fields)
            .map_err(|error| Refused::new(502, "proxy.upstream.framing", Failure::from(error)))?;
        // These have no body, whatever their fields say (RFC 9112 section 6.3).
        let bodiless = asked.method == "HEAD" || matches!(response.status, 100..=199 | 204 | 304);
        let framing = if bodiless { Framing::Length(0) } else { framing };
        // Read whole before a byte is passed on: an answer that is too long or cut is refused, not cut again.
        let answer = head::body(timed, response.rest, framing, allowed.max_response)
            .map_err(|error| Refused::new(502, "proxy.upstream.body", error))?;
        let mut head = format!("HTTP/1.1 {} Origin\r\n", response.status).into_bytes();
        let named: Vec<String> = hop_by_hop(&response.fields);
        for (name, value) in response.fields.iter().filter(|(name, _)| !named.contains(name)) {
            head.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
        }
        head.extend(format!("content-length: {}\r\nconnection: close\r\n\r\n", answer.len()).into_bytes());
        head.extend(&answer);
        // The worker's own connection; its end is seen there.
        let _ = client.write_all(&head);
        Ok(Moved { sent: message.len() as u64, received: answer.len() as u64 })
    }

    fn tunnel(
        &self,
        client: &Duplex,
        asked: &Asked,
        allowed: &Allowed,
        rest: Vec<u8>,
    ) -> Result<Moved, Refused> {
        if !rest.is_empty() {
            return Err(Refused::new(400, "proxy.connect.early", "bytes before the tunnel was open"));
        }
        // From here on a refusal is a closed connection: inside of the tunnel, HTTP would be the origin's word.
        let closed = |code: &str, message: String| {
            client.close();
            Refused::new(403, code, message)
        };
        client
            .write_all(b"HTTP/1.1 200 Open\r\n\r\n")
            .map_err(|error| closed("proxy.client", error.to_string()))?;
        let (first, named) =
            relay::hello(client).map_err(|error| closed("egress.tunnel.hello", error.to_string()))?;
        if named.as_deref() != Some(allowed.host.as_str()) {
            let named = named.map_or("no server".into(), |name| shown(&name));
            return Err(closed("egress.tunnel.server_name", format!("the tunnel's hello names {named}")));
        }
        let dialled = self.dial(client, asked, allowed);
        let (upstream, _registered) = dialled.inspect_err(|_| client.close())?;
        Ok(relay::tunnel(client, &upstream, &first, allowed.max_request, allowed.max_response))
    }
}

/// A connection as a reader.
struct Reading<'a>(&'a Duplex);

impl std::io::Read for Reading<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer)
    }
}

fn bad_head(error: HeadError) -> Refused {
    let (status, code) = match error {
        HeadError::TooLarge => (431, "proxy.head.too_large"),
        HeadError::TooSlow => (408, "proxy.head.too_slow"),
        _ => (400, "proxy.head.malformed"),
    };
    Refused::new(status, code, Failure::from(error))
}

/// The fields that belong to one connection: those that RFC 9110 section 7.6.1 lists, the framing, and those that
/// `connection` names.
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
    ];
    let named = fields.iter().filter(|(name, _)| name == "connection").flat_map(|(_, value)| {
        String::from_utf8_lossy(value)
            .split(',')
            .map(|name| name.trim().to_ascii_lowercase())
            .collect::<Vec<_>>()
    });
    listed.into_iter().map(str::to_owned).chain(named).collect()
}

/// The request without what was for this proxy, and the first bytes of its body.
fn asked(peer: Sha256Digest, request: Request) -> Result<(Asked, Vec<u8>), Refused> {
    let unproved = |message: &str| Refused::new(407, "proxy.lease.missing", message);
    let claimed = head::only(&request.fields, "proxy-authorization")
        .ok_or_else(|| unproved("one proxy-authorization field names the lease"))?;
    let fence = std::str::from_utf8(claimed)
        .ok()
        .and_then(|text| text.strip_prefix("Lease "))
        .and_then(fence)
        .ok_or_else(|| unproved("the lease is named as `Lease EPOCH.COUNTER`"))?;
    if head::only(&request.fields, "host").is_none() {
        return Err(Refused::new(400, "proxy.head.malformed", "one host field is required"));
    }
    let body = match head::framing(&request.fields).map_err(bad_head)? {
        Framing::Unsaid => 0,
        Framing::Length(length) => length,
        Framing::Chunked => {
            return Err(Refused::new(411, "proxy.request.chunked", "a body comes with its length"));
        }
    };
    let named = hop_by_hop(&request.fields);
    if named.iter().any(|name| name == "host") {
        return Err(Refused::new(400, "proxy.head.malformed", "the connection field names host"));
    }
    // The host is the target's, whatever the field says (RFC 9112 section 3.2.2).
    let own = |name: &str| name == "host" || named.iter().any(|other| other == name);
    let fields = request.fields.into_iter().filter(|(name, _)| !own(name)).collect();
    Ok((Asked { peer, fence, method: request.method, target: request.target, fields, body }, request.rest))
}

/// `EPOCH.COUNTER` in digits only.
fn fence(text: &str) -> Option<Fence> {
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse().ok()).flatten()
    };
    let (epoch, counter) = text.split_once('.')?;
    Some(Fence::new(Epoch(number(epoch)?), number(counter)?))
}

#[cfg(test)]
mod tests;
