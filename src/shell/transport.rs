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

    /// Sends all of `bytes`.
    ///
    /// # Errors
    /// [`TransportError`]: the connection is over, and how much was sent is not known.
    fn send(&mut self, bytes: &[u8]) -> Result<(), TransportError>;
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
pub use blocking::Blocking;

#[cfg(feature = "std")]
mod blocking {
    use std::io::{ErrorKind, Read, Write};

    use super::{Arrived, Millis, Transport, TransportError};

    /// Any blocking stream, such as a TLS stream over TCP.
    ///
    /// A stream of std has no patience of its own: set a short read timeout on the socket below it (tens of
    /// milliseconds), which is then how late a deadline may be noticed.
    #[derive(Debug)]
    pub struct Blocking<S>(pub S);

    impl<S: Read + Write> Transport for Blocking<S> {
        fn receive(&mut self, buffer: &mut [u8], _patience: Millis) -> Result<Arrived, TransportError> {
            match self.0.read(buffer) {
                Ok(0) => Ok(Arrived::End),
                Ok(bytes) => Ok(Arrived::Bytes(bytes)),
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => {
                        Ok(Arrived::Nothing)
                    }
                    _ => Err(TransportError),
                },
            }
        }

        fn send(&mut self, bytes: &[u8]) -> Result<(), TransportError> {
            self.0.write_all(bytes).and_then(|()| self.0.flush()).map_err(|_| TransportError)
        }
    }
}
