//! A connection, with TLS or without: what both sides of the proxy speak over.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpStream},
    sync::Arc,
    time::{Duration, Instant},
};

use leasehold::digest::Sha256Digest;

use super::duplex::Duplex;

/// A connection that several threads may use at once. Clones are the same connection.
#[derive(Clone)]
pub enum Channel {
    /// As it is.
    Plain(Arc<TcpStream>),
    /// With TLS.
    Tls(Duplex),
}

impl Channel {
    /// A connection without TLS.
    pub fn plain(socket: TcpStream) -> io::Result<Self> {
        // A request and its answer are small, and somebody waits for each.
        socket.set_nodelay(true)?;
        Ok(Self::Plain(Arc::new(socket)))
    }

    fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(duplex) => duplex.socket(),
        }
    }

    /// The SHA-256 of the certificate that the peer showed.
    pub fn certificate(&self) -> Option<Sha256Digest> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(duplex) => duplex.peer(),
        }
    }

    /// How long one read and one write may wait.
    pub fn set_idle(&self, idle: Duration) -> io::Result<()> {
        self.socket().set_read_timeout(Some(idle))?;
        self.socket().set_write_timeout(Some(idle))
    }

    /// Reads; `0` is the peer's orderly end.
    pub fn read(&self, buffer: &mut [u8], deadline: Option<Instant>) -> io::Result<usize> {
        match self {
            Self::Plain(_) if deadline.is_some_and(|deadline| Instant::now() >= deadline) => {
                Err(io::ErrorKind::TimedOut.into())
            }
            Self::Plain(socket) => (&**socket).read(buffer),
            Self::Tls(duplex) => duplex.read_by(buffer, deadline),
        }
    }

    /// Writes all of `data`.
    pub fn write_all(&self, data: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(socket) => (&**socket).write_all(data),
            Self::Tls(duplex) => duplex.write_all(data),
        }
    }

    /// Says the orderly end; more can still be read.
    pub fn finish(&self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.shutdown(Shutdown::Write),
            Self::Tls(duplex) => duplex.finish(),
        }
    }

    /// Says the end, and waits a moment for the peer's: closing while its bytes are still under way would throw away
    /// what it was just told.
    pub fn part(&self) {
        let _ = self.finish();
        let _ = self.socket().set_read_timeout(Some(Duration::from_millis(500)));
        let deadline = Instant::now() + Duration::from_secs(2);
        let mut buffer = vec![0; 16 << 10];
        while matches!(self.read(&mut buffer, Some(deadline)), Ok(count) if count > 0) {}
        self.close();
    }

    /// Ends both directions now, without TLS's farewell, so that what was cut cannot look whole. A read or write that
    /// waits in another thread returns.
    pub fn close(&self) {
        let _ = self.socket().shutdown(Shutdown::Both);
    }
}
