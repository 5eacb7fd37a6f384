//! A small HTTP server on loopback that counts who came and remembers what they said.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::thread;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// Request heads and bodies, as they came.
pub type Heard = Arc<Mutex<Vec<String>>>;

pub struct Origin {
    pub address: SocketAddr,
    heard: Heard,
}

impl Origin {
    /// A server at `ip` that answers `PATH` as `answer` says: a status with a Location or a body.
    pub fn start(
        ip: &str,
        tls: Option<ServerConfig>,
        answer: impl Fn(&str) -> (u16, String) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind((ip.parse::<IpAddr>().unwrap(), 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Heard::default();
        let (log, tls, answer) = (Arc::clone(&heard), tls.map(Arc::new), Arc::new(answer));
        thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let (log, tls, answer) = (Arc::clone(&log), tls.clone(), Arc::clone(&answer));
                thread::spawn(move || match tls {
                    None => serve(socket, &log, &*answer),
                    Some(tls) => {
                        let connection = ServerConnection::new(tls).map_err(io::Error::other)?;
                        serve(StreamOwned::new(connection, socket), &log, &*answer)
                    }
                });
            }
        });
        Self { address, heard }
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// What was heard so far.
    pub fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

fn serve(stream: impl Read + Write, heard: &Heard, answer: &dyn Fn(&str) -> (u16, String)) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    let mut length = 0;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        if line.trim().is_empty() {
            break;
        }
        let line = line.to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    heard.lock().unwrap().push(head + &String::from_utf8_lossy(&body));
    let (status, text) = answer(&path);
    let (field, body) = match status {
        300..400 => (format!("location: {text}\r\n"), ""),
        _ => (String::new(), text.as_str()),
    };
    let length = body.len();
    let stream = stream.get_mut();
    write!(
        stream,
        "HTTP/1.1 {status} x\r\n{field}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )?;
    stream.flush()
}
