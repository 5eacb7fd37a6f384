//! Bytes of one connection, as a driver moves them.

use crate::{
    code::{self, Code, Coded},
    time::Millis,
};

/// What a wait for bytes brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Arrived {
    /// This many bytes, at least one.
    Bytes(usize),
    /// Nothing yet.
    Nothing,
    /// The peer has closed.
    End,
}

/// One connection, with the peer authenticated by whoever made it.
pub trait Transport {
    /// Waits for bytes: until some come, for `patience` or for as long as the transport waits at a time, whichever
    /// is shorter.
    ///
    /// # Errors
    /// [`TransportError`]: the connection is over.
    fn receive(&mut self, buffer: &mut [u8], patience: Millis) -> Result<Arrived, TransportError>;

    /// Sends as much of `bytes` as the peer takes, and says how much that was. It waits until the first byte goes, for
    /// `patience` at most: then nothing was sent, and 0 is the answer.
    ///
    /// # Errors
    /// [`TransportError`]: the connection is over, and how much was sent is not known.
    fn send(&mut self, bytes: &[u8], patience: Millis) -> Result<usize, TransportError>;
}

/// The connection is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the connection is over")]
pub struct TransportError;

impl Coded for TransportError {
    fn code(&self) -> Code {
        code::CONNECTION_CLOSED
    }
}

#[cfg(feature = "std")]
pub use blocking::{Blocking, Over, Socket};

#[cfg(feature = "std")]
mod blocking {
    use std::{
        io::{self, ErrorKind, Read, Write},
        time::Duration,
    };

    use super::{Arrived, Millis, Transport, TransportError};

    /// What a blocking transport asks of the socket below it: that no write waits longer than it is told.
    pub trait Socket {
        /// Lets a write wait so long for the peer, which is more than zero.
        ///
        /// # Errors
        /// Those of the system.
        fn set_write_patience(&mut self, patience: Duration) -> io::Result<()>;
    }

    impl Socket for std::net::TcpStream {
        fn set_write_patience(&mut self, patience: Duration) -> io::Result<()> {
            self.set_write_timeout(Some(patience))
        }
    }

    #[cfg(unix)]
    impl Socket for std::os::unix::net::UnixStream {
        fn set_write_patience(&mut self, patience: Duration) -> io::Result<()> {
            self.set_write_timeout(Some(patience))
        }
    }

    /// A stream over a socket, such as TLS over TCP, with a handle of that socket (`TcpStream::try_clone`).
    #[derive(Debug)]
    pub struct Over<S, T> {
        stream: S,
        socket: T,
    }

    impl<S: Read + Write, T: Socket> Over<S, T> {
        /// `stream`, whose bytes go through `socket`.
        pub const fn new(stream: S, socket: T) -> Self {
            Self { stream, socket }
        }
    }

    impl<S: Read, T> Read for Over<S, T> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.stream.read(buffer)
        }
    }

    impl<S: Write, T> Write for Over<S, T> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.stream.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            self.stream.flush()
        }
    }

    impl<S, T: Socket> Socket for Over<S, T> {
        fn set_write_patience(&mut self, patience: Duration) -> io::Result<()> {
            self.socket.set_write_patience(patience)
        }
    }

    /// A blocking socket, or a stream [`Over`] one.
    ///
    /// How long a read waits is the socket's own business: set a short read timeout on it (tens of milliseconds), which
    /// is then how late a deadline may be noticed.
    #[derive(Debug)]
    pub struct Blocking<S>(pub S);

    const fn has_to_wait(kind: ErrorKind) -> bool {
        matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
    }

    impl<S: Read + Write + Socket> Transport for Blocking<S> {
        fn receive(&mut self, buffer: &mut [u8], _patience: Millis) -> Result<Arrived, TransportError> {
            match self.0.read(buffer) {
                Ok(0) => Ok(Arrived::End),
                Ok(bytes) => Ok(Arrived::Bytes(bytes)),
                Err(error) if has_to_wait(error.kind()) => Ok(Arrived::Nothing),
                Err(_) => Err(TransportError),
            }
        }

        fn send(&mut self, bytes: &[u8], patience: Millis) -> Result<usize, TransportError> {
            let patience = Duration::from_millis(patience.0.max(1));
            self.0.set_write_patience(patience).map_err(|_| TransportError)?;
            let sent = match self.0.write(bytes) {
                Ok(0) if !bytes.is_empty() => return Err(TransportError),
                Ok(sent) => sent,
                Err(error) if has_to_wait(error.kind()) => 0,
                Err(_) => return Err(TransportError),
            };
            // What a stream has taken and not passed on goes with the next call.
            match self.0.flush() {
                Err(error) if !has_to_wait(error.kind()) => Err(TransportError),
                _ => Ok(sent),
            }
        }
    }
}
