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
use rustls::{ClientConfig, ClientConnection, Connection, HandshakeKind, ServerConfig, ServerConnection};

use crate::{Failure, tls};

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
    ) -> Result<Self, Failure> {
        let connection = ClientConnection::new(config, tls::server_name(name)?)?;
        let duplex = Self::shake(socket, connection.into())?;
        match expected {
            Some(expected) if duplex.peer() != Some(expected) => {
                duplex.close();
                Err(Failure::new("the server shows another certificate than the one it is known by"))
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

    /// Whether the handshake was a full one, or resumed an earlier session.
    #[allow(dead_code, reason = "looked at by tests")]
    pub fn handshake(&self) -> Option<HandshakeKind> {
        locked(&self.0.tls).handshake_kind()
    }

    /// How long one read and one write may wait for the socket.
    pub fn set_timeouts(&self, read: Option<Duration>, write: Option<Duration>) -> io::Result<()> {
        self.0.socket.set_read_timeout(read)?;
        self.0.socket.set_write_timeout(write)
    }

    /// Reads plaintext; `0` is the peer's orderly end. An end without TLS's own farewell is an error, so that a cut
    /// can never look like an end.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut raw = locked(&self.0.raw);
        loop {
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

    /// Says the end, and waits a moment for the peer's: closing while its bytes are still under way would throw away
    /// what it was just told.
    pub fn part(&self) {
        let _ = self.finish();
        let _ = self.0.socket.set_read_timeout(Some(Duration::from_millis(500)));
        let mut buffer = [0; 4096];
        for _ in 0..64 {
            if !matches!(self.read(&mut buffer), Ok(count) if count > 0) {
                break;
            }
        }
        self.close();
    }

    /// Ends both directions now. A read or write that waits in another thread returns.
    pub fn close(&self) {
        let _ = self.0.socket.shutdown(Shutdown::Both);
    }
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, sync::mpsc::sync_channel, thread};

    use super::*;
    use crate::{
        link::{Heard, Link},
        tls::{Authority, Identity, Purpose, Root},
    };

    struct World {
        authority: Authority,
        server: Identity,
        listener: TcpListener,
    }

    fn world() -> World {
        let authority = Authority::new("test").unwrap_or_else(|error| panic!("{error}"));
        let server =
            authority.issue("server.test", Purpose::Server).unwrap_or_else(|error| panic!("{error}"));
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap_or_else(|error| panic!("{error}"));
        World { authority, server, listener }
    }

    impl World {
        fn call(
            &self,
            identity: Option<&Identity>,
            root: &Root,
            known: Sha256Digest,
        ) -> Result<Duplex, Failure> {
            let socket = TcpStream::connect(self.listener.local_addr()?)?;
            Duplex::connect(socket, tls::client(identity, root)?, "server.test", Some(known))
        }

        fn answer(&self) -> Result<Duplex, Failure> {
            let (socket, _) = self.listener.accept()?;
            Ok(Duplex::accept(socket, tls::mutual_server(&self.server, &self.authority.root())?)?)
        }

        /// Both ends of one connection, or what the server said to it.
        fn pair(&self, identity: Option<&Identity>) -> Result<(Duplex, Duplex), Failure> {
            thread::scope(|scope| {
                let client =
                    scope.spawn(|| self.call(identity, &self.authority.root(), self.server.fingerprint()));
                let server = self.answer()?;
                Ok((client.join().unwrap_or_else(|_| Err(Failure::new("panicked")))?, server))
            })
        }
    }

    /// Only a certificate of the fleet's authority comes in, and what it is is known by its fingerprint.
    #[test]
    fn strangers_stay_out_and_devices_are_known_by_fingerprint() -> Result<(), Failure> {
        let world = world();
        let device = world.authority.issue("device", Purpose::Client)?;
        let (client, server) = world.pair(Some(&device))?;
        assert_eq!(server.peer(), Some(device.fingerprint()));
        assert_eq!(client.peer(), Some(world.server.fingerprint()));
        let stranger = Authority::new("test")?.issue("device", Purpose::Client)?;
        assert!(world.pair(Some(&stranger)).is_err(), "another authority of the same name");
        assert!(world.pair(None).is_err(), "no certificate at all");
        let other = world.authority.issue("server.test", Purpose::Server)?;
        thread::scope(|scope| {
            scope.spawn(|| world.answer());
            let called = world.call(Some(&device), &world.authority.root(), other.fingerprint());
            assert!(called.is_err(), "the right name and authority, another certificate");
        });
        Ok(())
    }

    /// Issue 2, item 5: a client that would resume finds nothing to resume, so every certificate is looked at.
    #[test]
    fn no_session_is_ever_resumed() -> Result<(), Failure> {
        let world = world();
        let device = world.authority.issue("device", Purpose::Client)?;
        let mut config = (*tls::client(Some(&device), &world.authority.root())?).clone();
        config.resumption = rustls::client::Resumption::in_memory_sessions(8);
        let config = Arc::new(config);
        for _ in 0..3 {
            let call = || {
                let socket = TcpStream::connect(world.listener.local_addr()?)?;
                let known = Some(world.server.fingerprint());
                let client = Duplex::connect(socket, Arc::clone(&config), "server.test", known)?;
                // Tickets would come after the handshake.
                client.read(&mut [0; 16])?;
                Ok::<_, Failure>(client)
            };
            let (client, server) = thread::scope(|scope| {
                let client = scope.spawn(call);
                let server = world.answer()?;
                server.write_all(b"hello")?;
                Ok::<_, Failure>((client.join().unwrap_or_else(|_| Err(Failure::new("panicked")))?, server))
            })?;
            assert_eq!(client.handshake(), Some(HandshakeKind::Full));
            assert_eq!(server.peer(), Some(device.fingerprint()));
        }
        Ok(())
    }

    /// Bytes come through whole, in order, in both directions at once, whatever the sizes.
    #[test]
    fn both_directions_carry_everything_in_order() -> Result<(), Failure> {
        let world = world();
        let device = world.authority.issue("device", Purpose::Client)?;
        let (client, server) = world.pair(Some(&device))?;
        let sent: Vec<u8> = (0..3_000_000_u32).map(|at| (at % 251) as u8).collect();
        thread::scope(|scope| {
            for side in [&client, &server] {
                let sent = &sent;
                scope.spawn(move || side.write_all(sent).and_then(|()| side.finish()));
                scope.spawn(move || {
                    let mut got = Vec::new();
                    let mut buffer = vec![0; 7000];
                    loop {
                        match side.read(&mut buffer) {
                            Ok(0) => break,
                            Ok(count) => got.extend_from_slice(&buffer[..count]),
                            Err(error) => panic!("{error}"),
                        }
                    }
                    assert!(got == *sent);
                });
            }
        });
        Ok(())
    }

    /// Issue 2, "Bad input": a peer that never reads fills its own queue and is cut; sending to it never waits.
    #[test]
    fn a_peer_that_never_reads_is_cut() -> Result<(), Failure> {
        let world = world();
        let device = world.authority.issue("device", Purpose::Client)?;
        let (silent, server) = world.pair(Some(&device))?;
        let (events, heard) = sync_channel(16);
        let link = Link::start(server, events, |heard| heard)?;
        assert!((0..10_000).any(|_| link.send(vec![0; 60_000]).is_err()));
        // A little was taken before, by the buffers between.
        let mut heard = std::iter::from_fn(|| heard.recv_timeout(Duration::from_secs(5)).ok());
        assert!(heard.any(|heard| matches!(heard, Heard::Closed)));
        drop(silent);
        Ok(())
    }
}
