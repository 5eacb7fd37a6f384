//! One connection, with TLS or without, and what was read of it and not used yet.

use std::{
    future::poll_fn,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::BytesMut;
use leasehold::digest::Sha256Digest;
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf, ReadHalf, WriteHalf},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, TlsStream};
use tokio_util::io::poll_read_buf;

/// The most that one read takes.
const READ: usize = 64 << 10;
/// What one read takes while a head is expected: most fit.
const HEAD_READ: usize = 8 << 10;
/// Pieces up to this are copied behind what waits to be written, so that a head and a short body are one packet.
const COPIED: usize = 16 << 10;

/// A connection.
pub enum Stream {
    /// As it is.
    Plain(TcpStream),
    /// With TLS.
    Tls(Box<TlsStream<TcpStream>>),
    /// With TLS inside a tunnel of a parent proxy that is reached over TLS.
    Nested(Box<TlsStream<TlsStream<TcpStream>>>),
}

impl Stream {
    /// Answers a client's handshake.
    pub async fn accept(
        socket: TcpStream,
        config: Arc<ServerConfig>,
        within: Duration,
    ) -> io::Result<TlsStream<TcpStream>> {
        let accepted = timeout(within, TlsAcceptor::from(config).accept(socket));
        accepted.await.map_err(|_| io::ErrorKind::TimedOut)?.map(TlsStream::Server)
    }

    fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(tls) => tls.get_ref().0,
            Self::Nested(tls) => tls.get_ref().0.get_ref().0,
        }
    }

    /// The SHA-256 of the certificate that the peer showed.
    pub fn certificate(&self) -> Option<Sha256Digest> {
        let Self::Tls(tls) = self else { return None };
        let shown = tls.get_ref().1.peer_certificates()?;
        shown.first().map(|leaf| Sha256Digest::of(leaf))
    }

    /// Whether HTTP/2 was agreed on.
    pub fn is_h2(&self) -> bool {
        let agreed = match self {
            Self::Plain(_) => None,
            Self::Tls(tls) => tls.get_ref().1.alpn_protocol(),
            Self::Nested(tls) => tls.get_ref().1.alpn_protocol(),
        };
        agreed == Some(b"h2")
    }

    /// The address of this end.
    pub fn local(&self) -> io::Result<SocketAddr> {
        self.socket().local_addr()
    }

    /// Ends both directions now with a reset and without TLS's farewell, so that what was cut cannot look whole.
    pub fn reset(self) {
        let _ = self.socket().set_zero_linger();
    }
}

macro_rules! each {
    ($self:ident, $inner:ident => $act:expr) => {
        match $self.get_mut() {
            Stream::Plain($inner) => $act,
            Stream::Tls($inner) => $act,
            Stream::Nested($inner) => $act,
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self, inner => Pin::new(inner).poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        each!(self, inner => Pin::new(inner).poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, inner => Pin::new(inner).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, inner => Pin::new(inner).poll_shutdown(cx))
    }
}

/// The reading half, with what was read and not used.
pub struct Reader {
    half: ReadHalf<Stream>,
    /// What was read and not used.
    pub buffer: BytesMut,
}

/// The writing half, with what waits to be written.
pub struct Writer {
    half: WriteHalf<Stream>,
    waiting: BytesMut,
}

/// A connection as two halves.
pub fn split(stream: Stream) -> (Reader, Writer) {
    let (read, write) = tokio::io::split(stream);
    (Reader { half: read, buffer: BytesMut::new() }, Writer { half: write, waiting: BytesMut::new() })
}

/// Both halves as the connection that they are. What was read and not used comes beside it.
pub fn unsplit(reader: Reader, writer: Writer) -> (Stream, BytesMut) {
    (reader.half.unsplit(writer.half), reader.buffer)
}

/// Says the end, and waits a moment for the peer's: closing while its bytes are still under way would throw away what it
/// was just told.
pub async fn part(mut reader: Reader, mut writer: Writer) {
    let farewell = async {
        writer.flush().await?;
        writer.half.shutdown().await?;
        loop {
            reader.buffer.clear();
            if reader.fill().await? == 0 {
                return io::Result::Ok(());
            }
        }
    };
    let _ = timeout(Duration::from_secs(2), farewell).await;
}

/// Cuts a connection so that what was said cannot look whole.
pub fn cut(reader: Reader, writer: Writer) {
    unsplit(reader, writer).0.reset();
}

impl Reader {
    fn poll_fill(&mut self, cx: &mut Context<'_>, most: usize) -> Poll<io::Result<usize>> {
        // A connection that waits holds no buffer: it is made when there is something to read.
        self.buffer.reserve(most);
        let polled = poll_read_buf(Pin::new(&mut self.half), cx, &mut self.buffer);
        if polled.is_pending() && self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        }
        polled
    }

    /// Reads more, behind what is there; `0` is the peer's orderly end.
    pub async fn fill(&mut self) -> io::Result<usize> {
        poll_fn(|cx| self.poll_fill(cx, READ)).await
    }

    /// As [`Reader::fill`], for heads.
    pub async fn fill_head(&mut self) -> io::Result<usize> {
        poll_fn(|cx| self.poll_fill(cx, HEAD_READ)).await
    }

    /// Waits until the peer has left. What it sends meanwhile is kept, up to a bound over which nobody waits any more.
    pub async fn gone(&mut self) {
        while self.buffer.len() < READ {
            if !matches!(self.fill_head().await, Ok(1..)) {
                return;
            }
        }
        std::future::pending().await
    }

    /// Whether the peer has said something or left since anybody looked: a connection that waits in a pool does neither.
    pub fn has_stirred(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        !self.buffer.is_empty() || self.poll_fill(&mut cx, 1).is_ready()
    }
}

impl Writer {
    /// Puts bytes behind what waits to be written.
    pub fn queue(&mut self, bytes: &[u8]) {
        self.waiting.extend_from_slice(bytes);
    }

    /// Writes `bytes` behind what waits; short ones wait, too.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() + self.waiting.len() <= COPIED {
            self.queue(bytes);
            return Ok(());
        }
        self.push().await?;
        self.half.write_all(bytes).await
    }

    async fn push(&mut self) -> io::Result<()> {
        if !self.waiting.is_empty() {
            self.half.write_all(&self.waiting).await?;
            // Nothing is held while nothing is under way.
            self.waiting = BytesMut::new();
        }
        Ok(())
    }

    /// Writes what waits.
    pub async fn flush(&mut self) -> io::Result<()> {
        self.push().await?;
        self.half.flush().await
    }

    /// Says the orderly end of this direction.
    pub async fn finish(&mut self) -> io::Result<()> {
        self.flush().await?;
        self.half.shutdown().await
    }
}
