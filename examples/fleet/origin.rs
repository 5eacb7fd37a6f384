//! The local origin: a small HTTP server, plain and with TLS, that the fleet reaches through the egress proxy only.
//!
//! It counts what it serves, so that the end of the show can compare: every request that arrived here was one that
//! the proxy allowed.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use leasehold::egress::http1::RequestHead;
use rustls::ServerConfig;

use crate::{
    Failure,
    duplex::Duplex,
    jobs::Ports,
    proxy::wire,
    tls::{self, Identity},
};

/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// A running origin. It ends with the process.
pub struct Origin {
    /// Where it listens.
    pub ports: Ports,
    served: Arc<AtomicU64>,
}

impl Origin {
    /// Starts both servers on loopback.
    pub fn start(identity: &Identity) -> Result<Self, Failure> {
        let served = Arc::new(AtomicU64::new(0));
        let config = tls::plain_server(identity)?;
        let http = listen(Arc::clone(&served), None)?;
        let https = listen(Arc::clone(&served), Some(config))?;
        Ok(Self { ports: Ports { http, https }, served })
    }

    /// How many requests were answered so far.
    pub fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }
}

fn listen(served: Arc<AtomicU64>, tls: Option<Arc<ServerConfig>>) -> Result<u16, Failure> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let port = listener.local_addr()?.port();
    thread::Builder::new().name("origin".into()).spawn(move || {
        for socket in listener.incoming().flatten() {
            let (served, tls) = (Arc::clone(&served), tls.clone());
            // A caller that goes away in the middle is its own affair.
            let _ = thread::Builder::new().spawn(move || serve(socket, tls, &served));
        }
    })?;
    Ok(port)
}

fn serve(socket: TcpStream, tls: Option<Arc<ServerConfig>>, served: &AtomicU64) -> Result<(), Failure> {
    match tls {
        Some(config) => {
            let duplex = Duplex::accept(socket, config)?;
            duplex.set_timeouts(Some(PATIENCE), Some(PATIENCE))?;
            let (request, _) = wire::request(|buffer| duplex.read(buffer), PATIENCE)?;
            served.fetch_add(1, Ordering::Relaxed);
            duplex.write_all(&answer(&request))?;
            Ok(duplex.finish()?)
        }
        None => {
            let mut socket = socket;
            socket.set_read_timeout(Some(PATIENCE))?;
            socket.set_write_timeout(Some(PATIENCE))?;
            let (request, _) = wire::request(|buffer| socket.read(buffer), PATIENCE)?;
            served.fetch_add(1, Ordering::Relaxed);
            Ok(socket.write_all(&answer(&request))?)
        }
    }
}

fn answer(request: &RequestHead) -> Vec<u8> {
    let path = request.target.split('?').next().unwrap_or_default();
    let (status, body) = match (request.method.as_str(), path) {
        ("GET", "/hello") => ("200 OK", "hello from the origin\n".to_owned()),
        ("GET", "/numbers") => ("200 OK", (1..=1000).map(|n| format!("{n}\n")).collect()),
        // What the origin sees of a request: names only, so that nothing that was injected comes back.
        ("GET", "/fields") => {
            ("200 OK", request.fields.iter().map(|(name, _)| format!("{name}\n")).collect())
        }
        ("GET", "/large") => ("200 OK", "x".repeat(8 << 20)),
        ("GET", "/chunks") => {
            return b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n6\r\nfirst\n\r\n7\r\nsecond\n\r\n0\r\n\r\n"
                .to_vec();
        }
        ("GET", "/cut") => return b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nnot a hundred".to_vec(),
        ("GET", "/slow") => {
            thread::sleep(Duration::from_millis(300));
            ("200 OK", "at last\n".to_owned())
        }
        _ => ("404 Not Found", "no such page\n".to_owned()),
    };
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    [head.into_bytes(), body.into_bytes()].concat()
}
