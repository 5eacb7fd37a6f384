//! One TLS connection that two threads may use at once, one reading and one writing.
//!
//! rustls keeps a connection in one value; holding its lock while a socket blocks would let a peer that never
//! reads stop the side that reads. So the lock is held only while bytes pass through memory, and the socket is
//! read and written outside of it.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use leasehold::digest::Sha256Digest;
use rustls::{
    ClientConfig, ClientConnection, Connection, HandshakeKind, ServerConfig, ServerConnection,
    pki_types::ServerName,
};

/// The most that one read takes from a socket.
const CHUNK: usize = 16 << 10;

/// How long a handshake may take as a whole, however the peer spreads its bytes.
pub const HANDSHAKE: Duration = Duration::from_secs(5);

struct Shared {
    tls: Mutex<Connection>,
    socket: TcpStream,
    /// Bytes of the socket that TLS has not taken yet. Its lock also says that one thread reads.
    raw: Mutex<Vec<u8>>,
    /// Taken before bytes leave `tls` for the socket, so that two writers keep the order of records.
    order: Mutex<()>,
    leaf: Option<Vec<u8>>,
}

/// A TLS connection after its handshake. Clones are the same connection.
#[derive(Clone)]
pub struct Duplex(Arc<Shared>);

/// A thread that panicked has left no half-written record behind: the values are only bytes in order.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Duplex {
    /// Answers a client's handshake.
    pub fn accept(socket: TcpStream, config: Arc<ServerConfig>) -> io::Result<Self> {
        let connection = ServerConnection::new(config).map_err(io::Error::other)?;
        Self::shake(socket, connection.into())
    }

    /// Calls a server and takes it for the right one only if its chain, its name and, where `expected` is given,
    /// the fingerprint of its certificate are the right ones.
    pub fn connect(
        socket: TcpStream,
        config: Arc<ClientConfig>,
        name: &str,
        expected: Option<Sha256Digest>,
    ) -> io::Result<Self> {
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        let connection = ClientConnection::new(config, name).map_err(io::Error::other)?;
        let duplex = Self::shake(socket, connection.into())?;
        match expected {
            Some(expected) if duplex.peer() != Some(expected) => {
                duplex.close();
                Err(io::Error::other("the server shows another certificate than the one it is known by"))
            }
            _ => Ok(duplex),
        }
    }

    fn shake(mut socket: TcpStream, mut connection: Connection) -> io::Result<Self> {
        let deadline = Instant::now() + HANDSHAKE;
        socket.set_nodelay(true)?;
        while connection.is_handshaking() {
            // A peer that sends one byte at a time gets no more time by it.
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            socket.set_read_timeout(Some(left))?;
            socket.set_write_timeout(Some(left))?;
            if connection.wants_write() {
                connection.write_tls(&mut socket)?;
            } else if connection.read_tls(&mut socket)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            } else if let Err(error) = connection.process_new_packets() {
                // The alert tells the peer why; whether it arrives changes nothing for us.
                let _ = connection.write_tls(&mut socket);
                return Err(io::Error::new(io::ErrorKind::InvalidData, error));
            }
        }
        while connection.wants_write() {
            connection.write_tls(&mut socket)?;
        }
        socket.set_read_timeout(None)?;
        connection.set_buffer_limit(None);
        let leaf = connection.peer_certificates().and_then(|chain| chain.first()).map(|leaf| leaf.to_vec());
        Ok(Self(Arc::new(Shared {
            tls: Mutex::new(connection),
            socket,
            raw: Mutex::new(Vec::new()),
            order: Mutex::new(()),
            leaf,
        })))
    }

    /// The peer's leaf certificate, where it showed one.
    pub fn leaf(&self) -> Option<&[u8]> {
        self.0.leaf.as_deref()
    }

    /// The SHA-256 of that certificate.
    pub fn peer(&self) -> Option<Sha256Digest> {
        self.leaf().map(Sha256Digest::of)
    }

    /// How the handshake went: in full, or by resuming a session.
    pub fn handshake(&self) -> Option<HandshakeKind> {
        locked(&self.0.tls).handshake_kind()
    }

    /// The socket, for its addresses.
    pub fn socket(&self) -> &TcpStream {
        &self.0.socket
    }

    /// How long one read and one write may wait for the socket.
    pub fn set_timeouts(&self, read: Option<Duration>, write: Option<Duration>) -> io::Result<()> {
        self.0.socket.set_read_timeout(read)?;
        self.0.socket.set_write_timeout(write)
    }

    /// Reads plaintext; `0` is the peer's orderly end. An end without TLS's own farewell is an error, so that a cut
    /// can never look like an end.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read_by(buffer, None)
    }

    /// As [`Duplex::read`], and an error after `deadline`, however the peer spreads the bytes of a record.
    pub fn read_by(&self, buffer: &mut [u8], deadline: Option<Instant>) -> io::Result<usize> {
        let mut raw = locked(&self.0.raw);
        loop {
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Err(io::ErrorKind::TimedOut.into());
            }
            // Plaintext first: rustls refuses more records while it holds what nobody has read.
            match locked(&self.0.tls).reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return done,
            }
            if raw.is_empty() {
                raw.resize(CHUNK, 0);
                let count = (&self.0.socket).read(&mut raw).inspect_err(|_| raw.clear())?;
                raw.truncate(count);
            }
            let answer = {
                let mut tls = locked(&self.0.tls);
                let mut rest = raw.as_slice();
                tls.read_tls(&mut rest)?;
                let taken = raw.len() - rest.len();
                raw.drain(..taken);
                tls.process_new_packets()
                    .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
                tls.wants_write()
            };
            if answer {
                self.flush()?;
            }
        }
    }

    /// Writes all of `data`.
    pub fn write_all(&self, data: &[u8]) -> io::Result<()> {
        for piece in data.chunks(CHUNK) {
            locked(&self.0.tls).writer().write_all(piece)?;
            self.flush()?;
        }
        Ok(())
    }

    /// Moves what TLS wants to send to the socket.
    fn flush(&self) -> io::Result<()> {
        let _order = locked(&self.0.order);
        let mut records = Vec::new();
        {
            let mut tls = locked(&self.0.tls);
            while tls.wants_write() {
                tls.write_tls(&mut records)?;
            }
        }
        (&self.0.socket).write_all(&records)
    }

    /// Says the orderly end to the peer; more can still be read.
    pub fn finish(&self) -> io::Result<()> {
        locked(&self.0.tls).send_close_notify();
        self.flush()?;
        self.0.socket.shutdown(Shutdown::Write)
    }

    /// Ends both directions now. A read or write that waits in another thread returns.
    pub fn close(&self) {
        let _ = self.0.socket.shutdown(Shutdown::Both);
    }
}
