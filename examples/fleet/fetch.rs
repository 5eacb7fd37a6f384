//! An HTTP GET from a worker, through the egress proxy and by no other way.
//!
//! A worker has no resolver and dials no origin: it names what it wants and the proxy decides, resolves and dials. An
//! `https` URL goes through a tunnel, in which the worker checks the origin's certificate itself.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use leasehold::{
    digest::Sha256Digest,
    egress::http1::{Field, HttpError, ResponseHead},
};
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use serde::Deserialize;

use crate::{
    Failure, boot,
    duplex::Duplex,
    escape::shown,
    failure,
    gatekeeper::BINDING_PATH,
    proxy::wire::{self, BodyError, HeadError},
    tls,
    work::Fetched,
};

failure::from!(HeadError, BodyError, HttpError);

/// The largest body that a worker takes.
const MAX_BODY: u64 = 1 << 20;
/// How long each step may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The way to the proxy.
#[derive(Clone)]
pub struct Route {
    /// Where it listens.
    pub address: SocketAddr,
    /// The worker's side of mutual TLS.
    pub config: Arc<ClientConfig>,
    /// What the proxy's certificate must be.
    pub fingerprint: Sha256Digest,
    /// What the worker trusts beyond the proxy, inside of tunnels.
    pub origins: Arc<ClientConfig>,
}

impl Route {
    /// The way of this worker, where it has one.
    pub fn of(worker: &boot::Worker) -> Result<Option<Self>, Failure> {
        let Some(network) = &worker.network else { return Ok(None) };
        Ok(Some(Self {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, network.proxy.port)),
            config: worker.config_of(&worker.identity)?,
            fingerprint: network.proxy.fingerprint,
            origins: tls::client(None, &network.origins)?,
        }))
    }
}

/// The proxy's refusals.
#[derive(Deserialize)]
struct Refusal {
    code: String,
    message: String,
}

/// Both directions of a connection as one stream.
struct Stream(Duplex);

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Stream {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.write_all(data).map(|()| data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Asks the proxy for its signed word that this worker's traffic goes through it, over a nonce.
pub fn binding(route: &Route, nonce: &[u8]) -> Result<Vec<u8>, Failure> {
    let nonce: String = nonce.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut stream = open(route)?;
    let fields = "host: proxy\r\nconnection: close\r\n";
    stream.write_all(format!("GET {BINDING_PATH}{nonce} HTTP/1.1\r\n{fields}\r\n").as_bytes())?;
    match read(&mut stream)? {
        Fetched::Answer { status: 200, body } => Ok(body),
        Fetched::Answer { status, .. } => Err(Failure::new(format!("the proxy answered {status}"))),
        Fetched::Refused { code, message } => Err(Failure::new(format!("{code}: {message}"))),
    }
}

fn open(route: &Route) -> Result<Stream, Failure> {
    let socket = TcpStream::connect_timeout(&route.address, PATIENCE)?;
    let duplex = Duplex::connect(socket, Arc::clone(&route.config), tls::PROXY, Some(route.fingerprint))?;
    duplex.set_timeouts(Some(PATIENCE), Some(PATIENCE))?;
    Ok(Stream(duplex))
}

/// Gets `url`. `lease` is the value that shows the proxy which lease this is for.
pub fn get(route: Option<&Route>, lease: &str, url: &str) -> Result<Fetched, Failure> {
    let route = route.ok_or_else(|| Failure::new("this worker has no way to the network"))?;
    let mut stream = open(route)?;
    let Some(rest) = url.strip_prefix("https://") else {
        // Whatever else it is, the proxy is who judges it.
        let authority = url.split('/').nth(2).unwrap_or_default();
        let fields = format!("host: {authority}\r\nproxy-authorization: {lease}\r\nconnection: close\r\n");
        stream.write_all(format!("GET {url} HTTP/1.1\r\n{fields}\r\n").as_bytes())?;
        return read(&mut stream);
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (host, authority) = match authority.split_once(':') {
        Some((host, _)) => (host, authority.to_owned()),
        None => (authority, format!("{authority}:443")),
    };
    let fields = format!("host: {authority}\r\nproxy-authorization: {lease}\r\n");
    stream.write_all(format!("CONNECT {authority} HTTP/1.1\r\n{fields}\r\n").as_bytes())?;
    let (opened, early) = wire::response(|buffer| stream.read(buffer), PATIENCE)?;
    if opened.status != 200 {
        return answer(&mut stream, &opened, &early);
    }
    let inner = ClientConnection::new(Arc::clone(&route.origins), tls::server_name(host)?)?;
    let mut inner = StreamOwned::new(inner, stream);
    let path = if path.is_empty() { "/" } else { path };
    let head = format!("GET {path} HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\n\r\n");
    inner.write_all(head.as_bytes())?;
    read(&mut inner)
}

fn read(stream: &mut impl Read) -> Result<Fetched, Failure> {
    let (head, early) = wire::response(|buffer| stream.read(buffer), PATIENCE)?;
    answer(stream, &head, &early)
}

fn answer(stream: &mut impl Read, head: &ResponseHead, early: &[u8]) -> Result<Fetched, Failure> {
    let body = wire::whole(|buffer| stream.read(buffer), early, head.framing("GET")?, MAX_BODY)?;
    let is_refusal = |(name, _): &Field| name == "leasehold-code";
    if head.fields.iter().any(is_refusal) {
        let refusal: Refusal = serde_json::from_slice(&body)?;
        return Ok(Fetched::Refused { code: shown(&refusal.code), message: shown(&refusal.message) });
    }
    Ok(Fetched::Answer { status: head.status, body })
}
