//! Origins and clients that say exactly what a test wants, byte by byte.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use rustls::{ClientConfig, ClientConnection, RootCertStore, crypto::ring, pki_types::ServerName};
use serde_json::{Value, json};

/// A connection on which a test speaks.
pub struct Line(pub TcpStream);

impl Line {
    pub fn to(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(stream)
    }

    pub fn say(&mut self, bytes: impl AsRef<[u8]>) {
        // Who does not listen any more is noticed by what is heard.
        let _ = self.0.write_all(bytes.as_ref());
    }

    /// Everything up to and with `end`, or up to the end of the connection.
    pub fn until(&mut self, end: &str) -> String {
        let (mut heard, mut byte) = (Vec::new(), [0]);
        while !heard.ends_with(end.as_bytes()) && matches!(self.0.read(&mut byte), Ok(1)) {
            heard.push(byte[0]);
        }
        String::from_utf8_lossy(&heard).into_owned()
    }

    /// So many bytes.
    pub fn exactly(&mut self, count: usize) -> String {
        let mut heard = vec![0; count];
        match self.0.read_exact(&mut heard) {
            Ok(()) => String::from_utf8_lossy(&heard).into_owned(),
            Err(error) => format!("{error}"),
        }
    }

    /// A head.
    pub fn head(&mut self) -> String {
        self.until("\r\n\r\n")
    }

    /// Whatever comes until the end.
    pub fn rest(&mut self) -> String {
        let mut heard = Vec::new();
        let _ = self.0.read_to_end(&mut heard);
        String::from_utf8_lossy(&heard).into_owned()
    }
}

/// An origin whose connections are each given to a function.
pub struct Script {
    pub port: u16,
    connections: Arc<AtomicUsize>,
}

impl Script {
    pub fn start(each: impl Fn(Line) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::new(AtomicUsize::new(0));
        let (count, each) = (Arc::clone(&connections), Arc::new(each));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                count.fetch_add(1, Ordering::SeqCst);
                stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
                stream.set_nodelay(true).unwrap();
                let each = Arc::clone(&each);
                thread::spawn(move || each(Line(stream)));
            }
        });
        Self { port, connections }
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Rules under which it is reached: as `script.test` by plain requests and by tunnels.
    pub fn rules(&self) -> Vec<Value> {
        let private = json!(["127.0.0.0/8"]);
        vec![
            json!({"id": "script", "hosts": ["script.test", "slow.test", "dead.test", "silent6.script.test",
                   "servfail6.script.test", "refused6.script.test", "notimp6.script.test", "noname6.script.test",
                   "servfail.script.test", "refused.script.test", "silent.script.test", "noname.script.test"],
                   "schemes": ["http"], "ports": [self.port], "methods": ["GET", "POST", "OPTIONS", "HEAD"],
                   "private_addresses": private, "max_request_bytes": 100_000}),
            json!({"id": "script-tunnel", "hosts": ["script.test"], "ports": [self.port], "methods": ["CONNECT"],
                   "private_addresses": private}),
        ]
    }
}

/// A TLS hello for `name`, as a client of today says it.
pub fn hello(name: &str) -> Vec<u8> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut hello = Vec::new();
    connection.write_tls(&mut hello).unwrap();
    hello
}

/// A listener that never answers: its queue is full, so the system drops what else comes. It is silent for as long as what
/// is returned is kept.
pub fn silent(ip: Ipv4Addr, port: u16) -> (socket2::Socket, Vec<socket2::Socket>) {
    let socket = || socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let address = SocketAddr::from((ip, port)).into();
    let listener = socket();
    listener.bind(&address).unwrap();
    listener.listen(0).unwrap();
    let filling = (0..4).map(|_| {
        let one = socket();
        one.set_nonblocking(true).unwrap();
        let _ = one.connect(&address);
        one
    });
    (listener, filling.collect())
}
