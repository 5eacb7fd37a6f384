//! An origin that counts, remembers what it was sent, and misbehaves on request.

use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex},
    thread,
    time::Duration,
};

use leasehold::egress::http1::{ChunkDecoder, Framing, HeadLimits, HeadReader, RequestHead};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// What one request was.
#[derive(Clone, Debug)]
pub struct Seen {
    pub head: RequestHead,
    pub body: usize,
}

impl Seen {
    pub fn values(&self, name: &str) -> Vec<String> {
        let own = self.head.fields.iter().filter(|(own, _)| own == name);
        own.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).collect()
    }
}

#[derive(Default)]
pub struct Origin {
    pub seen: Mutex<Vec<Seen>>,
    /// Opened by a test that wants `/gate` to end.
    gate: (Mutex<bool>, Condvar),
}

impl Origin {
    /// Listens on `ip`, with TLS where a configuration is given. The port.
    pub fn listen(self: &Arc<Self>, ip: Ipv4Addr, port: u16, tls: Option<Arc<ServerConfig>>) -> u16 {
        let listener = TcpListener::bind((IpAddr::V4(ip), port)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let origin = Arc::clone(self);
        thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let (origin, tls) = (Arc::clone(&origin), tls.clone());
                thread::spawn(move || {
                    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
                    match tls {
                        Some(config) => {
                            let connection = ServerConnection::new(config).unwrap();
                            let mut stream = StreamOwned::new(connection, socket);
                            origin.serve(&mut stream);
                            stream.conn.send_close_notify();
                            let _ = stream.flush();
                        }
                        None => drop(origin.serve(&mut &socket)),
                    }
                });
            }
        });
        port
    }

    pub fn served(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    pub fn last(&self) -> Seen {
        self.seen.lock().unwrap().last().cloned().unwrap()
    }

    pub fn open_gate(&self) {
        *self.gate.0.lock().unwrap() = true;
        self.gate.1.notify_all();
    }

    /// A connection that ends early is the other side's affair: `None`.
    fn serve(&self, stream: &mut (impl Read + Write)) -> Option<()> {
        let mut reader = HeadReader::new(HeadLimits::default());
        let mut buffer = [0; 16 << 10];
        while !reader.push(&[]).ok()? {
            let count = stream.read(&mut buffer).ok().filter(|count| *count > 0)?;
            reader.push(&buffer[..count]).ok()?;
        }
        let (head, early) = reader.request().ok()?;
        if head.target.starts_with("/early") {
            // An answer before the body, and the body never read.
            self.seen.lock().unwrap().push(Seen { head, body: 0 });
            return stream.write_all(b"HTTP/1.1 413 No\r\ncontent-length: 3\r\n\r\nno\n").ok();
        }
        let body = body(stream, &head, early)?;
        self.seen.lock().unwrap().push(Seen { head: head.clone(), body });
        self.answer(stream, &head, body)
    }

    fn answer(&self, stream: &mut impl Write, head: &RequestHead, body: usize) -> Option<()> {
        let mut say = |text: &str| stream.write_all(text.as_bytes()).ok();
        let path = head.target.split('?').next().unwrap_or_default();
        let whole = |text: &str| format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{text}", text.len());
        match path {
            "/large" => say("HTTP/1.1 200 OK\r\ncontent-length: 8388608\r\n\r\n")
                .and_then(|()| (0..128).try_for_each(|_| say(&"x".repeat(65536)))),
            "/endless" => say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").and_then(|()| {
                (0..10_000).try_for_each(|_| say(&format!("1000\r\n{}\r\n", "x".repeat(4096))))
            }),
            "/until-close" => say("HTTP/1.0 200 OK\r\n\r\nold server\n"),
            "/chunks" => say(
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nkeep-alive: 5\r\n\r\n6\r\nfirst\n\r\n7;x=y\r\nsecond\n\r\n0\r\n\r\n",
            ),
            "/cut" => say("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nnot a hundred"),
            "/interim" => say("HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n")
                .and_then(|()| say(&whole("after the hint\n"))),
            "/switch" => say("HTTP/1.1 101 Switching\r\nupgrade: x\r\n\r\nraw"),
            "/both" => say(
                "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            ),
            "/folded" => say("HTTP/1.1 200 OK\r\nx: a\r\n b\r\ncontent-length: 0\r\n\r\n"),
            "/silent" => {
                thread::sleep(Duration::from_secs(15));
                None
            }
            "/gate" => {
                say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n7\r\nbefore\n\r\n")?;
                let open = self.gate.0.lock().unwrap();
                drop(self.gate.1.wait_timeout_while(open, Duration::from_secs(20), |open| !*open).unwrap());
                say("6\r\nafter\n\r\n0\r\n\r\n")
            }
            "/v1/gzip" => say("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 3\r\n\r\nabc"),
            "/v1/part" => {
                say("HTTP/1.1 206 Part\r\ncontent-range: bytes 0-2/9\r\ncontent-length: 3\r\n\r\nabc")
            }
            "/v1/echo" | "/v1/echo-chunks" => {
                let fields = head
                    .fields
                    .iter()
                    .map(|(name, value)| format!("{name}: {}\n", String::from_utf8_lossy(value)));
                let text = format!("{}\n{}", head.target, fields.collect::<String>());
                let key = head.fields.iter().find(|(name, _)| name == "authorization");
                let key = key.map_or("", |(_, value)| std::str::from_utf8(value).unwrap_or(""));
                say(&format!("HTTP/1.1 103 Early\r\nx-echo: {key}\r\n\r\n"))?;
                if path == "/v1/echo" {
                    say(&format!(
                        "HTTP/1.1 200 {key}\r\nx-echo: {key}\r\ncontent-length: {}\r\n\r\n",
                        text.len()
                    ))?;
                    return text.as_bytes().chunks(7).try_for_each(|piece| stream.write_all(piece).ok());
                }
                say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-echo\r\n\r\n")?;
                for piece in text.as_bytes().chunks(7) {
                    let piece = String::from_utf8_lossy(piece);
                    say(&format!("{:x}\r\n{piece}\r\n", piece.len()))?;
                }
                say(&format!("0\r\nx-echo: {key}\r\n\r\n"))
            }
            "/upload" => say(&whole(&format!("{body} bytes\n"))),
            _ => match path.strip_prefix("/redirect/").map(str::parse::<u32>) {
                Some(Ok(0)) => say(&whole("at the end\n")),
                Some(Ok(left)) => say(&format!(
                    "HTTP/1.1 302 Found\r\nlocation: /redirect/{}\r\ncontent-length: 0\r\n\r\n",
                    left - 1
                )),
                _ => match head.target.split_once("?to=") {
                    Some((_, to)) => {
                        say(&format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n"))
                    }
                    None => say(&whole("hello\n")),
                },
            },
        }
    }
}

fn body(stream: &mut impl Read, head: &RequestHead, early: Vec<u8>) -> Option<usize> {
    let mut buffer = [0; 16 << 10];
    let mut bytes = early;
    match head.framing().ok()? {
        Framing::Length(length) => {
            let length = usize::try_from(length).ok()?;
            let mut got = bytes.len();
            while got < length {
                got += stream.read(&mut buffer).ok().filter(|count| *count > 0)?;
            }
            Some(got)
        }
        _ => {
            let (mut decoder, mut decoded) = (ChunkDecoder::new(), Vec::new());
            while !decoder.decode(&bytes, &mut decoded).ok()?.done {
                let count = stream.read(&mut buffer).ok().filter(|count| *count > 0)?;
                bytes = buffer[..count].to_vec();
            }
            Some(decoded.len())
        }
    }
}

/// Bytes to the proxy as they are, and everything that comes back.
pub fn raw(address: std::net::SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // A proxy that has heard enough stops reading; what it said still comes.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}
